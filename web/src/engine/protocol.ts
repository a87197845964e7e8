/** The verbs of the wasm module and the messages between the page and the worker that owns it. */
import type { OwnImage } from './own-image.ts';
import type { Panel } from '../views/types.ts';

export interface Choice {
  id: string;
  label: string;
}

interface PropertyBase {
  id: string;
  label: string;
  group: string;
  default: string;
  unit: string;
  help: string;
  comparable: boolean;
  /** Conditions `id=value`, any of which makes the setting matter; none means always. */
  when?: string[];
  /** Value to begin with when a setting that is off at its default is switched on; empty if there is none. */
  suggest?: string;
}
export type ChoiceProperty = PropertyBase & { type: 'choice'; choices: Choice[] };
export type RangeProperty = PropertyBase & {
  type: 'integer' | 'number';
  min: number;
  max: number;
  log: boolean;
};
export type TextProperty = PropertyBase & { type: 'text'; maxBytes: number };
export type Property = ChoiceProperty | RangeProperty | TextProperty;

export interface Need {
  kind: 'model' | 'text' | 'image';
  id: string;
}

export interface Facts {
  layers: number;
  heads: number;
  mixer: string;
  parameters: number;
  stateBytes: number;
  trainContext: number | null;
  contextMax: number;
  description: string;
}

export interface Configured {
  query: string;
  notices: string[];
  needs: Need[];
  facts?: Facts | null;
}

export interface Progress {
  state: 'idle' | 'working' | 'waiting';
  done: number;
  total: number;
  message: string;
  changed: string[];
  backend: string;
  notices: string[];
}

/** A model's files. Weights of the person stay on the disk: the worker reads them in pieces. */
export interface ModelFiles {
  /** `config.json`; RWKV-7 in its authors' files has none. */
  config?: Uint8Array;
  /** `model.safetensors`, or all files that the index names. */
  weights: Uint8Array | readonly File[];
  /** `model.safetensors.index.json`. */
  index?: Uint8Array;
  /** `tokenizer.json`. */
  tokenizer?: Uint8Array;
}

export type TextId = 'sample' | 'heldout' | 'file';

/** What `wasm-pack` writes from `crates/linearium-web`, as far as the page uses it: either engine. */
export interface Lab {
  configure(query: string): Configured;
  provideModel(id: string, config: Uint8Array, weights: Uint8Array): string;
  /** A model whose weights come in pieces: begin, for each file begin and push, push, ...; finish, or drop. */
  beginModel(id: string, config?: Uint8Array, index?: Uint8Array, tokenizer?: Uint8Array): void;
  beginFile(name: string, bytes: number): void;
  pushModel(piece: Uint8Array): void;
  finishModel(): string;
  dropModel(): void;
  provideText(id: TextId, bytes: Uint8Array): void;
  advance(budgetMs: number): Promise<Progress>;
  panel(id: string): Panel | undefined;
  measureRecall(samples: number): void;
  cancel(): void;
  report(): string;
  /** Gives its memory back; nothing may be asked of it any more. */
  free?(): void;
}

/** What one layer carries and has computed after so many tokens. */
export interface MixerCost {
  tokens: number;
  stateBytes: number;
  operationsLast: number;
  operationsAll: number;
}

/** A mixer as the engine knows it, at the size that the settings ask for. */
export interface MixerRow {
  id: string;
  name: string;
  glossary: [symbol: string, meaning: string][];
  ignores: [setting: string, reason: string][];
  width: number;
  heads: number;
  key: number;
  value: number;
  parameters: number;
  lengths: MixerCost[];
  /** What is carried grows with the context. */
  grows: boolean;
  /** Share of the equal budget; none at the usual size. */
  reached: number | null;
  decay: { kind: 'none' | 'head' | 'key' | 'rates' | 'turning'; fromToken: boolean; label: string };
  erases: string;
  step: {
    state: boolean;
    writeScale: boolean;
    erase: boolean;
    bonus: boolean;
    normaliser: boolean;
    window: number;
    tail: number;
  };
  /** Those that carry something from token to token first. */
  kernels: string[];
  scans: number;
}

/** What can only be measured. */
export interface Measured {
  id: string;
  reach: { tokens: number; heads: number; shortest: number; longest: number; meanDistance: number };
  time: { backend: string; usPerToken: number };
}

/** A published statement and how it is measured. */
export interface Claim {
  id: string;
  statement: string;
  source: string;
  measured: string;
  scale: string;
  /** An open end is `null`. */
  expected: [number | null, number | null];
  unit: string;
  tolerance: string;
  reproducible: boolean;
  why: string;
}

export interface Checked {
  exhibit: string;
  claim: string;
  value: number | null;
  words: string;
  holds: boolean;
  backend: string;
  ms: number;
  command: string;
}

