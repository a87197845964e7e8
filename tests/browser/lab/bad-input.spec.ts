/** Files, texts and links that cannot be used: each gets its sentence, and the lab goes on. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test, type Page } from '@playwright/test';
import { answered, notices, openLab, panel } from './lab';

const MODEL = join(__dirname, '../../../web/public/models/mamba2-passkey-t128');
const config = readFileSync(join(MODEL, 'config.json'));
const weights = readFileSync(join(MODEL, 'model.safetensors'));

/** The header of the shipped file with something changed, and the data as it is. */
function withHeader(
  change: (header: Record<string, { dtype?: string; shape?: number[]; data_offsets?: number[] }>) => void,
): Buffer {
  const length = Number(weights.readBigUInt64LE(0));
  const header = JSON.parse(weights.subarray(8, 8 + length).toString('utf8')) as Record<
    string,
    { dtype?: string; shape?: number[]; data_offsets?: number[] }
  >;
  change(header);
  const text = Buffer.from(JSON.stringify(header));
  const size = Buffer.alloc(8);
  size.writeBigUInt64LE(BigInt(text.length));
  return Buffer.concat([size, text, weights.subarray(8 + length)]);
}

function sized(bytes: bigint): Buffer {
  const out = Buffer.alloc(64);
  out.writeBigUInt64LE(bytes);
  return out;
}

const give = (page: Page, model: Buffer, json: Buffer): Promise<void> =>
  page.locator('#file').setInputFiles([
    {
      name: 'model.safetensors',
      mimeType: 'application/octet-stream',
      buffer: model,
    },
    { name: 'config.json', mimeType: 'application/json', buffer: json },
  ]);

const FIRST = 'backbone.embeddings.weight';

const CHECKPOINTS: [string, () => Buffer, () => Buffer][] = [
  ['no bytes at all', () => Buffer.alloc(0), () => config],
  ['a header of 100 MB', () => sized(100_000_000n), () => config],
  ['a header longer than the world', () => sized(2n ** 63n), () => config],
  ['cut in the header', () => weights.subarray(0, 100), () => config],
  ['cut in the data', () => weights.subarray(0, weights.length - 1000), () => config],
  ['bytes behind the data', () => Buffer.concat([weights, Buffer.from('more')]), () => config],
  ['a tensor missing', () => withHeader((h) => Reflect.deleteProperty(h, FIRST)), () => config],
  ['a shape that lies', () => withHeader((h) => (h[FIRST].shape = [256, 191])), () => config],
  ['a type that does not exist', () => withHeader((h) => (h[FIRST].dtype = 'F13')), () => config],
  ['offsets beyond the file', () => withHeader((h) => (h[FIRST].data_offsets = [0, 2 ** 40])), () => config],
  ['a config that is not JSON', () => weights, () => Buffer.from('{"model_type":')],
  [
    'another architecture',
    () => weights,
    () => Buffer.from(config.toString().replaceAll(/mamba2/gi, 'rwkv9')),
  ],
  [
    'a config that contradicts the tensors',
    () => weights,
    () => Buffer.from(config.toString().replace(/"hidden_size":\s*192/, '"hidden_size": 256')),
  ],
];

test('each broken checkpoint gets its sentence', async ({ page }) => {
  await openLab(page);
  for (const [what, model, json] of CHECKPOINTS) {
    await give(page, model(), json());
    const alarm = page.locator('.notices .alarm');
    await expect(alarm, what).toHaveCount(1, { timeout: 20_000 });
    const sentence = await alarm.locator('span').first().innerText();
    expect(sentence.length, what).toBeGreaterThan(25);
    expect(sentence, what).not.toMatch(/unreachable|panicked|undefined|\[object/);
    await alarm.getByRole('button', { name: /^Dismiss/ }).click();
  }
  await expect(notices(page).filter({ hasText: 'was started again' })).toHaveCount(0);
  // A good one is taken after all that.
  await give(page, weights, config);
  await answered(page);
  await expect(panel(page, 'decay').locator('lin-view').first()).toBeVisible();
});

const LINKS: [string, string][] = [
  ['context=9', 'context'],
  ['context=1e99', 'context'],
  ['model=../../etc/passwd', 'model'],
  ['layer=77', 'layer'],
  ['decay-factor=NaN', 'decay-factor'],
  ['b.context=128', 'context'],
  ['nonsense=1', 'nonsense'],
  ['text=%ff', 'text'],
];

test('each impossible value of a link is named and replaced', async ({ page }) => {
  test.setTimeout(300_000);
  for (const [query, word] of LINKS) {
    await page.goto(`/?context=128&${query}`);
    await expect(notices(page).filter({ hasText: word }).first(), query).toBeVisible({ timeout: 30_000 });
    await expect(panel(page, 'cost').locator('lin-view').first(), query).toBeVisible({ timeout: 30_000 });
  }
});

const TEXTS: [string, Buffer, RegExp | null][] = [
  ['empty', Buffer.alloc(0), /empty/],
  ['invalid UTF-8', Buffer.from([0x41, 0xff, 0xfe, 0x42, ...Buffer.from('x'.repeat(300))]), /UTF-8/],
  ['ten megabytes', Buffer.alloc(10_000_000, 'All work and no play. '), null],
];

test('odd texts are read or refused with a sentence', async ({ page }) => {
  await openLab(page);
  for (const [what, buffer, sentence] of TEXTS) {
    await page.locator('#file').setInputFiles([{ name: 'text.txt', mimeType: 'text/plain', buffer }]);
    if (sentence)
      await expect(notices(page).filter({ hasText: sentence }), what).toBeVisible({ timeout: 20_000 });
    else await answered(page);
  }
});
