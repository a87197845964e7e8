/** Checkpoints in f16, which stay packed, and the reading of a file in pieces. */
import { mkdtempSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test, type Page } from '@playwright/test';
import { answered, notices, onGpu, openLab, panel } from './lab';

const MODEL = join(__dirname, '../../../web/public/models/mamba2-passkey-t128');
const config = readFileSync(join(MODEL, 'config.json'));

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

function safetensors(header: Header, data: Buffer): Buffer {
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([size, text, data]);
}

/** The bits of a value in f32, cut to those that a half has; what would be a subnormal half is zero. */
function halfPrecision(data: Buffer, at: number, dtype: string): number {
  if (dtype === 'F32') {
    const bits = data.readUInt32LE(at);
    return ((bits >>> 23) & 255) < 113 ? 0 : (bits & 0xffffe000) >>> 0;
  }
  const half = data.readUInt16LE(at);
  const exponent = (half >>> 10) & 31;
  const magnitude = ((exponent + 112) << 23) | ((half & 1023) << 13);
  return exponent === 0 ? 0 : (((half & 0x8000) << 16) | magnitude) >>> 0;
}

/** The shipped model with its values rounded to halves, stored in 2 bytes or in 4. */
function rounded(bytes: 2 | 4): Buffer {
  const file = readFileSync(join(MODEL, 'model.safetensors'));
  const length = Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, 8 + length)) as Header;
  Reflect.deleteProperty(header, '__metadata__');
  const data = file.subarray(8 + length);
  const parts: Buffer[] = [];
  let end = 0;
  for (const entry of Object.values(header)) {
    const [from, to] = entry.data_offsets;
    const size = entry.dtype === 'F32' ? 4 : 2;
    const out = Buffer.alloc(((to - from) / size) * bytes);
    for (let i = 0; i < (to - from) / size; i += 1) {
      const bits = halfPrecision(data, from + i * size, entry.dtype);
      if (bytes === 4) out.writeUInt32LE(bits, 4 * i);
      else {
        const magnitude = bits === 0 ? 0 : (((bits >>> 23) & 255) - 112) << 10;
        out.writeUInt16LE(((bits >>> 16) & 0x8000) | magnitude | ((bits >>> 13) & 1023), 2 * i);
      }
    }
    entry.dtype = bytes === 4 ? 'F32' : 'F16';
    entry.data_offsets = [end, end + out.length];
    end += out.length;
    parts.push(out);
  }
  return safetensors(header, Buffer.concat(parts));
}

/** A model of one layer of width 32 with a large vocabulary: all weights are small halves. */
function largeVocabulary(vocab: number): { weights: Buffer; config: Buffer } {
  const header: Header = {};
  let end = 0;
  const add = (name: string, ...shape: number[]): void => {
    const begin = end;
    end += 2 * shape.reduce((a, b) => a * b, 1);
    header[`backbone.${name}`] = {
      dtype: 'F16',
      shape,
      data_offsets: [begin, end],
    };
  };
  add('embeddings.weight', vocab, 32);
  add('layers.0.norm.weight', 32);
  add('layers.0.mixer.in_proj.weight', 161, 32);
  add('layers.0.mixer.conv1d.weight', 96, 1, 4);
  add('layers.0.mixer.conv1d.bias', 96);
  add('layers.0.mixer.dt_bias', 1);
  add('layers.0.mixer.A_log', 1);
  add('layers.0.mixer.D', 1);
  add('layers.0.mixer.norm.weight', 64);
  add('layers.0.mixer.out_proj.weight', 32, 64);
  add('norm_f.weight', 32);
  const data = Buffer.alloc(end);
  // Numbers of Lehmer's generator as halves between 0.02 and 1 of either sign.
  let state = 1;
  for (let at = 0; at < end; at += 2) {
    state = (state * 48_271) % 2_147_483_647;
    data.writeUInt16LE((state & 0x83ff) | ((9 + ((state >> 16) % 6)) << 10), at);
  }
  const keys = {
    model_type: 'mamba2',
    vocab_size: vocab,
    hidden_size: 32,
    num_hidden_layers: 1,
    state_size: 16,
    head_dim: 64,
    num_heads: 1,
    expand: 2,
    n_groups: 1,
    tie_word_embeddings: true,
  };
  return {
    weights: safetensors(header, data),
    config: Buffer.from(JSON.stringify(keys)),
  };
}

