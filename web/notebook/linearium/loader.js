/**
 * What anywidget sends to the notebook's page. It is small, because it goes with every widget; the
 * elements come after it, once for a page, as the wasm and the checkpoints do: in messages of the
 * widget, which every front end has, whatever server or network there is or is not.
 */
const LOADED = Symbol.for('linearium.notebook');
const PATIENCE_MS = 120_000;

/** A file of the Python package, brought by the kernel behind `model`. */
function bring(model, path) {
  return new Promise((resolve, reject) => {
    const ticket = Math.random().toString(36).slice(2);
    const end = (settle, value) => {
      clearTimeout(timer);
      model.off('msg:custom', listen);
      settle(value);
    };
    const listen = (content, buffers) => {
      if (content.kind !== 'file' || content.ticket !== ticket) return;
      if (content.error) return end(reject, new Error(content.error));
      const [bytes] = buffers;
      // Front ends give buffers or views of them.
      end(resolve, new Uint8Array(bytes.buffer ?? bytes, bytes.byteOffset ?? 0, bytes.byteLength));
    };
    const timer = setTimeout(
      () =>
        end(
          reject,
          new Error(
            `the kernel did not send ${path}: wait for the cell that it runs, or run the cell of this widget again`,
          ),
        ),
      PATIENCE_MS,
    );
    model.on('msg:custom', listen);
    model.send({ kind: 'file', ticket, path });
  });
}

/** The module of the elements. A page can define them once: what comes second takes what is there. */
function elements(model) {
  const version = model.get('_version');
  const loaded = globalThis[LOADED];
  if (loaded && loaded.version !== version)
    return Promise.reject(
      new Error(
        `this page has loaded Linearium ${loaded.version} already: load the page again for ${version}`,
      ),
    );
  if (loaded) return loaded.module;
  const load = async () => {
    const script = new Blob([await bring(model, 'linearium.js')], { type: 'text/javascript' });
    const address = URL.createObjectURL(script);
    try {
      return await import(/* @vite-ignore */ address);
    } finally {
      URL.revokeObjectURL(address);
    }
  };
  const module = load();
  globalThis[LOADED] = { version, module };
  module.catch(() => (globalThis[LOADED] = undefined));
  return module;
}

async function render({ model, el }) {
  const words = document.createElement('p');
  words.setAttribute('role', 'status');
  words.textContent = 'Linearium is loading …';
  el.append(words);
  let gone = false;
  let stop = () => {
    gone = true;
  };
  model.send({ kind: 'shown' });
  elements(model).then(
    (module) => {
      words.remove();
      if (!gone) stop = module.render({ model, el, bring: (path) => bring(model, path) });
    },
    (error) => {
      words.textContent = `Linearium could not be loaded: ${error.message}.`;
      model.send({ kind: 'error', asked: model.get('_asked'), message: words.textContent });
    },
  );
  return () => {
    stop();
    model.send({ kind: 'gone' });
  };
}

export default { render };
