import { expect, test } from '@playwright/test';
import { number, openLab, panel, tableOf, view } from './lab';

test('recall is measured on demand', async ({ page }) => {
  test.setTimeout(300_000);
  await openLab(page);
  const recall = panel(page, 'recall');
  await recall.getByRole('combobox', { name: /Samples/ }).selectOption('5');
  await recall.getByRole('button', { name: 'Measure recall' }).click();
  await expect(recall.getByRole('progressbar')).toBeVisible();
  await expect(view(page, 'recall', 'Recall by depth and length').locator('canvas')).toBeVisible({
    timeout: 240_000,
  });
  const first = (await tableOf(view(page, 'recall', 'Recall by length').last()))[0];
  expect(first[1]).toBe('64');
  // Trained at 128 tokens: at 64 it finds every digit.
  expect(number(first[2])).toBeGreaterThan(0.9);
  if (await recall.getByRole('button', { name: 'Cancel' }).isVisible()) {
    await recall.getByRole('button', { name: 'Cancel' }).click();
  }
  await expect(recall.getByRole('progressbar')).toHaveCount(0);
  // What was measured stays.
  await expect(view(page, 'recall', 'Recall by depth and length').locator('canvas')).toBeVisible();
});
