import { expect, test } from '@playwright/test';
import { backendPattern, onGpu, openLab, panel } from './lab';

test('opens with a result without any click, from its own origin alone', async ({ page }) => {
  const requests: string[] = [];
  page.on('request', (request) => requests.push(request.url()));
  const complaints: string[] = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto('/');
  for (const id of ['decay', 'receptive-field', 'state', 'cost']) {
    await expect(panel(page, id).locator('lin-view').first()).toBeVisible({ timeout: 30_000 });
  }
  await expect(panel(page, 'cost').locator('.cover', { hasText: '4,096 tokens' })).toBeVisible({
    timeout: 60_000,
  });
  const origin = new URL(page.url()).origin;
  expect(
    requests.filter((r) => !r.startsWith(origin) && !r.startsWith('blob:') && !r.startsWith('data:')),
  ).toEqual([]);
  expect(complaints).toEqual([]);
  await expect(page.locator('lin-controls .facts')).toContainText('3 layers of width 192');
});

test('the chosen back end runs and its self-check can be read', async ({ page }) => {
  await openLab(page);
  await expect(page.locator('.status .backend')).toHaveText(backendPattern());
  await page.getByRole('button', { name: 'Self-check report' }).click();
  await expect(page.getByRole('dialog')).toContainText(
    onGpu() ? /scan_outer: RMS ratio [\d.e-]+ ok/ : /runs on the CPU/,
  );
});

test('every model that can be chosen gives an answer', async ({ page }) => {
  test.setTimeout(300_000);
  for (const model of [
    'mamba2-text-t1024',
    'llama-text-t256',
    'random-ssd',
    'random-s6',
    'random-gla',
    'random-retnet',
    'random-attention',
  ]) {
    await openLab(page, { model, context: '128', ...(model.startsWith('random') ? { input: 'noise' } : {}) });
    await expect(panel(page, 'cost').locator('lin-view').first(), model).toBeVisible();
    await expect(page.locator('.notices .alarm'), model).toHaveCount(0);
  }
});
