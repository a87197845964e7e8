/**
 * What wasm-pack cannot write of the npm package in pkg/: the typed modules around its verbs, and the
 * package.json with `exports`. Run in web/ when the engines are built.
 */
import { execFileSync } from 'node:child_process';
import { copyFileSync, cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath, pathToFileURL, URL } from 'node:url';

const web = fileURLToPath(new URL('..', import.meta.url));
const root = join(web, '..');
const pkg = join(root, 'pkg');
const lib = join(pkg, 'lib');

/** What stands behind the names by which the page's sources know the engines. */
const ENGINES = { '#first': 'linearium_first.js', '#complete': 'linearium.js' };
const WASM = {
  '#first-url': 'linearium_first_bg.wasm',
  '#first-relaxed-url': 'linearium_first_relaxed_bg.wasm',
  '#complete-url': 'linearium_bg.wasm',
  '#complete-relaxed-url': 'linearium_relaxed_bg.wasm',
};
const addressFile = (name) => join(lib, 'addresses', `${name.slice(1).replace('-url', '')}.js`);

/** A module that can be loaded as it is, by whatever loads modules, knows others by relative names alone. */
function relativeNames(file) {
  const to = (target) => {
    const name = relative(dirname(file), target);
    return name.startsWith('.') ? name : `./${name}`;
  };
  const source = readFileSync(file, 'utf8');
  const named = source
    .replaceAll(/(['"])(#[a-z-]+)\1/g, (whole, quote, name) => {
      const target =
        name in ENGINES ? join(pkg, ENGINES[name]) : name in WASM ? addressFile(name) : undefined;
      if (!target) throw new Error(`${file} imports ${name}, which the package does not know`);
      return `${quote}${to(target)}${quote}`;
    })
    .replaceAll(/(['"])(\.{1,2}\/[^'"\n]+)\.ts\1/g, '$1$2.js$1');
  if (named !== source) writeFileSync(file, named);
}

function modules() {
  rmSync(lib, { recursive: true, force: true });
  const tsc = join(web, 'node_modules/typescript/bin/tsc');
  execFileSync('node', [tsc, '-p', 'tsconfig.package.json'], { cwd: web, stdio: 'inherit' });
  for (const entry of readdirSync(lib, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) relativeNames(join(entry.parentPath, entry.name));
  mkdirSync(join(lib, 'addresses'));
  for (const [name, file] of Object.entries(WASM))
    writeFileSync(addressFile(name), `export default new URL('../../${file}', import.meta.url).href;\n`);
}

function manifest() {
  const version = /^\[workspace\.package\]\nversion = "([^"]+)"$/m.exec(
    readFileSync(join(root, 'Cargo.toml'), 'utf8'),
  )?.[1];
  if (!version) throw new Error('Cargo.toml has no version of the workspace');
  const module = (types, code, more = {}) => ({ types, ...more, default: code });
  return {
    name: 'linearium',
    version,
    description:
      'A laboratory for linear-time sequence mixers: what a recurrent language model remembers as its context grows',
    keywords: [
      'mamba',
      'state space model',
      'linear attention',
      'rwkv',
      'interpretability',
      'wasm',
      'webgpu',
    ],
    license: 'MIT OR Apache-2.0',
    type: 'module',
    sideEffects: ['./lib/engine/worker.js', './elements/**'],
    customElements: 'custom-elements.json',
    engines: { node: '>=20' },
    main: './lib/package/index.js',
    types: './lib/package/index.d.ts',
    exports: {
      '.': module('./lib/package/index.d.ts', './lib/package/index.js', {
        node: './lib/package/index.node.js',
      }),
      './core': module('./lib/package/core.d.ts', './lib/package/core.js'),
      './worker': module('./lib/engine/protocol.d.ts', './lib/engine/worker.js'),
      './elements': module('./lib/package/elements.d.ts', './elements/linearium.js'),
      './custom-elements.json': './custom-elements.json',
      './wasm': './linearium_bg.wasm',
      './package.json': './package.json',
    },
    files: [
      'lib',
      'elements',
      'custom-elements.json',
      '*.js',
      '*.wasm',
      '*.d.ts',
      'LICENSE-MIT',
      'LICENSE-APACHE',
    ],
  };
}

/** The page's folder without its pages: the script of the elements, what it loads, and the checkpoints. */
function elements() {
  const folder = join(pkg, 'elements');
  rmSync(folder, { recursive: true, force: true });
  cpSync(join(web, 'dist'), folder, {
    recursive: true,
    filter: (name) => !/(\.html|\.webmanifest|service-worker\.js)$/.test(name),
  });
}

/** https://github.com/webcomponents/custom-elements-manifest: the attributes are what the engine declares. */
async function customElements() {
  const engine = await import(pathToFileURL(join(pkg, 'linearium.js')).href);
  engine.initSync({ module: readFileSync(join(pkg, 'linearium_bg.wasm')) });
  const text = { text: 'string' };
  const shared = [
    { name: 'hide', type: text, description: 'Controls and parts to leave out, by id.' },
    { name: 'lock', type: text, description: 'Controls that cannot be changed; `all` fixes every one.' },
    { name: 'range', type: text, description: 'Narrower bounds of controls.' },
    { name: 'theme', type: { text: "'auto' | 'light' | 'dark'" }, default: "'auto'" },
    { name: 'task', type: text, description: 'An assignment, as its link carries it.' },
  ];
  const own = (properties) =>
    properties.flatMap((property) => [
      { name: property.id, type: typeOf(property), default: property.default, description: property.help },
      ...(property.comparable
        ? [{ name: `b.${property.id}`, type: typeOf(property), description: `${property.label} of run B.` }]
        : []),
    ]);
  const typeOf = ({ type, choices }) => ({
    text: choices ? choices.map(({ id }) => `'${id}'`).join(' | ') : type === 'text' ? 'string' : 'number',
  });
  const events = ['ready', 'change', 'result', 'error'].map((name) => ({
    name: `linearium-${name}`,
    type: { text: 'CustomEvent' },
  }));
  const parts = ['controls', 'panel', 'assignment'];
  const members = [
    { kind: 'field', name: 'query', type: text, description: 'The state as the query of a link.' },
    { kind: 'field', name: 'state', type: { text: 'Record<string, string>' } },
    { kind: 'field', name: 'permalink', type: text, readonly: true },
    { kind: 'method', name: 'result', return: { type: { text: 'Promise<ElementResult>' } } },
  ];
  const element = (name, tagName, description, attributes, cssParts) => ({
    kind: 'class',
    customElement: true,
    superclass: { name: 'LitElement', package: 'lit' },
    name,
    tagName,
    description,
    attributes: [...attributes, ...shared],
    members,
    events,
    cssParts: cssParts.map((part) => ({ name: part })),
  });
  const exhibits = engine.Lab.exhibits();
  const controls = new Map(
    exhibits.flatMap(({ controls: all }) => all.map((control) => [control.id, control])),
  );
  const names = { text: exhibits.map(({ slug }) => `'${slug}'`).join(' | ') };
  const declarations = [
    element('LineariumLab', 'linearium-lab', 'The lab.', own(engine.Lab.properties()), parts),
    element(
      'LineariumExhibit',
      'linearium-exhibit',
      'A paper that runs.',
      [{ name: 'name', type: names, description: 'Slug of the exhibit.' }, ...own([...controls.values()])],
      [...parts, 'title'],
    ),
  ];
  const path = 'elements/linearium.js';
  const exported = declarations.flatMap(({ name, tagName }) => [
    { kind: 'js', name, declaration: { name, module: path } },
    { kind: 'custom-element-definition', name: tagName, declaration: { name, module: path } },
  ]);
  const modules = [{ kind: 'javascript-module', path, declarations, exports: exported }];
  return { schemaVersion: '1.0.0', modules };
}

modules();
elements();
writeFileSync(join(pkg, 'custom-elements.json'), `${JSON.stringify(await customElements(), null, 1)}\n`);
for (const licence of ['LICENSE-MIT', 'LICENSE-APACHE'])
  copyFileSync(join(root, licence), join(pkg, licence));
writeFileSync(join(pkg, 'package.json'), `${JSON.stringify(manifest(), null, 2)}\n`);
// wasm-pack tells git and npm to leave everything here out.
rmSync(join(pkg, '.gitignore'), { force: true });
