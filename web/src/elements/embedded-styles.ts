/** An element in somebody else's page: as high as what it shows, in the colours that are set for it. */
import { css } from 'lit';

export const embeddedStyles = css`
  :host([theme='light']) {
    color-scheme: light;
  }
  :host([theme='dark']) {
    color-scheme: dark;
  }
  :host(:not([page])) {
    min-height: 0;
    border: 1px solid var(--line);
    border-radius: var(--radius);
    overflow: clip;
    text-align: start;
    line-height: 1.5;
  }
  :host(:not([page])) .rail {
    position: static;
    height: auto;
  }
  :host(:not([page])) main {
    padding-bottom: 0.9rem;
  }
  @container (min-width: 900px) {
    .body.alone {
      grid-template-columns: minmax(0, 1fr);
    }
  }
`;
