/** The shape of `crates/linearium/src/views.rs` as it arrives here. Numbers of a view are typed arrays. */

export type Run = 'a' | 'b';
export type Scale = 'linear' | 'log' | 'symlog';

export interface Axis {
  label: string;
  unit: string;
  scale: Scale;
  domain?: [number, number] | null;
}

export interface Series {
  label: string;
  run: Run;
  x: Float32Array;
  y: Float32Array;
  emphasis: boolean;
}

export interface Mark {
  vertical: boolean;
  value: number;
  label: string;
}

interface Named {
  id: string;
  title: string;
}

export interface Lines extends Named {
  kind: 'lines';
  x: Axis;
  y: Axis;
  series: Series[];
  marks: Mark[];
  xIsPosition: boolean;
}

export interface Heatmap extends Named {
  kind: 'heatmap';
  x: Axis;
  y: Axis;
  columns: number;
  rows: number;
  values: Float32Array;
  rowLabels: string[];
  columnLabels: string[];
  value: Axis;
  rule: string;
  run: Run;
  xIsPosition: boolean;
}

export interface Counts {
  label: string;
  run: Run;
  counts: Float32Array;
}

export interface Histogram extends Named {
  kind: 'histogram';
  x: Axis;
  y: Axis;
  edges: Float32Array;
  series: Counts[];
}

export interface Tokens extends Named {
  kind: 'tokens';
  start: number;
  tokens: string[];
  values: Float32Array;
  value: Axis;
  query: number;
  run: Run;
  rule: string;
}

export interface Patches extends Named {
  kind: 'patches';
  width: number;
  height: number;
  pixels: Float32Array;
  columns: number;
  rows: number;
  values: Float32Array;
  stages: string[];
  beside: Float32Array;
  value: Axis;
  run: Run;
}

export type Cell = number | string | null;

export interface Table extends Named {
  kind: 'table';
  columns: string[];
  rows: Cell[][];
}

export type View = Lines | Heatmap | Histogram | Tokens | Patches | Table;

export interface Provenance {
  backend: string;
  formula: string;
  source: string;
  tolerance: string;
  selfCheck: string;
  coveredTokens: number;
  contextTokens: number;
  interventions: string[];
}

export interface Panel {
  id: string;
  title: string;
  summary: string;
  views: View[];
  provenance: Provenance;
}

const NUMERIC_KEYS = new Set(['x', 'y', 'values', 'counts', 'edges', 'pixels', 'beside']);

/**
 * Turns every list of numbers of a panel into a typed array (`null`, which is how JSON says "not
 * finite", becomes NaN) and lists the buffers, so that they can be moved between threads uncopied.
 */
export function compact(panel: Panel): { panel: Panel; buffers: ArrayBuffer[] } {
  const buffers: ArrayBuffer[] = [];
  const visit = (value: unknown, key: string): unknown => {
    if (value instanceof Float32Array || value instanceof Float64Array) {
      const own = new Float32Array(value);
      buffers.push(own.buffer);
      return own;
    }
    if (Array.isArray(value)) {
      if (NUMERIC_KEYS.has(key)) {
        const own = Float32Array.from(value as (number | null)[], (v) => v ?? NaN);
        buffers.push(own.buffer);
        return own;
      }
      return value.map((item) => visit(item, ''));
    }
    if (value !== null && typeof value === 'object') {
      return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, visit(v, k)]));
    }
    return value;
  };
  return { panel: visit(panel, '') as Panel, buffers };
}
