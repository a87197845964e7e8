/** Runs where the browser has a device to lose. */
import { expect, test } from '@playwright/test';
import { answered, loseGpu, notices, openLab, panel } from './lab';

test('a device lost in the middle of a run is replaced, and the answer is right', async ({ page }) => {
  test.setTimeout(300_000);
  await openLab(page, { context: '256' });
  const before = await panel(page, 'cost').locator('.summary').innerText();
  await page.getByRole('spinbutton', { name: /^Context length/ }).fill('2048');
  await page.keyboard.press('Enter');
  await expect(panel(page, 'cost').locator('.cover.part')).toBeVisible({
    timeout: 60_000,
  });
  await loseGpu(page);
  await expect(notices(page).filter({ hasText: /lost|device/i })).toBeVisible({
    timeout: 60_000,
  });
  await expect(
    panel(page, 'cost').locator('.cover:not(.part)', {
      hasText: '2,048 tokens',
    }),
  ).toBeVisible({
    timeout: 200_000,
  });
  await page.getByRole('spinbutton', { name: /^Context length/ }).fill('256');
  await page.keyboard.press('Enter');
  await answered(page);
  await expect(panel(page, 'cost').locator('.summary')).toHaveText(before);
});
