/** Samples of metrics, made from the arrays and tallies that the engine keeps. Pure. */

import { CODE_CLASSES, OUTCOMES } from "../domain/outcome.ts";

/** Labels of one sample. */
export type Labels = Readonly<Record<string, string>>;
/** A request that is in a bucket. */
export interface Exemplar {
  readonly traceId: string;
  readonly seconds: number;
  /** Seconds since the epoch. */
  readonly at: number;
}
/** One sample; `suffix` for the series of a histogram or summary. */
export interface Sample {
  readonly suffix?: "_bucket" | "_sum" | "_count";
  readonly labels: Labels;
  readonly value: number;
  /** Of a bucket; shown in OpenMetrics alone. */
  readonly exemplar?: Exemplar | undefined;
}
/**
 * Counts by outcome and code class. The everyday pairs are there from the start, at zero, so that a rate sees their first increment; the other
 * combinations, most of which cannot be, from when they first came.
 */
export function byClass(labels: Labels, counts: readonly number[]): readonly Sample[] {
  return OUTCOMES.flatMap((outcome, outer) =>
    CODE_CLASSES.flatMap((code, inner) => {
      const value = counts[outer * CODE_CLASSES.length + inner] ?? 0;
      const isUsual = (outcome === "success" && code === "2xx") || (outcome === "failure" && code === "5xx");
      return value > 0 || isUsual ? [{ labels: { ...labels, outcome, code_class: code }, value }] : [];
    }),
  );
}

/**
 * Cumulated buckets, sum and count, from counts that are not cumulated and have one more entry than there are bounds.
 *
 * @param exemplars by bucket
 */
export function histogram(
  labels: Labels,
  bounds: readonly number[],
  counts: readonly number[],
  sum: number,
  exemplars: readonly (Exemplar | undefined)[] = [],
): readonly Sample[] {
  const samples: Sample[] = [];
  let seen = 0;
  bounds.forEach((bound, index) => {
    seen += counts[index] ?? 0;
    const exemplar = exemplars[index];
    samples.push({ suffix: "_bucket", labels: { le: String(bound), ...labels }, value: seen, exemplar });
  });
  seen += counts[bounds.length] ?? 0;
  const exemplar = exemplars[bounds.length];
  samples.push({ suffix: "_bucket", labels: { le: "+Inf", ...labels }, value: seen, exemplar });
  samples.push({ suffix: "_sum", labels, value: sum }, { suffix: "_count", labels, value: seen });
  return samples;
}

/** The counts whose name is known, sorted, and the sum of the rest as `other`. */
export function folded(
  counts: Readonly<Record<string, number>>,
  isKnown: (name: string) => boolean,
): readonly (readonly [string, number])[] {
  const known = Object.entries(counts)
    .filter(([name]) => isKnown(name))
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const other = Object.entries(counts).filter(([name]) => !isKnown(name));
  if (other.length === 0) return known;
  return [...known, ["other", other.reduce((sum, [, value]) => sum + value, 0)]];
}

/** Counts by result, in their order. */
export function byResult(counts: Readonly<Record<string, number>>): readonly Sample[] {
  return Object.entries(counts).map(([result, value]) => ({ labels: { result }, value }));
}
