/** The widget in marimo, whose cells run again when there are new numbers. */
import { expect, test } from '@playwright/test';
import { openMarimo } from './servers';

const NOTEBOOK = `import marimo
app = marimo.App()

@app.cell
def _():
    import marimo as mo
    import linearium
    lab = mo.ui.anywidget(linearium.Lab(context=256, backend="cpu"))
    lab
    return lab, linearium, mo

@app.cell
def _(lab, linearium, mo):
    lab.value
    try:
        rates = lab.arrays["decay"]["rate-a"]
        words = f"numbers: {lab.state['context']} {rates.ndim} {rates.size > 0}"
    except linearium.LineariumError as error:
        words = f"not yet: {error}"
    mo.md(words)
    return

if __name__ == "__main__":
    app.run()
`;

test('the lab draws in marimo, and the cell with its numbers follows it', async ({ page }) => {
  const elsewhere: string[] = [];
  const marimo = await openMarimo([NOTEBOOK]);
  page.on('request', (request) => {
    const url = request.url();
    if (/linearium/.test(url) && !url.startsWith(marimo.origin) && !/^(blob|data):/.test(url))
      elsewhere.push(url);
  });
  try {
    await page.goto(marimo.address);
    await expect(page.getByText('numbers: 256 2 True')).toBeVisible({ timeout: 60_000 });
    const lab = page.locator('linearium-lab');
    await expect(lab.locator('lin-panel[data-panel="decay"] canvas').first()).toBeVisible();
    const slider = lab.getByRole('slider', { name: 'Context' });
    await slider.scrollIntoViewIfNeeded();
    await slider.focus();
    await page.keyboard.press('Home');
    await expect(page.getByText('numbers: 64 2 True')).toBeVisible();
    expect(elsewhere).toEqual([]);
  } finally {
    await marimo.close();
  }
});
