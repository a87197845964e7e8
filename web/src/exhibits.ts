import './elements/exhibits.ts';
