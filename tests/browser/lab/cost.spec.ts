import { expect, test, type Page } from '@playwright/test';
import { number, onGpu, openLab, tableOf, view } from './lab';

/** Mean loss over the three windows of the table that came with the checkpoints, by octave from 0–64 on. */
async function losses(page: Page, settings: Record<string, string>): Promise<number[]> {
  const windows: number[][] = [];
  for (const offset of ['0', '65536', '131072']) {
    await openLab(page, {
      input: 'heldout',
      offset,
      context: '512',
      ...settings,
    });
    windows.push(
      (await tableOf(view(page, 'cost', 'Loss by octave of position'))).map((row) => number(row[3])),
    );
  }
  return windows[0].map((_, i) => windows.reduce((sum, w) => sum + w[i], 0) / windows.length);
}

test('the loss is what PyTorch measured on the same text, with and without forgetting more', async ({
  page,
}) => {
  test.setTimeout(onGpu() ? 600_000 : 180_000);
  const plain = await losses(page, {});
  [1.178, 1.125, 1.55, 1.29].forEach((expected, i) =>
    expect(Math.abs(plain[i] - expected), `octave ${i} of ${plain.join(' ')}`).toBeLessThan(0.01),
  );
  if (onGpu()) return;
  const forgetful = await losses(page, { 'decay-factor': '0.99' });
  [1.18, 1.133, 1.457, 1.088].forEach((expected, i) =>
    expect(Math.abs(forgetful[i] - expected), `octave ${i} of ${forgetful.join(' ')}`).toBeLessThan(0.01),
  );
});

test('two models stand on the same axes', async ({ page }) => {
  await openLab(page, { 'b.model': 'mamba2-text-t1024' });
  const curves = view(page, 'cost', 'Loss at each position').locator('svg.curves path');
  await expect(curves).toHaveCount(4);
  const dashes = await curves.evaluateAll(
    (all) => new Set(all.map((p) => p.getAttribute('stroke-dasharray'))).size,
  );
  expect(dashes).toBe(2);
});
