import AxeBuilder from '@axe-core/playwright';
import { expect, test, type Locator, type Page } from '@playwright/test';
import { backendPattern, number, onGpu } from './lab';

/** A software GPU checks its kernels for a while before it runs anything. */
const ANSWER_MS = 150_000;

interface Declared {
  slug: string;
  title: string;
  controls: {
    id: string;
    group: string;
    type: string;
    default: string;
    choices?: { id: string }[];
    min?: number;
  }[];
  symbols: { id: string; control: string }[];
  claims: { id: string; reproducible: boolean }[];
  tour: unknown[];
}

/** How much text a trained model reads in an exhibit: thousands of tokens take a software GPU minutes. */
const textLength = ({ controls }: Declared) => controls.find((c) => c.id === 'length' && c.group === 'model');

const exhibit = (page: Page): Locator => page.locator('linearium-exhibit');
const value = (page: Page, symbol: string): Locator =>
  exhibit(page).locator(`.values [data-symbol="${symbol}"] b`);
const inAddress = (page: Page, key: string) => (): string | null => new URL(page.url()).searchParams.get(key);

/** The exhibits of this build, as the page has them. */
async function declared(page: Page): Promise<Declared[]> {
  await page.goto('/exhibits.html?runs=1');
  await expect(page.locator('lin-exhibit-gallery li.live').first()).toBeVisible();
  const slugs = await page
    .locator('lin-exhibit-gallery li.live')
    .evaluateAll((cards) => cards.map((card) => (card as HTMLElement).dataset.paper!));
  const all: Declared[] = [];
  for (const slug of slugs) {
    await page.goto(`/exhibits.html?exhibit=${slug}`);
    // What it declares is fetched with it.
    await expect(exhibit(page).locator('lin-controls')).toBeVisible();
    all.push(
      await exhibit(page).evaluate((element) => (element as unknown as { exhibit: Declared }).exhibit),
    );
  }
  return all;
}

/** Opens an exhibit on the back end of this project and waits for its pictures. */
async function open(page: Page, slug: string, settings: Record<string, string> = {}): Promise<void> {
  const query = new URLSearchParams({
    exhibit: slug,
    ...settings,
    ...(onGpu() ? { backend: 'gpu' } : {}),
  });
  await page.goto(`/exhibits.html?${query.toString()}`);
  await answered(page);
}

/** Something was computed, by this project's back end where it plays kernels at all. */
async function answered(page: Page): Promise<void> {
  await expect(exhibit(page).locator('lin-view').first()).toBeVisible({
    timeout: ANSWER_MS,
  });
  if (onGpu())
    await expect(page.locator('.status .check')).toHaveText('GPU self-check passed', { timeout: ANSWER_MS });
  const wanted = backendPattern();
  await expect
    .poll(
      () =>
        exhibit(page).evaluate((element) => {
          const inside = element as unknown as {
            running: boolean;
            answer?: {
              idle: { control: string }[];
              panel?: { provenance: { backend: string } };
            };
          };
          const idle = inside.answer?.idle.some((i) => i.control === 'backend');
          return inside.running
            ? 'running'
            : idle
              ? 'no kernels'
              : (inside.answer?.panel?.provenance.backend ?? '');
        }),
      { timeout: ANSWER_MS },
    )
    .toMatch(new RegExp(`${wanted.source}|^no kernels$`));
}

