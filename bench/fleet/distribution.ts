/** Many figures in a few. Pure. */

/** Null where there are none. */
export interface Distribution {
  readonly samples: number;
  readonly p50: number | null;
  readonly p99: number | null;
  readonly max: number | null;
}

/** Of these. */
export function distributionOf(values: readonly number[]): Distribution {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (quantile: number): number | null =>
    sorted[Math.max(0, Math.ceil(quantile * sorted.length) - 1)] ?? null;
  return { samples: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}
