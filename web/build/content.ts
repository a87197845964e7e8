/**
 * The words of the lab, from Markdown to HTML with MathML when the page is built: no script and no
 * font is needed to read a formula. A file has a title on its first line and sections by `##`.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { Marked, type Tokens } from 'marked';
import temml from 'temml';
import type { Plugin } from 'vite';

const ID = 'virtual:content';

/** `\sym{id}{TeX}` is a symbol that lights up with its control and has a live value. */
const SYMBOL = { '\\sym': '\\class{sym sym-#1}{#2}' };

/** Formulas become MathML; the TeX stays with them as an annotation that can be copied. */
function mathExtensions(file: string) {
  const render = (tex: string, displayMode: boolean): string => {
    try {
      return temml.renderToString(tex, {
        displayMode,
        annotate: true,
        throwOnError: true,
        trust: ({ command }) => command === '\\class',
        macros: { ...SYMBOL },
      });
    } catch (error) {
      throw new Error(`${file}: the formula ${tex} is not TeX: ${(error as Error).message}`, {
        cause: error,
      });
    }
  };
  return [
    {
      name: 'blockMath',
      level: 'block' as const,
      start: (source: string) => source.indexOf('$$'),
      tokenizer(source: string) {
        const match = /^\$\$([\s\S]+?)\$\$\s*(?:\n|$)/.exec(source);
        return match ? { type: 'blockMath', raw: match[0], text: match[1].trim() } : undefined;
      },
      renderer: (token: Tokens.Generic) =>
        `<div class="formula">${render(token.text as string, true)}</div>\n`,
    },
    {
      name: 'inlineMath',
      level: 'inline' as const,
      start: (source: string) => source.indexOf('$'),
      tokenizer(source: string) {
        const match = /^\$([^$\n]+?)\$/.exec(source);
        return match ? { type: 'inlineMath', raw: match[0], text: match[1].trim() } : undefined;
      },
      renderer: (token: Tokens.Generic) => render(token.text as string, false),
    },
  ];
}

const slug = (heading: string): string => heading.toLowerCase().replaceAll(/[^a-z]+/g, '-');

export function sectionsOf(
  source: string,
  file: string,
): { title: string; sections: Record<string, string> } {
  const marked = new Marked({ extensions: mathExtensions(file) });
  const title = /^# (.+)$/m.exec(source)?.[1];
  if (!title) throw new Error(`${file} has no title: begin it with “# what to see”`);
  const sections: Record<string, string> = {};
  for (const part of source.split(/^## /m).slice(1)) {
    const [heading, ...body] = part.split('\n');
    sections[slug(heading.trim())] = marked.parse(body.join('\n'), { async: false });
  }
  return { title, sections };
}

export function content(directory: string): Plugin {
  return {
    name: 'linearium-content',
    resolveId: (id) => (id === ID ? `\0${ID}` : undefined),
    load(id) {
      if (id !== `\0${ID}`) return undefined;
      const panels = readdirSync(directory)
        .filter((name) => name.endsWith('.md'))
        .map((name) => {
          const source = readFileSync(join(directory, name), 'utf8');
          const order = Number(/^<!-- order: (\d+) -->/m.exec(source)?.[1] ?? NaN);
          return { id: basename(name, '.md'), title: sectionsOf(source, name).title, order };
        })
        .filter((panel) => Number.isFinite(panel.order))
        .sort((a, b) => a.order - b.order)
        .map(({ id: panelId, title }) => ({ id: panelId, title }));
      return `export const panels = ${JSON.stringify(panels)};`;
    },
    transform(source, id) {
      if (!id.endsWith('.md')) return undefined;
      const { title, sections } = sectionsOf(source, basename(id));
      const code = `export const title = ${JSON.stringify(title)};\nexport default ${JSON.stringify(sections)};`;
      return { code, map: null };
    },
  };
}
