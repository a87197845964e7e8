/** One of `i8x16.relaxed_swizzle` in a module of its own: valid where there is relaxed SIMD. */
export const PROBE = [
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2,
  253, 15, 253, 128, 2, 11,
];

/** Whether this browser runs the builds of the engines in which a product and a sum are one instruction. */
export const hasRelaxedSimd = (): boolean => WebAssembly.validate(new Uint8Array(PROBE));
