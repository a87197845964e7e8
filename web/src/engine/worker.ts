/** Owns the wasm module, and the GPU through it, for all elements of the page: each has a lab of its own. */
import startFirst, { Lab as FirstLab } from '#first';
import type { CompleteLab, Lab, Property, ToWorker } from './protocol.ts';
import { hasRelaxedSimd } from './relaxed.ts';
import { openSession, type Session, type Shared } from './session.ts';

interface Engine {
  make(): Lab;
  properties: Property[];
}

let engine: Promise<Engine> | undefined;
let device: Promise<unknown> = Promise.resolve();
const sessions = new Set<Session>();

async function load(message: Extract<ToWorker, { type: 'start' }>): Promise<Engine> {
  if (message.engine === 'first') {
    await startFirst(message.wasm ? { module_or_path: message.wasm } : undefined);
    return { make: () => new FirstLab(), properties: FirstLab.properties() };
  }
  const complete = await import('#complete');
  if (message.wasm) await complete.default({ module_or_path: message.wasm });
  else {
    const { default: url } = await (hasRelaxedSimd()
      ? import('#complete-relaxed-url')
      : import('#complete-url'));
    await complete.default(url ? { module_or_path: new URL(url, import.meta.url) } : undefined);
  }
  return { make: () => new complete.Lab(), properties: complete.Lab.properties() };
}

const shared: Shared = {
  async make(message) {
    engine ??= load(message);
    const { make, properties } = await engine;
    return { lab: make(), properties };
  },
  startGpu(of: CompleteLab) {
    const report = device.then(() => of.startGpu());
    device = report.catch(() => undefined);
    return report;
  },
  die(sentence, gpu) {
    for (const session of sessions) session.end(sentence, gpu);
    sessions.clear();
  },
};

self.onmessage = (event: MessageEvent<{ type: 'sit' }>) => {
  const [port] = event.ports;
  if (port) sessions.add(openSession(port, shared));
};
