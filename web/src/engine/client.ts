/**
 * The page's side of the engine. The latest request wins: of answers to older settings only pictures
 * are taken, for while a slider is dragged there is always a newer one on its way. A worker that
 * trapped or hangs is replaced, and what it had been told is told again.
 *
 * The page opens with a small engine. The complete one is fetched when it is wanted: beside the small
 * one while the GPU is tried, and takes its place when the GPU has passed its self-check; or at once,
 * when a mixer is asked for that the small one does not have.
 */
import type { Panel } from '../views/types.ts';
import type {
  Checked,
  Configured,
  EngineKind,
  ExhibitAnswer,
  FromWorker,
  Measured,
  MixerRow,
  ModelFiles,
  Need,
  Progress,
  Property,
  Question,
  TextId,
  ToWorker,
} from './protocol.ts';
import type { OwnImage } from './own-image.ts';
import { compileComplete, compileFirst, fetchOwn } from './own-files.ts';
import { announceComplete, onComplete, Seat } from './seats.ts';

export interface EngineListener {
  ready(properties: Property[]): void;
  configured(configured: Configured): void;
  panels(panels: Panel[]): void;
  progress(progress: Progress): void;
  /** The self-check on the GPU passed, or why there is no GPU. */
  gpu(ok: boolean, report: string): void;
  /** So much of the person's file has been read; nothing when it is over. */
  reading(file?: { bytes: number; total: number }): void;
  /** A file of the person is asked for: `model` or `text`. */
  fileWanted(kind: Need['kind']): void;
  /** Something went wrong that the person should know, in one sentence. */
  failed(sentence: string): void;
  /** Something happened that the person should know, and the lab went on by itself. */
  told(sentence: string): void;
}

/** A worker that has not answered a ping for this long is hung. */
const HUNG_MS = 10_000;
const PING_MS = 2_000;
/** Files from this size on leave the engine with much memory that it cannot give back. */
const LARGE_BYTES = 64 << 20;
/** So many replacements within a minute mean that the input at hand brings the engine down. */
const MAX_RESTARTS = 3;

let compiled: Promise<WebAssembly.Module | null> | undefined;
/** Once for all elements of the page. */
function compileWasm(): Promise<WebAssembly.Module | null> {
  compiled ??= compileFirst();
  compiled.catch(() => (compiled = undefined));
  return compiled;
}

async function fetchFile(path: string): Promise<Uint8Array> {
  let response: Response;
  try {
    response = await fetchOwn(path);
  } catch {
    throw new Error(`${path} could not be fetched: look at the connection and load the page again`);
  }
  if (!response.ok)
    throw new Error(`${path} could not be fetched (${response.status}): the page was installed without it`);
  return new Uint8Array(await response.arrayBuffer());
}

const downloads = new Map<string, Promise<Uint8Array>>();
/** What several elements of the page need is fetched once. */
function download(path: string): Promise<Uint8Array> {
  let bytes = downloads.get(path);
  if (!bytes) {
    bytes = fetchFile(path);
    downloads.set(path, bytes);
    bytes.catch(() => downloads.delete(path));
  }
  return bytes;
}

const asksForFile = (query: string): boolean => /(^|&)(b\.)?model=file(&|$)/.test(query);

/** A model with random weights is made by an engine that has its mixer; others are files. */
const isRandomModel = (need: Need): boolean => need.kind === 'model' && need.id.startsWith('random-');

export class EngineClient {
  private worker: Seat | undefined;
  /** A seat in the worker with the complete engine, which tries the GPU. */
  private candidate: Seat | undefined;
  private gpuTried = false;
  private shown = false;
  /** The recall that is asked for at the present settings. */
  private samples: number | undefined;
  private generation = 0;
  private query: string | undefined;
  private gpu = false;
  private sight: string[] | undefined;
  /** What was fetched or dropped, kept for a worker that takes the place of a broken one. */
  private readonly models = new Map<string, Promise<ModelFiles>>();
  private readonly texts = new Map<string, Promise<Uint8Array>>();
  private ownImage: OwnImage | undefined;
  private given = new Set<string>();
  /** The worker at hand was given a large file. */
  private large = false;
  private reports = new Map<number, (text: string) => void>();
  private asked = new Map<number, { resolve(value: unknown): void; reject(error: Error): void }>();
  private tickets = 0;
  private lastSign = 0;
  private restarts: number[] = [];
  /** The worker at hand has told that its engine runs. */
  private runs = false;
  /** No engine could be started: the next setting tries again. */
  private stuck = false;
  private unwatch: (() => void) | undefined;
  /** The worker of the complete engine is taken after the first answer. */
  private joins = false;
  private heartbeat: ReturnType<typeof setInterval> | undefined;

