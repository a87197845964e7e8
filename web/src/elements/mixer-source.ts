/** The source of a mixer and of its kernels, as it was when the page was built; each file is loaded when it is opened. */
import { css, html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { customElement, property, state } from 'lit/decorators.js';
import { base } from './styles.ts';

type Load = () => Promise<string>;
const mixers = import.meta.glob<string>('../../../crates/linearium/src/mixers/*.rs', {
  query: '?raw',
  import: 'default',
});
const kernels = import.meta.glob<string>('../../../crates/linearium-kernels/src/kernels/*.{rs,wgsl}', {
  query: '?raw',
  import: 'default',
});

const nameOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
const KERNELS: ReadonlyMap<string, Load> = new Map(
  Object.entries(kernels).map(([path, load]) => [nameOf(path), load]),
);
const MIXERS: ReadonlyMap<string, Load> = new Map(
  Object.entries(mixers).map(([path, load]) => [nameOf(path), load]),
);

/** A kernel's twin in Rust, then its shaders: a kernel may have more than one. */
function filesOf(kernel: string, all: readonly string[]): string[] {
  const own = new RegExp(`^${kernel}(_.*)?\\.wgsl$`);
  const isOther = (file: string): boolean =>
    all.some((k) => k !== kernel && k.startsWith(kernel) && file.startsWith(k));
  const files = [...KERNELS.keys()].filter((file) => own.test(file) && !isOther(file)).sort();
  return [`${kernel}.rs`, ...files].filter((file) => KERNELS.has(file));
}

const KEYWORDS =
  'as async await break const continue crate else enum enable false fn for if impl in let loop match mod move mut override pub ref return self static struct super switch trait true type unsafe use var where while workgroup storage uniform read read_write';
const PATTERN = new RegExp(
  [
    '(?<comment>//[^\\n]*)',
    '(?<string>"(?:[^"\\\\]|\\\\.)*")',
    '(?<attribute>#!?\\[[^\\]]*\\]|@\\w+(?:\\([^)]*\\))?)',
    '(?<number>\\b\\d[\\d_]*(?:\\.\\d+)?(?:e[+-]?\\d+)?(?:[iuf]\\d*|usize)?\\b)',
    `(?<keyword>\\b(?:${KEYWORDS.replaceAll(' ', '|')})\\b)`,
    '(?<type>\\b(?:[A-Z]\\w*|[fiu](?:32|64)|usize|bool|vec[234]|array|mat\\dx\\d)\\b)',
  ].join('|'),
  'g',
);

function highlighted(text: string): (TemplateResult | string)[] {
  const out: (TemplateResult | string)[] = [];
  let at = 0;
  for (const match of text.matchAll(PATTERN)) {
    if (match.index > at) out.push(text.slice(at, match.index));
    const kind = Object.entries(match.groups ?? {}).find(([, found]) => found !== undefined)?.[0];
    out.push(html`<span class=${kind ?? ''}>${match[0]}</span>`);
    at = match.index + match[0].length;
  }
  out.push(text.slice(at));
  return out;
}

/** A file was opened; nothing when the source was closed. */
export type SourceDetail = string | undefined;

@customElement('lin-mixer-source')
export class LinMixerSource extends LitElement {
  static override styles = [
    base,
    css`
      .files {
        display: flex;
        flex-wrap: wrap;
        gap: 0.35rem;
        margin: 0.3rem 0 0.5rem;
      }
      .files button {
        font-family: var(--mono);
        font-size: 0.78rem;
      }
      .files button[aria-pressed='true'] {
        background: var(--tint-a);
        border-color: var(--run-a);
        color: var(--run-a);
      }
      .files span {
        flex-basis: 100%;
        font-size: 0.78rem;
        color: var(--quiet);
      }
      pre {
        margin: 0 0 0.6rem;
        max-height: 30rem;
        overflow: auto;
        padding: 0.7rem 0.9rem;
        background: var(--sunken);
        border: 1px solid var(--line);
        border-radius: var(--radius);
        font-family: var(--mono);
        font-size: 0.76rem;
        line-height: 1.5;
        tab-size: 4;
        scrollbar-width: thin;
      }
      .comment {
        color: var(--quiet);
        font-style: italic;
      }
      .string,
      .attribute {
        color: light-dark(#8a4208, #f2b07c);
      }
      .number {
        color: light-dark(#7d3f92, #d0a0e0);
      }
      .keyword {
        color: light-dark(#0b5fa5, #79b8f3);
      }
      .type {
        color: light-dark(#0a6b50, #5cc8a0);
      }
    `,
  ];

  /** Id of the mixer. */
  @property() name = '';
  @property({ attribute: false }) kernels: readonly string[] = [];
  /** How many of the kernels carry something from token to token; they come first. */
  @property({ type: Number }) scans = 0;
  /** The file that is open. */
  @property() file?: string;
  @state() private text?: string;
  private shown?: string;

  override willUpdate(changes: PropertyValues<this>): void {
    if (changes.has('file') || changes.has('name')) void this.load();
  }

  private async load(): Promise<void> {
    const file = this.file;
    if (!file || file === this.shown) return;
    this.text = undefined;
    const load = KERNELS.get(file) ?? MIXERS.get(file);
    const text = load ? await load() : `There is no file ${file}.`;
    if (file !== this.file) return;
    this.shown = file;
    this.text = text;
  }

  private open(file: SourceDetail): void {
    this.file = file;
    this.dispatchEvent(
      new CustomEvent<SourceDetail>('source', { detail: file, bubbles: true, composed: true }),
    );
  }

  private button(file: string): TemplateResult {
    return html`<button aria-pressed=${file === this.file ? 'true' : 'false'} @click=${() => this.open(file)}>
      ${file}
    </button>`;
  }

  protected override render(): TemplateResult {
    const scans = this.kernels.slice(0, this.scans).flatMap((k) => filesOf(k, this.kernels));
    const others = this.kernels.slice(this.scans).flatMap((k) => filesOf(k, this.kernels));
    return html`<details
      ?open=${this.file !== undefined}
      @toggle=${(e: Event) => {
        const { open } = e.target as HTMLDetailsElement;
        if (open !== (this.file !== undefined)) this.open(open ? scans[0] : undefined);
      }}
    >
      <summary>Source</summary>
      <div class="files" role="group" aria-label="Files of the source">
        <span>What carries something from token to token, in Rust and in WGSL</span>
        ${scans.map((f) => this.button(f))}
        <span>The mixer, and the other kernels that it plays</span>
        ${this.button(`${this.name}.rs`)} ${others.map((f) => this.button(f))}
      </div>
      ${
        this.file === undefined
          ? nothing
          : html`<pre tabindex="0" aria-label=${this.file}>
${this.text === undefined ? 'Loading …' : highlighted(this.text)}</pre>`
      }
    </details>`;
  }
}
