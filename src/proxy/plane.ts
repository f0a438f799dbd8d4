/**
 * The data plane: listeners, the route table in force, the split in force, and what is measured.
 *
 * It promises that a change of weight or of configuration is one swap of a reference: the next exchange sees it, those in flight keep
 * what they read. Endpoints that a reload does not change keep their connections; no reload closes a listener.
 */

import type { AddressInfo } from "node:net";
import { AppError } from "../domain/errors.ts";
import type { Arm } from "../domain/split.ts";
import type { Millis } from "../domain/units.ts";
import type { Config, RouteConfig, SecretConfig } from "../config/schema.ts";
import type { Secret } from "../config/secret.ts";
import { networksOf } from "../config/texts.ts";
import type { Clock, DataPlane, Dice, Log, PlaneGauges, PlaneMeasure } from "../engine/ports.ts";
import { stableOnly, type Split } from "../engine/routing.ts";
import { identifier } from "./affinity.ts";
import { choose, Exchange } from "./exchange.ts";
import { originOf, plainAddress } from "./forwarding.ts";
import { endpointsOf, type EndpointPool } from "./general/pool.ts";
import { Listener, limitsOf, type Limits, type UpgradeSide } from "./general/server.ts";
import type { ClientSide } from "./general/client.ts";
import { upgradeExchange } from "./general/tunnel.ts";
import { LongLived } from "./long-lived.ts";
import { routeTable, type RouteTable } from "./match.ts";
import { PlaneMeter } from "./measure.ts";
import { overrideOf } from "./override.ts";
import { pathOf } from "./request.ts";
import { RescueBudget } from "./rescue.ts";
import type { Route, Surroundings } from "./route.ts";

/** What the plane is made of. */
export interface PlaneOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly dice: Dice;
  readonly log: Log;
  /** Signs the anonymous cookie. */
  readonly cookieSecret: string;
  readonly secretOf: (source: SecretConfig) => Secret;
  /** Whether an endpoint may be sent to; unknown ones may. */
  readonly healthy: (route: string, arm: Arm, endpoint: string) => boolean;
}

/** The data plane as `main.ts` holds it. */
export interface Plane extends DataPlane {
  /** Binds every `listen`; the bound addresses. Rejects with SPLIT_LISTEN_FAILED, and then listens nowhere. */
  listen(): Promise<readonly string[]>;
  /** Puts a configuration in force for the next exchange. Addresses to listen on are left as they are. */
  reconfigure(config: Config): void;
  /**
   * Goes away: accepts nothing more, every answer ends its connection, what is in flight finishes until `deadlineMs`, then is cut.
   * `cut` counts the exchanges and tunnels that were.
   */
  retire(deadlineMs: Millis): Promise<{ readonly cut: number }>;
  /** Ends everything at once. */
  close(): Promise<void>;
}

interface Table {
  readonly routes: RouteTable<Route>;
  readonly limits: Limits;
}

/** A data plane. Listens nowhere yet. */
export function createPlane(options: PlaneOptions): Plane {
  return new GeneralPlane(options);
}

class GeneralPlane implements Plane {
  readonly #options: PlaneOptions;
  readonly #meter = new PlaneMeter();
  readonly #around: Surroundings;
  readonly #listeners: Listener[] = [];
  readonly #pool: EndpointPool;
  #config: Config;
  #table: Table;
  #split: Split = { generation: 0, routes: new Map() };
  #retired: Promise<{ readonly cut: number }> | undefined;

  constructor(options: PlaneOptions) {
    const { config, clock, dice, healthy } = options;
    this.#options = options;
    this.#config = config;
    this.#around = { clock, dice, healthy, meter: this.#meter };
    this.#pool = endpointsOf(clock);
    this.#table = this.#compile(config, undefined);
  }

