import { expect, test } from '@playwright/test';
import { answered, openLab } from './lab';

/** A drag that never rests must not wait for its end: pictures of what it passes are shown. */
test('pictures follow a slider that never rests', async ({ page }) => {
  await openLab(page, { context: '4096', 'decay-factor': '0.99' });
  const control = page.getByRole('slider', {
    name: 'Multiply decays by, slider',
  });
  await control.scrollIntoViewIfNeeded();
  const box = (await control.boundingBox())!;
  const [x, y] = [box.x + box.width * 0.5, box.y + box.height / 2];
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.evaluate(() => {
    const shown = new Set<number>();
    Object.assign(window, { shown });
    new PerformanceObserver((list) => {
      for (const entry of list.getEntriesByName('drawn'))
        shown.add((entry as PerformanceMark).detail as number);
    }).observe({ type: 'mark' });
  });
  for (let i = 0; i < 150; i++) await page.mouse.move(x + 30 * Math.sin(i / 8), y);
  const shown = await page.evaluate(() => (window as unknown as { shown: Set<number> }).shown.size);
  await page.mouse.up();
  // Of settings, of which there were about as many as frames.
  expect(shown).toBeGreaterThanOrEqual(4);
  // Where it rests, the whole answer is that of the last setting.
  await answered(page);
});
