/** One panel: what to see, its views, its formula, how its numbers were made. */
import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import { unsafeHTML } from 'lit/directives/unsafe-html.js';
import { repeat } from 'lit/directives/repeat.js';
import type { Cursor } from '../views/cursor.ts';
import { formatNumber } from '../views/format.ts';
import type { Theme } from '../views/palette.ts';
import type { Panel } from '../views/types.ts';
import { base } from './styles.ts';
import './view.ts';

const words = import.meta.glob<{ default: Record<string, string> }>('../../content/lab/*.md');

const SECTION_TITLES: Record<string, string> = {
  idea: 'The idea',
  formula: 'Formula',
  'what-to-try': 'What to try',
  references: 'References',
};

/** The HTML comes from our own Markdown, made when the page was built. */
export async function wordsOf(id: string): Promise<Record<string, string>> {
  const load = words[`../../content/lab/${id}.md`];
  return load ? (await load()).default : {};
}

@customElement('lin-panel')
export class LinPanel extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        background: var(--surface);
        border: 1px solid var(--line);
        border-radius: 8px;
        padding: 1.05rem 1.2rem 0.7rem;
        container-type: inline-size;
        min-width: 0;
      }
      header {
        display: flex;
        flex-wrap: wrap;
        align-items: baseline;
        gap: 0.1rem 0.9rem;
      }
      h2 {
        font-family: var(--serif);
        font-size: 1.22rem;
        font-weight: 600;
        line-height: 1.3;
        letter-spacing: 0.002em;
        text-wrap: balance;
      }
      .cover {
        margin-left: auto;
        font-size: 0.78rem;
        color: var(--quiet);
        white-space: nowrap;
      }
      .cover.part {
        color: var(--run-b);
        font-weight: 600;
      }
      .summary {
        color: var(--quiet);
        font-size: 0.88rem;
        margin-top: 0.25rem;
        max-width: 90ch;
      }
      .views {
        display: grid;
        gap: 1.3rem 1.8rem;
        margin-top: 0.9rem;
        grid-template-columns: minmax(0, 1fr);
      }
      @container (min-width: 760px) {
        .views {
          grid-template-columns: repeat(2, minmax(0, 1fr));
        }
        .views .wide {
          grid-column: 1 / -1;
        }
      }
      .about {
        border-top: 1px solid var(--line);
        margin-top: 0.8rem;
        padding-top: 0.3rem;
        display: flex;
        flex-wrap: wrap;
        gap: 0 1.4rem;
      }
      .about details[open] {
        flex: 1 1 100%;
      }
      .words {
        font-size: 0.92rem;
        line-height: 1.6;
        max-width: 74ch;
        padding: 0.2rem 0 0.7rem;
      }
      .words h3 {
        font-size: 0.92rem;
        margin: 0.9rem 0 0.2rem;
      }
      .words p,
      .words ul {
        margin: 0.4rem 0;
      }
      .words ul {
        padding-left: 1.2rem;
      }
      .words .formula {
        overflow-x: auto;
        padding: 0.35rem 0;
      }
      math {
        font-family: 'STIX Two Math', 'Cambria Math', 'Latin Modern Math', 'Noto Sans Math', math;
        font-size: 1.06em;
      }
      dl {
        display: grid;
        grid-template-columns: minmax(7rem, max-content) minmax(0, 1fr);
        gap: 0.25rem 1.2rem;
        font-size: 0.86rem;
        margin: 0.3rem 0 0.7rem;
      }
      dt {
        color: var(--quiet);
      }
      dd {
        margin: 0;
        overflow-wrap: anywhere;
      }
      dd code {
        font-family: var(--mono);
        font-size: 0.92em;
      }
      .empty {
        margin-top: 0.9rem;
        height: 15rem;
        border-radius: var(--radius);
        background: var(--sunken);
        display: grid;
        place-items: center;
        color: var(--quiet);
        font-size: 0.86rem;
        padding: 1rem;
        text-align: center;
      }
      .empty.low {
        height: auto;
        padding: 1.4rem;
      }
      @media print {
        :host {
          border-color: #bbb;
        }
        header,
        .summary {
          break-after: avoid;
        }
        .views {
          grid-template-columns: repeat(2, minmax(0, 1fr));
        }
        .views .wide {
          grid-column: 1 / -1;
        }
        .about details:not([open]) {
          display: none;
        }
      }
    `,
  ];

  /** Stable id of the panel, also where its words are found. */
  @property() name = '';
  /** Title until the panel itself is there. */
  @property() heading = '';
  @property({ attribute: false }) panel?: Panel;
  @property({ attribute: false }) cursor?: Cursor;
  @property() theme: Theme = 'light';
  @property() link = '';
  /** What stands in the place of the views while there are none. */
  @property() waiting = 'Calculating …';
  @property({ type: Boolean }) low = false;
  /** It may be put into other pages. */
  @property({ type: Boolean }) embeddable = false;
  /** Its words stand elsewhere on the page. */
  @property({ type: Boolean }) wordless = false;

  @state() private words?: Record<string, string>;

  private readonly loadWords = async (event: Event): Promise<void> => {
    if ((event.target as HTMLDetailsElement).open) this.words ??= await wordsOf(this.name);
  };

  override willUpdate(changes: PropertyValues<this>): void {
    if (changes.has('name')) this.words = undefined;
  }

  private coverTemplate(panel: Panel): TemplateResult | typeof nothing {
    const { coveredTokens, contextTokens } = panel.provenance;
    if (contextTokens === 0) return nothing;
    const partial = coveredTokens < contextTokens;
    return html`<span class=${partial ? 'cover part' : 'cover'}
      >${
        partial
          ? `first ${formatNumber(coveredTokens)} of ${formatNumber(contextTokens)} tokens`
          : `${formatNumber(contextTokens)} tokens`
      }</span
    >`;
  }

  private provenanceTemplate(panel: Panel): TemplateResult {
    const p = panel.provenance;
    const rows: [string, unknown][] = [
      ['Back end', p.backend],
      ['Formula', html`<code>${p.formula}</code>`],
      ['Source', p.source],
      ['Tolerance', p.tolerance],
      ['Self-check', p.selfCheck],
      [
        'Covers',
        p.contextTokens > 0
          ? `${formatNumber(p.coveredTokens)} of ${formatNumber(p.contextTokens)} tokens`
          : '',
      ],
      [
        'Interventions',
        p.interventions.length > 0 ? p.interventions.map((i) => html`<div>${i}</div>`) : 'none',
      ],
    ];
    return html`<dl>
      ${rows
        .filter(([, value]) => value !== '')
        .map(
          ([name, value]) =>
            html`<dt>${name}</dt>
              <dd>${value}</dd>`,
        )}
    </dl>`;
  }

  private wordsTemplate(): TemplateResult {
    return html`<details @toggle=${this.loadWords}>
      <summary>Formula</summary>
      <div class="words">
        ${
          this.words
            ? Object.entries(this.words).map(
                ([id, text]) =>
                  html`<h3>${SECTION_TITLES[id] ?? id}</h3>
                    ${unsafeHTML(text)}`,
              )
            : 'Loading …'
        }
      </div>
    </details>`;
  }

  /** Text and tables take the whole width; the last of an odd number of pictures over positions does too. */
  private isWide(panel: Panel, index: number): boolean {
    const wide = (i: number): boolean => panel.views[i].kind === 'tokens' || panel.views[i].kind === 'table';
    const view = panel.views[index];
    if (wide(index)) return true;
    if (!('xIsPosition' in view && view.xIsPosition)) return false;
    let start = index;
    while (start > 0 && !wide(start - 1)) start -= 1;
    let end = index;
    while (end + 1 < panel.views.length && !wide(end + 1)) end += 1;
    return index === end && (end - start) % 2 === 0;
  }

  protected override render(): TemplateResult {
    const panel = this.panel;
    return html`<section aria-labelledby="title" aria-busy=${panel ? 'false' : 'true'}>
      <header>
        <h2 id="title">${panel?.title ?? this.heading}</h2>
        ${panel ? this.coverTemplate(panel) : nothing}
      </header>
      ${panel ? html`<p class="summary">${panel.summary}</p>` : nothing}
      <slot name="action"></slot>
      ${
        panel && panel.views.length > 0
          ? html`<div class="views">
              ${repeat(
                panel.views,
                (view) => view.id,
                (view, i) =>
                  html`<lin-view
                    class=${this.isWide(panel, i) ? 'wide' : ''}
                    .view=${view}
                    .panel=${panel}
                    .cursor=${this.cursor}
                    .theme=${this.theme}
                    .link=${this.link}
                  ></lin-view>`,
              )}
            </div>`
          : html`<div class="empty ${this.low ? 'low' : ''}">${this.waiting}</div>`
      }
      <div class="about">
        ${this.wordless ? nothing : this.wordsTemplate()}
        ${
          panel
            ? html`<details>
                <summary>How was this made</summary>
                ${this.provenanceTemplate(panel)}
              </details>`
            : nothing
        }
        ${
          panel && this.embeddable
            ? html`<button
                class="plain no-print"
                @click=${() => this.dispatchEvent(new CustomEvent('embed', { detail: this.name, bubbles: true, composed: true }))}
              >
                Embed this
              </button>`
            : nothing
        }
      </div>
    </section>`;
  }
}