  async listen(): Promise<readonly string[]> {
    const bound: string[] = [];
    for (const { address } of this.#config.listen) {
      const listener = new Listener(this.#config, {
        clock: this.#options.clock,
        log: this.#options.log,
        meter: this.#meter,
        limits: () => this.#table.limits,
        exchange: (side) => this.#exchange(side),
        upgrade: (side) => this.#upgrade(side),
      });
      try {
        bound.push(await bind(listener, address));
      } catch (error) {
        await this.close();
        const why = error instanceof Error ? error.message : String(error);
        throw new AppError("SPLIT_LISTEN_FAILED", `cannot listen on ${address}: ${why}`, { cause: error });
      }
      this.#listeners.push(listener);
    }
    return bound;
  }

  reconfigure(config: Config): void {
    this.#table = this.#compile(config, this.#table);
    this.#config = config;
    for (const listener of this.#listeners) listener.reconfigure(config);
  }

  apply(split: Split): void {
    this.#split = split;
  }

  drain(): PlaneMeasure {
    return this.#meter.take();
  }

  gauges(): PlaneGauges {
    const routes: Record<string, Record<Arm, { readonly inFlight: number; readonly longLived: number }>> = {};
    for (const { config, meter } of this.#table.routes.all) {
      const { stable, canary } = meter;
      routes[config.name] = {
        stable: { inFlight: stable.inFlight, longLived: stable.longLived },
        canary: { inFlight: canary.inFlight, longLived: canary.longLived },
      };
    }
    let connections = 0;
    for (const listener of this.#listeners) connections += listener.connections;
    return { connections, routes };
  }

  closeLongLived(route: string, how: "drain" | "close", deadlineMs: Millis): void {
    const found = this.#table.routes.all.find((each) => each.config.name === route);
    found?.longLived.close("canary", how, deadlineMs);
  }

  retire(deadlineMs: Millis): Promise<{ readonly cut: number }> {
    this.#retired ??= this.#retire(deadlineMs);
    return this.#retired;
  }

  async close(): Promise<void> {
    const closed = this.#listeners.map((listener) => listener.retire());
    this.#cut();
    await Promise.all(closed);
    this.#pool.close();
  }

  async #retire(deadlineMs: Millis): Promise<{ readonly cut: number }> {
    let cut = 0;
    const timer = setTimeout(() => {
      cut = this.#cut();
    }, deadlineMs);
    await Promise.all(this.#listeners.map((listener) => listener.retire()));
    clearTimeout(timer);
    this.#pool.close();
    return { cut };
  }

  #cut(): number {
    let cut = 0;
    for (const listener of this.#listeners) cut += listener.cut();
    for (const route of this.#table.routes.all) route.longLived.closeAll();
    return cut;
  }

  #exchange(side: ClientSide): void {
    const route = this.#table.routes.match(side.head.host, pathOf(side.head.target));
    if (route === undefined) {
      this.#meter.refused(404);
      side.answer(404, "SPLIT_NO_ROUTE", "no route matches this host and path", "");
      return;
    }
    const { name, salt } = route.config;
    // The one reading of the split in this exchange.
    const split = this.#split.routes.get(name) ?? stableOnly(name, salt ?? "");
    const exchange = new Exchange(route, choose(route, split, side.view, this.#around), side, this.#around);
    side.exchange = exchange;
    exchange.start();
  }

  #upgrade(side: UpgradeSide): void {
    const { head, connection, request } = side;
    const route = this.#table.routes.match(head.host, pathOf(head.target));
    if (route === undefined) {
      this.#meter.refused(404);
      connection.refuse(404, "SPLIT_NO_ROUTE", "no route matches this host and path");
      return;
    }
    const { limits } = this.#table;
    const peer = plainAddress(side.socket.remoteAddress);
    const origin = originOf(peer, request.rawHeaders, limits.trusted, limits.anyTrusted);
    const { name, salt } = route.config;
    const split = this.#split.routes.get(name) ?? stableOnly(name, salt ?? "");
    upgradeExchange(route, split, side, origin, this.#around);
  }

  #compile(config: Config, before: Table | undefined): Table {
    const limits = limitsOf(config, networksOf(config.trustedProxies));
    const routes = config.routes.map((each) => this.#compileRoute(each, before));
    this.#pool.keepOnly(config.routes);
    return { limits, routes: routeTable(routes) };
  }

  #compileRoute(config: RouteConfig, before: Table | undefined): Route {
    const known = before?.routes.all.find((each) => each.config.name === config.name);
    const meter = this.#meter.route(config.name);
    return {
      config,
      identify: identifier(config, this.#options.cookieSecret, this.#options.dice),
      override: overrideOf(config, this.#options.secretOf),
      stable: this.#pool.arm(config.name, "stable", config.stable),
      canary: this.#pool.arm(config.name, "canary", config.canary),
      meter,
      budget: known?.budget ?? new RescueBudget(),
      longLived: known?.longLived ?? new LongLived(meter),
    };
  }
}

/** Binds one listener; `host:port` or `unix:PATH`. */
async function bind(listener: Listener, address: string): Promise<string> {
  const { server } = listener;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    const done = (): void => {
      server.off("error", reject);
      resolve();
    };
    if (address.startsWith("unix:")) server.listen(address.slice(5), done);
    else {
      const colon = address.lastIndexOf(":");
      const host = address.slice(0, colon).replace(/^\[|\]$/g, "");
      server.listen({ port: Number(address.slice(colon + 1)), ...(host === "" ? {} : { host }) }, done);
    }
  });
  const at: AddressInfo | string | null = server.address();
  if (at === null || typeof at === "string") return address;
  return at.family === "IPv6" ? `[${at.address}]:${at.port}` : `${at.address}:${at.port}`;
}
