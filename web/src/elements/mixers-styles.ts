import { css } from 'lit';

export const mixersStyles = css`
  main {
    max-width: 130rem;
    margin-inline: auto;
    padding-inline: clamp(0.6rem, 2vw, 2.4rem);
  }
  .top a[aria-current] {
    color: var(--ink);
    font-weight: 600;
    text-decoration: none;
  }
  .lead {
    max-width: 92ch;
    margin: 0.9rem 0 0.2rem;
    color: var(--quiet);
    font-size: 0.94rem;
  }
  .bar {
    display: flex;
    flex-wrap: wrap;
    align-items: flex-end;
    gap: 0.7rem 1.4rem;
    margin: 0.9rem 0 0.7rem;
    font-size: 0.86rem;
  }
  fieldset legend,
  .bar label > span {
    display: block;
    padding: 0;
    color: var(--quiet);
    font-size: 0.78rem;
    margin-bottom: 0.2rem;
  }
  .segments {
    display: flex;
    flex-wrap: wrap;
    border: 1px solid var(--line-strong);
    border-radius: var(--radius);
    overflow: hidden;
    background: var(--surface);
  }
  .segments label {
    position: relative;
    padding: 0.15rem 0.75rem;
    min-height: 30px;
    display: grid;
    place-items: center;
    cursor: pointer;
    flex: 1 0 auto;
  }
  .segments label > span {
    margin: 0;
    color: inherit;
    font-size: inherit;
  }
  .segments label + label {
    border-left: 1px solid var(--line-strong);
  }
  .segments input {
    position: absolute;
    inset: 0;
    width: 100%;
    height: 100%;
    margin: 0;
    opacity: 0;
    cursor: pointer;
  }
  .segments label:has(:checked) {
    background: var(--tint-a);
    color: var(--run-a);
    font-weight: 600;
  }
  .segments label:has(:focus-visible) {
    outline: 2px solid var(--run-a);
    outline-offset: -2px;
  }
  .bar select {
    min-height: 32px;
    border: 1px solid var(--line-strong);
    border-radius: var(--radius);
    background: var(--surface);
    padding: 0 0.4rem;
    max-width: 100%;
  }
  .tools {
    display: flex;
    flex-wrap: wrap;
    align-items: center;
    gap: 0.4rem 0.9rem;
    min-height: 34px;
    font-size: 0.8rem;
    color: var(--quiet);
    margin: 0.4rem 0 0;
  }
  .tools button {
    color: var(--ink);
  }
  .tools .end {
    margin-left: auto;
  }
  .rule {
    font-size: 0.8rem;
    color: var(--quiet);
    max-width: 120ch;
    margin: 0.5rem 0 0;
    line-height: 1.5;
  }
  .cards,
  .pictures {
    display: grid;
    gap: 0.9rem;
    grid-template-columns: minmax(0, 1fr);
    align-items: start;
  }
  .cards {
    margin-top: 1.3rem;
  }
  h2.part {
    font-family: var(--serif);
    font-size: 1.22rem;
    font-weight: 600;
    margin: 1.7rem 0 0.2rem;
  }
  @media (min-width: 1000px) {
    .cards.two {
      grid-template-columns: repeat(2, minmax(0, 1fr));
    }
  }
  @media (min-width: 1500px) {
    .pictures {
      grid-template-columns: repeat(2, minmax(0, 1fr));
    }
  }
  .loading {
    border: 1px solid var(--line);
    border-radius: 8px;
    background: var(--surface);
    color: var(--quiet);
    padding: 3rem 1rem;
    text-align: center;
    font-size: 0.9rem;
  }
`;
