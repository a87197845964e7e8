/** Lets the context grow before one's eyes: each step waits for the pictures of the one before. */

/** Twelve steps an octave look continuous; with reduced motion each step is a whole octave. */
const STEPS_AN_OCTAVE = 12;
const SHORTEST_STEP_MS = 70;
const REDUCED_STEP_MS = 900;
/** A step is not held back longer than this by pictures that do not come. */
const LONGEST_STEP_MS = 1500;

export class Playback {
  playing = false;
  private value = 0;
  private most = 0;
  private timer?: ReturnType<typeof setTimeout>;
  private steppedAt = 0;
  private changed: () => void = () => undefined;

  constructor(private readonly set: (value: number, commit: boolean) => void) {}

  toggle(now: number, least: number, most: number, changed: () => void): void {
    if (this.playing) {
      this.stop();
      return;
    }
    this.changed = changed;
    this.most = most;
    this.value = now >= most ? least : now;
    this.playing = true;
    this.step(this.value);
  }

  stop(): void {
    if (!this.playing) return;
    this.playing = false;
    clearTimeout(this.timer);
    this.set(Math.round(this.value), true);
    this.changed();
  }

  /** The pictures of the present step are on screen. */
  answered(): void {
    if (!this.playing) return;
    const reduced = matchMedia('(prefers-reduced-motion: reduce)').matches;
    const least = reduced ? REDUCED_STEP_MS : SHORTEST_STEP_MS;
    this.schedule(Math.max(0, least - (performance.now() - this.steppedAt)));
  }

  private schedule(wait: number): void {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      const reduced = matchMedia('(prefers-reduced-motion: reduce)').matches;
      this.step(this.value * 2 ** (1 / (reduced ? 1 : STEPS_AN_OCTAVE)));
    }, wait);
  }

  private step(value: number): void {
    if (value >= this.most) {
      this.value = this.most;
      this.stop();
      return;
    }
    this.value = value;
    this.steppedAt = performance.now();
    this.set(Math.round(value), false);
    this.schedule(LONGEST_STEP_MS);
  }
}
