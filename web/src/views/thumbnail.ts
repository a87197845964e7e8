/** A small picture of a view for a card, as the address of an SVG image. */
import { render, svg } from 'lit';
import { drawHeatmap } from './heatmap.ts';
import { drawHistogram } from './histogram.ts';
import { drawLines } from './lines.ts';
import { drawPatches } from './patches.ts';
import { PALETTES, type Theme } from './palette.ts';
import type { View } from './types.ts';

const WIDTH = 420;
const HEIGHT = 240;

/** Nothing for words and tables. */
export function thumbnailOf(view: View, theme: Theme): string | undefined {
  const palette = PALETTES[theme];
  const frame = { width: WIDTH, height: HEIGHT, palette, font: 12 };
  let body;
  if (view.kind === 'lines') body = drawLines(view, frame).drawing;
  else if (view.kind === 'histogram') body = drawHistogram(view, frame).drawing;
  else if (view.kind === 'heatmap' || view.kind === 'patches') {
    const drawn = view.kind === 'heatmap' ? drawHeatmap(view, frame) : drawPatches(view, frame);
    const canvas = document.createElement('canvas');
    drawn.paint(canvas);
    const { left, right, top, bottom } = drawn.plot;
    body = svg`<image x=${left} y=${top} width=${right - left} height=${bottom - top} preserveAspectRatio="none"
      style="image-rendering:pixelated" href=${canvas.toDataURL('image/png')} />${drawn.drawing}`;
  } else return undefined;
  const holder = document.createElement('div');
  render(
    svg`<svg xmlns="http://www.w3.org/2000/svg" width=${WIDTH} height=${HEIGHT} viewBox="0 0 ${WIDTH} ${HEIGHT}">${body}</svg>`,
    holder,
  );
  const root = holder.querySelector('svg');
  return root
    ? `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(root))}`
    : undefined;
}
