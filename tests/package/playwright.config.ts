import { defineConfig } from '@playwright/test';

/** The packed npm package where people use it; `setup.ts` packs and installs it. */
export default defineConfig({
  testDir: '.',
  outputDir: '../../target/xtask/playwright-package',
  globalSetup: './setup.ts',
  workers: 1,
  retries: 0,
  timeout: 90_000,
  forbidOnly: true,
  reporter: [['list']],
  use: {
    browserName: 'chromium',
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
