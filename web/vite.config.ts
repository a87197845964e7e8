import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { defineConfig } from 'vite';
import { content } from './build/content.ts';
import { engineFiles, exhibits, preloadWasm, properties } from './build/engine.ts';
import { offline } from './build/offline.ts';

const root = fileURLToPath(new URL('.', import.meta.url)).replace(/\/$/, '');

/** Mode `gallery` builds the pictures and the lab on a test double of the engine, for tests only. */
export default defineConfig(({ mode }) => {
  const gallery = mode === 'gallery';
  const engine = engineFiles(root, gallery);
  const pages = gallery ? ['index', 'gallery'] : ['index', 'mixers', 'exhibits', 'prune', 'embed'];
  return {
    root,
    base: './',
    plugins: [
      content(join(root, 'content/lab')),
      properties(root, gallery),
      exhibits(root, gallery),
      preloadWasm(),
      offline(root, gallery),
    ],
    resolve: {
      alias: [
        ...engine.urls,
        { find: '#first', replacement: engine.first },
        { find: '#complete', replacement: engine.complete },
      ],
    },
    worker: { format: 'es' as const },
    server: { fs: { allow: [join(root, '..')] } },
    // Everything here may be used by any page, as on a host of static files that allows it.
    preview: { cors: { origin: '*' } },
    build: {
      // The oldest browsers with light-dark(): nothing is rewritten for older ones.
      target: ['chrome123', 'firefox120', 'safari17.5'],
      outDir: gallery ? 'dist-gallery' : 'dist',
      emptyOutDir: true,
      modulePreload: { polyfill: false },
      rolldownOptions: {
        input: {
          ...Object.fromEntries(pages.map((page) => [page, join(root, `${page}.html`)])),
          ...(gallery ? {} : { linearium: join(root, 'src/linearium.ts') }),
        },
        // The script of the elements has a name that stays; what it loads has names by content.
        preserveEntrySignatures: 'exports-only',
        output: {
          entryFileNames: ({ name }) => (name === 'linearium' ? 'linearium.js' : 'assets/[name]-[hash].js'),
        },
      },
    },
  };
});
