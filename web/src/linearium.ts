/** The one script of the custom elements: `<linearium-lab>` and `<linearium-exhibit name="…">`. */
export { LineariumExhibit } from './elements/exhibit.ts';
export { LineariumLab } from './elements/lab.ts';
export type { Result } from './elements/embedded.ts';
export type { Panel, View } from './views/types.ts';
