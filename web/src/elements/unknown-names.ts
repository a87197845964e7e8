/** What is wrong with the names that a host gives; fetched only where it gives some. */
import type { Property } from '../engine/protocol.ts';
import { narrow, type Ranges } from './limits.ts';

/** Faults of the names that a host uses. */
export function unknownNames(
  properties: readonly Property[],
  sections: readonly string[],
  hide: readonly string[],
  lock: readonly string[],
  ranges: Ranges,
): string[] {
  const ids = new Set(properties.map((p) => p.id));
  const faults = [
    ...hide.filter((id) => !ids.has(id) && !sections.includes(id)).map((id) => `hide “${id}”`),
    ...lock.filter((id) => id !== 'all' && !ids.has(id)).map((id) => `lock “${id}”`),
    ...Object.keys(ranges)
      .filter((id) => !ids.has(id))
      .map((id) => `range “${id}”`),
  ].map((what) => `${what} names nothing here and has no effect`);
  for (const p of properties) {
    const range = ranges[p.id];
    if (range && narrow([p], { [p.id]: range })[0] === p)
      faults.push(`range of “${p.id}” leaves no value of it and has no effect`);
  }
  return faults;
}
