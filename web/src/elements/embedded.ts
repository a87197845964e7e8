/**
 * What `<linearium-lab>` and `<linearium-exhibit>` have in common as parts of somebody's page: their
 * attributes are the keys of the link, the host hides, fixes and narrows controls, and nothing is
 * computed before they are seen. With the attribute `page` an element is the page itself: the address
 * is its state, and the colours of the document are its own.
 */
import { html, LitElement, nothing, type PropertyValues, type TemplateResult } from 'lit';
import { property, state } from 'lit/decorators.js';
import type { Property } from '../engine/protocol.ts';
import { HOME } from '../engine/own-files.ts';
import type { Theme } from '../views/palette.ts';
import type { Panel } from '../views/types.ts';
import type { Submission, Task } from './assignment.ts';
import type { LinEmbedDialog } from './embed-dialog.ts';
import { constrain, narrow, permitted, readRanges, words, type Ranges } from './limits.ts';
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
  /** Everything that is computed for the present state, once it is. */
  @state() private settledResult?: Result;
  private learner = '';

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
      const before = this.limits.ranges;
      this.limits = { ...own, ranges: { ...own.ranges, ...readRanges(this.assigned?.range ?? '').ranges } };
      // Without ranges nothing is to be brought within them, and what was begun with goes on as it is.
      const bounded = [before, this.limits.ranges].some((ranges) => Object.keys(ranges).length > 0);
      if (this.begun && (bounded || changes.has('assigned'))) this.restateWithin();
    }
    if (this.begun) void this.tellFaults();
  }

  /** Begins when the element is seen for the first time; the page is seen at once. */
  protected beginOnce(): void {
    this.seen.disconnect();
    if (this.begun) return;
    this.begun = true;
    void this.takeAssignment();
    this.begin();
  }

  // Assignments.

  /** Symbols in words, for the list of quantities. */
  protected get symbolNames(): Readonly<Record<string, string>> {
    return {};
  }

  /** The task or result of the address or of the attribute; a damaged one is said. */
  private async takeAssignment(): Promise<void> {
    const hash = new URLSearchParams(this.page ? location.hash.slice(1) : '');
    const task = hash.get('task') ?? this.task;
    const result = hash.get('result');
    if (!task && result === null) return;
    const [{ decodeSubmission, decodeTask }] = await Promise.all([
      import('./assignment.ts'),
      import('./assignment-card.ts'),
    ]);
    try {
      if (result !== null) {
        this.submitted = decodeSubmission(result);
        this.query = this.submitted.query;
      } else {
        this.assigned = decodeTask(task);
        this.query = this.assigned.start;
      }
    } catch (error) {
      this.say((error as Error).message);
    }
  }

  /** A sentence for the person. */
  protected abstract say(sentence: string): void;

  /** Each learner may have a seed of their own. */
  private readonly onLearner = async (event: CustomEvent<string>): Promise<void> => {
    this.learner = event.detail;
    if (!this.assigned || this.assigned.seed === null) return;
    const { seedOf } = await import('./assignment.ts');
    const seed = seedOf(this.assigned, this.learner, this.declared);
    if (seed !== undefined) this.state = { seed };
  };

  protected assignmentTemplate(): TemplateResult | typeof nothing {
    if (!this.assigned && !this.submitted) return nothing;
    return html`<lin-assignment
      part="assignment"
      .task=${this.assigned}
      .submission=${this.submitted}
      .result=${this.settledResult}
      .properties=${this.declared}
      .symbolNames=${this.symbolNames}
      .link=${this.permalink}
      @learner=${this.onLearner}
    ></lin-assignment>`;
  }

  /** “Embed this” of a panel. */
  protected readonly onEmbed = async (event: CustomEvent<string>): Promise<void> => {
    event.stopPropagation();
    await import('./embed-dialog.ts');
    const dialog = document.createElement('lin-embed-dialog') as LinEmbedDialog;
    Object.assign(dialog, {
      exhibit: this.exhibitName,
      heading: this.computed.panels.find((p) => p.id === event.detail)?.title ?? '',
      link: this.permalink,
      pageLink: this.pageLink,
      properties: this.declared,
      sections: this.sections,
      ranges: this.ranges,
      result: { ...this.computed, query: this.query },
      symbolNames: this.symbolNames,
      hide: [...this.omitted],
      lock: [...this.locked],
    });
    this.renderRoot.append(dialog);
    dialog.addEventListener('close', () => dialog.remove(), { capture: true });
    await dialog.open(event.detail);
  };

  /** Name of the exhibit; empty for the lab. */
  protected get exhibitName(): string {
    return '';
  }

  private async tellFaults(): Promise<void> {
    if (this.declared.length === 0) return;
    const ranges = this.assigned ? {} : this.limits.ranges;
    const [hide, lock] = [list(this.hide), list(this.lock)];
    // An embedding that only shows fetches nothing for this.
    const named = hide.length > 0 || lock.some((id) => id !== 'all') || Object.keys(ranges).length > 0;
    const faults = [
      ...this.limits.faults,
      ...(named
        ? (await import('./unknown-names.ts')).unknownNames(this.declared, this.sections, hide, lock, ranges)
        : []),
    ].join('; ');
    if (faults && faults !== this.toldFaults) this.fault(`${faults}.`, true);
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
    return this.kept('omitted', new Set([...list(this.hide), ...(this.assigned?.hide ?? [])]));
  }

  isHidden(id: string): boolean {
    return this.omitted.has(id);
  }

  isLocked(id: string): boolean {
    const locked = [...list(this.lock), ...(this.assigned?.lock ?? [])];
    if (id === 'seed' && this.assigned && this.assigned.seed !== null) return true;
    return locked.includes('all') || locked.includes(id);
  }

  /** Controls that stand fixed. */
  protected get locked(): ReadonlySet<string> {
    return this.kept('locked', new Set(this.declared.filter((p) => this.isLocked(p.id)).map((p) => p.id)));
  }

  private readonly lastSets = new Map<string, ReadonlySet<string>>();
  private narrowing?: { of: readonly Property[]; ranges: Ranges; properties: readonly Property[] };

  /** The same set as before if it holds the same: controls that are drawn again lose what is being typed. */
  private kept(name: string, now: ReadonlySet<string>): ReadonlySet<string> {
    const before = this.lastSets.get(name);
    if (before && before.size === now.size && [...now].every((id) => before.has(id))) return before;
    this.lastSets.set(name, now);
    return now;
  }

  /** The settings as the host narrows them; the same list while nothing changes. */
  protected get narrowed(): readonly Property[] {
    const { declared, ranges } = this;
    if (this.narrowing?.of !== declared || this.narrowing.ranges !== ranges)
      this.narrowing = { of: declared, ranges, properties: narrow(declared, ranges) };
    return this.narrowing.properties;
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

  /** With `notice` the work went on, with something else than was asked for. */
  protected fault(message: string, notice = false): void {
    this.emit('error', { message, notice });
  }

  /** The work for the present state goes on. */
  protected unsettle(): void {
    this.idle = false;
    this.settledResult = undefined;
    clearTimeout(this.settledTimer);
  }

  /** The work is done as far as is known now. */
  protected settle(): void {
    clearTimeout(this.settledTimer);
    this.settledTimer = setTimeout(() => {
      this.idle = true;
      const result = this.computed;
      this.settledResult = result;
      this.emit('result', result);
      for (const resolve of this.waiting.splice(0)) resolve(result);
    }, SETTLED_MS);
  }

  /** What is computed for the present state, when all of it is there; who asks need not have seen it. */
  result(): Promise<Result> {
    if (this.isConnected) this.beginOnce();
    if (this.idle) return Promise.resolve(this.computed);
    return new Promise((resolve) => this.waiting.push(resolve));
  }
}
