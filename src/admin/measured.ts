/** What a route measures, as a forecast takes it. Pure. */

import type { Measured } from "../config/dry-run.ts";
import type { RouteStatus } from "../engine/status.ts";

/** What the arms have measured, for a forecast: the present pace of both, and how often stable fails. */
export function measuredOf({ stable, canary }: RouteStatus["arms"]): Measured {
  const perSecond = stable.perSecond + canary.perSecond;
  return {
    perSecond: perSecond > 0 ? perSecond : undefined,
    baseline: stable.requests > 0 ? stable.failures / stable.requests : undefined,
  };
}
