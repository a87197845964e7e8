/** What the host of an element leaves out, fixes and narrows, as pure functions of its attributes. */
import type { Property } from '../engine/protocol.ts';

/** The allowed values of one setting: an interval (an open end is infinite) or a list of choices. */
export type Range = { min: number; max: number } | { choices: string[] };
export type Ranges = Readonly<Record<string, Range>>;

/** Words of an attribute, between spaces or commas. */
export function words(text: string | null): string[] {
  return (text ?? '').split(/[\s,]+/).filter(Boolean);
}

/**
 * `context:64..1024 model:a|b`: intervals, of which an end may be missing, and lists of choices.
 * What cannot be read is said in `faults`.
 */
export function readRanges(text: string | null): { ranges: Ranges; faults: string[] } {
  const ranges: Record<string, Range> = {};
  const faults: string[] = [];
  for (const word of words(text)) {
    const [, id, rest] = /^([^:]+):(.+)$/.exec(word) ?? [];
    const ends = /^(-?[\d.e+-]*?)\.\.(-?[\d.e+-]*)$/i.exec(rest ?? '');
    if (id === undefined || rest === undefined) {
      faults.push(`range “${word}” is not understood: write it as context:64..1024 or model:one|two`);
    } else if (ends) {
      const min = ends[1] ? Number(ends[1]) : -Infinity;
      const max = ends[2] ? Number(ends[2]) : Infinity;
      if (min <= max) ranges[id] = { min, max };
      else faults.push(`range “${word}” is empty: its first number must not be above its second`);
    } else ranges[id] = { choices: rest.split('|').filter(Boolean) };
  }
  return { ranges, faults };
}

export function writeRanges(ranges: Ranges): string {
  const end = (value: number): string => (Number.isFinite(value) ? String(value) : '');
  return Object.entries(ranges)
    .map(([id, r]) => `${id}:${'choices' in r ? r.choices.join('|') : `${end(r.min)}..${end(r.max)}`}`)
    .join(' ');
}

/** The settings with the narrower of their own bounds and those of the host. */
export function narrow(properties: readonly Property[], ranges: Ranges): Property[] {
  return properties.map((p) => {
    const range = ranges[p.id];
    if (!range) return p;
    if (p.type === 'choice' && 'choices' in range) {
      const choices = p.choices.filter((c) => range.choices.includes(c.id));
      return choices.length > 0 ? { ...p, choices } : p;
    }
    if ((p.type === 'integer' || p.type === 'number') && 'min' in range) {
      const min = Math.max(p.min, range.min);
      const max = Math.min(p.max, range.max);
      return min <= max ? { ...p, min, max } : p;
    }
    return p;
  });
}

const idOf = (key: string): string => key.replace(/^b\./, '');

/** The state within the allowed ranges; what is outside goes to the nearest allowed value. */
export function constrain(
  values: URLSearchParams,
  properties: readonly Property[],
  ranges: Ranges,
): URLSearchParams {
  const kept = new URLSearchParams(values);
  for (const p of narrow(properties, ranges)) {
    if (!ranges[p.id]) continue;
    for (const key of [p.id, `b.${p.id}`]) {
      const now = values.get(key) ?? (key === p.id ? p.default : null);
      if (now === null) continue;
      if (p.type === 'choice') {
        if (!p.choices.some((c) => c.id === now)) kept.set(key, p.choices[0]!.id);
      } else if (p.type !== 'text') {
        const clamped = Math.min(p.max, Math.max(p.min, Number(now)));
        if (clamped !== Number(now) && Number.isFinite(clamped)) kept.set(key, String(clamped));
      }
    }
  }
  return kept;
}

/** What a person asks for, without what is fixed and within what is allowed. */
export function permitted(
  before: URLSearchParams,
  wanted: URLSearchParams,
  properties: readonly Property[],
  locked: (id: string) => boolean,
  ranges: Ranges,
): URLSearchParams {
  const values = new URLSearchParams();
  for (const key of new Set([...before.keys(), ...wanted.keys()])) {
    const value = (locked(idOf(key)) ? before : wanted).get(key);
    if (value !== null) values.set(key, value);
  }
  return constrain(values, properties, ranges);
}
