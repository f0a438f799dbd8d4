/**
 * The endpoints of every arm, with their connections in either lane, kept over reloads: an endpoint that a new configuration still names keeps
 * its connections.
 */

import type { ArmConfig, RouteConfig } from "../config/schema.ts";
import type { Arm } from "../domain/split.ts";
import type { Clock } from "../engine/ports.ts";
import type { Handles } from "./fast/handle.ts";
import { FastPool } from "./fast/pool.ts";
import type { Wheel } from "./fast/wheel.ts";
import { GeneralPool } from "./general/upstream.ts";
import { Slots } from "./slots.ts";

/** What connections are made with. */
export interface Means {
  readonly clock: Clock;
  readonly wheel: Wheel;
  /** Which semi-internal steps may be used; known before the first connection. */
  readonly handles: () => Handles;
}

/** One endpoint of an arm. */
export class Endpoint {
  readonly url: string;
  readonly #slots: Slots;
  readonly #means: Means;
  #general: GeneralPool | undefined = undefined;
  #fast: FastPool | undefined = undefined;

  constructor(url: string, config: ArmConfig, means: Means) {
    this.url = url;
    this.#slots = new Slots(config);
    this.#means = means;
  }

  get inFlight(): number {
    return this.#slots.inFlight;
  }

  /** Its connections in the general lane; made with the first question. */
  get general(): GeneralPool {
    return (this.#general ??= new GeneralPool(this.url, this.#slots, this.#means.clock));
  }

  /** Its connections in the fast lane; made with the first question. */
  get fast(): FastPool {
    return (this.#fast ??= new FastPool(this.url, this.#slots, this.#means));
  }

  /** New limits; they bind the next connections. */
  limit(config: ArmConfig): void {
    this.#slots.connections = config.connections;
    this.#slots.queue = config.queue;
  }

  /** Lets what is in flight finish, and keeps no connection afterwards. */
  close(): void {
    this.#general?.close();
    this.#fast?.close();
  }
}

/** Every endpoint of a data plane. */
export interface EndpointPool {
  /** The endpoints of an arm; made, or those that were there, with the limits as configured now. */
  arm(route: string, arm: Arm, config: ArmConfig): readonly Endpoint[];
  /** Closes the endpoints that none of these routes names; what is in flight on them finishes. */
  keepOnly(routes: readonly RouteConfig[]): void;
  close(): void;
}

/** An empty pool. */
export function endpointsOf(means: Means): EndpointPool {
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
        const made = new Endpoint(url, config, means);
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
