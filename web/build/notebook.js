/**
 * What the Python package ships beside the elements: the engines, the checkpoints and texts, and the
 * settings as the engine declares them. Run in web/ when the elements of the widget are built.
 */
import { copyFileSync, cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL, URL } from 'node:url';

const web = fileURLToPath(new URL('..', import.meta.url));
const pkg = join(web, '../pkg');
const notebook = join(web, 'notebook');
const files = join(notebook, 'linearium/static');

mkdirSync(files, { recursive: true });
const engines = ['linearium_first', 'linearium'];
for (const engine of engines)
  for (const suffix of ['_bg', '_relaxed_bg'])
    copyFileSync(join(pkg, `${engine}${suffix}.wasm`), join(files, `${engine}${suffix}.wasm`));
cpSync(join(web, 'public/models'), join(files, 'models'), { recursive: true });

const engine = await import(pathToFileURL(join(pkg, 'linearium.js')).href);
engine.initSync({ module: readFileSync(join(pkg, 'linearium_bg.wasm')) });
const exhibits = engine.Lab.exhibits().map(({ slug, title, controls }) => [slug, { title, controls }]);
const settings = { lab: engine.Lab.properties(), exhibits: Object.fromEntries(exhibits) };
writeFileSync(join(files, 'settings.json'), JSON.stringify(settings));
