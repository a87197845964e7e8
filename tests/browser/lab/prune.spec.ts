import { deflateSync } from 'node:zlib';
import AxeBuilder from '@axe-core/playwright';
import { expect, test, type Locator, type Page } from '@playwright/test';
import { backendPattern, onGpu } from './lab';

/** A software GPU checks its kernels for a while before it runs anything. */
const ANSWER_MS = 150_000;

interface Inside {
  running: boolean;
  answer?: {
    query: string;
    progress: [number, number];
    panel: null | {
      summary: string;
      views: { id: string; kind: string; values?: Float32Array; rows?: unknown[][] }[];
      provenance: { backend: string };
    };
  };
}

const exhibit = (page: Page): Locator => page.locator('linearium-exhibit');
const view = (page: Page, title: string | RegExp): Locator =>
  exhibit(page).locator('lin-view', { has: page.locator('h3', { hasText: title }) });
const inside = <T>(page: Page, of: (element: Inside) => T): Promise<T> =>
  exhibit(page).evaluate(of as unknown as (element: Element) => T);

/** Opens the bench on the back end of this project and waits for an answer of it. */
async function open(page: Page, settings: Record<string, string> = {}): Promise<void> {
  const query = new URLSearchParams({ ...settings, ...(onGpu() ? { backend: 'gpu' } : {}) });
  await page.goto(`/prune.html?${query.toString()}`);
  await answered(page);
}

async function answered(page: Page): Promise<void> {
  await expect(exhibit(page).locator('lin-view').first()).toBeVisible({ timeout: ANSWER_MS });
  await expect
    .poll(
      () =>
        inside(page, (e) => (e.running ? 'running' : (e.answer?.panel?.provenance.backend ?? 'no answer'))),
      { timeout: ANSWER_MS },
    )
    .toMatch(backendPattern());
}

