/** `<linearium-prune>`: the page of the pruning bench. */
import { html, LitElement, type TemplateResult } from 'lit';
import { customElement } from 'lit/decorators.js';
import './exhibit.ts';
import { exhibitStyles } from './exhibit-styles.ts';
import { labStyles } from './lab-styles.ts';
import { base, tokens } from './styles.ts';
import { themeSwitch } from './theme-switch.ts';
import { ThemeState } from './theme.ts';

@customElement('linearium-prune')
export class LineariumPrune extends LitElement {
  static override styles = [base, tokens, labStyles, exhibitStyles];

  private readonly themes = new ThemeState();

  override connectedCallback(): void {
    super.connectedCallback();
    this.themes.addEventListener('change', this.onTheme);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.themes.removeEventListener('change', this.onTheme);
  }

  private readonly onTheme = (): void => this.requestUpdate();

  protected override render(): TemplateResult {
    return html`<header class="top">
        <div class="brand">
          <h1>Linearium</h1>
          <p>What a recurrence forgets when a token is dropped.</p>
        </div>
        <nav class="no-print" aria-label="Page">
          <a href="./index.html">The lab</a>
          <a href="./mixers.html">All mixers</a>
          <a href="./prune.html" aria-current="page">Pruning</a>
          <a href="./exhibits.html">Exhibits</a>
          ${themeSwitch(this.themes)}
        </nav>
      </header>
      <linearium-exhibit page name="pruning" .theme=${this.themes.theme}></linearium-exhibit>`;
  }
}
