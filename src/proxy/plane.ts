/**
 * The data plane: listeners, the route table in force, the split in force, and what is measured.
 *
 * `DataPath` is what one thread does of it. It reads the split and counts in shared words, so that whoever steers it may sit in another
 * thread (`workers.ts`) or in this one (`local-plane.ts`). It promises that a change of weight or of configuration is one swap: the next exchange sees it,
 * those in flight keep what they read. Endpoints that a reload does not change keep their connections; no reload closes a listener.
 */

import type { PlaneEvent } from "../domain/event.ts";
import type { Arm } from "../domain/split.ts";
import type { Millis } from "../domain/units.ts";
import type { ArmConfig, Config, RouteConfig, SecretConfig } from "../config/schema.ts";
import type { Secret } from "../config/secret.ts";
import { networksOf } from "../config/networks.ts";
import type { Clock, DataPlane, Dice, FastLaneSteps, Log } from "../engine/ports.ts";
import type { RouteSplit } from "../engine/routing.ts";
import { armedLimitsOf, hasFastTier } from "../domain/tiers.ts";
import type { Account } from "../domain/account.ts";
import { Accounts } from "./accounts.ts";
import type { Addresses } from "./addresses.ts";
import { identifier, type Identify } from "./affinity.ts";
import { Alarm } from "./alarm.ts";
import { bind, isPath, type Place } from "./bind.ts";
import { DeafMeter, NOBODY } from "./bypass.ts";
import type { Connections } from "./connections.ts";
import type { CounterBuffers } from "./counters.ts";
import type { EvidenceReader } from "./evidence-board.ts";
import { begin } from "./exchange.ts";
import { hardGuards, type HardRule } from "../domain/evidence/catastrophic.ts";
import { grpcMask } from "../domain/grpc.ts";
import { originOf } from "./forwarding.ts";
import { upgradeExchange } from "./general/tunnel.ts";
import { NO_HANDLES, probeHandles, type Handles } from "./fast/handle.ts";
import { Wheel } from "./fast/wheel.ts";
import { knownIssuesOf } from "./known-issues.ts";
import type { ResponseHead } from "./lane.ts";
import {
  Listener,
  limitsOf,
  type Arrival,
  type Limits,
  type Reception,
  type UpgradeSide,
} from "./listener.ts";
import { LongLived } from "./long-lived.ts";
import { routeTable, type RouteTable } from "./match.ts";
import { PlaneMeter, type RouteMeter, type Tidings } from "./measure.ts";
import { PemShelf } from "./pem.ts";
import { Mirror } from "./mirror.ts";
import { Overload } from "./overload.ts";
import { overrideOf } from "./override.ts";
import { endpointsOf, type EndpointPool } from "./pool.ts";
import { Resolver, systemLookup, type Lookup } from "./resolve.ts";
import { RescueBudget } from "./rescue.ts";
import type { Route, Surroundings } from "./route.ts";
import { Bars, type Asked, type Barred } from "./safety.ts";
import type { SplitCell, SplitReader } from "./split-board.ts";

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
  /** Asks for the addresses of an endpoint's name; left out: the system. */
  readonly lookup?: Lookup;
  /** How late this thread's event loop is; left out: not known, and no load is shed for it. */
  readonly loopDelay?: (now: Millis) => Millis;
  /** Takes what is told of exchanges one by one; left out: nobody does. */
  readonly told?: (accounts: readonly Account[]) => void;
  /** The PEM files that the configuration names; left out: it names none. */
  readonly pems?: PemShelf;
  /** For the benchmark alone: everything to stable, nothing measured. */
  readonly bypass?: boolean;
  /** For the tests: the fast lane does without the steps of `fast/handle.ts`, as on a platform where they do not work. */
  readonly documentedOnly?: boolean;
}

/** The data plane as `start.ts` holds it. */
export interface Plane extends DataPlane {
  /** Binds every `listen`; the bound addresses. Rejects with SPLIT_LISTEN_FAILED, and then listens nowhere. */
  listen(): Promise<readonly string[]>;
  /** Puts a configuration in force for the next exchange; resolves when it is. Addresses to listen on are left as they are. */
  reconfigure(config: Config): Promise<void>;
  /**
   * Goes away: accepts nothing more, every answer ends its connection, what is in flight finishes until `deadlineMs`, then is cut.
   * `cut` counts the exchanges and tunnels that were.
   */
  retire(deadlineMs: Millis): Promise<{ readonly cut: number }>;
  /** Ends everything at once. */
  close(): Promise<void>;
}

/**
 * Sockets that a thread listens on at one shared port. The platform accepts one connection per socket and turn of the loop (libuv
 * 1.52), and a turn under full load is ten milliseconds: with one socket, a thousand clients that come at once waited two seconds.
 */
const ACCEPTORS = 8;

/** What a client is told whose request is shed. */
const OVERLOADED = "this replica has too much to do";

/** Patience with the one exchange that tries how a socket may be read. */
const PROBE_MS = 1000;

