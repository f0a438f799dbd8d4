/** The endpoints of every arm, kept over reloads: an endpoint that a new configuration still names keeps its connections. */

import type { ArmConfig, RouteConfig } from "../../config/schema.ts";
import type { Arm } from "../../domain/split.ts";
import type { Clock } from "../../engine/ports.ts";
import { Endpoint } from "./upstream.ts";

/** Every endpoint of a data plane. */
export interface EndpointPool {
  /** The endpoints of an arm; made, or those that were there, with the limits as configured now. */
  arm(route: string, arm: Arm, config: ArmConfig): readonly Endpoint[];
  /** Closes the endpoints that none of these routes names; what is in flight on them finishes. */
  keepOnly(routes: readonly RouteConfig[]): void;
  close(): void;
}

/** An empty pool. */
export function endpointsOf(clock: Clock): EndpointPool {
  const endpoints = new Map<string, Endpoint>();
  return {
    arm: (route, arm, config) =>
      config.endpoints.map((url) => {
        const id = idOf(route, arm, url);
        const known = endpoints.get(id);
        if (known !== undefined) {
          known.limit(config);
          return known;
        }
        const made = new Endpoint(url, config, clock);
        endpoints.set(id, made);
        return made;
      }),
    keepOnly(routes) {
      const named = new Set<string>();
      for (const { name, stable, canary } of routes) {
        for (const url of stable.endpoints) named.add(idOf(name, "stable", url));
        for (const url of canary.endpoints) named.add(idOf(name, "canary", url));
      }
      for (const [id, endpoint] of endpoints) {
        if (named.has(id)) continue;
        endpoints.delete(id);
        endpoint.close();
      }
    },
    close() {
      for (const endpoint of endpoints.values()) endpoint.close();
      endpoints.clear();
    },
  };
}

function idOf(route: string, arm: Arm, url: string): string {
  return `${route} ${arm} ${url}`;
}