const give = (page: Page, weights: Buffer, json: Buffer): Promise<void> =>
  page.locator('#file').setInputFiles([
    {
      name: 'model.safetensors',
      mimeType: 'application/octet-stream',
      buffer: weights,
    },
    { name: 'config.json', mimeType: 'application/json', buffer: json },
  ]);

interface Inside {
  reading(file?: { bytes: number; total: number }): void;
  facts?: { parameters: number } | null;
  panelsById: Map<string, { views: unknown }>;
}

/** Notes what the page is told of the file that is read; at `stopAt` bytes somebody stops it. */
const watchReading = (page: Page, stopAt = Infinity): Promise<void> =>
  page.evaluate((limit) => {
    const lab = document.querySelector('linearium-lab') as unknown as Inside & {
      updateComplete: Promise<boolean>;
      renderRoot: ShadowRoot;
    };
    const told: string[] = [];
    (window as unknown as { told: string[] }).told = told;
    const before = lab.reading.bind(lab);
    lab.reading = (file) => {
      before(file);
      void lab.updateComplete.then(() => {
        const work = lab.renderRoot.querySelector('.reading');
        told.push(work?.textContent?.replace(/\s+/g, ' ').trim() ?? 'nothing');
        if (file && file.bytes >= limit) work?.querySelector('button')?.click();
      });
    };
  }, stopAt);
const told = (page: Page): Promise<string[]> =>
  page.evaluate(() => (window as unknown as { told: string[] }).told);

const numbers = (page: Page, id: string): Promise<string> =>
  page.evaluate((id) => {
    const lab = document.querySelector('linearium-lab') as unknown as Inside;
    return JSON.stringify(lab.panelsById.get(id)?.views, (_, value: unknown) =>
      ArrayBuffer.isView(value) ? Array.from(value as Float32Array) : value,
    );
  }, id);

test('a checkpoint in f16 shows what the same values in f32 show', async ({ page }) => {
  await openLab(page);
  await watchReading(page);
  const seen: string[] = [];
  for (const bytes of [2, 4] as const) {
    await give(page, rounded(bytes), config);
    await expect.poll(() => told(page), { timeout: 30_000 }).toContain('nothing');
    await expect(page.locator('.notices .alarm')).toHaveCount(0);
    await answered(page);
    await expect(panel(page, 'decay').locator('lin-view').first()).toBeVisible();
    seen.push(await numbers(page, 'decay'));
  }
  expect((await told(page)).some((text) => text.startsWith('checking and unpacking'))).toBe(true);
  expect(seen[0]!.length).toBeGreaterThan(1000);
  // On the GPU the sums of the two kernels have another order.
  if (!onGpu()) expect(seen[1]).toBe(seen[0]);
});

test('a vocabulary of 50,288 tokens does not outgrow the buffers', async ({ page }) => {
  await openLab(page, { input: 'noise' });
  const { weights, config } = largeVocabulary(50_288);
  await give(page, weights, config);
  await expect
    .poll(
      () =>
        page.evaluate(() => (document.querySelector('linearium-lab') as unknown as Inside).facts?.parameters),
      { timeout: 30_000 },
    )
    .toBe(50_288 * 32 + 32 + 161 * 32 + 96 * 5 + 3 + 64 + 32 * 64 + 32);
  await answered(page);
  await expect(page.locator('.notices .alarm')).toHaveCount(0);
  await expect(panel(page, 'state').locator('lin-view').first()).toBeVisible();
});

test('the reading of a large file can be stopped, and the model before it comes back', async ({ page }) => {
  await openLab(page);
  await watchReading(page, 16 << 20);
  const folder = mkdtempSync(join(tmpdir(), 'linearium-'));
  const weights = join(folder, 'model.safetensors');
  const json = join(folder, 'config.json');
  writeFileSync(weights, '');
  truncateSync(weights, 100 << 20);
  writeFileSync(json, config);
  await page.locator('#file').setInputFiles([weights, json]);
  await expect.poll(() => told(page), { timeout: 30_000 }).toContain('nothing');
  expect(await told(page)).toContain('reading the model: 16 MiB of 100 MiB Stop reading');
  await expect.poll(() => new URL(page.url()).searchParams.get('model')).toBe(null);
  await answered(page);
  await expect(notices(page)).toHaveCount(0);
  await expect(page.locator('.reading')).toHaveCount(0);
});
