import { css } from 'lit';

export const exhibitStyles = css`
  .top a[aria-current='page'] {
    color: var(--ink);
    font-weight: 600;
    text-decoration: none;
  }
  h2 {
    font-family: var(--serif);
    font-size: 1.22rem;
    font-weight: 600;
    line-height: 1.3;
  }
  .card {
    background: var(--surface);
    border: 1px solid var(--line);
    border-radius: 8px;
    padding: 1.05rem 1.2rem;
    min-width: 0;
  }
  .quiet {
    color: var(--quiet);
    font-size: 0.86rem;
  }
  math {
    font-family: 'STIX Two Math', 'Cambria Math', 'Latin Modern Math', 'Noto Sans Math', math;
    font-size: 1.08em;
  }
`;
