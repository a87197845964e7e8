/**
 * Where the page's own files come from: its folder, by their addresses. The notebook widget, which
 * has no folder and no address, has a module of its own in the place of this one.
 */
import relaxedUrl from '#first-relaxed-url';
import plainUrl from '#first-url';
import icon from '/icon.svg?url';
import { hasRelaxedSimd } from './relaxed.ts';
import workerUrl from './worker.ts?worker&url';

/** Where the files of Linearium are, also when the page that uses them is elsewhere. */
export const HOME = new URL('.', new URL(icon, import.meta.url));

/** A file by its path below `HOME`. */
export const fetchOwn = (path: string): Promise<Response> => fetch(new URL(path, HOME));

/** The wasm of the engine that the page opens with. */
export async function compileFirst(): Promise<WebAssembly.Module | null> {
  const wasmUrl = hasRelaxedSimd() ? relaxedUrl : plainUrl;
  if (!wasmUrl) return null;
  try {
    return await WebAssembly.compileStreaming(fetch(wasmUrl));
  } catch {
    // A server that does not know the type application/wasm.
    const response = await fetch(wasmUrl);
    if (!response.ok)
      throw new Error(`the engine could not be loaded (${response.status} ${response.statusText})`);
    return WebAssembly.compile(await response.arrayBuffer());
  }
}

/** The worker fetches the wasm of the complete engine by itself. */
export const compileComplete = (): Promise<WebAssembly.Module | null> => Promise.resolve(null);

/**
 * A browser starts a worker from the page's own origin only. Files of another one are let in by a
 * module of a line, which their server must allow (CORS); the same in a sandboxed frame, whose origin
 * is no origin.
 */
export function openWorker(): Worker {
  const url = new URL(workerUrl, import.meta.url);
  const name = 'linearium';
  if (url.origin === self.origin) return new Worker(url, { type: 'module', name });
  if (self.origin !== 'null') {
    const line = new Blob([`import ${JSON.stringify(url.href)};`], { type: 'text/javascript' });
    return new Worker(URL.createObjectURL(line), { type: 'module', name });
  }
  // A sandboxed frame starts no module; a script that is none may import one there too, and what is
  // said to it meanwhile is kept.
  const lines = `const early = [];
onmessage = (event) => early.push(event);
import(${JSON.stringify(url.href)}).then(
  () => early.forEach((event) => onmessage(event)),
  () => setTimeout(() => { throw new Error('its files could not be loaded from ${url.origin}') }),
);`;
  return new Worker(URL.createObjectURL(new Blob([lines], { type: 'text/javascript' })), { name });
}