/** A symbol of the equations, which carry it as the class `sym-<id>`. */
export interface Symbol {
  id: string;
  letter: string;
  meaning: string;
  unit: string;
  /** Id of the control that it lights up with, or empty. */
  control: string;
}

/** What a learner does in a step of a tour. */
export type Act =
  | { type: 'mark'; symbol: string; min: number; max: number; log: boolean }
  | { type: 'draw'; view: string; series: string }
  | { type: 'find'; symbol: string; low: number; high: number };

export interface Step {
  ask: string;
  settings: string;
  act: Act;
  reveal: string;
}

/** A paper that runs, as `crates/linearium/src/exhibit.rs` declares it. */
export interface Exhibit {
  slug: string;
  title: string;
  see: string;
  /** None for a bench that has a page of its own. */
  paper: { arxiv: string; year: number; authors: string; title: string } | null;
  controls: Property[];
  symbols: Symbol[];
  claims: Claim[];
  tour: Step[];
  formula: string;
  source: string;
  tolerance: string;
}

/** The live value of a symbol: its words where it is no number, `null` where it is not finite. */
export interface LiveValue {
  symbol: string;
  value: number | null;
  words: string;
}

/** One run of an exhibit. */
export interface ExhibitAnswer {
  query: string;
  notices: string[];
  needs: Need[];
  panel: Panel | null;
  values: LiveValue[];
  idle: { control: string; why: string }[];
  /** How much is done, of how much: while it is less, asking again goes on from there. */
  progress: [number, number];
}

/** What the engine can be asked for beside the panels. */
export type Question =
  | { verb: 'mixer'; id: string }
  | { verb: 'measure-mixer'; id: string; gpu: boolean }
  | { verb: 'exhibit'; slug: string; query: string }
  | { verb: 'claim-needs'; slug: string; claim: string }
  | { verb: 'check-claim'; slug: string; claim: string; gpu: boolean };

/** What only the complete engine has. */
export interface CompleteLab extends Lab {
  mixer(id: string): Promise<MixerRow>;
  measureMixer(id: string, gpu: boolean): Promise<Measured>;
  provideImage(id: string, width: number, height: number, rgba: Uint8Array): void;
  exhibit(slug: string, query: string): Promise<ExhibitAnswer>;
  claimNeeds(slug: string, claim: string): Need[];
  checkClaim(slug: string, claim: string, gpu: boolean): Promise<Checked>;
  /** Ends the run of an exhibit at its next rest; may be used while the lab is busy. */
  exhibitDropper(): { drop(): void };
  startGpu(): Promise<string>;
  loseGpu(): void;
}

/** The first engine opens the page; the complete one has the GPU and every mixer. */
export type EngineKind = 'first' | 'complete';

export type ToWorker =
  /** `gpu` starts it at once, before there is anything to compute. */
  | { type: 'start'; engine: EngineKind; wasm: WebAssembly.Module | null; gpu: boolean }
  | { type: 'configure'; generation: number; query: string; gpu: boolean }
  | ({ type: 'model'; id: string } & ModelFiles)
  /** The file that is being read is not wanted any more. */
  | { type: 'stop-reading' }
  | { type: 'text'; id: TextId; bytes: Uint8Array }
  | { type: 'image'; id: string; image: OwnImage }
  | { type: 'measure'; samples: number }
  | { type: 'cancel' }
  | { type: 'lose-gpu' }
  | { type: 'report'; ticket: number }
  | { type: 'ask'; ticket: number; question: Question }
  /** The run of an exhibit that goes on is not wanted any more. */
  | { type: 'drop-exhibit' }
  /** The complete engine starts its GPU without waiting for settings of the lab. */
  | { type: 'want-gpu' }
  /** The panels sent last are on screen. */
  | { type: 'drawn' }
  /** The panels that are in sight, by id: while settings change only these are sent. */
  | { type: 'sight'; panels: string[] }
  | { type: 'ping' }
  /** The element is gone. */
  | { type: 'leave' };

export type FromWorker =
  | { type: 'ready'; properties: Property[] }
  | { type: 'configured'; generation: number; configured: Configured }
  | { type: 'model'; id: string; description: string }
  /** So much of a file has been read; when it is everything, it is checked and unpacked. */
  | { type: 'reading'; id: string; bytes: number; total: number }
  /** To be answered with `drawn`. */
  | { type: 'panels'; generation: number; panels: Panel[] }
  | { type: 'progress'; generation: number; progress: Progress }
  | { type: 'gpu'; ok: boolean; report: string }
  | { type: 'error'; about: string; sentence: string }
  | { type: 'report'; ticket: number; text: string }
  | { type: 'answer'; ticket: number; value: unknown }
  | { type: 'no-answer'; ticket: number; sentence: string }
  | { type: 'trap'; sentence: string; gpu: boolean }
  | { type: 'pong' };
