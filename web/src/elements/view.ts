/** One picture with its cursor, its values in words, its table and its files. */
import { css, html, LitElement, nothing, svg, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, property, query, state } from 'lit/decorators.js';
import { guard } from 'lit/directives/guard.js';
import type { Cursor } from '../views/cursor.ts';
import type { Frame, LegendItem, Plot, AxisScale } from '../views/axes.ts';
import { commonExtent, comparedWith, drawHeatmap } from '../views/heatmap.ts';
import { drawHistogram } from '../views/histogram.ts';
import { drawLines, nearest } from '../views/lines.ts';
import { drawPatches } from '../views/patches.ts';
import { PALETTES, runLabel, type Theme } from '../views/palette.ts';
import { hasPosition, readingAt, stopsOf, type Reading, type Stops } from '../views/reading.ts';
import { cellText, csvOf, rowsOf } from '../views/table.ts';
import { drawTokens, SHOWN_TOKENS } from '../views/tokens.ts';
import type { Panel, View } from '../views/types.ts';
import { base } from './styles.ts';

interface Drawn {
  base: TemplateResult | ReturnType<typeof svg>;
  plot?: Plot;
  x?: AxisScale;
  y?: AxisScale;
  styles: LegendItem[];
  paint?: (canvas: HTMLCanvasElement) => void;
}

const PAGE_ROWS = 50;
/** Widths on paper, in CSS pixels, of a picture that has a row to itself and of one of two: they fit A4 and letter. */
const PAPER_WIDTH = { wide: 670, half: 318 };
/** Pictures out of sight are drawn when nothing has changed for so long. */
const SETTLED_MS = 350;

