/** “Embed this”: what to put into a page for the present state, and a task about it. */
import { css, html, LitElement, nothing, type TemplateResult } from 'lit';
import { customElement, property, query, state } from 'lit/decorators.js';
import type { Property } from '../engine/protocol.ts';
import { HOME } from '../engine/own-files.ts';
import { fileName, save, svgOf } from '../views/export.ts';
import type { Panel } from '../views/types.ts';
import { encode, quantities, type Task } from './assignment.ts';
import type { Result } from './embedded.ts';
import type { Ranges } from './limits.ts';
import { elementSnippet, frameSnippet, pictureSnippet, type Embedding } from './snippets.ts';
import { base } from './styles.ts';

@customElement('lin-embed-dialog')
export class LinEmbedDialog extends LitElement {
  static override styles = [
    base,
    css`
      dialog {
        border: 1px solid var(--line-strong);
        border-radius: 10px;
        background: var(--surface);
        color: var(--ink);
        width: min(56rem, calc(100vw - 1.6rem));
        max-height: calc(100vh - 2rem);
        overflow: auto;
        padding: 1.1rem 1.2rem;
      }
      dialog::backdrop {
        background: rgb(0 0 0 / 0.4);
      }
      h2 {
        font-family: var(--serif);
        font-size: 1.2rem;
      }
      h3 {
        font-size: 0.92rem;
        margin: 1rem 0 0.3rem;
      }
      p,
      label,
      td,
      th {
        font-size: 0.86rem;
      }
      .quiet {
        color: var(--quiet);
      }
      textarea,
      input[type='text'],
      input[type='number'],
      select {
        width: 100%;
        min-height: 28px;
        border: 1px solid var(--line-strong);
        border-radius: var(--radius);
        background: var(--sunken);
        padding: 0.35rem 0.5rem;
      }
      textarea.code {
        font-family: var(--mono);
        font-size: 0.78rem;
        resize: vertical;
      }
      .scroll {
        max-height: 13rem;
        overflow: auto;
        border: 1px solid var(--line);
        border-radius: var(--radius);
      }
      table {
        border-collapse: collapse;
        width: 100%;
      }
      th {
        text-align: start;
        color: var(--quiet);
        font-weight: 500;
      }
      td,
      th {
        padding: 0.12rem 0.6rem;
      }
      td input {
        width: 24px;
        height: 24px;
        margin: 0;
      }
      .row {
        display: flex;
        flex-wrap: wrap;
        gap: 0.5rem 0.8rem;
        align-items: end;
        margin-top: 0.35rem;
      }
      .row label {
        flex: 1 1 9rem;
      }
    `,
  ];

  @property({ attribute: false }) exhibit = '';
  @property({ attribute: false }) heading = '';
  @property({ attribute: false }) link = '';
  /** The page of the element without its state. */
  @property({ attribute: false }) pageLink = '';
  @property({ attribute: false }) properties: readonly Property[] = [];
  /** Parts beside the controls that may be hidden. */
  @property({ attribute: false }) sections: readonly string[] = [];
  @property({ attribute: false }) ranges: Ranges = {};
  @property({ attribute: false }) result?: Result;
  @property({ attribute: false }) symbolNames: Readonly<Record<string, string>> = {};
  @property({ attribute: false }) hide: readonly string[] = [];
  @property({ attribute: false }) lock: readonly string[] = [];

  /** Of one panel, or of all if it is empty. */
  @state() private panelId = '';
  @state() private title_ = '';
  @state() private ask = '';
  @state() private goal = '';
  @state() private least = '';
  @state() private most = '';
  @state() private seeded = false;
  @state() private copied = '';
  @query('dialog') private dialog!: HTMLDialogElement;

  async open(panelId: string): Promise<void> {
    this.panelId = panelId;
    await this.updateComplete;
    this.dialog.showModal();
  }

  private get panel(): Panel | undefined {
    const panels = this.result?.panels ?? [];
    return panels.find((p) => p.id === this.panelId) ?? panels[0];
  }

  private get embedding(): Embedding {
    return {
      home: HOME.href,
      exhibit: this.exhibit,
      query: this.result?.query ?? '',
      hide: this.hide,
      lock: this.lock,
      ranges: this.ranges,
      link: this.link,
      title: this.heading,
    };
  }

  private toggle(of: 'hide' | 'lock', id: string, on: boolean): void {
    const others = this[of].filter((other) => other !== id);
    this[of] = on ? [...others, id] : others;
  }

  private async copy(text: string, what: string): Promise<void> {
    try {
      await navigator.clipboard.writeText(text);
      this.copied = `Copied: ${what}.`;
    } catch {
      this.copied = 'This page may not copy for you: mark the text and copy it.';
    }
  }

  private codeTemplate(title: string, words: string, code: string): TemplateResult {
    return html`<h3>${title}</h3>
      <p class="quiet">${words}</p>
      <textarea class="code" readonly rows="3" aria-label=${title} .value=${code}></textarea>
      <button @click=${() => void this.copy(code, title)}>Copy</button>`;
  }

