/** Every kind of view on made-up numbers: drawn, reachable, readable, saved. */
import { readFile } from 'node:fs/promises';
import AxeBuilder from '@axe-core/playwright';
import { expect, test, type Download, type Locator, type Page } from '@playwright/test';

const WCAG = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];

const view = (page: Page, panel: string, title: string): Locator =>
  page
    .locator(`lin-panel[data-panel="${panel}"] lin-view`)
    .filter({ has: page.getByRole('heading', { name: title }) });

async function openGallery(page: Page, query = ''): Promise<void> {
  await page.goto(`/gallery.html${query}`);
  await expect(view(page, 'recall', 'Mean over depths').locator('svg').first()).toBeVisible();
}

async function saved(page: Page, of: Locator, kind: string): Promise<{ download: Download; bytes: Buffer }> {
  const waiting = page.waitForEvent('download');
  await of.getByRole('button', { name: new RegExp(`^Save .* as ${kind}$`) }).click();
  const download = await waiting;
  return { download, bytes: await readFile(await download.path()) };
}

test('each kind of view draws its data', async ({ page }) => {
  await openGallery(page);
  const curves = view(page, 'decay', 'What is left of the first token').locator('svg.curves path');
  await expect(curves).toHaveCount(6);
  for (const d of await curves.evaluateAll((paths) => paths.map((p) => p.getAttribute('d') ?? ''))) {
    expect(d).toMatch(/^M[\d.]+,[\d.]+L/);
    expect(d).not.toContain('NaN');
  }
  const canvas = view(page, 'decay', 'Decay of each head over the text').locator('canvas');
  const colours = await canvas.evaluate((c: HTMLCanvasElement) => {
    const { data } = c.getContext('2d')!.getImageData(0, 0, c.width, c.height);
    const seen = new Set<number>();
    for (let i = 0; i < data.length; i += 4) seen.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
    return { size: [c.width, c.height], count: seen.size };
  });
  expect(colours.size).toEqual([128, 6]);
  expect(colours.count).toBeGreaterThan(20);
  await expect(
    view(page, 'state', 'Entries of the state at two positions').locator('.bars path'),
  ).toHaveCount(2);
  await expect(view(page, 'decay', 'Half-life of each head').getByRole('row')).toHaveCount(7);
  const text = view(page, 'receptive-field', 'What the last token sees').locator('.text');
  await expect(text).toContainText('earlier omitted');
  await expect(text).toContainText('↵');
  const shades = await text
    .locator('span')
    .evaluateAll((all) => new Set(all.map((s) => (s as HTMLElement).style.background)).size);
  expect(shades).toBeGreaterThan(10);
});

test('axes carry units, parts of a context say so', async ({ page }) => {
  await openGallery(page, '?coarse');
  await expect(page.getByText('first 768 of 4,096 tokens').first()).toBeVisible();
  for (const label of [
    'Position (tokens)',
    'Cross-entropy (nats a byte)',
    'Memory (bytes)',
    'Length (bytes)',
  ]) {
    await expect(page.locator('svg text', { hasText: label }).first()).toBeVisible();
  }
});

test('two runs differ in colour and in dash', async ({ page }) => {
  await openGallery(page, '?compare');
  const strokes = await view(page, 'cost', 'Loss by position')
    .locator('svg.curves path')
    .evaluateAll((paths) => paths.map((p) => [p.getAttribute('stroke'), p.getAttribute('stroke-dasharray')]));
  expect(strokes).toHaveLength(2);
  expect(strokes[0][0]).not.toBe(strokes[1][0]);
  expect(strokes[0][1]).toBe('');
  expect(strokes[1][1]).not.toBe('');
});

for (const [scheme, query] of [
  ['light', '?short'],
  ['dark', '?short&compare'],
] as const) {
  test(`no accessibility violation, ${scheme} ${query}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme: scheme });
    await openGallery(page, query);
    for (const summary of await page.locator('summary').all()) await summary.click();
    await expect(page.locator('math').first()).toBeVisible();
    const { violations } = await new AxeBuilder({ page }).withTags(WCAG).analyze();
    expect(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join('; ')}`)).toEqual(
      [],
    );
  });
}

for (const width of [360, 768, 1280, 3840]) {
  test(`nothing runs out of the page at ${width} pixels`, async ({ page }) => {
    await page.setViewportSize({ width, height: 900 });
    for (const address of ['/gallery.html', '/index.html']) {
      await page.goto(address);
      await expect(page.locator('lin-view svg').first()).toBeVisible();
      expect(await page.evaluate(() => document.documentElement.scrollWidth)).toBeLessThanOrEqual(width);
    }
  });
}

