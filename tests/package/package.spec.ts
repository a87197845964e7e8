import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, type Page } from '@playwright/test';
import { consumer, examples, installed, run, serveFolder, tool } from './consumer';

const README = 'pkg/README.md';
const TEXT = 'The state of a recurrent model is all that it remembers. '.repeat(20);

test('what publint and “are the types wrong” look for is not there', () => {
  run('node', [tool('publint/src/cli.js'), '--strict', 'linearium.tgz']);
  const attw = [tool('@arethetypeswrong/cli/dist/index.js'), 'linearium.tgz', '--profile', 'esm-only'];
  run('node', [...attw, '--no-color', '--exclude-entrypoints', './wasm', './custom-elements.json']);
});

test('the tarball has what its exports name, and nothing of the sources', () => {
  const manifest = JSON.parse(readFileSync(join(installed, 'package.json'), 'utf8')) as {
    exports: Record<string, string | Record<string, string>>;
    dependencies?: unknown;
  };
  for (const target of Object.values(manifest.exports))
    for (const file of typeof target === 'string' ? [target] : Object.values(target))
      expect(readFileSync(join(installed, file)).byteLength, file).toBeGreaterThan(0);
  expect(manifest.dependencies).toBeUndefined();
  const listed = run('tar', ['-tzf', 'linearium.tgz']).split('\n');
  expect(listed.filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))).toEqual([]);
  expect(listed).toContain('package/README.md');
  expect(listed).toContain('package/LICENSE-MIT');
});

test('every example compiles strictly, as Node and as a bundler resolve it', () => {
  const files = [];
  for (const [i, example] of examples(README).entries()) {
    if (example.language !== 'ts') continue;
    expect(
      example.words.some((word) => ['node', 'compile', 'vite'].includes(word)),
      `${README}:${example.line} says where it runs`,
    ).toBe(true);
    files.push(`example-${i}.ts`);
    writeFileSync(join(consumer, `example-${i}.ts`), example.source);
  }
  expect(files.length).toBeGreaterThan(3);
  writeFileSync(
    join(consumer, 'types.ts'),
    `import { openLab, openLabInWorker, type Lab, type Panel, type Result } from 'linearium';
import type { ToWorker } from 'linearium/worker';
import { init, Lab as Verbs } from 'linearium/core';
import type { LineariumElement } from 'linearium/elements';
export const lab: Promise<Lab> = openLab({ engine: 'first' });
export const other: Promise<Lab> = openLabInWorker({ gpu: true });
export const first = (result: Result): Panel | undefined => result.panels['decay'];
export const verbs: () => Promise<string | undefined> = async () => (await init(), new Verbs().panel('state')?.title);
export const element = (): LineariumElement => document.createElement('linearium-lab');
export const start: ToWorker = { type: 'ping' };
// @ts-expect-error there is no such engine
void openLab({ engine: 'second' });
// @ts-expect-error a message has a type of its own
export const wrong: ToWorker = { type: 'pong' };
`,
  );
  for (const [module, moduleResolution] of [
    ['nodenext', 'nodenext'],
    ['esnext', 'bundler'],
  ]) {
    const compilerOptions = {
      strict: true,
      noEmit: true,
      skipLibCheck: false,
      noUncheckedIndexedAccess: false,
      target: 'es2022',
      lib: ['es2023', 'dom', 'dom.iterable'],
      module,
      moduleResolution,
      types: ['node'],
      typeRoots: [tool('@types')],
    };
    writeFileSync(
      join(consumer, 'tsconfig.json'),
      JSON.stringify({ compilerOptions, files: ['types.ts', ...files] }),
    );
    run('node', [tool('typescript/bin/tsc'), '-p', 'tsconfig.json']);
  }
});

const TO_JAVASCRIPT = ['--ignoreConfig', '--noCheck', '--module', 'esnext', '--target', 'es2022'];

