/**
 * `<linearium-mixers>`: every mixer in one table, and two of them side by side in the lab's panels. Its
 * state is the query of the address, with the lab's own keys, so that a link to either page shows the
 * same two models.
 */
import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, query, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import builtInProperties from 'virtual:properties';
import { EngineClient, type EngineListener } from '../engine/client.ts';
import type { Configured, Need, Progress, Property } from '../engine/protocol.ts';
import { Cursor } from '../views/cursor.ts';
import { save } from '../views/export.ts';
import { csvOf } from '../views/table.ts';
import type { Panel } from '../views/types.ts';
import { labStyles } from './lab-styles.ts';
import './mixer-card.ts';
import type { SourceDetail } from './mixer-source.ts';
import './mixer-table.ts';
import type { Entry, LinMixerTable, PickDetail } from './mixer-table.ts';
import { mixersStyles } from './mixers-styles.ts';
import './panel.ts';
import type { LinPanel } from './panel.ts';
import { base, tokens } from './styles.ts';
import { themeSwitch } from './theme-switch.ts';
import { ThemeState } from './theme.ts';

/** What is shown when the address says nothing. */
const FIRST: Record<string, string> = {
  model: 'random-gla',
  'b.model': 'random-ssd',
  equal: 'state',
  context: '1024',
};
const PREFIX = 'random-';
const CONTEXTS = [256, 1024, 4096, 16_384, 65_536];
const PANELS = [
  { id: 'receptive-field', title: 'How far one output looks back' },
  { id: 'decay', title: 'How fast each head forgets' },
  { id: 'state', title: 'What the state holds' },
  { id: 'cost', title: 'What a longer context costs the model' },
];
const SEGMENTS: [id: string, title: string][] = [
  ['off', 'Nothing: usual sizes'],
  ['state', 'State bytes'],
  ['parameters', 'Parameters'],
  ['operations', 'Operations'],
];
/** Work that takes no longer than this needs no progress bar. */
const PATIENCE_MS = 500;

/** The file of the source that is open, in the address behind `#`: `a:scan_outer.wgsl`. */
const HASH = /^#(a|b):([\w.]+)$/;

@customElement('linearium-mixers')
export class LineariumMixers extends LitElement implements EngineListener {
  static override styles = [base, tokens, labStyles, mixersStyles];

  @state() private properties: Property[] = builtInProperties;
  @state() private values = new URLSearchParams();
  @state() private entries: Entry[] = [];
  @state() private panelsById = new Map<string, Panel>();
  @state() private progressNow?: Progress;
  @state() private busy = false;
  @state() private notices: { text: string; alarm: boolean }[] = [];
  @state() private gpuOk?: boolean;
  @state() private gpuReport = '';
  /** How many mixers have been measured of those that are to be, while it goes on. */
  @state() private measuring?: { done: number; total: number; gpu: boolean };
  @state() private source: { a?: string; b?: string } = {};
  @query('lin-mixer-table') private table?: LinMixerTable;

  readonly engine = new EngineClient(this, 'complete');
  private readonly cursor = new Cursor();
  private readonly themes = new ThemeState();
  private busySince = 0;
  /** The budget and seed that the rows are for. */
  private rowsFor = '';
  private cancelled = false;
  private readonly inSight = new Set<string>();
  private readonly sight = new IntersectionObserver((changes) => {
    for (const { target, isIntersecting } of changes) {
      const { name } = target as LinPanel;
      if (isIntersecting) this.inSight.add(name);
      else this.inSight.delete(name);
    }
    this.engine.look([...this.inSight]);
  });

  constructor() {
    super();
    this.readAddress();
    this.engine.prefetch(null, 'sample');
    this.engine.start();
    this.configure();
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.themes.addEventListener('change', this.onTheme);
    addEventListener('popstate', this.onHistory);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.themes.removeEventListener('change', this.onTheme);
    removeEventListener('popstate', this.onHistory);
    this.sight.disconnect();
    this.engine.stop();
  }

  override updated(changes: PropertyValues): void {
    if (changes.has('entries'))
      for (const panel of this.renderRoot.querySelectorAll('lin-panel')) this.sight.observe(panel);
  }

  private readonly onTheme = (): void => this.requestUpdate();

  private readonly onHistory = (): void => {
    this.readAddress();
    this.configure();
  };

  // State: the link and the engine.

