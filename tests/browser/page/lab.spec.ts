/** The page around the engine, on a double that can be made to trap, to hang and to be slow. */
import AxeBuilder from '@axe-core/playwright';
import { expect, test, type Locator, type Page } from '@playwright/test';

const WCAG = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
const panel = (page: Page, id: string): Locator => page.locator(`lin-panel[data-panel="${id}"]`);
const notices = (page: Page): Locator => page.locator('.notices p');
const slider = (page: Page, name: string): Locator => page.getByRole('slider', { name });

async function openLab(page: Page, query = ''): Promise<void> {
  await page.goto(`/index.html${query}`);
  await expect(panel(page, 'cost').locator('lin-view').first()).toBeVisible({
    timeout: 15_000,
  });
}

/** The value of a setting in the address. */
const inAddress = (page: Page, key: string): (() => string | null) => {
  return () => new URL(page.url()).searchParams.get(key);
};

test('opens with a result and asks nothing of another origin', async ({ page }) => {
  const requests: string[] = [];
  page.on('request', (request) => requests.push(request.url()));
  const complaints: string[] = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  await openLab(page);
  for (const id of ['decay', 'receptive-field', 'state', 'cost']) {
    await expect(panel(page, id).locator('lin-view').first()).toBeVisible();
  }
  await expect(panel(page, 'cost').locator('.cover', { hasText: '4,096 tokens' })).toBeVisible();
  const origin = new URL(page.url()).origin;
  expect(
    requests.filter((r) => !r.startsWith(origin) && !r.startsWith('blob:') && !r.startsWith('data:')),
  ).toEqual([]);
  expect(complaints).toEqual([]);
  expect(new URL(page.url()).search).toBe('');
});

test('settings live in the address; back and forward go through them', async ({ page }) => {
  await openLab(page);
  await page.getByRole('spinbutton', { name: 'Context length in tokens' }).fill('1024');
  await page.keyboard.press('Enter');
  await expect.poll(inAddress(page, 'context')).toBe('1024');
  await expect(panel(page, 'cost').locator('.cover', { hasText: '1,024 tokens' })).toBeVisible();
  await page.getByRole('spinbutton', { name: 'Head', exact: true }).fill('3');
  await page.keyboard.press('Enter');
  await expect.poll(inAddress(page, 'head')).toBe('3');
  await page.goBack();
  await expect.poll(inAddress(page, 'head')).toBe(null);
  await expect(page.getByRole('spinbutton', { name: 'Head', exact: true })).toHaveValue('0');
  await page.goBack();
  await expect.poll(inAddress(page, 'context')).toBe(null);
  await expect(panel(page, 'cost').locator('.cover', { hasText: '4,096 tokens' })).toBeVisible();
  await page.goForward();
  await page.goForward();
  await expect.poll(inAddress(page, 'head')).toBe('3');
  await page.reload();
  await expect(page.getByRole('spinbutton', { name: 'Head', exact: true })).toHaveValue('3');
  await expect(panel(page, 'cost').locator('.cover', { hasText: '1,024 tokens' })).toBeVisible();
});

test('a dragged slider writes the address in place and makes one step of history', async ({ page }) => {
  await openLab(page);
  const before = await page.evaluate(() => history.length);
  const context = slider(page, 'Context length, slider');
  const box = (await context.boundingBox())!;
  await page.mouse.move(box.x + box.width * 0.59, box.y + box.height / 2);
  await page.mouse.down();
  for (let i = 0; i < 20; i++)
    await page.mouse.move(box.x + box.width * (0.59 - i * 0.02), box.y + box.height / 2);
  await page.mouse.up();
  await expect
    .poll(async () => Number(await page.getByRole('spinbutton', { name: /^Context length/ }).inputValue()))
    .toBeLessThan(600);
  const chosen = await page.getByRole('spinbutton', { name: /^Context length/ }).inputValue();
  await expect.poll(inAddress(page, 'context')).toBe(chosen);
  expect(await page.evaluate(() => history.length)).toBe(before + 1);
  await page.goBack();
  await expect.poll(inAddress(page, 'context')).toBe(null);
});

