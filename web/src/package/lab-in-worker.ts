/** The lab in the page's own worker, so that a page stays free whatever is asked for. */
import type {
  Configured,
  ExhibitAnswer,
  FromWorker,
  Need,
  Progress,
  Property,
  Question,
  TextId,
  ToWorker,
} from '../engine/protocol.ts';
import type { Panel } from '../views/types.ts';
import {
  fileFor,
  ownFiles,
  queryOfRun,
  stillNeeded,
  type FileSource,
  type Lab,
  type LabOptions,
  type Result,
  type RunOptions,
} from './lab.ts';
import { queryOf, type Settings } from './settings.ts';

type Message<T extends FromWorker['type']> = Extract<FromWorker, { type: T }>;

/** A worker from another origin is refused: one of this origin imports it. */
export function openWorker(): Worker {
  // Written out as bundlers know it, and otherwise so that they do not take it for a file to inline.
  const home = import.meta.url;
  if (new URL(home).origin === globalThis.location.origin)
    return new Worker(new URL('../engine/worker.ts', import.meta.url), { type: 'module' });
  const address = new URL('../engine/worker.ts', home);
  const source = new Blob([`import ${JSON.stringify(address.href)};`], { type: 'text/javascript' });
  const own = URL.createObjectURL(source);
  try {
    return new Worker(own, { type: 'module' });
  } finally {
    // The browser has not read it yet when the constructor returns.
    setTimeout(() => URL.revokeObjectURL(own), 60_000);
  }
}

export class LabInWorker implements Lab {
  properties: readonly Property[] = [];
  /** Of the settings told last: every telling has its own. */
  private generation = 0;
  private tickets = 0;
  private busy = false;
  /** The engine trapped, or the lab was closed. */
  private ended: Error | undefined;
  /** The seat of this lab in the worker. */
  private readonly port: MessagePort;
  private readonly given = new Set<string>();
  private readonly listeners = new Set<{ hear(message: FromWorker): void; fail(error: Error): void }>();

  private constructor(
    private readonly worker: Worker,
    private readonly files: FileSource | undefined,
  ) {
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    worker.postMessage({ type: 'sit' }, [port2]);
    port1.onmessage = ({ data }: MessageEvent<FromWorker>) => {
      if (data.type === 'trap') this.end(new Error(data.sentence));
      else for (const listener of [...this.listeners]) listener.hear(data);
    };
    worker.onerror = (event) => {
      event.preventDefault();
      this.end(new Error(event.message || 'the worker of the engine could not be loaded'));
    };
  }

  static async open(worker: Worker, options: LabOptions): Promise<LabInWorker> {
    const { engine = 'complete', gpu = false, wasm, files } = options;
    const lab = new LabInWorker(worker, files);
    try {
      if (wasm) throw new Error('a lab in a worker fetches its own wasm: leave `wasm` out');
      const ready = lab.next('ready');
      lab.send({ type: 'start', engine, wasm: null, gpu: false });
      lab.properties = (await ready).properties;
      if (gpu) {
        const tried = lab.next('gpu');
        lab.send({ type: 'want-gpu' });
        const { ok, report } = await tried;
        if (!ok) throw new Error(report);
      }
      return lab;
    } catch (error) {
      lab.close();
      throw error;
    }
  }

  run(options: RunOptions = {}): Promise<Result> {
    return this.alone(async () => {
      const { onProgress, signal } = options;
      const query = queryOfRun(options);
      for (const need of ownFiles(options)) this.given.delete(`${need.kind} ${need.id}`);
      const before = this.generation;
      const panels: Record<string, Panel> = {};
      const notices = new Set<string>();
      const idle = this.listen<Progress>((message, done) => {
        if (message.type === 'panels') {
          // Whatever was sent: the worker waits for the word before it sends more.
          this.send({ type: 'drawn' });
          if (message.generation > before) for (const panel of message.panels) panels[panel.id] = panel;
        } else if (message.type === 'progress' && message.generation > before) {
          // An earlier telling of these settings waits for files; it is not idle.
          for (const notice of message.progress.notices) notices.add(notice);
          onProgress?.(message.progress);
          if (message.progress.state === 'idle') done(message.progress);
        }
      }, signal);
      try {
        // The engine may have a file of this name from the run before, and would not ask again.
        await this.provide(ownFiles(options), options);
        let configured = await this.configure(query);
        // A text may be needed only when the model is known.
        while (await this.provide(configured.needs, options)) configured = await this.configure(query);
        const missing = stillNeeded(configured);
        if (missing) throw missing;
        for (const notice of configured.notices) notices.add(notice);
        const { backend } = await idle.promise;
        // The last panels follow the news that work is over; they are between two reports.
        await this.report();
        await this.report();
        return {
          query: configured.query,
          notices: [...notices],
          facts: configured.facts ?? null,
          backend,
          panels,
        };
      } catch (error) {
        this.send({ type: 'cancel' });
        throw error;
      } finally {
        idle.stop();
      }
    });
  }

