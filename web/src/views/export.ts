/** Files made of a view: SVG that carries everything it needs, PNG of it at twice the size, CSV. */
import { nothing, render, svg, type SVGTemplateResult } from 'lit';
import { FONT_FAMILY, type Frame } from './axes.ts';
import { commonExtent, comparedWith, drawHeatmap } from './heatmap.ts';
import { drawHistogram } from './histogram.ts';
import { drawLines } from './lines.ts';
import { drawPatches } from './patches.ts';
import { PALETTES } from './palette.ts';
import { cellText, rowsOf } from './table.ts';
import { shadeOf, shownRange } from './tokens.ts';
import { visibleToken } from './format.ts';
import type { Panel, Tokens, View } from './types.ts';

const WIDTH = 960;
const MAX_ROWS = 60;
const MONO = "ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace";

/** Runs of text on a grid of equal cells, as many to a line as fit. */
function tokenGrid(data: Tokens, frame: Frame): { drawing: SVGTemplateResult; height: number } {
  const shade = shadeOf(data, frame);
  const cell = 7.9;
  const rowHeight = 19;
  const columns = Math.floor((WIDTH - 24) / cell);
  const { from, to } = shownRange(data);
  const parts: SVGTemplateResult[] = [];
  let column = 0;
  let row = 0;
  for (let i = from; i < to; i++) {
    const text = visibleToken(data.tokens[i]);
    const length = [...text].length;
    if (length === 0) continue;
    if (column + length > columns) {
      column = 0;
      row += 1;
    }
    const x = 12 + column * cell;
    const y = row * rowHeight;
    parts.push(svg`<rect x=${x} y=${y} width=${length * cell + 0.3} height=${rowHeight - 2} fill=${shade(data.values[i])}
      stroke=${data.start + i === data.query ? frame.palette.ink : 'none'} /><text x=${x} y=${y + 13}
      textLength=${length * cell} xml:space="preserve">${text}</text>`);
    column += length;
    if (data.tokens[i].includes('\n')) {
      column = 0;
      row += 1;
    }
  }
  return {
    height: (row + 1) * rowHeight,
    drawing: svg`<g font-family=${MONO} font-size="13" fill=${frame.palette.ink}>${parts}</g>`,
  };
}

function tableGrid(view: View, frame: Frame): { drawing: SVGTemplateResult; height: number } {
  const rows = rowsOf(view);
  const step = (WIDTH - 24) / Math.max(1, rows.columns.length);
  const count = Math.min(rows.count, MAX_ROWS);
  const line = (cells: string[], y: number, weight: string): SVGTemplateResult =>
    svg`${cells.map((c, i) => svg`<text x=${12 + i * step} y=${y} font-weight=${weight}>${c}</text>`)}`;
  return {
    height: (count + 2) * 20,
    drawing: svg`<g font-family=${FONT_FAMILY} font-size="12" fill=${frame.palette.ink}>
      ${line(rows.columns, 14, '600')}
      <line x1="12" x2=${WIDTH - 12} y1="21" y2="21" stroke=${frame.palette.axis} />
      ${Array.from({ length: count }, (_, i) => line(rows.row(i).map(cellText), 38 + i * 20, '400'))}
      ${rows.count > count ? svg`<text x="12" y=${38 + count * 20}>${rows.count - count} more rows are in the CSV file</text>` : nothing}
    </g>`,
  };
}

function wrap(text: string, room: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line && line.length + word.length + 1 > room) {
      lines.push(line);
      line = word;
    } else line = line ? `${line} ${word}` : word;
  }
  return line ? [...lines, line] : lines;
}

/** The picture on white with its title above and its provenance below. */
export function svgOf(view: View, panel: Panel, link: string): string {
  const palette = PALETTES.light;
  const frame: Frame = { width: WIDTH - 24, height: view.kind === 'heatmap' ? 420 : 400, palette, font: 13 };
  let body: SVGTemplateResult;
  let height = frame.height;
  if (view.kind === 'lines') body = drawLines(view, frame).drawing;
  else if (view.kind === 'histogram') body = drawHistogram(view, frame).drawing;
  else if (view.kind === 'heatmap' || view.kind === 'patches') {
    const drawn =
      view.kind === 'heatmap'
        ? drawHeatmap(view, frame, commonExtent(comparedWith(view, panel)))
        : drawPatches(view, frame);
    const canvas = document.createElement('canvas');
    drawn.paint(canvas);
    const { left, right, top, bottom } = drawn.plot;
    body = svg`<image x=${left} y=${top} width=${right - left} height=${bottom - top} preserveAspectRatio="none"
      style="image-rendering:pixelated" href=${canvas.toDataURL('image/png')} />${drawn.drawing}`;
  } else {
    const grid = view.kind === 'tokens' ? tokenGrid(view, frame) : tableGrid(view, frame);
    body = grid.drawing;
    height = grid.height;
  }
  const p = panel.provenance;
  const foot = wrap(
    [
      `Linearium · ${p.backend}`,
      ...(p.contextTokens > 0 ? [`${p.coveredTokens} of ${p.contextTokens} tokens`] : []),
      ...p.interventions,
      link,
    ].join(' · '),
    150,
  );
  const total = height + 52 + 16 * foot.length;
  const holder = document.createElement('div');
  render(
    svg`<svg xmlns="http://www.w3.org/2000/svg" width=${WIDTH} height=${total} viewBox="0 0 ${WIDTH} ${total}" role="img">
      <title>${view.title}</title><desc>${panel.summary}</desc>
      <rect width="100%" height="100%" fill=${palette.surface} />
      <text x="12" y="24" font-family=${FONT_FAMILY} font-size="16" font-weight="600" fill=${palette.ink}>${view.title}</text>
      <g transform="translate(12 40)">${body}</g>
      <g font-family=${FONT_FAMILY} font-size="10.5" fill=${palette.quiet}>
        ${foot.map((line, i) => svg`<text x="12" y=${height + 56 + 16 * i}>${line}</text>`)}
      </g>
    </svg>`,
    holder,
  );
  const root = holder.querySelector('svg');
  if (!root) throw new Error('the picture could not be drawn');
  const comments = document.createTreeWalker(root, NodeFilter.SHOW_COMMENT);
  const markers: Node[] = [];
  while (comments.nextNode()) markers.push(comments.currentNode);
  for (const marker of markers) (marker as ChildNode).remove();
  return `<?xml version="1.0" encoding="UTF-8"?>\n${new XMLSerializer().serializeToString(root)}\n`;
}

export async function pngOf(source: string): Promise<Blob> {
  const address = URL.createObjectURL(new Blob([source], { type: 'image/svg+xml' }));
  try {
    const image = new Image();
    image.src = address;
    await image.decode();
    const canvas = document.createElement('canvas');
    canvas.width = image.width * 2;
    canvas.height = image.height * 2;
    canvas.getContext('2d')?.drawImage(image, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise<Blob | null>((resolve) => canvas.toBlob(resolve, 'image/png'));
    if (!blob) throw new Error('the browser could not make a PNG file: take the SVG file instead');
    return blob;
  } finally {
    URL.revokeObjectURL(address);
  }
}

/** A file name that tells panel, view and settings. */
export function fileName(view: View, panel: Panel, query: string, ending: string): string {
  const settings = query
    .replaceAll(/%[0-9A-F]{2}/gi, '_')
    .replaceAll('&', '_')
    .replaceAll(/[^\w.=-]+/g, '-')
    .slice(0, 90);
  return `linearium_${panel.id}_${view.id}${settings ? `_${settings}` : ''}.${ending}`;
}

export function save(blob: Blob, name: string): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