test('the gallery has every paper, says which run, and finds them', async ({ page }) => {
  const complaints: string[] = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto('/exhibits.html');
  const cards = page.locator('lin-exhibit-gallery li');
  await expect.poll(() => cards.count()).toBeGreaterThanOrEqual(54);
  const live = page.locator('lin-exhibit-gallery li.live');
  const all = await cards.count();
  const running = await live.count();
  expect(running).toBeGreaterThanOrEqual(2);
  expect(await page.locator('li.absent', { hasText: 'Not built yet' }).count()).toBe(all - running);
  // Those that run have a picture that was made here.
  await expect(live.locator('img')).toHaveCount(running, {
    timeout: ANSWER_MS,
  });
  for (const image of await live.locator('img').all())
    expect(await image.evaluate((i) => (i as HTMLImageElement).naturalWidth)).toBeGreaterThan(100);
  await page.getByRole('searchbox').fill('fp8');
  await expect(cards).toHaveCount(1);
  await expect(cards).toContainText('L-Mul');
  await expect.poll(inAddress(page, 'q')).toBe('fp8');
  await page.getByRole('searchbox').fill('');
  await page.getByLabel('Mechanism').selectOption('grid scan');
  await expect.poll(() => cards.count()).toBeLessThan(20);
  expect(await cards.count()).toBeGreaterThan(3);
  await page.reload();
  await expect(page.getByLabel('Mechanism')).toHaveValue('grid scan');
  await page.goto('/exhibits.html?exhibit=nothing');
  await expect(page.locator('lin-exhibit-gallery .notice')).toContainText('nothing');
  expect(complaints).toEqual([]);
});

test('every exhibit opens, draws every view, and comes back from its link', async ({ page }) => {
  test.setTimeout(600_000);
  const complaints: string[] = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  for (const each of await declared(page)) {
    const { slug, title, controls, symbols } = each;
    const choice = controls.find((c) => c.type === 'choice' && c.id !== 'backend');
    const other = choice?.choices?.find((c) => c.id !== choice.default);
    const settings: Record<string, string> = choice && other ? { [choice.id]: other.id } : {};
    const shortest = textLength(each)?.min;
    if (onGpu() && shortest !== undefined) settings['length'] = String(shortest);
    await open(page, slug, settings);
    await expect(exhibit(page).getByRole('heading', { level: 2, name: title }).first()).toBeVisible();
    for (const [key, wanted] of Object.entries(settings)) expect(inAddress(page, key)(), slug).toBe(wanted);
    expect(inAddress(page, 'exhibit')()).toBe(slug);
    const views = exhibit(page).locator('lin-view');
    const drawn = await exhibit(page).evaluate(
      (e) => (e as unknown as { answer: { panel: { views: unknown[] } } }).answer.panel.views.length,
    );
    await expect(views).toHaveCount(drawn);
    for (const view of await views.all()) {
      await view.scrollIntoViewIfNeeded();
      await expect(view.locator('svg path, canvas, td').first()).toBeAttached({
        timeout: ANSWER_MS,
      });
    }
    // Each symbol of the equations has its place among the values.
    for (const { id } of symbols) {
      await expect(exhibit(page).locator(`.words .sym-${id}`).first(), `${slug} ${id}`).toBeAttached();
      await expect(exhibit(page).locator(`.values [data-symbol="${id}"]`)).toHaveCount(1);
    }
  }
  expect(complaints).toEqual([]);
});

test('a control changes values, lights up its symbols, and is in the address', async ({ page }) => {
  await open(page, 'l_mul');
  await expect(value(page, 'rms_error')).toHaveText(/0\.036/);
  const bits = page.getByRole('spinbutton', { name: 'Mantissa bits' });
  await bits.fill('3');
  await bits.press('Enter');
  await expect.poll(inAddress(page, 'bits')).toBe('3');
  await expect(value(page, 'rms_error')).toHaveText(/0\.05[89]/);
  await bits.focus();
  await expect(exhibit(page).locator('.words .sym-bits').first()).toHaveClass(/\blit\b/);
  await expect(exhibit(page).locator('.values [data-symbol="bits"]')).toHaveClass(/\blit\b/);
  // And a symbol its control.
  await exhibit(page).locator('.values [data-symbol="gain"]').hover();
  await expect(exhibit(page).locator('.setting[data-setting="gain"]')).toHaveClass(/\blit\b/);
  await page.goBack();
  await expect(value(page, 'rms_error')).toHaveText(/0\.036/);
  // A link in the words leads to its settings without loading the page again.
  await page.evaluate(() => ((window as unknown as { kept: boolean }).kept = true));
  await exhibit(page).getByRole('link', { name: '6 bits' }).click();
  await expect.poll(inAddress(page, 'bits')).toBe('6');
  expect(await page.evaluate(() => (window as unknown as { kept?: boolean }).kept)).toBe(true);
});

