import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import AxeBuilder from '@axe-core/playwright';
import { expect, test, type Page } from '@playwright/test';
import { openHost, script } from './host-page';

const home = (page: Page): string => new URL(page.url()).origin;

interface Inside extends HTMLElement {
  query: string;
  result(): Promise<unknown>;
}

const links = JSON.parse(readFileSync(join(__dirname, 'links.json'), 'utf8')) as {
  version: string;
  link: string;
  keeps: Record<string, string>;
}[];
for (const { version, link, keeps } of links)
  test(`an old link opens: ${version}`, async ({ page }) => {
    await page.goto(`/${link}&backend=cpu`);
    await expect(page.locator('lin-view').first()).toBeVisible({ timeout: 60_000 });
    const query = await page.locator('linearium-lab').evaluate(async (lab) => {
      await (lab as Inside).result();
      return (lab as Inside).query;
    });
    expect(Object.fromEntries(new URLSearchParams(query))).toMatchObject(keeps);
    await expect(page.locator('.notices p')).toHaveCount(0);
  });

test('the first picture on a page of another origin takes at most 300 kB of code', async ({
  page,
  baseURL,
}) => {
  const host = await openHost(
    `<linearium-lab context="256" backend="cpu"></linearium-lab>
    <linearium-exhibit name="l_mul"></linearium-exhibit>
    <linearium-exhibit name="l_mul" lock="all"></linearium-exhibit>${script(baseURL!)}`,
  );
  try {
    const sizes = new Map<string, number>();
    page.on('response', (response) => {
      const { pathname } = new URL(response.url());
      if (!/\.(js|css|wasm|html)$/.test(pathname)) return;
      sizes.set(pathname, 0);
      void response.body().then(
        (body) => sizes.set(pathname, gzipSync(body, { level: 9 }).length),
        () => undefined,
      );
    });
    await page.goto(host.address);
    await expect(page.locator('linearium-lab lin-view').first()).toBeVisible({ timeout: 60_000 });
    const loaded = [...sizes.keys()];
    await expect.poll(() => loaded.every((path) => sizes.get(path)! > 0)).toBe(true);
    const bytes = loaded.reduce((sum, path) => sum + sizes.get(path)!, 0);
    console.log(`code to the first picture: ${bytes} bytes gzipped in ${loaded.length} files`);
    expect(loaded.some((path) => path.endsWith('.wasm'))).toBe(true);
    expect(bytes).toBeLessThanOrEqual(300_000);
  } finally {
    await host.close();
  }
});

test('an assignment is made, done, handed in, and run again', async ({ page }) => {
  await page.goto('/?context=128&backend=cpu');
  const cost = page.locator('lin-panel[data-panel="cost"]');
  await expect(cost.locator('lin-view').first()).toBeVisible({ timeout: 60_000 });
  await page.locator('linearium-lab').evaluate((lab) => (lab as Inside).result());
  await cost.getByRole('button', { name: 'Embed this' }).click();
  const dialog = page.getByRole('dialog', { name: 'Embed this' });
  await expect(dialog).toBeVisible();
  await dialog.getByRole('checkbox', { name: 'Fix Layer' }).check();
  await dialog.getByRole('checkbox', { name: 'Hide recall' }).check();
  await expect(dialog.getByRole('textbox', { name: 'A custom element' })).toHaveValue(
    /<linearium-lab [^>]*context="128"[^>]*hide="recall" lock="layer">/,
  );
  await expect(dialog.getByRole('textbox', { name: 'A frame' })).toHaveValue(/embed\.html\?[^"]*lock=layer/);
  await expect(dialog.getByRole('textbox', { name: 'A picture with a link' })).toHaveValue(
    /^<a href=.*<img /,
  );
  const { violations } = await new AxeBuilder({ page }).withTags(['wcag2a', 'wcag2aa', 'wcag22aa']).analyze();
  expect(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).join(', ')}`)).toEqual([]);
  await dialog.getByRole('textbox', { name: 'Title' }).fill('Grow the text');
  await dialog.getByRole('textbox', { name: 'What to do' }).fill('Find a longer text.');
  const goal = dialog.getByRole('combobox', { name: 'Goal on' });
  const positions = await goal
    .locator('option')
    .evaluateAll((all) =>
      all.map((o) => (o as HTMLOptionElement).value).find((v) => /^cost\/.*\/last$/.test(v))!,
    );
  await goal.selectOption(positions);
  const label = await dialog
    .getByRole('spinbutton', { name: /^At least/ })
    .evaluate((e) => e.parentElement!.textContent!);
  const now = Number(/now ([-\d.e+]+)/.exec(label)![1]);
  // One bound excludes the value at hand by much, the other one includes it.
  await dialog.getByRole('spinbutton', { name: /^At least/ }).fill(String(now + 1e9));
  const undone = await dialog.getByRole('textbox', { name: 'Link of the assignment' }).inputValue();
  await dialog.getByRole('spinbutton', { name: /^At least/ }).fill(String(now - 1));
  const link = await dialog.getByRole('textbox', { name: 'Link of the assignment' }).inputValue();

  const card = page.locator('lin-assignment');
  const open = async (address: string): Promise<void> => {
    await page.goto('about:blank');
    await page.goto(address);
  };
  await open(undone);
  await expect(card.locator('[data-measured]')).toBeVisible({ timeout: 60_000 });
  await expect(card.getByRole('status')).toHaveText('Not yet.');
  await open(link);
  await expect(card.getByRole('status')).toHaveText('Done.', { timeout: 60_000 });
  await expect(page.getByRole('spinbutton', { name: /^Layer/ })).toBeDisabled();
  await card.getByRole('textbox', { name: 'Your name' }).fill('Ada');
  await card.getByRole('textbox', { name: 'Your name' }).press('Tab');
  await card.getByRole('button', { name: 'Make the result link' }).click();
  const result = await card.getByRole('textbox', { name: /^Result link/ }).inputValue();
  await open(result);
  await expect(card.getByRole('heading')).toHaveText('Result of Ada: Grow the text');
  await expect(card.getByRole('status')).toHaveText(/The result holds/, { timeout: 60_000 });

  // A value that somebody changed in the link is found out.
  const [address, hash] = result.split('#result=') as [string, string];
  const told = JSON.parse(Buffer.from(hash, 'base64url').toString()) as { value: number; query: string };
  const forged = { ...told, value: told.value + 5 };
  await open(`${address}#result=${Buffer.from(JSON.stringify(forged)).toString('base64url')}`);
  await expect(card.getByRole('status')).toHaveText(/does not hold: the link says/, { timeout: 60_000 });
  const moved = { ...told, query: `${told.query}&layer=1` };
  await open(`${address}#result=${Buffer.from(JSON.stringify(moved)).toString('base64url')}`);
  await expect(card.getByRole('status')).toHaveText(/does not hold: Layer/, { timeout: 60_000 });
  await open(`${home(page)}/index.html#task=broken`);
  await expect(page.locator('.notices .alarm')).toContainText('damaged');
});
