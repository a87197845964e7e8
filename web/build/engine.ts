/** Where the page finds the engine: the package that `wasm-pack` wrote, or the test double of the gallery. */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Plugin } from 'vite';
import { PROBE } from '../src/engine/relaxed.ts';

const PROPERTIES = 'virtual:properties';
const EXHIBITS = 'virtual:exhibits';

export interface EngineFiles {
  /** Module with the verbs of the engine that the page opens with. */
  first: string;
  /** Module with the verbs of the complete engine. */
  complete: string;
  /** Modules whose default export is the address of a wasm file, or empty. */
  urls: { find: string; replacement: string }[];
}

/** The wasm files of both engines: for every browser, and for those with relaxed SIMD. */
const WASM = {
  '#first-url': 'linearium_first_bg.wasm',
  '#first-relaxed-url': 'linearium_first_relaxed_bg.wasm',
  '#complete-url': 'linearium_bg.wasm',
  '#complete-relaxed-url': 'linearium_relaxed_bg.wasm',
};

export function engineFiles(root: string, gallery: boolean): EngineFiles {
  const double = join(root, 'fixtures/engine.ts');
  const pkg = join(root, '../pkg');
  const urls = Object.entries(WASM).map(([find, file]) => ({
    find,
    replacement: gallery ? join(root, 'fixtures/no-wasm.ts') : `${join(pkg, file)}?url`,
  }));
  if (gallery) return { first: double, complete: double, urls };
  const [first, complete] = ['linearium_first.js', 'linearium.js'].map((file) => {
    if (!existsSync(join(pkg, file))) {
      throw new Error(
        `pkg/${file} is missing: build the engine first, for example with \`cargo xtask serve\``,
      );
    }
    return join(pkg, file);
  });
  return { first: first!, complete: complete!, urls };
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

/** The browser begins to fetch its wasm file while it still reads the lab, which opens with it. */
export function preloadWasm(): Plugin {
  return {
    name: 'linearium-preload-wasm',
    transformIndexHtml: {
      order: 'post',
      handler(html, context) {
        if (!context.path.endsWith('index.html')) return html;
        const names = Object.keys(context.bundle ?? {});
        const plain = names.find((name) => /linearium_first_bg.*\.wasm$/.test(name));
        const relaxed = names.find((name) => /linearium_first_relaxed_bg.*\.wasm$/.test(name));
        if (!plain || !relaxed) return html;
        const script =
          `{const l=document.createElement('link');l.rel='preload';l.as='fetch';l.crossOrigin='';` +
          `l.href=WebAssembly.validate(new Uint8Array([${PROBE}]))?'./${relaxed}':'./${plain}';` +
          `document.head.append(l)}`;
        // The policy of the page admits this script and no other that stands in it.
        const hash = createHash('sha256').update(script).digest('base64');
        return {
          html: html.replace("script-src 'self'", `script-src 'self' 'sha256-${hash}'`),
          tags: [{ tag: 'script', children: script, injectTo: 'head' as const }],
        };
      },
    },
  };
}