  private readAddress(): void {
    const values = new URLSearchParams(location.search);
    if (values.size === 0) for (const [key, value] of Object.entries(FIRST)) values.set(key, value);
    for (const key of ['model', 'b.model']) {
      const model = values.get(key);
      if (model?.startsWith(PREFIX) || (model === null && key !== 'model')) continue;
      values.set(key, FIRST[key]!);
      if (model !== null)
        this.tell(
          `“${model}” is no mixer with random weights: ${FIRST[key]} is shown, others are in the lab`,
          false,
        );
    }
    this.values = values;
    const open = HASH.exec(location.hash);
    this.source = open ? { [open[1]!]: open[2] } : {};
  }

  private get(key: string): string {
    return this.values.get(key) ?? this.properties.find((p) => p.id === key)?.default ?? '';
  }

  private get a(): string {
    return this.get('model').slice(PREFIX.length);
  }

  private get b(): string {
    return (this.values.get('b.model') ?? '').slice(PREFIX.length);
  }

  private configure(): void {
    this.busySince = performance.now();
    this.engine.configure(this.values.toString(), this.get('backend') !== 'cpu');
  }

  private set(key: string, value: string | undefined): void {
    const values = new URLSearchParams(this.values);
    if (value === undefined) values.delete(key);
    else values.set(key, value);
    this.values = values;
    this.source = {};
    history.pushState(null, '', this.address(values.toString(), ''));
    this.configure();
  }

  private address(link: string, hash: string): string {
    return `${location.pathname}${link ? `?${link}` : ''}${hash}`;
  }

  private tell(text: string, alarm: boolean): void {
    this.notices = [...this.notices.filter((n) => n.text !== text).slice(-5), { text, alarm }];
  }

  private readonly onPick = (event: CustomEvent<PickDetail>): void => {
    const { run, id } = event.detail;
    this.set(run === 'a' ? 'model' : 'b.model', PREFIX + id);
  };

  private onSource(run: 'a' | 'b', file: SourceDetail): void {
    this.source = { ...this.source, [run]: file };
    const hash = file === undefined ? '' : `#${run}:${file}`;
    history.replaceState(null, '', this.address(this.values.toString(), hash));
  }

  // What the engine says.

  ready(properties: Property[]): void {
    this.properties = properties;
  }

  configured({ query: link, notices }: Configured): void {
    const values = new URLSearchParams(link);
    // Run B with the mixer of run A is the same to the engine; the page shows that it was chosen.
    const b = this.values.get('b.model');
    if (b !== null && !values.has('b.model')) values.set('b.model', b);
    if (values.toString() !== this.values.toString()) this.values = values;
    for (const notice of notices) this.tell(notice, false);
    history.replaceState(null, '', this.address(this.values.toString(), location.hash));
    void this.fetchRows();
  }

  private async fetchRows(): Promise<void> {
    const wanted = `${this.get('equal')} ${this.get('seed')}`;
    if (wanted === this.rowsFor) return;
    this.rowsFor = wanted;
    this.cancelled = true;
    const ids = this.choices('model')
      .map(([id]) => id)
      .filter((id) => id.startsWith(PREFIX))
      .map((id) => id.slice(PREFIX.length));
    // Those that are shown below come first; one by one, so that the panels are served in between.
    ids.sort((x, y) => Number(y === this.a || y === this.b) - Number(x === this.a || x === this.b));
    const entries: Entry[] = [];
    try {
      for (const id of ids) {
        const row = await this.engine.mixer(id);
        if (wanted !== this.rowsFor) return;
        entries.push({ row });
        // While new sizes are made the table keeps those before.
        if (this.entries.length < ids.length) this.entries = [...entries];
      }
      this.entries = entries;
      await this.measure(false);
    } catch (error) {
      this.rowsFor = '';
      this.tell((error as Error).message, true);
    }
  }

  /** Measures all mixers, one after the other, so that the panels are served in between. */
  private async measure(gpu: boolean): Promise<void> {
    const { rowsFor } = this;
    this.cancelled = false;
    for (const [done, { row }] of this.entries.entries()) {
      this.measuring = { done, total: this.entries.length, gpu };
      const measured = await this.engine.measureMixer(row.id, gpu);
      if (rowsFor !== this.rowsFor) return;
      this.entries = this.entries.map((e) =>
        e.row.id === row.id ? { ...e, [gpu ? 'gpu' : 'cpu']: measured } : e,
      );
      if (this.cancelled) break;
    }
    this.measuring = undefined;
  }

  private measureAgain(gpu: boolean): void {
    this.measure(gpu).catch((error: unknown) => {
      this.measuring = undefined;
      this.tell((error as Error).message, true);
    });
  }

  panels(panels: Panel[]): void {
    const all = new Map(this.panelsById);
    for (const panel of panels) all.set(panel.id, panel);
    this.panelsById = all;
  }

