/**
 * One lab in the worker: work is done in slices with the message queue served in between; of several
 * settings that arrive meanwhile only the newest is taken.
 *
 * The wasm object may be used by one call at a time: messages wait in `inbox` while one is awaited.
 */
import { compact, type Panel } from '../views/types.ts';
import type {
  CompleteLab,
  FromWorker,
  Lab,
  ModelFiles,
  Progress,
  Property,
  Question,
  ToWorker,
} from './protocol.ts';

/** One slice of work. */
const SLICE_MS = 30;
/** The slice before the first answer to a setting: a coarse picture soon is better than a finer one late. */
const FIRST_SLICE_MS = 12;
/** Panels are read from wasm at most this often while work goes on. */
const PANEL_INTERVAL_MS = 80;
/** Progress is told at most this often. */
const PROGRESS_INTERVAL_MS = 60;
/** A newer setting waits this long for the first answer to the one before, so that a drag shows pictures. */
const FIRST_ANSWER_MS = 80;
/** Panels out of sight are sent when the settings have not changed for so long. */
const SETTLED_MS = 250;
/** So long at most panels are held back for a page that has not drawn the ones before. */
const DRAWING_LIMIT_MS = 2_000;
/** An awaited call that is not back by then will not come back: the GPU driver hangs. */
const CALL_LIMIT_MS = 30_000;
/** A software device checks its kernels slowly, and nothing waits for it. */
const GPU_LIMIT_MS = 120_000;

/** A file is read in pieces of this size. */
const PIECE_BYTES = 8 << 20;

const sentenceOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** An awaited call did not come back: the module may not be called again. */
class NoAnswer extends Error {}

/** What all labs of the worker have in common. */
export interface Shared {
  make(message: Extract<ToWorker, { type: 'start' }>): Promise<{ lab: Lab; properties: Property[] }>;
  /** One after the other: the device that the first one made serves the next. */
  startGpu(of: CompleteLab): Promise<string>;
  /** The module is broken for all of them. */
  die(sentence: string, gpu: boolean): void;
}

export interface Session {
  end(sentence: string, gpu: boolean): void;
}

/** Something that the lab is asked for between two slices of work, and who waits for it. */
interface Task {
  type: 'task';
  run: () => void;
  settle: (error?: unknown) => void;
}
type Message = ToWorker | Task;

/** A turn of the event loop without the 4 ms of a nested timer. */
const channel = new MessageChannel();
/** All labs take turns: each that waits is woken once. */
const waking: (() => void)[] = [];
channel.port1.onmessage = () => waking.shift()?.();
const breathe = (): Promise<void> =>
  new Promise((resolve) => {
    waking.push(resolve);
    channel.port2.postMessage(0);
  });

