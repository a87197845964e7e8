/** The lab as a module for browsers: on the thread that calls, or in the page's own worker. */
import { hasRelaxedSimd } from '../engine/relaxed.ts';
import { LabInWorker, openWorker } from './lab-in-worker.ts';
import type { Lab, LabOptions } from './lab.ts';
import { openWith } from './open.ts';

/** A lab on this thread: use it in a worker of your own, or for short texts. */
export function openLab(options: LabOptions = {}): Promise<Lab> {
  return openWith(options, (address) => Promise.resolve(address), hasRelaxedSimd());
}

/** A lab in a worker: the page stays free while it computes. */
export async function openLabInWorker(options: LabOptions = {}): Promise<Lab> {
  return LabInWorker.open(openWorker(), options);
}

export { filesAt } from './lab.ts';
export type { Checkpoint, FileSource, Lab, LabOptions, Result, RunOptions } from './lab.ts';
export { queryOf, settingsOf } from './settings.ts';
export type { Settings } from './settings.ts';
export type * from '../engine/protocol.ts';
export type * from '../views/types.ts';