  progress(progress: Progress): void {
    this.progressNow = progress;
    this.busy = progress.state === 'working' && performance.now() - this.busySince > PATIENCE_MS;
  }

  gpu(ok: boolean, report: string): void {
    this.gpuOk = ok;
    this.gpuReport = report;
    if (!ok && this.get('backend') === 'gpu') this.tell(`${report} The page goes on with the CPU.`, false);
  }

  /** No file is given on this page. */
  reading(): void {}

  fileWanted(kind: Need['kind']): void {
    this.tell(
      `This link reads a ${kind} of somebody's own machine: open it in the lab and give it there.`,
      false,
    );
  }

  failed(sentence: string): void {
    this.tell(sentence, true);
  }

  told(sentence: string): void {
    this.tell(sentence, false);
  }

  // What is on screen.

  private headerTemplate(): TemplateResult {
    return html`<header class="top">
      <div class="brand">
        <h1>Linearium</h1>
        <p>Every sequence mixer, side by side.</p>
      </div>
      <nav class="no-print" aria-label="Page">
        <a href="./index.html">The lab</a>
        <a href="./mixers.html" aria-current="page">All mixers</a>
        <a href="./prune.html">Pruning</a>
        <a href="./exhibits.html">Exhibits</a>
        ${themeSwitch(this.themes)}
      </nav>
    </header>`;
  }

  private select(key: string, label: string, options: [string, string][]): TemplateResult {
    const value = this.get(key);
    // A link may hold another value than those that are offered here.
    const all = options.some(([id]) => id === value)
      ? options
      : [[value, value] as [string, string], ...options];
    return html`<label
      ><span>${label}</span
      ><select @change=${(e: Event) => this.set(key, (e.target as HTMLSelectElement).value)}>
        ${all.map(([id, name]) => html`<option value=${id} ?selected=${id === value}>${name}</option>`)}
      </select></label
    >`;
  }

  private choices(key: string): [string, string][] {
    const property = this.properties.find((p) => p.id === key);
    return property?.type === 'choice' ? property.choices.map((c) => [c.id, c.label]) : [];
  }

  private controlsTemplate(): TemplateResult {
    return html`<div class="bar no-print">
      <fieldset>
        <legend>Held equal</legend>
        <div class="segments">
          ${SEGMENTS.map(
            ([id, title]) =>
              html`<label
                ><input
                  type="radio"
                  name="equal"
                  .checked=${this.get('equal') === id}
                  @change=${() => this.set('equal', id)}
                /><span>${title}</span></label
              >`,
          )}
        </div>
      </fieldset>
      ${this.select(
        'context',
        'Context',
        CONTEXTS.map((n) => [String(n), `${n.toLocaleString('en-US')} tokens`]),
      )}
      ${this.select(
        'input',
        'Input',
        this.choices('input').filter(([id]) => ['sample', 'newlines', 'noise'].includes(id)),
      )}
      ${this.select('backend', 'Back end', this.choices('backend'))}
    </div>`;
  }

  private toolsTemplate(): TemplateResult {
    const m = this.measuring;
    const cpu = this.entries.find((e) => e.cpu)?.cpu?.time.backend;
    const gpu = this.entries.find((e) => e.gpu)?.gpu?.time.backend;
    return html`<div class="tools">
      ${
        m
          ? html`<progress aria-label="Mixers measured" max=${m.total} .value=${m.done}></progress>
              <span>measuring ${m.done + 1} of ${m.total} on the ${m.gpu ? 'GPU' : 'CPU'}</span>
              <button class="no-print" @click=${() => (this.cancelled = true)}>Stop</button>`
          : html`<span class="measured"
                >${cpu ? `Measured on ${[cpu, gpu].filter(Boolean).join(' and ')}` : ''}</span
              >
              <button class="no-print" @click=${() => this.measureAgain(false)}>Measure again</button>
              ${
                this.gpuOk
                  ? html`<button class="no-print" @click=${() => this.measureAgain(true)}>
                      Measure on the GPU
                    </button>`
                  : nothing
              }`
      }
      <button class="no-print end" @click=${() => this.saveTable()}>Table as CSV</button>
    </div>`;
  }

