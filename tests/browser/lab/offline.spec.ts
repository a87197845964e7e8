import { createHash } from 'node:crypto';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, type BrowserContext, type Page } from '@playwright/test';
import { serveFolder } from '../../package/consumer';

test.use({ serviceWorkers: 'allow' });

const DIST = join(__dirname, '../../../web/dist');
const PATH = '/some/where/';
const pages = readdirSync(DIST).filter((name) => name.endsWith('.html'));

let folder: string;
let site: Awaited<ReturnType<typeof serveFolder>>;

test.beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'linearium-offline-'));
  cpSync(DIST, folder, { recursive: true });
  site = await serveFolder(folder, { path: PATH });
});

test.afterEach(() => {
  site.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Every request of every page and worker that is not for this folder. */
function elsewhere(context: BrowserContext): string[] {
  const found: string[] = [];
  context.on('request', (request) => {
    if (![site.url, 'blob:', 'data:'].some((start) => request.url().startsWith(start)))
      found.push(request.url());
  });
  return found;
}

async function kept(page: Page): Promise<void> {
  await expect(page.locator('html')).toHaveAttribute('data-offline', 'ready', { timeout: 60_000 });
}

/** The page has drawn something of its own. */
async function drawn(page: Page, name: string): Promise<void> {
  const element = {
    'index.html': 'lin-panel lin-view',
    'mixers.html': 'linearium-mixers table tbody tr',
    'exhibits.html': 'linearium-exhibits a[href*="exhibit="]',
    'embed.html': 'lin-panel lin-view',
    'prune.html': 'linearium-prune lin-view',
  }[name];
  expect(element, `this test knows what ${name} draws`).toBeDefined();
  await expect(page.locator(element!).first()).toBeVisible({ timeout: 60_000 });
}

test('after one visit every page opens without a network, under a path, from its own folder alone', async ({
  context,
  page,
}) => {
  const strangers = elsewhere(context);
  await page.goto(`${site.url}index.html?context=128&backend=cpu`);
  await kept(page);
  await page.close();
  site.close();
  for (const name of ['', ...pages]) {
    const cold = await context.newPage();
    const complaints: string[] = [];
    cold.on('pageerror', (error) => complaints.push(error.message));
    const query = name === 'mixers.html' || name === 'exhibits.html' ? '' : '?context=128&backend=cpu';
    await cold.goto(`${site.url}${name}${query}`);
    await drawn(cold, name || 'index.html');
    expect(complaints, name).toEqual([]);
    await cold.close();
  }
  const exhibit = await context.newPage();
  await exhibit.goto(`${site.url}exhibits.html?exhibit=long_mamba`);
  await expect(exhibit.locator('lin-view').first()).toBeVisible({ timeout: 60_000 });
  expect(strangers).toEqual([]);
});

test('every page has the policy that no other origin is asked', async ({ page }) => {
  await page.route('https://example.org/**', (route) => route.fulfill({ body: 'reached' }));
  for (const name of pages) {
    await page.goto(`${site.url}${name}`);
    const tried = await page.evaluate(async () => {
      const refused = new Promise((resolve) =>
        document.addEventListener('securitypolicyviolation', (event) => resolve(event.effectiveDirective)),
      );
      const answer = fetch('https://example.org/').then(
        () => 'reached',
        () => refused,
      );
      return answer;
    });
    expect(tried, name).toBe('connect-src');
  }
});

/** The same build with another index.html, or only its list of files if the rest has not arrived yet. */
function publish(whole: boolean): void {
  const index = join(folder, 'index.html');
  const newer = readFileSync(index, 'utf8').replace('<html ', '<html data-build="newer" ');
  const hash = (text: string): string => `sha256-${createHash('sha256').update(text).digest('base64')}`;
  const worker = join(folder, 'service-worker.js');
  const list = readFileSync(worker, 'utf8')
    .replace(/const VERSION = "\w+"/, 'const VERSION = "newer"')
    .replace(/"index.html":"[^"]+"/, `"index.html":"${hash(newer)}"`);
  writeFileSync(worker, list);
  if (whole) writeFileSync(index, newer);
}

const update = (page: Page): Promise<string> =>
  page.evaluate(async () => {
    const registration = (await navigator.serviceWorker.getRegistration())!;
    await registration.update();
    const installing = registration.installing;
    if (!installing) return registration.waiting ? 'installed' : 'nothing';
    return new Promise<string>((resolve) => {
      installing.addEventListener('statechange', () => {
        if (installing.state === 'installed' || installing.state === 'redundant') resolve(installing.state);
      });
    });
  });

const caches = (page: Page): Promise<string[]> => page.evaluate(() => globalThis.caches.keys());

test('an update takes over whole, when no page of the older build is open', async ({ context, page }) => {
  test.setTimeout(240_000);
  await page.goto(`${site.url}index.html?context=128&backend=cpu`);
  await kept(page);
  await page.reload();
  publish(false);
  expect(await update(page), 'half an update').toBe('redundant');
  await page.reload();
  await drawn(page, 'index.html');
  publish(true);
  expect(await update(page)).toBe('installed');
  // Both builds are there; a page that opens beside the older one is of the older one.
  const beside = await context.newPage();
  await beside.goto(`${site.url}index.html?context=128&backend=cpu`);
  await expect(beside.locator('html')).not.toHaveAttribute('data-build', 'newer');
  await beside.close();
  await page.goto('about:blank');
  await page.waitForTimeout(500);
  await page.goto(`${site.url}index.html?context=128&backend=cpu`);
  await expect(page.locator('html')).toHaveAttribute('data-build', 'newer');
  await drawn(page, 'index.html');
  await expect.poll(() => caches(page)).toEqual([`linearium ${site.url} newer`]);
});

test('it can be installed', async ({ context, page }) => {
  await page.goto(`${site.url}index.html?context=128&backend=cpu`);
  await kept(page);
  const session = await context.newCDPSession(page);
  const { installabilityErrors } = (await session.send('Page.getInstallabilityErrors')) as {
    installabilityErrors: { errorId: string }[];
  };
  // A browser context of a test is private, which no page can help.
  expect(installabilityErrors.map(({ errorId }) => errorId).filter((id) => id !== 'in-incognito')).toEqual(
    [],
  );
  const { errors, data } = (await session.send('Page.getAppManifest')) as {
    errors: unknown[];
    data: string;
  };
  expect(errors).toEqual([]);
  for (const { src } of (JSON.parse(data) as { icons: { src: string }[] }).icons) {
    const size = await page.evaluate(async (address) => {
      const image = new Image();
      image.src = address;
      await image.decode();
      return image.naturalWidth;
    }, src);
    expect(size, src).toBeGreaterThan(0);
  }
});
