import { fileURLToPath } from 'node:url';
import { join } from 'node:path';
import { defineConfig, type Plugin } from 'vite';
import { content } from './build/content.ts';
import { engineFiles, exhibits, properties } from './build/engine.ts';

const root = fileURLToPath(new URL('.', import.meta.url)).replace(/\/$/, '');

/** The verbs look for their wasm beside themselves if they are given none; here they are always given it. */
const nothingBeside = (): Plugin => ({
  name: 'linearium-nothing-beside',
  enforce: 'pre',
  transform: (code, id) =>
    /\/pkg\/linearium(_first)?\.js$/.test(id)
      ? code.replaceAll(/new URL\('\w+\.wasm', import\.meta\.url\)/g, 'undefined')
      : undefined,
});

/** The elements of the notebook widget as one module that needs no other file but those it asks Python for. */
export default defineConfig(() => {
  const engine = engineFiles(root, false);
  const files = { find: /^.*\/own-files\.ts$/, replacement: join(root, 'src/notebook/own-files.ts') };
  const urls = engine.urls.map(({ find }) => ({ find, replacement: join(root, 'fixtures/no-wasm.ts') }));
  const aliases = [
    ...urls,
    { find: '#first', replacement: engine.first },
    { find: '#complete', replacement: engine.complete },
  ];
  return {
    root,
    base: './',
    publicDir: false as const,
    plugins: [
      nothingBeside(),
      content(join(root, 'content/lab')),
      properties(root, false),
      exhibits(root, false),
    ],
    resolve: { alias: [files, ...aliases] },
    // A worker that is no module starts in every frame.
    worker: { format: 'iife' as const, plugins: () => [nothingBeside()] },
    build: {
      target: ['chrome123', 'firefox120', 'safari17.5'],
      outDir: 'notebook/linearium/static',
      emptyOutDir: true,
      // It is brought whole, by messages, not by a network.
      chunkSizeWarningLimit: 1000,
      modulePreload: { polyfill: false },
      rolldownOptions: {
        input: { linearium: join(root, 'src/notebook/widget.ts') },
        preserveEntrySignatures: 'exports-only' as const,
        output: { entryFileNames: 'linearium.js', codeSplitting: false },
      },
    },
  };
});
