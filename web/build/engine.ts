/** Where the page finds the engine: the package that `wasm-pack` wrote, or the test double of the gallery. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Plugin } from 'vite';

const PROPERTIES = 'virtual:properties';

export interface EngineFiles {
  /** Module with the verbs. */
  module: string;
  /** Module whose default export is the address of the wasm file, or empty. */
  url: string;
}

export function engineFiles(root: string, gallery: boolean): EngineFiles {
  if (gallery) return { module: join(root, 'fixtures/engine.ts'), url: join(root, 'fixtures/no-wasm.ts') };
  const pkg = join(root, '../pkg');
  const module = join(pkg, 'linearium_web.js');
  if (!existsSync(module)) {
    throw new Error(
      'pkg/linearium_web.js is missing: build the engine first, for example with `cargo xtask serve`',
    );
  }
  return { module, url: `${join(pkg, 'linearium_web_bg.wasm')}?url` };
}

/**
 * The settings as the engine declares them, put into the page when it is built, so that the controls
 * are on screen before the engine has been loaded.
 */
export function properties(root: string, gallery: boolean): Plugin {
  return {
    name: 'linearium-properties',
    resolveId: (id) => (id === PROPERTIES ? `\0${PROPERTIES}` : undefined),
    async load(id) {
      if (id !== `\0${PROPERTIES}`) return undefined;
      if (gallery) {
        return `export { default } from ${JSON.stringify(join(root, 'fixtures/properties.json'))};`;
      }
      const pkg = join(root, '../pkg');
      const engine = (await import(pathToFileURL(join(pkg, 'linearium_web.js')).href)) as {
        initSync(options: { module: Uint8Array }): unknown;
        Lab: { properties(): unknown };
      };
      engine.initSync({ module: readFileSync(join(pkg, 'linearium_web_bg.wasm')) });
      return `export default ${JSON.stringify(engine.Lab.properties())};`;
    },
  };
}

/** The browser begins to fetch the wasm file while it still reads the page. */
export function preloadWasm(): Plugin {
  return {
    name: 'linearium-preload-wasm',
    transformIndexHtml: {
      order: 'post',
      handler(html, context) {
        const wasm = Object.keys(context.bundle ?? {}).find((name) => name.endsWith('.wasm'));
        if (!wasm) return html;
        return [
          {
            tag: 'link',
            attrs: { rel: 'preload', as: 'fetch', crossorigin: '', href: `./${wasm}` },
            injectTo: 'head' as const,
          },
        ];
      },
    },
  };
}
