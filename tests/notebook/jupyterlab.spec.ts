/** The widget in a real JupyterLab: from the picture to the number and back. */
import { expect, test, type Locator, type Page } from '@playwright/test';
import { formatNumber } from '../../web/src/views/format';
import { tableOf } from '../browser/lab/lab';
import { examples } from '../package/consumer';
import { openJupyterLab, type Notebook } from './servers';

const CELLS = [
  // 0
  'import json, linearium\nlab = linearium.Lab(context=256, backend="cpu")\nlab',
  // 1: the numbers of the picture
  `first = await lab.result()
print(json.dumps({
    "query": first.query,
    "curves": {name: xy.tolist() for name, xy in first.arrays["decay"]["cumulative"].items()},
    "heat": [list(first.arrays["decay"]["rate-a"].shape), str(first.arrays["decay"]["rate-a"].dtype)],
    "panels": sorted(first.panels), "backend": first.panels["decay"]["provenance"]["backend"]}))`,
  // 2: another state, in the same cell as its numbers
  `lab.context = 1024
second = await lab.result()
loss = second.arrays["cost"]["loss"]
print(json.dumps([second.query, second.panels["decay"]["provenance"]["contextTokens"], max(float(xy[:, 0].max()) for xy in loss.values())]))`,
  // 3: what a person chose with the keys
  'print(json.dumps([lab.state, lab.arrays["decay"]["rate-a"].shape[0] > 0]))',
  // 4: what cannot be is done otherwise, and said
  `import warnings
lab.state = {"context": 70000, "backend": "cpu"}
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    await lab.result()
print(json.dumps([str(one.message) for one in told]))`,
  // 5: an exhibit needs the complete engine; nobody sees it while its numbers are asked for
  `from IPython.display import HTML, display
display(HTML("<div style='height:3000px'></div>"))
paper = linearium.Exhibit("l_mul", bits=3)
display(paper)
mul = await paper.result()
print(json.dumps([mul.query, list(mul.values), len(mul.arrays["l_mul"])]))`,
  // 6: nobody shows this one
  `linearium.widget.SHOWN_S = 1
try:
    await linearium.Lab().result()
except linearium.LineariumError as error:
    print(json.dumps(str(error)))`,
] as const;

/** The examples of the words, which go on from one another. */
const WORDS = ['README.md', 'web/notebook/README.md']
  .flatMap(examples)
  .filter(({ language }) => language === 'python');

test.describe.configure({ mode: 'serial' });

let notebook: Notebook;
let page: Page;
const elsewhere: string[] = [];

test.beforeAll(async ({ browser }) => {
  notebook = await openJupyterLab([...CELLS, ...WORDS.map(({ source }) => source)]);
  page = await browser.newPage({ viewport: { width: 1400, height: 1000 } });
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(notebook.origin) && !/^(blob|data):/.test(url)) elsewhere.push(url);
  });
  await page.goto(notebook.address);
  await expect(page.getByText('Python 3 (ipykernel) | Idle')).toBeVisible();
});

test.afterAll(async () => {
  await page.close();
  await notebook.close();
});

const cell = (index: number): Locator => page.locator('.jp-Notebook .jp-Cell').nth(index);
const element = (): Locator => cell(0).locator('linearium-lab');

async function run(index: number): Promise<void> {
  await cell(index).locator('.jp-InputArea-editor').click();
  await page.keyboard.press('Shift+Enter');
}

/** What a cell prints, as JSON; an error of it is one of the test. */
async function told<T>(index: number): Promise<T> {
  await run(index);
  const printed = cell(index).locator('.jp-OutputArea-output pre');
  await expect(printed.last()).toBeVisible();
  const text = await printed.last().innerText();
  try {
    return JSON.parse(text) as T;
  } catch {
    throw new Error(`cell ${index} says: ${text}`);
  }
}

const picture = (): Locator => curves().locator('.plot svg').first();
const curves = (): Locator =>
  element()
    .locator('lin-panel[data-panel="decay"] lin-view')
    .filter({ has: page.getByRole('heading', { name: 'What is left of the first token' }) });

