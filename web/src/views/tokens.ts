/** Text with a shade for each token, as inline spans. */
import { html, type TemplateResult } from 'lit';
import { domainOf, extent, makeScale, type Frame } from './axes.ts';
import { formatWithUnit, visibleToken } from './format.ts';
import { mix } from './palette.ts';
import type { Tokens } from './types.ts';

/** At most this many tokens are put on the page at once. */
export const SHOWN_TOKENS = 2000;

/** The tokens that are shown: those up to the query and a few behind it. */
export function shownRange(data: Tokens): { from: number; to: number } {
  const query = Math.min(data.tokens.length, Math.max(0, data.query - data.start + 1));
  const to = Math.min(data.tokens.length, Math.max(query, Math.min(SHOWN_TOKENS, data.tokens.length)));
  return { from: Math.max(0, to - SHOWN_TOKENS), to };
}

export function shadeOf(data: Tokens, frame: Frame): (value: number) => string {
  const [from, to] = frame.palette.shade[data.run];
  const { domain } = domainOf(data.value, extent([data.values], data.value.scale === 'log'));
  const at = makeScale({ ...data.value, domain }, undefined, [0, 1], 4);
  return (value) =>
    Number.isFinite(value) && !(data.value.scale === 'log' && value <= 0) ? mix(from, to, at(value)) : from;
}

/** The position of the token at the cursor is marked by a frame that the element draws. */
export function drawTokens(data: Tokens, frame: Frame): TemplateResult {
  const { from, to } = shownRange(data);
  const shade = shadeOf(data, frame);
  const spans: TemplateResult[] = [];
  for (let i = from; i < to; i++) {
    const token = data.tokens[i];
    // Continuation bytes are part of the character before them.
    if (token === '') continue;
    const position = data.start + i;
    const kind = position === data.query ? 'query' : '';
    spans.push(
      // No space around the parts: the text keeps its own.
      html`<span class=${kind} data-position=${position} style="background:${shade(data.values[i])}"
          >${visibleToken(token)}</span
        >${token.includes('\n') ? html`<br />` : ''}`,
    );
  }
  const earlier = data.start + from;
  return html`${earlier > 0 ? html`<em>‹${earlier.toLocaleString('en-US')} earlier omitted›</em>` : ''}${spans}${
    to < data.tokens.length
      ? html`<em>‹${(data.tokens.length - to).toLocaleString('en-US')} later omitted›</em>`
      : ''
  }`;
}

export function readToken(data: Tokens, position: number): string {
  const i = position - data.start;
  if (i < 0 || i >= data.tokens.length) return '';
  let head = i;
  while (head > 0 && data.tokens[head] === '') head -= 1;
  return `“${visibleToken(data.tokens[head])}” ${formatWithUnit(data.values[i], data.value.unit)}`;
}
