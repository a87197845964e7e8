/** Files that a person drops or chooses: a checkpoint (two files or more) or a text. They stay in this page. */
import type { ModelFiles } from '../engine/protocol.ts';
import { mebibytes } from '../views/format.ts';

export type Opened =
  | { kind: 'model'; files: ModelFiles; name: string }
  | { kind: 'text'; bytes: Uint8Array; name: string }
  /** One half of a checkpoint came; the other one is still to come. */
  | { kind: 'half'; sentence: string }
  | { kind: 'refused'; sentence: string };

/** Larger weights than this do not fit the 4 GiB that a wasm module can address, with what is computed from them. */
const MAX_WEIGHTS = 1_500_000_000;
const MAX_CONFIG = 1_000_000;
const MAX_INDEX = 16_000_000;
const MAX_TOKENIZER = 64_000_000;
const MAX_TEXT = 50_000_000;

/** What a file of a model's folder is, by its name. */
function partOf(name: string): 'index' | 'tokenizer' | 'config' | 'weights' | undefined {
  if (/\.safetensors$/i.test(name)) return 'weights';
  if (/\.safetensors\.index\.json$/i.test(name)) return 'index';
  if (/^tokenizer\.json$/i.test(name)) return 'tokenizer';
  // A folder has more of these, which say nothing about the computation.
  if (/^(tokenizer_config|special_tokens_map|generation_config|vocab|added_tokens)\.json$/i.test(name))
    return undefined;
  return /\.json$/i.test(name) ? 'config' : undefined;
}

const bytesOf = async (file: File | undefined): Promise<Uint8Array | undefined> =>
  file && new Uint8Array(await file.arrayBuffer());

/** Whether a file of weights needs no config.json: RWKV-7 in its authors' files, by its header. */
async function isNative(file: File): Promise<boolean> {
  const header = new TextDecoder().decode(await file.slice(8, 200_000).arrayBuffer());
  return header.includes('"blocks.0.att.');
}

/** Puts the files of a checkpoint together, whichever come first. */
export class FileDesk {
  private readonly parts = new Map<'config' | 'index' | 'tokenizer', File>();
  private weights = new Map<string, File>();

  async open(files: readonly File[]): Promise<Opened> {
    if (files.length === 0)
      return {
        kind: 'refused',
        sentence: 'No file was dropped: drop model.safetensors with config.json, or a .txt file.',
      };
    const ofModel = files.filter((file) => partOf(file.name));
    const text = files.find((f) => /\.(txt|md|text)$/i.test(f.name) || f.type === 'text/plain');
    if (!text && ofModel.length === 0) {
      return {
        kind: 'refused',
        sentence: `“${files[0].name}” is neither a .safetensors, a .json nor a .txt file: drop model.safetensors with config.json, or a .txt file.`,
      };
    }
    if (text && ofModel.length === 0) {
      if (text.size > MAX_TEXT) {
        return {
          kind: 'refused',
          sentence: `“${text.name}” has ${mebibytes(text.size)}: a text of at most ${mebibytes(MAX_TEXT)} can be read.`,
        };
      }
      return { kind: 'text', bytes: new Uint8Array(await text.arrayBuffer()), name: text.name };
    }
    for (const file of ofModel) {
      const refused = this.take(file);
      if (refused) return { kind: 'refused', sentence: refused };
    }
    const config = this.parts.get('config');
    const index = this.parts.get('index');
    const [first] = this.weights.values();
    if (!first) {
      const here = [...this.parts.values()].map((file) => `“${file.name}”`).join(' and ');
      return { kind: 'half', sentence: `${here} is here, model.safetensors is missing: drop it too.` };
    }
    if (!config && !(await isNative(first)))
      return { kind: 'half', sentence: `“${first.name}” is here, its config.json is missing: drop it too.` };
    const shards = /-of-0*(\d+)\.safetensors$/i.exec(first.name);
    if (shards && this.weights.size < Number(shards[1]))
      return {
        kind: 'half',
        sentence: `${this.weights.size} of ${Number(shards[1])} files of weights are here: drop the others too.`,
      };
    if (shards && !index)
      return {
        kind: 'half',
        sentence: 'The files of weights are here, model.safetensors.index.json is missing: drop it too.',
      };
    const opened: Opened = {
      kind: 'model',
      name: first.name,
      files: {
        config: await bytesOf(config),
        weights: [...this.weights.values()],
        index: shards ? await bytesOf(index) : undefined,
        tokenizer: await bytesOf(this.parts.get('tokenizer')),
      },
    };
    this.parts.clear();
    this.weights.clear();
    return opened;
  }

  /** Puts a file where it belongs; gives a sentence if it cannot be. */
  private take(file: File): string | undefined {
    const part = partOf(file.name);
    if (part === 'weights') {
      // Only the files of one sharded checkpoint belong together.
      if (!/-of-\d+\.safetensors$/i.test(file.name)) this.weights.clear();
      this.weights.set(file.name, file);
      let size = 0;
      for (const each of this.weights.values()) size += each.size;
      if (size <= MAX_WEIGHTS) return undefined;
      this.weights.clear();
      return `“${file.name}” has ${mebibytes(size)}: the lab reads checkpoints of at most ${mebibytes(MAX_WEIGHTS)}.`;
    }
    if (!part) return undefined;
    const limits = {
      config: [MAX_CONFIG, 'a config.json has a few kilobytes'],
      index: [MAX_INDEX, 'an index has less'],
      tokenizer: [MAX_TOKENIZER, 'a tokenizer.json has less'],
    } as const;
    const [most, why] = limits[part];
    if (file.size > most) return `“${file.name}” has ${mebibytes(file.size)}: ${why}.`;
    this.parts.set(part, file);
    return undefined;
  }
}