  private pictureTemplate(): TemplateResult | typeof nothing {
    const panel = this.panel;
    const view = panel?.views[0];
    if (!panel || !view) return nothing;
    const file = fileName(view, panel, this.result?.query ?? '', 'svg');
    const source = (): Blob => new Blob([svgOf(view, panel, this.link)], { type: 'image/svg+xml' });
    return html`${this.codeTemplate(
        'A picture with a link',
        `Nothing runs in the page. Save the picture of “${view.title}” beside it.`,
        pictureSnippet(this.embedding, file, `${view.title}. ${panel.summary}`),
      )}
      <button @click=${() => save(source(), file)}>Save ${file.length > 44 ? 'the picture' : file}</button>`;
  }

  private get taskLink(): string {
    const end = (text: string): number | null => (text.trim() === '' ? null : Number(text));
    const task: Task = {
      v: 1,
      title: this.title_ || this.heading,
      ask: this.ask,
      exhibit: this.exhibit,
      start: this.result?.query ?? '',
      goal: { of: this.goal, min: end(this.least), max: end(this.most) },
      hide: [...this.hide],
      lock: [...this.lock],
      range: Object.entries(this.ranges)
        .map(([id, r]) => ('choices' in r ? `${id}:${r.choices.join('|')}` : `${id}:${r.min}..${r.max}`))
        .join(' '),
      seed: this.seeded ? 'name' : null,
    };
    const link = new URL(this.pageLink, HOME);
    for (const [key, value] of new URLSearchParams(task.start)) link.searchParams.set(key, value);
    link.hash = `task=${encode(task)}`;
    return link.href;
  }

  private taskTemplate(): TemplateResult {
    const all = this.result ? quantities(this.result, this.symbolNames) : [];
    const now = all.find((q) => q.of === this.goal);
    const hasSeed = this.properties.some((p) => p.id === 'seed');
    const ready = now !== undefined && (this.least !== '' || this.most !== '');
    const field = (label: string, value: string, set: (text: string) => void, type = 'text') =>
      html`<label
        >${label}<input
          type=${type}
          step="any"
          .value=${value}
          @input=${(e: Event) => set((e.target as HTMLInputElement).value)}
      /></label>`;
    return html`<h3>An assignment</h3>
      <p class="quiet">
        A link that begins with this state, with what is hidden and fixed above. It checks itself, and gives
        the learner a result link for you.
      </p>
      <div class="row">
        ${field('Title', this.title_, (t) => (this.title_ = t))}
        ${field('What to do', this.ask, (t) => (this.ask = t))}
      </div>
      <div class="row">
        <label
          >Goal on
          <select @change=${(e: Event) => (this.goal = (e.target as HTMLSelectElement).value)}>
            <option value="">choose a quantity …</option>
            ${all.map((q) => html`<option value=${q.of} ?selected=${q.of === this.goal}>${q.label}</option>`)}
          </select></label
        >
        ${field(`At least${now ? ` (now ${Number(now.value.toPrecision(4))})` : ''}`, this.least, (t) => (this.least = t), 'number')}
        ${field('At most', this.most, (t) => (this.most = t), 'number')}
      </div>
      ${
        hasSeed
          ? html`<p>
              <label
                ><input
                  type="checkbox"
                  .checked=${this.seeded}
                  @change=${(e: Event) => (this.seeded = (e.target as HTMLInputElement).checked)}
                />
                Another seed for each learner, from the name</label
              >
            </p>`
          : nothing
      }
      ${
        ready
          ? html`<textarea
                class="code"
                readonly
                rows="2"
                aria-label="Link of the assignment"
                .value=${this.taskLink}
              ></textarea>
              <button @click=${() => void this.copy(this.taskLink, 'the assignment')}>Copy</button>`
          : html`<p class="quiet">Choose a quantity and a bound to get the link.</p>`
      }`;
  }

  protected override render(): TemplateResult {
    const rows = [
      ...this.properties.map((p) => ({ id: p.id, label: p.label, control: true })),
      ...this.sections.map((id) => ({ id, label: id.replaceAll('-', ' '), control: false })),
    ];
    const box = (of: 'hide' | 'lock', id: string, label: string): TemplateResult =>
      html`<input
        type="checkbox"
        aria-label="${of === 'hide' ? 'Hide' : 'Fix'} ${label}"
        .checked=${this[of].includes(id)}
        @change=${(e: Event) => this.toggle(of, id, (e.target as HTMLInputElement).checked)}
      />`;
    return html`<dialog aria-labelledby="title">
      <h2 id="title">Embed this</h2>
      <h3>What the page shows</h3>
      <div class="scroll" tabindex="0" role="region" aria-label="Controls and parts">
        <table>
          <thead>
            <tr>
              <th scope="col">Control or part</th>
              <th scope="col">Hide</th>
              <th scope="col">Fix</th>
            </tr>
          </thead>
          <tbody>
            ${rows.map(
              ({ id, label, control }) =>
                html`<tr>
                  <td>${label}</td>
                  <td>${box('hide', id, label)}</td>
                  <td>${control ? box('lock', id, label) : nothing}</td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
      ${this.codeTemplate('A custom element', 'Runs as a part of your page; the script once for all of them.', elementSnippet(this.embedding))}
      ${this.codeTemplate('A frame', 'For pages that take no scripts of others, as most course systems.', frameSnippet(this.embedding))}
      ${this.pictureTemplate()} ${this.taskTemplate()}
      <p role="status">${this.copied}</p>
      <div class="row"><button class="primary" @click=${() => this.dialog.close()}>Close</button></div>
    </dialog>`;
  }
}
