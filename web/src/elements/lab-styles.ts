import { css } from 'lit';

export const labStyles = css`
  :host {
    min-height: 100vh;
    background: var(--paper);
    container-type: inline-size;
  }
  .top {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.3rem 1.5rem;
    padding: 0.7rem clamp(0.8rem, 1.6vw, 2rem);
    border-bottom: 1px solid var(--line);
    background: var(--surface);
  }
  .brand {
    display: flex;
    flex-wrap: wrap;
    align-items: baseline;
    gap: 0 1rem;
    flex: 1 1 18rem;
  }
  h1 {
    font-family: var(--serif);
    font-size: 1.5rem;
    font-weight: 600;
    letter-spacing: 0.01em;
    line-height: 1.3;
  }
  .brand p {
    color: var(--quiet);
    font-size: 0.92rem;
  }
  nav {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.4rem 1.2rem;
    font-size: 0.88rem;
  }
  nav a {
    min-height: 28px;
    display: inline-flex;
    align-items: center;
  }
  .themes {
    display: flex;
    border: 1px solid var(--line-strong);
    border-radius: var(--radius);
    overflow: hidden;
  }
  .themes label {
    position: relative;
    padding: 0.15rem 0.6rem;
    min-height: 28px;
    display: grid;
    place-items: center;
    font-size: 0.82rem;
    cursor: pointer;
  }
  .themes label + label {
    border-left: 1px solid var(--line-strong);
  }
  .themes input {
    position: absolute;
    inset: 0;
    width: 100%;
    height: 100%;
    margin: 0;
    opacity: 0;
    cursor: pointer;
  }
  .themes label:has(:checked) {
    background: var(--tint-a);
    color: var(--run-a);
    font-weight: 600;
  }
  .themes label:has(:focus-visible) {
    outline: 2px solid var(--run-a);
    outline-offset: -2px;
  }
  .body {
    display: grid;
    grid-template-columns: minmax(0, 1fr);
    align-items: start;
  }
  .rail {
    padding: 0.9rem clamp(0.8rem, 1.6vw, 1.6rem);
    background: var(--surface);
    border-bottom: 1px solid var(--line);
  }
  main {
    min-width: 0;
    padding: 0.7rem clamp(0.6rem, 1.4vw, 1.6rem) 3rem;
  }
  @container (min-width: 900px) {
    .body {
      grid-template-columns: clamp(290px, 26vw, 23rem) minmax(0, 1fr);
    }
    .rail {
      position: sticky;
      top: 0;
      height: 100vh;
      overflow-y: auto;
      overscroll-behavior: contain;
      border-bottom: 0;
      border-right: 1px solid var(--line);
      scrollbar-width: thin;
    }
  }
  .compare {
    display: flex;
    align-items: center;
    gap: 0.55rem;
    min-height: 28px;
    font-size: 0.9rem;
    font-weight: 500;
    cursor: pointer;
    margin-bottom: 0.9rem;
  }
  .compare input {
    appearance: none;
    flex: none;
    width: 34px;
    height: 24px;
    margin: 0;
    border-radius: 12px;
    cursor: pointer;
    background:
      radial-gradient(circle at 11px 50%, var(--surface) 0 6px, transparent 6.5px),
      linear-gradient(var(--line-strong), var(--line-strong)) center / 34px 18px no-repeat;
    clip-path: inset(3px 0 round 9px);
  }
  .compare input:checked {
    background:
      radial-gradient(circle at 23px 50%, var(--surface) 0 6px, transparent 6.5px),
      linear-gradient(var(--run-a), var(--run-a)) center / 34px 18px no-repeat;
  }
  .compare input:focus-visible {
    clip-path: none;
  }
  .runs {
    font-size: 0.8rem;
    color: var(--quiet);
    margin: -0.5rem 0 0.9rem;
  }
  .runs .a,
  .runs .b {
    font-weight: 700;
    color: var(--run-a);
    border-bottom: 2px solid;
  }
  .runs .b {
    color: var(--run-b);
    border-bottom-style: dashed;
  }
  .files {
    font-size: 0.78rem;
    color: var(--quiet);
    line-height: 1.45;
    display: grid;
    gap: 0.35rem;
    justify-items: start;
  }
  .files button {
    color: var(--ink);
  }
  .skeleton {
    height: 30rem;
    border-radius: var(--radius);
    background: var(--sunken);
  }
  .status {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.1rem 1rem;
    min-height: 34px;
    font-size: 0.8rem;
    color: var(--quiet);
  }
  .status .backend {
    display: inline-flex;
    align-items: center;
    gap: 0.45rem;
    color: var(--ink);
    font-weight: 500;
  }
  .status i {
    width: 8px;
    height: 8px;
    border-radius: 50%;
    border: 1.5px solid var(--line-strong);
  }
  .status i.on {
    background: light-dark(#1c7d4f, #5cc8a0);
    border-color: transparent;
  }
  .status .check {
    min-width: 0;
    max-width: 80ch;
    overflow: hidden;
    text-overflow: ellipsis;
    white-space: nowrap;
  }
  .status .work {
    display: inline-flex;
    align-items: center;
    gap: 0.6rem;
  }
  .status .report {
    margin-left: auto;
  }
  progress {
    width: 9rem;
    height: 8px;
    accent-color: var(--run-a);
  }
  .notices {
    display: grid;
    gap: 0.4rem;
  }
  .notices p {
    display: flex;
    align-items: center;
    gap: 0.6rem;
    padding: 0.3rem 0.4rem 0.3rem 0.9rem;
    border: 1px solid var(--line);
    border-left: 3px solid var(--run-a);
    border-radius: var(--radius);
    background: var(--tint-a);
    font-size: 0.88rem;
    overflow-wrap: anywhere;
  }
  .notices p:last-child {
    margin-bottom: 0.6rem;
  }
  .notices p > span {
    flex: 1;
  }
  .notices p.alarm {
    border-left-color: var(--alarm);
    background: var(--alarm-tint);
  }
  .notices p.want {
    border-left-color: var(--run-b);
    background: var(--tint-b);
    flex-wrap: wrap;
  }
  .panels {
    display: grid;
    gap: 0.9rem;
    grid-template-columns: minmax(0, 1fr);
  }
  @container (min-width: 2100px) {
    .panels {
      grid-template-columns: repeat(2, minmax(0, 1fr));
      align-items: start;
    }
  }
  .recall {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.5rem 0.9rem;
    margin-top: 0.7rem;
    font-size: 0.86rem;
  }
  .recall select {
    min-height: 28px;
    border: 1px solid var(--line-strong);
    border-radius: var(--radius);
    background: var(--surface);
    padding: 0 0.3rem;
    margin-left: 0.3rem;
  }
  .quiet {
    color: var(--quiet);
  }
  #how {
    margin-top: 2rem;
    padding: 0 0.4rem;
    scroll-margin-top: 1rem;
  }
  #how:focus-visible {
    outline: none;
  }
  #how h2 {
    font-family: var(--serif);
    font-size: 1.22rem;
    font-weight: 600;
    margin-bottom: 0.5rem;
  }
  .drop {
    position: fixed;
    inset: 0.8rem;
    z-index: 5;
    display: grid;
    place-items: center;
    border: 2px dashed var(--run-a);
    border-radius: 12px;
    background: color-mix(in srgb, var(--surface) 88%, transparent);
    font-size: 1.1rem;
    pointer-events: none;
    text-align: center;
    padding: 1rem;
  }
  dialog {
    border: 1px solid var(--line-strong);
    border-radius: 10px;
    background: var(--surface);
    color: var(--ink);
    max-width: min(52rem, calc(100vw - 2rem));
    padding: 1.2rem;
  }
  dialog::backdrop {
    background: rgb(0 0 0 / 0.4);
  }
  dialog h2 {
    font-family: var(--serif);
    font-size: 1.15rem;
    margin-bottom: 0.6rem;
  }
  dialog pre {
    font-family: var(--mono);
    font-size: 0.8rem;
    white-space: pre-wrap;
    overflow-wrap: anywhere;
    max-height: 60vh;
    overflow: auto;
    background: var(--sunken);
    padding: 0.8rem;
    border-radius: var(--radius);
    margin: 0 0 0.8rem;
  }
  dialog .row {
    display: flex;
    gap: 0.6rem;
  }
  .print-only {
    display: none;
  }
  @media print {
    .print-only {
      display: block;
      font-size: 0.8rem;
      padding: 0.5rem 1rem;
    }
    .top {
      border: 0;
    }
    main {
      padding: 0;
    }
  }
`;
