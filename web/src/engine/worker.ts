/**
 * Owns the wasm module, and the GPU through it. Work is done in slices with the message queue served
 * in between; of several settings that arrive meanwhile only the newest is taken.
 *
 * The wasm object may be used by one call at a time: messages wait in `inbox` while one is awaited.
 */
import startFirst, { Lab as FirstLab } from '#first';
import { compact } from '../views/types.ts';
import type { CompleteLab, FromWorker, Lab, Progress, ToWorker } from './protocol.ts';

/** One slice of work. */
const SLICE_MS = 30;
/** Panels are read from wasm at most this often while work goes on. */
const PANEL_INTERVAL_MS = 80;
/** A newer setting waits this long for the first answer to the one before, so that a drag shows pictures. */
const FIRST_ANSWER_MS = 80;
/** So long at most panels are held back for a page that has not drawn the ones before. */
const DRAWING_LIMIT_MS = 2_000;
/** An awaited call that is not back by then will not come back: the GPU driver hangs. */
const CALL_LIMIT_MS = 30_000;
/** A software device checks its kernels slowly, and nothing waits for it. */
const GPU_LIMIT_MS = 120_000;

const scope = self as unknown as DedicatedWorkerGlobalScope;
const post = (message: FromWorker, transfer: Transferable[] = []): void =>
  scope.postMessage(message, transfer);
const sentenceOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** An awaited call did not come back: the module may not be called again. */
class NoAnswer extends Error {}

let lab: Lab | undefined;
/** The same lab, if it is the complete one. */
let complete: CompleteLab | undefined;
let generation = 0;
let query = '';
let inbox: ToWorker[] = [];
let running = false;
let dead = false;

let working = false;
let gpuWanted = false;
let gpuTried = false;
let configuredAt = 0;
let answered = true;
let panelsAt = 0;
let drawing = false;
const changed = new Set<string>();
/** Panels that the page has. */
const shown = new Set<string>();

/** A turn of the event loop without the 4 ms of a nested timer. */
const channel = new MessageChannel();
let wake: (() => void) | undefined;
channel.port1.onmessage = () => wake?.();
const breathe = (): Promise<void> =>
  new Promise((resolve) => {
    wake = resolve;
    channel.port2.postMessage(0);
  });

/** A trap leaves the module in an unknown state: nothing of it may be used again. */
function isTrap(error: unknown): boolean {
  return (
    error instanceof WebAssembly.RuntimeError || (error instanceof RangeError && /stack/i.test(error.message))
  );
}

function die(sentence: string, gpu: boolean): void {
  dead = true;
  post({ type: 'trap', sentence, gpu });
}

function within<T>(promise: Promise<T>, limitMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new NoAnswer(`the GPU did not answer within ${limitMs / 1000} s`)),
      limitMs,
    );
    promise.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

async function start(message: Extract<ToWorker, { type: 'start' }>): Promise<void> {
  if (message.engine === 'complete') {
    const engine = await import('#complete');
    await engine.default();
    const made = new engine.Lab();
    complete = made;
    lab = made;
    post({ type: 'ready', properties: engine.Lab.properties() });
    if (message.gpu) startGpu(made);
  } else {
    await startFirst(message.wasm ? { module_or_path: message.wasm } : undefined);
    lab = new FirstLab();
    post({ type: 'ready', properties: FirstLab.properties() });
  }
}

function configure(message: Extract<ToWorker, { type: 'configure' }>): void {
  generation = message.generation;
  gpuWanted = message.gpu;
  query = message.query;
  const configured = lab!.configure(query);
  // Also what needs no new work is drawn for the new settings: another head, a shorter context.
  changed.clear();
  for (const id of shown) changed.add(id);
  // The first answer to a new setting waits for nothing.
  panelsAt = -Infinity;
  configuredAt = performance.now();
  answered = false;
  working = true;
  post({ type: 'configured', generation, configured });
}

