/**
 * Numbers that carry their unit in the type, and the texts people write for them. Pure.
 *
 * A rate, a duration and a size are all "just numbers" at run time, and mixing them up is how a 5 % step becomes a 500 %
 * one. The brand costs nothing when running; a text without its unit (`0.001`, `300`) is refused rather than guessed,
 * because the older configuration form meant a fraction by it and people mean percent (acceptance 33).
 */

declare const unit: unique symbol;
type Unit<Name extends string> = number & { readonly [unit]: Name };

/** Parts per million: an integer from 0 to 1 000 000. Weights and rates are kept in it. */
export type Ppm = Unit<"ppm">;
/** Milliseconds; not necessarily whole. */
export type Millis = Unit<"ms">;
/** Microseconds; not necessarily whole. */
export type Micros = Unit<"us">;
/** Bytes, whole. */
export type Bytes = Unit<"bytes">;

/** A million: the weight at which every key is the canary's. */
export const FULL = 1_000_000 as Ppm;
/** The weight at which no key is the canary's. */
export const NONE = 0 as Ppm;

/** `value` as parts per million. Throws RangeError unless it is a whole number from 0 to 1 000 000. */
export function ppm(value: number): Ppm {
  if (!Number.isInteger(value) || value < 0 || value > FULL)
    throw new RangeError(`not a share in ppm: ${value}`);
  return value as Ppm;
}

/** `value` as milliseconds. Throws RangeError unless it is finite and not negative. */
export function millis(value: number): Millis {
  if (!Number.isFinite(value) || value < 0) throw new RangeError(`not a duration in ms: ${value}`);
  return value as Millis;
}

/** `value` milliseconds as microseconds, same checks as `millis`. */
export function microsOf(value: Millis): Micros {
  return (value * 1000) as unknown as Micros;
}

/** `value` as bytes. Throws RangeError unless it is a whole number, zero or more. */
export function bytes(value: number): Bytes {
  if (!Number.isSafeInteger(value) || value < 0) throw new RangeError(`not a size in bytes: ${value}`);
  return value as Bytes;
}

/** Ppm as a percentage, e.g. 50 000 → 5. Exact: four decimals at most. */
export function percentOf(share: Ppm): number {
  return Math.round(share) / 10_000;
}

/**
 * A percentage (0…100, at most four decimals) as ppm; undefined when it is out of range, not finite or finer than
 * 0.0001 %.
 */
export function ppmOfPercent(percent: number): Ppm | undefined {
  const share = Math.round(percent * 10_000);
  if (!Number.isFinite(percent) || share < 0 || share > FULL || Math.abs(share - percent * 10_000) > 1e-6)
    return undefined;
  return share as Ppm;
}

/** `"0.1%"` → 1000 ppm. Undefined without the percent sign, above 100 %, or finer than 0.0001 %. */
export function parseRate(text: string): Ppm | undefined {
  const match = /^(\d{1,3}(?:\.\d+)?)\s?%$/.exec(text);
  return match === null ? undefined : ppmOfPercent(Number(match[1]));
}

/** 1000 ppm → `"0.1%"`. */
export function formatRate(share: Ppm): string {
  return `${percentOf(share)}%`;
}

/** A weight in percent, for people: `"12.5 %"`, at most four decimals. */
export function percentText(weight: number): string {
  return `${Number(weight.toFixed(4))} %`;
}

/** A fraction for people, `"0.10 %"`; `"-"` when there is none. */
export function shareText(fraction: number | null): string {
  return fraction === null ? "-" : `${(fraction * 100).toFixed(2)} %`;
}

/** The same without zeros at its end: `"0.1 %"`. */
export function shortShareText(fraction: number): string {
  return `${Number((fraction * 100).toFixed(2))} %`;
}

/** A count for people, with thousands separators. */
export function countText(count: number): string {
  return String(count).replaceAll(/\B(?=(?:\d{3})+$)/g, ",");
}

/** A latency in milliseconds, for people: `"9.5 ms"`, `"120 ms"`; `"-"` when there is none. */
export function latencyText(ms: number | null): string {
  if (ms === null) return "-";
  return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

const DURATION_UNITS = new Map([
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
  ["d", 86_400_000],
]);

/**
 * `"8h"`, `"1h30m"`, `"250ms"`, `"1.5s"` → milliseconds. Units d, h, m, s, ms, each at most once and from large to small.
 * Undefined for anything else, a bare number above all.
 */
export function parseDuration(text: string): Millis | undefined {
  if (!/^(?:\d+(?:\.\d+)?(?:ms|[dhms]))+$/.test(text)) return undefined;
  let total = 0;
  let last = Infinity;
  for (const [, amount, name] of text.matchAll(/(\d+(?:\.\d+)?)(ms|[dhms])/g)) {
    const scale = DURATION_UNITS.get(name!)!; // the pattern knows no other unit
    if (scale >= last) return undefined;
    last = scale;
    total += Number(amount) * scale;
  }
  return total <= Number.MAX_SAFE_INTEGER ? (total as Millis) : undefined;
}

/** A step of a plan: people count from 1, the API from 0. */
export function formatStep(index: number): string {
  return `step ${index + 1} (index ${index})`;
}

/** 5 400 000 → `"1h30m"`; the shortest text that `parseDuration` reads back to the same number. */
export function formatDuration(duration: Millis): string {
  let rest: number = duration;
  let text = "";
  for (const [name, scale] of [
    ["d", 86_400_000],
    ["h", 3_600_000],
    ["m", 60_000],
    ["s", 1000],
  ] as const) {
    const count = Math.floor(rest / scale);
    if (count > 0) text += `${count}${name}`;
    rest -= count * scale;
  }
  if (rest > 0) text += `${Number(rest.toFixed(6))}ms`;
  return text === "" ? "0s" : text;
}

const SIZE_UNITS = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 } as const;

/** `"64KiB"` → 65 536. Units B, KiB, MiB, GiB. Undefined for anything else. */
export function parseSize(text: string): Bytes | undefined {
  const match = /^(\d+)(B|KiB|MiB|GiB)$/.exec(text);
  if (match === null) return undefined;
  // The pattern knows no other unit.
  const size = Number(match[1]) * SIZE_UNITS[match[2] as keyof typeof SIZE_UNITS];
  return Number.isSafeInteger(size) ? (size as Bytes) : undefined;
}

/** 65 536 → `"64KiB"`. */
export function formatSize(size: Bytes): string {
  for (const name of ["GiB", "MiB", "KiB"] as const) {
    const scale = SIZE_UNITS[name];
    if (size >= scale && size % scale === 0) return `${size / scale}${name}`;
  }
  return `${size}B`;
}
