import './elements/prune.ts';
