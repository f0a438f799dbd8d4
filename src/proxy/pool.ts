/**
 * The endpoints of every arm, with their connections in either lane, kept over reloads: an endpoint that a new configuration still names keeps
 * its connections.
 *
 * The two lanes keep their connections apart (their libraries cannot share a socket) but count them together: `connections` protects the
 * upstream, which does not care who opened them. A lane that may open none asks the other for an idle one to be closed, and one
 * that closes or frees a connection lets the other's waiting exchanges try again.
 */

import type { ArmConfig, RouteConfig } from "../config/schema.ts";
import type { Arm } from "../domain/split.ts";
import type { Clock } from "../engine/ports.ts";
import type { Handles } from "./fast/handle.ts";
import { FastPool } from "./fast/pool.ts";
import type { Wheel } from "./fast/wheel.ts";
import { GeneralPool } from "./general/upstream.ts";

/** What the pools of one endpoint share: its limits and its load. */
export class Slots {
  /** Connections at the most. */
  connections: number;
  /** Exchanges that may wait for one, in each lane. */
  queue: number;
  /** Exchanges on it, waiting ones included. */
  inFlight = 0;
  #open = 0;
  #first = 0;
  readonly #pools: Slotted[] = [];

  constructor({ connections, queue }: ArmConfig) {
    this.connections = connections;
    this.queue = queue;
  }

  join(pool: Slotted): void {
    this.#pools.push(pool);
  }

  /** Takes the place of one more connection; false when there is none, and nobody has an idle one to give up. */
  take(): boolean {
    if (this.#open >= this.connections && !this.#pools.some((pool) => pool.yieldIdle())) return false;
    this.#open++;
    return true;
  }

  /** A connection is closed. */
  free(): void {
    this.#open--;
    this.freed();
  }

  /** A connection is closed, or idle: whoever waits may try, and not always the same one first. */
  freed(): void {
    const { length } = this.#pools;
    this.#first = (this.#first + 1) % length;
    for (let nth = 0; nth < length; nth++) {
      // Within the list.
      const pool = this.#pools[(this.#first + nth) % length]!;
      if (pool.isWaiting) pool.serveWaiting();
    }
  }
}

/** One lane's connections to an endpoint, as the other's see them. */
export interface Slotted {
  readonly isWaiting: boolean;
  /** Closes one idle connection; false when there is none. */
  yieldIdle(): boolean;
  /** Gives connections to those who wait, as far as there are any; not within this call. */
  serveWaiting(): void;
}

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