test('the newest settings win while a slider is dragged', async ({ page }) => {
  await open(page, 'light_net');
  const slider = page.getByRole('slider', {
    name: 'Side of the image, slider',
  });
  await slider.focus();
  for (let i = 0; i < 12; i++) await page.keyboard.press('ArrowRight');
  await expect(value(page, 'tokens')).toHaveText('1,296', {
    timeout: ANSWER_MS,
  });
  await expect.poll(inAddress(page, 'side')).toBe('36');
});

test('the ledger measures every claim on this device', async ({ page }) => {
  test.setTimeout(600_000);
  // What trained models recall and lose, and how many pictures they get right, takes a software GPU minutes: it is measured on the CPU, and
  // the kernels of both are compared elsewhere.
  const trained = ({ controls }: Declared): boolean =>
    controls.some((c) => c.group === 'model' || c.group === 'trained' || c.id === 'model');
  const all = (await declared(page)).filter((each) => !onGpu() || !trained(each));
  for (const { slug, claims } of all) {
    await open(page, slug);
    const ledger = exhibit(page).locator('lin-claim-ledger');
    await ledger.scrollIntoViewIfNeeded();
    for (const { id, reproducible } of claims) {
      const row = ledger.locator(`[data-claim="${id}"]`);
      const verdict = row.locator('.verdict');
      await expect(verdict).toHaveText(reproducible ? '✓ holds' : /holds|does not hold here/, {
        timeout: ANSWER_MS,
      });
      await expect(row.locator('code')).toContainText(`linearium claims ${slug}`);
      if ((await verdict.innerText()).includes('not')) await expect(row.locator('.why')).toBeVisible();
    }
    await expect(ledger.getByRole('button', { name: 'Measure again' })).toBeEnabled();
  }
});

test('a step of the tour is done when the learner did it', async ({ page }) => {
  await open(page, 'l_mul');
  const tour = exhibit(page).locator('lin-exhibit-tour');
  await tour.getByRole('button', { name: 'Start' }).click();
  await expect(value(page, 'rms_error')).toHaveText('?');
  const next = tour.getByRole('button', { name: 'Next step' });
  await expect(next).toBeDisabled();
  await expect(tour.getByRole('button', { name: 'Reveal' })).toBeDisabled();
  await tour.getByRole('slider').focus();
  await page.keyboard.press('ArrowRight');
  await expect.poll(inAddress(page, 'bits')).toBe('3');
  await tour.getByRole('button', { name: 'Reveal' }).click();
  await expect(tour.locator('.reveal')).toContainText(/It is 0\.05/);
  await expect(value(page, 'rms_error')).toHaveText(/0\.05/);
  await next.click();
  // The curve that is to be drawn is not among the pictures.
  const state = exhibit(page).locator('lin-view').filter({ hasText: 'Size of the state' });
  await expect(state).toHaveCount(0);
  const handle = tour.getByRole('slider', { name: 'Handle 7' });
  await handle.focus();
  for (let i = 0; i < 5; i++) await page.keyboard.press('ArrowUp');
  await expect(handle).toHaveAttribute('aria-valuenow', '75');
  await tour.getByRole('button', { name: 'Reveal' }).click();
  await expect(tour.locator('.reveal')).toContainText('off by');
  await expect(state).toHaveCount(1);
  await next.click();
  await expect(tour.locator('.reveal')).toHaveCount(0);
  const gain = page.getByRole('spinbutton', { name: 'Gain of the recurrence' });
  await gain.fill('0.9');
  await gain.press('Enter');
  // A software GPU needs longer than a test usually waits.
  await expect(tour.locator('.reveal')).toContainText('Found', {
    timeout: 30_000,
  });
  expect(number(await value(page, 'effective').innerText())).toBeLessThan(1);
  await tour.getByRole('button', { name: 'Done' }).click();
  await expect(tour.getByRole('button', { name: 'Start' })).toBeVisible();
});

