/** One mixer: its idea, its equation, a drawing of a step, what it carries and costs, its source. */
import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import { unsafeHTML } from 'lit/directives/unsafe-html.js';
import { formatNumber } from '../views/format.ts';
import './mixer-source.ts';
import './mixer-step.ts';
import { formatBytes, type Entry } from './mixer-table.ts';
import { base } from './styles.ts';

interface Words {
  title: string;
  sections: Record<string, string>;
}

const files = import.meta.glob<{ title: string; default: Record<string, string> }>(
  '../../content/mixers/*.md',
);

/** The HTML comes from our own Markdown, made when the page was built. */
async function wordsOf(id: string): Promise<Words | undefined> {
  const load = files[`../../content/mixers/${id}.md`];
  if (!load) return undefined;
  const { title, default: sections } = await load();
  return { title, sections };
}

@customElement('lin-mixer-card')
export class LinMixerCard extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        background: var(--surface);
        border: 1px solid var(--line);
        border-top: 3px solid var(--run);
        border-radius: 8px;
        padding: 0.9rem 1.2rem 0.7rem;
        min-width: 0;
        container-type: inline-size;
      }
      :host([run='a']) {
        --run: var(--run-a);
      }
      :host([run='b']) {
        --run: var(--run-b);
      }
      header {
        display: flex;
        align-items: flex-start;
        gap: 0.7rem;
      }
      header > div {
        flex: 1;
        min-width: 0;
      }
      .letter {
        color: var(--run);
        font-weight: 700;
        font-size: 0.95rem;
        line-height: 1.75;
        border-bottom: 2px solid;
      }
      :host([run='b']) .letter {
        border-bottom-style: dashed;
      }
      h2 {
        font-family: var(--serif);
        font-size: 1.26rem;
        font-weight: 600;
        line-height: 1.3;
      }
      .title {
        color: var(--quiet);
        font-size: 0.92rem;
      }
      h3 {
        font-size: 0.86rem;
        font-weight: 600;
        margin: 1rem 0 0.25rem;
      }
      .words {
        font-size: 0.92rem;
        line-height: 1.6;
        max-width: 72ch;
      }
      .words p,
      .words ul {
        margin: 0.35rem 0;
      }
      .words ul {
        padding-left: 1.2rem;
      }
      .formula {
        overflow-x: auto;
        padding: 0.25rem 0;
        scrollbar-width: thin;
      }
      math {
        font-family: 'STIX Two Math', 'Cambria Math', 'Latin Modern Math', 'Noto Sans Math', math;
        font-size: 1.06em;
      }
      .scroll {
        position: relative;
        overflow-x: auto;
      }
      table {
        border-collapse: collapse;
        font-size: 0.84rem;
        width: 100%;
      }
      th,
      td {
        text-align: right;
        padding: 0.2rem 0 0.2rem 0.9rem;
        border-bottom: 1px solid var(--line);
        white-space: nowrap;
        font-weight: 400;
      }
      thead th {
        color: var(--quiet);
        font-size: 0.8rem;
      }
      th:first-child {
        text-align: left;
        padding-left: 0;
        white-space: normal;
        color: var(--quiet);
      }
      dl {
        display: grid;
        grid-template-columns: max-content minmax(0, 1fr);
        gap: 0.2rem 1rem;
        font-size: 0.86rem;
        margin: 0.2rem 0 0.6rem;
      }
      dt {
        font-family: var(--serif);
        font-style: italic;
        color: var(--ink);
      }
      dd {
        margin: 0;
        color: var(--quiet);
      }
      .size {
        font-size: 0.84rem;
        color: var(--quiet);
        margin-top: 0.4rem;
      }
      .more {
        border-top: 1px solid var(--line);
        margin-top: 0.9rem;
        padding-top: 0.25rem;
      }
    `,
  ];

  @property({ attribute: false }) entry?: Entry;
  @property({ reflect: true }) run: 'a' | 'b' = 'a';
  /** The file whose source is open. */
  @property() file?: string;
  @state() private words?: Words;

  override willUpdate(changes: PropertyValues<this>): void {
    const before = changes.get('entry') as Entry | undefined;
    if (changes.has('entry') && before?.row.id !== this.entry?.row.id) void this.load();
  }

  private async load(): Promise<void> {
    const id = this.entry?.row.id;
    const words = id === undefined ? undefined : await wordsOf(id);
    if (id === this.entry?.row.id) this.words = words;
  }

  private section(id: string, title: string): TemplateResult | typeof nothing {
    const text = this.words?.sections[id];
    return text
      ? html`${title ? html`<h3>${title}</h3>` : nothing}
          <div class="words">${unsafeHTML(text)}</div>`
      : nothing;
  }

  private costTemplate({ row, cpu, gpu }: Entry): TemplateResult {
    const measured = [cpu, gpu].filter((m) => m !== undefined);
    return html`<div class="scroll" tabindex="0" role="region" aria-label="State and cost of ${row.name}">
        <table>
          <thead>
            <tr>
              <th scope="col">after so many tokens</th>
              ${row.lengths.map((at) => html`<th scope="col">${formatNumber(at.tokens)}</th>`)}
            </tr>
          </thead>
          <tbody>
            <tr>
              <th scope="row">state of a layer</th>
              ${row.lengths.map((at) => html`<td>${formatBytes(at.stateBytes)}</td>`)}
            </tr>
            <tr>
              <th scope="row">multiply-adds, this token</th>
              ${row.lengths.map((at) => html`<td>${formatNumber(at.operationsLast, 3)}</td>`)}
            </tr>
            <tr>
              <th scope="row">multiply-adds, all tokens</th>
              ${row.lengths.map((at) => html`<td>${formatNumber(at.operationsAll, 3)}</td>`)}
            </tr>
          </tbody>
        </table>
      </div>
      <p class="size">
        Width ${row.width}, ${formatNumber(row.heads)} heads of ${row.key} keys and ${row.value}
        ${row.value === 1 ? 'value' : 'values'}, ${formatNumber(row.parameters)} parameters a
        layer.${
          row.reached === null
            ? nothing
            : html` This is ${formatNumber(100 * row.reached, 3)} % of the budget that is held equal.`
        }
        ${measured.map((m) => html` ${formatNumber(m.time.usPerToken, 3)} µs a token on ${m.time.backend}.`)}
      </p>`;
  }

  protected override render(): TemplateResult | typeof nothing {
    const entry = this.entry;
    if (!entry) return nothing;
    const { row } = entry;
    return html`<section aria-labelledby="title">
      <header>
        <span class="letter" aria-hidden="true">${this.run.toUpperCase()}</span>
        <div>
          <h2 id="title">${row.name}</h2>
          <p class="title">${this.words?.title ?? nothing}</p>
        </div>
        <slot name="action"></slot>
      </header>
      ${this.section('idea', '')} ${this.section('equation', 'Equation')}
      <h3>One step</h3>
      <lin-mixer-step .row=${row} run=${this.run}></lin-mixer-step>
      <h3>What it carries and costs</h3>
      ${this.costTemplate(entry)}
      <div class="more">
        <details>
          <summary>Symbols</summary>
          <dl>
            ${row.glossary.map(
              ([symbol, meaning]) =>
                html`<dt>${symbol}</dt>
                  <dd>${meaning}</dd>`,
            )}
          </dl>
        </details>
        <lin-mixer-source
          name=${row.id}
          .kernels=${row.kernels}
          .scans=${row.scans}
          .file=${this.file}
        ></lin-mixer-source>
        <details>
          <summary>What to try, references</summary>
          ${this.section('what-to-try', 'What to try')} ${this.section('references', 'References')}
          ${
            row.ignores.length > 0
              ? html`<h3>Interventions that do not act on it</h3>
                  <div class="words">
                    <ul>
                      ${row.ignores.map(([setting, why]) => html`<li>${setting}: ${why}.</li>`)}
                    </ul>
                  </div>`
              : nothing
          }
        </details>
      </div>
    </section>`;
  }
}