test('unknown and impossible values of a link are named and replaced', async ({ page }) => {
  await openLab(page, '?colour=red&context=9&model=gpt&head=2');
  await expect(notices(page)).toHaveCount(3);
  for (const word of ['colour', 'context', 'model'])
    await expect(notices(page).filter({ hasText: word })).toBeVisible();
  await expect.poll(() => new URL(page.url()).search).toBe('?head=2');
  await notices(page)
    .first()
    .getByRole('button', { name: /^Dismiss/ })
    .click();
  await expect(notices(page)).toHaveCount(2);
});

test('two runs side by side: a second row of values, both on the same axes', async ({ page }) => {
  await openLab(page);
  await page.getByRole('switch', { name: 'Compare two runs' }).click();
  await expect(page.getByText('Run B is the same as run A')).toBeVisible();
  await page.getByRole('switch', { name: 'Multiply decays by, run B' }).click();
  await expect.poll(inAddress(page, 'b.decay-factor')).toBe('0.99');
  const curves = panel(page, 'cost').locator('lin-view').first().locator('svg.curves path');
  await expect(curves).toHaveCount(2);
  await page.getByRole('switch', { name: 'Compare two runs' }).click();
  await expect.poll(inAddress(page, 'b.decay-factor')).toBe(null);
  await expect(curves).toHaveCount(1);
});

test('an intervention is off at its neutral value and keeps its value when switched on again', async ({
  page,
}) => {
  await openLab(page);
  const toggle = page.getByRole('switch', { name: 'Multiply writes by' });
  await toggle.click();
  await expect.poll(inAddress(page, 'write-factor')).toBe('0.75');
  await page.getByRole('spinbutton', { name: 'Multiply writes by' }).fill('0.5');
  await page.keyboard.press('Enter');
  await expect.poll(inAddress(page, 'write-factor')).toBe('0.5');
  await toggle.click();
  await expect.poll(inAddress(page, 'write-factor')).toBe(null);
  await toggle.click();
  await expect.poll(inAddress(page, 'write-factor')).toBe('0.5');
  await page.getByRole('button', { name: 'What it does: Multiply writes by' }).click();
  await expect(page.getByText('insert less (Stuffed Mamba')).toBeVisible();
});

test('settings are shown where they matter', async ({ page }) => {
  await openLab(page);
  await expect(page.getByRole('spinbutton', { name: 'Start in text in bytes' })).toBeVisible();
  await expect(page.getByRole('textbox', { name: 'Text' })).toHaveCount(0);
  await page.getByRole('combobox', { name: 'Input' }).selectOption('text');
  await expect(page.getByRole('textbox', { name: 'Text' })).toBeVisible();
  await expect(page.getByRole('spinbutton', { name: 'Start in text in bytes' })).toHaveCount(0);
});

test('the context grows by itself until it is stopped', async ({ page }) => {
  await openLab(page, '?context=64');
  await page.getByRole('button', { name: 'Let the context grow' }).click();
  await expect
    .poll(() => Number(inAddress(page, 'context')() ?? '4096'), {
      timeout: 20_000,
    })
    .toBeGreaterThan(120);
  await page.getByRole('button', { name: 'Let the context grow' }).click();
  // The address follows the engine, which may have had one more step to answer.
  const shown = page.getByRole('spinbutton', { name: 'Context' });
  const held = await shown.inputValue();
  await expect.poll(inAddress(page, 'context')).toBe(held);
  await page.waitForTimeout(600);
  expect(inAddress(page, 'context')()).toBe(held);
  await expect(shown).toHaveValue(held);
});

test('a trap is survived: a new worker with the same settings, said once', async ({ page }) => {
  await openLab(page, '?head=2');
  await page.evaluate(() => {
    const lab = document.querySelector('linearium-lab') as unknown as {
      engine: { configure(q: string, gpu: boolean): void };
    };
    lab.engine.configure('head=2&input=text&text=trap', false);
  });
  await expect(notices(page).filter({ hasText: 'was started again' })).toHaveCount(1);
  await expect(notices(page).filter({ hasText: 'stopped 4 times within a minute' })).toBeVisible({
    timeout: 20_000,
  });
  // Another state is taken by the new worker; head 2 is from the state before.
  await page.getByRole('combobox', { name: 'Input' }).selectOption('newlines');
  await page.getByRole('spinbutton', { name: 'Head', exact: true }).fill('1');
  await page.keyboard.press('Enter');
  await expect(panel(page, 'decay').getByText('head 1 halves')).toBeVisible();
});