  /** A page that needs every mixer begins with the complete engine. */
  constructor(
    private readonly listener: EngineListener,
    private engine: EngineKind = 'first',
  ) {}

  /** Begins to fetch what a state will probably need, before the engine is there to ask for it. */
  prefetch(model: string | null, text: TextId | null): void {
    if (model) void this.model(model).catch(() => undefined);
    if (text) void this.text(text).catch(() => undefined);
  }

  start(): void {
    const worker = new Seat(this.engine);
    this.listenTo(worker);
    const begin = (wasm: WebAssembly.Module | null): void => {
      if (worker === this.worker) this.send({ type: 'start', engine: this.engine, wasm, gpu: false });
    };
    const compiling = this.engine === 'complete' ? compileComplete() : compileWasm();
    void compiling.then(begin, (error: unknown) =>
      this.listener.failed(`The engine could not be started: ${String((error as Error).message)}.`),
    );
    this.heartbeat ??= setInterval(() => this.beat(), PING_MS);
    this.unwatch ??= onComplete(() => this.join());
  }

  /** The complete engine is there for another element: one worker is enough for both. */
  private join(): void {
    if (this.engine === 'complete' || !this.worker || this.candidate) return;
    if (this.shown) this.fetchComplete();
    else this.joins = true;
  }

  private listenTo(worker: Seat): void {
    this.worker = worker;
    this.given = new Set();
    this.large = this.runs = this.stuck = false;
    this.lastSign = performance.now();
    worker.onmessage = (message) => {
      if (worker === this.worker) this.receive(message);
    };
    worker.onerror = (why) => {
      if (worker === this.worker) this.replace(why, false);
    };
    if (this.sight) this.look(this.sight);
  }

  /** Tries the GPU in a worker of its own, while the first engine goes on. */
  private tryGpu(): void {
    if (!this.gpu || this.gpuTried || this.engine === 'complete') return;
    this.gpuTried = true;
    const worker = new Seat('complete');
    this.candidate = worker;
    const fail = (report: string): void => {
      worker.leave();
      if (worker !== this.candidate) return;
      this.candidate = undefined;
      this.listener.gpu(false, report);
    };
    worker.onerror = fail;
    worker.onmessage = (message) => {
      if (worker !== this.candidate) return;
      if (message.type === 'trap') fail(message.sentence);
      else if (message.type === 'gpu' && !message.ok) fail(message.report);
      else if (message.type === 'gpu') {
        this.candidate = undefined;
        this.take(worker);
        this.listener.gpu(true, message.report);
      }
    };
    void compileComplete().then(
      (wasm) => {
        if (worker === this.candidate)
          worker.postMessage({ type: 'start', engine: 'complete', wasm, gpu: true });
      },
      (error: unknown) => fail((error as Error).message),
    );
  }

  /** The complete engine in this worker takes the place of the first one. */
  private take(worker: Seat): void {
    this.worker?.leave();
    this.engine = 'complete';
    this.listenTo(worker);
    this.tellAgain(this.gpu);
  }

  /** A mixer is wanted that the first engine does not have. */
  private fetchComplete(): void {
    this.candidate?.leave();
    this.candidate = undefined;
    this.worker?.leave();
    this.engine = 'complete';
    this.start();
    this.tellAgain(this.gpu);
  }

  /** What the engine before had been told; its files are asked for by the new one. */
  private tellAgain(gpu: boolean): void {
    if (this.query === undefined) return;
    const samples = this.samples;
    this.configure(this.query, gpu);
    if (samples !== undefined) this.measureRecall(samples);
  }

  stop(): void {
    clearInterval(this.heartbeat);
    this.heartbeat = undefined;
    this.unwatch?.();
    this.unwatch = undefined;
    this.worker?.leave();
    this.worker = undefined;
    this.candidate?.leave();
    this.candidate = undefined;
  }

  /** The state of the lab as the query of its link. Whatever was under way for an older one is dropped. */
  configure(query: string, gpu: boolean): void {
    if (query !== this.query) this.samples = undefined;
    // The memory of a wasm module only grows: a new engine is what gives it back.
    if (this.stuck || (this.large && !asksForFile(query))) this.renew();
    this.query = query;
    this.gpu = gpu;
    this.generation += 1;
    this.send({ type: 'configure', generation: this.generation, query, gpu });
  }

  /** The panels in sight, which are drawn first. */
  look(panels: string[]): void {
    this.sight = panels;
    this.send({ type: 'sight', panels });
  }

