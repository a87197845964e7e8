import AxeBuilder from '@axe-core/playwright';
import { expect, test, type Locator, type Page } from '@playwright/test';
import { backendPattern, number, onGpu, panel } from './lab';

/** A software GPU checks its kernels for a while before it runs anything. */
const ANSWER_MS = 150_000;
/** The rows come one by one, in between what the panels ask of the same worker. */
const ROWS_MS = 90_000;

const row = (page: Page, id: string): Locator => page.locator(`lin-mixer-table tr[data-mixer="${id}"]`);
const cell = (page: Page, id: string, column: string): Locator =>
  row(page, id).locator(`[data-column="${column}"]`);
const card = (page: Page, run: 'a' | 'b'): Locator => page.locator(`lin-mixer-card[run="${run}"]`);
const inAddress = (page: Page, key: string) => (): string | null => new URL(page.url()).searchParams.get(key);

/** Opens the page; two mixers that are not the first choice, and the back end of this project. */
async function openMixers(page: Page, settings: Record<string, string> = {}, hash = ''): Promise<void> {
  const query = new URLSearchParams({
    model: 'random-retnet',
    'b.model': 'random-attention',
    context: '256',
    ...settings,
    ...(onGpu() ? { backend: 'gpu' } : {}),
  });
  await page.goto(`/mixers.html?${query.toString()}${hash}`);
  await expect(row(page, 'gla')).toBeVisible({ timeout: ROWS_MS });
}

/** The panels are whole and made by the back end of this project. */
async function answered(page: Page): Promise<void> {
  await expect(page.locator('.status .backend')).toHaveText(backendPattern(), { timeout: ANSWER_MS });
  await expect(panel(page, 'cost').locator('.cover', { hasText: '256 tokens' })).toBeVisible({
    timeout: ANSWER_MS,
  });
}

test('opens with every mixer, two of them side by side, from its own origin alone', async ({ page }) => {
  const requests: string[] = [];
  page.on('request', (request) => requests.push(request.url()));
  const complaints: string[] = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto(
    `/mixers.html${onGpu() ? '?backend=gpu&model=random-gla&b.model=random-ssd&equal=state' : ''}`,
  );
  await expect(row(page, 'gla')).toBeVisible({ timeout: ROWS_MS });
  const known = await page.evaluate(() => {
    const of = document.querySelector('linearium-mixers') as unknown as {
      properties: { id: string; choices?: { id: string }[] }[];
    };
    const models = of.properties.find((p) => p.id === 'model')?.choices ?? [];
    return models.filter((c) => c.id.startsWith('random-')).map((c) => c.id.slice('random-'.length));
  });
  expect(known.length).toBeGreaterThanOrEqual(5);
  await expect(page.locator('lin-mixer-table tbody tr')).toHaveCount(known.length, { timeout: ROWS_MS });
  for (const id of known) await expect(row(page, id)).toBeVisible();
  await expect(card(page, 'a').getByRole('heading', { name: /^GLA/ })).toBeVisible();
  await expect(card(page, 'b').getByRole('heading', { name: /^(SSD|Mamba-2)/ })).toBeVisible();
  for (const run of ['a', 'b'] as const) {
    await expect(card(page, run).locator('math').first()).toBeVisible();
    await expect(card(page, run).getByRole('img', { name: /^One step of/ })).toBeVisible();
  }
  const influence = panel(page, 'receptive-field').locator('svg.curves path');
  await expect(influence).toHaveCount(2, { timeout: ANSWER_MS });
  await expect(page.locator('.status .backend')).toHaveText(backendPattern(), { timeout: ANSWER_MS });
  const origin = new URL(page.url()).origin;
  expect(
    requests.filter((r) => !r.startsWith(origin) && !r.startsWith('blob:') && !r.startsWith('data:')),
  ).toEqual([]);
  // The engine of the lab's first load is not needed here.
  expect(requests.filter((r) => /linearium_first.*\.wasm/.test(r))).toEqual([]);
  expect(complaints).toEqual([]);
});

