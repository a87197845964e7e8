/** Words of the page that are not part of a panel, loaded when they come near the screen. */
import { css, html, LitElement, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import { unsafeHTML } from 'lit/directives/unsafe-html.js';
import { wordsOf } from './panel.ts';
import { base } from './styles.ts';

@customElement('lin-words')
export class LinWords extends LitElement {
  static override styles = [
    base,
    css`
      :host {
        min-height: 12rem;
      }
      .columns {
        columns: 22rem 3;
        column-gap: 2.4rem;
      }
      section {
        break-inside: avoid;
        margin-bottom: 1.1rem;
      }
      h3 {
        font-size: 0.95rem;
        margin-bottom: 0.2rem;
      }
      p,
      ul {
        font-size: 0.9rem;
        line-height: 1.6;
        margin: 0.3rem 0;
      }
      ul {
        padding-left: 1.1rem;
      }
      code {
        font-family: var(--mono);
        font-size: 0.88em;
      }
    `,
  ];

  @property() name = '';
  @state() private words: [string, string][] = [];
  private readonly near = new IntersectionObserver(
    (entries) => {
      if (entries.some((e) => e.isIntersecting)) void this.load();
    },
    { rootMargin: '600px' },
  );

  override connectedCallback(): void {
    super.connectedCallback();
    this.near.observe(this);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.near.disconnect();
  }

  private async load(): Promise<void> {
    this.near.disconnect();
    this.words = Object.entries(await wordsOf(this.name));
  }

  protected override render(): TemplateResult {
    return html`<div class="columns">
      ${this.words.map(
        ([id, text]) =>
          html`<section>
            <h3>${id.charAt(0).toUpperCase() + id.slice(1).replaceAll('-', ' ')}</h3>
            ${unsafeHTML(text)}
          </section>`,
      )}
    </div>`;
  }
}
