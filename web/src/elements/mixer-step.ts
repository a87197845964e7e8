/** A drawing of one step of a mixer, made from what the engine says of it, with the same in words below. */
import { css, html, LitElement, nothing, svg, type SVGTemplateResult, type TemplateResult } from 'lit';
import { customElement, property } from 'lit/decorators.js';
import type { MixerRow } from '../engine/protocol.ts';
import { formatNumber } from '../views/format.ts';
import { base } from './styles.ts';

type Role = 'fade' | 'erase' | 'write' | 'read';

interface Pill {
  role: Role;
  text: string;
  y: number;
}

const PILL = { x: 150, width: 104, height: 27, gap: 9 };
const MIDDLE = 152;
/** The state, as a matrix of so many drawn cells. */
const CELLS = 6;
const CELL = 17;
const STATE_X = 384;
const OUT_X = 606;
/** How far below the middle the way of the bonus leads. */
const BONUS_DEPTH = 118;

const FADE: Record<MixerRow['decay']['kind'], string> = {
  none: 'kept as it is',
  head: '× one factor',
  key: '× one factor a row',
  rates: '× exp(step · rate)',
  turning: '× fade and turn',
};

const fadeOf = ({ kind, fromToken }: MixerRow['decay']): string =>
  kind === 'rates' && !fromToken ? '× one factor each' : FADE[kind];

/** What one token computes, from top to bottom. */
function pillsOf({ decay, step }: MixerRow): Pill[] {
  const list: [Role, string][] = [];
  if (decay.fromToken) list.push(['fade', decay.kind === 'rates' ? 'step size' : 'decay']);
  if (step.erase) list.push(['erase', 'erase key']);
  // The step size of a state-space model is its write gate too.
  if (step.writeScale && decay.kind !== 'rates') list.push(['write', 'write gate']);
  list.push(['write', 'key'], ['write', 'value'], ['read', 'query']);
  const total = list.length * (PILL.height + PILL.gap) - PILL.gap;
  return list.map(([role, text], i) => ({
    role,
    text,
    y: MIDDLE - total / 2 + i * (PILL.height + PILL.gap) + PILL.height / 2,
  }));
}

/** The order of one step in words. */
export function stepWords(row: MixerRow): string[] {
  const { step, decay } = row;
  const words: string[] = [];
  if (step.tail > 0)
    words.push(
      step.state
        ? `The token meets its last neighbours: ${formatNumber(step.tail)} values of them are carried.`
        : `The last tokens are kept: ${formatNumber(step.tail)} values of them are carried.`,
    );
  if (!step.state) {
    if (row.grows) words.push('Key and value join all that were kept before.');
    words.push(
      step.window > 0
        ? `The query is compared with the last ${formatNumber(step.window)} tokens; the weights say how much of each value is read.`
        : 'The query is compared with what is kept; the weights say how much of each value is read.',
    );
    return words;
  }
  const read = `The query reads the state${step.normaliser ? ', and what is read is divided by a sum of weights' : ''}.`;
  if (step.bonus)
    words.push(
      'The query reads the state before the token is in it; the token itself is added with a bonus.',
    );
  const who = decay.fromToken ? 'computed from the token' : 'the same for every token';
  const fade: Record<typeof decay.kind, string> = {
    none: 'The state stays as it is.',
    head: `The whole state of a head is multiplied by one factor, ${who}.`,
    key: `Each row of the state is multiplied by a factor of its own, ${who}.`,
    rates: decay.fromToken
      ? 'A step size, computed from the token, times a rate for each element says how far the state fades.'
      : 'Each element is multiplied by a factor of its own, the same for every token.',
    turning: 'Each element, a complex number, fades and turns by a fixed factor.',
  };
  words.push(fade[decay.kind]);
  if (step.erase) words.push('What the state holds under one key is taken out.');
  words.push(
    row.value > 1
      ? `The product of key and value is added${step.writeScale ? ', scaled by a gate' : ''}.`
      : `The value is added at each place as the key says${step.writeScale ? ', scaled by a gate' : ''}.`,
  );
  if (!step.bonus) words.push(read);
  return words;
}

