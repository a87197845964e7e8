/** Curves on common axes, as SVG. */
import { svg, type SVGTemplateResult } from 'lit';
import { line } from 'd3-shape';
import {
  drawLegend,
  drawXAxis,
  drawYAxis,
  extent,
  fit,
  FONT_FAMILY,
  leftMargin,
  makeScale,
  textWidth,
  titleRoom,
  type AxisScale,
  type Frame,
  type LegendItem,
  type Plot,
} from './axes.ts';
import { mix, RUN_DASH, runLabel, RUN_NAME } from './palette.ts';
import type { Lines, Mark, Series } from './types.ts';

export interface DrawnLines {
  drawing: SVGTemplateResult;
  plot: Plot;
  x: AxisScale;
  y: AxisScale;
  styles: LegendItem[];
}

/** Dashes that tell curves of one run apart where there is no second run to be told from. */
const DASHES = ['', '2 3', '9 3 2 3', '12 4', '5 3', '1 2', '9 3 2 3 2 3', '3 6'];

export function lineStyles(data: Lines, frame: Frame): LegendItem[] {
  const { palette } = frame;
  const compares = data.series.some((s) => s.run === 'b');
  const strong = { a: 0, b: 0 };
  const strongOf = (run: 'a' | 'b'): number => data.series.filter((s) => s.run === run && s.emphasis).length;
  return data.series.map((s) => {
    const name = compares ? runLabel(s.label, s.run) : s.label;
    if (!s.emphasis) {
      const colour = compares ? palette.run[s.run] : palette.quiet;
      return { label: name, colour, dash: compares ? RUN_DASH[s.run] : '', width: 1, opacity: 0.45 };
    }
    const k = strong[s.run]++;
    const many = strongOf(s.run);
    if (compares) {
      const colour = mix(palette.run[s.run], palette.surface, many > 1 ? (0.55 * k) / many : 0);
      return { label: name, colour, dash: RUN_DASH[s.run], width: 2, opacity: 1 };
    }
    const colour = many === 1 ? palette.run.a : palette.series[k % palette.series.length];
    return { label: name, colour, dash: many === 1 ? '' : DASHES[k % DASHES.length], width: 2, opacity: 1 };
  });
}

/** Legend: every strong curve, and the faint ones as one entry for each run if they are many. */
function legendOf(data: Lines, styles: LegendItem[]): LegendItem[] {
  const strong = styles.filter((_, i) => data.series[i].emphasis);
  const faint = styles.filter((_, i) => !data.series[i].emphasis);
  if (faint.length <= 2) return [...strong, ...faint];
  const items = [...strong];
  for (const run of ['a', 'b'] as const) {
    const of = styles.filter((_, i) => !data.series[i].emphasis && data.series[i].run === run);
    if (of.length === 0) continue;
    const prefix = data.series.some((s) => s.run === 'b') ? `${RUN_NAME[run]} · ` : '';
    items.push({ ...of[0], label: `${prefix}${of.length} others` });
  }
  return items;
}

/**
 * The path of a curve. Where points are denser than pixels, the lowest and the highest of each pixel
 * column are kept, so that no peak is lost.
 */
function path(s: Series, x: AxisScale, y: AxisScale, positiveX: boolean, positiveY: boolean): string {
  const n = Math.min(s.x.length, s.y.length);
  const usable = (i: number): boolean =>
    Number.isFinite(s.x[i]) &&
    Number.isFinite(s.y[i]) &&
    !(positiveX && s.x[i] <= 0) &&
    !(positiveY && s.y[i] <= 0);
  const make = line<number>()
    .defined(usable)
    .x((i) => Math.round(x(s.x[i]) * 10) / 10)
    .y((i) => Math.round(y(s.y[i]) * 10) / 10);
  const pixels = Math.abs(x(x.domain[1]) - x(x.domain[0]));
  if (n <= 4 * pixels) return make(Array.from({ length: n }, (_, i) => i)) ?? '';
  const kept: number[] = [];
  let column = NaN;
  let low = -1;
  let high = -1;
  const flush = (): void => {
    if (low < 0) return;
    kept.push(Math.min(low, high));
    if (low !== high) kept.push(Math.max(low, high));
  };
  for (let i = 0; i < n; i++) {
    if (!usable(i)) continue;
    const c = Math.round(x(s.x[i]));
    if (c !== column) {
      flush();
      column = c;
      low = high = i;
    } else {
      if (s.y[i] < s.y[low]) low = i;
      if (s.y[i] > s.y[high]) high = i;
    }
  }
  flush();
  return make(kept) ?? '';
}

