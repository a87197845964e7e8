/** What a view says at a cursor: the sample nearest to it, and the way from one sample to the next. */
import type { AxisScale } from './axes.ts';
import { formatNumber, formatWithUnit } from './format.ts';
import { nearest } from './lines.ts';
import { runLabel } from './palette.ts';
import { readToken } from './tokens.ts';
import type { Axis, View } from './types.ts';

export interface Value {
  /** Index of the curve or sample, for its colour; -1 where there is none. */
  index: number;
  name: string;
  text: string;
}

export interface Reading {
  /** Where, with unit. */
  place: string;
  values: Value[];
}

/** True where the horizontal axis, or the text itself, is the shared position. */
export function hasPosition(view: View): boolean {
  return view.kind === 'tokens' || ((view.kind === 'lines' || view.kind === 'heatmap') && view.xIsPosition);
}

/** The places that the cursor can stand on, rising. */
export interface Stops {
  count: number;
  at(index: number): number;
  near(value: number): number;
}

function listStops(list: ArrayLike<number>): Stops {
  return { count: list.length, at: (i) => list[i], near: (v) => nearest(list, v) };
}

export function stopsOf(view: View, x: AxisScale | undefined): Stops {
  switch (view.kind) {
    case 'lines': {
      const longest = view.series.reduce<Float32Array>(
        (best, s) => (s.x.length > best.length ? s.x : best),
        new Float32Array(),
      );
      return listStops(longest);
    }
    case 'heatmap': {
      const n = view.columns;
      const [low, high] = x?.domain ?? [0, n];
      if (view.columnLabels.length === n || !x || view.x.scale !== 'linear') {
        const [from, to] = x ? [x(low), x(high)] : [0, n];
        const at = (i: number): number => {
          const pixel = from + ((i + 0.5) * (to - from)) / n;
          return x ? x.invert(pixel) : pixel;
        };
        return {
          count: n,
          at,
          near: (v) => clampIndex(Math.floor((((x ? x(v) : v) - from) / (to - from)) * n), n),
        };
      }
      return {
        count: n,
        at: (i) => low + ((i + 0.5) * (high - low)) / n,
        near: (v) => clampIndex(Math.floor(((v - low) / (high - low)) * n), n),
      };
    }
    case 'histogram': {
      const middles = Array.from(
        { length: Math.max(0, view.edges.length - 1) },
        (_, i) => (view.edges[i] + view.edges[i + 1]) / 2,
      );
      return listStops(middles);
    }
    case 'patches':
      return {
        count: view.columns,
        at: (i) => i + 0.5,
        near: (v) => clampIndex(Math.floor(v), view.columns),
      };
    case 'tokens':
      return {
        count: view.tokens.length,
        at: (i) => view.start + i,
        near: (v) => clampIndex(Math.round(v) - view.start, view.tokens.length),
      };
    case 'table':
      return { count: 0, at: () => 0, near: () => 0 };
  }
}

function clampIndex(i: number, count: number): number {
  return Math.max(0, Math.min(count - 1, i));
}

function place(axis: Axis, value: number): string {
  return `${axis.label} ${formatWithUnit(value, axis.unit)}`;
}

export function readingAt(view: View, stops: Stops, index: number, row: number): Reading | undefined {
  if (index < 0 || index >= stops.count) return undefined;
  const value = stops.at(index);
  switch (view.kind) {
    case 'lines': {
      const compares = view.series.some((s) => s.run === 'b');
      const values = view.series
        .map((s, i) => ({ s, i }))
        .filter(
          ({ s }) =>
            s.x.length > 0 && value >= s.x[0] - 1e-6 && value <= s.x[s.x.length - 1] * 1.000001 + 1e-6,
        )
        .map(({ s, i }) => ({
          index: i,
          emphasis: s.emphasis,
          name: compares ? runLabel(s.label, s.run) : s.label,
          text: formatWithUnit(s.y[nearest(s.x, value)], view.y.unit),
        }))
        .sort((a, b) => Number(b.emphasis) - Number(a.emphasis));
      return { place: place(view.x, value), values };
    }
    case 'heatmap': {
      const r = clampIndex(row, view.rows);
      const [low, high] = view.x.domain ?? [0, view.columns];
      const width = (high - low) / view.columns;
      const label =
        view.columnLabels[index] ??
        (width > 1.01 && view.x.scale === 'linear'
          ? `${formatNumber(low + index * width)}–${formatWithUnit(low + (index + 1) * width, view.x.unit)}`
          : formatWithUnit(value, view.x.unit));
      return {
        place: `${view.x.label} ${label}`,
        values: [
          {
            index: -1,
            name: view.rowLabels[r] ?? `${view.y.label} ${r}`,
            text: formatWithUnit(view.values[r * view.columns + index], view.value.unit),
          },
        ],
      };
    }
    case 'histogram':
      return {
        place: `${view.x.label} ${formatNumber(view.edges[index])} to ${formatWithUnit(view.edges[index + 1], view.x.unit)}`,
        values: view.series.map((s, i) => ({
          index: i,
          name: s.label,
          text: formatWithUnit(s.counts[index], view.y.unit),
        })),
      };
    case 'tokens':
      return {
        place: `position ${formatWithUnit(value, 'tokens')}`,
        values: [{ index: -1, name: view.value.label, text: readToken(view, value) }],
      };
    case 'patches': {
      const r = clampIndex(row, view.rows);
      const patch = r * view.columns + index;
      const beside = view.beside.length > 0 ? view.beside[patch] : undefined;
      return {
        place: `row ${r}, column ${index}`,
        values: [
          { index: -1, name: 'patch', text: view.stages[view.values[patch]] ?? '' },
          ...(beside === undefined
            ? []
            : [{ index: -1, name: view.value.label, text: formatWithUnit(beside, view.value.unit) }]),
        ],
      };
    }
    case 'table':
      return undefined;
  }
}
