/**
 * The workers of a page: one for each engine at most, however many elements there are. Each element
 * has a seat in it, which is a lab of its own behind a port of its own.
 */
import { openWorker } from './own-files.ts';
import type { EngineKind, FromWorker, ToWorker } from './protocol.ts';

interface Table {
  worker: Worker;
  seats: Set<Seat>;
}

const tables = new Map<EngineKind, Table>();
const watchers = new Set<() => void>();

/** Calls back when the complete engine is there; gives what ends it. */
export function onComplete(callback: () => void): () => void {
  watchers.add(callback);
  return () => watchers.delete(callback);
}

/** Said by whoever saw the complete engine start. */
export function announceComplete(): void {
  for (const watcher of [...watchers]) watcher();
}

function openTable(kind: EngineKind): Table {
  const table: Table = { worker: openWorker(), seats: new Set() };
  table.worker.onerror = (event) => {
    event.preventDefault();
    breakUp(kind, table, event.message || 'its worker could not be loaded');
  };
  tables.set(kind, table);
  return table;
}

/** The worker is ended for everyone; those who still sit there are told why. */
function breakUp(kind: EngineKind, table: Table, why: string): void {
  if (tables.get(kind) === table) tables.delete(kind);
  table.worker.terminate();
  const seats = [...table.seats];
  table.seats.clear();
  for (const seat of seats) seat.onerror?.(why);
}

export class Seat {
  onmessage?: (message: FromWorker) => void;
  /** The worker ended, and why. */
  onerror?: (why: string) => void;
  private readonly port: MessagePort;
  private readonly table: Table;

  constructor(private readonly kind: EngineKind) {
    this.table = tables.get(kind) ?? openTable(kind);
    this.table.seats.add(this);
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    port1.onmessage = (event: MessageEvent<FromWorker>) => this.onmessage?.(event.data);
    this.table.worker.postMessage({ type: 'sit' }, [port2]);
  }

  postMessage(message: ToWorker): void {
    this.port.postMessage(message);
  }

  /** Gives the seat up; with the last one the worker ends. */
  leave(): void {
    this.onmessage = undefined;
    this.onerror = undefined;
    if (!this.table.seats.delete(this)) return;
    if (this.table.seats.size > 0) this.port.postMessage({ type: 'leave' } satisfies ToWorker);
    else breakUp(this.kind, this.table, '');
  }

  /** The worker is of no use any more, to nobody. */
  condemn(why: string): void {
    this.onmessage = undefined;
    this.onerror = undefined;
    if (!this.table.seats.delete(this)) return;
    breakUp(this.kind, this.table, why);
  }
}
