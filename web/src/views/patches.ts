/** A grey picture whose dropped patches are veiled: pixels on a canvas, grid and legend as SVG above it. */
import { svg, type SVGTemplateResult } from 'lit';
import { FONT_FAMILY, fit, makeScale, textWidth, type AxisScale, type Frame, type Plot } from './axes.ts';
import { colourOf, SEQUENTIAL } from './palette.ts';
import type { Patches } from './types.ts';

export interface DrawnPatches {
  drawing: SVGTemplateResult;
  plot: Plot;
  x: AxisScale;
  paint(canvas: HTMLCanvasElement): void;
}

/** How much of a pixel of a dropped patch is veil. */
const VEIL = 0.82;

const stageOf = (data: Patches, patch: number): number =>
  Math.max(0, Math.min(data.stages.length - 1, Math.round(data.values[patch])));

/** The last stage is bare. */
const isKept = (data: Patches, stage: number): boolean => stage === data.stages.length - 1;

function veilOf(data: Patches, stage: number): [number, number, number] {
  const [r, g, b] = colourOf(SEQUENTIAL, 0.25 + (0.6 * stage) / Math.max(1, data.stages.length - 1))
    .match(/\d+/g)!
    .map(Number);
  return [r, g, b];
}

export function countOf(data: Patches, stage: number): number {
  let count = 0;
  for (let i = 0; i < data.values.length; i++) if (stageOf(data, i) === stage) count += 1;
  return count;
}

export function drawPatches(data: Patches, frame: Frame): DrawnPatches {
  const { palette, font } = frame;
  const entry = (stage: number): string => `${data.stages[stage]}: ${countOf(data, stage)}`;
  const lines: { stage: number; x: number; row: number }[] = [];
  let x0 = 1;
  let row = 0;
  data.stages.forEach((_, stage) => {
    const width = font + 6 + textWidth(entry(stage), font) + 16;
    if (x0 > 1 && x0 + width > frame.width) {
      x0 = 1;
      row += 1;
    }
    lines.push({ stage, x: x0, row });
    x0 += width;
  });
  const step = font + 7;
  const top = step * (row + 1) + 4;
  const ratio = data.width / Math.max(1, data.height);
  const height = Math.max(1, Math.min(frame.height - top - 4, (frame.width - 4) / ratio));
  const plot: Plot = { left: 2, right: 2 + height * ratio, top, bottom: top + height };
  const x = makeScale(
    { label: '', unit: '', scale: 'linear', domain: [0, data.columns] },
    undefined,
    [plot.left, plot.right],
    3,
  );
  const across = (plot.right - plot.left) / Math.max(1, data.columns);
  const down = height / Math.max(1, data.rows);
  const crosses: SVGTemplateResult[] = [];
  for (let i = 0; i < data.columns * data.rows; i++) {
    // A dropped patch is told by its line too, not by its colour alone.
    if (isKept(data, stageOf(data, i))) continue;
    const left = plot.left + (i % data.columns) * across;
    const upper = plot.top + Math.floor(i / data.columns) * down;
    crosses.push(
      svg`<line x1=${left} y1=${upper + down} x2=${left + across} y2=${upper} stroke="#ffffff" stroke-opacity="0.55" stroke-width="1" />`,
    );
  }
  const sample = (stage: number): string =>
    isKept(data, stage) ? palette.surface : `rgb(${veilOf(data, stage).join(' ')})`;
  return {
    plot,
    x,
    drawing: svg`<rect x=${plot.left - 0.5} y=${plot.top - 0.5} width=${plot.right - plot.left + 1} height=${height + 1}
        fill="none" stroke=${palette.axis} />${crosses}
      <g class="legend" font-family=${FONT_FAMILY} font-size=${font} fill=${palette.ink}>
        ${lines.map(
          ({ stage, x: left, row: line }) =>
            svg`<rect x=${left} y=${line * step + 2} width=${font} height=${font} fill=${sample(stage)} stroke=${palette.axis} />
              <text x=${left + font + 6} y=${line * step + font + 1}>${fit(entry(stage), frame.width - font - 8, font)}</text>`,
        )}
      </g>`,
    paint(canvas) {
      canvas.width = Math.max(1, data.width);
      canvas.height = Math.max(1, data.height);
      const context = canvas.getContext('2d');
      if (!context || data.pixels.length < data.width * data.height) return;
      const image = context.createImageData(canvas.width, canvas.height);
      for (let py = 0; py < data.height; py++) {
        for (let px = 0; px < data.width; px++) {
          const i = py * data.width + px;
          const column = Math.floor((px * data.columns) / data.width);
          const patch = Math.floor((py * data.rows) / data.height) * data.columns + column;
          const stage = stageOf(data, patch);
          const kept = isKept(data, stage);
          const veil = veilOf(data, stage);
          const grey = data.pixels[i];
          for (let c = 0; c < 3; c++)
            image.data[4 * i + c] = kept ? grey : grey * (1 - VEIL) + veil[c] * VEIL;
          image.data[4 * i + 3] = 255;
        }
      }
      context.putImageData(image, 0, 0);
    },
  };
}
