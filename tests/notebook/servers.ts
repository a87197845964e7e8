/** JupyterLab and marimo as a person starts them, each with folders of its own and nothing on its network. */
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';

const work = join(__dirname, '../../target/xtask/notebooks');

export interface Notebook {
  address: string;
  origin: string;
  close(): Promise<void>;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

const PATIENCE_MS = 60_000;

/** Starts a module of the Python under test and waits until it answers at `address`. */
async function start(words: string[], folder: string, origin: string, address: string): Promise<Notebook> {
  const python = process.env['LINEARIUM_PYTHON'];
  if (!python) throw new Error('LINEARIUM_PYTHON names no Python: run `cargo xtask test notebook`');
  const server: ChildProcess = spawn(python, ['-m', ...words], {
    cwd: folder,
    stdio: ['ignore', 'pipe', 'pipe'],
    env: {
      ...process.env,
      JUPYTER_CONFIG_DIR: join(folder, 'config'),
      JUPYTER_DATA_DIR: join(folder, 'data'),
      JUPYTER_RUNTIME_DIR: join(folder, 'runtime'),
      JUPYTERLAB_SETTINGS_DIR: join(folder, 'settings'),
      JUPYTERLAB_WORKSPACES_DIR: join(folder, 'workspaces'),
      IPYTHONDIR: join(folder, 'ipython'),
      XDG_CONFIG_HOME: join(folder, 'config'),
      XDG_STATE_HOME: join(folder, 'state'),
    },
  });
  let said = '';
  for (const stream of [server.stdout, server.stderr]) stream?.on('data', (text) => (said += String(text)));
  const ended = new Promise<void>((resolve) => server.once('exit', () => resolve()));
  const close = async (): Promise<void> => {
    server.kill('SIGTERM');
    const timer = setTimeout(() => server.kill('SIGKILL'), 10_000);
    await ended;
    clearTimeout(timer);
  };
  const begun = Date.now();
  for (;;) {
    const answer = await fetch(address).catch(() => undefined);
    if (answer?.ok) return { address, origin, close };
    if (server.exitCode !== null || Date.now() - begun > PATIENCE_MS) {
      await close();
      throw new Error(`${words.join(' ')} did not start:\n${said}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

function emptyFolder(name: string): string {
  const folder = join(work, name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  return folder;
}

/** A notebook of these cells in JupyterLab. */
export async function openJupyterLab(cells: readonly string[]): Promise<Notebook> {
  const folder = emptyFolder('jupyterlab');
  const notebook = {
    cells: cells.map((source, i) => ({
      cell_type: 'code',
      id: `cell-${i}`,
      metadata: {},
      execution_count: null,
      outputs: [],
      source,
    })),
    metadata: { kernelspec: { display_name: 'Python 3', language: 'python', name: 'python3' } },
    nbformat: 4,
    nbformat_minor: 5,
  };
  mkdirSync(join(folder, 'files'));
  writeFileSync(join(folder, 'files/lesson.ipynb'), JSON.stringify(notebook));
  // Nothing of JupyterLab itself asks the network, or the person.
  const quiet = '@jupyterlab/apputils-extension/notification.jupyterlab-settings';
  mkdirSync(join(folder, 'settings/@jupyterlab/apputils-extension'), { recursive: true });
  writeFileSync(
    join(folder, 'settings', quiet),
    JSON.stringify({ fetchNews: 'false', checkForUpdates: false, doNotDisturbMode: true }),
  );
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const words = ['jupyterlab', '--no-browser', '--allow-root', `--ServerApp.port=${port}`];
  words.push('--ServerApp.ip=127.0.0.1', '--ServerApp.port_retries=0', '--IdentityProvider.token=');
  words.push('--ServerApp.password=', `--ServerApp.root_dir=${join(folder, 'files')}`);
  return start(words, folder, origin, `${origin}/lab/tree/lesson.ipynb`);
}

/** A notebook of these cells in marimo. */
export async function openMarimo(cells: readonly string[]): Promise<Notebook> {
  const folder = emptyFolder('marimo');
  writeFileSync(join(folder, 'lesson.py'), cells.join('\n'));
  const port = await freePort();
  const origin = `http://127.0.0.1:${port}`;
  const words = ['marimo', 'run', 'lesson.py', '--headless', '--no-token'];
  return start([...words, '--host', '127.0.0.1', '--port', `${port}`], folder, origin, `${origin}/`);
}