@customElement('lin-view')
export class LinView extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        container-type: inline-size;
        min-width: 0;
      }
      h3 {
        font-size: 0.9rem;
        font-weight: 600;
        line-height: 1.35;
        margin-bottom: 0.4rem;
      }
      .room {
        height: 20rem;
      }
      .plot {
        position: relative;
        touch-action: pan-y;
        cursor: crosshair;
      }
      /* Its size does not depend on what is drawn, so nothing around it is laid out again. */
      .plot:not(.text) {
        contain: size layout style;
      }
      .plot svg,
      .plot canvas {
        display: block;
      }
      .plot > svg {
        position: relative;
        width: 100%;
        overflow: visible;
      }
      .plot canvas {
        position: absolute;
        image-rendering: pixelated;
      }
      .plot > svg.over {
        position: absolute;
        inset: 0;
        pointer-events: none;
      }
      .text {
        max-height: 15.5rem;
        overflow: auto;
        padding: 0.55rem 0.7rem;
        background: var(--surface);
        border: 1px solid var(--line);
        border-radius: var(--radius);
        font-family: var(--mono);
        font-size: 0.82rem;
        line-height: 1.62;
        overflow-wrap: anywhere;
        cursor: crosshair;
        /* The query stands at the end: the box is scrolled to its end from the start. */
        display: flex;
        flex-direction: column-reverse;
      }
      .text > div {
        white-space: pre-wrap;
      }
      .text em {
        color: var(--quiet);
        font-family: ui-sans-serif, system-ui, sans-serif;
        margin-right: 0.4em;
      }
      .text .query {
        outline: 1.5px solid var(--ink);
        outline-offset: -1px;
      }
      .text .at {
        box-shadow:
          inset 0 0 0 1.5px var(--ink),
          0 0 0 1.5px var(--surface);
      }
      .scale {
        display: flex;
        align-items: center;
        gap: 0.5rem;
        font-size: 0.78rem;
        color: var(--quiet);
        margin-bottom: 0.4rem;
        flex-wrap: wrap;
      }
      .scale i {
        width: 7rem;
        height: 9px;
        border: 1px solid var(--line);
      }
      .readout {
        min-height: 2.9em;
        align-content: flex-start;
        font-size: 0.78rem;
        line-height: 1.45;
        color: var(--quiet);
        margin-top: 0.25rem;
        display: flex;
        flex-wrap: wrap;
        gap: 0 0.9rem;
      }
      .readout b {
        font-weight: 600;
        color: var(--ink);
      }
      .readout i {
        display: inline-block;
        width: 0.55em;
        height: 0.55em;
        border-radius: 50%;
        margin-right: 0.35em;
      }
      .tools {
        display: flex;
        flex-wrap: wrap;
        align-items: flex-start;
        gap: 0 0.15rem;
        margin-top: 0.15rem;
      }
      .tools details {
        flex: 1 1 5rem;
      }
      .tools details[open] {
        flex-basis: 100%;
        order: 2;
      }
      .tools .files {
        display: flex;
        margin-left: auto;
      }
      .tools button {
        font-size: 0.78rem;
      }
      .rows {
        overflow: auto;
        max-height: 24rem;
        border: 1px solid var(--line);
        border-radius: var(--radius);
        margin: 0.3rem 0;
        width: fit-content;
        max-width: 100%;
      }
      table {
        border-collapse: collapse;
        font-size: 0.8rem;
      }
      th,
      td {
        text-align: left;
        padding: 0.22rem 0.65rem;
        border-bottom: 1px solid var(--line);
        white-space: nowrap;
      }
      td.number,
      th.number {
        text-align: right;
      }
      th {
        font-weight: 600;
        background: var(--sunken);
        position: sticky;
        top: 0;
        white-space: normal;
        vertical-align: bottom;
        min-width: 5.5rem;
      }
      @media print {
        :host,
        .rows {
          break-inside: avoid;
        }
        h3 {
          break-after: avoid;
        }
        .text span,
        .scale i {
          print-color-adjust: exact;
        }
        .text,
        .rows {
          overflow: hidden;
        }
        .readout {
          min-height: 0;
        }
      }
      tr:last-child td {
        border-bottom: 0;
      }
      .pager {
        display: flex;
        align-items: center;
        gap: 0.5rem;
        font-size: 0.8rem;
        color: var(--quiet);
      }
    `,
  ];

  @property({ attribute: false }) view!: View;
  @property({ attribute: false }) panel!: Panel;
  @property({ attribute: false }) cursor?: Cursor;
  @property() theme: Theme = 'light';
  /** The query of the link to the state that is shown. */
  @property() link = '';

  @state() private width = 0;
  @state() private index = -1;
  @state() private row = 0;
  @state() private pageOfTable = 0;
  @state() private tableOpen = false;
  @query('.plot') private plotElement?: HTMLElement;
  @query('canvas') private canvas?: HTMLCanvasElement;

  /** Out of sight, pictures are drawn when they have stopped to change. */
  private near = false;
  @state() private onPaper = false;
  private stale = true;
  private waits = false;
  private hasDrawn = false;
  private height = 0;
  private font = 11;
  private later?: ReturnType<typeof setTimeout>;
  private readonly sight = new IntersectionObserver((entries) => {
    this.near = entries[entries.length - 1].isIntersecting;
    if (this.near && this.stale) this.requestUpdate();
  });

  private drawn: Drawn = { base: html``, styles: [] };
  private stops: Stops = { count: 0, at: () => 0, near: () => 0 };
  private readonly sizes = new ResizeObserver((entries) => {
    const width = Math.floor(entries[0].contentRect.width);
    // Asked for here, where the layout is known: anywhere else the question makes the page lay itself out.
    this.font = Math.max(11, Math.min(15, Number.parseFloat(getComputedStyle(this).fontSize) * 0.72));
    if (width > 0 && width !== this.width && !this.onPaper) this.width = width;
  });
  private screenWidth = 0;
  /** A printed page is laid out without asking anybody: what it needs is drawn before. */
  private readonly print = (event: Event): void => {
    this.onPaper = event.type === 'beforeprint';
    if (this.onPaper) this.screenWidth = this.width;
    this.width = !this.onPaper
      ? this.screenWidth
      : this.classList.contains('wide')
        ? PAPER_WIDTH.wide
        : PAPER_WIDTH.half;
  };
  private readonly moved = (): void => {
    if (!hasPosition(this.view)) return;
    const position = this.cursor?.position ?? null;
    this.index = position === null || !this.covers(position) ? -1 : this.stops.near(position);
  };

  override connectedCallback(): void {
    super.connectedCallback();
    this.sizes.observe(this);
    this.sight.observe(this);
    this.cursor?.addEventListener('move', this.moved);
    addEventListener('beforeprint', this.print);
    addEventListener('afterprint', this.print);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    removeEventListener('beforeprint', this.print);
    removeEventListener('afterprint', this.print);
    this.sizes.disconnect();
    this.sight.disconnect();
    clearTimeout(this.later);
    this.cursor?.removeEventListener('move', this.moved);
  }

  private covers(position: number): boolean {
    if (this.view.kind === 'tokens') {
      return position >= this.view.start && position < this.view.start + this.view.tokens.length;
    }
    const domain = this.drawn.x?.domain;
    return domain !== undefined && position >= domain[0] && position <= domain[1];
  }

  private frame(): Frame {
    const kind = this.view.kind;
    const rows = kind === 'heatmap' ? this.view.rows : 0;
    const usual = Math.round(Math.min(380, Math.max(240, this.width * 0.5)));
    const height = kind === 'heatmap' ? Math.max(usual, Math.min(460, 110 + rows * 14)) : usual;
    return {
      width: this.width,
      height,
      palette: PALETTES[this.onPaper ? 'light' : this.theme],
      font: this.font,
    };
  }

  private draw(): void {
    const view = this.view;
    const frame = this.frame();
    this.height = frame.height;
    switch (view.kind) {
      case 'lines': {
        const { drawing, plot, x, y, styles } = drawLines(view, frame);
        this.drawn = { base: drawing, plot, x, y, styles };
        break;
      }
      case 'heatmap': {
        const { drawing, plot, x, paint } = drawHeatmap(
          view,
          frame,
          commonExtent(comparedWith(view, this.panel)),
        );
        this.drawn = { base: drawing, plot, x, styles: [], paint };
        break;
      }
      case 'patches': {
        const { drawing, plot, x, paint } = drawPatches(view, frame);
        this.drawn = { base: drawing, plot, x, styles: [], paint };
        break;
      }
      case 'histogram': {
        const { drawing, plot, x, styles } = drawHistogram(view, frame);
        this.drawn = { base: drawing, plot, x, styles };
        break;
      }
      case 'tokens':
        this.drawn = { base: drawTokens(view, frame), styles: [] };
        break;
      case 'table':
        this.drawn = { base: html``, styles: [] };
        break;
    }
    this.stops = stopsOf(view, this.drawn.x);
  }

  override shouldUpdate(changes: PropertyValues): boolean {
    const redrawn = changes.has('view') || changes.has('theme') || changes.has('width');
    if (redrawn) this.stale = true;
    this.waits = redrawn && !this.near && !this.onPaper;
    this.toggleAttribute('stale', this.stale && this.waits);
    clearTimeout(this.later);
    if (this.stale && this.waits) this.later = setTimeout(() => this.requestUpdate(), SETTLED_MS);
    return !this.waits || !this.hasDrawn;
  }

  override willUpdate(changes: PropertyValues): void {
    if (!this.stale || this.waits || this.width === 0) return;
    this.draw();
    this.hasDrawn = true;
    if (changes.has('view')) this.pageOfTable = Math.min(this.pageOfTable, this.lastPage);
    if (this.index >= this.stops.count) this.index = -1;
    this.moved();
  }

  override updated(changes: PropertyValues): void {
    if (changes.has('cursor')) {
      (changes.get('cursor') as Cursor | undefined)?.removeEventListener('move', this.moved);
      this.cursor?.addEventListener('move', this.moved);
    }
    const fresh = this.stale && !this.waits && this.width > 0;
    if (fresh) this.stale = false;
    if (fresh && this.canvas && this.drawn.paint) this.drawn.paint(this.canvas);
    if (this.view.kind === 'tokens') this.markToken();
  }

  /** The token at the cursor gets its frame without drawing the text again. */
  private markToken(): void {
    const box = this.plotElement;
    if (!box || this.view.kind !== 'tokens') return;
    this.marked?.classList.remove('at');
    this.marked = undefined;
    if (this.index < 0) return;
    const span = box.querySelector<HTMLElement>(`[data-position="${this.view.start + this.index}"]`);
    if (!span) return;
    this.marked = span;
    span.classList.add('at');
    if (box.matches(':hover')) return;
    const top = span.getBoundingClientRect().top - box.getBoundingClientRect().top;
    if (top < 0 || top + span.offsetHeight > box.clientHeight) box.scrollTop += top - box.clientHeight / 2;
  }
  private marked?: HTMLElement;

  private get reading(): Reading | undefined {
    return readingAt(this.view, this.stops, this.index, this.row);
  }

  private moveTo(index: number): void {
    this.index = Math.max(0, Math.min(this.stops.count - 1, index));
    if (this.cursor && hasPosition(this.view)) this.cursor.position = Math.round(this.stops.at(this.index));
  }

  private readonly onPointer = (event: PointerEvent): void => {
    if (this.stops.count === 0) return;
    if (this.view.kind === 'tokens') {
      const span = (event.target as HTMLElement).closest<HTMLElement>('[data-position]');
      if (span) this.moveTo(Number(span.dataset.position) - this.view.start);
      return;
    }
    const { plot, x } = this.drawn;
    if (!plot || !x || !this.plotElement) return;
    const box = this.plotElement.getBoundingClientRect();
    const px = Math.max(plot.left, Math.min(plot.right, event.clientX - box.left));
    if (this.view.kind === 'heatmap' || this.view.kind === 'patches') {
      const py = Math.max(plot.top, Math.min(plot.bottom - 1, event.clientY - box.top));
      this.row = Math.floor(((py - plot.top) / (plot.bottom - plot.top)) * this.view.rows);
    }
    this.moveTo(this.stops.near(x.invert(px)));
  };

  private readonly onLeave = (): void => {
    if (this.plotElement?.matches(':focus-visible')) return;
    this.clear();
  };

  private clear(): void {
    this.index = -1;
    if (this.cursor && hasPosition(this.view)) this.cursor.position = null;
  }

  private readonly onKey = (event: KeyboardEvent): void => {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const step = event.shiftKey ? 10 : 1;
    const from = this.index < 0 ? this.stops.count - 1 : this.index;
    const heat = this.view.kind === 'heatmap' || this.view.kind === 'patches' ? this.view : undefined;
    switch (event.key) {
      case 'ArrowRight':
        this.moveTo(this.index < 0 ? from : from + step);
        break;
      case 'ArrowLeft':
        this.moveTo(this.index < 0 ? from : from - step);
        break;
      case 'ArrowUp':
        if (heat) this.row = Math.max(0, this.row - 1);
        this.moveTo(heat || this.index < 0 ? from : from + step);
        break;
      case 'ArrowDown':
        if (heat) this.row = Math.min(heat.rows - 1, this.row + 1);
        this.moveTo(heat || this.index < 0 ? from : from - step);
        break;
      case 'Home':
        this.moveTo(0);
        break;
      case 'End':
        this.moveTo(this.stops.count - 1);
        break;
      case 'Escape':
        this.clear();
        break;
      default:
        return;
    }
    event.preventDefault();
  };

  private async export(kind: 'svg' | 'png' | 'csv'): Promise<void> {
    // The link of an exhibit names its page.
    const query = this.link.includes('?') || !this.link ? this.link : `?${this.link}`;
    const link = location.pathname.replace(/[^/]*$/, '') + query;
    const { fileName, pngOf, save, svgOf } = await import('../views/export.ts');
    const name = fileName(this.view, this.panel, this.link, kind);
    if (kind === 'csv') {
      save(new Blob([csvOf(this.view, this.panel, link)], { type: 'text/csv' }), name);
      return;
    }
    const source = svgOf(this.view, this.panel, link);
    save(kind === 'svg' ? new Blob([source], { type: 'image/svg+xml' }) : await pngOf(source), name);
  }

  private get lastPage(): number {
    return Math.max(0, Math.ceil(rowsOf(this.view).count / PAGE_ROWS) - 1);
  }

  private tableTemplate(): TemplateResult {
    const rows = rowsOf(this.view);
    const first = this.pageOfTable * PAGE_ROWS;
    const count = Math.min(PAGE_ROWS, rows.count - first);
    const body = Array.from({ length: Math.max(0, count) }, (_, i) => rows.row(first + i));
    const numeric = rows.columns.map(
      (_, c) => body.length > 0 && body.every((r) => typeof r[c] !== 'string'),
    );
    return html`<div class="rows" tabindex="0" role="region" aria-label="Table: ${this.view.title}">
        <table>
          <thead>
            <tr>
              ${rows.columns.map((c, i) => html`<th scope="col" class=${numeric[i] ? 'number' : ''}>${c}</th>`)}
            </tr>
          </thead>
          <tbody>
            ${body.map(
              (cells) =>
                html`<tr>
                  ${cells.map((c, i) => html`<td class=${numeric[i] ? 'number' : ''}>${cellText(c)}</td>`)}
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
      ${
        rows.count > PAGE_ROWS
          ? html`<div class="pager no-print">
              <button ?disabled=${this.pageOfTable === 0} @click=${() => (this.pageOfTable -= 1)}>
                Earlier rows
              </button>
              <span
                >${(first + 1).toLocaleString('en-US')}–${(first + count).toLocaleString('en-US')} of
                ${rows.count.toLocaleString('en-US')}</span
              >
              <button ?disabled=${this.pageOfTable >= this.lastPage} @click=${() => (this.pageOfTable += 1)}>
                Later rows
              </button>
            </div>`
          : nothing
      }`;
  }

  private overlay(): unknown {
    const { plot, x, y, styles } = this.drawn;
    if (this.index < 0 || !plot || !x || this.index >= this.stops.count) return nothing;
    const palette = PALETTES[this.theme];
    const view = this.view;
    const value = this.stops.at(this.index);
    const at = x(value);
    const dots =
      view.kind === 'lines' && y
        ? this.reading?.values
            .filter((v) => view.series[v.index].emphasis)
            .map((v) => {
              const s = view.series[v.index];
              const i = nearest(s.x, value);
              const top = y(s.y[i]);
              return Number.isFinite(top)
                ? svg`<circle cx=${x(s.x[i])} cy=${top} r="3.5" fill=${styles[v.index].colour} stroke=${palette.surface} stroke-width="1.5" />`
                : nothing;
            })
        : nothing;
    const band =
      view.kind === 'heatmap' || view.kind === 'patches'
        ? svg`<rect x=${plot.left} width=${plot.right - plot.left} fill="none" stroke=${palette.ink} stroke-opacity="0.55"
            y=${plot.top + (this.row * (plot.bottom - plot.top)) / view.rows} height=${(plot.bottom - plot.top) / view.rows} />`
        : nothing;
    return svg`<line x1=${at} x2=${at} y1=${plot.top} y2=${plot.bottom} stroke=${palette.surface} stroke-width="3" stroke-opacity="0.6" />
      <line x1=${at} x2=${at} y1=${plot.top} y2=${plot.bottom} stroke=${palette.ink} stroke-width="1" />${band}${dots}`;
  }

  private readoutTemplate(reading: Reading | undefined): TemplateResult {
    const rule =
      'rule' in this.view && this.view.rule ? html`<span class="rule">${this.view.rule}</span>` : nothing;
    if (!reading) {
      return html`<p class="readout">
        ${rule}<span class="no-print" aria-hidden="true">Point or use the arrow keys to read values.</span>
      </p>`;
    }
    const shown = reading.values.slice(0, 7);
    return html`<p class="readout no-print" aria-hidden="true">
      ${rule}<b>${reading.place}</b>
      ${shown.map(
        (v) =>
          html`<span
            >${
              v.index >= 0 && this.drawn.styles[v.index]
                ? html`<i style="background:${this.drawn.styles[v.index].colour}"></i>`
                : nothing
            }${v.name} <b>${v.text}</b></span
          >`,
      )}
      ${reading.values.length > shown.length ? html`<span>and ${reading.values.length - shown.length} more in the table</span>` : nothing}
    </p>`;
  }

  private plotTemplate(reading: Reading | undefined): TemplateResult {
    const view = this.view;
    const spoken = reading
      ? `${reading.place}: ${reading.values
          .slice(0, 5)
          .map((v) => `${v.name} ${v.text}`)
          .join('; ')}`
      : 'no position chosen; use the arrow keys';
    if (view.kind === 'table') return html``;
    const isText = view.kind === 'tokens';
    const { plot } = this.drawn;
    const drawing = guard([view, this.width, this.theme], () => this.drawn.base);
    return html`<div
      class=${isText ? 'plot text' : 'plot'}
      style=${isText ? '' : `height:${this.height}px${this.onPaper ? `;width:${this.width}px` : ''}`}
      tabindex="0"
      role="slider"
      aria-label=${view.title}
      aria-roledescription=${isText ? 'text with a cursor' : 'chart with a cursor'}
      aria-valuemin="0"
      aria-valuemax=${Math.max(0, this.stops.count - 1)}
      aria-valuenow=${Math.max(0, this.index)}
      aria-valuetext=${spoken}
      aria-details="table"
      @pointermove=${this.onPointer}
      @pointerdown=${this.onPointer}
      @pointerleave=${this.onLeave}
      @keydown=${this.onKey}
      @blur=${() => this.clear()}
    >
      ${
        isText
          ? html`<div>${drawing}</div>`
          : html`${
                (view.kind === 'heatmap' || view.kind === 'patches') && plot
                  ? html`<canvas
                      style="left:${plot.left}px;top:${plot.top}px;width:${plot.right - plot.left}px;height:${plot.bottom - plot.top}px"
                    ></canvas>`
                  : nothing
              }<svg viewBox="0 0 ${this.width} ${this.height}" height=${this.height} aria-hidden="true">
                ${drawing}</svg
              ><svg
                class="over"
                viewBox="0 0 ${this.width} ${this.height}"
                height=${this.height}
                aria-hidden="true"
              >
                ${this.overlay()}
              </svg>`
      }
    </div>`;
  }

  private scaleOfTokens(): TemplateResult | typeof nothing {
    if (this.view.kind !== 'tokens') return nothing;
    const { value, run, tokens } = this.view;
    const shade = PALETTES[this.theme].shade[run];
    const domain = value.domain;
    return html`<p class="scale">
      <span>${value.label}${value.unit ? ` (${value.unit})` : ''}</span>
      ${domain ? html`<span>${cellText(domain[0])}</span>` : nothing}
      <i style="background:linear-gradient(90deg,${shade[0]},${shade[1]})"></i>
      ${domain ? html`<span>${cellText(domain[1])}</span>` : nothing}
      ${value.scale === 'linear' ? nothing : html`<span>${value.scale} scale</span>`}
      ${tokens.length > SHOWN_TOKENS ? html`<span>${SHOWN_TOKENS.toLocaleString('en-US')} tokens shown</span>` : nothing}
    </p>`;
  }

  protected override render(): unknown {
    const view = this.view;
    if (!this.hasDrawn)
      return html`<h3>${view.title}</h3>
        <div class="room"></div>`;
    const reading = this.reading;
    const compares = this.panel.views.some((v) => 'run' in v && v.run === 'b');
    const title = 'run' in view && compares ? runLabel(view.title, view.run) : view.title;
    return html`<h3>${title}</h3>
      ${this.scaleOfTokens()} ${this.plotTemplate(reading)}
      ${
        view.kind === 'table'
          ? html`<div id="table">${this.tableTemplate()}</div>`
          : this.readoutTemplate(reading)
      }
      <div class="tools no-print">
        ${
          view.kind === 'table'
            ? nothing
            : html`<details
                id="table"
                @toggle=${(e: Event) => (this.tableOpen = (e.target as HTMLDetailsElement).open)}
              >
                <summary>Table</summary>
                ${this.tableOpen ? this.tableTemplate() : nothing}
              </details>`
        }
        <span class="files" role="group" aria-label="Save “${view.title}” as">
          ${(['png', 'svg', 'csv'] as const).map(
            (kind) =>
              html`<button
                class="plain"
                title="Save as ${kind.toUpperCase()}"
                @click=${() => void this.export(kind)}
              >
                <span class="hidden-text">Save “${view.title}” as </span>${kind.toUpperCase()}
              </button>`,
          )}
        </span>
      </div>`;
  }
}
