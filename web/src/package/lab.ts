/** What the package's lab is asked for and answers, wherever its engine runs. */
import type {
  Configured,
  EngineKind,
  ExhibitAnswer,
  Facts,
  Need,
  Progress,
  Property,
} from '../engine/protocol.ts';
import type { Panel } from '../views/types.ts';
import { queryOf, type Settings } from './settings.ts';

/** The files of a checkpoint as bytes. */
export interface Checkpoint {
  /** `config.json`; RWKV-7 in its authors' files has none. */
  config?: Uint8Array;
  /** `model.safetensors`. */
  weights: Uint8Array;
}

/** Brings a file that settings name: a checkpoint for a model, bytes for a text. */
export type FileSource = (need: Need) => Promise<Checkpoint | Uint8Array>;

export interface LabOptions {
  /** `complete`, the usual one, has every mixer, the exhibits and the GPU; `first` is small. */
  engine?: EngineKind;
  /** Runs on the GPU where there is one that passes its self-check. */
  gpu?: boolean;
  /** Where the shipped checkpoints and texts come from, see `filesAt`; without it none are there. */
  files?: FileSource;
  /** The wasm, where it is not to be found beside the module: its bytes, or compiled. */
  wasm?: BufferSource | WebAssembly.Module;
}

export interface RunOptions {
  /** By id, as in a link; what is not said has its default. */
  settings?: Settings;
  /** A checkpoint to be read in the place of a shipped one. */
  model?: Checkpoint;
  /** What the model reads, as text or as bytes. */
  text?: string | Uint8Array;
  onProgress?: (progress: Progress) => void;
  /** Ends the run: its promise is rejected with the reason of the signal. */
  signal?: AbortSignal;
}

/** What a run has measured. All numbers of its panels are typed arrays. */
export interface Result {
  /** The settings in their shortest form. */
  query: string;
  /** What of the settings could not be used, each a sentence. */
  notices: string[];
  facts: Facts | null;
  /** Where it ran. */
  backend: string;
  /** The panels by id: `decay`, `receptive-field`, `state`, `cost`. */
  panels: Record<string, Panel>;
}

export interface Lab {
  /** Every setting that there is. */
  readonly properties: readonly Property[];
  /** Reads a text with a model and measures everything; one run at a time. */
  run(options?: RunOptions): Promise<Result>;
  /** One run of an exhibit; only the complete engine has them. */
  exhibit(slug: string, settings?: Settings): Promise<ExhibitAnswer>;
  /** The self-check of the kernels. */
  report(): Promise<string>;
  /** Gives the memory back; the lab may not be used any more. */
  close(): void;
}

/** The panels of a run. */
export const RUN_PANELS = ['decay', 'receptive-field', 'state', 'cost'] as const;

/** The query of a run: its own files are asked for by name. */
export function queryOfRun({ settings, model, text }: RunOptions): string {
  return queryOf({
    ...(model ? { model: 'file' } : {}),
    ...(text === undefined ? {} : { input: 'file' }),
    ...settings,
  });
}

/** What a run brings along. */
export function ownFiles({ model, text }: RunOptions): Need[] {
  const own: Need[] = [];
  if (model) own.push({ kind: 'model', id: 'file' });
  if (text !== undefined) own.push({ kind: 'text', id: 'file' });
  return own;
}

/** The file that a need asks for, from the run or from where the shipped ones are. */
export async function fileFor(
  need: Need,
  { model, text }: RunOptions,
  files: FileSource | undefined,
): Promise<Checkpoint | Uint8Array> {
  if (need.id === 'file') {
    if (need.kind === 'model' && model) return model;
    if (need.kind === 'text' && text !== undefined)
      return typeof text === 'string' ? new TextEncoder().encode(text) : text;
    throw new Error(`the settings ask for a ${need.kind} of yours: give it to the run as \`${need.kind}\``);
  }
  if (need.kind === 'model' && need.id.startsWith('random-'))
    throw new Error(`the first engine does not have ${need.id}: open the lab with the engine \`complete\``);
  if (!files)
    throw new Error(
      `the settings ask for the ${need.kind} ${need.id}, which is not part of the package: give the lab \`files\`, for example filesAt('https://…/models/')`,
    );
  return files(need);
}

/** Settings that ask for what cannot be had leave needs behind; those that can be had are gone by now. */
export function stillNeeded({ needs }: Configured): Error | undefined {
  const [need] = needs;
  return need && new Error(`the ${need.kind} ${need.id} was given but is still asked for`);
}

/** Shipped checkpoints and texts from a folder laid out as `models/` of the page. */
export function filesAt(folder: string | URL): FileSource {
  const bytes = async (name: string): Promise<Uint8Array> => {
    const address = new URL(name, String(folder).replace(/\/?$/, '/'));
    const response = await fetch(address).catch(() => undefined);
    if (!response?.ok)
      throw new Error(`${address.href} could not be fetched: look at the folder given to filesAt`);
    return new Uint8Array(await response.arrayBuffer());
  };
  return async ({ kind, id }) => {
    if (kind === 'text') return bytes(`${id}.txt`);
    const [config, weights] = await Promise.all([
      bytes(`${id}/config.json`),
      bytes(`${id}/model.safetensors`),
    ]);
    return { config, weights };
  };
}
