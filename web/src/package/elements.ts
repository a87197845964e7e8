/** The elements as a page that uses them sees them; `elements/linearium.js` is their script. */
import type { Panel } from '../views/types.ts';

/** What an element computed for its present state. */
export interface ElementResult {
  /** The state as the query of a link. */
  query: string;
  panels: Panel[];
  /** Live values of the symbols of an exhibit; empty for the lab. */
  values: Record<string, number | null>;
}

/** What `<linearium-lab>` and `<linearium-exhibit>` have in common. Their attributes are the keys of a link. */
export interface LineariumElement extends HTMLElement {
  /** Controls and parts to leave out, by id. */
  hide: string | readonly string[];
  /** Controls that cannot be changed; `all` fixes every one. */
  lock: string | readonly string[];
  theme: 'auto' | 'light' | 'dark';
  /** An assignment, as its link carries it. */
  task: string;
  /** The state as the query of a link, without what is at its default. */
  query: string;
  /** The state as an object; setting some keys leaves the others, and `null` resets one. */
  get state(): Readonly<Record<string, string>>;
  set state(state: Readonly<Record<string, string | number | null>>);
  /** The link to the page that shows this state. */
  readonly permalink: string;
  /** What is computed for the present state, when all of it is there; asking begins what was not seen yet. */
  result(): Promise<ElementResult>;
}

/** What is on screen changed: the state in its forms. */
export interface ChangeDetail {
  query: string;
  state: Readonly<Record<string, string>>;
  link: string;
}

/** `<linearium-lab>` */
export declare const LineariumLab: { new (): LineariumElement; prototype: LineariumElement };
/** `<linearium-exhibit name="…">` */
export interface LineariumExhibitElement extends LineariumElement {
  /** Slug of the exhibit. */
  name: string;
}
export declare const LineariumExhibit: {
  new (): LineariumExhibitElement;
  prototype: LineariumExhibitElement;
};

declare global {
  interface HTMLElementTagNameMap {
    'linearium-lab': LineariumElement;
    'linearium-exhibit': LineariumExhibitElement;
  }
  interface HTMLElementEventMap {
    /** The first picture is on screen. */
    'linearium-ready': CustomEvent<Omit<ChangeDetail, 'link'>>;
    'linearium-change': CustomEvent<ChangeDetail>;
    /** Everything is computed for the present state. */
    'linearium-result': CustomEvent<ElementResult>;
    'linearium-error': CustomEvent<{ message: string; notice: boolean }>;
  }
}
