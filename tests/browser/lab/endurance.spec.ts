import { expect, test } from '@playwright/test';
import { answered, openLab } from './lab';

/** What the page holds after rubbish was collected, by Chromium's own count. */
test('a thousand moves of a slider leave listeners and nodes where they were', async ({ page }) => {
  test.setTimeout(600_000);
  await openLab(page);
  const devtools = await page.context().newCDPSession(page);
  await devtools.send('Performance.enable');
  const count = async (): Promise<Record<string, number>> => {
    await answered(page);
    await devtools.send('HeapProfiler.collectGarbage');
    const { metrics } = await devtools.send('Performance.getMetrics');
    return Object.fromEntries(metrics.map((m) => [m.name, m.value]));
  };
  const slider = page.getByRole('slider', { name: 'Context length, slider' });
  const moves = async (times: number): Promise<void> => {
    await slider.focus();
    for (let i = 0; i < times; i++) await page.keyboard.press(i % 2 === 0 ? 'ArrowRight' : 'ArrowLeft');
  };
  await moves(100);
  const before = await count();
  await moves(1000);
  const after = await count();
  expect(after['JSEventListeners']).toBeLessThanOrEqual(before['JSEventListeners']! + 5);
  expect(after['Nodes']).toBeLessThanOrEqual(before['Nodes']! * 1.05);
});