for (const [i, example] of examples(README).entries()) {
  if (!example.words.includes('node')) continue;
  test(`the example on line ${example.line} of ${README} runs in Node`, () => {
    writeFileSync(join(consumer, `run-${i}.ts`), example.source);
    run('node', [tool('typescript/bin/tsc'), ...TO_JAVASCRIPT, `run-${i}.ts`]);
    expect(run('node', [`run-${i}.js`]).trim()).not.toBe('');
  });
}

/** What a run gives, in a form that goes from one program to another. */
const MEASURE = `async (lab, checkpoint, text) => {
  const { backend, panels } = await lab.run({ model: checkpoint, text, settings: { context: 512 } });
  const plain = (value) => ArrayBuffer.isView(value) ? Array.from(value)
    : Array.isArray(value) ? value.map(plain)
    : value && typeof value === 'object' ? Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]))
    : value;
  const { decay, state } = panels;
  return { backend, panels: Object.keys(panels).sort(), views: plain([decay.views, state.views]) };
}`;

interface Measured {
  backend: string;
  panels: string[];
  views: unknown;
}

let told: {
  first: Measured;
  other: Measured;
  again: Measured;
  last: Measured;
  errors: string[];
  exhibit: number;
};

/** Measures and makes every mistake once in Node; later calls give what the first one gave. */
function inNode(): typeof told {
  if (told) return told;
  const source = `
    import { readFileSync } from 'node:fs';
    import { openLab, openLabInWorker } from 'linearium';
    const measure = ${MEASURE};
    const checkpoint = {
      config: readFileSync('checkpoint/config.json'),
      weights: readFileSync('checkpoint/model.safetensors'),
    };
    const lab = await openLab();
    const first = await measure(lab, checkpoint, ${JSON.stringify(TEXT)});
    const other = await measure(lab, checkpoint, ${JSON.stringify([...TEXT].reverse().join(''))});
    const again = await measure(lab, checkpoint, ${JSON.stringify(TEXT)});
    const told = async (run) => { try { await run(); return 'no error'; } catch (error) { return error.message; } };
    const both = lab.run({ settings: { model: 'random-gla', input: 'noise', context: 64 } });
    const errors = [
      await told(() => lab.run({ settings: { model: 'random-gla', input: 'noise', context: 64 } })),
      (await both, await told(() => lab.run())),
      await told(() => lab.run({ model: { ...checkpoint, weights: new Uint8Array(9) }, text: 'x' })),
      await told(async () => (await openLab()).run({ settings: { model: 'file' } })),
      await told(() => lab.run({ signal: AbortSignal.abort(new Error('enough')), settings: { model: 'random-gla', input: 'noise' } })),
      await told(() => openLabInWorker()),
      await told(async () => (await openLab({ engine: 'first' })).run({ settings: { model: 'random-rwkv7', input: 'noise' } })),
      await told(async () => (await openLab({ engine: 'first' })).exhibit('l_mul')),
    ];
    // After all of this it still answers.
    const last = await measure(lab, checkpoint, ${JSON.stringify(TEXT)});
    const exhibit = await lab.exhibit('l_mul', { bits: 3 });
    process.stdout.write(JSON.stringify({ first, other, again, last, errors, exhibit: exhibit.panel?.views.length }));
  `;
  writeFileSync(join(consumer, 'measure.js'), source);
  told = JSON.parse(run('node', ['measure.js'])) as typeof told;
  return told;
}