/** What a message asks for; its errors are about `about`. */
async function handle(message: ToWorker): Promise<void> {
  switch (message.type) {
    case 'start':
      return start(message);
    case 'configure':
      return configure(message);
    case 'model':
      post({
        type: 'model',
        id: message.id,
        description: lab!.provideModel(message.id, message.config, message.weights),
      });
      // Its facts are known now, and with them what of the settings fits it.
      post({ type: 'configured', generation, configured: lab!.configure(query) });
      working = true;
      return;
    case 'text':
      lab!.provideText(message.id, message.bytes);
      working = true;
      return;
    case 'measure':
      lab!.measureRecall(message.samples);
      // It may need a text that nothing else needed.
      post({ type: 'configured', generation, configured: lab!.configure(query) });
      working = true;
      return;
    case 'cancel':
      lab!.cancel();
      working = true;
      return;
    case 'lose-gpu':
      complete?.loseGpu();
      working = true;
      return;
    case 'report':
      post({ type: 'report', ticket: message.ticket, text: lab!.report() });
      return;
    case 'drawn':
    case 'ping':
      return;
  }
}

/** Messages to be handled now, oldest first, without settings that a newer one replaces. */
function takeMessages(): ToWorker[] {
  if (!lab) {
    const start = inbox.filter((m) => m.type === 'start');
    inbox = inbox.filter((m) => m.type !== 'start');
    return start;
  }
  const waitForAnswer = working && !answered && performance.now() - configuredAt < FIRST_ANSWER_MS;
  const newest = inbox.findLastIndex((m) => m.type === 'configure');
  const taken: ToWorker[] = [];
  const kept: ToWorker[] = [];
  inbox.forEach((message, i) => {
    if (message.type !== 'configure') taken.push(message);
    else if (i === newest) (waitForAnswer ? kept : taken).push(message);
  });
  inbox = kept;
  return taken;
}

function sendPanels(): void {
  for (const id of changed) {
    const raw = lab!.panel(id);
    if (!raw) continue;
    const { panel, buffers } = compact(raw);
    post({ type: 'panel', generation, panel }, buffers);
    shown.add(id);
    answered = true;
  }
  changed.clear();
  panelsAt = performance.now();
  drawing = true;
  post({ type: 'panels-sent' });
}

/** The page sets the pace: it gets new pictures when it has drawn the ones before. */
function mayShow(): boolean {
  const waited = performance.now() - panelsAt;
  return waited >= DRAWING_LIMIT_MS || (waited >= PANEL_INTERVAL_MS && !drawing);
}

async function slice(): Promise<void> {
  const progress: Progress = await within(lab!.advance(SLICE_MS), CALL_LIMIT_MS);
  working = progress.state === 'working';
  for (const id of progress.changed) changed.add(id);
  if (!working) answered = true;
  // While files are missing, what the engine holds is for other settings.
  if (changed.size > 0 && progress.state !== 'waiting' && (!working || mayShow())) sendPanels();
  post({ type: 'progress', generation, progress });
}

/**
 * The GPU is started after the first answer, and everything else goes on beside it: its self-check may
 * take seconds where the device is slow.
 */
function startGpu(of: CompleteLab): void {
  gpuTried = true;
  within(of.startGpu(), GPU_LIMIT_MS).then(
    (report) => {
      post({ type: 'gpu', ok: true, report });
      working = generation > 0;
      void serve();
    },
    (error: unknown) => {
      if (isTrap(error)) die(sentenceOf(error), true);
      else post({ type: 'gpu', ok: false, report: sentenceOf(error) });
    },
  );
}

async function serve(): Promise<void> {
  if (running) return;
  running = true;
  try {
    while (!dead) {
      for (const message of takeMessages()) {
        try {
          await handle(message);
        } catch (error) {
          if (isTrap(error) || message.type === 'start') throw error;
          const about =
            message.type === 'model' || message.type === 'text'
              ? `${message.type} ${message.id}`
              : message.type;
          post({ type: 'error', about, sentence: sentenceOf(error) });
        }
      }
      if (lab && working) await slice();
      else if (!lab || inbox.length === 0) break;
      if (complete && gpuWanted && !gpuTried && answered && generation > 0) startGpu(complete);
      await breathe();
    }
  } catch (error) {
    if (!dead) die(sentenceOf(error), error instanceof NoAnswer);
  } finally {
    running = false;
  }
}

scope.onmessage = (event: MessageEvent<ToWorker>) => {
  if (dead) return;
  // Answered here and not in the queue: a pong says that the thread turns, not that work is done.
  if (event.data.type === 'ping') {
    post({ type: 'pong' });
    return;
  }
  if (event.data.type === 'drawn') {
    drawing = false;
    return;
  }
  inbox.push(event.data);
  void serve();
};
