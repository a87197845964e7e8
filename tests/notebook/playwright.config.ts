import { defineConfig } from '@playwright/test';

/** The Python package in JupyterLab and in marimo, in a browser; `LINEARIUM_PYTHON` has it installed. */
export default defineConfig({
  testDir: '.',
  outputDir: '../../target/xtask/playwright-notebook',
  workers: 1,
  retries: 0,
  timeout: 90_000,
  forbidOnly: true,
  reporter: [['list']],
  expect: { timeout: 30_000 },
  use: {
    browserName: 'chromium',
    viewport: { width: 1400, height: 1000 },
    launchOptions: {
      executablePath: process.env['LINEARIUM_CHROMIUM'] ?? '/usr/bin/chromium',
      args: [
        '--no-sandbox',
        '--disable-quic',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
      ],
    },
  },
});
