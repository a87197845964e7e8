import js from '@eslint/js';
import { configs as lit } from 'eslint-plugin-lit';
import typescript from 'typescript-eslint';

export default typescript.config(
  {
    ignores: [
      '**/dist/**',
      '**/dist-gallery/**',
      'web/public/**',
      '**/results/**',
      'web/notebook/linearium/static/**',
    ],
  },
  js.configs.recommended,
  ...typescript.configs.strict,
  lit['flat/recommended'],
  {
    // What anywidget sends to the page as it stands.
    files: ['web/notebook/**/*.js'],
    languageOptions: {
      globals: Object.fromEntries(
        ['Blob', 'URL', 'clearTimeout', 'document', 'setTimeout'].map((name) => [name, 'readonly']),
      ),
    },
  },
  {
    rules: {
      // `!` stands where a decorator or an invariant of the protocol gives the value.
      '@typescript-eslint/no-non-null-assertion': 'off',
      // Lit elements are classes by nature.
      '@typescript-eslint/no-extraneous-class': 'off',
      eqeqeq: 'error',
    },
  },
);