@customElement('lin-mixer-step')
export class LinMixerStep extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        --fade: light-dark(#7d3f92, #d0a0e0);
        --erase: var(--alarm);
        --write: light-dark(#0a6b50, #5cc8a0);
        --read: var(--ink);
      }
      .scroll {
        position: relative;
        overflow-x: auto;
        scrollbar-width: thin;
      }
      svg {
        display: block;
        width: 100%;
        min-width: 30rem;
        height: auto;
        font-size: 12.5px;
      }
      text {
        fill: var(--ink);
      }
      .small {
        font-size: 11.5px;
        fill: var(--quiet);
      }
      .fade {
        --role: var(--fade);
      }
      .erase {
        --role: var(--erase);
      }
      .write {
        --role: var(--write);
      }
      .read {
        --role: var(--read);
      }
      .pill rect {
        fill: color-mix(in srgb, var(--role) 9%, var(--surface));
        stroke: var(--role);
      }
      .pill text {
        fill: var(--role);
        font-weight: 600;
      }
      .wire {
        fill: none;
        stroke: var(--role, var(--line-strong));
        stroke-width: 1.6;
      }
      .wire.thin {
        stroke-width: 1.1;
        stroke: var(--line-strong);
      }
      .dash {
        stroke-dasharray: 5 4;
      }
      .label {
        fill: var(--role);
        font-weight: 600;
      }
      .node circle {
        fill: var(--surface);
        stroke: var(--role);
        stroke-width: 1.5;
      }
      .node text {
        fill: var(--role);
        font-weight: 600;
      }
      .box {
        fill: var(--sunken);
        stroke: var(--line-strong);
      }
      .cell {
        fill: var(--run);
        stroke: var(--surface);
        stroke-width: 1;
      }
      :host([run='a']) {
        --run: var(--run-a);
      }
      :host([run='b']) {
        --run: var(--run-b);
      }
      ol {
        margin: 0.5rem 0 0;
        padding-left: 1.3rem;
        font-size: 0.84rem;
        line-height: 1.5;
      }
      li::marker {
        color: var(--quiet);
      }
    `,
  ];

  @property({ attribute: false }) row?: MixerRow;
  @property({ reflect: true }) run: 'a' | 'b' = 'a';

  private arrow(id: string, role: string): SVGTemplateResult {
    return svg`<marker id=${id} class=${role} viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"
      orient="auto-start-reverse"><path d="M0 0.5 L8 4 L0 7.5 Z" fill="var(--role, var(--line-strong))" /></marker>`;
  }

  private cells(row: MixerRow): SVGTemplateResult {
    const columns = row.step.state && row.value === 1 ? 1 : CELLS;
    const left = STATE_X + ((CELLS - columns) * CELL) / 2;
    const top = MIDDLE - (CELLS * CELL) / 2;
    const cells: SVGTemplateResult[] = [];
    for (let r = 0; r < CELLS; r++)
      for (let c = 0; c < columns; c++) {
        // A cache has a column for each token; a state has no such order.
        const strength = row.step.state
          ? 0.16 + (((r * 7 + c * 11) % 9) / 9) * 0.55
          : 0.2 + (c / columns) * 0.5;
        cells.push(svg`<rect class="cell" x=${left + c * CELL} y=${top + r * CELL} width=${CELL} height=${CELL}
          fill-opacity=${strength.toFixed(2)} />`);
      }
    return svg`${cells}`;
  }

  private wires(row: MixerRow, pills: Pill[]): SVGTemplateResult {
    const { step, decay } = row;
    const from = PILL.x + PILL.width;
    const at = (text: string): number => pills.find((p) => p.text === text)?.y ?? MIDDLE;
    const top = MIDDLE - (CELLS * CELL) / 2;
    const bottom = MIDDLE + (CELLS * CELL) / 2;
    const centre = STATE_X + (CELLS * CELL) / 2;
    const [key, value, query] = [at('key'), at('value'), at('query')];
    const join = { x: 306, y: (key + value) / 2 };
    const parts: SVGTemplateResult[] = [];
    // Write.
    parts.push(svg`<g class="write">
      <path class="wire" d="M${from} ${key} C${from + 24} ${key} ${join.x - 24} ${join.y} ${join.x - 9} ${join.y}" />
      <path class="wire" d="M${from} ${value} C${from + 24} ${value} ${join.x - 24} ${join.y} ${join.x - 9} ${join.y}" />
      <path class="wire" marker-end="url(#write)" d="M${join.x + 9} ${join.y} C${join.x + 36} ${join.y} ${STATE_X - 40} ${MIDDLE + 14} ${STATE_X - 4} ${MIDDLE + 14}" />
      <g class="node"><circle cx=${join.x} cy=${join.y} r="9" /><text x=${join.x} y=${join.y + 4} text-anchor="middle">${step.state ? '×' : '+'}</text></g>
      <text class="label" x=${STATE_X - 12} y=${MIDDLE + 34} text-anchor="end">${step.state ? '+ write' : '+ keep'}</text>
    </g>`);
    if (step.state && step.writeScale) {
      const gate = decay.kind === 'rates' ? at('step size') : at('write gate');
      parts.push(
        svg`<path class="wire write" marker-end="url(#write)" d="M${from} ${gate} C${from + 40} ${gate} ${join.x} ${join.y - 50} ${join.x} ${join.y - 11}" />`,
      );
    }
    if (step.erase) {
      const erase = at('erase key');
      parts.push(svg`<g class="erase"><path class="wire" marker-end="url(#erase)" d="M${from} ${erase} C${from + 60} ${erase} ${STATE_X - 60} ${MIDDLE - 18} ${STATE_X - 4} ${MIDDLE - 18}" />
        <text class="label" x=${STATE_X - 12} y=${MIDDLE - 27} text-anchor="end">− erase</text></g>`);
    }
    // The state meets its own past: a loop above it.
    parts.push(svg`<g class="fade">
      <path class="wire" marker-end="url(#fade)" d="M${STATE_X + CELLS * CELL - 14} ${top - 4} C${STATE_X + CELLS * CELL + 6} ${top - 48} ${STATE_X - 6} ${top - 48} ${STATE_X + 14} ${top - 5}" />
      <text class="label" x=${centre} y=${top - 46} text-anchor="middle">${step.state ? fadeOf(decay) : 'kept as it is'}</text>
      ${step.state && decay.kind !== 'none' && !decay.fromToken ? svg`<text class="small" x=${centre} y=${top - 60} text-anchor="middle">the same for every token</text>` : nothing}
      ${decay.fromToken ? svg`<path class="wire" marker-end="url(#fade)" d="M${from} ${pills[0].y} C${from + 30} ${pills[0].y} ${centre - 130} ${top - 50} ${centre - 74} ${top - 50}" />` : nothing}
    </g>`);
    if (step.window > 0)
      parts.push(
        svg`<text class="small" x=${centre} y=${bottom + 46} text-anchor="middle">leaves after ${formatNumber(step.window)} tokens</text>`,
      );
    // Read.
    parts.push(svg`<g class="read">
      <path class="wire" marker-end="url(#read)" d="M${from} ${query} C${from + 50} ${query} ${centre - 60} ${bottom + 30} ${centre - 20} ${bottom + 30} S${centre} ${bottom + 18} ${centre} ${bottom + 5}" />
      <text class="label" x=${centre + 10} y=${bottom + 26}>read</text>
      <path class="wire" marker-end="url(#read)" d="M${STATE_X + CELLS * CELL + 4} ${MIDDLE} H${OUT_X - 22}" />
    </g>`);
    if (step.normaliser || !step.state)
      parts.push(svg`<g class="read node"><circle cx="540" cy=${MIDDLE} r="11" /><text x="540" y=${MIDDLE + 4} text-anchor="middle">÷</text>
        <text class="small" x="540" y=${MIDDLE + 28} text-anchor="middle">sum of weights</text></g>`);
    if (step.bonus)
      parts.push(svg`<g class="write">
        <path class="wire dash" marker-end="url(#write)" d="M${join.x} ${join.y + 9} C${join.x} ${MIDDLE + 150} 520 ${MIDDLE + 146} 520 ${MIDDLE + 12}" />
        <text class="label" x="530" y=${MIDDLE + 64}>bonus</text></g>
        <g class="read node"><circle cx="520" cy=${MIDDLE} r="9" /><text x="520" y=${MIDDLE + 4} text-anchor="middle">+</text></g>`);
    return svg`${parts}`;
  }

  protected override render(): TemplateResult | typeof nothing {
    const row = this.row;
    if (!row) return nothing;
    const pills = pillsOf(row);
    const words = stepWords(row);
    const start = row.step.tail > 0 ? 118 : 58;
    const half = Math.max(...pills.map((p) => p.y)) - MIDDLE + PILL.height / 2;
    const above = Math.max(half, (CELLS * CELL) / 2 + 74) + 6;
    const below = Math.max(half, (CELLS * CELL) / 2 + 52, row.step.bonus ? BONUS_DEPTH : 0) + 6;
    return html`<div class="scroll" tabindex="0" role="region" aria-label="Drawing of one step">
        <svg
          viewBox="0 ${MIDDLE - above} 640 ${above + below}"
          role="img"
          aria-label=${`One step of ${row.name}: ${words.join(' ')}`}
        >
          <defs>
            ${this.arrow('fade', 'fade')} ${this.arrow('erase', 'erase')} ${this.arrow('write', 'write')}
            ${this.arrow('read', 'read')} ${this.arrow('plain', '')}
          </defs>
          <g>
            <rect class="box" x="8" y=${MIDDLE - 19} width="46" height="38" rx="5" />
            <text x="31" y=${MIDDLE + 4} text-anchor="middle">token</text>
          </g>
          ${
            row.step.tail > 0
              ? svg`<rect class="box" x="66" y=${MIDDLE - 27} width="50" height="54" rx="5" />
                <text class="small" x="91" y=${MIDDLE - 3} text-anchor="middle">last</text>
                <text class="small" x="91" y=${MIDDLE + 11} text-anchor="middle">tokens</text>
                <path class="wire thin" d="M54 ${MIDDLE} H66" />`
              : nothing
          }
          ${pills.map(
            (p) =>
              svg`<path class="wire thin" d="M${start} ${MIDDLE} C${start + 20} ${MIDDLE} ${PILL.x - 22} ${p.y} ${PILL.x} ${p.y}" />
              <g class="pill ${p.role}"><rect x=${PILL.x} y=${p.y - PILL.height / 2} width=${PILL.width} height=${PILL.height} rx="13" />
              <text x=${PILL.x + PILL.width / 2} y=${p.y + 4} text-anchor="middle">${p.text}</text></g>`,
          )}
          ${this.cells(row)} ${this.wires(row, pills)}
          <rect class="box" x=${OUT_X - 20} y=${MIDDLE - 19} width="50" height="38" rx="5" />
          <text x=${OUT_X + 5} y=${MIDDLE + 4} text-anchor="middle">output</text>
        </svg>
      </div>
      <ol>
        ${words.map((w) => html`<li>${w}</li>`)}
      </ol>`;
  }
}
