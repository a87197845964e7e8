/** The engine of the first load: the CPU and the mixers that the page opens with. */
declare module '#first' {
  import type { Lab as Verbs, Property } from './protocol.ts';
  export const Lab: { new (): Verbs; properties(): Property[] };
  export default function init(options?: {
    module_or_path?: WebAssembly.Module | string | URL | BufferSource;
  }): Promise<unknown>;
}
/** The complete engine: the GPU and every mixer. */
declare module '#complete' {
  import type { CompleteLab, Exhibit, Property } from './protocol.ts';
  export const Lab: { new (): CompleteLab; properties(): Property[]; exhibits(): Exhibit[] };
  export default function init(options?: {
    module_or_path?: URL | BufferSource | WebAssembly.Module;
  }): Promise<unknown>;
}
/** Addresses of the wasm files: for every browser, and for those with relaxed SIMD. */
declare module '#first-url' {
  const url: string;
  export default url;
}
declare module '#first-relaxed-url' {
  const url: string;
  export default url;
}
declare module '#complete-url' {
  const url: string;
  export default url;
}
declare module '#complete-relaxed-url' {
  const url: string;
  export default url;
}
declare module 'virtual:properties' {
  import type { Property } from './protocol.ts';
  /** The settings as the engine declared them when this page was built; empty if it was not there. */
  const properties: Property[];
  export default properties;
}
declare module 'virtual:exhibits' {
  import type { Exhibit } from './protocol.ts';
  /** The exhibits as the engine declared them when this page was built, by slug. */
  const exhibits: Exhibit[];
  export default exhibits;
}
declare module 'virtual:content' {
  /** The panels that have words, in reading order. */
  export const panels: { id: string; title: string }[];
}
declare module '*.md' {
  /** What stands on the first line. */
  export const title: string;
  /** Sections by their slug (`idea`, `formula`, `try`, `references`, ...), as HTML made at build time. */
  const sections: Record<string, string>;
  export default sections;
}
