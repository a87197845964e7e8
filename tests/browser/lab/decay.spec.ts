import { expect, test } from '@playwright/test';
import { number, openLab, panel, provenance, tableOf, view } from './lab';

test('the decay panel shows every head and what an intervention does to it', async ({ page }) => {
  await openLab(page, { layer: '1', head: '3' });
  await expect(panel(page, 'decay')).toContainText(/Head 3 of layer 1 has a half-life of [\d.]+ tokens/);
  await expect(view(page, 'decay', 'What is left of the first token').locator('svg.curves path')).toHaveCount(
    6,
  );
  const cells = await view(page, 'decay', 'Forgetting rate of every head')
    .locator('canvas')
    .evaluate((c: HTMLCanvasElement) => c.height);
  expect(cells).toBe(6);
  const before = await tableOf(view(page, 'decay', 'What is left of the first token'));
  // The cumulative decay never rises.
  const strong = before.map((row) => number(row[row.length - 1]));
  for (let i = 1; i < strong.length; i++) expect(strong[i]).toBeLessThanOrEqual(strong[i - 1] * 1.0001);

  await openLab(page, { layer: '1', head: '3', 'decay-factor': '0.9' });
  const after = (await tableOf(view(page, 'decay', 'What is left of the first token'))).map((row) =>
    number(row[row.length - 1]),
  );
  // After 16 tokens of 0.9 a tenth and a half is left of what was left before.
  expect(after[0] / strong[0]).toBeCloseTo(0.9 ** 15, 1);
  expect(await provenance(page, 'decay')).toMatch(/0\.9/);
});
