/**
 * The notebook widget: an element in the output of a cell, whose state is that of the Python object,
 * and which tells Python what it has computed. The loader (`notebook/linearium/loader.js`) brings this
 * module once for a page, however many widgets and kernels it has.
 */
import type { Embedded, Result } from '../elements/embedded.ts';
import '../elements/exhibit.ts';
import '../elements/lab.ts';
import { bringFrom, HOME, type Bring } from './own-files.ts';
import { packed } from './packed.ts';

/** What anywidget gives of a model, as far as it is used here. */
interface Model {
  get(name: 'state'): Record<string, string>;
  get(name: '_asked' | 'computed'): number;
  get(name: '_element' | '_name' | 'hide' | 'lock' | 'range' | 'theme' | 'task'): string;
  set(name: string, value: unknown): void;
  save_changes(): void;
  send(content: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]): void;
  on(event: string, callback: (content: { kind?: string }) => void): void;
  off(event: string, callback: (content: { kind?: string }) => void): void;
}

export interface Place {
  model: Model;
  el: HTMLElement;
  bring: Bring;
}

/** What Python sets beside the state, by the names of attributes. */
const OPTIONS = ['lock', 'range', 'task'] as const;

const sameState = (a: Record<string, string>, b: Record<string, string>): boolean =>
  new URLSearchParams(a).toString() === new URLSearchParams(b).toString();

/** Whether the notebook is dark: by what JupyterLab says of itself, or by what is behind the element. */
function isDark(el: HTMLElement): boolean {
  const { jpThemeLight } = document.body.dataset;
  if (jpThemeLight !== undefined) return jpThemeLight === 'false';
  for (let at: HTMLElement | null = el; at; at = at.parentElement) {
    const colour = /^rgba?\(([\d.]+), ([\d.]+), ([\d.]+)(?:, ([\d.]+))?\)$/.exec(
      getComputedStyle(at).backgroundColor,
    );
    if (!colour || colour[4] === '0') continue;
    const [red, green, blue] = colour.slice(1, 4).map(Number);
    return 0.3 * red + 0.59 * green + 0.11 * blue < 128;
  }
  return getComputedStyle(el).colorScheme.startsWith('dark');
}

/** A link of the words leads to a page, which a notebook does not have: says how to get there in Python. */
function whereTo(link: URL): string {
  const settings = new URLSearchParams(link.search);
  const slug = settings.get('exhibit');
  settings.delete('exhibit');
  const state = [...settings].map(([key, value]) => `${JSON.stringify(key)}: ${JSON.stringify(value)}`);
  const words = [
    ...(slug ? [JSON.stringify(slug)] : []),
    ...(state.length ? [`state={${state.join(', ')}}`] : []),
  ];
  if (slug) return `In a notebook: linearium.Exhibit(${words.join(', ')})`;
  if (/(^|\/)(index\.html)?$/.test(link.pathname)) return `In a notebook: linearium.Lab(${words.join(', ')})`;
  return 'This link leads to a page of Linearium that a notebook does not have.';
}

/** Puts the element into the output of a cell; gives what takes it out again. */
export function render({ model, el, bring }: Place): () => void {
  const element = document.createElement(model.get('_element')) as Embedded;
  const stopBringing = bringFrom(bring);
  const heard: [string, (content: { kind?: string }) => void][] = [];
  const hear = (event: string, callback: (content: { kind?: string }) => void): void => {
    heard.push([event, callback]);
    model.on(event, callback);
  };

  // What is typed into a control is not meant for the notebook, whose keys delete cells.
  el.dataset['lmSuppressShortcuts'] = 'true';
  const keepKeys = (event: Event): void => event.stopPropagation();
  for (const type of ['keydown', 'keyup', 'keypress']) el.addEventListener(type, keepKeys);

  // From Python to the element.
  if (model.get('_name')) element.setAttribute('name', model.get('_name'));
  const setOptions = (): void => {
    for (const name of OPTIONS) element[name] = model.get(name);
    // A snippet for another page needs an address, which the files of a notebook do not have.
    element.hide = `${model.get('hide')} embed`;
  };
  const setTheme = (): void => {
    const asked = model.get('theme');
    element.theme = asked === 'light' || asked === 'dark' ? asked : isDark(el) ? 'dark' : 'light';
    el.style.colorScheme = element.theme;
  };
  const setState = (): void => {
    if (!sameState(element.state, model.get('state')))
      element.query = new URLSearchParams(model.get('state')).toString();
  };
  setOptions();
  setState();
  for (const name of [...OPTIONS, 'hide']) hear(`change:${name}`, setOptions);
  hear('change:theme', setTheme);
  hear('change:state', setState);

  // From the element to Python.
  let results = 0;
  let notices: string[] = [];
  const sendResult = ({ query, panels, values }: Result): void => {
    results += 1;
    const { tree, bytes } = packed({ query, state: element.state, panels, values, notices });
    notices = [];
    model.send({ kind: 'result', asked: model.get('_asked'), ...tree }, undefined, [bytes]);
    model.set('computed', model.get('computed') + 1);
    model.save_changes();
  };
  element.addEventListener('linearium-change', () => {
    // A front end may hold changes of the model back while the kernel is busy, but not messages, which
    // are there before the next cell runs.
    model.send({ kind: 'working', state: { ...element.state } });
    if (sameState(element.state, model.get('state'))) return;
    model.set('state', { ...element.state });
    model.save_changes();
  });
  element.addEventListener('linearium-result', (event) => sendResult((event as CustomEvent<Result>).detail));
  element.addEventListener('linearium-error', (event) => {
    const { message, notice } = (event as CustomEvent<{ message: string; notice: boolean }>).detail;
    if (notice) notices.push(message);
    else model.send({ kind: 'error', asked: model.get('_asked'), message });
  });
  hear('msg:custom', ({ kind }) => {
    if (kind !== 'wanted') return;
    const before = results;
    void element.result().then((result) => {
      if (results === before) sendResult(result);
    });
  });

  // Words about what a notebook cannot do.
  const aside = document.createElement('p');
  aside.setAttribute('role', 'status');
  aside.style.cssText = 'font: 14px/1.4 system-ui, sans-serif; margin: 0.5em 0 0';
  const onClick = (event: Event): void => {
    const anchor = event.composedPath().find((e) => e instanceof HTMLAnchorElement);
    if (!anchor || event.defaultPrevented || !anchor.href.startsWith(HOME.href)) return;
    event.preventDefault();
    aside.textContent = whereTo(new URL(anchor.href));
  };
  el.addEventListener('click', onClick);

  const themeChanged = new MutationObserver(setTheme);
  for (const root of [document.documentElement, document.body])
    themeChanged.observe(root, { attributes: true });
  el.append(element, aside);
  setTheme();

  return () => {
    themeChanged.disconnect();
    for (const [event, callback] of heard) model.off(event, callback);
    for (const type of ['keydown', 'keyup', 'keypress']) el.removeEventListener(type, keepKeys);
    el.removeEventListener('click', onClick);
    element.remove();
    aside.remove();
    stopBringing();
  };
}
