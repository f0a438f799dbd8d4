/** How loudly something is told, in order. Pure. */

import type { Severity } from "./rollout-types.ts";

/** From the mildest to the loudest. */
export const SEVERITIES: readonly Severity[] = ["info", "warning", "critical", "emergency"];

/** Index of the oldest among the least severe: what is given up first. The queue is not empty. */
export function leastSevere(queue: readonly { readonly severity: Severity }[]): number {
  const ranks = queue.map(({ severity }) => SEVERITIES.indexOf(severity));
  return ranks.indexOf(Math.min(...ranks));
}
