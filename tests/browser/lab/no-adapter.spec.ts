/** Runs where the browser has WebGPU but no adapter. */
import { expect, test } from '@playwright/test';
import { answered, notices } from './lab';

test('a GPU that is asked for and not there is said, and the CPU answers', async ({ page }) => {
  await page.goto('/?backend=gpu&context=256');
  await answered(page);
  await expect(notices(page).filter({ hasText: /adapter/ })).toBeVisible();
});
