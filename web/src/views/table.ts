/** Every view as rows and columns: for the table behind each picture and for the CSV file. */
import { axisTitle, formatNumber } from './format.ts';
import { runLabel } from './palette.ts';
import type { Cell, Panel, View } from './types.ts';

export interface Rows {
  columns: string[];
  count: number;
  row(index: number): Cell[];
}

const sameX = (a: Float32Array, b: Float32Array): boolean =>
  a === b || (a.length === b.length && a.every((v, i) => Object.is(v, b[i])));

export function rowsOf(view: View): Rows {
  switch (view.kind) {
    case 'lines': {
      const compares = view.series.some((s) => s.run === 'b');
      const name = (label: string, run: 'a' | 'b'): string => (compares ? runLabel(label, run) : label);
      const unit = view.y.unit ? ` (${view.y.unit})` : '';
      const first = view.series[0];
      if (first && view.series.every((s) => sameX(s.x, first.x))) {
        return {
          columns: [
            axisTitle(view.x),
            ...view.series.map((s) => `${name(s.label, s.run)}: ${view.y.label}${unit}`),
          ],
          count: first.x.length,
          row: (i) => [first.x[i], ...view.series.map((s) => s.y[i])],
        };
      }
      const ends: number[] = [];
      let total = 0;
      for (const s of view.series) ends.push((total += Math.min(s.x.length, s.y.length)));
      return {
        columns: ['Curve', axisTitle(view.x), axisTitle(view.y)],
        count: total,
        row: (i) => {
          const k = ends.findIndex((end) => i < end);
          const s = view.series[k];
          const at = i - (k > 0 ? ends[k - 1] : 0);
          return [name(s.label, s.run), s.x[at], s.y[at]];
        },
      };
    }
    case 'heatmap': {
      const [left, right] = view.x.domain ?? [0, view.columns];
      const edge = (c: number): number =>
        view.x.scale === 'log'
          ? left * (right / left) ** (c / view.columns)
          : left + ((right - left) * c) / view.columns;
      const [top, bottom] = view.y.domain ?? [0, view.rows];
      return {
        columns: [`${axisTitle(view.x)}, from`, axisTitle(view.y), axisTitle(view.value)],
        count: view.rows * view.columns,
        row: (i) => {
          const r = Math.floor(i / view.columns);
          const c = i % view.columns;
          return [
            view.columnLabels[c] ?? edge(c),
            view.rowLabels[r] ?? top + ((bottom - top) * r) / view.rows,
            view.values[i],
          ];
        },
      };
    }
    case 'histogram':
      return {
        columns: [
          `${axisTitle(view.x)}, from`,
          'to',
          ...view.series.map(
            (s) =>
              `${view.series.some((o) => o.run === 'b') ? runLabel(s.label, s.run) : s.label}: ${axisTitle(view.y)}`,
          ),
        ],
        count: Math.max(0, view.edges.length - 1),
        row: (i) => [view.edges[i], view.edges[i + 1], ...view.series.map((s) => s.counts[i])],
      };
    case 'tokens':
      return {
        columns: ['Position (tokens)', 'Token', axisTitle(view.value)],
        count: view.tokens.length,
        row: (i) => [view.start + i, view.tokens[i], view.values[i]],
      };
    case 'patches':
      return {
        columns: [
          'Row (patches)',
          'Column (patches)',
          'Stage',
          ...(view.beside.length > 0 ? [axisTitle(view.value)] : []),
        ],
        count: view.values.length,
        row: (i) => [
          Math.floor(i / view.columns),
          i % view.columns,
          view.stages[view.values[i]] ?? '',
          ...(view.beside.length > 0 ? [view.beside[i]] : []),
        ],
      };
    case 'table':
      return { columns: view.columns, count: view.rows.length, row: (i) => view.rows[i] };
  }
}

export function cellText(cell: Cell): string {
  return typeof cell === 'string' ? cell : formatNumber(cell, 6);
}

function quote(cell: Cell): string {
  if (cell === null || (typeof cell === 'number' && Number.isNaN(cell))) return '';
  if (typeof cell === 'number')
    return String(Math.fround(cell) === cell ? Number(cell.toPrecision(9)) : cell);
  return /[",\n\r#]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
}

/** The file: what it is and how it was made in lines that begin with `#`, then names with units, then numbers. */
export function csvOf(view: View, panel: Panel, link: string): string {
  const rows = rowsOf(view);
  const p = panel.provenance;
  const about = [
    `Linearium: ${panel.title}`,
    view.title,
    `settings: ${link}`,
    `back end: ${p.backend}; tolerance: ${p.tolerance}; self-check: ${p.selfCheck}`,
    `formula: ${p.formula} (${p.source})`,
    ...(p.contextTokens > 0 ? [`covers ${p.coveredTokens} of ${p.contextTokens} tokens`] : []),
    ...p.interventions.map((i) => `intervention: ${i}`),
    ...('rule' in view && view.rule ? [`cells: ${view.rule}`] : []),
  ];
  const lines = about.map((line) => `# ${line.replaceAll(/\s+/g, ' ')}`);
  lines.push(rows.columns.map(quote).join(','));
  for (let i = 0; i < rows.count; i++) lines.push(rows.row(i).map(quote).join(','));
  return lines.join('\n') + '\n';
}