test('the keyboard moves one cursor through all views of a position', async ({ page }) => {
  await openGallery(page);
  const chart = view(page, 'decay', 'What is left of the first token').getByRole('slider');
  await chart.focus();
  await page.keyboard.press('Home');
  await expect(chart).toHaveAttribute('aria-valuetext', /^Position 0 tokens: head 2 1;/);
  await page.keyboard.press('ArrowRight');
  const first = await chart.getAttribute('aria-valuetext');
  await page.keyboard.press('Shift+ArrowRight');
  expect(Number(await chart.getAttribute('aria-valuenow'))).toBe(11);
  expect(await chart.getAttribute('aria-valuetext')).not.toBe(first);
  await page.keyboard.press('End');
  await expect(chart).toHaveAttribute('aria-valuetext', /^Position 4,095 tokens/);
  const norm = view(page, 'state', 'Norm of the state').getByRole('slider');
  await expect(norm).toHaveAttribute('aria-valuetext', /^Position 4,095 tokens: head 2 [\d.]+/);
  await expect(view(page, 'state', 'Norm of the state').locator('svg.over line')).toHaveCount(2);
  const text = view(page, 'receptive-field', 'What the last token sees').locator('.text .at');
  await expect(text).toHaveAttribute('data-position', '4095');
  await page.keyboard.press('Escape');
  await expect(norm).toHaveAttribute('aria-valuetext', /no position chosen/);
});

test('the pointer on a token reads the same position everywhere', async ({ page }) => {
  await openGallery(page);
  const token = view(page, 'receptive-field', 'What the last token sees').locator('[data-position="4000"]');
  await token.scrollIntoViewIfNeeded();
  await token.hover();
  const row = view(page, 'receptive-field', 'Influence of every earlier position').getByRole('slider');
  await expect(row).toHaveAttribute('aria-valuetext', /^Position j (3,99\d|4,00\d) tokens/);
});

test('the table behind a picture has all of its numbers, in pages', async ({ page }) => {
  await openGallery(page);
  const chart = view(page, 'decay', 'What is left of the first token');
  await chart.getByText('Table', { exact: true }).click();
  await expect(chart.getByRole('columnheader')).toHaveCount(7);
  await expect(chart.getByText('1–50 of 256')).toBeVisible();
  await chart.getByRole('button', { name: 'Later rows' }).click();
  await expect(chart.getByText('51–100 of 256')).toBeVisible();
  const details = await chart.getByRole('slider').getAttribute('aria-details');
  expect(await chart.locator(`#${details ?? 'missing'}`).count()).toBe(1);
});

test('formula and provenance are one step away', async ({ page }) => {
  await openGallery(page);
  const panel = page.locator('lin-panel[data-panel="decay"]');
  await panel.locator('summary', { hasText: 'Formula' }).click();
  await expect(panel.locator('math').first()).toBeVisible();
  await expect(panel.getByRole('heading', { name: 'What to try' })).toBeVisible();
  await panel.getByText('How was this made').click();
  await expect(panel.getByText('fixture: these numbers are made up')).toBeVisible();
});

const KINDS: [string, string][] = [
  ['decay', 'What is left of the first token'],
  ['decay', 'Decay of each head over the text'],
  ['decay', 'Half-life of each head'],
  ['receptive-field', 'What the last token sees'],
  ['state', 'Entries of the state at two positions'],
];

for (const [panel, title] of KINDS) {
  test(`“${title}” is saved as SVG, PNG and CSV`, async ({ page }) => {
    await openGallery(page, '?head=2');
    const of = view(page, panel, title);
    const svg = await saved(page, of, 'SVG');
    expect(svg.download.suggestedFilename()).toMatch(new RegExp(`^linearium_${panel}_[\\w-]+_head=2\\.svg$`));
    const source = svg.bytes.toString('utf8');
    expect(source).not.toMatch(/var\(|<!--|NaN|undefined/);
    const parsed = await page.evaluate((text) => {
      const parsedDocument = new DOMParser().parseFromString(text, 'image/svg+xml');
      return {
        error: parsedDocument.querySelector('parsererror')?.textContent ?? null,
        name: parsedDocument.documentElement.nodeName,
      };
    }, source);
    expect(parsed).toEqual({ error: null, name: 'svg' });

    const png = await saved(page, of, 'PNG');
    expect([...png.bytes.subarray(0, 8)]).toEqual([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]);
    expect(png.bytes.readUInt32BE(16)).toBe(1920);

    const csv = (await saved(page, of, 'CSV')).bytes.toString('utf8').trimEnd().split('\n');
    const heads = csv.filter((line) => line.startsWith('# '));
    expect(heads.some((line) => line.includes('back end: fixture'))).toBe(true);
    expect(heads.some((line) => line.includes('settings: /?head=2'))).toBe(true);
    expect(csv.length - heads.length).toBeGreaterThan(6);
  });
}
