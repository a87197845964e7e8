/** The look of the instrument: colours, type and controls that all elements share. */
import { css } from 'lit';

/** Declared once, on the outermost element; they reach the inner ones by inheritance. */
export const tokens = css`
  :host {
    --paper: light-dark(#f4f4f1, #0e1113);
    --surface: light-dark(#ffffff, #171a1d);
    --sunken: light-dark(#f0f0ec, #111417);
    --ink: light-dark(#1a1d20, #e8eaeb);
    --quiet: light-dark(#5a6068, #a4abb2);
    --line: light-dark(#dddeda, #2a2f33);
    --line-strong: light-dark(#868c92, #7a8189);
    --run-a: light-dark(#0b5fa5, #79b8f3);
    --run-b: light-dark(#b4500a, #f2a25c);
    --tint-a: light-dark(#e8f0f8, #1a2733);
    --tint-b: light-dark(#faeee3, #2e2217);
    --alarm: light-dark(#a3182d, #ff98a3);
    --alarm-tint: light-dark(#fbecee, #331a1e);
    --serif:
      'Iowan Old Style', 'Palatino Linotype', Palatino, 'URW Palladio L', 'Book Antiqua', Georgia, serif;
    --mono: ui-monospace, 'SF Mono', 'Cascadia Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace;
    --radius: 6px;
    color: var(--ink);
  }
  @media print {
    :host {
      --paper: #fff;
      --sunken: #fff;
    }
  }
`;

export const base = css`
  :host {
    display: block;
    font-variant-numeric: tabular-nums;
  }
  :host([hidden]),
  [hidden] {
    display: none !important;
  }
  *,
  *::before,
  *::after {
    box-sizing: border-box;
  }
  h1,
  h2,
  h3,
  p,
  figure,
  ul,
  fieldset {
    margin: 0;
    padding: 0;
    border: 0;
    min-width: 0;
  }
  a {
    color: var(--run-a);
    text-underline-offset: 0.15em;
  }
  :focus-visible {
    outline: 2px solid var(--run-a);
    outline-offset: 2px;
    border-radius: 3px;
  }
  button,
  .button,
  select,
  input,
  textarea {
    font: inherit;
    color: inherit;
  }
  button,
  .button {
    display: inline-flex;
    align-items: center;
    justify-content: center;
    gap: 0.4em;
    min-height: 28px;
    min-width: 28px;
    padding: 0.12rem 0.6rem;
    border: 1px solid var(--line-strong);
    border-radius: var(--radius);
    background: var(--surface);
    font-size: 0.86rem;
    line-height: 1.3;
    cursor: pointer;
    text-decoration: none;
  }
  button:hover:not(:disabled),
  .button:hover {
    background: var(--sunken);
    border-color: var(--quiet);
  }
  button:disabled {
    color: var(--quiet);
    border-color: var(--line);
    cursor: default;
  }
  button.plain {
    border-color: transparent;
    background: none;
    color: var(--quiet);
    padding-inline: 0.4rem;
  }
  button.plain:hover:not(:disabled) {
    color: var(--ink);
    border-color: var(--line);
  }
  button.primary {
    background: var(--run-a);
    border-color: var(--run-a);
    color: light-dark(#ffffff, #0e1113);
  }
  button.primary:hover:not(:disabled) {
    background: color-mix(in oklab, var(--run-a) 86%, var(--ink));
  }
  summary {
    cursor: pointer;
    min-height: 28px;
    display: inline-flex;
    align-items: center;
    gap: 0.35em;
    font-size: 0.86rem;
    color: var(--quiet);
    list-style: none;
  }
  summary::-webkit-details-marker {
    display: none;
  }
  summary::before {
    content: '';
    width: 0.42em;
    height: 0.42em;
    border-right: 1.5px solid currentColor;
    border-bottom: 1.5px solid currentColor;
    transform: rotate(-45deg);
    transition: transform 0.12s;
    margin-right: 0.1em;
  }
  details[open] > summary::before {
    transform: rotate(45deg);
  }
  summary:hover {
    color: var(--ink);
  }
  .hidden-text {
    position: absolute;
    width: 1px;
    height: 1px;
    overflow: hidden;
    clip-path: inset(50%);
    white-space: nowrap;
  }
  @media (prefers-reduced-motion: reduce) {
    *,
    *::before,
    *::after {
      transition: none !important;
      animation: none !important;
      scroll-behavior: auto !important;
    }
  }
  @media print {
    .no-print {
      display: none !important;
    }
  }
`;
