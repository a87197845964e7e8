/** The gallery of all papers: those that run with a picture made at this moment, the others as what they are. */
import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import { repeat } from 'lit/directives/repeat.js';
import exhibits from 'virtual:exhibits';
import known from '../../content/papers.json';
import { EngineClient, type EngineListener } from '../engine/client.ts';
import type { Theme } from '../views/palette.ts';
import { thumbnailOf } from '../views/thumbnail.ts';
import type { View } from '../views/types.ts';
import { exhibitStyles } from './exhibit-styles.ts';
import { base } from './styles.ts';

type Paper = (typeof known)[number];

/** An exhibit that is not in the list of papers yet stands there with what it says of itself. */
const papers: Paper[] = [
  ...known,
  ...exhibits
    .filter((e) => known.every((p) => p.slug !== e.slug))
    // A bench without a paper has a page of its own.
    .flatMap(({ slug, title, paper, see }) =>
      paper
        ? {
            slug,
            title,
            full: paper.title,
            year: paper.year,
            arxiv: paper.arxiv,
            mechanisms: [],
            teaches: [],
            line: see,
          }
        : [],
    ),
];

/** Filters of the address: key and how a paper answers it. */
const FILTERS: { key: string; label: string; of: (paper: Paper) => string[] }[] = [
  { key: 'mechanism', label: 'Mechanism', of: (p) => p.mechanisms },
  { key: 'teaches', label: 'Teaches', of: (p) => p.teaches },
  { key: 'year', label: 'Year', of: (p) => [String(p.year)] },
];

const runs = (paper: Paper): boolean => exhibits.some((e) => e.slug === paper.slug);
const plain = (text: string): string =>
  text
    .toLowerCase()
    .normalize('NFKD')
    .replaceAll(/[^a-z0-9. ]+/g, '');

@customElement('lin-exhibit-gallery')
export class LinExhibitGallery extends LitElement implements EngineListener {
  static override styles = [
    base,
    exhibitStyles,
    css`
      :host {
        max-width: 110rem;
        margin-inline: auto;
        padding: 0.9rem clamp(0.6rem, 2vw, 2.4rem) 3rem;
      }
      .lead {
        max-width: 90ch;
        color: var(--quiet);
        margin-bottom: 0.9rem;
      }
      .notice {
        border-left: 3px solid var(--run-b);
        background: var(--tint-b);
        padding: 0.4rem 0.9rem;
        border-radius: 4px;
        margin-bottom: 0.8rem;
        overflow-wrap: anywhere;
      }
      form {
        display: flex;
        flex-wrap: wrap;
        align-items: flex-end;
        gap: 0.6rem 1.1rem;
        margin-bottom: 0.9rem;
        font-size: 0.86rem;
      }
      label > span {
        display: block;
        color: var(--quiet);
        font-size: 0.78rem;
        margin-bottom: 0.15rem;
      }
      input[type='search'],
      select {
        min-height: 32px;
        border: 1px solid var(--line-strong);
        border-radius: var(--radius);
        background: var(--surface);
        padding: 0 0.5rem;
        max-width: 100%;
      }
      input[type='search'] {
        width: min(22rem, 84vw);
      }
      label.check {
        display: flex;
        align-items: center;
        gap: 0.4rem;
        min-height: 32px;
      }
      label.check span {
        display: inline;
        color: inherit;
        font-size: inherit;
        margin: 0;
      }
      input[type='checkbox'] {
        width: 18px;
        height: 18px;
        accent-color: var(--run-a);
      }
      ul {
        list-style: none;
        display: grid;
        gap: 0.9rem;
        grid-template-columns: repeat(auto-fill, minmax(min(19rem, 100%), 1fr));
      }
      li {
        display: flex;
        flex-direction: column;
        gap: 0.35rem;
        position: relative;
      }
      li h3 {
        font-family: var(--serif);
        font-size: 1.1rem;
        line-height: 1.3;
      }
      li.live h3 a::after {
        content: '';
        position: absolute;
        inset: 0;
      }
      li.live:hover {
        border-color: var(--line-strong);
      }
      li.absent {
        background: none;
        border-style: dashed;
      }
      .picture {
        aspect-ratio: 7 / 4;
        background: var(--sunken);
        border-radius: 5px;
        display: grid;
        place-items: center;
        color: var(--quiet);
        font-size: 0.82rem;
        overflow: hidden;
      }
      .picture img {
        width: 100%;
        height: 100%;
        object-fit: contain;
      }
      li p {
        font-size: 0.88rem;
        line-height: 1.5;
      }
      .tags {
        display: flex;
        flex-wrap: wrap;
        gap: 0.3rem;
        margin-top: auto;
        padding-top: 0.3rem;
        font-size: 0.76rem;
        color: var(--quiet);
      }
      .tags span {
        border: 1px solid var(--line);
        border-radius: 1rem;
        padding: 0.05rem 0.55rem;
      }
      .state {
        font-size: 0.78rem;
        font-weight: 600;
        color: var(--run-a);
      }
      .absent .state {
        color: var(--quiet);
      }
      .state a {
        position: relative;
        z-index: 1;
        font-weight: 400;
      }
    `,
  ];

  @property() theme: Theme = 'light';
  /** Something to be said above the papers. */
  @property() notice = '';
  @state() private asked = new URLSearchParams(location.search);
  @state() private pictures = new Map<string, View | string>();
  private readonly engine = new EngineClient(this, 'complete');

