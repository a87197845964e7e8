import AxeBuilder from '@axe-core/playwright';
import { expect, test, type Page } from '@playwright/test';
import { openHost, script, strangers } from './host-page';
import { backendPattern, onGpu } from './lab';

const home = (): string => new URL(test.info().project.use.baseURL!).origin;
const gpu = (): string => (onGpu() ? 'backend="gpu"' : 'backend="cpu"');

interface Inside extends HTMLElement {
  query: string;
  result(): Promise<{ query: string; panels: { id: string; provenance: { backend: string } }[] }>;
}

/** The back end that the element's last result ran on. */
const backendOf = (page: Page, selector: string): Promise<string> =>
  page.locator(selector).evaluate(async (element) => {
    const { panels } = await (element as Inside).result();
    return panels[0]!.provenance.backend;
  });

test('three elements on a page of another origin share one worker and draw', async ({ page }) => {
  const host = await openHost(
    `<h1>A lesson</h1>
    <linearium-lab context="256" ${gpu()}></linearium-lab>
    <linearium-exhibit name="l_mul"></linearium-exhibit>
    <linearium-exhibit name="l_mul" lock="all" hide="tour claims words"></linearium-exhibit>
    ${script(home())}`,
  );
  try {
    const others = strangers(page, [host.origin, home()]);
    await page.goto(host.address);
    await expect(page.locator('linearium-lab lin-view').first()).toBeVisible({ timeout: 60_000 });
    // Nothing is computed before it is seen.
    expect(await page.locator('linearium-exhibit lin-panel').count()).toBe(0);
    const exhibits = page.locator('linearium-exhibit');
    for (const i of [0, 1]) {
      await exhibits.nth(i).scrollIntoViewIfNeeded();
      await expect(exhibits.nth(i).locator('lin-view').first()).toBeVisible({ timeout: 60_000 });
    }
    await expect.poll(() => backendOf(page, 'linearium-lab'), { timeout: 150_000 }).toMatch(backendPattern());
    await expect.poll(() => page.workers().length).toBe(1);
    await expect(exhibits.nth(1).locator('lin-controls fieldset[disabled]').first()).toBeVisible();
    expect(await exhibits.nth(1).locator('lin-exhibit-tour, lin-claim-ledger').count()).toBe(0);
    expect(others).toEqual([]);
    // The page around is as it was.
    expect(page.url()).toBe(host.address);
    expect(await page.title()).toBe('A lesson');
    expect(await page.evaluate(() => [localStorage.length, document.documentElement.style.length])).toEqual([
      0, 0,
    ]);
    const { violations } = await new AxeBuilder({ page })
      .withTags(['wcag2a', 'wcag2aa', 'wcag22aa'])
      .analyze();
    expect(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join(', ')}`)).toEqual(
      [],
    );
  } finally {
    await host.close();
  }
});

test('attributes set, hide, fix and narrow; events tell; a wrong name is said @cpu', async ({ page }) => {
  const host = await openHost(
    `<script>addEventListener('linearium-ready', () => document.body.dataset.ready = '1');
      addEventListener('linearium-change', (e) => document.body.dataset.query = e.detail.query);
      addEventListener('linearium-error', (e) => document.body.dataset.fault = e.detail.message);</script>
    <linearium-lab context="4096" range="context:64..512" lock="layer" hide="head recall nonsense" backend="cpu"></linearium-lab>
    ${script(home())}`,
  );
  try {
    await page.goto(host.address);
    const body = page.locator('body');
    await expect(body).toHaveAttribute('data-ready', '1', { timeout: 60_000 });
    await expect(body).toHaveAttribute('data-query', /context=512/);
    await expect(body).toHaveAttribute('data-fault', /hide “nonsense”/);
    const lab = page.locator('linearium-lab');
    await expect(lab.locator('[data-setting="head"]')).toHaveCount(0);
    await expect(lab.locator('lin-panel[data-panel="recall"]')).toHaveCount(0);
    await expect(lab.getByRole('spinbutton', { name: /^Layer/ })).toBeDisabled();
    await expect(lab.getByRole('spinbutton', { name: /^Context length/ })).toHaveAttribute('max', '512');
    await lab.evaluate((element) => element.setAttribute('context', '128'));
    await expect(body).toHaveAttribute('data-query', /context=128/);
  } finally {
    await host.close();
  }
});

test('a sandboxed frame without an origin draws, tells its height, and obeys its host alone @cpu', async ({
  page,
}) => {
  const host = await openHost(
    '<div id="frames"></div>',
    `<script>window.told = [];
    addEventListener('message', (e) => told.push({ origin: e.origin, data: e.data }));</script>`,
  );
  try {
    await page.goto(host.address);
    for (const sandbox of ['allow-scripts', 'allow-scripts allow-same-origin', null])
      await page.evaluate(
        ([address, box]) => {
          const frame = document.createElement('iframe');
          if (box !== null) frame.setAttribute('sandbox', box!);
          frame.src = address!;
          frame.title = 'Linearium';
          frame.width = '900';
          frame.height = '600';
          document.querySelector('#frames')!.append(frame);
        },
        [`${home()}/embed.html?context=128&backend=cpu&parent=${host.origin}`, sandbox] as const,
      );
    for (const i of [0, 1, 2]) {
      await page.locator('iframe').nth(i).scrollIntoViewIfNeeded();
      await expect(page.frameLocator('iframe').nth(i).locator('lin-view').first()).toBeVisible({
        timeout: 60_000,
      });
    }
    const heard = (type: string) =>
      page.evaluate(
        (wanted) =>
          (window as unknown as { told: { data: { type?: string; subject?: string } }[] }).told.filter(
            (m) => m.data.type === wanted || m.data.subject === wanted,
          ).length,
        type,
      );
    await expect.poll(() => heard('ready')).toBe(3);
    expect(await heard('height')).toBeGreaterThanOrEqual(3);
    expect(await heard('lti.frameResize')).toBeGreaterThanOrEqual(3);
    await page.evaluate(() => {
      const frame = document.querySelectorAll('iframe')[2]!.contentWindow!;
      frame.postMessage({ linearium: 1, type: 'set', id: 7, state: { context: 256 } }, '*');
    });
    await expect.poll(() => heard('state')).toBe(1);
    await expect(
      page
        .frameLocator('iframe')
        .nth(2)
        .getByRole('spinbutton', { name: /^Context length/ }),
    ).toHaveValue('256');
    // A frame that names another parent hears nothing of this one.
    await page.evaluate((address) => {
      const frame = document.querySelectorAll('iframe')[2]!;
      frame.src = address;
    }, `${home()}/embed.html?context=128&backend=cpu&parent=https://elsewhere.example`);
    const other = page.frameLocator('iframe').nth(2);
    await expect(other.locator('lin-view').first()).toBeVisible({ timeout: 60_000 });
    await page.evaluate(() => {
      const frame = document.querySelectorAll('iframe')[2]!.contentWindow!;
      frame.postMessage({ linearium: 1, type: 'set', id: 8, state: { context: 512 } }, '*');
    });
    await page.waitForTimeout(500);
    await expect(other.getByRole('spinbutton', { name: /^Context length/ })).toHaveValue('128');
    expect(await heard('state')).toBe(1);
  } finally {
    await host.close();
  }
});
