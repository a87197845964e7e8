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

/** Two pages are served, on this port and the next one. */
const PORT = Number(process.env['LINEARIUM_PORT'] ?? 4173);
const LAB = `http://localhost:${PORT}`;
const GALLERY = `http://localhost:${PORT + 1}`;
const preview = (outDir: string, port: number): string =>
  `npx --no-install vite preview --mode gallery --outDir ${outDir} --port ${port} --strictPort`;

/** `LINEARIUM_GALLERY_ONLY=1` runs what needs no engine. */
const galleryOnly = process.env['LINEARIUM_GALLERY_ONLY'] === '1';
/** `LINEARIUM_BENCH=FILE` measures, writes the numbers into FILE, and runs no test. */
const measuring = process.env['LINEARIUM_BENCH'] !== undefined;

const measurements = [
  {
    name: 'bench',
    testDir: './bench',
    testMatch: '*.bench.ts',
    timeout: 600_000,
    use: {
      baseURL: LAB,
      actionTimeout: 20_000,
      trace: 'off' as const,
      launchOptions: { executablePath, args: QUIET },
    },
  },
];

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
    // Each test would keep all files of the page; only the tests of it let it.
    serviceWorkers: 'block',
    viewport: { width: 1280, height: 900 },
  },
  projects: measuring
    ? measurements
    : [
        {
          name: 'page',
          testDir: './page',
          use: {
            baseURL: GALLERY,
            launchOptions: { executablePath, args: QUIET },
          },
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
                testIgnore: /no-adapter|endurance|offline|assignment/,
                // What a back end does not change, and what takes a software one too long.
                grepInvert: /@cpu/,
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
    ...(measuring
      ? []
      : [
          {
            command: `npm run --silent build:gallery && ${preview('dist-gallery', PORT + 1)}`,
            cwd: '../../web',
            url: `${GALLERY}/gallery.html`,
            reuseExistingServer: true,
          },
        ]),
    ...(galleryOnly
      ? []
      : [
          {
            command: preview('dist', PORT),
            cwd: '../../web',
            url: LAB,
            reuseExistingServer: true,
          },
        ]),
  ],
});
