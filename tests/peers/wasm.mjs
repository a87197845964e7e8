// Our own wasm module as a contestant: node wasm.mjs MODULE CASE-NUMBER [MODEL TEXT]

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { obey } from "./contest.mjs";

const [module, index, model, text] = process.argv.slice(2);
const { instance } = await WebAssembly.instantiate(readFileSync(module), {});
const wasm = instance.exports;

function expectSuccess(status) {
  if (status === 0) return;
  const bytes = new Uint8Array(wasm.memory.buffer, wasm.error(), wasm.error_len());
  throw new Error(new TextDecoder().decode(bytes));
}

if (model !== undefined) {
  const files = [join(model, "config.json"), join(model, "model.safetensors"), text];
  for (const [i, file] of files.entries()) {
    const bytes = readFileSync(file);
    const at = wasm.reserve(i, bytes.length);
    new Uint8Array(wasm.memory.buffer, at, bytes.length).set(bytes);
  }
}
expectSuccess(wasm.open_case(Number(index)));
const features = module.includes("relaxed") ? "relaxed simd" : "simd128";
await obey(
  `wasm ${features}, node ${process.versions.node}`,
  () => expectSuccess(wasm.run_case()),
  () => new Float32Array(wasm.memory.buffer, wasm.output(), wasm.output_len()),
);
