import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from '@playwright/test';

test('an engine that fails at its start is told of, and not started for ever @cpu', async ({ page }) => {
  // A module that compiles and has not what the complete engine needs.
  const body = readFileSync(join(__dirname, '../../../pkg/linearium_first_bg.wasm'));
  let served = 0;
  await page.route(/linearium(_relaxed)?_bg[^/]*\.wasm/, (route) => {
    served += 1;
    return route.fulfill({ body, contentType: 'application/wasm' });
  });
  let workers = 0;
  page.on('worker', () => (workers += 1));
  await page.goto('/exhibits.html?exhibit=l_mul');
  await expect(page.getByText(/stopped 4 times within a minute/).first()).toBeVisible({ timeout: 30_000 });
  expect(served).toBeGreaterThan(0);
  const before = workers;
  expect(before).toBeGreaterThanOrEqual(4);
  await page.waitForTimeout(3_000);
  expect(workers).toBe(before);
});
