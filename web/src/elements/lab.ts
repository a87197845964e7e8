/**
 * `<linearium-lab>`: the whole lab. As the page its state is the query of the address; in somebody
 * else's page its attributes are.
 */
import { html, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, query, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import { panels as outline } from 'virtual:content';
import builtInProperties from 'virtual:properties';
import { EngineClient, type EngineListener } from '../engine/client.ts';
import type { Configured, Facts, Need, Progress, Property, TextId } from '../engine/protocol.ts';
import { Cursor } from '../views/cursor.ts';
import { mebibytes } from '../views/format.ts';
import type { Panel } from '../views/types.ts';
import type { SettingDetail } from './controls.ts';
import './controls.ts';
import { Embedded, type Result } from './embedded.ts';
import { embeddedStyles } from './embedded-styles.ts';
import type { FileDesk } from './files.ts';
import type { LinPanel } from './panel.ts';
import './panel.ts';
import './words.ts';
import { Playback } from './playback.ts';
import { base, tokens } from './styles.ts';
import { labStyles } from './lab-styles.ts';
import { ThemeState } from './theme.ts';
import { themeSwitch } from './theme-switch.ts';

interface Notice {
  id: number;
  text: string;
  alarm: boolean;
}

/** Browsers refuse more than about 200 changes of the address within 30 seconds. */
const ADDRESS_INTERVAL_MS = 200;
/** Work that takes no longer than this needs no progress bar. */
const PATIENCE_MS = 500;
const MAX_NOTICES = 6;
const RECALL_SAMPLES = [5, 10, 20, 40, 80];
/** From this width on all groups of controls are open. */
const WIDE_PX = 900;
/** Parts that a host may leave out, beside controls and panels. */
const SECTIONS = ['controls', 'compare', 'files', 'status', 'words', 'embed'];

@customElement('linearium-lab')
export class LineariumLab extends Embedded implements EngineListener {
  static override styles = [base, tokens, labStyles, embeddedStyles];

  @state() private properties: Property[] = builtInProperties;
  @state() private facts?: Facts | null;
  @state() private panelsById = new Map<string, Panel>();
  @state() private progressNow?: Progress;
  @state() private busySince = 0;
  @state() private busyShown = false;
  @state() private notices: Notice[] = [];
  @state() private compareChosen = false;
  @state() private gpuReport = '';
  @state() private gpuOk?: boolean;
  @state() private fileRead?: { bytes: number; total: number };
  @state() private missing?: Need['kind'];
  @state() private dropping = false;
  @state() private measuring = false;
  @state() private samples = 10;
  @state() private report?: string;
  @query('#file') private fileInput!: HTMLInputElement;
  @query('dialog') private reportDialog!: HTMLDialogElement;

  readonly engine = new EngineClient(this);
  private readonly cursor = new Cursor();
  /** The choice of colours belongs to the page. */
  private themes?: ThemeState;
  private desk?: FileDesk;
  private modelBefore = '';
  private readonly playback = new Playback((value, commit) => this.set('context', String(value), commit));
  private noticeCount = 0;
  private lastLink = '';
  private addressTimer?: ReturnType<typeof setTimeout>;
  private addressAt = 0;
  private push = false;
  private opened?: Promise<void>;
  private readonly inSight = new Set<string>();
  private readonly sight = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) {
      const { name } = target as LinPanel;
      if (isIntersecting) this.inSight.add(name);
      else this.inSight.delete(name);
    }
    this.engine.look([...this.inSight]);
  });

  // What it is to its host.

  protected get declared(): readonly Property[] {
    return this.properties;
  }

  protected get sections(): readonly string[] {
    return [...SECTIONS, ...outline.map((p) => p.id)];
  }

  get pageLink(): string {
    return 'index.html';
  }

  protected get computed(): Result {
    return { query: this.lastLink, panels: [...this.panelsById.values()], values: {} };
  }

  protected begin(): void {
    const ask = (key: string): string | null =>
      this.values.get(key) ?? this.properties.find((p) => p.id === key)?.default ?? null;
    const shipped = (id: string | null): string | null =>
      id && /^(mamba|llama)[\w-]+$/.test(id) ? id : null;
    const input = ask('input') ?? 'sample';
    this.engine.prefetch(
      shipped(ask('model') ?? 'mamba2-passkey-t128'),
      (input === 'heldout' ? 'heldout' : 'sample') as TextId,
    );
    this.engine.start();
    this.values = this.within(this.values);
    // As it stands in the address: what is not UTF-8 there is named by the engine, not replaced in silence.
    const link = location.search;
    const unchanged = this.page && new URLSearchParams(link).toString() === this.values.toString();
    this.configure(unchanged ? link : this.values.toString());
  }

  protected restate(): void {
    this.playback.stop();
    this.compareChosen = false;
    this.configure(this.values.toString());
  }

  override connectedCallback(): void {
    super.connectedCallback();
    // The page takes files anywhere; elsewhere they are the element's own.
    const target = (this.page ? window : this) as Window;
    target.addEventListener('dragover', this.onDragOver);
    target.addEventListener('dragleave', this.onDragLeave);
    target.addEventListener('drop', this.onDrop);
    if (!this.page) return;
    this.themes = new ThemeState();
    this.themes.addEventListener('change', this.onTheme);
    addEventListener('popstate', this.onHistory);
    this.values = new URLSearchParams(location.search);
    this.beginOnce();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.themes?.removeEventListener('change', this.onTheme);
    removeEventListener('popstate', this.onHistory);
    const target = (this.page ? window : this) as Window;
    target.removeEventListener('dragover', this.onDragOver);
    target.removeEventListener('dragleave', this.onDragLeave);
    target.removeEventListener('drop', this.onDrop);
    this.sight.disconnect();
    this.playback.stop();
    clearTimeout(this.addressTimer);
    this.engine.stop();
  }

  override updated(changes: PropertyValues): void {
    // What is observed already stays as it is.
    if (changes.has('panelsById'))
      for (const panel of this.renderRoot.querySelectorAll('lin-panel')) this.sight.observe(panel);
  }

  private readonly onTheme = (): void => {
    this.requestUpdate();
  };

  private readonly onHistory = (): void => {
    this.query = location.search;
  };

  // State: the link, the engine, the controls.

  private get backend(): string {
    return this.values.get('backend') ?? 'auto';
  }

  private get comparing(): boolean {
    return this.compareChosen || [...this.values.keys()].some((k) => k.startsWith('b.'));
  }

  private configure(link: string): void {
    this.busySince = performance.now();
    this.unsettle();
    this.engine.configure(link.replace(/^\?/, ''), this.backend !== 'cpu');
  }

  private set(key: string, value: string, commit: boolean): void {
    const values = new URLSearchParams(this.values);
    values.set(key, value);
    this.values = this.permit(values);
    this.push ||= commit;
    this.missing = undefined;
    this.configure(this.values.toString());
  }

  private readonly onSetting = (event: CustomEvent<SettingDetail>): void => {
    this.playback.stop();
    const { key, value, commit } = event.detail;
    this.set(key, value, commit);
  };

  private setCompare(on: boolean): void {
    this.compareChosen = on;
    if (on) return;
    this.values = this.permit(new URLSearchParams([...this.values].filter(([k]) => !k.startsWith('b.'))));
    this.push = true;
    this.configure(this.values.toString());
  }

  /** Writes the state into the address: while something moves at most every 200 ms, in place. */
  private writeAddress(link: string): void {
    this.lastLink = link;
    if (!this.page) return;
    const write = (): void => {
      this.addressAt = performance.now();
      const address = `${location.pathname}${this.lastLink ? `?${this.lastLink}` : ''}${location.hash}`;
      const changed = address !== `${location.pathname}${location.search}${location.hash}`;
      if (this.push && (changed || this.movedInPlace)) {
        // What was dragged was written in place: the step back leads to where the drag began.
        if (this.movedInPlace && this.committed !== address) history.replaceState(null, '', this.committed);
        if (this.committed !== address) history.pushState(null, '', address);
        this.committed = address;
        this.movedInPlace = false;
      } else if (changed) {
        history.replaceState(null, '', address);
        this.movedInPlace = true;
      }
      this.push = false;
    };
    clearTimeout(this.addressTimer);
    const wait = this.push ? 0 : ADDRESS_INTERVAL_MS - (performance.now() - this.addressAt);
    if (wait <= 0) write();
    else this.addressTimer = setTimeout(write, wait);
  }
  private movedInPlace = false;
  private committed = `${location.pathname}${location.search}${location.hash}`;

  // What the engine says.

  ready(properties: Property[]): void {
    this.properties = properties;
  }

  configured({ query: link, notices, facts }: Configured): void {
    if (link !== this.values.toString()) this.values = new URLSearchParams(link);
    if (facts !== undefined) this.facts = facts;
    for (const notice of notices) {
      this.tell(notice, false);
      this.fault(notice, true);
    }
    const before = this.lastLink;
    this.writeAddress(link);
    if (link !== before) this.changed();
  }

  panels(panels: Panel[]): void {
    const all = new Map(this.panelsById);
    for (const panel of panels) all.set(panel.id, panel);
    this.panelsById = all;
    this.playback.answered();
    this.pictured();
    if (this.progressNow?.state === 'idle') this.settle();
  }

  progress(progress: Progress): void {
    this.progressNow = progress;
    const working = progress.state === 'working';
    if (progress.state === 'idle') this.settle();
    if (!working) {
      this.busyShown = false;
      if (progress.state === 'idle') this.measuring = false;
      this.playback.answered();
    } else if (performance.now() - this.busySince > PATIENCE_MS) this.busyShown = true;
  }

  gpu(ok: boolean, report: string): void {
    this.gpuOk = ok;
    this.gpuReport = report;
    if (!ok && this.backend === 'gpu') this.tell(`${report} The lab goes on with the CPU.`, false);
  }

  reading(file?: { bytes: number; total: number }): void {
    this.fileRead = file;
  }

  fileWanted(kind: Need['kind']): void {
    this.missing = kind;
  }

  failed(sentence: string): void {
    this.tell(sentence, true);
    this.fault(sentence);
  }

  told(sentence: string): void {
    this.tell(sentence, false);
  }

  protected say(sentence: string): void {
    this.failed(sentence);
  }

  private tell(text: string, alarm: boolean): void {
    const others = this.notices.filter((n) => n.text !== text);
    this.notices = [...others.slice(1 - MAX_NOTICES), { id: (this.noticeCount += 1), text, alarm }];
  }

  // Files.

  private get takesFiles(): boolean {
    return !this.isHidden('files') && !this.isLocked('model') && !this.isLocked('input');
  }

  private readonly onDragOver = (event: DragEvent): void => {
    if (!this.takesFiles || !event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    this.dropping = true;
  };

  private readonly onDragLeave = (event: DragEvent): void => {
    if (event.relatedTarget === null) this.dropping = false;
  };

  private readonly onDrop = (event: DragEvent): void => {
    if (!this.takesFiles || !event.dataTransfer?.types.includes('Files')) return;
    event.preventDefault();
    this.dropping = false;
    void this.openFiles([...event.dataTransfer.files]);
  };

  private openFiles(files: File[]): Promise<void> {
    // One after the other: two drops in a row are the two halves of one checkpoint.
    this.opened = (this.opened ?? Promise.resolve()).then(async () => {
      const { FileDesk } = await import('./files.ts');
      this.desk ??= new FileDesk();
      const result = await this.desk.open(files);
      if (result.kind === 'refused') this.tell(result.sentence, true);
      else if (result.kind === 'half') this.tell(result.sentence, false);
      else if (result.kind === 'model') {
        this.missing = undefined;
        const before = this.values.get('model') ?? '';
        if (before !== 'file') this.modelBefore = before;
        this.engine.giveModel(result.files);
        this.set('model', 'file', true);
      } else {
        this.missing = undefined;
        this.engine.giveText(result.bytes);
        this.set('input', 'file', true);
      }
    });
    return this.opened;
  }

  private readonly onPlay = (): void => {
    const context = this.properties.find((p) => p.id === 'context');
    if (context?.type !== 'integer') return;
    const now = Number(this.values.get('context') ?? context.default);
    const most = Math.min(context.max, this.facts?.contextMax ?? context.max);
    this.playback.toggle(now, context.min, most, () => this.requestUpdate());
    this.requestUpdate();
  };

  private measure(): void {
    this.measuring = true;
    this.busySince = performance.now();
    this.engine.measureRecall(this.samples);
  }

  private cancel(): void {
    this.playback.stop();
    this.measuring = false;
    this.engine.cancel();
  }

  /** Back to the model that was there before the file. */
  private stopReading(): void {
    this.engine.stopReading();
    const model = this.properties.find((p) => p.id === 'model');
    this.set('model', this.modelBefore || (model?.default ?? ''), true);
  }

  private async showReport(): Promise<void> {
    this.report = 'Asking the engine …';
    this.reportDialog.showModal();
    this.report = await this.engine.report();
  }

  // What is on screen.

  private headerTemplate(): TemplateResult | typeof nothing {
    if (!this.page) return nothing;
    return html`<header class="top">
      <div class="brand">
        <h1>Linearium</h1>
        <p>See what a linear-time sequence model remembers as its context grows.</p>
      </div>
      <nav class="no-print" aria-label="Page">
        <a href="./mixers.html">All mixers</a>
        <a href="./prune.html">Pruning</a>
        <a href="./exhibits.html">Exhibits</a>
        <a href="#how" @click=${this.goToWords}>How it works</a>
        ${this.themes ? themeSwitch(this.themes) : nothing}
      </nav>
    </header>`;
  }

  private readonly goToWords = (event: Event): void => {
    event.preventDefault();
    const words = this.renderRoot.querySelector<HTMLElement>('#how');
    words?.scrollIntoView({
      behavior: matchMedia('(prefers-reduced-motion: reduce)').matches ? 'auto' : 'smooth',
    });
    words?.focus({ preventScroll: true });
  };

  private statusTemplate(): TemplateResult | typeof nothing {
    if (this.isHidden('status')) return nothing;
    const p = this.progressNow;
    const busy = this.busyShown && p?.state === 'working';
    const check =
      this.gpuOk === undefined ? '' : this.gpuOk ? 'GPU self-check passed' : `No GPU: ${this.gpuReport}`;
    return html`<div class="status">
      <span class="backend"><i class=${p ? 'on' : ''}></i>${p?.backend || 'starting the engine …'}</span>
      <span class="check" title=${this.gpuReport}>${check}</span>
      ${this.fileRead ? this.readingTemplate(this.fileRead) : nothing}
      <span class="work" ?hidden=${!busy}>
        <progress aria-label="Progress" max=${p?.total || 1} .value=${p?.done ?? 0}></progress>
        <span>${p?.message}</span>
        <button class="no-print" @click=${this.cancel}>Cancel</button>
      </span>
      <button class="plain no-print report" @click=${() => void this.showReport()}>Self-check report</button>
    </div>`;
  }

  private readingTemplate({ bytes, total }: { bytes: number; total: number }): TemplateResult {
    const what =
      bytes < total
        ? `reading the model: ${mebibytes(bytes)} of ${mebibytes(total)}`
        : 'checking and unpacking the model';
    return html`<span class="work reading">
      <progress aria-label="Reading the model" max=${total || 1} .value=${bytes}></progress>
      <span>${what}</span>
      <button class="no-print" ?disabled=${bytes >= total} @click=${this.stopReading}>Stop reading</button>
    </span>`;
  }

  private noticesTemplate(): TemplateResult {
    return html`<div class="notices" role="status" aria-live="polite">
      ${repeat(
        this.notices,
        (n) => n.id,
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
      ${
        this.missing
          ? html`<p class="want">
              <span
                >${
                  this.missing === 'model'
                    ? 'This link shows a checkpoint that is on the machine of whoever made it. Open model.safetensors together with its config.json to see the same.'
                    : 'This link shows a text file that is on the machine of whoever made it. Open that .txt file to see the same.'
                }</span
              >
              <button @click=${() => this.fileInput.click()}>Open files …</button>
            </p>`
          : nothing
      }
    </div>`;
  }

  private recallAction(): TemplateResult {
    return html`<div slot="action" class="recall no-print">
      <label
        >Samples a cell
        <select @change=${(e: Event) => (this.samples = Number((e.target as HTMLSelectElement).value))}>
          ${RECALL_SAMPLES.map((n) => html`<option value=${n} ?selected=${n === this.samples}>${n}</option>`)}
        </select></label
      >
      <button class="primary" ?disabled=${this.measuring} @click=${this.measure}>Measure recall</button>
      ${
        this.measuring
          ? html`<progress
                aria-label="Progress of the measurement"
                max=${this.progressNow?.total || 1}
                .value=${this.progressNow?.done ?? 0}
              ></progress>
              <span class="quiet">${this.progressNow?.message}</span>
              <button @click=${this.cancel}>Cancel</button>`
          : nothing
      }
    </div>`;
  }

  private panelList(): { id: string; title: string }[] {
    const known = new Set(outline.map((p) => p.id));
    const extra = [...this.panelsById.values()].filter((p) => !known.has(p.id));
    return [...outline, ...extra.map(({ id, title }) => ({ id, title }))].filter((p) => !this.isHidden(p.id));
  }

  private railTemplate(): TemplateResult | typeof nothing {
    if (this.isHidden('controls')) return nothing;
    const compare = this.comparing;
    const same = compare && ![...this.values.keys()].some((k) => k.startsWith('b.'));
    return html`<aside class="rail no-print" part="controls" aria-label="Settings">
      ${
        this.isHidden('compare')
          ? nothing
          : html`<label class="compare"
              ><input
                type="checkbox"
                role="switch"
                .checked=${compare}
                @change=${(e: Event) => this.setCompare((e.target as HTMLInputElement).checked)}
              />Compare two runs</label
            >`
      }
      ${
        compare
          ? html`<p class="runs">
              <span class="a">A</span> solid, <span class="b">B</span> dashed.
              ${same ? 'Run B is the same as run A until you change one of its values.' : ''}
            </p>`
          : nothing
      }
      <lin-controls
        .properties=${this.narrowed}
        .values=${this.values}
        .facts=${this.facts}
        .compare=${compare}
        .playing=${this.playback.playing}
        .omit=${this.omitted}
        .fixed=${this.locked}
        .wide=${this.page ? undefined : this.clientWidth >= WIDE_PX}
        @setting=${this.onSetting}
        @play=${this.onPlay}
      >
        ${this.takesFiles ? this.filesTemplate() : nothing}
      </lin-controls>
      ${this.properties.length === 0 ? html`<div class="skeleton" aria-hidden="true"></div>` : nothing}
    </aside>`;
  }

  private howTemplate(): TemplateResult {
    return html`<section id="how" class="no-print" tabindex="-1" aria-labelledby="how-title">
      <h2 id="how-title">How it works</h2>
      <lin-words name="how-it-works"></lin-words>
    </section>`;
  }

  private filesTemplate(): TemplateResult {
    return html`<div slot="model" class="files">
      <button @click=${() => this.fileInput.click()}>Open files …</button>
      <span
        >or drop them ${this.page ? 'anywhere' : 'here'}: a checkpoint (model.safetensors with config.json,
        and tokenizer.json if it has one) or a .txt file. They stay on this machine.</span
      >
      <input
        id="file"
        type="file"
        multiple
        hidden
        accept=".safetensors,.json,.txt"
        aria-label="Checkpoint or text files"
        @change=${(e: Event) => {
          const input = e.target as HTMLInputElement;
          void this.openFiles([...(input.files ?? [])]);
          input.value = '';
        }}
      />
    </div>`;
  }

  protected override render(): TemplateResult {
    const theme = this.themes?.theme ?? this.drawnTheme;
    const waiting = this.missing ? 'Waiting for your file.' : 'Calculating …';
    return html`${this.headerTemplate()}
      <div class="body ${this.isHidden('controls') ? 'alone' : ''}">
        ${this.railTemplate()}
        <main>
          ${this.statusTemplate()} ${this.noticesTemplate()} ${this.assignmentTemplate()}
          <div class="panels">
            ${repeat(
              this.panelList(),
              (p) => p.id,
              ({ id, title }) => {
                const panel = this.panelsById.get(id);
                const onDemand = id === 'recall';
                return html`<lin-panel
                  part="panel"
                  ?embeddable=${!this.isHidden('embed')}
                  @embed=${this.onEmbed}
                  data-panel=${id}
                  name=${id}
                  heading=${title}
                  .panel=${panel}
                  .cursor=${this.cursor}
                  .theme=${theme}
                  .link=${this.lastLink}
                  .low=${onDemand}
                  .waiting=${onDemand ? 'Not measured yet: it reads many texts of each length, so it starts when you ask for it.' : waiting}
                  >${onDemand ? this.recallAction() : nothing}</lin-panel
                >`;
              },
            )}
          </div>
          ${this.isHidden('words') ? nothing : this.howTemplate()}
        </main>
      </div>
      ${this.dropping ? html`<div class="drop" aria-hidden="true">Drop model.safetensors with config.json, or a .txt file</div>` : nothing}
      <dialog aria-labelledby="report-title">
        <h2 id="report-title">Self-check report</h2>
        <pre tabindex="0">${this.report}</pre>
        <div class="row">
          <button class="primary" @click=${() => void navigator.clipboard.writeText(this.report ?? '')}>
            Copy
          </button>
          <button @click=${() => this.reportDialog.close()}>Close</button>
        </div>
      </dialog>
      <p class="print-only">
        ${this.facts?.description ?? ''} · ${this.page ? location.href : this.permalink}
      </p>`;
  }
}
