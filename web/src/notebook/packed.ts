/** Results as they go to Python: one block of bytes, and a tree that says where in it each array is. */

/** Number of the first element and of elements, of 32 bits each, in the block. */
export interface Place {
  $: [first: number, count: number];
}

/** Every typed array of a tree is put into one block, in the byte order of the machine (little). */
export function packed<T extends object>(tree: T): { tree: T; bytes: ArrayBuffer } {
  const arrays: Float32Array[] = [];
  let total = 0;
  const visit = (value: unknown): unknown => {
    if (value instanceof Float32Array) {
      const place: Place = { $: [total, value.length] };
      arrays.push(value);
      total += value.length;
      return place;
    }
    if (Array.isArray(value)) return value.map(visit);
    if (value !== null && typeof value === 'object')
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, visit(inner)]));
    // JSON has no such numbers; Python reads null as not a number.
    return typeof value === 'number' && !Number.isFinite(value) ? null : value;
  };
  const placed = visit(tree) as T;
  const block = new Float32Array(total);
  let at = 0;
  for (const array of arrays) {
    block.set(array, at);
    at += array.length;
  }
  return { tree: placed, bytes: block.buffer };
}
