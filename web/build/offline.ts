/** What makes the built page an application: its manifest and icon, and the service worker with its list of files. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, relative, sep } from 'node:path';
import ts from 'typescript';
import type { Plugin } from 'vite';

const NAMES = ['service-worker.js', '.DS_Store'];

/** The one drawing of the page, for icons that are cut to any shape: smaller, on a ground to the edge. */
function maskable(icon: string): string {
  const ground = /<rect [^>]*fill="(#[0-9a-f]+)"[^>]*\/>/.exec(icon);
  if (!ground) throw new Error('public/icon.svg has no ground: begin it with a <rect> of its colour');
  const drawing = icon.slice(icon.indexOf('>') + 1, icon.lastIndexOf('</svg>')).replace(ground[0], '');
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" fill="${ground[1]}"/>` +
    `<g transform="translate(4.8 4.8) scale(0.7)">${drawing}</g></svg>`
  );
}

const manifest = {
  id: './',
  name: 'Linearium',
  short_name: 'Linearium',
  description: 'A laboratory for linear-time sequence mixers',
  start_url: './index.html',
  scope: './',
  display: 'standalone',
  background_color: '#0e1113',
  theme_color: '#12324f',
  icons: [
    { src: './icon.svg', type: 'image/svg+xml', sizes: 'any' },
    { src: './icon-maskable.svg', type: 'image/svg+xml', sizes: 'any', purpose: 'maskable' },
  ],
};

/** Every file below a folder with the hash that a browser holds it against. */
export function hashes(folder: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !NAMES.includes(entry.name))
      .map((entry) => join(entry.parentPath, entry.name))
      .sort()
      .map((file) => [
        relative(folder, file).split(sep).join('/'),
        `sha256-${createHash('sha256').update(readFileSync(file)).digest('base64')}`,
      ]),
  );
}

export function offline(root: string, gallery: boolean): Plugin {
  let folder = '';
  return {
    name: 'linearium-offline',
    configResolved(config) {
      folder = join(root, config.build.outDir);
    },
    transformIndexHtml: {
      order: 'pre',
      handler: () =>
        gallery
          ? []
          : [
              { tag: 'link', attrs: { rel: 'manifest', href: './manifest.webmanifest' }, injectTo: 'head' },
              { tag: 'script', attrs: { type: 'module', src: './src/offline.ts' }, injectTo: 'head' },
            ],
    },
    generateBundle() {
      if (gallery) return;
      const icon = readFileSync(join(root, 'public/icon.svg'), 'utf8');
      this.emitFile({ type: 'asset', fileName: 'icon-maskable.svg', source: maskable(icon) });
      const source = JSON.stringify(manifest, null, 2);
      this.emitFile({ type: 'asset', fileName: 'manifest.webmanifest', source });
    },
    closeBundle() {
      if (gallery) return;
      const files = hashes(folder);
      const list = JSON.stringify(files);
      const version = createHash('sha256').update(list).digest('hex').slice(0, 16);
      const source = readFileSync(join(root, 'src/service-worker.ts'), 'utf8');
      const { outputText } = ts.transpileModule(source.replace('\nexport {};\n', '\n'), {
        compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
      });
      const code = `const VERSION = ${JSON.stringify(version)};\nconst FILES = ${list};\n${outputText.replace('export {};\n', '')}`;
      writeFileSync(join(folder, 'service-worker.js'), code);
    },
  };
}