/** A trap leaves the module in an unknown state: nothing of it may be used again. */
function isTrap(error: unknown): boolean {
  return (
    error instanceof WebAssembly.RuntimeError || (error instanceof RangeError && /stack/i.test(error.message))
  );
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

export function openSession(port: MessagePort, shared: Shared): Session {
  const post = (message: FromWorker, transfer: Transferable[] = []): void =>
    port.postMessage(message, transfer);

  let lab: Lab | undefined;
  /** The same lab, if it is the complete one. */
  let complete: CompleteLab | undefined;
  /** Ends the run of an exhibit in the midst of it. */
  let dropper: { drop(): void } | undefined;
  let generation = 0;
  let query = '';
  let inbox: Message[] = [];
  /** Counts the files that were begun to be read: only the last one goes on. */
  let reading = 0;
  let running = false;
  let dead = false;
  /** The element is gone: nothing is to be done for it any more. */
  let left = false;

  let working = false;
  let gpuWanted = false;
  let gpuTried = false;
  let configuredAt = 0;
  let answered = true;
  let panelsAt = 0;
  let progressAt = 0;
  let drawing = false;
  /** Files are missing: what the engine holds is for other settings. */
  let waiting = false;
  /** Wakes the queue for panels that are sent when the settings have settled. */
  let later: ReturnType<typeof setTimeout> | undefined;
  let sight: ReadonlySet<string> | undefined;
  const changed = new Set<string>();
  /** Panels that the page has. */
  const shown = new Set<string>();

  async function start(message: Extract<ToWorker, { type: 'start' }>): Promise<void> {
    const made = await shared.make(message);
    if (message.engine === 'complete') {
      complete = made.lab as CompleteLab;
      dropper = complete.exhibitDropper();
    }
    lab = made.lab;
    post({ type: 'ready', properties: made.properties });
    if (complete && message.gpu) startGpu(complete);
  }

  function configure(message: Extract<ToWorker, { type: 'configure' }>): void {
    generation = message.generation;
    gpuWanted = message.gpu;
    query = message.query;
    const configured = lab!.configure(query);
    // Also what needs no new work is drawn for the new settings: another head, a shorter context.
    changed.clear();
    for (const id of shown) changed.add(id);
    configuredAt = performance.now();
    answered = false;
    working = true;
    post({ type: 'configured', generation, configured });
  }

  /** Asked of the complete engine alone. */
  async function answer(question: Question): Promise<unknown> {
    if (!complete) throw new Error('only the complete engine knows the mixers and the exhibits');
    switch (question.verb) {
      case 'mixer':
        return complete.mixer(question.id);
      case 'measure-mixer':
        return complete.measureMixer(question.id, question.gpu);
      case 'exhibit':
        return complete
          .exhibit(question.slug, question.query)
          .then((told) => ({ ...told, panel: told.panel && compact(told.panel).panel }));
      case 'claim-needs':
        return Promise.resolve(complete.claimNeeds(question.slug, question.claim));
      case 'check-claim':
        return complete.checkClaim(question.slug, question.claim, question.gpu);
    }
  }

  /** Asks the lab for something when it is free: it takes one call at a time. */
  function whenFree(run: () => void): Promise<void> {
    return new Promise((resolve, reject) => {
      inbox.push({ type: 'task', run, settle: (error) => (error === undefined ? resolve() : reject(error)) });
      void serve();
    });
  }

  /** The model is there: its facts are known now, and with them what of the settings fits it. */
  function tellModel(id: string, description: string): void {
    post({ type: 'model', id, description });
    // A page of an exhibit gives models without asking for a run of the lab.
    if (generation === 0) return;
    post({ type: 'configured', generation, configured: lab!.configure(query) });
    working = true;
  }

  /** Reads files piece by piece, while the lab goes on with what it has. */
  async function readModel(id: string, files: ModelFiles, weights: readonly File[]): Promise<void> {
    reading += 1;
    const mine = reading;
    const total = weights.reduce((sum, file) => sum + file.size, 0);
    let read = 0;
    try {
      await whenFree(() => lab!.beginModel(id, files.config, files.index, files.tokenizer));
      for (const file of weights) {
        await whenFree(() => lab!.beginFile(file.name, file.size));
        for (let at = 0; at < file.size; at += PIECE_BYTES) {
          post({ type: 'reading', id, bytes: read + at, total });
          let piece: Uint8Array;
          try {
            piece = new Uint8Array(await file.slice(at, at + PIECE_BYTES).arrayBuffer());
          } catch {
            throw new Error('the file cannot be read any more, it was changed or moved: choose it again');
          }
          if (mine !== reading) return;
          await whenFree(() => lab!.pushModel(piece));
          if (mine !== reading) return;
        }
        read += file.size;
      }
      post({ type: 'reading', id, bytes: total, total });
      await whenFree(() => tellModel(id, lab!.finishModel()));
    } catch (error) {
      if (mine !== reading || dead || isTrap(error)) return;
      lab?.dropModel();
      post({ type: 'error', about: `model ${id}`, sentence: sentenceOf(error) });
    }
  }

  function giveModel(id: string, files: ModelFiles): void {
    const { config, weights } = files;
    if (weights instanceof Uint8Array) tellModel(id, lab!.provideModel(id, config!, weights));
    else void readModel(id, files, weights);
  }

  /** What a message asks for; its errors are about `about`. */
  async function handle(message: Message): Promise<void> {
    switch (message.type) {
      case 'task':
        try {
          message.run();
          message.settle();
        } catch (error) {
          message.settle(error);
          if (isTrap(error)) throw error;
        }
        return;
      case 'start':
        return start(message);
      case 'configure':
        return configure(message);
      case 'model':
        giveModel(message.id, message);
        return;
      case 'stop-reading':
        reading += 1;
        lab!.dropModel();
        return;
      case 'text':
        lab!.provideText(message.id, message.bytes);
        working = generation > 0;
        return;
      case 'image': {
        const { width, height, rgba } = message.image;
        complete?.provideImage(message.id, width, height, rgba);
        return;
      }
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
      case 'ask':
        try {
          const value = await within(answer(message.question), GPU_LIMIT_MS);
          post({ type: 'answer', ticket: message.ticket, value });
        } catch (error) {
          if (isTrap(error) || error instanceof NoAnswer) throw error;
          post({ type: 'no-answer', ticket: message.ticket, sentence: sentenceOf(error) });
        }
        return;
      case 'sight':
        sight = new Set(message.panels);
        return;
      case 'want-gpu':
        if (complete && !gpuTried) startGpu(complete);
        return;
      case 'drop-exhibit':
      case 'drawn':
      case 'leave':
      case 'ping':
        return;
    }
  }

  /** Messages to be handled now, oldest first, without settings that a newer one replaces. */
  function takeMessages(): Message[] {
    if (!lab) {
      const start = inbox.filter((m) => m.type === 'start');
      inbox = inbox.filter((m) => m.type !== 'start');
      return start;
    }
    // While the page draws, nothing can be shown, and what is begun now is newer when it can.
    const waitForAnswer =
      working && !answered && !drawing && performance.now() - configuredAt < FIRST_ANSWER_MS;
    const newest = inbox.findLastIndex((m) => m.type === 'configure');
    const taken: Message[] = [];
    const kept: Message[] = [];
    inbox.forEach((message, i) => {
      if (message.type !== 'configure') taken.push(message);
      else if (i === newest) (waitForAnswer ? kept : taken).push(message);
    });
    inbox = kept;
    return taken;
  }

  /**
   * Sends what changed, at the page's pace: it gets new pictures when it has drawn the ones before. While
   * settings change it gets those in sight only.
   */
  function sendPanels(): void {
    if (changed.size === 0 || waiting) return;
    const now = performance.now();
    if (drawing && now - panelsAt < DRAWING_LIMIT_MS) return;
    if (working && answered && now - panelsAt < PANEL_INTERVAL_MS) return;
    const settled = now - configuredAt >= SETTLED_MS;
    const panels: Panel[] = [];
    const buffers: ArrayBuffer[] = [];
    for (const id of changed) {
      if (sight && !sight.has(id) && !settled) continue;
      changed.delete(id);
      const raw = lab!.panel(id);
      if (!raw) continue;
      const compacted = compact(raw);
      panels.push(compacted.panel);
      buffers.push(...compacted.buffers);
      shown.add(id);
    }
    answered = true;
    clearTimeout(later);
    if (changed.size > 0 && !working)
      later = setTimeout(() => void serve(), configuredAt + SETTLED_MS - now + 1);
    if (panels.length === 0) return;
    panelsAt = now;
    drawing = true;
    post({ type: 'panels', generation, panels }, buffers);
  }

  async function slice(): Promise<void> {
    const budget = answered ? SLICE_MS : FIRST_SLICE_MS;
    const progress: Progress = await within(lab!.advance(budget), CALL_LIMIT_MS);
    working = progress.state === 'working';
    waiting = progress.state === 'waiting';
    for (const id of progress.changed) changed.add(id);
    const now = performance.now();
    if (!working || progress.notices.length > 0 || now - progressAt >= PROGRESS_INTERVAL_MS) {
      progressAt = now;
      post({ type: 'progress', generation, progress });
    }
  }

  /**
   * The GPU is started after the first answer, and everything else goes on beside it: its self-check may
   * take seconds where the device is slow.
   */
  function startGpu(of: CompleteLab): void {
    gpuTried = true;
    within(shared.startGpu(of), GPU_LIMIT_MS).then(
      (report) => {
        post({ type: 'gpu', ok: true, report });
        working = generation > 0;
        void serve();
      },
      (error: unknown) => {
        if (isTrap(error)) shared.die(sentenceOf(error), true);
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
            if (isTrap(error) || error instanceof NoAnswer || message.type === 'start') throw error;
            const about =
              message.type === 'model' || message.type === 'text'
                ? `${message.type} ${message.id}`
                : message.type;
            post({ type: 'error', about, sentence: sentenceOf(error) });
          }
        }
        if (lab && working) await slice();
        else if (!lab || inbox.length === 0) {
          if (lab) sendPanels();
          break;
        }
        sendPanels();
        if (complete && gpuWanted && !gpuTried && answered && generation > 0) startGpu(complete);
        await breathe();
      }
    } catch (error) {
      if (!dead) shared.die(sentenceOf(error), error instanceof NoAnswer);
    } finally {
      running = false;
      if (left) lab?.free?.();
    }
  }

  port.onmessage = (event: MessageEvent<ToWorker>) => {
    if (dead) return;
    // Answered here and not in the queue: a pong says that the thread turns, not that work is done.
    if (event.data.type === 'ping') {
      post({ type: 'pong' });
      return;
    }
    if (event.data.type === 'drop-exhibit') {
      dropper?.drop();
      return;
    }
    if (event.data.type === 'leave') {
      dead = true;
      left = true;
      dropper?.drop();
      clearTimeout(later);
      port.close();
      if (!running) lab?.free?.();
      return;
    }
    if (event.data.type === 'drawn') drawing = false;
    else inbox.push(event.data);
    void serve();
  };

  return {
    end(sentence: string, gpu: boolean): void {
      if (dead) return;
      dead = true;
      clearTimeout(later);
      post({ type: 'trap', sentence, gpu });
    },
  };
}
