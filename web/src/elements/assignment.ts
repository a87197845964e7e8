/**
 * Assignments: a link carries a task, its goal is a measured quantity, and the result is a link again.
 * Nothing is kept anywhere: whoever opens a result link runs it again and sees whether it holds.
 */
import type { Property } from '../engine/protocol.ts';
import type { View } from '../views/types.ts';
import type { Result } from './embedded.ts';
import { constrain, readRanges } from './limits.ts';

export interface Task {
  v: 1;
  title: string;
  /** What is to be done, in the teacher's words. */
  ask: string;
  /** Empty for the lab, or the name of an exhibit. */
  exhibit: string;
  /** The state to begin with. */
  start: string;
  /** The quantity as `quantities` names it, and between what it must be; an open end is null. */
  goal: { of: string; min: number | null; max: number | null };
  hide: string[];
  lock: string[];
  /** As in the attribute `range`. */
  range: string;
  /** A number for everyone, `name` for one from each learner's name, or null for none. */
  seed: number | 'name' | null;
}

export interface Submission {
  v: 1;
  task: Task;
  name: string;
  query: string;
  value: number;
  /** When the link was made, as the learner's clock said. */
  at: string;
}

/** Longer links are not links of ours. */
const MAX_TEXT = 16_000;
/** Back ends and browsers round differently. */
const SAME = 1e-3;

export function encode(value: Task | Submission): string {
  const bytes = new TextEncoder().encode(JSON.stringify(value));
  return btoa(String.fromCharCode(...bytes))
    .replaceAll('+', '-')
    .replaceAll('/', '_')
    .replace(/=+$/, '');
}

function parse(text: string): Record<string, unknown> {
  try {
    if (text.length > MAX_TEXT) throw new Error('too long');
    const bytes = Uint8Array.from(atob(text.replaceAll('-', '+').replaceAll('_', '/')), (c) =>
      c.charCodeAt(0),
    );
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('no object');
    return value as Record<string, unknown>;
  } catch {
    throw new Error('this link of an assignment is damaged: ask for it again and copy the whole of it');
  }
}

const isText = (value: unknown): value is string => typeof value === 'string';
const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every(isText);
const isEnd = (value: unknown): boolean => value === null || Number.isFinite(value);

function asTask(value: Record<string, unknown>): Task {
  if (value['v'] !== 1)
    throw new Error('this assignment was made by a newer Linearium: open it there, or ask for a new link');
  const goal = value['goal'] as Partial<Task['goal']> | undefined;
  const { title, ask, exhibit, start, hide, lock, range, seed } = value;
  if (
    ![title, ask, exhibit, start, range].every(isText) ||
    !isTexts(hide) ||
    !isTexts(lock) ||
    !(seed === null || seed === 'name' || Number.isSafeInteger(seed)) ||
    typeof goal !== 'object' ||
    goal === null ||
    !isText(goal.of) ||
    !isEnd(goal.min) ||
    !isEnd(goal.max)
  )
    throw new Error('this link of an assignment is damaged: ask for it again and copy the whole of it');
  return value as unknown as Task;
}

/** @throws Error with one sentence about the link. */
export const decodeTask = (text: string): Task => asTask(parse(text));

/** @throws Error with one sentence about the link. */
export function decodeSubmission(text: string): Submission {
  const value = parse(text);
  if (
    value['v'] !== 1 ||
    ![value['name'], value['query'], value['at']].every(isText) ||
    !Number.isFinite(value['value']) ||
    typeof value['task'] !== 'object' ||
    value['task'] === null
  )
    throw new Error('this result link is damaged: ask for it again and copy the whole of it');
  return { ...value, task: asTask(value['task'] as Record<string, unknown>) } as unknown as Submission;
}

export interface Quantity {
  /** Its name in a task. */
  of: string;
  label: string;
  value: number;
}

const REDUCTIONS: Record<string, { label: string; of: (values: number[]) => number }> = {
  first: { label: 'first value', of: (v) => v[0] ?? NaN },
  last: { label: 'last value', of: (v) => v[v.length - 1] ?? NaN },
  least: { label: 'least value', of: (v) => v.reduce((a, b) => Math.min(a, b), Infinity) },
  most: { label: 'greatest value', of: (v) => v.reduce((a, b) => Math.max(a, b), -Infinity) },
  mean: { label: 'mean', of: (v) => v.reduce((a, b) => a + b, 0) / v.length },
};

function reduced(path: string, label: string, values: ArrayLike<number>): Quantity[] {
  const finite = Array.from(values).filter(Number.isFinite);
  if (finite.length === 0) return [];
  return Object.entries(REDUCTIONS).map(([id, r]) => ({
    of: `${path}/${id}`,
    label: `${label}: ${r.label}`,
    value: r.of(finite),
  }));
}