test('a budget held equal makes other sizes, in the table and in the panels', async ({ page }) => {
  await openMixers(page, { model: 'random-gla', 'b.model': 'random-s6' });
  await answered(page);
  const usual = number(await cell(page, 's6', 'parameters').innerText());
  await expect(cell(page, 's6', 'reached')).toHaveCount(0);
  await page.getByRole('radio', { name: 'Parameters' }).check();
  await expect.poll(inAddress(page, 'equal')).toBe('parameters');
  await expect(cell(page, 'gla', 'reached')).toHaveText('100', { timeout: ROWS_MS });
  const wanted = number(await cell(page, 'gla', 'parameters').innerText());
  for (const id of ['s6', 'ssd', 'retnet', 'attention']) {
    const reached = number(await cell(page, id, 'reached').innerText());
    expect(reached, id).toBeGreaterThan(91);
    expect(reached, id).toBeLessThan(109);
    const has = number(await cell(page, id, 'parameters').innerText());
    expect((100 * has) / wanted, id).toBeCloseTo(reached, 0);
  }
  expect(number(await cell(page, 's6', 'parameters').innerText())).toBeGreaterThan(usual);
  // At equal state bytes the panels carry the same for both.
  await page.getByRole('radio', { name: 'State bytes' }).check();
  await expect(cell(page, 's6', 'state')).toContainText('64 KiB', { timeout: ROWS_MS });
  await answered(page);
  const facts = panel(page, 'cost').locator('lin-view').filter({ hasText: 'Memory and time' });
  await expect
    .poll(
      async () => {
        const rows = await facts.getByRole('row').all();
        const cells = await Promise.all(rows.slice(1).map((r) => r.getByRole('cell').nth(1).innerText()));
        const [a, b] = cells.map(number);
        return Math.abs(a / b - 1);
      },
      { timeout: ANSWER_MS },
    )
    .toBeLessThan(0.02);
  await page.goBack();
  await expect.poll(inAddress(page, 'equal')).toBe('parameters');
  await expect(page.getByRole('radio', { name: 'Parameters' })).toBeChecked();
});

test('mixers are chosen with the keyboard, and the choice is in the address', async ({ page }) => {
  await openMixers(page);
  await row(page, 'retnet')
    .getByRole('radio', { name: /as run A$/ })
    .focus();
  await page.keyboard.press('ArrowDown');
  await expect.poll(inAddress(page, 'model')).not.toBe('random-retnet');
  const chosen = inAddress(page, 'model')()!.slice('random-'.length);
  const name = await row(page, chosen).getByRole('rowheader').innerText();
  await expect(card(page, 'a').getByRole('heading', { level: 2 })).toHaveText(name);
  await expect(page.getByRole('radio', { name: `${name} as run A` })).toBeFocused();
  await page.goBack();
  await expect(card(page, 'a').getByRole('heading', { level: 2 })).toHaveText('Retention (RetNet)');
  await card(page, 'b').getByRole('button', { name: 'Remove' }).click();
  await expect(card(page, 'b')).toHaveCount(0);
  await expect.poll(inAddress(page, 'b.model')).toBe(null);
});

