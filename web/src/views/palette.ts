/** Colours that pictures are drawn with: resolved values, so that an exported file carries them itself. */
import { interpolateViridis } from 'd3-scale-chromatic';

export interface Palette {
  surface: string;
  ink: string;
  quiet: string;
  axis: string;
  grid: string;
  mark: string;
  /** Run A and run B; each is also told by its dash. */
  run: { a: string; b: string };
  /** Curves of one run side by side; Okabe and Ito's hues, darkened or lightened for contrast. */
  series: string[];
  /** From "no value" to the strongest shade of a token, each readable under `ink`. */
  shade: { a: [string, string]; b: [string, string] };
  missing: string;
}

export type Theme = 'light' | 'dark';

export const PALETTES: Record<Theme, Palette> = {
  light: {
    surface: '#ffffff',
    ink: '#1a1d20',
    quiet: '#5a6068',
    axis: '#8d939a',
    grid: '#eceeee',
    mark: '#5a6068',
    run: { a: '#0b5fa5', b: '#b4500a' },
    series: ['#0b5fa5', '#b4500a', '#0a7a5b', '#8a4b9c', '#7a6a00', '#1b8aa6', '#a83a55', '#5d646b'],
    shade: { a: ['#ffffff', '#86bdf0'], b: ['#ffffff', '#f3b27c'] },
    missing: '#d9dbdc',
  },
  dark: {
    surface: '#171a1d',
    ink: '#e8eaeb',
    quiet: '#a4abb2',
    axis: '#6d747b',
    grid: '#25292d',
    mark: '#a4abb2',
    run: { a: '#79b8f3', b: '#f2a25c' },
    series: ['#79b8f3', '#f2a25c', '#5cc8a0', '#d0a0e0', '#d9c95a', '#6fd0e4', '#f08ca2', '#b4bac0'],
    shade: { a: ['#171a1d', '#1d5e9c'], b: ['#171a1d', '#8a4a10'] },
    missing: '#3a3f44',
  },
};

/** Dash of the curves of each run, in user units. */
export const RUN_DASH = { a: '', b: '7 4' } as const;
export const RUN_NAME = { a: 'A', b: 'B' } as const;

/** The name of a curve or picture with its run, unless the engine has named the run already. */
export function runLabel(label: string, run: 'a' | 'b'): string {
  const letter = RUN_NAME[run];
  return new RegExp(`(^${letter}\\b|\\b${letter}\\)?$)`).test(label) ? label : `${letter} · ${label}`;
}

const TABLE_SIZE = 256;

function parse(colour: string): [number, number, number] {
  const value = Number.parseInt(colour.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

function table(colourAt: (t: number) => [number, number, number]): Uint8ClampedArray {
  const out = new Uint8ClampedArray(TABLE_SIZE * 3);
  for (let i = 0; i < TABLE_SIZE; i++) out.set(colourAt(i / (TABLE_SIZE - 1)), i * 3);
  return out;
}

/** OKLab (Ottosson 2020) to sRGB, for the two-sided map. */
function oklab(l: number, a: number, b: number): [number, number, number] {
  const long = (l + 0.3963377774 * a + 0.2158037573 * b) ** 3;
  const middle = (l - 0.1055613458 * a - 0.0638541728 * b) ** 3;
  const short = (l - 0.0894841775 * a - 1.291485548 * b) ** 3;
  const linear = [
    4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
    -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
    -0.0041960863 * long - 0.7034186147 * middle + 1.707614701 * short,
  ];
  return linear.map((v) => {
    const c = Math.min(1, Math.max(0, v));
    return 255 * (c <= 0.0031308 ? 12.92 * c : 1.055 * c ** (1 / 2.4) - 0.055);
  }) as [number, number, number];
}

/** Equal steps of lightness in a hue that people with any colour vision order alike. */
export const SEQUENTIAL = table((t) => parse(interpolateViridis(t)));
/** Blue through near-white to orange, lightness the same on both sides. */
export const TWO_SIDED = table((t) => {
  const side = Math.abs(2 * t - 1);
  const hue = t < 0.5 ? 4.35 : 0.95;
  const chroma = 0.13 * side ** 0.8;
  return oklab(0.96 - 0.5 * side, chroma * Math.cos(hue), chroma * Math.sin(hue));
});

export function colourOf(map: Uint8ClampedArray, t: number): string {
  const i = Math.min(TABLE_SIZE - 1, Math.max(0, Math.round(t * (TABLE_SIZE - 1)))) * 3;
  return `rgb(${map[i]} ${map[i + 1]} ${map[i + 2]})`;
}

/** A mixture of two colours, `t` from 0 to 1. */
export function mix(from: string, to: string, t: number): string {
  const a = parse(from);
  const b = parse(to);
  const part = Math.min(1, Math.max(0, t));
  return `rgb(${a.map((v, i) => Math.round(v + (b[i] - v) * part)).join(' ')})`;
}
