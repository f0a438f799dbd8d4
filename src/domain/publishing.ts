/** How often and how finely a replica tells what it has measured, so that what all of them tell together stays within bounds. Pure. */

import { millis, type Millis } from "./units.ts";

/** How a replica publishes. */
export interface Publishing {
  readonly everyMs: Millis;
  /** Significant digits of histograms. Counts are always exact. */
  readonly digits: 1 | 2;
  /** Bad responses of a route that are told, at the most, for people and for the share of one client. */
  readonly samples: number;
}

const MANY = 300;
const VERY_MANY = 1000;
/** Samples of a route from all replicas together. */
const SAMPLES = 2000;

/** What is asked of each of so many replicas. */
export function publishingOf(replicas: number): Publishing {
  const samples = Math.max(2, Math.min(50, Math.floor(SAMPLES / Math.max(1, replicas))));
  if (replicas <= MANY) return { everyMs: millis(1000), digits: 2, samples };
  if (replicas <= VERY_MANY) return { everyMs: millis(2000), digits: 2, samples };
  return { everyMs: millis(5000), digits: 1, samples };
}
