/**
 * After one visit the page opens without a network: a service worker keeps all of its files. Where there
 * is none, or storage may not be used, the page goes on as it is.
 */
async function keepFiles(): Promise<void> {
  // In a sandboxed frame even the name throws.
  const workers = navigator.serviceWorker as ServiceWorkerContainer | undefined;
  const { connection } = navigator as { connection?: { saveData: boolean } };
  if (!workers || connection?.saveData) return;
  await workers.register(new URL('./service-worker.js', document.baseURI), { updateViaCache: 'none' });
  await workers.ready;
  document.documentElement.dataset['offline'] = 'ready';
}

function begin(): void {
  keepFiles().catch(() => undefined);
}

// What the page needs itself is fetched first.
if (document.readyState === 'complete') begin();
else addEventListener('load', begin);

export {};
