/** `embed.html`: one element in a frame, and the messages between it and the page around it. */
import type { Embedded } from './elements/embedded.ts';
import { openFrame } from './elements/frame.ts';

const values = new URLSearchParams(location.search);
const exhibit = values.get('exhibit');
values.delete('exhibit');
const parent = values.get('parent');
values.delete('parent');

await (exhibit === null ? import('./elements/lab.ts') : import('./elements/exhibit.ts'));
const element = document.createElement(exhibit === null ? 'linearium-lab' : 'linearium-exhibit') as Embedded;
if (exhibit !== null) element.setAttribute('name', exhibit);
for (const key of ['hide', 'lock', 'range', 'theme', 'task']) {
  const value = values.get(key);
  values.delete(key);
  if (value !== null) element.setAttribute(key, value);
}
element.query = values.toString();
openFrame(element, parent);
document.body.append(element);
