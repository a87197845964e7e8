import { expect, test } from '@playwright/test';
import { answered, backendPattern, mixer, onGpu, openLab, panel } from './lab';

test('opens with a result without any click, from its own origin alone', async ({ page }) => {
  const requests: string[] = [];
  page.on('request', (request) => requests.push(request.url()));
  const complaints: string[] = [];
  page.on('console', (message) => message.type() === 'error' && complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(error.message));
  await page.goto('/');
  for (const id of ['decay', 'receptive-field', 'state', 'cost']) {
    await expect(panel(page, id).locator('lin-view').first()).toBeVisible({
      timeout: 30_000,
    });
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
  test.setTimeout(600_000);
  await openLab(page, { context: '128', input: 'noise' });
  const choice = page.getByRole('combobox', { name: 'Model', exact: true }).first();
  const ids = await choice
    .locator('option')
    .evaluateAll((options) => options.map((option) => (option as HTMLOptionElement).value));
  const models = ids.filter((id) => id !== 'file');
  expect(models).toContain('random-ssd');
  for (const model of models) {
    await choice.selectOption(model);
    if (model.startsWith('random-'))
      await expect.poll(() => mixer(page), { timeout: 60_000 }).toBe(model.slice('random-'.length));
    await answered(page);
    await expect(panel(page, 'cost').locator('lin-view').first(), model).toBeVisible();
    await expect(page.locator('.notices .alarm'), model).toHaveCount(0);
  }
});