for (const scheme of ['light', 'dark'] as const) {
  test(`no accessibility violations and no sideways scrolling, ${scheme}`, async ({ page }) => {
    test.setTimeout(600_000);
    await page.emulateMedia({ colorScheme: scheme, reducedMotion: 'reduce' });
    const pages = (await declared(page)).map(({ slug }) => `exhibit=${slug}`);
    // What is on screen does not depend on the back end: none is waited for.
    for (const query of ['', ...pages]) {
      await page.goto(`/exhibits.html?${query}`);
      const there = page.locator(query ? 'linearium-exhibit lin-view' : 'li.live img');
      await expect(there.first()).toBeVisible({ timeout: ANSWER_MS });
      const results = await new AxeBuilder({ page })
        .withTags(['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'])
        .analyze();
      expect(
        results.violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join('; ')}`),
        query,
      ).toEqual([]);
      for (const width of [360, 768, 1280, 3840]) {
        await page.setViewportSize({ width, height: 900 });
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        expect(over, `${query} at ${width} px`).toBeLessThanOrEqual(0);
      }
      await page.setViewportSize({ width: 1280, height: 720 });
    }
  });
}

test('on a narrow screen title, idea and pictures come before the controls', async ({ page }) => {
  await page.setViewportSize({ width: 360, height: 900 });
  await open(page, 'l_mul');
  const places = ['.title', '.words', 'lin-panel', 'aside.rail', 'lin-claim-ledger'];
  await expect(exhibit(page).locator('.lead .words').first()).toBeVisible();
  const tops = (): Promise<number[]> =>
    Promise.all(places.map(async (p) => (await exhibit(page).locator(p).first().boundingBox())!.y));
  const narrow = await tops();
  expect(narrow).toEqual([...narrow].sort((a, b) => a - b));
  // What is read and tabbed through has the same order.
  const inOrder = await exhibit(page).evaluate(
    (e, places) =>
      places
        .map((p) => e.shadowRoot!.querySelector(p)!)
        .every(
          (at, i, all) =>
            i === 0 || all[i - 1].compareDocumentPosition(at) & Node.DOCUMENT_POSITION_FOLLOWING,
        ),
    places,
  );
  expect(inOrder).toBe(true);
  // Where there is room the controls stand beside the title.
  await page.setViewportSize({ width: 1280, height: 900 });
  await expect
    .poll(async () => (await exhibit(page).locator('aside.rail').boundingBox())!.y)
    .toBeLessThanOrEqual(narrow[0] + 60);
});

test('on paper there are no controls, nothing is cut off, and it is light', async ({ page }) => {
  await page.emulateMedia({ colorScheme: 'dark' });
  await open(page, 'l_mul');
  await page.evaluate(() => dispatchEvent(new Event('beforeprint')));
  await page.setViewportSize({ width: 700, height: 990 });
  await page.emulateMedia({ media: 'print', colorScheme: 'dark' });
  await expect(exhibit(page).locator('aside.rail')).toBeHidden();
  await expect(exhibit(page).locator('lin-exhibit-tour')).toBeHidden();
  const shown = await exhibit(page).evaluate((e) => ({
    over: document.documentElement.scrollWidth - innerWidth,
    scheme: getComputedStyle(e).colorScheme,
    views: [...e.shadowRoot!.querySelector('lin-panel')!.shadowRoot!.querySelectorAll('lin-view')].map(
      (v) => getComputedStyle(v).breakInside,
    ),
  }));
  expect(shown.over).toBeLessThanOrEqual(0);
  expect(shown.scheme).toBe('light');
  expect(new Set(shown.views)).toEqual(new Set(['avoid']));
});
