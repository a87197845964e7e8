/**
 * What `<linearium-lab>` and `<linearium-exhibit>` have in common as parts of somebody's page: their
 * attributes are the keys of the link, the host hides, fixes and narrows controls, and nothing is
 * computed before they are seen. With the attribute `page` an element is the page itself: the address
 * is its state, and the colours of the document are its own.
 */
import { LitElement, type PropertyValues } from 'lit';
import { property, state } from 'lit/decorators.js';
import type { Property } from '../engine/protocol.ts';
import { HOME } from '../engine/seats.ts';
import type { Theme } from '../views/palette.ts';
import type { Panel } from '../views/types.ts';
import type { Submission, Task } from './assignment.ts';
import { constrain, permitted, readRanges, unknownNames, words, type Ranges } from './limits.ts';
import { AmbientTheme, type ThemeChoice } from './theme.ts';

/** What an element computed for its present state. */
export interface Result {
  /** The state as the query of a link. */
  query: string;
  panels: Panel[];
  /** Live values of the symbols of an exhibit; empty for the lab. */
  values: Record<string, number | null>;
}

/** Panels out of sight come a little after the last step of the work. */
const SETTLED_MS = 450;

const list = (value: string | readonly string[] | null): string[] =>
  typeof value === 'string' ? words(value) : [...(value ?? [])];

export abstract class Embedded extends LitElement {
  /** The element is the page: its state is the address, its colours are the document's. */
  @property({ type: Boolean }) page = false;
  /** Controls and parts to leave out: ids as in the link, and the names in `sections`. */
  @property({ converter: (text: string | null) => words(text) }) hide: string | readonly string[] = [];
  /** Controls that cannot be changed; `all` fixes every one. */
  @property({ converter: (text: string | null) => words(text) }) lock: string | readonly string[] = [];
  /** Narrower bounds: text as in the attribute, or an object. */
  @property() range: string | Ranges = '';
  @property({ reflect: true }) theme: ThemeChoice = 'auto';
  /** An assignment, as its link carries it. */
  @property() task = '';

  @state() protected values = new URLSearchParams();
  @state() protected assigned?: Task;
  /** A result that is run again. */
  @state() protected submitted?: Submission;

  private readonly ambient = new AmbientTheme(this);
  private begun = false;
  private shownBefore = false;
  private settledTimer?: ReturnType<typeof setTimeout>;
  private idle = false;
  private waiting: ((result: Result) => void)[] = [];
  private limits: { ranges: Ranges; faults: string[] } = { ranges: {}, faults: [] };
  private toldFaults = '';
  private readonly seen = new IntersectionObserver((entries) => {
    if (entries.some((e) => e.isIntersecting)) this.beginOnce();
  });
  private readonly attributesChanged = new MutationObserver((records) => {
    this.onAttributes(records.map((r) => r.attributeName ?? ''));
  });

  /** The settings as they are declared. */
  protected abstract get declared(): readonly Property[];
  /** Parts that `hide` may name beside the controls. */
  protected abstract get sections(): readonly string[];
  /** The page of this element on its own, relative to Linearium's files, without its state. */
  abstract get pageLink(): string;
  /** Seen for the first time. */
  protected abstract begin(): void;
  /** The state was set from outside. */
  protected abstract restate(): void;
  protected abstract get computed(): Result;

  override connectedCallback(): void {
    super.connectedCallback();
    if (this.page) return;
    this.ambient.connect();
    this.attributesChanged.observe(this, { attributes: true });
    if (!this.begun)
      this.values = new URLSearchParams({ ...Object.fromEntries(this.fromAttributes()), ...this.state });
    this.seen.observe(this);
  }

  override disconnectedCallback(): void {
    super.disconnectedCallback();
    this.ambient.disconnect();
    this.seen.disconnect();
    this.attributesChanged.disconnect();
    clearTimeout(this.settledTimer);
    this.begun = false;
  }

  override willUpdate(changes: PropertyValues): void {
    super.willUpdate(changes);
    if (changes.has('range') || changes.has('assigned')) {
      const own =
        typeof this.range === 'string' ? readRanges(this.range) : { ranges: this.range, faults: [] };
      this.limits = { ...own, ranges: { ...own.ranges, ...readRanges(this.assigned?.range ?? '').ranges } };
      if (this.begun) this.restateWithin();
    }
    if (this.begun) this.tellFaults();
  }

  /** Begins when the element is seen for the first time; the page is seen at once. */
  protected beginOnce(): void {
    this.seen.disconnect();
    if (this.begun) return;
    this.begun = true;
    this.begin();
  }