  exhibit(slug: string, settings: Settings = {}): Promise<ExhibitAnswer> {
    return this.alone(async () => {
      const question: Question = { verb: 'exhibit', slug, query: queryOf(settings) };
      const first = await this.ask<ExhibitAnswer>(question);
      if (first.panel || !(await this.provide(first.needs, {}))) return first;
      return this.ask<ExhibitAnswer>(question);
    });
  }

  async report(): Promise<string> {
    const ticket = (this.tickets += 1);
    const reply = this.next('report', (message) => message.ticket === ticket);
    this.send({ type: 'report', ticket });
    return (await reply).text;
  }

  close(): void {
    this.end(new Error('this lab was closed: open another one'));
  }

  private end(error: Error): void {
    this.ended ??= error;
    this.worker.terminate();
    this.port.close();
    for (const listener of [...this.listeners]) listener.fail(error);
  }

  /** The engine takes one call at a time. */
  private async alone<T>(work: () => Promise<T>): Promise<T> {
    if (this.ended) throw this.ended;
    if (this.busy) throw new Error('this lab is busy: wait for its last answer or open another lab');
    this.busy = true;
    try {
      return await work();
    } finally {
      this.busy = false;
    }
  }

  private send(message: ToWorker): void {
    this.port.postMessage(message);
  }

  /** Hears every message until it is done or stopped; what ends the lab or the signal ends it too. */
  private listen<T>(
    hear: (message: FromWorker, done: (value: T) => void) => void,
    signal?: AbortSignal,
  ): { promise: Promise<T>; stop(): void } {
    let stop = (): void => undefined;
    const promise = new Promise<T>((resolve, reject) => {
      const listener = {
        hear: (message: FromWorker): void => hear(message, resolve),
        fail: reject,
      };
      const abort = (): void => reject(signal?.reason);
      if (signal?.aborted) abort();
      signal?.addEventListener('abort', abort);
      this.listeners.add(listener);
      stop = () => {
        this.listeners.delete(listener);
        signal?.removeEventListener('abort', abort);
      };
    });
    // It may be stopped before anyone waits for it.
    promise.catch(() => undefined);
    return { promise, stop };
  }

  /** The next message of this type that is meant; an error about a file ends the wait. */
  private async next<T extends FromWorker['type']>(
    type: T,
    meant: (message: Message<T>) => boolean = () => true,
  ): Promise<Message<T>> {
    const heard = this.listen<Message<T> | Error>((message, done) => {
      if (message.type === type && meant(message as Message<T>)) done(message as Message<T>);
      else if (message.type === 'error') done(new Error(message.sentence));
    });
    try {
      const message = await heard.promise;
      if (message instanceof Error) throw message;
      return message;
    } finally {
      heard.stop();
    }
  }

  private async configure(query: string): Promise<Configured> {
    const generation = (this.generation += 1);
    const reply = this.next('configured', (message) => message.generation === generation);
    this.send({ type: 'configure', generation, query, gpu: false });
    return (await reply).configured;
  }

  private async ask<T>(question: Question): Promise<T> {
    const ticket = (this.tickets += 1);
    const heard = this.listen<T | Error>((message, done) => {
      if (message.type === 'answer' && message.ticket === ticket) done(message.value as T);
      if (message.type === 'no-answer' && message.ticket === ticket) done(new Error(message.sentence));
    });
    this.send({ type: 'ask', ticket, question });
    try {
      const value = await heard.promise;
      if (value instanceof Error) throw value;
      return value;
    } finally {
      heard.stop();
    }
  }

  /** Gives what is needed and has not been given; whether there was any. */
  private async provide(needs: readonly Need[], options: RunOptions): Promise<boolean> {
    let any = false;
    for (const { kind, id } of needs) {
      const key = `${kind} ${id}`;
      if (this.given.has(key)) continue;
      const file = await fileFor({ kind, id }, options, this.files);
      if (file instanceof Uint8Array) this.send({ type: 'text', id: id as TextId, bytes: file });
      else {
        const taken = this.next('model', (message) => message.id === id);
        this.send({ type: 'model', id, ...file });
        await taken;
      }
      this.given.add(key);
      any = true;
    }
    return any;
  }
}