export function drawLines(data: Lines, frame: Frame): DrawnLines {
  const { palette, font } = frame;
  const styles = lineStyles(data, frame);
  const xExtent = extent(
    data.series.map((s) => s.x),
    data.x.scale === 'log',
  );
  const yExtent = extent(
    [...data.series.map((s) => s.y), data.marks.filter((m) => !m.vertical).map((m) => m.value)],
    data.y.scale === 'log',
  );
  const left = leftMargin(data.y, yExtent, frame);
  const legend = drawLegend(legendOf(data, styles), 1, frame);
  const plot: Plot = {
    left,
    right: frame.width - 14,
    top: legend.height + titleRoom(font) + 4,
    bottom: frame.height - font * 2.1 - 20,
  };
  const x = makeScale(
    data.x,
    xExtent,
    [plot.left, plot.right],
    Math.max(3, Math.floor((plot.right - plot.left) / 90)),
    false,
  );
  const y = makeScale(
    data.y,
    yExtent,
    [plot.bottom, plot.top],
    Math.max(3, Math.floor((plot.bottom - plot.top) / 42)),
  );
  const order = data.series
    .map((_, i) => i)
    .sort((i, j) => Number(data.series[i].emphasis) - Number(data.series[j].emphasis));
  const inside = (m: { vertical: boolean; value: number }): boolean => {
    const [low, high] = (m.vertical ? x : y).domain;
    return m.value >= low && m.value <= high;
  };
  const marks = data.marks.filter(inside);
  return {
    plot,
    x,
    y,
    styles,
    drawing: svg`${legend.drawing}
      ${drawYAxis(data.y, y, plot, frame)} ${drawXAxis(data.x, x, plot, frame, false)}
      <g class="marks" stroke=${palette.mark} stroke-dasharray="2 3">
        ${marks.map((m) =>
          m.vertical
            ? svg`<line x1=${x(m.value)} x2=${x(m.value)} y1=${plot.top} y2=${plot.bottom} />`
            : svg`<line x1=${plot.left} x2=${plot.right} y1=${y(m.value)} y2=${y(m.value)} />`,
        )}
      </g>
      <svg class="curves" x=${plot.left} y=${plot.top - 1} width=${plot.right - plot.left} height=${plot.bottom - plot.top + 2}
        viewBox="${plot.left} ${plot.top - 1} ${plot.right - plot.left} ${plot.bottom - plot.top + 2}" overflow="hidden"
        fill="none" stroke-linejoin="round">
        ${order.map(
          (i) => svg`<path d=${path(data.series[i], x, y, data.x.scale === 'log', data.y.scale === 'log')}
            stroke=${styles[i].colour} stroke-width=${styles[i].width} stroke-opacity=${styles[i].opacity}
            stroke-dasharray=${styles[i].dash} />`,
        )}
      </svg>
      ${drawMarkLabels(marks, x, y, plot, frame)}`,
  };
}

/** Words on the marks, over the curves, each on a line of its own where they would meet. */
function drawMarkLabels(
  marks: Mark[],
  x: AxisScale,
  y: AxisScale,
  plot: Plot,
  frame: Frame,
): SVGTemplateResult {
  const { palette, font } = frame;
  const taken: { start: number; end: number; row: number }[] = [];
  return svg`<g class="mark-labels" font-family=${FONT_FAMILY} font-size=${font} fill=${palette.mark}
    stroke=${palette.surface} stroke-width="3.5" stroke-linejoin="round" paint-order="stroke">
    ${marks.map((m) => {
      const label = fit(m.label, plot.right - plot.left, font);
      const width = textWidth(label, font);
      if (!m.vertical) {
        const at = y(m.value);
        const under = at - plot.top < font + 6;
        return svg`<text x=${plot.right - 2} y=${under ? at + font + 2 : at - 4} text-anchor="end">${label}</text>`;
      }
      const at = x(m.value);
      const fits = at + 5 + width <= plot.right;
      const start = fits ? at + 5 : at - 5 - width;
      let row = 0;
      while (taken.some((t) => t.row === row && start < t.end + 6 && start + width > t.start - 6)) row += 1;
      taken.push({ start, end: start + width, row });
      return svg`<text x=${start} y=${plot.top + font + 1 + row * (font + 4)}>${label}</text>`;
    })}
  </g>`;
}

/** Index of the value of a rising list nearest to `value`, by halving. */
export function nearest(list: ArrayLike<number>, value: number): number {
  let low = 0;
  let high = list.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (list[middle] <= value) low = middle;
    else high = middle;
  }
  return high >= 0 && Math.abs(list[high] - value) < Math.abs(list[low] - value) ? high : low;
}
