import { expect, test, type Page } from '@playwright/test';
import { HOST, script, serveHost, workers } from './host-page';
import { backendPattern, onGpu } from './lab';

const home = (): string => new URL(test.info().project.use.baseURL!).origin;
const gpu = (): string => (onGpu() ? 'backend="gpu"' : 'backend="cpu"');

interface Inside extends HTMLElement {
  result(): Promise<{ query: string; panels: { id: string; provenance: { backend: string } }[] }>;
}

/** The back end that the element's last result ran on. */
const backendOf = (page: Page, selector: string): Promise<string> =>
  page.locator(selector).evaluate(async (element) => {
    const { panels } = await (element as Inside).result();
    return panels[0]!.provenance.backend;
  });

test('three elements on a page of another origin share one worker and draw', async ({ page, context }) => {
  const { strangers } = await serveHost(
    context,
    home(),
    `<h1>A lesson</h1>
    <linearium-lab context="256" ${gpu()}></linearium-lab>
    <linearium-exhibit name="l_mul"></linearium-exhibit>
    <linearium-exhibit name="l_mul" lock="all" hide="tour claims words"></linearium-exhibit>
    ${script(home())}`,
  );
  await page.goto(`${HOST}/lesson.html`);
  await expect(page.locator('linearium-lab lin-view').first()).toBeVisible({ timeout: 60_000 });
  expect(await page.locator('linearium-exhibit lin-panel').count()).toBe(0);
  await page.locator('linearium-exhibit').nth(1).scrollIntoViewIfNeeded();
  for (const i of [0, 1])
    await expect(page.locator('linearium-exhibit').nth(i).locator('lin-view').first()).toBeVisible({
      timeout: 60_000,
    });
  await expect.poll(() => backendOf(page, 'linearium-lab'), { timeout: 150_000 }).toMatch(backendPattern());
  await expect.poll(() => workers(page)).toBe(1);
  expect(strangers).toEqual([]);
});
