/**
 * `<linearium-exhibit name="l_mul">`: one paper. Controls, symbols, claims and tour are what Rust
 * declares; the words are Markdown. As the page its state is the query of the address; in somebody
 * else's page its attributes are. What it declares is fetched when it is seen.
 */
import { css, html, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import { unsafeHTML } from 'lit/directives/unsafe-html.js';
import { EngineClient, type EngineListener } from '../engine/client.ts';
import type { Exhibit, ExhibitAnswer, LiveValue, Need, Property } from '../engine/protocol.ts';
import { HOME } from '../engine/own-files.ts';
import { Cursor } from '../views/cursor.ts';
import { formatNumber } from '../views/format.ts';
import type { Panel } from '../views/types.ts';
import type { SettingDetail } from './controls.ts';
import './controls.ts';
import { Embedded, type Result } from './embedded.ts';
import { embeddedStyles } from './embedded-styles.ts';
import { exhibitStyles } from './exhibit-styles.ts';
import { labStyles } from './lab-styles.ts';
import './panel.ts';
import { base, tokens } from './styles.ts';

/** What no paper tells has a page of its own. */
const PAGES: Readonly<Record<string, string>> = { pruning: 'prune.html' };

const files = import.meta.glob<{ default: Record<string, string> }>('../../content/exhibits/*.md');

/** A run that goes on for so long is ended when a newer one is wanted. */
const DROP_MS = 400;
/** Work that takes no longer than this needs no sign of it. */
const PATIENCE_MS = 400;
/** Browsers refuse more than about 200 changes of the address within 30 seconds. */
const ADDRESS_MS = 200;
/** From this width on all groups of controls are open. */
const WIDE_PX = 900;
/** Parts that a host may leave out, beside the controls. */
const SECTIONS = ['controls', 'title', 'status', 'tour', 'equations', 'claims', 'words', 'embed'];

@customElement('linearium-exhibit')
export class LineariumExhibit extends Embedded implements EngineListener {
  static override styles = [
    base,
    tokens,
    labStyles,
    exhibitStyles,
    embeddedStyles,
    css`
      main.body {
        padding: 0;
        grid-template-rows: auto 1fr;
      }
      .column {
        display: grid;
        gap: 0.9rem;
        grid-template-columns: minmax(0, 1fr);
        padding: 0.7rem clamp(0.6rem, 1.4vw, 1.6rem) 0.9rem;
      }
      .rest {
        padding-bottom: 3rem;
      }
      :host(:not([page])) main .rest {
        padding-bottom: 0.9rem;
      }
      .lead + .rest {
        padding-top: 0;
      }
      /* What is read comes first; where there is room the controls stand beside all of it. */
      @container (min-width: 900px) {
        .rail {
          grid-column: 1;
          grid-row: 1 / span 2;
        }
        .lead,
        .rest {
          grid-column: 2;
        }
        .alone > * {
          grid-column: 1;
        }
        .rail + .rest {
          padding-top: 0;
        }
      }
      @media print {
        :host {
          color-scheme: light !important;
        }
        main.body {
          display: block;
        }
        .column {
          display: block;
          padding: 0;
        }
        .column > * {
          margin-bottom: 0.8rem;
        }
        .card {
          border-color: #bbb;
        }
        h2,
        .title {
          break-after: avoid;
        }
        .words .formula,
        .words li,
        .values > div {
          break-inside: avoid;
        }
        .words p {
          orphans: 3;
          widows: 3;
        }
      }
      .title {
        padding: 0.2rem 0.2rem 0;
      }
      .title h2 {
        font-size: 1.7rem;
      }
      .title p {
        max-width: 80ch;
      }
      .formulas {
        display: grid;
        gap: 0.8rem 2rem;
        grid-template-columns: minmax(0, 1fr);
      }
      @container (min-width: 1200px) {
        .formulas {
          grid-template-columns: minmax(0, 1.5fr) minmax(16rem, 1fr);
        }
      }
      .words {
        font-size: 0.94rem;
        line-height: 1.65;
        max-width: 76ch;
      }
      .words p,
      .words ul {
        margin: 0.5rem 0;
      }
      .words ul {
        padding-left: 1.2rem;
      }
      .words .formula {
        overflow-x: auto;
        padding: 0.4rem 0;
      }
      .words a {
        overflow-wrap: anywhere;
      }
      .sym {
        cursor: default;
        border-bottom: 1px dotted var(--line-strong);
      }
      .sym.lit,
      .values .lit {
        background: var(--tint-b);
        color: var(--run-b);
      }
      .values {
        margin: 0;
        font-size: 0.86rem;
        display: grid;
        grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr));
        gap: 0 1.2rem;
        align-content: start;
      }
      .values > div {
        display: grid;
        grid-template-columns: 4.2rem minmax(0, 1fr);
        gap: 0 0.5rem;
        padding: 0.22rem 0.3rem;
        border-bottom: 1px solid var(--line);
        border-radius: 3px;
      }
      .values dt {
        font-style: italic;
        font-family: var(--serif);
        overflow-wrap: anywhere;
      }
      .values dd {
        margin: 0;
        overflow-wrap: anywhere;
      }
      .values b {
        font-weight: 600;
      }
      .values small {
        display: block;
        color: var(--quiet);
        font-size: 0.92em;
        line-height: 1.35;
      }
      .hidden-views {
        background: var(--sunken);
        color: var(--quiet);
        padding: 2.5rem 1rem;
        text-align: center;
        border-radius: 8px;
      }
      .idle {
        font-size: 0.8rem;
        color: var(--quiet);
        margin-top: 0.8rem;
        display: grid;
        gap: 0.3rem;
      }
      .waiting {
        height: 24rem;
      }
      .back {
        font-size: 0.86rem;
      }
    `,
  ];

  /** Slug of the exhibit. */
  @property() name = '';

  /** What is declared of it; null if there is no such exhibit. */
  @state() private exhibit?: Exhibit | null;
  @state() private answer?: ExhibitAnswer;
  @state() private words: Record<string, string> = {};
  @state() private busy = false;
  /** A long measurement was stopped where it is. */
  @state() private stopped = false;
  /** A picture of the person's own is asked for, or given. */
  @state() private wantsImage = false;
  @state() private notices: { text: string; alarm: boolean }[] = [];
  @state() private gpuOk?: boolean;
  @state() private gpuReport = '';
  /** Id of the control whose symbols are lit. */
  @state() private litControl = '';
  /** Id of the symbol that is lit. */
  @state() private litSymbol = '';
  /** What a step of the tour asks for is not shown. */
  @state() private veiled: { symbol?: string; view?: string } = {};

  readonly engine = new EngineClient(this, 'complete');
  private readonly cursor = new Cursor();
  private running = false;
  private again = false;
  private begunAt = 0;
  private patience?: ReturnType<typeof setTimeout>;
  private addressTimer?: ReturnType<typeof setTimeout>;
  private addressAt = 0;
  private push = false;

  override connectedCallback(): void {
    super.connectedCallback();
    if (!this.page) return;
    addEventListener('popstate', this.onHistory);
    this.readAddress();
    this.beginOnce();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    removeEventListener('popstate', this.onHistory);
    clearTimeout(this.addressTimer);
    clearTimeout(this.patience);
    this.engine.stop();
  }

  // What it is to its host.

  protected get declared(): readonly Property[] {
    return this.exhibit?.controls ?? [];
  }

  protected get sections(): readonly string[] {
    return SECTIONS;
  }

  get pageLink(): string {
    return PAGES[this.name] ?? `exhibits.html?exhibit=${this.name}`;
  }

  protected override get exhibitName(): string {
    return this.name;
  }

  protected override get symbolNames(): Readonly<Record<string, string>> {
    return Object.fromEntries((this.exhibit?.symbols ?? []).map((s) => [s.id, s.meaning]));
  }

  protected say(sentence: string): void {
    this.failed(sentence);
  }

  protected get computed(): Result {
    const { panel, values, query } = this.answer ?? {};
    return {
      query: query ?? '',
      panels: panel ? [panel] : [],
      values: Object.fromEntries((values ?? []).map((v) => [v.symbol, v.value])),
    };
  }

  protected begin(): void {
    this.engine.start();
    void this.load();
  }

  protected restate(): void {
    if (this.exhibit) this.run();
  }

  override willUpdate(changes: PropertyValues<this>): void {
    super.willUpdate(changes);
    if (!changes.has('name') || this.exhibit === undefined) return;
    if (this.page) this.readAddress();
    void this.load();
  }

  private async load(): Promise<void> {
    const { name } = this;
    this.answer = undefined;
    this.words = {};
    const [{ default: exhibits }] = await Promise.all([
      import('virtual:exhibits'),
      import('./claim-ledger.ts'),
      import('./exhibit-tour.ts'),
    ]);
    if (name !== this.name || !this.isConnected) return;
    this.exhibit = exhibits.find((e) => e.slug === name) ?? null;
    if (!this.exhibit) {
      this.fault(`There is no exhibit “${name}”.`);
      return;
    }
    if (!this.page)
      this.values = this.within(
        new URLSearchParams({ ...Object.fromEntries(this.fromAttributes()), ...this.state }),
      );
    const load = files[`../../content/exhibits/${name}.md`];
    void load?.().then((words) => (this.words = this.linked(words.default)));
    this.run();
  }

  /** Links in the words lead to Linearium's pages from wherever the element stands. */
  private linked(words: Record<string, string>): Record<string, string> {
    const own = new URL(this.pageLink, HOME).href;
    return Object.fromEntries(
      Object.entries(words).map(([id, text]) => [
        id,
        text
          .replaceAll('href="?', `href="${own}${own.includes('?') ? '&amp;' : '?'}`)
          .replaceAll('href="./', `href="${HOME.href}`),
      ]),
    );
  }

  override updated(): void {
    const symbols = this.exhibit?.symbols ?? [];
    const lit = new Set(
      symbols
        .filter((s) => s.id === this.litSymbol || (this.litControl && s.control === this.litControl))
        .map((s) => `sym-${s.id}`),
    );
    for (const element of this.renderRoot.querySelectorAll('.words .sym'))
      element.classList.toggle(
        'lit',
        [...element.classList].some((name) => lit.has(name)),
      );
  }

  // State: the link and the engine.

  private readonly onHistory = (): void => {
    this.readAddress();
    this.run();
  };

  private readAddress(): void {
    const values = new URLSearchParams(location.search);
    values.delete('exhibit');
    this.values = values;
  }

  private get link(): string {
    const [page, name] = this.pageLink.split('?');
    const query = [name, this.values.toString()].filter(Boolean).join('&');
    return `${page}${query && `?${query}`}`;
  }

  private writeAddress(): void {
    if (!this.page) return;
    const write = (): void => {
      this.addressAt = performance.now();
      const link = `${location.pathname}${new URL(this.link, HOME).search}${location.hash}`;
      if (link === `${location.pathname}${location.search}${location.hash}`) return;
      if (this.push) history.pushState(null, '', link);
      else history.replaceState(null, '', link);
      this.push = false;
    };
    clearTimeout(this.addressTimer);
    const wait = this.push ? 0 : ADDRESS_MS - (performance.now() - this.addressAt);
    if (wait <= 0) write();
    else this.addressTimer = setTimeout(write, wait);
  }

  private apply(values: URLSearchParams, commit: boolean): void {
    this.push ||= commit;
    this.stopped = false;
    this.wantsImage &&= values.get('picture') === 'file';
    this.values = this.permit(values);
    this.run();
  }

  private readonly onSetting = (event: CustomEvent<SettingDetail>): void => {
    const { key, value, commit } = event.detail;
    const values = new URLSearchParams(this.values);
    values.set(key, value);
    this.apply(values, commit);
  };

  /** A link in the words that leads to other settings of this exhibit. */
  private readonly onWords = (event: Event): void => {
    const click = event as MouseEvent;
    const link = click.composedPath().find((e) => e instanceof HTMLAnchorElement);
    if (!link || click.ctrlKey || click.metaKey || click.shiftKey || click.button !== 0) return;
    const target = new URL(link.href);
    const own = new URL(this.pageLink, HOME);
    if (
      target.pathname !== own.pathname ||
      target.searchParams.get('exhibit') !== own.searchParams.get('exhibit')
    )
      return;
    click.preventDefault();
    target.searchParams.delete('exhibit');
    this.apply(new URLSearchParams(target.searchParams), true);
    this.renderRoot.querySelector('lin-panel')?.scrollIntoView({ block: 'nearest' });
  };

  /** Asks for a run; while one goes on, for the newest settings after it. */
  private run(): void {
    this.unsettle();
    if (this.values.get('backend') === 'gpu' && this.gpuOk === undefined) this.engine.wantGpu();
    if (this.running) {
      this.again = true;
      if (performance.now() - this.begunAt > DROP_MS) this.engine.dropExhibit();
      return;
    }
    void this.runNow();
  }

  private async runNow(): Promise<void> {
    this.running = true;
    this.begunAt = performance.now();
    clearTimeout(this.patience);
    this.patience = setTimeout(() => (this.busy = true), PATIENCE_MS);
    const { name } = this;
    const asked = this.values.toString();
    // A claim that is being measured gives way.
    this.engine.dropExhibit();
    try {
      const answer = await this.engine.exhibit(name, asked);
      if (name === this.name) this.take(answer, asked);
    } catch (error) {
      if (!this.again && !this.stopped) this.failed((error as Error).message);
    }
    this.running = false;
    clearTimeout(this.patience);
    // What takes long goes on from where it is, until it is stopped or something newer is wanted.
    const goesOn = this.measures && !this.stopped && this.isConnected;
    this.busy = goesOn;
    if (!this.again && !goesOn) return;
    this.again = false;
    void this.runNow();
  }

  /** True while a long measurement is not at its end. */
  private get measures(): boolean {
    const [done, total] = this.answer?.progress ?? [0, 0];
    return done < total;
  }

  private take(answer: ExhibitAnswer, asked: string): void {
    const before = this.answer?.query ?? '';
    this.answer = answer;
    if (asked === this.values.toString() && answer.query !== asked)
      this.values = new URLSearchParams(answer.query);
    this.writeAddress();
    if (answer.query !== before) this.changed();
    if (answer.panel) this.pictured();
    if (!this.again) this.settle();
    // While the GPU is made the CPU answers.
    const waits = this.values.get('backend') === 'gpu' && this.gpuOk === undefined;
    for (const notice of answer.notices) {
      if (waits) continue;
      this.tell(notice, false);
      this.fault(notice, true);
    }
  }

  private tell(text: string, alarm: boolean): void {
    this.notices = [...this.notices.filter((n) => n.text !== text).slice(-5), { text, alarm }];
  }

  // What the engine says.

  gpu(ok: boolean, report: string): void {
    this.gpuOk = ok;
    this.gpuReport = report;
    if (!ok) this.tell(`${report} The exhibit goes on with the CPU.`, false);
    this.run();
  }

  fileWanted(kind: Need['kind']): void {
    if (kind === 'image') {
      this.wantsImage = true;
      return;
    }
    this.tell(`The exhibit needs a ${kind} that is not among the files of this page.`, true);
  }

  failed(sentence: string): void {
    this.tell(sentence, true);
    this.fault(sentence);
  }

  told(sentence: string): void {
    this.tell(sentence, false);
    if (!this.running) this.run();
  }

  /** The lab itself does not run on this page. */
  ready(): void {}
  configured(): void {}
  panels(): void {}
  progress(): void {}
  reading(): void {}

  // What is on screen.

  private readonly onPoint = (event: Event): void => {
    for (const target of event.composedPath()) {
      if (!(target instanceof HTMLElement)) continue;
      const { setting } = target.dataset;
      if (setting === undefined) continue;
      this.litControl = setting;
      this.litSymbol = '';
      return;
    }
    this.litControl = '';
  };

  private readonly onSymbol = (event: Event): void => {
    const element = event.composedPath().find((e) => e instanceof Element && e.classList.contains('sym'));
    const name = element && [...(element as Element).classList].find((c) => c.startsWith('sym-'));
    this.light(name?.slice('sym-'.length) ?? '');
  };

  private light(symbol: string): void {
    this.litSymbol = symbol;
    this.litControl = this.exhibit?.symbols.find((s) => s.id === symbol)?.control ?? '';
  }

  private valueText({ symbol, value, words }: LiveValue, unit: string): TemplateResult {
    if (this.veiled.symbol === symbol) return html`<b>?</b>`;
    const text = words || formatNumber(value);
    return html`<b>${text}</b>${unit && !words ? ` ${unit}` : nothing}`;
  }

  private valuesTemplate(exhibit: Exhibit): TemplateResult {
    const values = this.answer?.values ?? [];
    return html`<dl class="values" aria-label="Live values">
      ${exhibit.symbols.map((s) => {
        const value = values.find((v) => v.symbol === s.id);
        const lit = s.id === this.litSymbol || (s.control !== '' && s.control === this.litControl);
        return html`<div
          class=${lit ? 'lit' : ''}
          data-symbol=${s.id}
          @pointerenter=${() => this.light(s.id)}
          @pointerleave=${() => this.light('')}
        >
          <dt>${s.letter}</dt>
          <dd>${value ? this.valueText(value, s.unit) : nothing}<small>${s.meaning}</small></dd>
        </div>`;
      })}
    </dl>`;
  }

  private section(id: string, title: string): TemplateResult | typeof nothing {
    const text = this.words[id];
    if (!text || this.isHidden('words')) return nothing;
    return html`<section class="card">
      <h2>${title}</h2>
      <div class="words" @click=${this.onWords} @pointerover=${this.onSymbol}>${unsafeHTML(text)}</div>
    </section>`;
  }

  private get shownPanel(): Panel | undefined {
    const panel = this.answer?.panel ?? undefined;
    if (!panel || !this.veiled.view) return panel;
    return { ...panel, views: panel.views.filter((v) => v.id !== this.veiled.view) };
  }

  private controlsTemplate(exhibit: Exhibit): TemplateResult | typeof nothing {
    if (this.isHidden('controls')) return nothing;
    return html`<aside class="rail no-print" part="controls" aria-label="Controls">
      <lin-controls
        .properties=${this.narrowed}
        .omit=${this.omitted}
        .fixed=${this.locked}
        .wide=${this.page ? undefined : this.clientWidth >= WIDE_PX}
        .values=${this.values}
        .lit=${this.litControl}
        @setting=${this.onSetting}
        @pointerover=${this.onPoint}
        @pointerleave=${this.onPoint}
        @focusin=${this.onPoint}
      ></lin-controls>
      ${
        this.answer && this.answer.idle.length > 0
          ? html`<div class="idle">
              ${this.answer.idle.map(({ control, why }) => {
                const label = exhibit.controls.find((p) => p.id === control)?.label ?? control;
                return html`<p>${label} does not act here: ${why}.</p>`;
              })}
            </div>`
          : nothing
      }
    </aside>`;
  }

  private readonly onStop = (): void => {
    this.stopped = !this.stopped;
    if (this.stopped) this.engine.dropExhibit();
    else this.run();
  };

  private statusTemplate(): TemplateResult | typeof nothing {
    if (this.isHidden('status')) return nothing;
    const backend = this.answer?.panel?.provenance.backend;
    const wanted = this.values.get('backend') === 'gpu';
    const check = this.gpuOk
      ? 'GPU self-check passed'
      : wanted && this.gpuOk === undefined
        ? 'starting the GPU …'
        : '';
    return html`<div class="status">
      <span class="backend"><i class=${backend ? 'on' : ''}></i>${backend ?? 'starting the engine …'}</span>
      <span class="check" title=${this.gpuReport}>${check}</span>
      ${
        this.measures
          ? html`<span class="work"
              ><progress
                aria-label="Measured"
                value=${this.answer?.progress[0] ?? 0}
                max=${this.answer?.progress[1] ?? 1}
              ></progress>
              ${this.answer?.progress.join(' of ')} measured
              <button class="no-print" @click=${this.onStop}>${this.stopped ? 'Go on' : 'Stop'}</button></span
            >`
          : html`<span class="work" ?hidden=${!this.busy}
              ><progress aria-label="Working"></progress> working</span
            >`
      }
    </div>`;
  }

  private readonly onImage = (files: FileList | null | undefined): void => {
    const file = files?.[0];
    if (!file) return;
    const read = import('../engine/own-image.ts').then(({ readImage }) => readImage(file));
    read.then(
      (image) => {
        this.engine.giveImage(image);
        const values = new URLSearchParams(this.values);
        values.set('picture', 'file');
        this.wantsImage = true;
        this.apply(values, true);
      },
      (error: unknown) => this.tell((error as Error).message, true),
    );
  };

  private imageTemplate(): TemplateResult | typeof nothing {
    if (!this.wantsImage) return nothing;
    const drop = (event: DragEvent): void => {
      event.preventDefault();
      this.onImage(event.dataTransfer?.files);
    };
    return html`<section
      class="card own-image no-print"
      @dragover=${(e: DragEvent) => e.preventDefault()}
      @drop=${drop}
    >
      <label
        >Your image: choose a file or drop it here. It never leaves this machine.
        <input
          type="file"
          accept="image/*"
          @change=${(e: Event) => this.onImage((e.target as HTMLInputElement).files)}
      /></label>
    </section>`;
  }

  private noticesTemplate(): TemplateResult {
    return html`<div class="notices" role="status" aria-live="polite">
      ${this.notices.map(
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

  private equationsTemplate(exhibit: Exhibit): TemplateResult {
    return html`<section class="card">
      <h2>Equations</h2>
      <div class="formulas">
        <div class="words equations" @pointerover=${this.onSymbol}>
          ${unsafeHTML(this.words['equations'] ?? '')}
        </div>
        ${this.valuesTemplate(exhibit)}
      </div>
    </section>`;
  }

  private claimsTemplate(exhibit: Exhibit): TemplateResult {
    return html`<lin-claim-ledger
      .exhibit=${exhibit}
      .engine=${this.engine}
      .gpu=${this.values.get('backend') === 'gpu' && this.gpuOk === true}
    ></lin-claim-ledger>`;
  }

  private tourTemplate(exhibit: Exhibit): TemplateResult {
    return html`<lin-exhibit-tour
      class="no-print"
      .steps=${exhibit.tour}
      .symbols=${exhibit.symbols}
      .answer=${this.answer}
      .theme=${this.drawnTheme}
      @tour-settings=${this.onTourSettings}
      @tour-hides=${(e: CustomEvent<{ symbol?: string; view?: string }>) => (this.veiled = e.detail)}
    ></lin-exhibit-tour>`;
  }

  private readonly onTourSettings = (event: CustomEvent<string>): void => {
    const values = new URLSearchParams(event.detail);
    const backend = this.values.get('backend');
    if (backend) values.set('backend', backend);
    this.apply(values, true);
  };

  protected override render(): TemplateResult | typeof nothing {
    const exhibit = this.exhibit;
    if (exhibit === undefined) return html`<div class="waiting" aria-busy="true"></div>`;
    if (exhibit === null) return html`<p class="card">There is no exhibit “${this.name}”.</p>`;
    const { paper } = exhibit;
    const panel = this.shownPanel;
    return html`<main class="body ${this.isHidden('controls') ? 'alone' : ''}">
      <div class="column lead">
        <div class="title" part="title" ?hidden=${this.isHidden('title')}>
          ${this.page && this.exhibit?.paper ? html`<p class="back no-print"><a href="./exhibits.html">All papers</a></p>` : nothing}
          <h2>${exhibit.title}</h2>
          <p>${exhibit.see}</p>
          ${
            paper
              ? html`<p class="quiet">
                  ${paper.authors}: ${paper.title} (${paper.year}),
                  <a href="https://arxiv.org/abs/${paper.arxiv}" rel="noreferrer">arXiv ${paper.arxiv}</a>
                </p>`
              : nothing
          }
          ${this.statusTemplate()}
        </div>
        ${this.noticesTemplate()} ${this.section('idea', 'The idea')} ${this.imageTemplate()}
        ${this.assignmentTemplate()}
        ${this.isHidden('tour') || exhibit.tour.length === 0 ? nothing : this.tourTemplate(exhibit)}
        <lin-panel
          wordless
          part="panel"
          ?embeddable=${!this.isHidden('embed')}
          @embed=${this.onEmbed}
          data-panel=${exhibit.slug}
          .name=${exhibit.slug}
          .heading=${exhibit.title}
          .panel=${panel}
          .cursor=${this.cursor}
          .theme=${this.drawnTheme}
          .link=${this.link}
          .waiting=${this.wantsImage ? 'Waiting for your image' : 'Calculating …'}
        ></lin-panel>
      </div>
      ${this.controlsTemplate(exhibit)}
      <div class="column rest">
        ${this.isHidden('equations') ? nothing : this.equationsTemplate(exhibit)}
        ${this.section('what-to-try', 'What to try')}
        ${this.isHidden('claims') ? nothing : this.claimsTemplate(exhibit)}
        ${this.section('paper-and-measurement', 'Paper and measurement')}
        ${this.section('references', 'References')}
      </div>
    </main>`;
  }
}
