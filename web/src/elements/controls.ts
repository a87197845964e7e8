/** The controls, drawn from the list of settings that the engine declares. */
import { css, html, LitElement, nothing, svg, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import { live } from 'lit/directives/live.js';
import type { ChoiceProperty, Facts, Property, RangeProperty } from '../engine/protocol.ts';
import { formatNumber } from '../views/format.ts';
import { base } from './styles.ts';
import { fromSlider, STEPS, toSlider } from './scales.ts';

export interface SettingDetail {
  key: string;
  value: string;
  /** False while a slider moves. */
  commit: boolean;
}

const GROUPS: { id: string; title: string }[] = [
  { id: 'model', title: 'Model' },
  { id: 'input', title: 'What it reads' },
  { id: 'look', title: 'Where to look' },
  { id: 'intervene', title: 'Interventions' },
  { id: 'run', title: 'Calculation' },
];

/** On a narrow screen the other groups are closed, so that the pictures are not far below. */
const FIRST_GROUPS = new Set(['input']);

/** A range wider than this has a field and no slider: one pixel would be too many values. */
const WIDEST_SLIDER = 100_000;

const playShape = svg`<path d="M2.5 1v10l8-5z" fill="currentColor" />`;
const pauseShape = svg`<path d="M2 1h3v10H2zM7 1h3v10H7z" fill="currentColor" />`;

@customElement('lin-controls')
export class LinControls extends LitElement {
  static override styles = [
    base,
    css`
      section {
        padding: 0.85rem 0;
        border-top: 1px solid var(--line);
      }
      section:first-of-type {
        border-top: 0;
        padding-top: 0;
      }
      /* On a narrow screen closed groups stand beside each other. */
      @container (max-width: 899px) {
        :host {
          display: flex;
          flex-wrap: wrap;
          gap: 0 1.6rem;
        }
        section,
        section:first-of-type {
          flex: none;
          padding: 0.1rem 0;
          border: 0;
        }
        section:has(details[open]) {
          flex: 1 1 100%;
          padding: 0.3rem 0 0.9rem;
          border-bottom: 1px solid var(--line);
        }
      }
      section > details > summary {
        width: 100%;
        font-size: 0.74rem;
        font-weight: 600;
        letter-spacing: 0.07em;
        text-transform: uppercase;
        color: var(--quiet);
      }
      section > details[open] > summary {
        margin-bottom: 0.3rem;
      }
      summary .count {
        margin-left: auto;
        letter-spacing: 0;
        text-transform: none;
        color: var(--run-a);
      }
      .setting {
        margin: 0 0 0.75rem;
      }
      fieldset .setting {
        margin-bottom: 0.75rem;
      }
      fieldset .name::after,
      fieldset .head label::after {
        content: ' (fixed)';
        color: var(--quiet);
        font-weight: 400;
      }
      .setting.lit {
        box-shadow: -4px 0 0 var(--run-b);
      }
      .setting:last-child {
        margin-bottom: 0;
      }
      .head {
        display: flex;
        align-items: center;
        gap: 0.4rem;
        min-height: 28px;
      }
      .head label,
      .head .name {
        font-size: 0.9rem;
        font-weight: 500;
      }
      .head .name {
        white-space: nowrap;
      }
      .head .value {
        margin-left: auto;
        display: inline-flex;
        align-items: center;
        gap: 0.3rem;
        font-size: 0.86rem;
        color: var(--quiet);
      }
      .row {
        display: flex;
        align-items: center;
        gap: 0.5rem;
      }
      .run {
        flex: none;
        width: 1.35rem;
        font-size: 0.76rem;
        font-weight: 700;
        text-align: center;
        border-bottom: 2px solid var(--run-a);
        color: var(--run-a);
      }
      .run.b {
        border-bottom-style: dashed;
        border-color: var(--run-b);
        color: var(--run-b);
      }
      select,
      textarea,
      input[type='number'] {
        width: 100%;
        min-height: 30px;
        padding: 0.2rem 0.5rem;
        border: 1px solid var(--line-strong);
        border-radius: var(--radius);
        background: var(--surface);
        font-size: 0.88rem;
      }
      input[type='number'] {
        width: 5rem;
        text-align: right;
        font-variant-numeric: tabular-nums;
        appearance: textfield;
        padding: 0.1rem 0.4rem;
        min-height: 26px;
      }
      input[type='number']::-webkit-inner-spin-button {
        display: none;
      }
      textarea {
        resize: vertical;
        min-height: 4.2rem;
        font-family: var(--mono);
        font-size: 0.82rem;
        line-height: 1.45;
      }
      input[type='range'] {
        appearance: none;
        flex: 1;
        width: 100%;
        min-width: 0;
        height: 26px;
        margin: 0;
        background: none;
        cursor: pointer;
      }
      input[type='range']::-webkit-slider-runnable-track {
        height: 3px;
        border-radius: 2px;
        background: linear-gradient(var(--tone, var(--run-a)), var(--tone, var(--run-a))) 0 /
          var(--filled, 0%) 100% no-repeat var(--line-strong);
      }
      input[type='range']::-moz-range-track {
        height: 3px;
        border-radius: 2px;
        background: var(--line-strong);
      }
      input[type='range']::-webkit-slider-thumb {
        appearance: none;
        width: 16px;
        height: 16px;
        margin-top: -6.5px;
        border-radius: 50%;
        border: 2px solid var(--tone, var(--run-a));
        background: var(--surface);
      }
      input[type='range']::-moz-range-thumb {
        width: 12px;
        height: 12px;
        border-radius: 50%;
        border: 2px solid var(--tone, var(--run-a));
        background: var(--surface);
      }
      .big input[type='range']::-webkit-slider-runnable-track {
        height: 5px;
      }
      .big input[type='range']::-webkit-slider-thumb {
        width: 22px;
        height: 22px;
        margin-top: -8.5px;
      }
      .big input[type='range'] {
        height: 34px;
      }
      .big .head label {
        font-weight: 600;
      }
      .b-tone {
        --tone: var(--run-b);
      }
      .ends {
        display: flex;
        justify-content: space-between;
        font-size: 0.74rem;
        color: var(--quiet);
        margin-top: -0.1rem;
      }
      .segments {
        display: grid;
        grid-auto-columns: 1fr;
        grid-auto-flow: column;
        border: 1px solid var(--line-strong);
        border-radius: var(--radius);
        overflow: hidden;
      }
      .segments label {
        position: relative;
        display: grid;
        place-items: center;
        min-height: 30px;
        padding: 0.1rem 0.3rem;
        font-size: 0.82rem;
        text-align: center;
        cursor: pointer;
        line-height: 1.2;
      }
      .segments label + label {
        border-left: 1px solid var(--line-strong);
      }
      .segments input {
        position: absolute;
        opacity: 0;
        inset: 0;
        width: 100%;
        height: 100%;
        margin: 0;
        cursor: pointer;
      }
      .segments label:has(:checked) {
        background: var(--tint-a);
        color: var(--run-a);
        font-weight: 600;
      }
      .segments label:has(:focus-visible) {
        outline: 2px solid var(--run-a);
        outline-offset: -2px;
      }
      .switch {
        appearance: none;
        flex: none;
        width: 34px;
        height: 24px;
        margin: 0;
        cursor: pointer;
        border-radius: 12px;
        background:
          radial-gradient(circle at 11px 50%, var(--surface) 0 6px, transparent 6.5px),
          linear-gradient(var(--line-strong), var(--line-strong)) center / 34px 18px no-repeat;
        clip-path: inset(3px 0 round 9px);
      }
      .switch:focus-visible {
        clip-path: none;
      }
      .switch:checked {
        background:
          radial-gradient(circle at 23px 50%, var(--surface) 0 6px, transparent 6.5px),
          linear-gradient(var(--tone, var(--run-a)), var(--tone, var(--run-a))) center / 34px 18px no-repeat;
      }
      @media (forced-colors: active) {
        .switch {
          appearance: auto;
          clip-path: none;
        }
      }
      .off {
        color: var(--quiet);
        font-size: 0.84rem;
      }
      .help {
        font-size: 0.78rem;
        color: var(--quiet);
        line-height: 1.45;
      }
      .ask {
        min-width: 24px;
        min-height: 24px;
        padding: 0;
        border-radius: 50%;
        font-size: 0.76rem;
        font-weight: 600;
      }
      .head .ask:last-child {
        margin-left: auto;
      }
      .ask[aria-expanded='true'] {
        color: var(--run-a);
        border-color: var(--run-a);
      }
      .facts {
        font-size: 0.78rem;
        color: var(--quiet);
        line-height: 1.45;
        margin-top: 0.35rem;
      }
    `,
  ];

  @property({ attribute: false }) properties: Property[] = [];
  /** The state: keys of the link, only where they differ from the default. */
  @property({ attribute: false }) values = new URLSearchParams();
  @property({ attribute: false }) facts?: Facts | null;
  @property({ type: Boolean }) compare = false;
  @property({ type: Boolean }) playing = false;
  /** Settings that are not shown. */
  @property({ attribute: false }) omit: ReadonlySet<string> = new Set();
  /** Settings that are shown and cannot be changed. */
  @property({ attribute: false }) fixed: ReadonlySet<string> = new Set();
  /** Id of the control that a symbol lights up. */
  @property() lit = '';
  @state() private helpOpen: ReadonlySet<string> = new Set();
  /** There is room for all groups to be open; as wide as the window if nothing is said. */
  @property({ attribute: false }) wide?: boolean;

  /** The last value of an intervention that was switched off, for when it is switched on again. */
  private readonly lastOn = new Map<string, string>();

  private value(p: Property, b: boolean): string {
    return (b ? this.values.get(`b.${p.id}`) : null) ?? this.values.get(p.id) ?? p.default;
  }

  private emit(key: string, value: string, commit: boolean): void {
    const detail: SettingDetail = { key, value, commit };
    this.dispatchEvent(new CustomEvent('setting', { detail, bubbles: true, composed: true }));
  }

  /** Whether a setting matters in the present state of either run. */
  private matters(p: Property): boolean {
    if (!p.when || p.when.length === 0) return true;
    return p.when.some((condition) => {
      const [id, wanted] = condition.split('=');
      const other = this.properties.find((q) => q.id === id);
      const fits = (value: string) =>
        wanted.endsWith('*') ? value.startsWith(wanted.slice(0, -1)) : value === wanted;
      return other && [false, this.compare].some((b) => fits(this.value(other, b)));
    });
  }

  /** The bounds that the model at hand sets within the declared ones. */
  private bounded(p: RangeProperty): RangeProperty {
    const facts = this.facts;
    if (!facts) return p;
    const context = this.properties.find((q) => q.id === 'context');
    const most: Record<string, number> = {
      layer: facts.layers - 1,
      head: facts.heads - 1,
      context: facts.contextMax,
      position: context ? Number(this.value(context, false)) - 1 : p.max,
    };
    return { ...p, max: Math.max(p.min, Math.min(p.max, most[p.id] ?? p.max)) };
  }

  private choiceTemplate(p: ChoiceProperty, b: boolean): TemplateResult {
    const key = b ? `b.${p.id}` : p.id;
    const now = this.value(p, b);
    const name = this.compare && p.comparable ? `${p.label}, run ${b ? 'B' : 'A'}` : p.label;
    const short = p.choices.length <= 3 && p.choices.every((c) => c.label.length < 16);
    if (short) {
      return html`<div class="segments" role="radiogroup" aria-label=${name}>
        ${p.choices.map(
          (c) =>
            html`<label
              ><input
                type="radio"
                name=${key}
                .value=${c.id}
                .checked=${live(c.id === now)}
                @change=${() => this.emit(key, c.id, true)}
              /><span>${c.label}</span></label
            >`,
        )}
      </div>`;
    }
    return html`<select
      aria-label=${name}
      @change=${(e: Event) => this.emit(key, (e.target as HTMLSelectElement).value, true)}
    >
      ${p.choices.map((c) => html`<option value=${c.id} .selected=${live(c.id === now)}>${c.label}</option>`)}
    </select>`;
  }

  private rangeTemplate(
    declared: RangeProperty,
    b: boolean,
  ): { field: TemplateResult; slider: TemplateResult | typeof nothing } {
    const p = this.bounded(declared);
    const key = b ? `b.${p.id}` : p.id;
    const now = Number(this.value(p, b));
    const name = this.compare && p.comparable ? `${p.label}, run ${b ? 'B' : 'A'}` : p.label;
    const at = Math.round(toSlider(p, now));
    const narrow = p.log || p.max - p.min <= WIDEST_SLIDER;
    const spoken = now === -1 ? 'last' : `${formatNumber(now, 6)}${p.unit ? ` ${p.unit}` : ''}`;
    const steps =
      p.type === 'integer' && !p.log && p.min !== -1 && p.max - p.min < STEPS ? p.max - p.min : STEPS;
    const slide = (e: Event, commit: boolean): void => {
      const step = Number((e.target as HTMLInputElement).value) * (STEPS / steps);
      this.emit(key, String(fromSlider(p, step)), commit);
    };
    return {
      field: html`<input
        type="number"
        aria-label=${`${name}${p.unit ? ` in ${p.unit}` : ''}`}
        min=${p.min}
        max=${p.max}
        step=${p.type === 'integer' ? 1 : 'any'}
        .value=${live(String(this.value(p, b)))}
        @change=${(e: Event) => this.emit(key, (e.target as HTMLInputElement).value, true)}
      />`,
      slider:
        narrow && steps > 0
          ? html`<input
              type="range"
              class=${b ? 'b-tone' : ''}
              style="--filled:${(at / STEPS) * 100}%"
              aria-label=${`${name}, slider`}
              aria-valuetext=${spoken}
              min="0"
              max=${steps}
              step="1"
              .value=${live(String(Math.round((at * steps) / STEPS)))}
              @input=${(e: Event) => slide(e, false)}
              @change=${(e: Event) => slide(e, true)}
            />`
          : nothing,
    };
  }

  private runs(p: Property): boolean[] {
    return this.compare && p.comparable ? [false, true] : [false];
  }

  private runMark(p: Property, b: boolean): TemplateResult | typeof nothing {
    return this.compare && p.comparable
      ? html`<span class="run ${b ? 'b' : ''}" aria-hidden="true">${b ? 'B' : 'A'}</span>`
      : nothing;
  }

  private interventionTemplate(p: RangeProperty): TemplateResult {
    return html`<div class=${this.settingClass(p)} data-setting=${p.id}>
      ${this.runs(p).map((b, i) => {
        const key = b ? `b.${p.id}` : p.id;
        const now = this.value(p, b);
        const on = now !== p.default;
        if (on) this.lastOn.set(key, now);
        const { field, slider } = this.rangeTemplate(p, b);
        const name = `${p.label}${this.compare && p.comparable ? `, run ${b ? 'B' : 'A'}` : ''}`;
        const toggle = html`<input
          type="checkbox"
          role="switch"
          class="switch"
          aria-label=${name}
          .checked=${live(on)}
          @change=${(e: Event) => {
            const wanted = (e.target as HTMLInputElement).checked;
            const start = this.lastOn.get(key) ?? (p.suggest || String(fromSlider(p, STEPS / 2)));
            this.emit(key, wanted ? start : p.default, true);
          }}
        />`;
        const single = this.runs(p).length === 1;
        return html`${
          i === 0
            ? html`<div class="head">
                  ${single ? toggle : nothing}<span class="name">${p.label}</span>${this.helpButton(p)}
                </div>
                ${this.helpTemplate(p)}`
            : nothing
        }
        ${
          single && !on
            ? nothing
            : html`<div class="row ${b ? 'b-tone' : ''}">
                ${this.runMark(p, b)}${single ? nothing : toggle}
                ${on ? html`${slider}${field}` : html`<span class="off">off</span>`}
              </div>`
        }`;
      })}
    </div>`;
  }

  private settingClass(p: Property): string {
    return p.id === this.lit ? 'setting lit' : 'setting';
  }

  private helpButton(p: Property): TemplateResult | typeof nothing {
    if (!p.help) return nothing;
    const open = this.helpOpen.has(p.id);
    return html`<button
      class="plain ask"
      aria-expanded=${open}
      aria-label="What it does: ${p.label}"
      title="What it does"
      @click=${() => {
        const next = new Set(this.helpOpen);
        if (!next.delete(p.id)) next.add(p.id);
        this.helpOpen = next;
      }}
    >
      ?
    </button>`;
  }

  private helpTemplate(p: Property): TemplateResult | typeof nothing {
    return this.helpOpen.has(p.id) ? html`<p class="help">${p.help}</p>` : nothing;
  }

  private settingTemplate(p: Property): TemplateResult {
    if (p.group === 'intervene' && p.type !== 'choice' && p.type !== 'text')
      return this.interventionTemplate(p);
    if (p.type === 'choice') {
      return html`<div class=${this.settingClass(p)} data-setting=${p.id}>
        <div class="head"><span class="name">${p.label}</span>${this.helpButton(p)}</div>
        ${this.helpTemplate(p)}
        ${this.runs(p).map(
          (b) =>
            html`<div class="row">
              ${this.runMark(p, b)}
              <div style="flex:1;min-width:0">${this.choiceTemplate(p, b)}</div>
            </div>`,
        )}
        ${p.id === 'model' && this.facts ? html`<p class="facts">${this.facts.description}</p>` : nothing}
      </div>`;
    }
    if (p.type === 'text') {
      return html`<div class=${this.settingClass(p)} data-setting=${p.id}>
        <div class="head"><label for=${p.id}>${p.label}</label>${this.helpButton(p)}</div>
        ${this.helpTemplate(p)}
        <textarea
          id=${p.id}
          maxlength=${p.maxBytes}
          spellcheck="false"
          .value=${live(this.value(p, false))}
          @input=${(e: Event) => this.emit(p.id, (e.target as HTMLTextAreaElement).value, false)}
          @change=${(e: Event) => this.emit(p.id, (e.target as HTMLTextAreaElement).value, true)}
        ></textarea>
      </div>`;
    }
    const big = p.id === 'context';
    return html`<div class="${this.settingClass(p)} ${big ? 'big' : ''}" data-setting=${p.id}>
      ${this.runs(p).map((b) => {
        const { field, slider } = this.rangeTemplate(p, b);
        const bounds = this.bounded(p);
        return html`<div class="head">
            ${this.runMark(p, b)}<span class="name">${p.label}</span>${this.helpButton(p)}<span class="value"
              >${field}${p.unit ? html`<span>${Number(this.value(p, b)) === -1 ? 'last' : p.unit}</span>` : nothing}</span
            >
          </div>
          ${this.helpTemplate(p)}
          <div class="row">${slider}${big ? this.playTemplate() : nothing}</div>
          ${
            big
              ? html`<div class="ends" aria-hidden="true">
                  <span>${formatNumber(bounds.min)}</span><span>${formatNumber(bounds.max)}</span>
                </div>`
              : nothing
          }`;
      })}
    </div>`;
  }

  private playTemplate(): TemplateResult {
    return html`<button
      aria-pressed=${this.playing}
      title=${this.playing ? 'Stop' : 'Let the context grow'}
      @click=${() => this.dispatchEvent(new CustomEvent('play', { bubbles: true, composed: true }))}
    >
      <svg width="12" height="12" viewBox="0 0 12 12" aria-hidden="true">
        ${this.playing ? pauseShape : playShape}
      </svg>
      <span class="hidden-text">Let the context grow</span>
    </button>`;
  }

  /** The lab's groups, then those that an exhibit has beside them, under their own names. */
  private get groups(): { id: string; title: string }[] {
    const own = new Set(this.properties.map((p) => p.group).filter((id) => !GROUPS.some((g) => g.id === id)));
    const named = [...own].map((id) => ({ id, title: id.charAt(0).toUpperCase() + id.slice(1) }));
    const present = GROUPS.filter((g) => this.properties.some((p) => p.group === g.id));
    return [...named, ...present];
  }

  private opens(id: string, index: number): boolean {
    return this.properties.some((p) => FIRST_GROUPS.has(p.group)) ? FIRST_GROUPS.has(id) : index === 0;
  }

  protected override render(): TemplateResult {
    const wide = this.wide ?? matchMedia('(min-width: 900px)').matches;
    return html`${this.groups.map(({ id, title }, i) => {
      const members = this.properties.filter(
        (p) => p.group === id && !this.omit.has(p.id) && this.matters(p),
      );
      if (members.length === 0) return nothing;
      const set = members.filter((p) => [p.id, `b.${p.id}`].some((key) => this.values.has(key))).length;
      return html`<section aria-label=${title}>
        <details ?open=${wide || this.opens(id, i)}>
          <summary>${title}${set > 0 ? html`<span class="count">${set} changed</span>` : nothing}</summary>
          ${members.map((p) =>
            this.fixed.has(p.id)
              ? html`<fieldset disabled>${this.settingTemplate(p)}</fieldset>`
              : this.settingTemplate(p),
          )}
          <slot name=${id}></slot>
        </details>
      </section>`;
    })}`;
  }
}
