/** The guided tour of an exhibit: predict, then reveal. A step is done when the learner did it. */
import { css, html, LitElement, nothing, svg, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import type { Act, ExhibitAnswer, Step, Symbol } from '../engine/protocol.ts';
import type { AxisScale, Frame } from '../views/axes.ts';
import { formatNumber } from '../views/format.ts';
import { drawLines } from '../views/lines.ts';
import { PALETTES, type Theme } from '../views/palette.ts';
import type { Lines, View } from '../views/types.ts';
import { exhibitStyles } from './exhibit-styles.ts';
import { base } from './styles.ts';

/** Handles of a curve that is drawn. */
const HANDLES = 7;
const FRAME = { width: 640, height: 280, font: 12 };
/** An arrow key moves a handle by this share of the axis. */
const NUDGE = 0.05;

type Draw = Extract<Act, { type: 'draw' }>;
type Mark = Extract<Act, { type: 'mark' }>;

@customElement('lin-exhibit-tour')
export class LinExhibitTour extends LitElement {
  static override styles = [
    base,
    exhibitStyles,
    css`
      .head {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 0.4rem 0.9rem;
      }
      .head h2 {
        flex: 1;
      }
      .ask {
        font-size: 1.02rem;
        margin: 0.7rem 0;
        max-width: 70ch;
      }
      .row {
        display: flex;
        flex-wrap: wrap;
        align-items: center;
        gap: 0.6rem 1rem;
        margin: 0.5rem 0;
      }
      input[type='range'] {
        flex: 1 1 14rem;
        max-width: 34rem;
        min-height: 28px;
        accent-color: var(--run-b);
      }
      .guess {
        min-width: 6rem;
        font-weight: 600;
      }
      .reveal {
        border-left: 3px solid var(--run-b);
        background: var(--tint-b);
        padding: 0.5rem 0.9rem;
        border-radius: 4px;
        max-width: 80ch;
      }
      .pad {
        max-width: 44rem;
        touch-action: none;
      }
      .pad svg {
        display: block;
        width: 100%;
        overflow: visible;
      }
      .handle {
        cursor: ns-resize;
      }
      .handle:focus-visible {
        outline: none;
        stroke: var(--ink);
        stroke-width: 4;
      }
    `,
  ];

  @property({ attribute: false }) steps: Step[] = [];
  @property({ attribute: false }) symbols: Symbol[] = [];
  @property({ attribute: false }) answer?: ExhibitAnswer;
  @property() theme: Theme = 'light';
  /** Step under way; -1 before the tour. */
  @state() private at = -1;
  @state() private revealed = false;
  /** Place of the mark between the ends, 0 to 1, once it has been set. */
  @state() private mark?: number;
  /** Heights of the handles, 0 to 1 of the axis, once one has been moved. */
  @state() private curve?: number[];
  private dragged = -1;

  override willUpdate(changes: PropertyValues<this>): void {
    if (changes.has('steps')) this.at = -1;
    const act = this.step?.act;
    if (changes.has('answer') && act?.type === 'find' && !this.revealed) {
      const value = this.currentOf(act.symbol);
      if (value !== undefined && value >= act.low && value <= act.high) this.revealed = true;
    }
  }

  private get step(): Step | undefined {
    return this.steps[this.at];
  }

  private currentOf(symbol: string): number | undefined {
    return this.answer?.values.find((v) => v.symbol === symbol)?.value ?? undefined;
  }

  private go(at: number): void {
    this.at = at;
    this.revealed = false;
    this.mark = undefined;
    this.curve = undefined;
    const step = this.step;
    if (step) this.dispatchEvent(new CustomEvent('tour-settings', { detail: step.settings }));
    this.hide();
  }

  private hide(): void {
    const act = this.revealed ? undefined : this.step?.act;
    const detail =
      act?.type === 'mark' ? { symbol: act.symbol } : act?.type === 'draw' ? { view: act.view } : {};
    this.dispatchEvent(new CustomEvent('tour-hides', { detail }));
  }

  private reveal(): void {
    this.revealed = true;
    this.hide();
  }

  private atMark({ min, max, log }: Mark, place: number): number {
    return log ? min * (max / min) ** place : min + (max - min) * place;
  }

  private markTemplate(act: Mark): TemplateResult {
    const symbol = this.symbols.find((s) => s.id === act.symbol);
    const guess = this.mark === undefined ? undefined : this.atMark(act, this.mark);
    const value = this.currentOf(act.symbol);
    const unit = symbol?.unit ? ` ${symbol.unit}` : '';
    return html`<div class="row">
        <input
          type="range"
          min="0"
          max="1000"
          aria-label="Your mark: ${symbol?.meaning ?? act.symbol}"
          aria-valuetext=${guess === undefined ? 'not set' : `${formatNumber(guess, 3)}${unit}`}
          .value=${String((this.mark ?? 0.5) * 1000)}
          ?disabled=${this.revealed}
          @input=${(e: Event) => (this.mark = Number((e.target as HTMLInputElement).value) / 1000)}
        />
        <span class="guess"
          >${guess === undefined ? 'set your mark' : `${formatNumber(guess, 3)}${unit}`}</span
        >
        ${this.revealed ? nothing : this.revealButton(this.mark !== undefined && value !== undefined)}
      </div>
      ${
        this.revealed && guess !== undefined && value !== undefined
          ? html`<p class="reveal">
              It is <b>${formatNumber(value, 3)}${unit}</b>, you said ${formatNumber(guess, 3)}${unit}.
              ${this.step?.reveal}
            </p>`
          : nothing
      }`;
  }

  private revealButton(ready: boolean): TemplateResult {
    return html`<button class="primary" ?disabled=${!ready} @click=${() => this.reveal()}>Reveal</button>`;
  }

  private findTemplate(act: Extract<Act, { type: 'find' }>): TemplateResult {
    const symbol = this.symbols.find((s) => s.id === act.symbol);
    return html`<p class="row">
        <span
          >${symbol?.letter ?? act.symbol} is
          <b>${formatNumber(this.currentOf(act.symbol))}</b> ${symbol?.unit ?? ''}; get it between
          ${formatNumber(act.low)} and ${formatNumber(act.high)} with the controls.</span
        >
      </p>
      ${this.revealed ? html`<p class="reveal">Found. ${this.step?.reveal}</p>` : nothing}`;
  }

  private lines(act: Draw): Lines | undefined {
    const view = this.answer?.panel?.views.find((v: View) => v.id === act.view);
    return view?.kind === 'lines' ? view : undefined;
  }

  /** Picture with axes that do not give the curve away but for their range. */
  private pad(act: Draw): ReturnType<typeof drawLines> | undefined {
    const lines = this.lines(act);
    if (!lines) return undefined;
    const frame: Frame = { ...FRAME, palette: PALETTES[this.theme] };
    const whole = drawLines(lines, frame);
    const series = this.revealed ? lines.series : lines.series.filter((s) => s.label !== act.series);
    const domains = {
      x: { ...lines.x, domain: whole.x.domain },
      y: { ...lines.y, domain: whole.y.domain },
    };
    return drawLines({ ...lines, ...domains, series, marks: this.revealed ? lines.marks : [] }, frame);
  }

  private place(index: number, height: number): void {
    if (this.revealed) return;
    const next = this.curve ?? Array<number>(HANDLES).fill(0.5);
    this.curve = next.map((h, i) => (i === index ? Math.min(1, Math.max(0, height)) : h));
  }

  private static valueAt(scale: AxisScale, bottom: number, top: number, height: number): number {
    return scale.invert(bottom + (top - bottom) * height);
  }

  private drawTemplate(act: Draw): TemplateResult {
    const pad = this.pad(act);
    if (!pad) return html`<p class="quiet">Calculating …</p>`;
    const { plot, x, y } = pad;
    const heights = this.curve ?? Array<number>(HANDLES).fill(0.5);
    const at = (i: number): [number, number] => [
      plot.left + ((plot.right - plot.left) * i) / (HANDLES - 1),
      plot.bottom + (plot.top - plot.bottom) * heights[i],
    ];
    const points = heights.map((_, i) => at(i).join(',')).join(' ');
    const drag = (event: PointerEvent): void => {
      if (this.dragged < 0) return;
      const box = (event.currentTarget as SVGElement).getBoundingClientRect();
      const scale = FRAME.width / box.width;
      const px = (event.clientX - box.left) * scale;
      const py = (event.clientY - box.top) * scale;
      const near = Math.round(((px - plot.left) / (plot.right - plot.left)) * (HANDLES - 1));
      const index = Math.min(HANDLES - 1, Math.max(0, near));
      this.place(index, (py - plot.bottom) / (plot.top - plot.bottom));
    };
    const spoken = (i: number): string =>
      `${formatNumber(LinExhibitTour.valueAt(y, plot.bottom, plot.top, heights[i]), 3)} at ${formatNumber(x.invert(at(i)[0]), 3)}`;
    return html`<div class="pad">
        <svg
          viewBox="0 0 ${FRAME.width} ${FRAME.height}"
          role="group"
          aria-label="Draw the curve ${act.series}: seven handles, moved by pointer or arrow keys"
          @pointerdown=${(e: PointerEvent) => {
            this.dragged = 0;
            (e.currentTarget as Element).setPointerCapture(e.pointerId);
            drag(e);
          }}
          @pointermove=${drag}
          @pointerup=${() => (this.dragged = -1)}
        >
          <g aria-hidden="true">${pad.drawing}</g>
          <polyline
            points=${points}
            fill="none"
            stroke=${PALETTES[this.theme].run.b}
            stroke-width="2.5"
            stroke-dasharray="6 4"
          />
          ${heights.map((height, i) => {
            const [cx, cy] = at(i);
            return svg`<circle class="handle" cx=${cx} cy=${cy} r="12" fill=${PALETTES[this.theme].run.b} fill-opacity="0.35"
              stroke=${PALETTES[this.theme].run.b} tabindex=${this.revealed ? -1 : 0} role="slider"
              aria-label=${`Handle ${i + 1}`} aria-valuemin="0" aria-valuemax="100" aria-valuenow=${Math.round(height * 100)}
              aria-valuetext=${spoken(i)}
              @keydown=${(e: KeyboardEvent) => {
                const step = { ArrowUp: NUDGE, ArrowRight: NUDGE, ArrowDown: -NUDGE, ArrowLeft: -NUDGE }[
                  e.key
                ];
                if (step === undefined) return;
                e.preventDefault();
                this.place(i, height + step);
              }} />`;
          })}
        </svg>
      </div>
      <div class="row">${this.revealed ? nothing : this.revealButton(this.curve !== undefined)}</div>
      ${this.revealed ? this.scoreTemplate(act, x, y, plot, heights) : nothing}`;
  }

  /** How far the drawing was from the curve, in shares of the axis. */
  private scoreTemplate(
    act: Draw,
    x: AxisScale,
    y: AxisScale,
    plot: { left: number; right: number; top: number; bottom: number },
    heights: number[],
  ): TemplateResult {
    const series = this.lines(act)?.series.find((s) => s.label === act.series);
    let squares = 0;
    heights.forEach((height, i) => {
      if (!series) return;
      const wanted = x.invert(plot.left + ((plot.right - plot.left) * i) / (HANDLES - 1));
      let near = 0;
      series.x.forEach((v, k) => {
        if (Math.abs(v - wanted) < Math.abs(series.x[near] - wanted)) near = k;
      });
      const there = (y(series.y[near]) - plot.bottom) / (plot.top - plot.bottom);
      if (Number.isFinite(there)) squares += (there - height) ** 2;
    });
    const off = Math.sqrt(squares / heights.length);
    return html`<p class="reveal">
      Your curve is off by ${formatNumber(100 * off, 2)} % of the axis (RMS). ${this.step?.reveal}
    </p>`;
  }

  private actTemplate(step: Step): TemplateResult {
    switch (step.act.type) {
      case 'mark':
        return this.markTemplate(step.act);
      case 'draw':
        return this.drawTemplate(step.act);
      case 'find':
        return this.findTemplate(step.act);
    }
  }

  protected override render(): TemplateResult | typeof nothing {
    if (this.steps.length === 0) return nothing;
    const step = this.step;
    const last = this.at === this.steps.length - 1;
    return html`<section class="card" aria-label="Guided tour">
      <div class="head">
        <h2>Guided tour${step ? `: step ${this.at + 1} of ${this.steps.length}` : ''}</h2>
        ${
          step
            ? html`<button class="plain" @click=${() => this.go(-1)}>Leave</button>`
            : html`<span class="quiet">${this.steps.length} steps: predict, then see.</span
                ><button class="primary" @click=${() => this.go(0)}>Start</button>`
        }
      </div>
      ${
        step
          ? html`<p class="ask">${step.ask}</p>
              ${this.actTemplate(step)}
              <div class="row">
                ${
                  last
                    ? this.revealed
                      ? html`<button @click=${() => this.go(-1)}>Done</button>`
                      : nothing
                    : html`<button ?disabled=${!this.revealed} @click=${() => this.go(this.at + 1)}>
                        Next step
                      </button>`
                }
              </div>`
          : nothing
      }
    </section>`;
  }
}
