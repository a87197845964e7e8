/** The lab as a module for Node: the same engine, on the CPU, its wasm read from the disk. */
import { readFile } from 'node:fs/promises';
import { hasRelaxedSimd } from '../engine/relaxed.ts';
import type { Lab, LabOptions } from './lab.ts';
import { openWith } from './open.ts';

/** A lab on this thread. */
export function openLab(options: LabOptions = {}): Promise<Lab> {
  return openWith(options, (address) => readFile(address), hasRelaxedSimd());
}

/** Only a browser has the workers that this needs. */
export function openLabInWorker(): Promise<Lab> {
  return Promise.reject(
    new Error(
      'there are no workers of a page in Node: use openLab, in a worker thread of your own if need be',
    ),
  );
}

export { filesAt } from './lab.ts';
export { queryOf, settingsOf } from './settings.ts';
