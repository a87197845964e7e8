import { defineConfig } from '@playwright/test';

/** Debian's Chromium, or another one named in the environment. */
const executablePath = process.env['LINEARIUM_CHROMIUM'] ?? '/usr/bin/chromium';

/** Nothing but the page under test may be reached for. */
const QUIET = [
  '--no-sandbox',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

const LAB = 'http://localhost:4173';
const GALLERY = 'http://localhost:4174';
const preview = (outDir: string, port: number): string =>
  `npx --no-install vite preview --mode gallery --outDir ${outDir} --port ${port} --strictPort`;

/** `LINEARIUM_GALLERY_ONLY=1` runs what needs no engine. */
const galleryOnly = process.env['LINEARIUM_GALLERY_ONLY'] === '1';

export default defineConfig({
  testDir: '.',
  outputDir: 'results',
  workers: 1,
  retries: 0,
  timeout: 60_000,
  forbidOnly: true,
  reporter: [['list']],
  use: {
    browserName: 'chromium',
    trace: 'retain-on-failure',
    viewport: { width: 1280, height: 900 },
  },
  projects: [
    {
      name: 'page',
      testDir: './page',
      use: { baseURL: GALLERY, launchOptions: { executablePath, args: QUIET } },
    },
    ...(galleryOnly
      ? []
      : [
          {
            // Chromium without a flag has WebGPU but no adapter: the natural fallback.
            name: 'cpu',
            testDir: './lab',
            testIgnore: /lost-device/,
            timeout: 180_000,
            use: {
              baseURL: LAB,
              launchOptions: { executablePath, args: QUIET },
            },
          },
          {
            name: 'webgpu',
            testDir: './lab',
            testIgnore: /no-adapter|endurance/,
            timeout: 180_000,
            use: {
              baseURL: LAB,
              launchOptions: {
                executablePath,
                args: [...QUIET, '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'],
              },
            },
          },
        ]),
  ],
  webServer: [
    {
      command: `npm run --silent build:gallery && ${preview('dist-gallery', 4174)}`,
      cwd: '../../web',
      url: `${GALLERY}/gallery.html`,
      reuseExistingServer: true,
    },
    ...(galleryOnly
      ? []
      : [
          {
            command: preview('dist', 4173),
            cwd: '../../web',
            url: LAB,
            reuseExistingServer: true,
          },
        ]),
  ],
});
