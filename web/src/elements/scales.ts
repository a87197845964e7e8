/** Where a value stands on a slider of 1000 steps, by the rule that its property declares. */
import type { RangeProperty } from '../engine/protocol.ts';

export const STEPS = 1000;
/** The smallest difference from 1 that a slider of decay factors tells from 1 itself. */
const NEAREST_TO_ONE = 1e-5;

const snap = (property: RangeProperty, value: number): number => {
  if (property.type === 'integer') return Math.round(value);
  return Number(value.toPrecision(3));
};

/** A log range that begins at or below 0 has its lowest value at its left end, then equal ratios from 1. */
function fromStart(property: RangeProperty): { low: number; first: number } {
  return property.min > 0 ? { low: property.min, first: 0 } : { low: 1, first: 1 / 50 };
}

export function toSlider(property: RangeProperty, value: number): number {
  const { min, max } = property;
  // Counted from the end: -1 is the last, which stands at the right.
  if (min === -1) return value < 0 ? STEPS : max > 0 ? (value / max) * (STEPS - 1) : 0;
  if (!property.log) return max > min ? ((value - min) / (max - min)) * STEPS : 0;
  if (property.type === 'number' && max === 1) {
    const gap = 1 - value;
    if (gap < NEAREST_TO_ONE) return STEPS;
    return (Math.log((1 - min) / gap) / Math.log((1 - min) / NEAREST_TO_ONE)) * (STEPS - 20);
  }
  const { low, first } = fromStart(property);
  if (value < low) return 0;
  return (first + (1 - first) * (Math.log(value / low) / Math.log(max / low))) * STEPS;
}

export function fromSlider(property: RangeProperty, step: number): number {
  const { min, max } = property;
  const clamp = (v: number): number => Math.min(max, Math.max(min, v));
  if (min === -1) return step >= STEPS ? -1 : Math.round((max * step) / (STEPS - 1));
  if (!property.log) return clamp(snap(property, min + ((max - min) * step) / STEPS));
  if (property.type === 'number' && max === 1) {
    if (step > STEPS - 20) return 1;
    const gap = (1 - min) * (NEAREST_TO_ONE / (1 - min)) ** (step / (STEPS - 20));
    // Two digits of the distance from 1: 0.99, 0.9999, ...
    return clamp(Number((1 - Number(gap.toPrecision(2))).toPrecision(8)));
  }
  const { low, first } = fromStart(property);
  const part = step / STEPS;
  if (part < first) return min;
  const value = low * (max / low) ** ((part - first) / (1 - first));
  return clamp(snap(property, value));
}
