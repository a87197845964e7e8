/** `<linearium-exhibits>`: the gallery of papers, or the one that the address names. */
import { html, LitElement, type TemplateResult } from 'lit';
import { customElement, state } from 'lit/decorators.js';
import exhibits from 'virtual:exhibits';
import './exhibit-gallery.ts';
import './exhibit.ts';
import { exhibitStyles } from './exhibit-styles.ts';
import { labStyles } from './lab-styles.ts';
import { base, tokens } from './styles.ts';
import { themeSwitch } from './theme-switch.ts';
import { ThemeState } from './theme.ts';

const inAddress = (): string | null => new URLSearchParams(location.search).get('exhibit');

@customElement('linearium-exhibits')
export class LineariumExhibits extends LitElement {
  static override styles = [base, tokens, labStyles, exhibitStyles];

  @state() private slug = inAddress();
  private readonly themes = new ThemeState();

  override connectedCallback(): void {
    super.connectedCallback();
    this.themes.addEventListener('change', this.onTheme);
    addEventListener('popstate', this.onHistory);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.themes.removeEventListener('change', this.onTheme);
    removeEventListener('popstate', this.onHistory);
  }

  private readonly onTheme = (): void => this.requestUpdate();
  private readonly onHistory = (): void => {
    this.slug = inAddress();
  };

  private bodyTemplate(): TemplateResult {
    const known = exhibits.some((e) => e.slug === this.slug);
    if (this.slug !== null && known)
      return html`<linearium-exhibit
        page
        .name=${this.slug}
        .theme=${this.themes.theme}
      ></linearium-exhibit>`;
    const missing =
      this.slug === null
        ? ''
        : `There is no exhibit “${this.slug.slice(0, 40)}”: these are the papers, those that run come first.`;
    return html`<lin-exhibit-gallery .notice=${missing} .theme=${this.themes.theme}></lin-exhibit-gallery>`;
  }

  protected override render(): TemplateResult {
    return html`<header class="top">
        <div class="brand">
          <h1>Linearium</h1>
          <p>Papers that run.</p>
        </div>
        <nav class="no-print" aria-label="Page">
          <a href="./index.html">The lab</a>
          <a href="./mixers.html">All mixers</a>
          <a href="./prune.html">Pruning</a>
          <a href="./exhibits.html" aria-current=${this.slug === null ? 'page' : 'false'}>Exhibits</a>
          ${themeSwitch(this.themes)}
        </nav>
      </header>
      ${this.bodyTemplate()}`;
  }
}
