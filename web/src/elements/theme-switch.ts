/** The switch between the system's colours, light and dark, in the header of every page. */
import { html, type TemplateResult } from 'lit';
import type { ThemeChoice, ThemeState } from './theme.ts';

const NAMES: Record<ThemeChoice, string> = { auto: 'Auto', light: 'Light', dark: 'Dark' };

export function themeSwitch(themes: ThemeState): TemplateResult {
  return html`<div class="themes" role="radiogroup" aria-label="Colours">
    ${(['auto', 'light', 'dark'] as const).map(
      (choice) =>
        html`<label
          ><input
            type="radio"
            name="theme"
            .checked=${themes.choice === choice}
            @change=${() => themes.choose(choice)}
          /><span>${NAMES[choice]}</span></label
        >`,
    )}
  </div>`;
}
