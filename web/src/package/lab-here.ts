/** The lab on the thread that calls it, in slices, so that an event loop goes on turning. */
import type {
  CompleteLab,
  ExhibitAnswer,
  Lab as Verbs,
  Need,
  Progress,
  Property,
  TextId,
} from '../engine/protocol.ts';
import { compact, type Panel } from '../views/types.ts';
import {
  fileFor,
  ownFiles,
  queryOfRun,
  RUN_PANELS,
  stillNeeded,
  type Checkpoint,
  type FileSource,
  type Lab,
  type Result,
  type RunOptions,
} from './lab.ts';
import { queryOf, type Settings } from './settings.ts';

/** One slice of work. */
const SLICE_MS = 30;

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve));

export class LabHere implements Lab {
  /** Those that were given and not dropped since: a run's own files are new each time. */
  private readonly given = new Set<string>();
  private busy = false;

  constructor(
    private readonly verbs: (Verbs & { free(): void }) | (CompleteLab & { free(): void }),
    readonly properties: readonly Property[],
    private readonly files: FileSource | undefined,
  ) {}

  run(options: RunOptions = {}): Promise<Result> {
    return this.alone(async () => {
      const { onProgress, signal } = options;
      const query = queryOfRun(options);
      for (const need of ownFiles(options)) this.given.delete(`${need.kind} ${need.id}`);
      // The engine may have a file of this name from the run before, and would not ask again.
      await this.provide(ownFiles(options), options);
      let configured = this.verbs.configure(query);
      // A text may be needed only when the model is known.
      while (await this.provide(configured.needs, options)) configured = this.verbs.configure(query);
      const missing = stillNeeded(configured);
      if (missing) throw missing;
      const notices = new Set(configured.notices);
      let progress: Progress;
      do {
        if (signal?.aborted) {
          this.verbs.cancel();
          throw signal.reason;
        }
        progress = await this.verbs.advance(SLICE_MS);
        for (const notice of progress.notices) notices.add(notice);
        onProgress?.(progress);
        await turn();
      } while (progress.state === 'working');
      const panels: Record<string, Panel> = {};
      for (const id of RUN_PANELS) {
        const panel = this.verbs.panel(id);
        if (panel) panels[id] = compact(panel).panel;
      }
      return {
        query: configured.query,
        notices: [...notices],
        facts: configured.facts ?? null,
        backend: progress.backend,
        panels,
      };
    });
  }

  exhibit(slug: string, settings: Settings = {}): Promise<ExhibitAnswer> {
    return this.alone(async () => {
      const { verbs } = this;
      if (!('exhibit' in verbs))
        throw new Error('the first engine has no exhibits: open the lab with the engine `complete`');
      let answer = await verbs.exhibit(slug, queryOf(settings));
      if (!answer.panel && (await this.provide(answer.needs, {})))
        answer = await verbs.exhibit(slug, queryOf(settings));
      return { ...answer, panel: answer.panel && compact(answer.panel).panel };
    });
  }

  async report(): Promise<string> {
    return this.verbs.report();
  }

  close(): void {
    this.verbs.free();
  }

  /** The engine takes one call at a time. */
  private async alone<T>(work: () => Promise<T>): Promise<T> {
    if (this.busy) throw new Error('this lab is busy: wait for its last answer or open another lab');
    this.busy = true;
    try {
      return await work();
    } finally {
      this.busy = false;
    }
  }

  /** Gives what is needed and has not been given; whether there was any. */
  private async provide(needs: readonly Need[], options: RunOptions): Promise<boolean> {
    let any = false;
    for (const need of needs) {
      const key = `${need.kind} ${need.id}`;
      if (this.given.has(key)) continue;
      const file = await fileFor(need, options, this.files);
      if (file instanceof Uint8Array) this.verbs.provideText(need.id as TextId, file);
      else this.give(need.id, file);
      this.given.add(key);
      any = true;
    }
    return any;
  }

  private give(id: string, { config, weights }: Checkpoint): void {
    this.verbs.beginModel(id, config);
    this.verbs.beginFile('model.safetensors', weights.byteLength);
    this.verbs.pushModel(weights);
    this.verbs.finishModel();
  }
}