test('the table is sorted by any column and measured on this device', async ({ page }) => {
  test.setTimeout(300_000);
  await openMixers(page);
  const names = (): Promise<string[]> => page.locator('lin-mixer-table tbody th').allInnerTexts();
  await page.getByRole('button', { name: /^Parameters/ }).click();
  const parameters = (await page.locator('[data-column="parameters"]').allInnerTexts()).map(number);
  expect(parameters).toEqual([...parameters].sort((a, b) => a - b));
  await expect(page.getByRole('columnheader', { name: /^Parameters/ })).toHaveAttribute(
    'aria-sort',
    'ascending',
  );
  const rising = await names();
  await page.getByRole('button', { name: /^Parameters/ }).click();
  expect(await names()).not.toEqual(rising);
  const measured = page.locator('[data-column="cpu"]').filter({ hasText: /\d/ });
  await expect(measured.first()).toBeVisible({ timeout: ANSWER_MS });
  // Beside a GPU made of software all mixers would take minutes.
  if (onGpu()) await page.getByRole('button', { name: 'Stop' }).click();
  await expect(page.getByRole('button', { name: 'Measure again' })).toBeVisible({ timeout: ANSWER_MS });
  await expect(page.locator('.measured')).toContainText('Measured on cpu (wasm relaxed simd)');
  if (!onGpu()) {
    for (const text of await page.locator('[data-column="cpu"]').allInnerTexts())
      expect(number(text)).toBeGreaterThan(0);
    await expect(cell(page, 'attention', 'reach')).toHaveText('all');
    await expect(cell(page, 'retnet', 'reach')).toContainText(/\d+ – all/);
    return;
  }
  await answered(page);
  await page.getByRole('button', { name: 'Measure on the GPU' }).click();
  await expect(page.locator('[data-column="gpu"]').filter({ hasText: /\d/ }).first()).toBeVisible({
    timeout: ANSWER_MS,
  });
  await page.getByRole('button', { name: 'Stop' }).click();
  await expect(page.locator('.measured')).toContainText(/and gpu \(/, { timeout: ANSWER_MS });
});

test('the source of the scan is a click away, and a link leads to it', async ({ page }) => {
  await openMixers(page);
  await card(page, 'a').locator('summary', { hasText: 'Source' }).click();
  await expect(card(page, 'a').locator('pre')).toContainText('pub static KERNEL');
  await expect.poll(() => new URL(page.url()).hash).toBe('#a:scan_outer.rs');
  await card(page, 'a').getByRole('button', { name: 'scan_outer.wgsl' }).click();
  await expect(card(page, 'a').locator('pre')).toContainText('@compute');
  await card(page, 'a').getByRole('button', { name: 'retnet.rs' }).click();
  await expect(card(page, 'a').locator('pre')).toContainText('impl Mixer for RetNet');
  await openMixers(page, {}, '#b:softmax_attention.wgsl');
  await expect(card(page, 'b').locator('pre')).toContainText('@compute');
  await expect(card(page, 'b').getByRole('button', { name: 'softmax_attention.wgsl' })).toHaveAttribute(
    'aria-pressed',
    'true',
  );
});

test('a link with another model says what is shown instead', async ({ page }) => {
  await openMixers(page, { model: 'llama-text-t256', colour: 'red' });
  await expect(page.locator('.notices p')).toHaveCount(2);
  await expect(page.locator('.notices')).toContainText('llama-text-t256');
  await expect(page.locator('.notices')).toContainText('colour');
  await expect.poll(inAddress(page, 'model')).toBe('random-gla');
});

test('leads to the lab with the same two models and back', async ({ page }) => {
  await openMixers(page, { equal: 'parameters' });
  await answered(page);
  await page.getByRole('link', { name: 'Open these two in the lab' }).click();
  await expect(page.locator('linearium-lab')).toBeVisible();
  await expect.poll(inAddress(page, 'b.model')).toBe('random-attention');
  // Sizes for an equal budget are known to the complete engine, which the lab fetches for them.
  await expect(panel(page, 'cost').locator('lin-view').first()).toBeVisible({ timeout: ANSWER_MS });
  await expect(page.locator('lin-controls .facts')).toContainText('2 layers of width 128');
  await page.getByRole('link', { name: 'All mixers' }).click();
  await expect(page.locator('linearium-mixers')).toBeVisible();
});

for (const scheme of ['light', 'dark'] as const) {
  test(`has no accessibility violations and no sideways scrolling, ${scheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    await openMixers(page);
    await card(page, 'a').locator('summary', { hasText: 'Symbols' }).click();
    await card(page, 'a').locator('summary', { hasText: 'Source' }).click();
    await expect(card(page, 'a').locator('pre')).toContainText('KERNEL');
    await answered(page);
    const results = await new AxeBuilder({ page })
      .withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'])
      .analyze();
    expect(
      results.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join('; ')}`),
    ).toEqual([]);
    for (const width of [360, 768, 1280, 3840]) {
      await page.setViewportSize({ width, height: 900 });
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      expect(over, `${width} px`).toBeLessThanOrEqual(0);
    }
  });
}