/** What a thread's data path shares with those who steer it and read what it counts. */
export interface PathShares {
  readonly meter: PlaneMeter;
  readonly splits: SplitReader;
  readonly connections: Connections;
  readonly addresses: Addresses;
  /** The canary's weight was taken away in this thread. */
  readonly crossed: (route: string, rule: HardRule) => void;
  readonly account: (account: Account) => void;
}

interface PlaneRoute extends Route {
  readonly split: SplitCell;
}

interface Table {
  readonly routes: RouteTable<PlaneRoute>;
  readonly byName: ReadonlyMap<string, PlaneRoute>;
  readonly limits: Limits;
  readonly bars: Bars;
}

/** The data path of one thread. Listens nowhere yet. */
export class DataPath {
  readonly #options: PlaneOptions;
  readonly #shares: PathShares;
  readonly #meter: PlaneMeter;
  readonly #around: Surroundings;
  readonly #overload: Overload;
  readonly #accounts: Accounts;
  readonly #listeners: Listener[] = [];
  readonly #pool: EndpointPool;
  readonly #wheel = new Wheel();
  readonly #pems: PemShelf;
  readonly #unfollow: () => void;
  #handles: Handles = NO_HANDLES;
  #config: Config;
  #table: Table;
  #retired: Promise<{ readonly cut: number }> | undefined;

  constructor(options: PlaneOptions, shares: PathShares) {
    const { config, clock, dice, healthy } = options;
    const { meter } = shares;
    this.#options = options;
    this.#shares = shares;
    this.#meter = meter;
    this.#config = config;
    this.#pems = options.pems ?? new PemShelf();
    this.#overload = new Overload(options.loopDelay);
    this.#accounts = new Accounts({ clock, dice }, shares.account);
    this.#around = { clock, dice, healthy, meter, overload: this.#overload, accounts: this.#accounts };
    const { log, lookup = systemLookup } = options;
    const resolver = new Resolver({ clock, log, lookup });
    const pem = (path: string): string => this.#pems.pem(path);
    this.#pool = endpointsOf(
      { clock, wheel: this.#wheel, handles: () => this.#handles, resolver, pem },
      { dice, healthy, log },
    );
    this.#unfollow = this.#pems.onChange(() => this.#pool.renewTls());
    this.#table = this.#compile(config, undefined);
  }

  /** Listens at these places, on shared ports or alone; the addresses they came to be. Rejects with SPLIT_LISTEN_FAILED, and then listens nowhere. */
  async listen(places: readonly Place[], isShared: boolean): Promise<readonly string[]> {
    const bound: string[] = [];
    if (this.#options.documentedOnly !== true) this.#handles = await probeHandles(PROBE_MS);
    for (const place of places) {
      const { address } = place;
      const reception: Reception = {
        clock: this.#options.clock,
        dice: this.#options.dice,
        log: this.#options.log,
        meter: this.#meter,
        limits: () => this.#table.limits,
        exchange: (arrival) => this.#exchange(arrival),
        upgrade: (side) => this.#upgrade(side),
      };
      const listener = new Listener(this.#config, reception, {
        wheel: this.#wheel,
        handles: this.#handles,
        place,
        pems: this.#pems,
        entered: () => this.#shares.connections.enter(),
        left: () => this.#shares.connections.leave(),
        addresses: this.#shares.addresses,
      });
      this.#listeners.push(listener);
      try {
        const at = await bind(listener.server, address, isShared);
        bound.push(at);
        if (isShared && !isPath(address))
          for (const server of listener.spread(ACCEPTORS - 1)) await bind(server, at, true);
      } catch (error) {
        await this.close();
        throw error;
      }
    }
    return bound;
  }

  /** Which steps beyond the documented ones are in use; known once it listens. */
  get fastLane(): FastLaneSteps {
    return this.#handles;
  }

