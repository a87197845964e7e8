/**
 * How soon a dragged slider is answered on screen, on the CPU, at a context of about 4,096 tokens.
 *
 * For every move of the pointer that changes the slider: the time from the pointer's event to the
 * end of the frame that shows pictures of that setting or of a later one, which is how long a
 * person looks at something older than what the hand did. And the tasks of the main thread.
 */
import { writeFileSync } from 'node:fs';
import { expect, test, type Browser, type Page } from '@playwright/test';
import { answered } from '../lab/lab';

const ROUNDS = Number(process.env['LINEARIUM_BENCH_ROUNDS'] ?? 5);
/** Moves of one drag, at the pace of a screen. */
const MOVES = 90;
const MOVE_MS = 1000 / 60;
const P95_GOAL_MS = 100;
const TASK_GOAL_MS = 50;

interface Slider {
  name: string;
  query: string;
  label: string;
  /** The drag goes to and fro between these parts of the slider's width. */
  between: [number, number];
}

const SLIDERS: Slider[] = [
  // From 3,000 to 5,600 tokens.
  {
    name: 'context',
    query: 'context=4096',
    label: 'Context length, slider',
    between: [0.555, 0.645],
  },
  // From 0.96 to 0.999.
  {
    name: 'decay-factor',
    query: 'context=4096&decay-factor=0.99',
    label: 'Multiply decays by, slider',
    between: [0.35, 0.65],
  },
];

interface Round {
  latencies: number[];
  unanswered: number;
  pictures: number;
  /** Wall clock and processor time of the tasks of the main thread. */
  longestTask: { wall: number; processor: number };
}

/** What the page notes while it is dragged; made in the page. */
interface Notes {
  moves: { at: number; generation: number }[];
  drawn: { at: number; generation: number }[];
}

declare global {
  interface Window {
    notes: Notes;
  }
}

/** Listens before the lab does, so that nothing of it is left out. */
function takeNotes(): void {
  const notes: Notes = { moves: [], drawn: [] };
  window.notes = notes;
  let pointerAt = 0;
  addEventListener('pointermove', (event) => (pointerAt = event.timeStamp), {
    capture: true,
  });
  addEventListener('input', () => {
    // The lab has heard it by now.
    const lab = document.querySelector('linearium-lab') as unknown as {
      engine: { generation: number };
    };
    notes.moves.push({ at: pointerAt, generation: lab.engine.generation });
  });
  new PerformanceObserver((list) => {
    for (const entry of list.getEntries())
      if (entry.name === 'drawn')
        notes.drawn.push({
          at: entry.startTime,
          generation: (entry as PerformanceMark).detail as number,
        });
  }).observe({ type: 'mark' });
}

interface TraceEvent {
  name: string;
  ph: string;
  pid: number;
  tid: number;
  dur?: number;
  tdur?: number;
  args: { name?: string };
}

/** The longest task of the page's main thread, in milliseconds. */
function longestTask(trace: Buffer): { wall: number; processor: number } {
  const { traceEvents } = JSON.parse(trace.toString()) as {
    traceEvents: TraceEvent[];
  };
  const main = new Set(
    traceEvents
      .filter((e) => e.name === 'thread_name' && e.args.name === 'CrRendererMain')
      .map((e) => `${e.pid} ${e.tid}`),
  );
  const tasks = traceEvents.filter(
    (e) => e.ph === 'X' && e.name.endsWith('RunTask') && main.has(`${e.pid} ${e.tid}`),
  );
  expect(tasks.length).toBeGreaterThan(100);
  const longest = tasks.reduce((a, b) => ((b.dur ?? 0) > (a.dur ?? 0) ? b : a));
  return {
    wall: (longest.dur ?? 0) / 1000,
    processor: (longest.tdur ?? 0) / 1000,
  };
}

async function drag(browser: Browser, page: Page, slider: Slider): Promise<Round> {
  await page.goto(`/?${slider.query}&backend=cpu`);
  await answered(page);
  const control = page.getByRole('slider', { name: slider.label });
  await control.scrollIntoViewIfNeeded();
  const box = (await control.boundingBox())!;
  const [from, to] = slider.between;
  const x = (part: number): number => box.x + box.width * part;
  const y = box.y + box.height / 2;
  await page.mouse.move(x((from + to) / 2), y);
  await page.mouse.down();
  await page.waitForTimeout(400);
  await page.evaluate(() => (window.notes.moves.length = 0));
  await browser.startTracing(page, { categories: ['toplevel'] });
  const start = performance.now();
  for (let i = 1; i <= MOVES; i++) {
    // To and fro twice, with a pixel's difference at every move.
    const phase = Math.sin((i / MOVES) * 4 * Math.PI);
    await page.mouse.move(x((from + to) / 2 + (phase * (to - from)) / 2), y);
    await page.waitForTimeout(Math.max(0, start + i * MOVE_MS - performance.now()));
  }
  await page.waitForTimeout(600);
  const task = longestTask(await browser.stopTracing());
  await page.mouse.up();
  const { moves, drawn } = await page.evaluate(() => window.notes);
  expect(moves.length).toBeGreaterThan(MOVES / 3);
  const answers = moves.map(
    (move) => (drawn.find((d) => d.generation >= move.generation)?.at ?? NaN) - move.at,
  );
  return {
    latencies: answers.filter((ms) => !Number.isNaN(ms)),
    unanswered: answers.filter(Number.isNaN).length,
    pictures: drawn.filter((d) => d.at >= moves[0]!.at).length,
    longestTask: task,
  };
}

const quantile = (values: number[], q: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))]!;

const median = (values: number[]): number => quantile(values, 0.5);

test('a dragged slider is answered on screen', async ({ browser, page }) => {
  await page.addInitScript(takeNotes);
  const rounds = SLIDERS.map((): Round[] => []);
  // Sliders take turns, so that what else the machine does falls on both.
  for (let round = 0; round < ROUNDS; round++)
    for (const [i, slider] of SLIDERS.entries()) rounds[i]!.push(await drag(browser, page, slider));
  const rows = SLIDERS.map(({ name }, i) => {
    const of = rounds[i]!;
    const all = of.flatMap((r) => r.latencies);
    return {
      slider: name,
      moves: all.length,
      unanswered: of.reduce((sum, r) => sum + r.unanswered, 0),
      pictures: of.reduce((sum, r) => sum + r.pictures, 0),
      p50_ms: quantile(all, 0.5),
      p95_ms: quantile(all, 0.95),
      p95_ms_median_of_rounds: median(of.map((r) => quantile(r.latencies, 0.95))),
      goal_p95_ms: P95_GOAL_MS,
      longest_task_ms: Math.max(...of.map((r) => r.longestTask.wall)),
      longest_task_processor_ms: Math.max(...of.map((r) => r.longestTask.processor)),
      longest_task_ms_median_of_rounds: median(of.map((r) => r.longestTask.wall)),
      goal_task_ms: TASK_GOAL_MS,
    };
  });
  writeFileSync(process.env['LINEARIUM_BENCH']!, JSON.stringify({ rounds: ROUNDS, rows }, null, 2));
});
