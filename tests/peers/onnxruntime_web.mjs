// onnxruntime-web's LinearAttention on its wasm back end, one thread:
// node onnxruntime_web.mjs MODEL DIR, where DIR holds the inputs as f32 files.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import * as ort from "onnxruntime-web";

import { obey } from "./contest.mjs";

const [model, dir] = process.argv.slice(2);
const T = 1024;

ort.env.wasm.numThreads = 1;
ort.env.logLevel = "error";
const session = await ort.InferenceSession.create(readFileSync(model), {
  executionProviders: ["wasm"],
});
const feeds = {};
for (const name of session.inputNames) {
  const bytes = readFileSync(join(dir, `${name}.f32`));
  const values = new Float32Array(new Uint8Array(bytes).buffer);
  feeds[name] = new ort.Tensor("float32", values, [1, T, values.length / T]);
}
let output = null;
const relaxed = process.execArgv.some((flag) => flag.includes("relaxed-simd"))
  ? " with relaxed SIMD switched on"
  : "";
await obey(
  `onnxruntime-web ${ort.env.versions.web}, wasm${relaxed}, 1 thread, node ${process.versions.node}`,
  async () => {
    output = (await session.run(feeds)).output.data;
  },
  () => output,
);
