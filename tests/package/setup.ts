/** Packs pkg/ as npm would publish it and installs the tarball into a project of its own. */
import { cpSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { consumer, installed, repository, run, tool } from './consumer';

export default function setup(): void {
  rmSync(consumer, { recursive: true, force: true });
  mkdirSync(consumer, { recursive: true });
  const packed = run('npm', ['pack', '--silent', '--pack-destination', consumer], join(repository, 'pkg'));
  const tarball = packed.trim().split('\n').at(-1)!;
  writeFileSync(
    join(consumer, 'package.json'),
    JSON.stringify({ name: 'consumer', private: true, type: 'module' }),
  );
  // It depends on nothing, so nothing is fetched.
  run('npm', ['install', '--offline', '--no-audit', '--no-fund', '--silent', `./${tarball}`]);
  // The same Vite as that of the page.
  symlinkSync(tool('vite'), join(consumer, 'node_modules/vite'));
  cpSync(join(consumer, tarball), join(consumer, 'linearium.tgz'));
  cpSync(join(repository, 'web/public/models/mamba2-n4-t64'), join(consumer, 'checkpoint'), {
    recursive: true,
  });
  // As a static folder, beside a page.
  cpSync(installed, join(consumer, 'static/linearium'), { recursive: true });
}
