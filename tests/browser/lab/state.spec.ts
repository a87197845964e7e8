import { expect, test } from '@playwright/test';
import { openLab, panel, view } from './lab';

test('the state is followed past the training length', async ({ page }) => {
  await openLab(page, {
    context: '512',
    input: 'newlines',
    layer: '2',
    head: '1',
  });
  await expect(panel(page, 'state')).toContainText(
    /After 512 tokens the state of head 1 in layer 2 has norm/,
  );
  await expect(panel(page, 'state')).toContainText(/at the training length 128/);
  const norm = view(page, 'state', 'Norm of the state');
  await expect(norm.locator('.mark-labels')).toContainText('trained at 128');
  await norm.getByRole('slider').focus();
  await page.keyboard.press('End');
  await expect(norm.getByRole('slider')).toHaveAttribute(
    'aria-valuetext',
    /^position in the text 512 tokens: head 1 [\d.]+/,
  );
  await expect(view(page, 'state', /Entries of the state/).locator('.bars path')).toHaveCount(2);
});

test('a model without a state says so', async ({ page }) => {
  await openLab(page, { model: 'llama-text-t256' });
  await expect(panel(page, 'state')).toContainText('keeps no state');
});
