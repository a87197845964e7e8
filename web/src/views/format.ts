/** Numbers as people read them: few digits, no floating-point noise, thousands set apart. */

const grouped = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });
const SUPERSCRIPT = '⁰¹²³⁴⁵⁶⁷⁸⁹';

function superscript(exponent: number): string {
  const digits = [...String(Math.abs(exponent))].map((d) => SUPERSCRIPT[Number(d)]).join('');
  return (exponent < 0 ? '⁻' : '') + digits;
}

/** A value with at most `digits` significant digits. */
export function formatNumber(value: number | null | undefined, digits = 4): string {
  if (value === null || value === undefined || Number.isNaN(value)) return '–';
  if (!Number.isFinite(value)) return value > 0 ? '∞' : '−∞';
  if (value === 0) return '0';
  const size = Math.abs(value);
  const sign = value < 0 ? '−' : '';
  if (size >= 1e7 || size < 1e-4) {
    const [mantissa, exponent] = size.toExponential(Math.min(digits, 3) - 1).split('e');
    return `${sign}${mantissa.includes('.') ? mantissa.replace(/\.?0+$/, '') : mantissa}×10${superscript(Number(exponent))}`;
  }
  if (size >= 1000 || Number.isInteger(value)) return sign + grouped.format(Math.round(size));
  const fixed = size.toPrecision(digits);
  return sign + (fixed.includes('.') ? fixed.replace(/\.?0+$/, '') : fixed);
}

/** A tick of an axis: shorter than a value in a caption. */
export function formatTick(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) {
    const exponent = Math.floor(Math.log10(size) + 1e-9);
    const mantissa = Number((size / 10 ** exponent).toPrecision(3));
    const sign = value < 0 ? '−' : '';
    return mantissa === 1
      ? `${sign}10${superscript(exponent)}`
      : `${sign}${mantissa}×10${superscript(exponent)}`;
  }
  return formatNumber(value, 6);
}

/** A power of ten as such. */
export function formatPower(value: number): string {
  return `10${superscript(Math.round(Math.log10(value)))}`;
}

/** Label and unit of an axis, as they stand beside it. */
export function axisTitle(axis: { label: string; unit: string }): string {
  return axis.unit ? `${axis.label} (${axis.unit})` : axis.label;
}

export function formatWithUnit(value: number, unit: string): string {
  return unit ? `${formatNumber(value)} ${unit}` : formatNumber(value);
}

/** A token with its invisible characters made visible. */
export function visibleToken(token: string): string {
  return token.replaceAll('\n', '↵').replaceAll('\t', '⇥').replaceAll('\r', '␍');
}

/** A number of bytes, for a person. */
export const mebibytes = (bytes: number): string =>
  `${(bytes / 1_048_576).toFixed(bytes < 10_485_760 ? 1 : 0)} MiB`;