  private saveTable(): void {
    if (!this.table) return;
    const { columns, rows } = this.table.plain();
    const backends = this.entries.flatMap((e) => [e.cpu, e.gpu]).flatMap((m) => (m ? [m.time.backend] : []));
    const panel: Panel = {
      id: 'mixers',
      title: 'All mixers',
      summary: '',
      views: [],
      provenance: {
        backend: [...new Set(backends)].join(', '),
        formula: '',
        source: 'one layer of width 128 with random weights',
        tolerance: '',
        selfCheck: this.gpuReport.split('\n')[0] ?? '',
        coveredTokens: 1024,
        contextTokens: 1024,
        interventions: [],
      },
    };
    const view = { id: 'table', title: 'All mixers', kind: 'table' as const, columns, rows };
    const text = csvOf(view, panel, location.href);
    save(new Blob([text], { type: 'text/csv' }), `linearium_mixers_${this.get('equal')}.csv`);
  }

  private statusTemplate(): TemplateResult {
    const p = this.progressNow;
    const check =
      this.gpuOk === undefined ? '' : this.gpuOk ? 'GPU self-check passed' : `No GPU: ${this.gpuReport}`;
    return html`<div class="status">
      <span class="backend"><i class=${p ? 'on' : ''}></i>${p?.backend || 'starting the engine …'}</span>
      <span class="check" title=${this.gpuReport}>${check}</span>
      <span class="work" ?hidden=${!this.busy}>
        <progress aria-label="Progress" max=${p?.total || 1} .value=${p?.done ?? 0}></progress>
        <span>${p?.message}</span>
        <button class="no-print" @click=${() => this.engine.cancel()}>Cancel</button>
      </span>
    </div>`;
  }

  private noticesTemplate(): TemplateResult {
    return html`<div class="notices" role="status" aria-live="polite">
      ${repeat(
        this.notices,
        (n) => n.text,
        (n) =>
          html`<p class=${n.alarm ? 'alarm' : ''}>
            <span>${n.text}</span>
            <button
              class="plain no-print"
              @click=${() => (this.notices = this.notices.filter((o) => o !== n))}
            >
              <span aria-hidden="true">✕</span><span class="hidden-text">Dismiss: ${n.text}</span>
            </button>
          </p>`,
      )}
    </div>`;
  }

  private card(run: 'a' | 'b', id: string): TemplateResult | typeof nothing {
    const entry = this.entries.find((e) => e.row.id === id);
    if (!entry) return nothing;
    return html`<lin-mixer-card
      run=${run}
      .entry=${entry}
      .file=${this.source[run]}
      @source=${(e: CustomEvent<SourceDetail>) => this.onSource(run, e.detail)}
    >
      ${
        run === 'b'
          ? html`<button slot="action" class="plain no-print" @click=${() => this.set('b.model', undefined)}>
              Remove
            </button>`
          : nothing
      }
    </lin-mixer-card>`;
  }

  protected override render(): TemplateResult {
    const { a, b } = this;
    const link = this.values.toString();
    return html`${this.headerTemplate()}
      <main>
        <p class="lead">
          A sequence mixer is what lets a token know of the ones before it. Each row is one layer of width 128
          with random weights, made and measured on this device. Choose two to see them in the lab’s panels.
        </p>
        ${this.controlsTemplate()} ${this.noticesTemplate()}
        ${
          this.entries.length === 0
            ? html`<div class="loading" aria-busy="true">Fetching the complete engine …</div>`
            : html`<lin-mixer-table
                  .entries=${this.entries}
                  .a=${a}
                  .b=${b}
                  .equal=${this.get('equal') !== 'off'}
                  .gpu=${this.entries.some((e) => e.gpu)}
                  @pick=${this.onPick}
                ></lin-mixer-table>
                ${this.toolsTemplate()}
                <p class="rule">
                  State: f32 carried from token to token, ↗ grows with the context. Multiply-adds: one for
                  each weight, three for each value of the state, two more where a delta rule erases, one for
                  each value in a cache. Reach: over how many of 1,024 random tokens the influence on the last
                  output stays above a thousandth of the largest, for the first, a middle and the last head;
                  the mark is the mean distance. Time: a model of one layer, with its embedding and head. The
                  budget held equal is what GLA has with 4 heads of 64 × 64.
                </p>
                <div class="cards ${b ? 'two' : ''}">
                  ${this.card('a', a)} ${b ? this.card('b', b) : nothing}
                </div>`
        }
        <h2 class="part">In the lab’s panels</h2>
        ${this.statusTemplate()}
        <div class="pictures">
          ${PANELS.map(
            ({ id, title }) =>
              html`<lin-panel
                data-panel=${id}
                name=${id}
                heading=${title}
                .panel=${this.panelsById.get(id)}
                .cursor=${this.cursor}
                .theme=${this.themes.theme}
                .link=${link}
              ></lin-panel>`,
          )}
        </div>
        <p class="lead">
          <a href="./index.html?${link}">Open these two in the lab</a>, with every control and intervention.
        </p>
      </main>`;
  }
}