test('a worker that hangs is replaced', async ({ page }) => {
  await openLab(page);
  await page.evaluate(() => {
    const lab = document.querySelector('linearium-lab') as unknown as {
      engine: { configure(q: string, gpu: boolean): void };
    };
    lab.engine.configure('input=text&text=hang', false);
  });
  await expect(notices(page).filter({ hasText: 'did not answer any more' })).toBeVisible({ timeout: 25_000 });
  // The new worker has the same state and hangs again, until another state replaces it.
  await page.getByRole('combobox', { name: 'Input' }).selectOption('newlines');
  await page.getByRole('spinbutton', { name: 'Head', exact: true }).fill('4');
  await page.keyboard.press('Enter');
  await expect(panel(page, 'decay').getByText('head 4 halves')).toBeVisible({
    timeout: 25_000,
  });
});

test('long work shows its progress and can be cancelled', async ({ page }) => {
  await openLab(page, '?input=text&text=slow&context=65536');
  await expect(panel(page, 'decay').getByText(/^first [\d,]+ of 65,536 tokens$/)).toBeVisible();
  const progress = page.locator('.status').getByRole('progressbar', { name: 'Progress' });
  await expect(progress).toBeVisible();
  await page.locator('.status').getByRole('button', { name: 'Cancel' }).click();
  await expect(progress).toBeHidden();
  await expect(panel(page, 'decay').locator('lin-view').first()).toBeVisible();
});

test('recall is measured on demand, with progress and cancel', async ({ page }) => {
  await openLab(page);
  const recall = panel(page, 'recall');
  await expect(recall.getByText('Not measured yet')).toBeVisible();
  await recall.getByRole('combobox', { name: 'Samples a cell' }).selectOption('20');
  await recall.getByRole('button', { name: 'Measure recall' }).click();
  await expect(recall.getByRole('progressbar')).toBeVisible();
  await recall.getByRole('button', { name: 'Cancel' }).click();
  await expect(recall.getByRole('progressbar')).toHaveCount(0);
  await recall.getByRole('combobox', { name: 'Samples a cell' }).selectOption('5');
  await recall.getByRole('button', { name: 'Measure recall' }).click();
  await expect(recall.getByRole('heading', { name: 'Share of digits recalled' })).toBeVisible({
    timeout: 20_000,
  });
});

const CONFIG = {
  name: 'config.json',
  mimeType: 'application/json',
  buffer: Buffer.from('{"model_type":"mamba2"}'),
};
const WEIGHTS = {
  name: 'model.safetensors',
  mimeType: 'application/octet-stream',
  buffer: Buffer.alloc(64),
};
const choose = (page: Page, files: { name: string; mimeType: string; buffer: Buffer }[]): Promise<void> =>
  page.locator('#file').setInputFiles(files);

test('a checkpoint is taken in two halves, in either order', async ({ page }) => {
  await openLab(page);
  await choose(page, [WEIGHTS]);
  await expect(notices(page).filter({ hasText: 'config.json is missing' })).toBeVisible();
  await choose(page, [CONFIG]);
  await expect.poll(inAddress(page, 'model')).toBe('file');
  await expect(panel(page, 'cost').locator('.cover', { hasText: '4,096 tokens' })).toBeVisible();
});

test('a link to a file of somebody says what is missing and takes it', async ({ page }) => {
  await page.goto('/index.html?model=file');
  await expect(
    page.getByText('This link shows a checkpoint that is on the machine of whoever made it'),
  ).toBeVisible();
  await choose(page, [CONFIG, WEIGHTS]);
  await expect(panel(page, 'cost').locator('lin-view').first()).toBeVisible();
  await expect(page.getByText('This link shows a checkpoint')).toHaveCount(0);
});

test('files that cannot be read get a sentence', async ({ page }) => {
  await openLab(page);
  await choose(page, [{ name: 'picture.png', mimeType: 'image/png', buffer: Buffer.from('x') }]);
  await expect(notices(page).filter({ hasText: '“picture.png” is neither' })).toBeVisible();
  await choose(page, [{ ...CONFIG, buffer: Buffer.from('not json') }, WEIGHTS]);
  await expect(notices(page).filter({ hasText: 'config.json is not JSON' })).toBeVisible();
  await expect(panel(page, 'decay').locator('lin-view').first()).toBeVisible();
});

