/** Light or dark: as the system says, until the person chooses. Not part of the link. */
import type { ReactiveControllerHost } from 'lit';
import type { Theme } from '../views/palette.ts';

export type ThemeChoice = 'auto' | Theme;
const KEY = 'linearium-theme';

/** Storage may be forbidden (a sandboxed frame): then the choice lasts as long as the page. */
function stored(): string | null {
  try {
    return localStorage.getItem(KEY);
  } catch {
    return null;
  }
}

export class ThemeState extends EventTarget {
  private readonly system = matchMedia('(prefers-color-scheme: dark)');
  private printing = false;
  choice: ThemeChoice;

  constructor() {
    super();
    const before = stored();
    this.choice = before === 'light' || before === 'dark' ? before : 'auto';
    this.apply();
    this.system.addEventListener('change', () => this.apply());
    // Paper is white: what is drawn for the dark would be drawn in vain.
    addEventListener('beforeprint', () => this.print(true));
    addEventListener('afterprint', () => this.print(false));
  }

  get theme(): Theme {
    if (this.printing) return 'light';
    if (this.choice !== 'auto') return this.choice;
    return this.system.matches ? 'dark' : 'light';
  }

  choose(choice: ThemeChoice): void {
    this.choice = choice;
    try {
      if (choice === 'auto') localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, choice);
    } catch {
      // The choice lasts as long as the page.
    }
    this.apply();
  }

  private print(printing: boolean): void {
    this.printing = printing;
    this.apply();
  }

  private apply(): void {
    document.documentElement.style.colorScheme = this.printing
      ? 'light'
      : this.choice === 'auto'
        ? 'light dark'
        : this.choice;
    this.dispatchEvent(new Event('change'));
  }
}

/** What an element of somebody else's page inherits: nothing is written there, it is only looked at. */
export class AmbientTheme {
  private readonly system = matchMedia('(prefers-color-scheme: dark)');
  private readonly root = new MutationObserver(() => this.look());
  private printing = false;
  theme: Theme = 'light';

  constructor(private readonly host: HTMLElement & ReactiveControllerHost) {}

  connect(): void {
    this.system.addEventListener('change', this.look);
    addEventListener('beforeprint', this.onPrint);
    addEventListener('afterprint', this.onPrint);
    this.root.observe(document.documentElement, { attributes: true });
    this.root.observe(document.body, { attributes: true });
    this.look();
  }

  disconnect(): void {
    this.system.removeEventListener('change', this.look);
    removeEventListener('beforeprint', this.onPrint);
    removeEventListener('afterprint', this.onPrint);
    this.root.disconnect();
  }

  private readonly onPrint = (event: Event): void => {
    this.printing = event.type === 'beforeprint';
    this.look();
  };

  /** The schemes that the element may have, and which of two the system prefers. */
  private readonly look = (): void => {
    const schemes = getComputedStyle(this.host).colorScheme;
    const dark = schemes.includes('dark') && (this.system.matches || !schemes.includes('light'));
    const theme = dark && !this.printing ? 'dark' : 'light';
    if (theme === this.theme) return;
    this.theme = theme;
    this.host.requestUpdate();
  };
}
