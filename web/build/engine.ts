/** Where the page finds the engine: the package that `wasm-pack` wrote, or the test double of the gallery. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Plugin } from 'vite';

const PROPERTIES = 'virtual:properties';
const EXHIBITS = 'virtual:exhibits';

export interface EngineFiles {
  /** Module with the verbs of the engine that the page opens with. */
  first: string;
  /** Module whose default export is the address of its wasm file, or empty. */
  firstUrl: string;
  /** Module with the verbs of the complete engine. */
  complete: string;
}

export function engineFiles(root: string, gallery: boolean): EngineFiles {
  const double = join(root, 'fixtures/engine.ts');
  if (gallery) return { first: double, firstUrl: join(root, 'fixtures/no-wasm.ts'), complete: double };
  const pkg = join(root, '../pkg');
  const [first, complete] = ['linearium_first.js', 'linearium.js'].map((file) => {
    if (!existsSync(join(pkg, file))) {
      throw new Error(
        `pkg/${file} is missing: build the engine first, for example with \`cargo xtask serve\``,
      );
    }
    return join(pkg, file);
  });
  return { first: first!, firstUrl: `${join(pkg, 'linearium_first_bg.wasm')}?url`, complete: complete! };
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
      const engine = (await import(pathToFileURL(join(pkg, 'linearium_first.js')).href)) as {
        initSync(options: { module: Uint8Array }): unknown;
        Lab: { properties(): unknown };
      };
      engine.initSync({ module: readFileSync(join(pkg, 'linearium_first_bg.wasm')) });
      return `export default ${JSON.stringify(engine.Lab.properties())};`;
    },
  };
}

/** The exhibits as the complete engine declares them, put into their page when it is built. */
export function exhibits(root: string, gallery: boolean): Plugin {
  return {
    name: 'linearium-exhibits',
    resolveId: (id) => (id === EXHIBITS ? `\0${EXHIBITS}` : undefined),
    async load(id) {
      if (id !== `\0${EXHIBITS}`) return undefined;
      if (gallery) return 'export default [];';
      const pkg = join(root, '../pkg');
      const engine = (await import(pathToFileURL(join(pkg, 'linearium.js')).href)) as {
        initSync(options: { module: Uint8Array }): unknown;
        Lab: { exhibits(): unknown };
      };
      engine.initSync({ module: readFileSync(join(pkg, 'linearium_bg.wasm')) });
      return `export default ${JSON.stringify(engine.Lab.exhibits())};`;
    },
  };
}

/** The browser begins to fetch the wasm file while it still reads the lab, which opens with it. */
export function preloadWasm(): Plugin {
  return {
    name: 'linearium-preload-wasm',
    transformIndexHtml: {
      order: 'post',
      handler(html, context) {
        if (!context.path.endsWith('index.html')) return html;
        const wasm = Object.keys(context.bundle ?? {}).find((name) => /linearium_first.*\.wasm$/.test(name));
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
