/** A page of somebody else: another origin, which Linearium's files are used from. */
import type { BrowserContext, Page } from '@playwright/test';

/** Trustworthy like every name under localhost, so that WebGPU is there; nothing listens on it. */
export const HOST = 'http://lesson.localhost:9';

export interface Traffic {
  url: string;
  gzipped: number;
}

/** Serves `body` as a page of the host. Everything that is neither its nor Linearium's is refused and told. */
export async function serveHost(
  context: BrowserContext,
  home: string,
  body: string,
  path = '/lesson.html',
): Promise<{ strangers: string[] }> {
  const strangers: string[] = [];
  await context.route('**/*', async (route) => {
    const url = new URL(route.request().url());
    if (url.origin === HOST && url.pathname === path) {
      await route.fulfill({
        contentType: 'text/html; charset=utf-8',
        body: `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A lesson</title>
          <meta name="viewport" content="width=device-width, initial-scale=1">
          <meta name="color-scheme" content="light dark">
          <style>body { font: 16px/1.5 serif; margin: 1rem auto; max-width: 60rem; padding: 0 1rem }</style>
          </head><body>${body}</body></html>`,
      });
    } else if (url.origin === home || url.protocol === 'blob:' || url.protocol === 'data:') {
      await route.continue();
    } else if (url.pathname === '/favicon.ico') {
      await route.fulfill({ status: 204 });
    } else {
      strangers.push(url.href);
      await route.abort();
    }
  });
  return { strangers };
}

export const script = (home: string): string => `<script type="module" src="${home}/linearium.js"></script>`;

/** How many workers the page has. */
export const workers = (page: Page): number => page.workers().length;
