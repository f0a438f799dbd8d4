/** How loudly something is told, in order. Pure. */

import type { Severity } from "./rollout-types.ts";

/** From the mildest to the loudest. */
export const SEVERITIES: readonly Severity[] = ["info", "warning", "critical", "emergency"];
