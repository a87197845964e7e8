/** Every kind of view on fixtures, in both themes: for screenshots and tests, not part of the product. */
import { css, html, LitElement, type TemplateResult } from 'lit';
import { customElement } from 'lit/decorators.js';
import { DEFAULT_STATE, fixturePanels } from '../fixtures/panels.ts';
import './elements/panel.ts';
import { base, tokens } from './elements/styles.ts';
import { ThemeState } from './elements/theme.ts';
import { Cursor } from './views/cursor.ts';

@customElement('lin-gallery')
export class LinGallery extends LitElement {
  static override styles = [
    base,
    tokens,
    css`
      :host {
        padding: 1rem;
        background: var(--paper);
      }
      main {
        display: grid;
        gap: 1rem;
        grid-template-columns: minmax(0, 1fr);
      }
      h1 {
        font-family: var(--serif);
        font-size: 1.4rem;
      }
    `,
  ];
  private readonly cursor = new Cursor();
  private readonly themes = new ThemeState();

  override connectedCallback(): void {
    super.connectedCallback();
    this.themes.addEventListener('change', () => this.requestUpdate());
  }

  protected override render(): TemplateResult {
    const query = new URLSearchParams(location.search);
    const state = {
      ...DEFAULT_STATE,
      ...(query.has('compare') ? { decayFactor: { a: 1, b: 0.99 } } : {}),
      ...(query.has('coarse') ? { covered: 768 } : {}),
      ...(query.has('short') ? { context: 300, covered: 300 } : {}),
    };
    return html`<main>
      <h1>Gallery of views</h1>
      ${fixturePanels(state).map(
        (panel) =>
          html`<lin-panel
            data-panel=${panel.id}
            name=${panel.id}
            .panel=${panel}
            .cursor=${this.cursor}
            .theme=${this.themes.theme}
            link=${query.toString()}
          ></lin-panel>`,
      )}
    </main>`;
  }
}