test('Node measures a checkpoint on the CPU, and tells of mistakes in a sentence', () => {
  const said = inNode();
  expect(said.first.backend).toMatch(/^cpu \(wasm/);
  expect(said.first.panels).toEqual(['cost', 'decay', 'receptive-field', 'state']);
  expect(said.other.views).not.toEqual(said.first.views);
  expect(said.again).toEqual(said.first);
  expect(said.last).toEqual(said.first);
  expect(said.exhibit).toBeGreaterThan(0);
  const [busy, shipped, broken, without, stopped, worker, mixer, exhibit] = said.errors;
  expect(busy).toContain('busy');
  expect(shipped).toContain('filesAt');
  expect(broken).toMatch(/safetensors/);
  expect(without).toContain('give it to the run as `model`');
  expect(stopped).toBe('enough');
  expect(worker).toContain('openLab');
  expect(mixer).toContain('complete');
  expect(exhibit).toContain('complete');
});

/** Measures the same checkpoint in a page that has the two ways to open a lab. */
async function measureIn(page: Page, checkpointUrl: string, way: string): Promise<Measured> {
  const result = await page.evaluate(
    `(async () => {
      const { openLab, openLabInWorker } = globalThis.linearium;
      const bytes = async (name) => new Uint8Array(await (await fetch(${JSON.stringify(checkpointUrl)} + name)).arrayBuffer());
      const checkpoint = { config: await bytes('config.json'), weights: await bytes('model.safetensors') };
      const lab = await ${way}();
      const first = await (${MEASURE})(lab, checkpoint, ${JSON.stringify(TEXT)});
      const other = await (${MEASURE})(lab, checkpoint, ${JSON.stringify([...TEXT].reverse().join(''))});
      const again = await (${MEASURE})(lab, checkpoint, ${JSON.stringify(TEXT)});
      lab.close();
      if (JSON.stringify(first) === JSON.stringify(other)) throw new Error('another text gives the same');
      if (JSON.stringify(first) !== JSON.stringify(again)) throw new Error('twice the same is not the same');
      return first;
    })()`,
  );
  return result as Measured;
}

/** Both ways give what Node gave: it is one engine. Relaxed SIMD rounds once where Node rounds twice. */
async function expectSame(page: Page, checkpointUrl: string): Promise<void> {
  const { first } = inNode();
  for (const way of ['openLab', 'openLabInWorker']) {
    const measured = await measureIn(page, checkpointUrl, way);
    expect(measured.panels, way).toEqual(first.panels);
    expectNear(measured.views, first.views, way);
  }
}

function expectNear(found: unknown, wanted: unknown, where: string): void {
  if (typeof wanted === 'number') {
    const error = Math.abs((found as number) - wanted);
    if (!(error <= 1e-3 * Math.abs(wanted) + 1e-4)) throw new Error(`${where}: ${found} is not ${wanted}`);
  } else if (wanted !== null && typeof wanted === 'object') {
    expect(Object.keys(found as object), where).toEqual(Object.keys(wanted));
    for (const [key, value] of Object.entries(wanted))
      expectNear((found as Record<string, unknown>)[key], value, `${where} ${key}`);
  } else expect(found, where).toEqual(wanted);
}

/** The policy that the words of the package ask for. */
const PLAIN = `<!doctype html><meta charset="utf-8" />
<meta http-equiv="Content-Security-Policy" content="default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'" />
<script type="module" src="./start.js"></script>`;

test('a plain module script in a static folder under a path', async ({ page }) => {
  const site = await serveFolder(consumer, { path: '/a/deep/path/' });
  const start =
    "import * as linearium from './static/linearium/lib/package/index.js';\nglobalThis.linearium = linearium;\n";
  writeFileSync(join(consumer, 'plain.html'), PLAIN);
  writeFileSync(join(consumer, 'start.js'), start);
  await page.goto(`${site.url}plain.html`);
  await page.waitForFunction('globalThis.linearium');
  await expectSame(page, './checkpoint/');
  expect(
    site.requests.filter((path) => !path.startsWith('/a/deep/path/') && path !== '/favicon.ico'),
  ).toEqual([]);
  site.close();
});

test('the example of the page runs as it stands', async ({ page }) => {
  const example = examples(README).find(({ words }) => words.includes('page'))!;
  writeFileSync(
    join(consumer, 'static/index.html'),
    `<!doctype html><meta charset="utf-8" />${example.source}`,
  );
  const site = await serveFolder(join(consumer, 'static'));
  await page.goto(`${site.url}index.html`);
  await expect(page.locator('#answer')).toHaveText(/SSD.*: .*decay/, { timeout: 30_000 });
  site.close();
});

test('the elements draw from a folder of another origin, and are what their manifest says', async ({
  page,
}) => {
  const cdn = await serveFolder(installed, { path: '/npm/linearium@0/', cors: true });
  writeFileSync(
    join(consumer, 'elements.html'),
    `<!doctype html><meta charset="utf-8" /><script type="module" src="${cdn.url}elements/linearium.js"></script>
<linearium-lab context="128" input="noise" lock="context" backend="cpu"></linearium-lab>`,
  );
  const site = await serveFolder(consumer);
  const elsewhere: string[] = [];
  page.on('request', (request) => {
    if (![site.url, cdn.url, 'blob:', 'data:'].some((start) => request.url().startsWith(start)))
      elsewhere.push(request.url());
  });
  await page.goto(`${site.url}elements.html`);
  const result = await page.evaluate(async () => {
    await customElements.whenDefined('linearium-lab');
    const lab = document.querySelector('linearium-lab') as unknown as {
      result(): Promise<{ query: string; panels: { id: string }[] }>;
    };
    const { query, panels } = await lab.result();
    return { query, panels: panels.map(({ id }) => id).sort() };
  });
  expect(result.panels).toEqual(['cost', 'decay', 'receptive-field', 'state']);
  expect(result.query).toContain('context=128');
  expect(elsewhere).toEqual([]);
  const manifest = JSON.parse(readFileSync(join(installed, 'custom-elements.json'), 'utf8')) as {
    modules: { declarations: { name: string; tagName: string; attributes: { name: string }[] }[] }[];
  };
  for (const { name, tagName, attributes } of manifest.modules[0]!.declarations) {
    const found = await page.evaluate(
      ([tag]) => customElements.get(tag!)?.name !== undefined && 'result' in document.createElement(tag!),
      [tagName],
    );
    expect(found, name).toBe(true);
    expect(attributes.map((attribute) => attribute.name)).toContain(
      tagName === 'linearium-lab' ? 'context' : 'name',
    );
  }
  site.close();
  cdn.close();
});

test('from a folder of another origin, as a CDN serves it', async ({ page }) => {
  const cdn = await serveFolder(installed, { path: '/npm/linearium@0/', cors: true });
  const start = `import * as linearium from '${cdn.url}lib/package/index.js';\nglobalThis.linearium = linearium;\n`;
  writeFileSync(join(consumer, 'start.js'), start);
  writeFileSync(
    join(consumer, 'cdn.html'),
    '<!doctype html><script type="module" src="./start.js"></script>',
  );
  const site = await serveFolder(consumer);
  await page.goto(`${site.url}cdn.html`);
  await page.waitForFunction('globalThis.linearium');
  await expectSame(page, './checkpoint/');
  expect(cdn.requests.filter((path) => path.endsWith('.wasm')).length).toBeGreaterThan(0);
  expect(site.requests.filter((path) => path.endsWith('.wasm'))).toEqual([]);
  site.close();
  cdn.close();
});

test('built by Vite with the configuration of the example', async ({ page }) => {
  const example = examples(README).find(({ words }) => words.includes('vite'))!;
  writeFileSync(
    join(consumer, 'index.html'),
    '<!doctype html><script type="module" src="./vite-start.js"></script>',
  );
  writeFileSync(
    join(consumer, 'vite-start.js'),
    "import * as linearium from 'linearium';\nglobalThis.linearium = linearium;\n",
  );
  writeFileSync(join(consumer, 'vite.config.js'), example.source);
  const words = ['build', '--base', './', '--outDir', 'vite-dist', '--logLevel', 'warn'];
  expect(run('node', [tool('vite/bin/vite.js'), ...words])).toBe('');
  const site = await serveFolder(join(consumer, 'vite-dist'), { path: '/built/' });
  await page.goto(`${site.url}index.html`);
  await page.waitForFunction('globalThis.linearium');
  const checkpoint = await serveFolder(join(consumer, 'checkpoint'), { cors: true });
  await expectSame(page, checkpoint.url);
  site.close();
  checkpoint.close();
});