function ofView(panel: string, view: View): Quantity[] {
  const path = `${panel}/${view.id}`;
  switch (view.kind) {
    case 'lines':
      return view.series.flatMap((s, i) => reduced(`${path}/${i}`, `${view.title}, ${s.label}`, s.y));
    case 'heatmap':
    case 'patches':
    case 'tokens':
      return reduced(path, view.title, view.values);
    case 'table':
      return view.rows.flatMap((row, i) =>
        row.flatMap((cell, j) =>
          typeof cell === 'number' && Number.isFinite(cell)
            ? [
                {
                  of: `${path}/${i}/${j}`,
                  label: `${view.title}: ${String(row[0])}, ${view.columns[j]}`,
                  value: cell,
                },
              ]
            : [],
        ),
      );
    case 'histogram':
      return [];
  }
}

/** Everything of a result that a goal may be set on. */
export function quantities(
  { panels, values }: Result,
  names: Readonly<Record<string, string>> = {},
): Quantity[] {
  const symbols = Object.entries(values).flatMap(([id, value]) =>
    value === null ? [] : [{ of: `value/${id}`, label: names[id] ?? id, value }],
  );
  return [...symbols, ...panels.flatMap((p) => p.views.flatMap((v) => ofView(p.id, v)))];
}

export const reached = ({ min, max }: Task['goal'], value: number): boolean =>
  value >= (min ?? -Infinity) && value <= (max ?? Infinity);

/** The same for the same name, however it is written (FNV-1a). */
function hashOf(name: string): number {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(
    name.normalize('NFKC').trim().toLowerCase().replace(/\s+/g, ' '),
  ))
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  return hash;
}

/** The seed of a learner, within what the setting `seed` takes; none where there is no such setting. */
export function seedOf(task: Task, name: string, properties: readonly Property[]): number | undefined {
  const seed = properties.find((p) => p.id === 'seed');
  if (task.seed === null || seed?.type !== 'integer') return undefined;
  if (task.seed !== 'name') return task.seed;
  return seed.min + (hashOf(name) % Math.min(seed.max - seed.min + 1, 1_000_000));
}

/** The state that a learner begins with. */
export function startOf(task: Task, name: string, properties: readonly Property[]): URLSearchParams {
  const values = new URLSearchParams(task.start);
  const seed = seedOf(task, name, properties);
  if (seed !== undefined) values.set('seed', String(seed));
  return constrain(values, properties, readRanges(task.range).ranges);
}

/** Which rule of the task a state breaks, in words; empty if none. */
export function broken(task: Task, name: string, query: string, properties: readonly Property[]): string {
  const begun = startOf(task, name, properties);
  const now = new URLSearchParams(query);
  const valueOf = (values: URLSearchParams, p: Property): string => values.get(p.id) ?? p.default;
  for (const p of properties) {
    const seeded = p.id === 'seed' && task.seed !== null;
    const fixed = task.lock.includes('all') || task.lock.includes(p.id) || task.hide.includes(p.id) || seeded;
    if (fixed && (valueOf(begun, p) !== valueOf(now, p) || begun.get(`b.${p.id}`) !== now.get(`b.${p.id}`)))
      return `${p.label} is ${valueOf(now, p)}, and the task fixes it at ${valueOf(begun, p)}`;
  }
  const inside = constrain(now, properties, readRanges(task.range).ranges);
  for (const [key, value] of inside)
    if (value !== (now.get(key) ?? properties.find((p) => p.id === key)?.default))
      return `${key} is outside of what the task allows (${task.range})`;
  return '';
}

/** What a result link turns out to be when it is run again. */
export function verdict(
  submission: Submission,
  result: Result,
  properties: readonly Property[],
): { holds: boolean; words: string; value?: number } {
  const { task, name, query, value: claimed } = submission;
  const rule = broken(task, name, query, properties);
  if (rule) return { holds: false, words: `does not hold: ${rule}` };
  const value = quantities(result).find((q) => q.of === task.goal.of)?.value;
  if (value === undefined)
    return { holds: false, words: 'does not hold: the quantity of the goal is not computed here' };
  if (!(Math.abs(value - claimed) <= SAME * Math.max(Math.abs(value), Math.abs(claimed), 1e-9)))
    return { holds: false, value, words: `does not hold: the link says ${claimed}, and it is ${value}` };
  if (!reached(task.goal, value))
    return { holds: false, value, words: 'does not hold: the goal is not reached' };
  return {
    holds: true,
    value,
    words: 'holds: run again on this machine, it gives the same value and keeps every rule of the task',
  };
}