  giveModel(files: ModelFiles): void {
    this.models.set('file', Promise.resolve(files));
    this.given.delete('model file');
    // The first engine knows few of the models that people have, and keeps no weights packed.
    if (this.engine === 'first') this.fetchComplete();
    else if (this.large) {
      this.renew();
      this.tellAgain(this.gpu);
    }
    void this.answer({ kind: 'model', id: 'file' });
  }

  /** Stops reading the person's file. */
  stopReading(): void {
    this.models.delete('file');
    this.given.delete('model file');
    this.send({ type: 'stop-reading' });
    this.listener.reading();
  }

  /** A fresh worker with the same engine, told nothing yet. */
  private renew(): void {
    this.worker?.leave();
    this.start();
    this.listener.reading();
  }

  giveText(bytes: Uint8Array): void {
    this.texts.set('file', Promise.resolve(bytes));
    this.given.delete('text file');
    void this.answer({ kind: 'text', id: 'file' });
  }

  /** A picture of the person's own, for exhibits. */
  giveImage(image: OwnImage): void {
    this.ownImage = image;
    this.given.delete('image file');
    void this.answer({ kind: 'image', id: 'file' });
  }

  measureRecall(samples: number): void {
    this.samples = samples;
    this.send({ type: 'measure', samples });
  }

  cancel(): void {
    this.samples = undefined;
    this.send({ type: 'cancel' });
  }

  /** For tests: the device is destroyed as a crash of the driver would. */
  loseGpu(): void {
    this.send({ type: 'lose-gpu' });
  }

  report(): Promise<string> {
    const ticket = (this.tickets += 1);
    return new Promise((resolve) => {
      this.reports.set(ticket, resolve);
      this.send({ type: 'report', ticket });
    });
  }

  /** A mixer at the size that the settings ask for. */
  mixer(id: string): Promise<MixerRow> {
    return this.ask({ verb: 'mixer', id }) as Promise<MixerRow>;
  }

  measureMixer(id: string, gpu: boolean): Promise<Measured> {
    return this.ask({ verb: 'measure-mixer', id, gpu }) as Promise<Measured>;
  }

  /** One run of an exhibit, with the files that it needs. */
  async exhibit(slug: string, query: string): Promise<ExhibitAnswer> {
    const question: Question = { verb: 'exhibit', slug, query };
    const first = (await this.ask(question)) as ExhibitAnswer;
    if (first.panel || first.needs.length === 0) return first;
    await Promise.all(first.needs.map((need) => this.answer(need)));
    return (await this.ask(question)) as ExhibitAnswer;
  }

  /** The run of an exhibit that goes on is not wanted any more: its promise is rejected. */
  dropExhibit(): void {
    this.send({ type: 'drop-exhibit' });
  }

  async checkClaim(slug: string, claim: string, gpu: boolean): Promise<Checked> {
    const needs = (await this.ask({ verb: 'claim-needs', slug, claim })) as Need[];
    await Promise.all(needs.map((need) => this.answer(need)));
    return (await this.ask({ verb: 'check-claim', slug, claim, gpu })) as Checked;
  }

  /** Starts the GPU of a complete engine that is not asked for a run of the lab. */
  wantGpu(): void {
    this.gpu = true;
    this.send({ type: 'want-gpu' });
  }

  private ask(question: Question): Promise<unknown> {
    if (this.stuck) this.renew();
    const ticket = (this.tickets += 1);
    return new Promise((resolve, reject) => {
      this.asked.set(ticket, { resolve, reject });
      this.send({ type: 'ask', ticket, question });
    });
  }

  private send(message: ToWorker): void {
    this.worker?.postMessage(message);
  }

  private receive(message: FromWorker): void {
    this.lastSign = performance.now();
    switch (message.type) {
      case 'ready':
        this.runs = true;
        this.listener.ready(message.properties);
        if (this.engine === 'complete') announceComplete();
        break;
      case 'configured':
        if (message.generation !== this.generation) return;
        if (this.engine === 'first' && message.configured.needs.some(isRandomModel)) this.fetchComplete();
        else for (const need of message.configured.needs) void this.answer(need);
        this.listener.configured(message.configured);
        break;
      case 'panels':
        this.shown = true;
        this.listener.panels(message.panels);
        this.pace(message.generation);
        break;
      case 'progress':
        if (message.generation === this.generation) this.listener.progress(message.progress);
        // The first answer waits for nothing.
        if (message.progress.state === 'idle' || this.shown) this.tryGpu();
        if (this.joins && message.progress.state === 'idle') this.join();
        for (const notice of message.progress.notices) this.listener.told(notice);
        break;
      case 'gpu':
        this.listener.gpu(message.ok, message.report);
        break;
      case 'error':
        if (message.about === 'model file') {
          this.models.delete('file');
          this.listener.reading();
        }
        this.listener.failed(message.sentence);
        break;
      case 'report':
        this.reports.get(message.ticket)?.(message.text);
        this.reports.delete(message.ticket);
        break;
      case 'answer':
        this.asked.get(message.ticket)?.resolve(message.value);
        this.asked.delete(message.ticket);
        break;
      case 'no-answer':
        this.asked.get(message.ticket)?.reject(new Error(message.sentence));
        this.asked.delete(message.ticket);
        break;
      case 'trap':
        this.replace(message.sentence, message.gpu);
        break;
      case 'reading':
        this.listener.reading(message);
        break;
      case 'model':
        if (message.id === 'file') this.listener.reading();
        break;
      case 'pong':
        break;
    }
  }

