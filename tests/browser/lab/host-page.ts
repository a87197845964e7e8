/** A page of somebody else: a server of another origin, whose page uses Linearium's files. */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Page } from '@playwright/test';

export interface HostPage {
  origin: string;
  address: string;
  close(): Promise<void>;
}

/** Serves `body` as a page, and nothing else. */
export async function openHost(body: string, head = ''): Promise<HostPage> {
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://host');
    response.statusCode = pathname === '/lesson.html' ? 200 : 404;
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(
      pathname === '/lesson.html'
        ? `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>A lesson</title>
          <meta name="viewport" content="width=device-width, initial-scale=1">
          <meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">
          <style>
            body { font: 17px/1.6 Georgia, serif; margin: 1rem auto; max-width: 60rem; padding: 0 1rem }
            linearium-lab, linearium-exhibit { font: 15px/1.5 system-ui, sans-serif; margin: 1rem 0 }
          </style>${head}</head><body><main>${body}</main></body></html>`
        : '',
    );
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    origin,
    address: `${origin}/lesson.html`,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}

export const script = (home: string): string => `<script type="module" src="${home}/linearium.js"></script>`;

/** Requests that go neither to the host nor to Linearium. */
export function strangers(page: Page, known: string[]): string[] {
  const found: string[] = [];
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith('http') && !known.includes(url.origin)) found.push(url.href);
  });
  return found;
}