test('a text file becomes the input', async ({ page }) => {
  await openLab(page);
  await choose(page, [
    {
      name: 'story.txt',
      mimeType: 'text/plain',
      buffer: Buffer.from('Once upon a time. '.repeat(50)),
    },
  ]);
  await expect.poll(inAddress(page, 'input')).toBe('file');
  await expect(panel(page, 'cost').locator('.cover', { hasText: '4,096 tokens' })).toBeVisible();
});

test('the theme is chosen and kept, and is not in the address', async ({ page }) => {
  await page.emulateMedia({ colorScheme: 'light' });
  await openLab(page);
  const background = (): Promise<string> =>
    page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  expect(await background()).toBe('rgb(244, 244, 241)');
  await page.getByRole('radio', { name: 'Dark' }).check();
  expect(await background()).toBe('rgb(14, 17, 19)');
  expect(new URL(page.url()).search).toBe('');
  await page.reload();
  expect(await background()).toBe('rgb(14, 17, 19)');
});

test('the self-check report can be read and copied', async ({ page }) => {
  await openLab(page);
  await page.getByRole('button', { name: 'Self-check report' }).click();
  await expect(page.getByRole('dialog')).toContainText('fixture: no back end');
  await page.keyboard.press('Escape');
  await expect(page.getByRole('dialog')).toBeHidden();
});

test('everything that can be used is reached with the Tab key', async ({ page }) => {
  await openLab(page);
  const reached = new Set<string>();
  for (let i = 0; i < 140; i++) {
    await page.keyboard.press('Tab');
    const name = await page.evaluate(() => {
      let element: Element | null = document.activeElement;
      while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
      return element
        ? `${element.localName} ${element.getAttribute('role') ?? element.getAttribute('type') ?? ''}`.trim()
        : '';
    });
    reached.add(name);
  }
  for (const kind of [
    'a',
    'select',
    'input range',
    'input number',
    'input switch',
    'button',
    'div slider',
    'summary',
  ]) {
    expect([...reached]).toContain(kind);
  }
});

for (const scheme of ['light', 'dark'] as const) {
  test(`the lab has no accessibility violation, ${scheme}`, async ({ page }) => {
    await page.emulateMedia({ colorScheme: scheme });
    await openLab(page, '?context=300&b.decay-factor=0.99&colour=red');
    const { violations } = await new AxeBuilder({ page }).withTags(WCAG).analyze();
    expect(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join('; ')}`)).toEqual(
      [],
    );
  });
}

test('on paper every picture is drawn at its width there, and on screen as before', async ({ page }) => {
  await openLab(page);
  const widths = (): Promise<number[]> =>
    page.evaluate(async () => {
      const lab = document.querySelector('linearium-lab')!.shadowRoot!;
      const views = [...lab.querySelectorAll('lin-panel')].flatMap((p) => [
        ...p.shadowRoot!.querySelectorAll('lin-view'),
      ]);
      await Promise.all(
        views.map((v) => (v as unknown as { updateComplete: Promise<boolean> }).updateComplete),
      );
      const pictures = views.filter((v) =>
        ['lines', 'heatmap', 'histogram'].includes((v as unknown as { view: { kind: string } }).view.kind),
      );
      return pictures.map(
        (v) => v.shadowRoot!.querySelector<SVGSVGElement>('.plot > svg')?.viewBox.baseVal.width ?? 0,
      );
    });
  await expect.poll(async () => Math.min(...(await widths()))).toBeGreaterThan(0);
  const onScreen = await widths();
  expect(onScreen.length).toBeGreaterThan(5);
  await page.evaluate(() => dispatchEvent(new Event('beforeprint')));
  const onPaper = await widths();
  expect(onPaper.length).toBe(onScreen.length);
  expect(onPaper.filter((width) => width !== 318 && width !== 670)).toEqual([]);
  await page.evaluate(() => dispatchEvent(new Event('afterprint')));
  // Those out of sight a moment later.
  await expect.poll(widths).toEqual(onScreen);
});
