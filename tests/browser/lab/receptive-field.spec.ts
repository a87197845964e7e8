import { expect, test } from '@playwright/test';
import { number, openLab, panel, tableOf, view } from './lab';

test('the receptive field is shown on the text and as a curve, with one cursor', async ({ page }) => {
  await openLab(page, { position: '200', layer: '1', head: '3' });
  const text = view(page, 'receptive-field', /What the output at 200 still sees/).locator('.text');
  await expect(text.locator('.query')).toHaveAttribute('data-position', '200');
  expect(await text.locator('span[data-position]').count()).toBe(201);
  await text.locator('[data-position="190"]').hover();
  const curve = view(page, 'receptive-field', 'Influence of every earlier position').getByRole('slider');
  await expect(curve).toHaveAttribute('aria-valuetext', /^position in the text 190 tokens: head 3/);

  const reach = await tableOf(view(page, 'receptive-field', 'How far it reaches'));
  const mean = number(reach[0][2]);
  expect(mean).toBeGreaterThan(0);
  expect(mean).toBeLessThan(200);

  // A model that forgets more looks less far back.
  await openLab(page, {
    position: '200',
    layer: '1',
    head: '3',
    'decay-factor': '0.9',
  });
  const shorter = await tableOf(view(page, 'receptive-field', 'How far it reaches'));
  expect(number(shorter[0][2])).toBeLessThan(mean);
  await expect(panel(page, 'receptive-field')).toContainText('on average');
});