  override connectedCallback(): void {
    super.connectedCallback();
    addEventListener('popstate', this.onHistory);
    this.engine.start();
    void this.draw();
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    removeEventListener('popstate', this.onHistory);
    this.engine.stop();
  }

  private readonly onHistory = (): void => {
    this.asked = new URLSearchParams(location.search);
  };

  /** One after the other, so that the first ones are there soon. */
  private async draw(): Promise<void> {
    for (const { slug } of exhibits) {
      let picture: View | string;
      try {
        const { panel } = await this.engine.exhibit(slug, '');
        picture = panel?.views[0] ?? 'no picture';
      } catch (error) {
        picture = (error as Error).message;
      }
      if (!this.isConnected) return;
      this.pictures = new Map(this.pictures).set(slug, picture);
    }
  }

  /** Pictures say themselves what went wrong. */
  ready(): void {}
  configured(): void {}
  panels(): void {}
  progress(): void {}
  gpu(): void {}
  reading(): void {}
  fileWanted(): void {}
  failed(): void {}
  told(): void {}

  private set(key: string, value: string): void {
    const asked = new URLSearchParams(this.asked);
    asked.delete('exhibit');
    if (value) asked.set(key, value);
    else asked.delete(key);
    this.asked = asked;
    const query = asked.toString();
    history.replaceState(null, '', `${location.pathname}${query ? `?${query}` : ''}`);
  }

  private get found(): Paper[] {
    const words = plain(this.asked.get('q') ?? '')
      .split(' ')
      .filter(Boolean);
    const fits = (paper: Paper): boolean => {
      const all = [paper.title, paper.full, paper.line, paper.arxiv, ...paper.mechanisms, ...paper.teaches];
      const text = plain(all.join(' '));
      return (
        words.every((w) => text.includes(w)) &&
        FILTERS.every(({ key, of }) => {
          const wanted = this.asked.get(key);
          return !wanted || of(paper).includes(wanted);
        }) &&
        (!this.asked.has('runs') || runs(paper))
      );
    };
    return papers.filter(fits).sort((a, b) => Number(runs(b)) - Number(runs(a)));
  }

  private pictureTemplate(slug: string): TemplateResult {
    const picture = this.pictures.get(slug);
    if (picture === undefined) return html`<span>Calculating …</span>`;
    if (typeof picture === 'string') return html`<span>${picture}</span>`;
    const address = thumbnailOf(picture, this.theme);
    return address ? html`<img src=${address} alt=${picture.title} />` : html`<span>no picture</span>`;
  }

  private cardTemplate(paper: Paper): TemplateResult {
    const live = runs(paper);
    const source = paper.arxiv
      ? html`<a href="https://arxiv.org/abs/${paper.arxiv}" rel="noreferrer">arXiv ${paper.arxiv}</a>`
      : 'no preprint';
    return html`<li class="card ${live ? 'live' : 'absent'}" data-paper=${paper.slug}>
      ${live ? html`<div class="picture">${this.pictureTemplate(paper.slug)}</div>` : nothing}
      <h3>
        ${live ? html`<a href="./exhibits.html?exhibit=${paper.slug}">${paper.title}</a>` : paper.title}
      </h3>
      <p class="quiet">${paper.full} (${paper.year})</p>
      <p>${paper.line}</p>
      <p class="state">${live ? 'Runs here' : 'Not built yet'} · ${source}</p>
      <div class="tags">
        ${[...new Set([...paper.mechanisms, ...paper.teaches])].map((t) => html`<span>${t}</span>`)}
      </div>
    </li>`;
  }

  private selectTemplate({ key, label, of }: (typeof FILTERS)[number]): TemplateResult {
    const values = [...new Set(papers.flatMap(of))].sort();
    const now = this.asked.get(key) ?? '';
    return html`<label
      ><span>${label}</span
      ><select @change=${(e: Event) => this.set(key, (e.target as HTMLSelectElement).value)}>
        <option value="" ?selected=${now === ''}>any</option>
        ${values.map((v) => html`<option value=${v} ?selected=${v === now}>${v}</option>`)}
      </select></label
    >`;
  }

  override willUpdate(changes: PropertyValues<this>): void {
    if (changes.has('notice') && this.notice) this.asked.delete('exhibit');
  }

  protected override render(): TemplateResult {
    const found = this.found;
    return html`<main>
      ${this.notice ? html`<p class="notice" role="status">${this.notice}</p>` : nothing}
      <p class="lead">
        ${papers.length} papers on linear-time sequence models. Those that run come first
        (${papers.filter(runs).length} now): controls, equations with live values, and each claim measured
        again on this device. The others are named with what they teach.
      </p>
      <form role="search" class="no-print" @submit=${(e: Event) => e.preventDefault()}>
        <label
          ><span>Search</span
          ><input
            type="search"
            .value=${this.asked.get('q') ?? ''}
            @input=${(e: Event) => this.set('q', (e.target as HTMLInputElement).value)}
        /></label>
        ${FILTERS.map((f) => this.selectTemplate(f))}
        <label class="check"
          ><input
            type="checkbox"
            .checked=${this.asked.has('runs')}
            @change=${(e: Event) => this.set('runs', (e.target as HTMLInputElement).checked ? '1' : '')}
          /><span>Only those that run</span></label
        >
      </form>
      <p class="quiet" role="status">
        ${found.length === papers.length ? '' : `${found.length} of ${papers.length} papers`}
      </p>
      <ul>
        ${repeat(
          found,
          (p) => p.slug,
          (p) => this.cardTemplate(p),
        )}
      </ul>
    </main>`;
  }
}
