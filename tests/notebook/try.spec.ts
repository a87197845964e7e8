import { expect, test } from '@playwright/test';
import { openJupyterLab } from './servers';
test('try', async ({ page }) => {
  page.on('console', (m) => console.log(m.type(), m.text().slice(0, 300)));
  page.on('request', (r) => { if (!r.url().startsWith('http://127.0.0.1')) console.log('REQ', r.url().slice(0,100)); });
  const lab = await openJupyterLab([
    'import linearium\nlab = linearium.Lab(context=512, backend="cpu")\nlab',
    'r = await lab.result()\nprint({p: {v: type(a).__name__ for v, a in vs.items()} for p, vs in r.arrays.items()}, r.query, r.notices)',
    'lab.context = 1024\nr = await lab.result()\nprint(r.query, lab.state)',
  ]);
  try {
    await page.goto(lab.address);
    await page.locator('.jp-Cell').first().waitFor();
    await page.locator('.jp-Cell').first().click();
    await page.locator('text=Python 3 (ipykernel) | Idle').waitFor({timeout: 30000}).catch(() => console.log('no idle'));
    for (let i = 0; i < 3; i++) { await page.keyboard.press('Shift+Enter'); await page.waitForTimeout(5000); }
    await page.waitForTimeout(5000);
    await page.screenshot({ path: '/tmp/jl.png' });
    console.log((await page.locator('.jp-OutputArea-output').allInnerTexts()).map((t) => t.slice(0, 700)));
  } finally { await lab.close(); }
});
