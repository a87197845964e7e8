/** The verbs of the complete engine as wasm-bindgen binds them, with the types of what they give. */
import start, * as verbs from '#complete';
import type { CompleteLab, Exhibit, Property } from '../engine/protocol.ts';

/** Loads the wasm: from beside this module, or what is given. */
export const init: (options?: {
  module_or_path?: URL | BufferSource | WebAssembly.Module;
}) => Promise<unknown> = start;

/** The verbs; `free` gives the memory back. */
export const Lab = verbs.Lab as unknown as {
  new (): CompleteLab & { free(): void };
  properties(): Property[];
  exhibits(): Exhibit[];
};

export type * from '../engine/protocol.ts';
export type * from '../views/types.ts';
