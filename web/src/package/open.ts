/** Opens a lab on the thread that calls. */
import type { CompleteLab, Lab as Verbs, Property } from '../engine/protocol.ts';
import { LabHere } from './lab-here.ts';
import type { Lab, LabOptions } from './lab.ts';

/** What is done with a wasm file: browsers fetch its address, Node reads it from the disk. */
export type WasmSource = (address: URL) => Promise<URL | BufferSource>;

export async function openWith(options: LabOptions, source: WasmSource, relaxed: boolean): Promise<Lab> {
  const { engine = 'complete', gpu = false, files, wasm } = options;
  const address = async (): Promise<string> => {
    if (engine === 'first')
      return (await (relaxed ? import('#first-relaxed-url') : import('#first-url'))).default;
    return (await (relaxed ? import('#complete-relaxed-url') : import('#complete-url'))).default;
  };
  const module_or_path = wasm ?? (await source(new URL(await address(), import.meta.url)));
  let verbs: Verbs | CompleteLab;
  let properties: Property[];
  if (engine === 'first') {
    const first = await import('#first');
    await first.default({ module_or_path });
    verbs = new first.Lab();
    properties = first.Lab.properties();
  } else {
    const complete = await import('#complete');
    await complete.default({ module_or_path });
    verbs = new complete.Lab();
    properties = complete.Lab.properties();
    if (gpu) await (verbs as CompleteLab).startGpu();
  }
  if (gpu && engine === 'first')
    throw new Error('the first engine has no GPU: open the lab with the engine `complete`');
  return new LabHere(verbs as (Verbs | CompleteLab) & { free(): void }, properties, files);
}
