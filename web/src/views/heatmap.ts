/** A matrix in colour: cells on a canvas, axes and colour scale as SVG above it. */
import { svg, type SVGTemplateResult } from 'lit';
import {
  domainOf,
  drawXAxis,
  drawYAxis,
  extent,
  fit,
  FONT_FAMILY,
  leftMargin,
  makeScale,
  textWidth,
  type AxisScale,
  type Frame,
  type Plot,
} from './axes.ts';
import { axisTitle, formatTick } from './format.ts';
import { colourOf, SEQUENTIAL, TWO_SIDED } from './palette.ts';
import type { Axis, Heatmap, Panel } from './types.ts';

export interface DrawnHeatmap {
  drawing: SVGTemplateResult;
  plot: Plot;
  x: AxisScale;
  /** Paints the cells at their own resolution; `plot` says where they belong. */
  paint(canvas: HTMLCanvasElement | OffscreenCanvas): void;
}

/** Value to 0..1 along the colour scale. */
export function colourScale(
  axis: Axis,
  data: [number, number] | undefined,
): { at: AxisScale; map: Uint8ClampedArray } {
  const { domain } = domainOf(axis, data);
  const twoSided = domain[0] < 0 && domain[1] > 0;
  const most = Math.max(Math.abs(domain[0]), Math.abs(domain[1]));
  const shown: Axis = { ...axis, domain: twoSided ? [-most, most] : domain };
  return { at: makeScale(shown, data, [0, 1], 4), map: twoSided ? TWO_SIDED : SEQUENTIAL };
}

/** Bands with names where the matrix has names, a scale otherwise. */
function bandAxis(labels: string[], from: number, to: number): (index: number) => number {
  const step = (to - from) / Math.max(1, labels.length);
  return (index) => from + step * (index + 0.5);
}

/** Lowest and highest value of all matrices that are to have one colour scale. */
export function commonExtent(all: Heatmap[]): [number, number] | undefined {
  return extent(
    all.map((h) => h.values),
    all.some((h) => h.value.scale === 'log'),
  );
}

/** The matrices of a panel that show the same quantity: two runs have one colour scale. */
export function comparedWith(data: Heatmap, panel: Panel): Heatmap[] {
  return panel.views.filter((v): v is Heatmap => v.kind === 'heatmap' && v.value.label === data.value.label);
}

