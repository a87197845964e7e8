/** What is put into somebody's page for the present state: an element, a frame, or a picture with a link. */
import { writeRanges, type Ranges } from './limits.ts';

export interface Embedding {
  /** Where Linearium's files are, with a slash at the end. */
  home: string;
  /** Empty for the lab, or the name of an exhibit. */
  exhibit: string;
  query: string;
  hide: readonly string[];
  lock: readonly string[];
  ranges: Ranges;
  /** Link to the page with this state. */
  link: string;
  /** Title of what is shown. */
  title: string;
}

const escaped = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('"', '&quot;').replaceAll('<', '&lt;');

function limits(e: Embedding): [string, string][] {
  const all: [string, string][] = [
    ['hide', e.hide.join(' ')],
    ['lock', e.lock.join(' ')],
    ['range', writeRanges(e.ranges)],
  ];
  return all.filter(([, value]) => value !== '');
}

export function elementSnippet(e: Embedding): string {
  const tag = e.exhibit ? 'linearium-exhibit' : 'linearium-lab';
  const attributes: [string, string][] = [
    ...(e.exhibit ? [['name', e.exhibit] as [string, string]] : []),
    ...new URLSearchParams(e.query),
    ...limits(e),
  ];
  const words = attributes.map(([key, value]) => ` ${key}="${escaped(value)}"`).join('');
  return `<script type="module" src="${escaped(e.home)}linearium.js"></script>\n<${tag}${words}></${tag}>`;
}

export function frameSnippet(e: Embedding): string {
  const address = new URL('embed.html', e.home);
  if (e.exhibit) address.searchParams.set('exhibit', e.exhibit);
  for (const [key, value] of [...new URLSearchParams(e.query), ...limits(e)])
    address.searchParams.set(key, value);
  return `<iframe src="${escaped(address.href)}" title="${escaped(e.title)}" width="100%" height="900" style="border:0" loading="lazy"></iframe>
<script>
  addEventListener('message', ({ data, source, origin }) => {
    if (origin !== '${address.origin}' || data?.linearium !== 1 || data.type !== 'height') return;
    for (const frame of document.querySelectorAll('iframe'))
      if (frame.contentWindow === source) frame.height = data.height;
  });
</script>`;
}

export function pictureSnippet(e: Embedding, file: string, words: string): string {
  return `<a href="${escaped(e.link)}"><img src="${escaped(file)}" alt="${escaped(words)}" width="960" style="max-width:100%;height:auto"></a>`;
}
