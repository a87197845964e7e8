import './elements/mixers.ts';
