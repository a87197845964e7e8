/**
 * Keeps every file of one build and answers from them alone, so that no page ever has files of two
 * builds. A newer build is fetched whole, each file held against its hash, and takes over when no page
 * of the older one is open. The build puts the list before this source.
 */
declare const VERSION: string;
/** Hash of each file, by its path from here. */
declare const FILES: Readonly<Record<string, string>>;

const worker = self as unknown as ServiceWorkerGlobalScope;
const home = new URL('./', worker.location.href).href;
/** Other folders of this origin may have a Linearium of their own. */
const ours = `linearium ${home} `;
const cacheName = ours + VERSION;
const AT_ONCE = 6;

async function fetchFile(path: string): Promise<Response> {
  const response = await fetch(new URL(path, home), { integrity: FILES[path], cache: 'no-cache' });
  if (!response.ok) throw new Error(`${path} could not be fetched (${response.status})`);
  // What was redirected may not answer a navigation.
  return response.redirected ? new Response(response.body, { headers: response.headers }) : response;
}

async function keepAll(): Promise<void> {
  const cache = await caches.open(cacheName);
  const paths = Object.keys(FILES);
  const take = async (): Promise<void> => {
    for (let path = paths.pop(); path !== undefined; path = paths.pop())
      await cache.put(new URL(path, home), await fetchFile(path));
  };
  await Promise.all(Array.from({ length: AT_ONCE }, take));
}

async function dropOlder(): Promise<void> {
  const names = await caches.keys();
  const older = names.filter((name) => name.startsWith(ours) && name !== cacheName);
  await Promise.all(older.map((name) => caches.delete(name)));
}

async function answer(path: string): Promise<Response> {
  const cache = await caches.open(cacheName).catch(() => undefined);
  return (await cache?.match(new URL(path, home))) ?? fetchFile(path);
}

worker.addEventListener('install', (event) => event.waitUntil(keepAll()));
worker.addEventListener('activate', (event) => event.waitUntil(dropOlder()));
worker.addEventListener('fetch', (event) => {
  const { origin, pathname } = new URL(event.request.url);
  const address = origin + pathname;
  if (event.request.method !== 'GET' || !address.startsWith(home)) return;
  const path = decodeURI(address.slice(home.length)) || 'index.html';
  if (path in FILES) event.respondWith(answer(path));
});

export {};
