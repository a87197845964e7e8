/** Ways around the lab on the real engine, on the back end of the project that runs. */
import { expect, test, type Locator, type Page } from '@playwright/test';

/** A software GPU checks its kernels for a while before it runs anything. */
const ANSWER_MS = 150_000;

export const onGpu = (): boolean => test.info().project.name === 'webgpu';
/** What the back end calls itself where this project's tests run. */
export const backendPattern = (): RegExp => (onGpu() ? /^gpu \(/ : /^cpu \(wasm/);

export const panel = (page: Page, id: string): Locator => page.locator(`lin-panel[data-panel="${id}"]`);
export const view = (page: Page, id: string, title: string | RegExp): Locator =>
  panel(page, id)
    .locator('lin-view')
    .filter({ has: page.getByRole('heading', { name: title }) });
export const notices = (page: Page): Locator => page.locator('.notices p');

interface Inside {
  facts?: { mixer: string } | null;
  progressNow?: { state: string; backend: string };
  panelsById: Map<
    string,
    {
      provenance: {
        backend: string;
        coveredTokens: number;
        contextTokens: number;
      };
    }
  >;
  engine: { loseGpu(): void };
}

/** Waits until everything asked for is answered by the back end of this project. */
export async function answered(page: Page): Promise<void> {
  const wanted = backendPattern();
  await expect
    .poll(
      () =>
        page.evaluate(() => {
          const lab = document.querySelector('linearium-lab') as unknown as Inside;
          const cost = lab.panelsById.get('cost')?.provenance;
          const asked = Number(new URL(location.href).searchParams.get('context') ?? 4096);
          const whole =
            cost !== undefined && cost.coveredTokens === cost.contextTokens && cost.contextTokens <= asked;
          return `${lab.progressNow?.state === 'idle' && whole ? 'whole' : 'part'} ${cost?.backend ?? ''}`;
        }),
      { timeout: ANSWER_MS },
    )
    .toMatch(new RegExp(`^whole ${wanted.source.slice(1)}`));
}

export async function openLab(page: Page, settings: Record<string, string> = {}): Promise<void> {
  const query = new URLSearchParams({
    context: '256',
    ...settings,
    ...(onGpu() ? { backend: 'gpu' } : {}),
  });
  await page.goto(`/?${query.toString()}`);
  await answered(page);
}

/** The mixer of the model whose facts the page shows. */
export function mixer(page: Page): Promise<string | undefined> {
  return page.evaluate(() => (document.querySelector('linearium-lab') as unknown as Inside).facts?.mixer);
}

export function loseGpu(page: Page): Promise<void> {
  return page.evaluate(() => {
    (document.querySelector('linearium-lab') as unknown as Inside).engine.loseGpu();
  });
}

/** The cells of the table behind a view, row by row. */
export async function tableOf(of: Locator): Promise<string[][]> {
  await expect(of).not.toHaveAttribute('stale');
  const disclosure = of.locator('summary', { hasText: 'Table' });
  if ((await disclosure.count()) > 0) await disclosure.click();
  await expect(of.getByRole('row').nth(1)).toBeVisible();
  const rows = await of.getByRole('row').all();
  return Promise.all(rows.slice(1).map((row) => row.getByRole('cell').allInnerTexts()));
}

export const number = (cell: string): number =>
  Number(
    cell
      .replaceAll(',', '')
      .replace('−', '-')
      .replace(/×10(.*)$/, (_, e: string) => `e${superscript(e)}`),
  );

function superscript(text: string): string {
  return [...text].map((c) => (c === '⁻' ? '-' : String('⁰¹²³⁴⁵⁶⁷⁸⁹'.indexOf(c)))).join('');
}

/** “How was this made” of a panel. */
export async function provenance(page: Page, id: string): Promise<string> {
  const of = panel(page, id).locator('details', {
    has: page.getByText('How was this made'),
  });
  await of.locator('summary').click();
  return of.innerText();
}
