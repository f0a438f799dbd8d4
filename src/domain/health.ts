/**
 * Health of one endpoint out of its probes: failures in a row make it unhealthy, successes in a row healthy again. Pure.
 *
 * An endpoint is unknown (null) until the first success or until enough failures in a row have been seen, whichever comes first: one lost probe at
 * start says neither that it works nor that it does not. After that, only a full row in the other direction turns it, so that an
 * endpoint that fails every other probe does not flap.
 */

/** What the probes of one endpoint have shown so far. */
export interface Health {
  /** Null while it is not known. */
  readonly healthy: boolean | null;
  /** Failed probes in a row; 0 after a success. */
  readonly failures: number;
  /** Good probes in a row; 0 after a failure. */
  readonly successes: number;
}

/** How many in a row it takes; whole numbers from 1. */
export interface HealthLimits {
  readonly unhealthyAfter: number;
  readonly healthyAfter: number;
}

/** Before the first probe. */
export const UNKNOWN: Health = { healthy: null, failures: 0, successes: 0 };

/** `before` with the result of one more probe. */
export function afterProbe(before: Health, good: boolean, limits: HealthLimits): Health {
  if (good) {
    const successes = before.successes + 1;
    // From unknown one success is enough: there is nothing to recover from.
    const healthy = before.healthy !== false || successes >= limits.healthyAfter;
    return { healthy, failures: 0, successes };
  }
  const failures = before.failures + 1;
  return { healthy: failures >= limits.unhealthyAfter ? false : before.healthy, failures, successes: 0 };
}