/** `shared` is the range of the values of this matrix and of those that it is compared with. */
export function drawHeatmap(data: Heatmap, frame: Frame, shared = commonExtent([data])): DrawnHeatmap {
  const { palette, font } = frame;
  const { at, map } = colourScale(data.value, shared);
  const xAxis: Axis = { ...data.x, domain: data.x.domain ?? [0, data.columns] };
  const yAxis: Axis = { ...data.y, domain: data.y.domain ?? [0, data.rows] };
  const named = data.rowLabels.length === data.rows && data.rows > 0;
  const widest = named ? Math.max(...data.rowLabels.map((l) => textWidth(l, font))) : 0;
  const left = named
    ? Math.min(frame.width * 0.3, widest + font * 1.35 + 16)
    : leftMargin(yAxis, undefined, frame);
  const plot: Plot = {
    left,
    right: frame.width - 14,
    top: font * 2.4 + 22,
    bottom: frame.height - font * 2.1 - 20,
  };
  const x = makeScale(
    xAxis,
    undefined,
    [plot.left, plot.right],
    Math.max(3, Math.floor((plot.right - plot.left) / 90)),
  );
  const rowStep = (plot.bottom - plot.top) / Math.max(1, data.rows);
  const rowAt = bandAxis(data.rowLabels, plot.top, plot.bottom);
  const rowEvery = Math.max(1, Math.ceil((font + 3) / Math.max(1, rowStep)));
  const namedColumns = data.columnLabels.length === data.columns && data.columns > 0;
  const columnAt = bandAxis(data.columnLabels, plot.left, plot.right);
  const columnRoom = (plot.right - plot.left) / Math.max(1, data.columns);
  const columnWidest = namedColumns ? Math.max(...data.columnLabels.map((l) => textWidth(l, font))) + 8 : 1;
  const columnEvery = Math.max(1, Math.ceil(columnWidest / Math.max(1, columnRoom)));

  const title = fit(axisTitle(data.value), frame.width * 0.5, font);
  const barLeft = 1 + textWidth(title, font) + 14;
  const barRight = Math.min(plot.right - 8, barLeft + 240);
  const stops = Array.from({ length: 17 }, (_, i) => i / 16);
  const bar = (t: number): number => barLeft + t * (barRight - barLeft);

  const yScaleDrawing = named
    ? svg`<g class="axis y" font-family=${FONT_FAMILY} font-size=${font} fill=${palette.quiet}>
        ${data.rowLabels.map((label, i) =>
          i % rowEvery === 0
            ? svg`<text x=${plot.left - 7} y=${rowAt(i) + font * 0.34} text-anchor="end">${fit(label, plot.left - font * 1.35 - 12, font)}</text>`
            : '',
        )}
        <text transform="translate(${font} ${(plot.top + plot.bottom) / 2}) rotate(-90)" text-anchor="middle" fill=${palette.ink}
          >${fit(axisTitle(data.y), plot.bottom - plot.top + 20, font)}</text>
      </g>`
    : drawYAxis(
        yAxis,
        makeScale(yAxis, undefined, [plot.top, plot.bottom], 5),
        { ...plot, right: plot.left },
        frame,
      );
  const xScaleDrawing = namedColumns
    ? svg`<g class="axis x" font-family=${FONT_FAMILY} font-size=${font} fill=${palette.quiet}>
        ${data.columnLabels.map((label, i) =>
          i % columnEvery === 0
            ? svg`<text x=${columnAt(i)} y=${plot.bottom + 6 + font} text-anchor="middle">${label}</text>`
            : '',
        )}
        <text x=${(plot.left + plot.right) / 2} y=${plot.bottom + 14 + font * 2.1} text-anchor="middle" fill=${palette.ink}
          >${fit(axisTitle(data.x), plot.right - plot.left, font)}</text>
      </g>`
    : drawXAxis(xAxis, x, plot, frame, false);

  return {
    plot,
    x,
    drawing: svg`${yScaleDrawing} ${xScaleDrawing}
      <rect x=${plot.left - 0.5} y=${plot.top - 0.5} width=${plot.right - plot.left + 1} height=${plot.bottom - plot.top + 1}
        fill="none" stroke=${palette.axis} />
      <g class="legend" font-family=${FONT_FAMILY} font-size=${font} fill=${palette.quiet}>
        <text x="1" y=${font + 1} fill=${palette.ink}>${title}</text>
        ${stops
          .slice(0, -1)
          .map(
            (t) =>
              svg`<rect x=${bar(t)} y="3" width=${(barRight - barLeft) / 16 + 0.6} height="9" fill=${colourOf(map, t + 1 / 32)} />`,
          )}
        ${spaced(at, bar, font).map(
          (t) => svg`<line x1=${bar(at(t))} x2=${bar(at(t))} y1="12" y2="16" stroke=${palette.axis} />
            <text x=${bar(at(t))} y=${17 + font} text-anchor="middle">${formatTick(t)}</text>`,
        )}
      </g>`,
    paint(canvas) {
      canvas.width = Math.max(1, data.columns);
      canvas.height = Math.max(1, data.rows);
      const context = canvas.getContext('2d') as CanvasRenderingContext2D | null;
      if (!context || data.values.length < data.columns * data.rows || data.values.length === 0) return;
      const image = context.createImageData(data.columns, data.rows);
      const missing = Number.parseInt(palette.missing.slice(1), 16);
      for (let i = 0; i < data.columns * data.rows; i++) {
        const value = data.values[i];
        const valid = Number.isFinite(value) && !(data.value.scale === 'log' && value <= 0);
        const t = valid ? Math.min(255, Math.max(0, Math.round(at(value) * 255))) * 3 : -1;
        image.data[4 * i] = t < 0 ? missing >> 16 : map[t];
        image.data[4 * i + 1] = t < 0 ? (missing >> 8) & 255 : map[t + 1];
        image.data[4 * i + 2] = t < 0 ? missing & 255 : map[t + 2];
        image.data[4 * i + 3] = 255;
      }
      context.putImageData(image, 0, 0);
    },
  };
}

/** Ticks of the colour scale that have room beside each other. */
function spaced(at: AxisScale, bar: (t: number) => number, font: number): number[] {
  const out: number[] = [];
  let end = -Infinity;
  for (const t of at.ticks) {
    const half = textWidth(formatTick(t), font) / 2;
    if (bar(at(t)) - half < end + 4) continue;
    end = bar(at(t)) + half;
    out.push(t);
  }
  return out;
}
