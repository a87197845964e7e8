/** What pictures with axes share: the frame, scales, axes, the legend. */
import { svg, type SVGTemplateResult } from 'lit';
import { scaleLinear, scaleLog, scaleSymlog } from 'd3-scale';
import { axisTitle, formatPower, formatTick } from './format.ts';
import type { Palette } from './palette.ts';
import type { Axis } from './types.ts';

/** Where and how to draw. Sizes in CSS pixels. */
export interface Frame {
  width: number;
  height: number;
  palette: Palette;
  /** Font size of ticks. */
  font: number;
}

export interface Plot {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export interface AxisScale {
  (value: number): number;
  invert(pixel: number): number;
  ticks: number[];
  domain: [number, number];
  format(tick: number): string;
}

export const FONT_FAMILY =
  "ui-sans-serif, system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif";

/** Lowest and highest finite value (above 0 for a log axis). */
export function extent(lists: Iterable<ArrayLike<number>>, positive: boolean): [number, number] | undefined {
  let low = Infinity;
  let high = -Infinity;
  for (const list of lists) {
    for (let i = 0; i < list.length; i++) {
      const v = list[i];
      if (!Number.isFinite(v) || (positive && v <= 0)) continue;
      if (v < low) low = v;
      if (v > high) high = v;
    }
  }
  return low <= high ? [low, high] : undefined;
}

/** The axis' own domain, or the data's, widened where it is a single value. */
export function domainOf(
  axis: Axis,
  data: [number, number] | undefined,
): { domain: [number, number]; given: boolean } {
  const given = axis.domain ?? undefined;
  let [low, high] = given ?? data ?? (axis.scale === 'log' ? [1, 10] : [0, 1]);
  if (axis.scale === 'log' && low <= 0) low = data && data[0] > 0 ? data[0] : high > 0 ? high / 1e4 : 1;
  if (axis.scale === 'log' && high <= low) [low, high] = [low / 2, low * 2];
  if (low === high) [low, high] = low === 0 ? [-1, 1] : [low - Math.abs(low) / 2, high + Math.abs(high) / 2];
  return { domain: [low, high], given: given !== undefined };
}

export function makeScale(
  axis: Axis,
  data: [number, number] | undefined,
  range: [number, number],
  tickCount: number,
  nice = true,
  linearPart = 0,
): AxisScale {
  const { domain, given } = domainOf(axis, data);
  const base =
    axis.scale === 'log'
      ? scaleLog(domain, range)
      : axis.scale === 'symlog'
        ? scaleSymlog(domain, range).constant(linearPart || symlogConstant(domain))
        : scaleLinear(domain, range);
  if (nice && !given && axis.scale !== 'symlog') base.nice(tickCount);
  const scale = ((value: number) => base(value)) as AxisScale;
  scale.invert = (pixel) => base.invert(pixel);
  scale.domain = base.domain() as [number, number];
  scale.ticks =
    axis.scale === 'log'
      ? logTicks(scale.domain, tickCount)
      : symmetricTicks(axis, base.ticks(tickCount), scale.domain, tickCount, base);
  // Powers of ten all in one way of writing.
  const powers =
    axis.scale === 'log' && scale.ticks.some((t) => t >= 1e6 || t < 1e-3) && scale.ticks.every(isPower);
  scale.format = powers ? formatPower : formatTick;
  return scale;
}

const isPower = (t: number): boolean => Math.abs(Math.log10(t) - Math.round(Math.log10(t))) < 1e-9;

/** The linear part of a symmetric log axis where none is given: a thousandth of its widest side. */
function symlogConstant(domain: [number, number]): number {
  return Math.max(Math.abs(domain[0]), Math.abs(domain[1])) / 1000 || 1;
}

/** Zero and powers of ten on both sides, so many that they have room. */
function symmetricTicks(
  axis: Axis,
  ticks: number[],
  domain: [number, number],
  count: number,
  at: (v: number) => number,
): number[] {
  if (axis.scale !== 'symlog') return ticks;
  const top = Math.floor(Math.log10(Math.max(Math.abs(domain[0]), Math.abs(domain[1])) || 1));
  const out = [0].filter(() => domain[0] <= 0 && domain[1] >= 0);
  let last = out.length > 0 ? at(0) : NaN;
  const gap = Math.abs(at(domain[1]) - at(domain[0])) / (2 * count);
  const powers = Array.from({ length: 12 }, (_, i) => 10 ** (top - 11 + i));
  for (const power of powers) {
    const pixel = at(power);
    if (Number.isFinite(last) && Math.abs(pixel - last) < gap) continue;
    last = pixel;
    out.push(power, -power);
  }
  return out.filter((t) => t >= domain[0] && t <= domain[1]).sort((a, b) => a - b);
}

function logTicks(domain: [number, number], count: number): number[] {
  const low = Math.log10(domain[0]);
  const high = Math.log10(domain[1]);
  const decades = high - low;
  const out: number[] = [];
  if (decades < 1.2) {
    for (const t of scaleLinear(domain).ticks(count)) if (t > 0) out.push(t);
    return out;
  }
  const step = Math.max(1, Math.ceil(decades / Math.max(2, count)));
  const inner = decades < 3 && step === 1 ? [1, 2, 5] : [1];
  for (let e = Math.floor(low); e <= Math.ceil(high); e++) {
    if (((e % step) + step) % step !== 0) continue;
    for (const m of inner) {
      const t = Number((m * 10 ** e).toPrecision(3));
      if (t >= domain[0] * 0.9999 && t <= domain[1] * 1.0001) out.push(t);
    }
  }
  return out;
}

/** Width of a short text without measuring it: digits and small letters are about half an em. */
export function textWidth(text: string, font: number): number {
  return text.length * font * 0.56;
}

/** Height of the line above the plot on which the title of the vertical axis stands. */
export function titleRoom(font: number): number {
  return font + 9;
}

/** Room that the vertical axis needs on the left. */
export function leftMargin(axis: Axis, data: [number, number] | undefined, frame: Frame): number {
  const { ticks, format } = makeScale(axis, data, [frame.height, 0], 5);
  const widest = Math.max(8, ...ticks.map((t) => textWidth(format(t), frame.font)));
  return Math.ceil(widest + 12);
}

/** As many characters of a label as fit, so that it does not run out of the picture. */
export function fit(text: string, room: number, font: number): string {
  const most = Math.max(3, Math.floor(room / (font * 0.53)));
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}

export function drawXAxis(
  axis: Axis,
  scale: AxisScale,
  plot: Plot,
  frame: Frame,
  grid: boolean,
): SVGTemplateResult {
  const { palette, font } = frame;
  const y = plot.bottom;
  let lastEnd = -Infinity;
  const shown = scale.ticks.map((t) => {
    const x = scale(t);
    const half = textWidth(scale.format(t), font) / 2;
    const clear = x - half > lastEnd + 6;
    if (clear) lastEnd = x + half;
    return { t, x, clear };
  });
  return svg`<g class="axis x" font-family=${FONT_FAMILY} font-size=${font} fill=${palette.quiet}>
    ${grid ? shown.map(({ x }) => svg`<line x1=${x} x2=${x} y1=${plot.top} y2=${y} stroke=${palette.grid} />`) : ''}
    <line x1=${plot.left} x2=${plot.right} y1=${y + 0.5} y2=${y + 0.5} stroke=${palette.axis} />
    ${shown.map(
      ({ t, x, clear }) => svg`<line x1=${x} x2=${x} y1=${y} y2=${y + 5} stroke=${palette.axis} />
      ${clear ? svg`<text x=${x} y=${y + 6 + font} text-anchor="middle">${scale.format(t)}</text>` : ''}`,
    )}
    <text x=${(plot.left + plot.right) / 2} y=${y + 14 + font * 2.1} text-anchor="middle" fill=${palette.ink}
      >${fit(axisTitle(axis), plot.right - plot.left + 40, font)}</text>
  </g>`;
}

export function drawYAxis(axis: Axis, scale: AxisScale, plot: Plot, frame: Frame): SVGTemplateResult {
  const { palette, font } = frame;
  const x = plot.left;
  return svg`<g class="axis y" font-family=${FONT_FAMILY} font-size=${font} fill=${palette.quiet}>
    ${scale.ticks.map(
      (t) => svg`<line x1=${x} x2=${plot.right} y1=${scale(t)} y2=${scale(t)} stroke=${palette.grid} />
      <text x=${x - 7} y=${scale(t) + font * 0.34} text-anchor="end">${scale.format(t)}</text>`,
    )}
    <text x="1" y=${plot.top - 9} fill=${palette.ink}>↑ ${fit(axisTitle(axis), plot.right - 16, font)}</text>
  </g>`;
}

export interface LegendItem {
  label: string;
  colour: string;
  dash: string;
  width: number;
  opacity: number;
  /** Drawn as a small area and not as a line. */
  filled?: boolean;
}

/** Rows of line samples with their names; `height` is the room that they take. */
export function drawLegend(
  items: LegendItem[],
  left: number,
  frame: Frame,
): { drawing: SVGTemplateResult; height: number } {
  const { font, palette } = frame;
  const rowHeight = font + 7;
  let x = left;
  let row = 0;
  const placed = items.map((item) => {
    const label = fit(item.label, frame.width - left - 40, font);
    const width = 24 + textWidth(label, font) + 18;
    if (x > left && x + width > frame.width - 2) {
      x = left;
      row += 1;
    }
    const at = { ...item, label, x, y: row * rowHeight + rowHeight / 2 + 1 };
    x += width;
    return at;
  });
  const height = items.length === 0 ? 0 : (row + 1) * rowHeight + 5;
  return {
    height,
    drawing: svg`<g class="legend" font-family=${FONT_FAMILY} font-size=${font} fill=${palette.quiet}>
      ${placed.map(
        (p) =>
          svg`${
            p.filled
              ? svg`<rect x=${p.x} y=${p.y - 5} width="18" height="10" fill=${p.colour} fill-opacity="0.28" stroke=${p.colour}
                stroke-dasharray=${p.dash} />`
              : svg`<line x1=${p.x} x2=${p.x + 18} y1=${p.y} y2=${p.y} stroke=${p.colour} stroke-width=${p.width}
                stroke-dasharray=${p.dash} stroke-opacity=${p.opacity} />`
          }<text x=${p.x + 24} y=${p.y + font * 0.34}>${p.label}</text>`,
      )}
    </g>`,
  };
}
