/**
 * The messages of a frame. It tells everyone its height and nothing else; with `parent=ORIGIN` in its
 * address it tells that origin what happens, and takes commands from it and nobody else.
 */
import type { Embedded } from './embedded.ts';

/** What a page may ask of the frame: `{ linearium: 1, type, id, … }`. */
export type FrameCommand =
  | { type: 'get'; id: string | number }
  | { type: 'set'; id: string | number; query: string }
  | { type: 'set'; id: string | number; state: Record<string, string | number | null> }
  | { type: 'result'; id: string | number };

const MAX_STATE = 64;
const MAX_TEXT = 20_000;

const isValue = (value: unknown): boolean =>
  value === null || Number.isFinite(value) || (typeof value === 'string' && value.length <= MAX_TEXT);

/** The command in a message; a sentence if it is meant for us and wrong; nothing if it is not for us. */
export function commandOf(data: unknown): FrameCommand | string | undefined {
  if (typeof data !== 'object' || data === null || !('linearium' in data)) return undefined;
  const message = data as Record<string, unknown>;
  if (message['linearium'] !== 1)
    return 'this frame speaks version 1 of its messages: send { linearium: 1, … }';
  const { type, id, query, state } = message;
  if (typeof id !== 'string' && typeof id !== 'number')
    return 'a message needs an id, a number or a text, which comes back with the answer';
  if (type === 'get' || type === 'result') return { type, id };
  if (type !== 'set')
    return `“${String(type).slice(0, 40)}” is no message of this frame: send get, set or result`;
  if (typeof query === 'string' && query.length <= MAX_TEXT) return { type, id, query };
  if (
    typeof state === 'object' &&
    state !== null &&
    Object.keys(state).length <= MAX_STATE &&
    Object.values(state).every(isValue)
  )
    return { type, id, state: state as Record<string, string | number | null> };
  return 'set needs a query (text) or a state (an object of texts, numbers and null)';
}

/** An origin as it stands in an address, or null if it is none that can be written to. */
export function originOf(text: string | null): string | null {
  try {
    const url = new URL(text ?? '');
    return url.origin === 'null' ? null : url.origin;
  } catch {
    return null;
  }
}

export function openFrame(element: Embedded, parent: string | null): void {
  const host = window.parent;
  if (host === window) return;
  const origin = originOf(parent);

  // How high it is, is no secret.
  let height = 0;
  const tellHeight = (): void => {
    const now = Math.ceil(document.documentElement.getBoundingClientRect().height);
    if (now === height || now === 0) return;
    height = now;
    host.postMessage({ linearium: 1, type: 'height', height }, '*');
    host.postMessage({ subject: 'lti.frameResize', height }, '*');
  };
  new ResizeObserver(tellHeight).observe(document.documentElement);

  if (origin === null) return;
  const tell = (message: object): void => host.postMessage({ linearium: 1, ...message }, origin);
  for (const type of ['ready', 'change', 'error'])
    element.addEventListener(`linearium-${type}`, (event) =>
      tell({ type, ...(event as CustomEvent<object>).detail }),
    );

  addEventListener('message', (event) => {
    if (event.source !== host || event.origin !== origin) return;
    const command = commandOf(event.data);
    if (command === undefined) return;
    if (typeof command === 'string') {
      tell({ type: 'error', id: (event.data as { id?: unknown }).id, message: command });
      return;
    }
    if (command.type === 'set') {
      if ('query' in command) element.query = command.query;
      else element.state = command.state;
    }
    const state = { id: command.id, query: element.query, state: element.state, link: element.permalink };
    if (command.type !== 'result') tell({ type: 'state', ...state });
    else
      void element.result().then(({ panels, values, query }) => {
        // What a person's own file gives stays in the frame.
        if (/(^|&)(b\.)?(model|input)=file(&|$)/.test(query))
          tell({
            type: 'error',
            id: command.id,
            message: 'results of a file of this person stay in the frame',
          });
        else tell({ type: 'result', id: command.id, query, panels, values });
      });
  });
}