test('the lab draws in the output of a cell, and its arrays are the numbers of its table', async () => {
  await run(0);
  await expect(picture()).toBeVisible();
  const {
    query,
    curves: found,
    heat,
    panels,
    backend,
  } = await told<{
    query: string;
    curves: Record<string, [number, number][]>;
    heat: [[number, number], string];
    panels: string[];
    backend: string;
  }>(1);
  expect(new URLSearchParams(query).get('context')).toBe('256');
  expect(panels).toEqual(['cost', 'decay', 'receptive-field', 'state']);
  expect(backend).toMatch(/^cpu \(wasm/);
  expect(heat[0][0]).toBeGreaterThan(1);
  expect(heat[1]).toBe('float32');
  const table = await tableOf(curves());
  expect(table.length).toBe(Object.values(found)[0]!.length);
  expect(table[0]!.length).toBeGreaterThan(3);
  const series = Object.values(found);
  for (const [i, row] of table.entries())
    expect(row, `row ${i}`).toEqual(
      [series[0]![i]![0], ...series.map((points) => points[i]![1])].map((value) => formatNumber(value, 6)),
    );
});

test('a state set from Python changes the picture and what comes back', async () => {
  const drawn = async (): Promise<string> => {
    await curves().scrollIntoViewIfNeeded();
    return (await picture().screenshot()).toString('base64');
  };
  const before = await drawn();
  const [query, tokens, last] = await told<[string, number, number]>(2);
  expect(query).toContain('context=1024');
  expect(tokens).toBe(1024);
  expect(last).toBeGreaterThan(900);
  await expect.poll(() => drawn().then((now) => now === before)).toBe(false);
  await expect(element().getByRole('slider', { name: 'Context length, slider' })).toHaveAttribute(
    'aria-valuetext',
    '1,024 tokens',
  );
});

test('keys in a control are the control’s, and what they choose is there in Python', async () => {
  const cells = await page.locator('.jp-Notebook .jp-Cell').count();
  const slider = element().getByRole('slider', { name: 'Context length, slider' });
  await slider.scrollIntoViewIfNeeded();
  await slider.focus();
  // In JupyterLab's command mode “a” and “b” make cells and two “d” remove one.
  for (const key of ['Home', 'a', 'b', 'd', 'd', 'x']) await page.keyboard.press(key);
  await expect(slider).toHaveAttribute('aria-valuetext', '64 tokens');
  expect(await page.locator('.jp-Notebook .jp-Cell').count()).toBe(cells);
  await expect
    .poll(() => element().evaluate((lab) => (lab as unknown as { state: object }).state))
    .toEqual({ context: '64', backend: 'cpu' });
  // The result goes to Python when the work has rested.
  await element().evaluate((lab) => (lab as unknown as { result(): Promise<unknown> }).result());
  const [state, computed] = await told<[Record<string, string>, boolean]>(3);
  expect(state).toEqual({ context: '64', backend: 'cpu' });
  expect(computed).toBe(true);
});

test('what cannot be is said in Python', async () => {
  const sentences = await told<string[]>(4);
  expect(sentences).toHaveLength(1);
  expect(sentences[0]).toMatch(/context = “70000” is out of range: give a value from 64 to 65536/);
});

test('an exhibit out of sight gives its numbers, with the complete engine', async () => {
  const [query, symbols, views] = await told<[string, string[], number]>(5);
  expect(query).toContain('bits=3');
  expect(symbols.length).toBeGreaterThan(1);
  expect(views).toBeGreaterThan(0);
  await expect(
    cell(5).locator('linearium-exhibit').getByRole('heading', { name: 'L-Mul' }).first(),
  ).toBeAttached();
});

test('a lab that no cell shows ends in a sentence', async () => {
  expect(await told<string>(6)).toContain('no notebook shows this Lab');
});

test('the colours follow JupyterLab’s theme', async () => {
  await expect(element()).toHaveAttribute('theme', 'light');
  const choose = (words: RegExp): Locator =>
    page.locator('.lm-Menu-item', { has: page.locator('.lm-Menu-itemLabel', { hasText: words }) });
  await page.getByRole('menuitem', { name: 'Settings' }).click();
  await choose(/^Theme$/).click();
  await choose(/^JupyterLab Dark$/).click();
  await expect(element()).toHaveAttribute('theme', 'dark');
});

for (const [i, { file, line }] of WORDS.entries()) {
  test(`the example on line ${line} of ${file} runs`, async () => {
    const index = CELLS.length + i;
    await run(index);
    // A number stands in the brackets when the cell has ended.
    await expect(cell(index).locator('.jp-InputPrompt')).toHaveText(/^\[\d+\]:$/);
    const outputs = cell(index).locator('.jp-OutputArea-output');
    await expect(
      outputs.and(page.locator('[data-mime-type$="error"], [data-mime-type$="stderr"]')),
    ).toHaveCount(0);
  });
}

test('nothing was asked of another origin', () => {
  expect(elsewhere).toEqual([]);
});
