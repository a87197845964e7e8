/**
 * Takes the place of `engine/own-files.ts` in the notebook widget: a notebook has no folder that the
 * page could fetch from, so the files come from the Python side, by name, when they are asked for.
 */
import { hasRelaxedSimd } from '../engine/relaxed.ts';
import EngineWorker from '../engine/worker.ts?worker&inline';

/** Brings a file of the Python package by its path. */
export type Bring = (path: string) => Promise<Uint8Array<ArrayBuffer>>;

const sources = new Set<Bring>();

/** Files may come from any widget of the page: all have the same. Gives what takes this one out. */
export function bringFrom(source: Bring): () => void {
  sources.add(source);
  return () => sources.delete(source);
}

/** From the widget that was shown last; from another one if its kernel does not answer. */
async function bring(path: string): Promise<Uint8Array<ArrayBuffer>> {
  let reason: unknown = new Error(`${path} is not there: no cell of this page shows Linearium`);
  for (const source of [...sources].reverse()) {
    try {
      return await source(path);
    } catch (error) {
      reason = error;
    }
  }
  throw reason;
}

/** Not an address that anybody could open: links below it are what the widget knows to be its own. */
export const HOME = new URL('linearium:///');

export const fetchOwn = async (path: string): Promise<Response> => new Response(await bring(path));

async function compile(engine: string): Promise<WebAssembly.Module> {
  return WebAssembly.compile(await bring(`${engine}${hasRelaxedSimd() ? '_relaxed' : ''}_bg.wasm`));
}

export const compileFirst = (): Promise<WebAssembly.Module | null> => compile('linearium_first');

let complete: Promise<WebAssembly.Module> | undefined;
/** Once for all workers of the page. */
export function compileComplete(): Promise<WebAssembly.Module | null> {
  complete ??= compile('linearium');
  complete.catch(() => (complete = undefined));
  return complete;
}

export const openWorker = (): Worker => new EngineWorker({ name: 'linearium' });
