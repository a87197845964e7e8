/** All mixers at a glance: what each carries and costs, how it forgets, and what was measured of it here. */
import { css, html, LitElement, nothing, svg, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import type { Measured, MixerRow } from '../engine/protocol.ts';
import { formatNumber } from '../views/format.ts';
import { base } from './styles.ts';

/** What is known of one mixer. */
export interface Entry {
  row: MixerRow;
  cpu?: Measured;
  gpu?: Measured;
}

export interface PickDetail {
  run: 'a' | 'b';
  id: string;
}

interface Column {
  id: string;
  title: string;
  unit?: string;
  /** What it is sorted by; words are sorted as such. */
  order(entry: Entry): number | string;
  cell(entry: Entry, table: LinMixerTable): unknown;
  /** For the file. */
  plain(entry: Entry): number | string;
  numeric?: boolean;
}

const KIB = 1024;
export function formatBytes(bytes: number): string {
  if (bytes < KIB) return `${bytes} B`;
  const [size, unit] =
    bytes < KIB ** 2
      ? [bytes / KIB, 'KiB']
      : bytes < KIB ** 3
        ? [bytes / KIB ** 2, 'MiB']
        : [bytes / KIB ** 3, 'GiB'];
  return `${formatNumber(size, 3)} ${unit}`;
}

/** The context at which what grows is counted. */
export const counted = ({ lengths }: MixerRow): MixerRow['lengths'][number] => lengths[1];

const REACH_WIDTH = 92;

/** From the shortest to the longest reach of the heads on a logarithmic scale, with a tick at the mean distance. */
function reachBar({ reach }: Measured): TemplateResult {
  const x = (tokens: number): number =>
    (Math.log(Math.max(1, tokens)) / Math.log(reach.tokens)) * (REACH_WIDTH - 8) + 4;
  return html`<svg class="reach" width=${REACH_WIDTH} height="14" aria-hidden="true">
    ${svg`<line class="track" x1="4" x2=${REACH_WIDTH - 4} y1="7" y2="7" />
      ${[1, 10, 100, 1000].map((t) => svg`<line class="track" x1=${x(t)} x2=${x(t)} y1="4" y2="10" />`)}
      <line class="span" x1=${x(reach.shortest)} x2=${Math.max(x(reach.longest), x(reach.shortest) + 0.1)} y1="7" y2="7" />
      <line class="mean" x1=${x(reach.meanDistance)} x2=${x(reach.meanDistance)} y1="1.5" y2="12.5" />`}
  </svg>`;
}

const reachWords = ({ reach: { shortest, longest, tokens } }: Measured): string => {
  const said = (length: number): string => (length >= tokens ? 'all' : formatNumber(length));
  return said(shortest) === said(longest) ? said(longest) : `${said(shortest)} – ${said(longest)}`;
};

const timeColumn = (id: 'cpu' | 'gpu'): Column => ({
  id,
  title: `Time, ${id.toUpperCase()}`,
  unit: 'µs a token',
  numeric: true,
  order: (e) => e[id]?.time.usPerToken ?? Infinity,
  plain: (e) => e[id]?.time.usPerToken ?? '',
  cell: (e, table) => {
    const time = e[id]?.time.usPerToken;
    if (time === undefined) return html`<span class="quiet">…</span>`;
    const share = time / table.slowest(id);
    return html`<span class="bar" style=${`--share:${(100 * share).toFixed(1)}%`}
      >${formatNumber(time, 3)}</span
    >`;
  },
});

const COLUMNS: Column[] = [
  {
    id: 'state',
    title: 'State',
    unit: 'at 1,024',
    numeric: true,
    order: (e) => counted(e.row).stateBytes,
    plain: (e) => counted(e.row).stateBytes,
    cell: ({ row }) =>
      html`${formatBytes(counted(row).stateBytes)}${
        row.grows
          ? html`<span class="grows" title="grows with the context"
              >↗<span class="hidden-text"> and grows</span></span
            >`
          : nothing
      }`,
  },
  {
    id: 'parameters',
    title: 'Parameters',
    numeric: true,
    order: (e) => e.row.parameters,
    plain: (e) => e.row.parameters,
    cell: (e) => formatNumber(e.row.parameters),
  },
  {
    id: 'operations',
    title: 'Operations',
    unit: 'a token',
    numeric: true,
    order: (e) => counted(e.row).operationsLast,
    plain: (e) => counted(e.row).operationsLast,
    cell: (e) => formatNumber(counted(e.row).operationsLast),
  },
  {
    id: 'reached',
    title: 'Budget',
    unit: '% reached',
    numeric: true,
    order: (e) => e.row.reached ?? 0,
    plain: (e) => (e.row.reached === null ? '' : 100 * e.row.reached),
    cell: ({ row: { reached } }) => (reached === null ? '–' : formatNumber(100 * reached, 3)),
  },
  {
    id: 'decay',
    title: 'Decay',
    order: (e) => e.row.decay.label,
    plain: (e) => e.row.decay.label,
    cell: (e) => e.row.decay.label,
  },
  {
    id: 'erases',
    title: 'Can erase',
    order: (e) => e.row.erases,
    plain: (e) => e.row.erases,
    cell: (e) => e.row.erases,
  },
  {
    id: 'reach',
    title: 'Reach',
    unit: 'at initialisation, of 1,024',
    order: (e) => e.cpu?.reach.longest ?? -1,
    plain: (e) => (e.cpu ? `${e.cpu.reach.shortest} to ${e.cpu.reach.longest}` : ''),
    cell: (e) =>
      e.cpu
        ? html`${reachBar(e.cpu)}<span class="words">${reachWords(e.cpu)}</span>`
        : html`<span class="quiet">…</span>`,
  },
  timeColumn('cpu'),
  timeColumn('gpu'),
];

@customElement('lin-mixer-table')
export class LinMixerTable extends LitElement {
  static override styles = [
    base,
    css`
      .scroll {
        position: relative;
        overflow-x: auto;
        border: 1px solid var(--line);
        border-radius: 8px;
        background: var(--surface);
        scrollbar-width: thin;
      }
      table {
        border-collapse: separate;
        border-spacing: 0;
        width: 100%;
        font-size: 0.84rem;
        line-height: 1.35;
      }
      th,
      td {
        padding: 0.3rem 0.6rem;
        text-align: left;
        vertical-align: middle;
        border-bottom: 1px solid var(--line);
      }
      tbody tr:last-child > * {
        border-bottom: 0;
      }
      thead th {
        vertical-align: bottom;
        font-weight: 600;
        font-size: 0.78rem;
        border-bottom: 1px solid var(--line-strong);
      }
      thead button {
        border: 0;
        background: none;
        padding: 0.1rem 0;
        min-height: 28px;
        font: inherit;
        font-weight: 600;
        text-align: inherit;
        justify-content: inherit;
        align-items: flex-end;
        line-height: 1.25;
        gap: 0.25em;
      }
      thead small {
        display: block;
        font-weight: 400;
        font-size: 0.94em;
        color: var(--quiet);
        white-space: nowrap;
      }
      thead i {
        font-style: normal;
        color: var(--run-a);
        width: 0.8em;
        flex: none;
      }
      .number {
        text-align: right;
        white-space: nowrap;
      }
      .number button {
        text-align: right;
      }
      .run {
        padding-inline: 0.2rem;
        text-align: center;
        width: 2rem;
      }
      thead .run.a {
        color: var(--run-a);
      }
      thead .run.b {
        color: var(--run-b);
      }
      .run label {
        display: grid;
        place-items: center;
        min-width: 28px;
        min-height: 28px;
        cursor: pointer;
      }
      .run input {
        appearance: none;
        width: 15px;
        height: 15px;
        margin: 0;
        border: 1.5px solid var(--line-strong);
        border-radius: 50%;
        cursor: pointer;
        background: var(--surface);
      }
      .run.a input:checked {
        border-color: var(--run-a);
        background: radial-gradient(circle, var(--run-a) 0 4px, transparent 4.5px);
      }
      .run.b input:checked {
        border-color: var(--run-b);
        background: radial-gradient(circle, var(--run-b) 0 4px, transparent 4.5px);
      }
      tbody th {
        font-weight: 600;
        min-width: 8.5rem;
      }
      tbody tr:hover > * {
        background: var(--sunken);
      }
      tr.a > * {
        background: var(--tint-a);
      }
      tr.b > * {
        background: var(--tint-b);
      }
      .words {
        white-space: nowrap;
      }
      .prose {
        min-width: 8.6rem;
        font-size: 0.8rem;
      }
      .quiet {
        color: var(--quiet);
      }
      .grows {
        color: var(--run-b);
        margin-left: 0.2em;
      }
      .reach {
        vertical-align: middle;
        margin-right: 0.5rem;
      }
      .track {
        stroke: var(--line-strong);
        stroke-opacity: 0.55;
      }
      .span {
        stroke: var(--ink);
        stroke-width: 4;
        stroke-linecap: round;
      }
      .mean {
        stroke: var(--run-b);
        stroke-width: 1.6;
      }
      .bar {
        display: inline-block;
        min-width: 4rem;
        padding: 0.06rem 0.3rem;
        background: linear-gradient(
            to right,
            color-mix(in srgb, var(--run-a) 22%, transparent) var(--share),
            transparent var(--share)
          )
          no-repeat;
        border-radius: 2px;
      }
      @media (max-width: 899px) {
        th.name {
          position: sticky;
          left: 0;
          background: var(--surface);
          box-shadow: inset -1px 0 var(--line);
          z-index: 1;
        }
        tr.a th.name {
          background: var(--tint-a);
        }
        tr.b th.name {
          background: var(--tint-b);
        }
        td.prose {
          min-width: 10rem;
        }
      }
    `,
  ];

  @property({ attribute: false }) entries: Entry[] = [];
  /** The mixers of the two runs. */
  @property() a = '';
  @property() b = '';
  /** A budget is held equal. */
  @property({ type: Boolean }) equal = false;
  /** There are times of the GPU. */
  @property({ type: Boolean }) gpu = false;
  @state() private by = 'name';
  @state() private falling = false;

  slowest(id: 'cpu' | 'gpu'): number {
    return Math.max(...this.entries.map((e) => e[id]?.time.usPerToken ?? 0));
  }

  /** What is shown as rows and columns, for a file. */
  plain(): { columns: string[]; rows: (number | string)[][] } {
    const columns = this.columns();
    return {
      columns: ['mixer', ...columns.map((c) => (c.unit ? `${c.title} (${c.unit})` : c.title))],
      rows: this.sorted().map((e) => [e.row.name, ...columns.map((c) => c.plain(e))]),
    };
  }

  private columns(): Column[] {
    return COLUMNS.filter((c) => (c.id !== 'reached' || this.equal) && (c.id !== 'gpu' || this.gpu));
  }

  private sorted(): Entry[] {
    const column = COLUMNS.find((c) => c.id === this.by);
    const order = column?.order ?? ((e: Entry) => e.row.name.toLowerCase());
    const sign = this.falling ? -1 : 1;
    return [...this.entries].sort((x, y) => {
      const [p, q] = [order(x), order(y)];
      const compared =
        typeof p === 'number' && typeof q === 'number' ? p - q : String(p).localeCompare(String(q));
      return sign * (compared || 0);
    });
  }

  private sort(by: string): void {
    this.falling = this.by === by && !this.falling;
    this.by = by;
  }

  private pick(run: 'a' | 'b', id: string): void {
    this.dispatchEvent(new CustomEvent<PickDetail>('pick', { detail: { run, id } }));
  }

  private head(id: string, title: string, unit: string | undefined, kind: string): TemplateResult {
    const sorted = this.by === id;
    return html`<th
      scope="col"
      class=${kind}
      aria-sort=${sorted ? (this.falling ? 'descending' : 'ascending') : 'none'}
    >
      <button @click=${() => this.sort(id)}>
        <span>${title}${unit ? html`<small>${unit}</small>` : nothing}</span
        ><i aria-hidden="true">${sorted ? (this.falling ? '▾' : '▴') : ''}</i>
      </button>
    </th>`;
  }

  private choice(run: 'a' | 'b', entry: Entry): TemplateResult {
    const { id, name } = entry.row;
    return html`<td class="run ${run}">
      <label
        ><input
          type="radio"
          name=${run}
          aria-label=${`${name} as run ${run.toUpperCase()}`}
          .checked=${this[run] === id}
          @change=${() => this.pick(run, id)}
      /></label>
    </td>`;
  }

  protected override render(): TemplateResult {
    const columns = this.columns();
    return html`<div class="scroll" tabindex="0" role="region" aria-label="Table of all mixers">
      <table>
        <thead>
          <tr>
            <th scope="col" class="run a">A</th>
            <th scope="col" class="run b">B</th>
            ${this.head('name', 'Mixer', undefined, 'name')}
            ${columns.map((c) => this.head(c.id, c.title, c.unit, c.numeric ? 'number' : ''))}
          </tr>
        </thead>
        <tbody>
          ${repeat(
            this.sorted(),
            (e) => e.row.id,
            (e) =>
              html`<tr
                data-mixer=${e.row.id}
                class=${this.a === e.row.id ? 'a' : this.b === e.row.id ? 'b' : ''}
              >
                ${this.choice('a', e)} ${this.choice('b', e)}
                <th scope="row" class="name">${e.row.name}</th>
                ${columns.map(
                  (c) =>
                    html`<td
                      data-column=${c.id}
                      class=${c.numeric ? 'number' : c.id === 'reach' ? 'words' : 'prose'}
                    >
                      ${c.cell(e, this)}
                    </td>`,
                )}
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
  }
}