  private tellFaults(): void {
    if (this.declared.length === 0) return;
    const faults = [
      ...this.limits.faults,
      ...unknownNames(
        this.declared,
        this.sections,
        list(this.hide),
        list(this.lock),
        this.assigned ? {} : this.limits.ranges,
      ),
    ].join('; ');
    if (faults && faults !== this.toldFaults) this.fault(`${faults}.`);
    this.toldFaults = faults;
  }

  // The state.

  /** The state as the query of a link, without what is at its default. */
  get query(): string {
    return this.values.toString();
  }
  set query(query: string) {
    this.values = new URLSearchParams(query);
    if (this.begun) this.restateWithin();
  }

  /** The state as an object; setting some keys leaves the others, and `null` resets one. */
  get state(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.values);
  }
  set state(state: Readonly<Record<string, string | number | null>>) {
    const values = new URLSearchParams(this.values);
    for (const [key, value] of Object.entries(state)) {
      if (value === null) values.delete(key);
      else values.set(key, String(value));
    }
    this.query = values.toString();
  }

  private restateWithin(): void {
    this.values = this.within(this.values);
    this.restate();
  }

  protected within(values: URLSearchParams): URLSearchParams {
    return constrain(values, this.declared, this.limits.ranges);
  }

  /** What a person asks for, as far as the host lets them. */
  protected permit(wanted: URLSearchParams): URLSearchParams {
    return permitted(this.values, wanted, this.declared, (id) => this.isLocked(id), this.limits.ranges);
  }

  private keyOf(attribute: string): string | undefined {
    const id = attribute.replace(/^b\./, '');
    return this.declared.some((p) => p.id === id) ? attribute : undefined;
  }

  /** The state that the attributes say. */
  protected fromAttributes(): URLSearchParams {
    const values = new URLSearchParams();
    for (const { name, value } of this.attributes) if (this.keyOf(name)) values.set(name, value);
    return values;
  }

  private onAttributes(names: string[]): void {
    const keys = names.filter((name) => this.keyOf(name));
    if (keys.length === 0) return;
    this.state = Object.fromEntries(keys.map((key) => [key, this.getAttribute(key)]));
  }

  // What the host allows.

  protected get ranges(): Ranges {
    return this.limits.ranges;
  }

  protected get omitted(): ReadonlySet<string> {
    return new Set([...list(this.hide), ...(this.assigned?.hide ?? [])]);
  }

  isHidden(id: string): boolean {
    return this.omitted.has(id);
  }

  isLocked(id: string): boolean {
    const locked = [...list(this.lock), ...(this.assigned?.lock ?? [])];
    return locked.includes('all') || locked.includes(id);
  }

  /** Controls that stand fixed. */
  protected get locked(): ReadonlySet<string> {
    return new Set(this.declared.filter((p) => this.isLocked(p.id)).map((p) => p.id));
  }

  // The look.

  /** In which colours pictures are drawn. */
  protected get drawnTheme(): Theme {
    return this.theme === 'auto' ? this.ambient.theme : this.theme;
  }

  /** The link to the page that shows this state. */
  get permalink(): string {
    const link = new URL(this.pageLink, HOME);
    for (const [key, value] of this.values) link.searchParams.set(key, value);
    return link.href;
  }

  // What the host hears.

  private emit(type: string, detail: unknown): void {
    this.dispatchEvent(new CustomEvent(`linearium-${type}`, { detail, bubbles: true, composed: true }));
  }

  /** The first picture is on screen. */
  protected pictured(): void {
    if (this.shownBefore) return;
    this.shownBefore = true;
    void this.updateComplete.then(() => this.emit('ready', { query: this.query, state: this.state }));
  }

  protected changed(): void {
    this.emit('change', { query: this.query, state: this.state, link: this.permalink });
  }

  protected fault(message: string): void {
    this.emit('error', { message });
  }

  /** The work for the present state goes on. */
  protected unsettle(): void {
    this.idle = false;
    clearTimeout(this.settledTimer);
  }

  /** The work is done as far as is known now. */
  protected settle(): void {
    clearTimeout(this.settledTimer);
    this.settledTimer = setTimeout(() => {
      this.idle = true;
      const result = this.computed;
      for (const resolve of this.waiting.splice(0)) resolve(result);
    }, SETTLED_MS);
  }

  /** What is computed for the present state, when all of it is there. */
  result(): Promise<Result> {
    if (this.idle) return Promise.resolve(this.computed);
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}
