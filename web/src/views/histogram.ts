/** Counts over bins, as SVG steps: several samples can be seen through each other. */
import { svg, type SVGTemplateResult } from 'lit';
import {
  drawLegend,
  drawXAxis,
  drawYAxis,
  extent,
  leftMargin,
  titleRoom,
  makeScale,
  type AxisScale,
  type Frame,
  type LegendItem,
  type Plot,
} from './axes.ts';
import { RUN_DASH, runLabel } from './palette.ts';
import type { Histogram } from './types.ts';

export interface DrawnHistogram {
  drawing: SVGTemplateResult;
  plot: Plot;
  x: AxisScale;
  styles: LegendItem[];
}

export function histogramStyles(data: Histogram, frame: Frame): LegendItem[] {
  const { palette } = frame;
  const compares = data.series.some((s) => s.run === 'b');
  const index = { a: 0, b: 0 };
  const paired = {
    a: [palette.run.a, palette.series[4], palette.series[3]],
    b: [palette.run.b, palette.series[6], palette.series[7]],
  };
  return data.series.map((s) => {
    const k = index[s.run]++;
    return {
      label: compares ? runLabel(s.label, s.run) : s.label,
      colour: compares ? paired[s.run][k % 3] : palette.series[k % palette.series.length],
      dash: compares ? RUN_DASH[s.run] : k % 2 === 1 ? '4 2' : '',
      width: 1.5,
      opacity: 1,
      filled: true,
    };
  });
}

function smallestEdge(edges: Float32Array): number {
  return edges.reduce(
    (least, edge) => (edge !== 0 && Math.abs(edge) < least ? Math.abs(edge) : least),
    Infinity,
  );
}

export function drawHistogram(data: Histogram, frame: Frame): DrawnHistogram {
  const logCounts = data.y.scale === 'log';
  const styles = histogramStyles(data, frame);
  const xExtent: [number, number] | undefined =
    data.edges.length > 1 ? [data.edges[0], data.edges[data.edges.length - 1]] : undefined;
  const counts = extent(
    data.series.map((s) => s.counts),
    logCounts,
  );
  // Bars stand on the axis: 0, or half of one count on a log axis.
  const yExtent: [number, number] | undefined = counts
    ? [logCounts ? Math.min(counts[0], 1) / 2 : 0, counts[1]]
    : undefined;
  const left = leftMargin(data.y, yExtent, frame);
  const legend = drawLegend(styles, 1, frame);
  const plot: Plot = {
    left,
    right: frame.width - 14,
    top: legend.height + titleRoom(frame.font) + 4,
    bottom: frame.height - frame.font * 2.1 - 20,
  };
  const x = makeScale(
    { ...data.x, domain: data.x.domain ?? xExtent },
    xExtent,
    [plot.left, plot.right],
    Math.max(3, Math.floor((plot.right - plot.left) / 90)),
    false,
    // The innermost bins around 0 are the linear part of a symmetric log axis.
    smallestEdge(data.edges),
  );
  const y = makeScale(
    data.y,
    yExtent,
    [plot.bottom, plot.top],
    Math.max(3, Math.floor((plot.bottom - plot.top) / 42)),
  );
  const floor = plot.bottom;
  const outline = (values: Float32Array): string => {
    let d = `M${x(data.edges[0])} ${floor}`;
    for (let i = 0; i + 1 < data.edges.length; i++) {
      const count = values[i];
      const top =
        Number.isFinite(count) && count > (logCounts ? 0 : -Infinity) ? Math.min(floor, y(count)) : floor;
      d += `L${x(data.edges[i]).toFixed(1)} ${top.toFixed(1)}H${x(data.edges[i + 1]).toFixed(1)}`;
    }
    return `${d}V${floor}Z`;
  };
  return {
    plot,
    x,
    styles,
    drawing: svg`${legend.drawing}
      ${drawYAxis(data.y, y, plot, frame)} ${drawXAxis(data.x, x, plot, frame, false)}
      <g class="bars">
        ${
          data.edges.length > 1
            ? data.series.map(
                (
                  s,
                  i,
                ) => svg`<path d=${outline(s.counts)} fill=${styles[i].colour} fill-opacity="0.22" stroke=${styles[i].colour}
                  stroke-width="1.25" stroke-dasharray=${styles[i].dash} />`,
              )
            : ''
        }
      </g>`,
  };
}
