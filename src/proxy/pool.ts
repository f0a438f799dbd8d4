/**
 * The endpoints of every arm, with their connections in either lane, kept over reloads: an endpoint that a new configuration still names keeps
 * its connections.
 */

import type { ArmConfig, RouteConfig } from "../config/schema.ts";
import { asAppError } from "../domain/errors.ts";
import type { Arm } from "../domain/split.ts";
import type { Clock } from "../engine/ports.ts";
import { Dialler, type DialMeans } from "./dial.ts";
import { ArmEndpoints, Place, type Candidate, type Events, type Judgement } from "./endpoints.ts";
import type { Handles } from "./fast/handle.ts";
import { FastPool } from "./fast/pool.ts";
import type { Wheel } from "./fast/wheel.ts";
import type { Sender } from "./general/sender.ts";
import { GeneralPool } from "./general/upstream.ts";
import { Http2Pool } from "./h2/upstream.ts";
import { placeOf } from "./h2/upstream-socket.ts";
import { Slots } from "./slots.ts";

/** What connections are made with. */
export interface Means extends DialMeans {
  readonly clock: Clock;
  readonly wheel: Wheel;
  /** Which semi-internal steps may be used; known before the first connection. */
  readonly handles: () => Handles;
}

/** One endpoint of an arm. */
export class Endpoint implements Candidate {
  readonly url: string;
  readonly place = new Place();
  /** How connections to it are opened, whoever does. */
  readonly dialler: Dialler;
  readonly #slots: Slots;
  readonly #means: Means;
  #protocol: ArmConfig["protocol"];
  #general: GeneralPool | undefined = undefined;
  #http2: Http2Pool | undefined = undefined;
  #fast: FastPool | undefined = undefined;

  /**
   * Throws AppError SPLIT_CONFIG_INVALID when TLS cannot be spoken as configured.
   *
   * @param moved its name leads to other addresses alone: it is another server
   */
  constructor(url: string, config: ArmConfig, means: Means, meter: Events, moved: (place: Place) => void) {
    this.url = url;
    this.#slots = new Slots(config, () => meter.event("over_queue"));
    this.#means = means;
    this.#protocol = config.protocol;
    this.dialler = new Dialler(url, config, means, {
      dnsFailed: () => meter.event("dns_failed"),
      dnsChanged: (isElsewhere) => {
        meter.event("dns_changed");
        if (isElsewhere) moved(this.place);
      },
      stale: () => this.#dropStale(),
    });
  }

  get inFlight(): number {
    return this.#slots.inFlight;
  }

  /** Who sends to it in the general lane; made with the first question. @param isHttp2 whether the client speaks HTTP/2 */
  general(isHttp2: boolean): Sender {
    const mayChoose = this.#protocol === "auto" && this.url.startsWith("https:");
    if (this.isHttp2Only || (isHttp2 && mayChoose)) return this.http2;
    return (this.#general ??= new GeneralPool(this.dialler, this.#slots, this.#means.clock));
  }

  /** Whether it is spoken to in HTTP/2 alone. */
  get isHttp2Only(): boolean {
    return this.#protocol === "http2" || this.url.startsWith("h2c:");
  }

  /** Its connections in HTTP/2; made with the first question. */
  get http2(): Http2Pool {
    return (this.#http2 ??= new Http2Pool({
      place: placeOf(this.dialler),
      slots: this.#slots,
      clock: this.#means.clock,
      http1: () => (this.isHttp2Only ? undefined : this.general(false)),
    }));
  }

  /** Its connections in the fast lane; made with the first question. */
  get fast(): FastPool {
    return (this.#fast ??= new FastPool(this.dialler, this.#slots, this.#means));
  }

  /** New limits and options; they bind the next connections. Throws as the constructor. */
  limit(config: ArmConfig): void {
    this.dialler.configure(config);
    this.#slots.connections = config.connections;
    this.#slots.queue = config.queue;
    this.#protocol = config.protocol;
    this.#http2?.unlearn();
  }

  /** Lets what is in flight finish, and keeps no connection afterwards. */
  close(): void {
    this.#general?.close();
    this.#http2?.close();
    this.#fast?.close();
    this.dialler.close();
  }

  #dropStale(): void {
    this.#general?.dropStale();
    this.#http2?.dropStale();
    this.#fast?.dropStale();
  }
}

/** The endpoints of an arm, as routes have them. */
export type ArmPool = ArmEndpoints<Endpoint>;

/** Every endpoint of a data plane. */
export interface EndpointPool {
  /**
   * The endpoints of an arm; made, or those that were there, with the limits as configured now. Throws AppError SPLIT_CONFIG_INVALID when TLS cannot
   * be spoken as configured.
   */
  arm(route: string, arm: Arm, config: ArmConfig, meter: Events): ArmPool;
  /** Closes the endpoints that none of these routes names; what is in flight on them finishes. */
  keepOnly(routes: readonly RouteConfig[]): void;
  /** Files that TLS needs hold other texts now, which were tried: new connections use them. */
  renewTls(): void;
  close(): void;
}

/** An empty pool. */
export function endpointsOf(means: Means, by: Omit<Judgement, "clock">): EndpointPool {
  const endpoints = new Map<string, Endpoint>();
  const arms = new Map<string, ArmPool>();
  return {
    arm(route, arm, config, meter) {
      const name = idOf(route, arm, "");
      const known = arms.get(name);
      const pool: ArmPool = known ?? new ArmEndpoints(route, arm, { ...by, clock: means.clock }, meter);
      const moved = (place: Place): void => pool.begin(place, means.clock.mono());
      const all = config.endpoints.map((url) => {
        const id = idOf(route, arm, url);
        const before = endpoints.get(id);
        if (before !== undefined) {
          before.limit(config);
          return before;
        }
        const made = new Endpoint(url, config, means, meter, moved);
        endpoints.set(id, made);
        return made;
      });
      pool.configure(config, all);
      arms.set(name, pool);
      return pool;
    },
    keepOnly(routes) {
      const named = new Set<string>();
      const kept = new Set<string>();
      for (const { name, stable, canary } of routes) {
        kept.add(idOf(name, "stable", "")).add(idOf(name, "canary", ""));
        for (const url of stable.endpoints) named.add(idOf(name, "stable", url));
        for (const url of canary.endpoints) named.add(idOf(name, "canary", url));
      }
      for (const [id, endpoint] of endpoints) {
        if (named.has(id)) continue;
        endpoints.delete(id);
        endpoint.close();
      }
      for (const id of arms.keys()) if (!kept.has(id)) arms.delete(id);
    },
    renewTls() {
      for (const { url, dialler } of endpoints.values()) {
        try {
          dialler.renewTls();
        } catch (error) {
          by.log.error("an endpoint's TLS stays as it was", { url, detail: asAppError(error).message });
        }
      }
    },
    close() {
      for (const endpoint of endpoints.values()) endpoint.close();
      endpoints.clear();
      arms.clear();
    },
  };
}

function idOf(route: string, arm: Arm, url: string): string {
  return `${route} ${arm} ${url}`;
}
