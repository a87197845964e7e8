/** The position that all views of the lab point at together. */
export class Cursor extends EventTarget {
  private at: number | null = null;

  /** Position in the text in tokens, null when nothing is pointed at. */
  get position(): number | null {
    return this.at;
  }

  set position(value: number | null) {
    if (value === this.at) return;
    this.at = value;
    this.dispatchEvent(new Event('move'));
  }
}