  /** Puts a configuration in force. There must be counters and a split for each of its routes. */
  reconfigure(config: Config): void {
    this.#table = this.#compile(config, this.#table);
    this.#config = config;
    for (const listener of this.#listeners) listener.reconfigure(config);
  }

  closeLongLived(route: string, how: "drain" | "close", deadlineMs: Millis): void {
    this.#table.byName.get(route)?.longLived.close("canary", how, deadlineMs);
  }

  retire(deadlineMs: Millis): Promise<{ readonly cut: number }> {
    this.#retired ??= this.#retire(deadlineMs);
    return this.#retired;
  }

  async close(): Promise<void> {
    const closed = this.#listeners.map((listener) => listener.retire());
    this.#cut();
    await Promise.all(closed);
    this.#unfollow();
    this.#pool.close();
  }

  async #retire(deadlineMs: Millis): Promise<{ readonly cut: number }> {
    let cut = 0;
    const timer = setTimeout(() => {
      cut = this.#cut();
    }, deadlineMs);
    await Promise.all(this.#listeners.map((listener) => listener.retire()));
    clearTimeout(timer);
    this.#unfollow();
    this.#pool.close();
    return { cut };
  }

  #cut(): number {
    let cut = 0;
    for (const listener of this.#listeners) cut += listener.cut();
    for (const route of this.#table.routes.all) route.longLived.closeAll();
    return cut;
  }

  #exchange<R extends ResponseHead>(side: Arrival<R>): void {
    const shed = this.#overload.refusal(side.startedAt);
    if (shed !== undefined) {
      this.#shed(shed);
      side.answer(503, "SPLIT_OVERLOADED", OVERLOADED, "");
      return;
    }
    const route = this.#table.routes.match(side.host, side.target);
    if (route === undefined) {
      this.#meter.refused(404);
      side.answer(404, "SPLIT_NO_ROUTE", "no route matches this host and path", "");
      return;
    }
    // The one reading of the split in this exchange.
    const split = route.split.read();
    if (split.bars !== 0) {
      const barred = this.#barred(split, side.view);
      if (barred !== undefined) return side.give(barred.status, barred.own);
    }
    if (!route.isPlain && side.leaveLane()) return;
    begin(route, split, side, this.#around);
  }

  #upgrade(side: UpgradeSide): void {
    const { head } = side;
    const shed = this.#overload.refusal(this.#options.clock.mono());
    if (shed !== undefined) {
      this.#shed(shed);
      side.refuse(503, "SPLIT_OVERLOADED", OVERLOADED);
      return;
    }
    const route = this.#table.routes.match(head.host, head.target);
    if (route === undefined) {
      this.#meter.refused(404);
      side.refuse(404, "SPLIT_NO_ROUTE", "no route matches this host and path");
      return;
    }
    const { limits } = this.#table;
    const origin = originOf(side.peer.address, side.fields, limits.trusted, limits.anyTrusted);
    const split = route.split.read();
    if (split.bars !== 0) {
      const barred = this.#barred(split, { method: "GET", target: head.target, client: origin.client });
      if (barred !== undefined) return side.give(barred.status, barred.own);
    }
    upgradeExchange(route, split, side, origin, this.#around);
  }

  /** The answer of a safety switch, counted; undefined: the request goes its way. */
  #barred({ bars }: RouteSplit, asked: Asked): Barred | undefined {
    const barred = this.#table.bars.answerTo(bars, asked);
    if (barred === undefined) return undefined;
    this.#meter.refused(barred.status);
    this.#meter.event(barred.event);
    return barred;
  }

  #shed(why: PlaneEvent): void {
    this.#meter.refused(503);
    this.#meter.event(why);
  }

  #compile(config: Config, before: Table | undefined): Table {
    this.#overload.configure(config.overload);
    this.#accounts.configure(config);
    const limits = limitsOf(config, networksOf(config.trustedProxies));
    const routes = config.routes.map((each) => this.#compileRoute(each, before));
    this.#pool.keepOnly(config.routes);
    const byName = new Map(routes.map((each) => [each.config.name, each]));
    return { limits, bars: new Bars(config.safety), routes: routeTable(routes), byName };
  }

  #compileRoute(config: RouteConfig, before: Table | undefined): PlaneRoute {
    const { name } = config;
    const { cookieSecret, dice, secretOf, bypass } = this.#options;
    const known = before?.byName.get(name);
    const meter = this.#meter.route(name);
    const identify = bypass === true ? NOBODY : identifier(config, cookieSecret, dice);
    const split = this.#shares.splits.cell(name);
    return {
      config,
      identify,
      knownIssues: knownIssuesOf(config),
      alarm: this.#alarmOf(config, meter, identify, split),
      override: overrideOf(config, secretOf),
      stable: this.#pool.arm(name, "stable", config.stable, meter.stable),
      canary: this.#pool.arm(name, "canary", config.canary, meter.canary),
      meter,
      budget: known?.budget ?? new RescueBudget(),
      mirror: config.mirror === "off" ? undefined : new Mirror(config.mirror, known?.mirror),
      longLived: known?.longLived ?? new LongLived(meter),
      timeouts: { ...config.timeouts, stream: config.longLived.idle },
      grpcFailing: grpcMask(config.grpc.failing),
      isPlain: [config.stable, config.canary].every(isPlain),
      split,
    };
  }

  #alarmOf(
    { name, rollback }: RouteConfig,
    { evidence }: RouteMeter,
    identify: Identify,
    split: SplitCell,
  ): Alarm | undefined {
    if (!hasFastTier(rollback.onAny)) return undefined;
    const { loopDelay } = this.#options;
    return new Alarm({
      cell: evidence,
      guards: hardGuards(armedLimitsOf(rollback.onAny)),
      split,
      identify,
      isLate: (now) => loopDelay !== undefined && loopDelay(now) > rollback.loopLag,
      rang: (rule) => this.#shares.crossed(name, rule),
    });
  }
}

/** Whether every endpoint of an arm can be spoken to in HTTP/1.1. */
function isPlain({ endpoints, protocol }: ArmConfig): boolean {
  return protocol !== "http2" && endpoints.every((url) => !url.startsWith("h2c:"));
}

/** The meter of a data path. */
export function meterOf(
  buffers: CounterBuffers,
  tidings: Tidings,
  evidence: EvidenceReader,
  bypass: boolean,
): PlaneMeter {
  return new (bypass ? DeafMeter : PlaneMeter)(buffers, tidings, evidence);
}
