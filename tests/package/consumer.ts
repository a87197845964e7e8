/** A project that has installed the packed package, and the examples of the words that go with it. */
import { execFileSync } from 'node:child_process';
import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { extname, join, normalize } from 'node:path';

export const repository = join(__dirname, '../..');
export const consumer = join(repository, 'target/xtask/consumer');
export const installed = join(consumer, 'node_modules/linearium');

/** What a program says; an error with all that it said when it fails. */
export function run(program: string, words: string[], folder = consumer): string {
  try {
    return execFileSync(program, words, { cwd: folder, encoding: 'utf8', stdio: 'pipe' });
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    throw new Error(`${program} ${words.join(' ')} failed:\n${stdout}${stderr}`, { cause: error });
  }
}

/** A tool of web/. */
export const tool = (name: string): string => join(repository, 'web/node_modules', name);

export interface Example {
  file: string;
  line: number;
  language: string;
  /** What stands behind the language: where it is run. */
  words: string[];
  source: string;
}

/** Every block of code of a Markdown file. */
export function examples(file: string): Example[] {
  const text = readFileSync(join(repository, file), 'utf8');
  return [...text.matchAll(/^```(\S*)[ ]*(.*)\n([\s\S]*?)^```$/gm)].map((match) => ({
    file,
    line: text.slice(0, match.index).split('\n').length,
    language: match[1]!,
    words: match[2]!.split(' ').filter(Boolean),
    source: match[3]!,
  }));
}

const TYPES: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.wasm': 'application/wasm',
  '.json': 'application/json',
  '.css': 'text/css',
  '.svg': 'image/svg+xml',
  '.webmanifest': 'application/manifest+json',
};

/** A plain static server: a folder under a path, and what may be read from other origins. */
export async function serveFolder(
  folder: string,
  { path = '/', cors = false } = {},
): Promise<{ url: string; requests: string[]; close(): void }> {
  const requests: string[] = [];
  const server: Server = createServer((request, response) => {
    const { pathname } = new URL(request.url!, 'http://localhost');
    requests.push(pathname);
    const file = join(folder, normalize(pathname.slice(path.length)));
    if (!pathname.startsWith(path) || !existsSync(file) || !statSync(file).isFile()) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, {
      'content-type': TYPES[extname(file)] ?? 'application/octet-stream',
      ...(cors ? { 'access-control-allow-origin': '*' } : {}),
    });
    createReadStream(file).pipe(response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://localhost:${port}${path}`, requests, close: () => void server.close() };
}
