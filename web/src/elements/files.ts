/** Files that a person drops or chooses: a checkpoint (two files) or a text. They stay in this page. */
import type { ModelFiles } from '../engine/protocol.ts';

export type Opened =
  | { kind: 'model'; files: ModelFiles; name: string }
  | { kind: 'text'; bytes: Uint8Array; name: string }
  /** One half of a checkpoint came; the other one is still to come. */
  | { kind: 'half'; sentence: string }
  | { kind: 'refused'; sentence: string };

/** Larger weights than this do not fit the 4 GiB that a wasm module can address, with what is computed from them. */
const MAX_WEIGHTS = 1_500_000_000;
const MAX_CONFIG = 1_000_000;
const MAX_TEXT = 50_000_000;

export const mebibytes = (bytes: number): string =>
  `${(bytes / 1_048_576).toFixed(bytes < 10_485_760 ? 1 : 0)} MiB`;

/** Puts the two files of a checkpoint together, whichever comes first. */
export class FileDesk {
  private config: File | undefined;
  private weights: File | undefined;

  async open(files: readonly File[]): Promise<Opened> {
    if (files.length === 0)
      return {
        kind: 'refused',
        sentence: 'No file was dropped: drop model.safetensors with config.json, or a .txt file.',
      };
    const text = files.find((f) => /\.(txt|md|text)$/i.test(f.name) || f.type === 'text/plain');
    const config = files.find((f) => /\.json$/i.test(f.name));
    const weights = files.find((f) => /\.safetensors$/i.test(f.name));
    if (!text && !config && !weights) {
      return {
        kind: 'refused',
        sentence: `“${files[0].name}” is neither a .safetensors, a .json nor a .txt file: drop model.safetensors with config.json, or a .txt file.`,
      };
    }
    if (text && !config && !weights) {
      if (text.size > MAX_TEXT) {
        return {
          kind: 'refused',
          sentence: `“${text.name}” has ${mebibytes(text.size)}: a text of at most ${mebibytes(MAX_TEXT)} can be read.`,
        };
      }
      return { kind: 'text', bytes: new Uint8Array(await text.arrayBuffer()), name: text.name };
    }
    this.config = config ?? this.config;
    this.weights = weights ?? this.weights;
    if (this.config && this.config.size > MAX_CONFIG) {
      const { name, size } = this.config;
      this.config = undefined;
      return {
        kind: 'refused',
        sentence: `“${name}” has ${mebibytes(size)}: a config.json has a few kilobytes.`,
      };
    }
    if (this.weights && this.weights.size > MAX_WEIGHTS) {
      const { name, size } = this.weights;
      this.weights = undefined;
      return {
        kind: 'refused',
        sentence: `“${name}” has ${mebibytes(size)}: the lab reads checkpoints of at most ${mebibytes(MAX_WEIGHTS)}.`,
      };
    }
    if (!this.config)
      return {
        kind: 'half',
        sentence: `“${this.weights?.name ?? ''}” is here, its config.json is missing: drop it too.`,
      };
    if (!this.weights)
      return {
        kind: 'half',
        sentence: `“${this.config.name}” is here, model.safetensors is missing: drop it too.`,
      };
    const opened: Opened = {
      kind: 'model',
      name: this.weights.name,
      files: {
        config: new Uint8Array(await this.config.arrayBuffer()),
        weights: this.weights,
      },
    };
    this.config = undefined;
    this.weights = undefined;
    return opened;
  }
}
