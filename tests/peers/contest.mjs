// What every contestant written in JavaScript does: prepare once, then obey lines on standard
// input. `check FILE` runs once and writes the result as f32; `time SECONDS` runs for so long and
// answers `time NANOSECONDS COUNT`, the shortest run and their number.

import { writeFileSync } from "node:fs";
import { createInterface } from "node:readline";

/**
 * @param {string} description versions, for the table
 * @param {() => Promise<void> | void} run does the work once
 * @param {() => Float32Array} output the result of the last run
 */
export async function obey(description, run, output) {
  await run();
  console.log(`ready ${description}`);
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, value] = line.split(" ");
    if (command === "check") {
      await run();
      const result = output();
      writeFileSync(value, new Uint8Array(result.buffer, result.byteOffset, result.byteLength));
      console.log("checked");
    } else if (command === "time") {
      const start = process.hrtime.bigint();
      const end = start + BigInt(Math.round(Number(value) * 1e9));
      let shortest = null;
      let count = 0;
      while (count === 0 || process.hrtime.bigint() < end) {
        const before = process.hrtime.bigint();
        await run();
        const taken = process.hrtime.bigint() - before;
        if (shortest === null || taken < shortest) shortest = taken;
        count += 1;
      }
      console.log(`time ${shortest} ${count}`);
    } else {
      throw new Error(`the line \`${line}\` is neither check nor time`);
    }
  }
}