  /** Fetches what the engine needs and hands it over; a file of the person is asked for. */
  private async answer(need: Need): Promise<void> {
    const key = `${need.kind} ${need.id}`;
    if (this.given.has(key)) return;
    const worker = this.worker;
    try {
      if (need.kind === 'image') {
        if (!this.ownImage) return this.listener.fileWanted('image');
        this.given.add(key);
        this.send({ type: 'image', id: need.id, image: this.ownImage });
      } else if (need.kind === 'model') {
        if (need.id === 'file' && !this.models.has('file')) return this.listener.fileWanted('model');
        const files = await this.model(need.id);
        if (worker !== this.worker || this.given.has(key)) return;
        this.given.add(key);
        const { weights } = files;
        const bytes = weights instanceof Uint8Array ? 0 : weights.reduce((sum, file) => sum + file.size, 0);
        this.large ||= bytes >= LARGE_BYTES;
        this.send({ type: 'model', id: need.id, ...files });
      } else {
        if (need.id === 'file' && !this.texts.has('file')) return this.listener.fileWanted('text');
        const bytes = await this.text(need.id as TextId);
        if (worker !== this.worker || this.given.has(key)) return;
        this.given.add(key);
        this.send({ type: 'text', id: need.id as TextId, bytes });
      }
    } catch (error) {
      this.models.delete(need.id);
      this.texts.delete(need.id);
      this.listener.failed(`${need.id}: ${(error as Error).message}.`);
    }
  }

  private model(id: string): Promise<ModelFiles> {
    let files = this.models.get(id);
    if (!files) {
      files = Promise.all([
        download(`models/${id}/config.json`),
        download(`models/${id}/model.safetensors`),
      ]).then(([config, weights]) => ({ config, weights }));
      this.models.set(id, files);
    }
    return files;
  }

  private text(id: TextId): Promise<Uint8Array> {
    let bytes = this.texts.get(id);
    if (!bytes) {
      bytes = download(`models/${id}.txt`);
      this.texts.set(id, bytes);
    }
    return bytes;
  }

  /** Tells the engine, and whoever measures, that pictures are on screen. */
  private pace(generation: number): void {
    const worker = this.worker;
    const drawn = (): void => {
      performance.mark('drawn', { detail: generation });
      performance.clearMarks('drawn');
      worker?.postMessage({ type: 'drawn' } satisfies ToWorker);
    };
    // A hidden page draws no frames.
    if (document.hidden) drawn();
    else requestAnimationFrame(() => setTimeout(drawn));
  }

  private beat(): void {
    if (!this.worker || document.hidden) {
      this.lastSign = performance.now();
      return;
    }
    if (performance.now() - this.lastSign > HUNG_MS) {
      this.replace('it did not answer any more', true);
      return;
    }
    this.send({ type: 'ping' });
  }

  /** A new worker in the place of a broken one, told everything that the old one had been told. */
  private replace(why: string, withoutGpu: boolean): void {
    this.worker?.condemn(why);
    this.worker = undefined;
    for (const { reject } of this.asked.values()) reject(new Error(`the engine stopped (${why})`));
    this.asked.clear();
    this.listener.reading();
    const now = performance.now();
    this.restarts = [...this.restarts.filter((t) => now - t < 60_000), now];
    if (this.restarts.length > MAX_RESTARTS) {
      this.listener.failed(
        `The engine stopped ${this.restarts.length} times within a minute (${why}): change a setting to start it again.`,
      );
      this.restarts = [];
      // One that fails at its start would do so for ever.
      this.stuck = !this.runs;
      if (this.stuck) return;
      const query = this.query;
      // Started, but left without the state that brings it down.
      this.start();
      this.query = query;
      return;
    }
    this.listener.told(`The engine stopped (${why}) and was started again with the same settings.`);
    this.start();
    if (this.query === undefined && this.gpu && !withoutGpu) this.wantGpu();
    this.tellAgain(this.gpu && !withoutGpu);
  }
}
