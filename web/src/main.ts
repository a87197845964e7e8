import './elements/lab.ts';