/** A grey PNG of one level. */
function png(width: number, height: number): Buffer {
  const table = Array.from({ length: 256 }, (_, n) => {
    let c = n;
    for (let k = 0; k < 8; k++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
    return c >>> 0;
  });
  const crc = (data: Buffer): number => {
    let c = 0xffffffff;
    for (const byte of data) c = table[(c ^ byte) & 255]! ^ (c >>> 8);
    return (c ^ 0xffffffff) >>> 0;
  };
  const chunk = (name: string, data: Buffer): Buffer => {
    const body = Buffer.concat([Buffer.from(name), data]);
    const out = Buffer.alloc(body.length + 8);
    out.writeUInt32BE(data.length, 0);
    body.copy(out, 4);
    out.writeUInt32BE(crc(body), body.length + 4);
    return out;
  };
  const head = Buffer.alloc(13);
  head.writeUInt32BE(width, 0);
  head.writeUInt32BE(height, 4);
  head[8] = 8;
  const rows = Buffer.alloc((width + 1) * height, 90);
  for (let y = 0; y < height; y++) rows[y * (width + 1)] = 0;
  return Buffer.concat([
    Buffer.from([0x89, 0x50, 0x4e, 0x47, 13, 10, 26, 10]),
    chunk('IHDR', head),
    chunk('IDAT', deflateSync(rows, { level: 1 })),
    chunk('IEND', Buffer.alloc(0)),
  ]);
}

test('a text is pruned: kept tokens, the error in parts, and what its controls change', async ({ page }) => {
  const complaints: string[] = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  await open(page, { length: '64' });
  const kept = (): Promise<number> =>
    inside(page, (e) =>
      [...(e.answer!.panel!.views.find((v) => v.id === 'kept')!.values ?? [])].reduce((a, b) => a + b, 0),
    );
  // 0.7 of 64 tokens, rounded up.
  expect(await kept()).toBe(45);
  const parts = await inside(
    page,
    (e) => e.answer!.panel!.views.find((v) => v.id === 'error')!.rows!.map((row) => row[2]) as number[],
  );
  expect(parts).toHaveLength(4);
  expect(parts[0]).toBeGreaterThan(0.01);
  // Original neighbours do not move.
  expect(parts[1]).toBe(0);
  await exhibit(page).getByRole('combobox', { name: 'Convolution sees' }).selectOption('condensed');
  await expect
    .poll(() => inside(page, (e) => e.answer!.panel!.views.find((v) => v.id === 'error')!.rows![1]![2]), {
      timeout: ANSWER_MS,
    })
    .toBeGreaterThan(0.001);
  expect(new URL(page.url()).searchParams.get('conv')).toBe('condensed');
  await exhibit(page).getByRole('combobox', { name: 'Score' }).selectOption('router');
  await expect(exhibit(page).locator('lin-panel')).toContainText('Nothing is pruned', { timeout: ANSWER_MS });
  await page.goBack();
  await expect.poll(() => new URL(page.url()).searchParams.get('score')).toBe(null);
  await expect(view(page, 'Shaded tokens are kept')).toBeVisible({ timeout: ANSWER_MS });
  expect(complaints).toEqual([]);
});

test('an image is pruned: its dropped patches are veiled and can be read with the keyboard', async ({
  page,
}) => {
  await open(page, { read: 'image', score: 'activation_clip', keep: '0.8', schedule: 'three' });
  const stages = await inside(page, (e) => {
    const counts = [0, 0, 0, 0];
    for (const stage of e.answer!.panel!.views[0]!.values!) counts[stage]! += 1;
    return counts;
  });
  // 197, 157, 125 and 101 tokens, of which one is the class token.
  expect(stages).toEqual([40, 32, 24, 100]);
  const picture = view(page, 'is veiled');
  await expect(picture.locator('canvas')).toBeVisible();
  const colours = await picture.locator('canvas').evaluate((canvas) => {
    const { width, height } = canvas as HTMLCanvasElement;
    const { data } = (canvas as HTMLCanvasElement).getContext('2d')!.getImageData(0, 0, width, height);
    let veiled = 0;
    for (let i = 0; i < data.length; i += 4)
      if (data[i] !== data[i + 1] || data[i] !== data[i + 2]) veiled += 1;
    return [width, height, veiled];
  });
  expect(colours).toEqual([112, 112, 96 * 64]);
  const plot = picture.getByRole('slider');
  await plot.focus();
  await plot.press('Home');
  await plot.press('ArrowRight');
  await expect(plot).toHaveAttribute('aria-valuetext', /row 0, column 1: patch (dropped before|kept)/);
  const download = page.waitForEvent('download');
  await picture.getByRole('button', { name: /CSV/ }).click();
  expect((await download).suggestedFilename()).toContain('linearium_pruning_patches');
});

test('own images: one pixel and 64 million are read, what is none is told in a sentence @cpu', async ({
  page,
}) => {
  // Reading a file does not depend on the back end.
  await page.goto('/prune.html?read=image&picture=file');
  const choose = exhibit(page).getByLabel(/Your image/);
  await expect(choose).toBeVisible({ timeout: ANSWER_MS });
  const give = (name: string, buffer: Buffer): Promise<void> =>
    choose.setInputFiles({ name, mimeType: 'image/png', buffer });
  await give('broken.png', Buffer.from('this is no image'));
  await expect(exhibit(page).locator('.notices')).toContainText('broken.png cannot be read as an image');
  await give('pixel.png', png(1, 1));
  await expect(view(page, 'is veiled')).toBeVisible({ timeout: ANSWER_MS });
  await give('large.png', png(8000, 8000));
  await answered(page);
  await give('larger.png', png(8200, 8200));
  await expect(exhibit(page).locator('.notices')).toContainText('8200 by 8200 pixels where at most');
});

test('all drop modes: the winner flips between empty and redundant', async ({ page }) => {
  await open(page, { show: 'modes', keep: '0.5' });
  await expect
    .poll(() => inside(page, (e) => e.answer!.progress.join(' of ')), { timeout: ANSWER_MS })
    .toBe('9 of 9');
  const errors = await inside(page, (e) => {
    const rows = e.answer!.panel!.views.find((v) => v.id === 'errors')!.rows as number[][];
    return [rows[0]!, rows.at(-1)!].map((row) => ({ hold: row[3]!, decay: row[4]! }));
  });
  expect(errors[0]!.decay).toBeLessThanOrEqual(0.02);
  expect(errors[0]!.hold).toBeGreaterThanOrEqual(0.3);
  expect(errors[1]!.decay).toBeGreaterThan(errors[1]!.hold);
});

test('all scores are measured while one looks, can be stopped, and the newest wish wins @cpu', async ({
  page,
}) => {
  // A hundred runs take a software GPU too long.
  await page.goto('/prune.html?show=scores&length=64');
  await exhibit(page).getByRole('button', { name: 'Stop' }).click();
  await expect(exhibit(page).getByRole('button', { name: 'Go on' })).toBeVisible();
  await expect.poll(() => inside(page, (e) => e.running)).toBe(false);
  const stopped = await inside(page, (e) => e.answer!.progress);
  expect(stopped[0]).toBeLessThan(stopped[1]);
  await exhibit(page).getByRole('button', { name: 'Go on' }).click();
  await expect
    .poll(
      () =>
        inside(page, (e) => {
          const [done, total] = e.answer!.progress;
          return done === total;
        }),
      { timeout: ANSWER_MS },
    )
    .toBe(true);
  await expect(view(page, 'Quality against time')).toBeVisible();
  const rows = await inside(page, (e) => e.answer!.panel!.views.find((v) => v.id === 'all')!.rows!.length);
  expect(rows).toBeGreaterThan(80);
  // Something newer ends a long measurement.
  await exhibit(page).getByRole('combobox', { name: 'What is shown' }).selectOption('one');
  await expect(view(page, 'Shaded tokens are kept')).toBeVisible({ timeout: 30_000 });
});

for (const [width, scheme] of [
  [360, 'light'],
  [768, 'dark'],
  [1280, 'light'],
] as const)
  test(`it fits ${width} px in ${scheme} and axe finds nothing @cpu`, async ({ page }) => {
    // What it looks like does not depend on the back end.
    await page.setViewportSize({ width, height: 900 });
    await page.emulateMedia({ colorScheme: scheme });
    for (const settings of [{}, { read: 'image' }, { show: 'modes' }] as Record<string, string>[]) {
      await open(page, settings);
      const wider = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      expect(wider).toBeLessThanOrEqual(0);
      const { violations } = await new AxeBuilder({ page }).analyze();
      expect(violations.map((v) => `${v.id}: ${v.nodes[0]?.html}`)).toEqual([]);
      if (process.env['LINEARIUM_SHOTS'])
        await page.screenshot({
          path: `${process.env['LINEARIUM_SHOTS']}/prune-${settings['read'] ?? settings['show'] ?? 'text'}-${width}-${scheme}.png`,
          fullPage: true,
        });
    }
  });
