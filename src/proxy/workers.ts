/**
 * The data plane in worker threads, as the main thread holds it: starts them, steers them, adds up what they count, and replaces one that dies.
 *
 * The control plane (decisions, admin, metrics, probes, journal) stays alone in the main thread, so that no scrape and no page can stall a
 * request. Several workers listen on the same port, and the system deals the connections out. A worker that dies takes down its own connections and
 * nobody else's: what it had counted is kept, what it had in flight is counted as `unavailable`, which says nothing about an arm, and
 * a new one takes its place.
 */

import { availableParallelism } from "node:os";
import type { Config, RouteConfig } from "../config/schema.ts";
import { secretSourcesOf } from "../config/secret.ts";
import { asAppError } from "../domain/errors.ts";
import type { Arm } from "../domain/split.ts";
import { millis, type Millis } from "../domain/units.ts";
import type { HardRule } from "../domain/evidence/catastrophic.ts";
import type { EvidencePort, PlaneGauges, PlaneMeasure } from "../engine/ports.ts";
import { NO_HANDLES } from "./fast/handle.ts";
import type { Split } from "../engine/routing.ts";
import { assertFree, canShare, isAnyPort, isPath, placesOf, type Place } from "./bind.ts";
import { Addresses, addressWords } from "./addresses.ts";
import { Connections, connectionWords } from "./connections.ts";
import { counterBuffers, routeBlock } from "./counters.ts";
import { EvidenceBoard, evidencePort, limitEvidence } from "./evidence-board.ts";
import { HealthBoard } from "./health-board.ts";
import { namesOf, secretKey, type Order, type SecretTexts } from "./messages.ts";
import { PemShelf } from "./pem.ts";
// Types alone: the main thread carries no traffic, and loads nothing of what does.
import type { Plane, PlaneOptions } from "./plane.ts";
import { joined, type Readings } from "./readings.ts";
import { SplitBoard } from "./split-board.ts";
import { Thread } from "./thread.ts";

/** A worker that has served for so long is not held responsible for the deaths before. */
const STEADY_MS = 60_000;
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 30_000;

/** What the workers are made of; each has a clock and dice of its own. */
export interface WorkersOptions extends Omit<PlaneOptions, "dice" | "bypass" | "loopDelay" | "lookup"> {
  /** The file that a worker runs: `worker.ts`. */
  readonly entry: URL;
}

/** The data plane in workers. */
export interface WorkersPlane extends Plane {
  /** Tells every worker at once what a probe has learnt. */
  setHealth(route: string, arm: Arm, url: string, isHealthy: boolean): void;
  /** How late the event loop of the latest worker was at a quantile (0.5, 0.99 or 1), seconds. */
  loopDelay(quantile: number): number;
  /** How the threads are now: how late the latest event loop was of late, how many carry traffic, and how many should. */
  threads(): { readonly lagMs: number; readonly serving: number; readonly wanted: number };
}

/** A data plane in as many workers as the configuration says. None runs before `listen`. */
export function createWorkers(options: WorkersOptions): WorkersPlane {
  return new Workers(options);
}

/** The place of one worker, which outlives it. */
interface Slot {
  readonly connections: Connections;
  readonly addresses: Addresses;
  thread: Thread | undefined;
  /** When the present one was started. */
  startedAt: Millis;
  /** Deaths in a row. */
  deaths: number;
  /** Takes back the replacement that is due. */
  cancel: (() => void) | undefined;
}

class Workers implements WorkersPlane {
  readonly #options: WorkersOptions;
  readonly #pems: PemShelf;
  readonly #board = new SplitBoard((notes) => this.#tellAll({ type: "salts", notes }));
  readonly #health = new HealthBoard();
  readonly #evidence: EvidenceBoard;
  readonly evidence: EvidencePort;
  #crossed: (route: string, rule: HardRule) => void = () => undefined;
  /** One word for each worker that there may be. */
  readonly #connections: SharedArrayBuffer;
  readonly #addresses: SharedArrayBuffer;
  readonly #slots: Slot[] = [];
  /** Counters of the dead that were not read to the end. */
  #gone: Readings[] = [];
  #config: Config;
  #secrets: SecretTexts = new Map();
  #places: readonly Place[] = [];
  /** Whether several sockets may listen on one port here. */
  #isShared = false;
  #restarts = 0;
  #lost = 0;
  #state: "starting" | "serving" | "ending" = "starting";
  #retired: Promise<{ readonly cut: number }> | undefined;

  constructor(options: WorkersOptions) {
    this.#options = options;
    this.#pems = options.pems ?? new PemShelf();
    this.#pems.onChange(() => this.#tellAll({ type: "tls", material: this.#pems.material }));
    this.#config = options.config;
    this.#connections = connectionWords(countOf(options.config));
    this.#addresses = addressWords(countOf(options.config));
    this.#board.grow(namesOf(options.config));
    this.#health.grow(options.config);
    this.#evidence = new EvidenceBoard(countOf(options.config));
    this.#evidence.grow(namesOf(options.config));
    limitEvidence(this.#evidence, options.config);
    this.evidence = evidencePort(this.#evidence, () => this.#lagMs);
  }

  async listen(): Promise<readonly string[]> {
    try {
      this.#secrets = this.#secretsOf(this.#config);
      this.#health.refresh(this.#config, this.#options.healthy);
      const places = placesOf(this.#config);
      const count = await this.#shareable(places.map(({ address }) => address));
      for (let index = 0; index < count; index++) this.#slots.push(this.#slot(index));
      // The first one chooses the ports that are the system's to choose.
      this.#places = places;
      const bound = await this.#startIn(0);
      this.#places = places.map((place, index) => ({ ...place, address: bound[index] ?? place.address }));
      await Promise.all(this.#slots.map((slot, index) => slot.thread?.serving ?? this.#startIn(index)));
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#state = "serving";
    // One may have died while the others were still starting.
    this.#slots.forEach(({ thread }, index) => {
      if (thread?.hasEnded === true) this.#replace(index, thread);
    });
    return this.#places.map(({ address }) => address);
  }

  async reconfigure(config: Config): Promise<void> {
    const secrets = this.#secretsOf(config);
    const splits = this.#board.grow(namesOf(config));
    const health = this.#health.grow(config);
    this.#health.refresh(config, this.#options.healthy);
    const evidence = this.#evidence.grow(namesOf(config));
    limitEvidence(this.#evidence, config);
    this.#config = config;
    this.#secrets = secrets;
    const share = this.#share();
    await Promise.all(
      this.#threads().map((thread) => {
        const counters = splits === undefined ? undefined : routeBlock(splits.names);
        if (counters !== undefined) thread.readings.add(counters);
        return thread.configure({ config: share, secrets, splits, counters, health, evidence });
      }),
    );
  }

  apply(split: Split): void {
    this.#board.apply(split);
  }

  setHealth(route: string, arm: Arm, url: string, isHealthy: boolean): void {
    this.#health.set(route, arm, url, isHealthy);
  }

  loopDelay(quantile: number): number {
    return Math.max(0, ...this.#threads().map(({ readings }) => readings.loopDelay(quantile)));
  }

  get #lagMs(): number {
    return Math.max(0, ...this.#threads().map(({ readings }) => readings.lagMs));
  }

  threads(): { readonly lagMs: number; readonly serving: number; readonly wanted: number } {
    const serving = this.#threads().filter((thread) => thread.isServing).length;
    return { lagMs: this.#lagMs, serving, wanted: this.#slots.length };
  }

  drain(): PlaneMeasure {
    const readings = [...this.#gone, ...this.#threads().map((thread) => thread.readings)];
    this.#gone = [];
    return joined(readings.map((each) => each.take()));
  }

  gauges(): PlaneGauges {
    const threads = this.#threads();
    const routes: Record<string, PlaneGauges["routes"][string]> = {};
    for (const name of namesOf(this.#config)) {
      const sum = { stable: { inFlight: 0, longLived: 0 }, canary: { inFlight: 0, longLived: 0 } };
      for (const { readings } of threads) {
        const load = readings.load(name);
        if (load === undefined) continue;
        for (const arm of ["stable", "canary"] as const) {
          sum[arm].inFlight += load[arm].inFlight;
          sum[arm].longLived += load[arm].longLived;
        }
      }
      routes[name] = sum;
    }
    return {
      connections: this.#slots[0]?.connections.total ?? 0,
      workers: threads.filter((thread) => thread.isServing).length,
      workerRestarts: this.#restarts,
      exchangesLost: this.#lost,
      fastLane: threads[0]?.fastLane ?? NO_HANDLES,
      routes,
    };
  }

  onCrossing(crossed: (route: string, rule: HardRule) => void): void {
    this.#crossed = crossed;
  }

  closeLongLived(route: string, how: "drain" | "close", deadlineMs: Millis): void {
    this.#tellAll({ type: "close_long_lived", route, how, deadlineMs });
  }

  retire(deadlineMs: Millis): Promise<{ readonly cut: number }> {
    this.#retired ??= this.#retire(deadlineMs);
    return this.#retired;
  }

  async close(): Promise<void> {
    this.#end();
    await Promise.all(this.#threads().map((thread) => thread.close()));
  }

  async #retire(deadlineMs: Millis): Promise<{ readonly cut: number }> {
    this.#end();
    const cuts = await Promise.all(this.#threads().map((thread) => thread.retire(deadlineMs)));
    return { cut: cuts.reduce((sum, cut) => sum + cut, 0) };
  }

  #end(): void {
    this.#state = "ending";
    for (const slot of this.#slots) slot.cancel?.();
  }

  /** How many workers these addresses allow. Rejects with SPLIT_LISTEN_FAILED when one of them is taken. */
  async #shareable(addresses: readonly string[]): Promise<number> {
    const count = countOf(this.#config);
    const ports = addresses.filter((address) => !isPath(address));
    this.#isShared = ports.length > 0 && (await canShare());
    if (!this.#isShared) {
      if (count === 1) return 1;
      const detail =
        ports.length === 0
          ? "a path in the file system cannot be shared"
          : "this system does not let several sockets listen on one port";
      this.#options.log.warn("one worker only", { configured: count, detail });
      return 1;
    }
    for (const address of ports) if (!isAnyPort(address)) await assertFree(address);
    return count;
  }

  #slot(index: number): Slot {
    return {
      connections: new Connections(this.#connections, index),
      // It only ever forgets here, for which it needs no seed.
      addresses: new Addresses(this.#addresses, index, 0),
      thread: undefined,
      startedAt: millis(0),
      deaths: 0,
      cancel: undefined,
    };
  }

  /** Starts a worker with everything that is in force now; resolves its addresses. */
  #startIn(index: number): Promise<readonly string[]> {
    const slot = this.#slots[index]!;
    const { entry, log, cookieSecret } = this.#options;
    const splits = this.#board.state;
    const thread = new Thread({
      entry,
      log,
      birth: {
        config: this.#share(),
        secrets: this.#secrets,
        cookieSecret,
        counters: counterBuffers(splits.chunks.flatMap(({ names }) => names)),
        splits,
        health: this.#health.chunks,
        evidence: this.#evidence.chunks,
        connections: this.#connections,
        addresses: this.#addresses,
        index,
        places: index === 0 ? this.#places : this.#places.filter(({ address }) => !isPath(address)),
        isShared: this.#isShared,
        tls: this.#pems.material,
      },
      onEnd: (ended) => this.#ended(index, ended),
      onCrossing: (route, rule) => this.#crossed(route, rule),
      told: (accounts) => this.#options.told?.(accounts),
    });
    slot.thread = thread;
    slot.startedAt = this.#options.clock.mono();
    return thread.serving;
  }

  #ended(index: number, thread: Thread): void {
    const slot = this.#slots[index]!;
    slot.connections.clear();
    slot.addresses.clear();
    this.#gone.push(thread.readings);
    this.#lost += thread.lost;
    if (this.#state === "serving") this.#replace(index, thread);
  }

  /** At once the first time; a second's wait the second time, and twice as long each time after that. */
  #replace(index: number, dead: Thread): void {
    const slot = this.#slots[index]!;
    const { clock, log } = this.#options;
    if (clock.mono() - slot.startedAt >= STEADY_MS) slot.deaths = 0;
    const waitMs = slot.deaths === 0 ? 0 : Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (slot.deaths - 1));
    slot.deaths++;
    log.error("a worker died, another takes its place", {
      worker: index,
      exchangesLost: dead.lost,
      deaths: slot.deaths,
      waitMs,
    });
    const start = (): void => {
      slot.cancel = undefined;
      this.#restarts++;
      // One that cannot serve ends, and comes by here again.
      this.#startIn(index).then(
        () => log.info("a worker serves again", { worker: index }),
        (error: unknown) =>
          log.error("a worker cannot serve", { worker: index, detail: asAppError(error).message }),
      );
    };
    if (waitMs === 0) return start();
    const stop = clock.every(millis(waitMs), () => {
      stop();
      start();
    });
    slot.cancel = stop;
  }

  #threads(): readonly Thread[] {
    return this.#slots.flatMap(({ thread }) => (thread === undefined || thread.hasEnded ? [] : [thread]));
  }

  #tellAll(order: Order): void {
    for (const thread of this.#threads()) thread.tell(order);
  }

  /** The secrets that requests are judged by; any other is nobody's business out there. */
  #secretsOf(config: Config): SecretTexts {
    return new Map(
      secretSourcesOf(config)
        .filter(({ path }) => path[0] === "routes" && path[2] === "override")
        .map(({ source }) => [secretKey(source), this.#options.secretOf(source).reveal()]),
    );
  }

  /** One worker's share of the configuration: limits that protect an upstream are divided among all. */
  #share(): Config {
    const workers = this.#slots.length;
    if (workers <= 1) return this.#config;
    const { overload, routes } = this.#config;
    const { concurrency } = overload;
    return {
      ...this.#config,
      overload: { ...overload, concurrency: concurrency === "none" ? "none" : partOf(concurrency, workers) },
      routes: routes.map((route) => shareOf(route, workers)),
    };
  }
}

function countOf(config: Config): number {
  return config.workers === "auto" ? availableParallelism() : config.workers;
}

function shareOf(route: RouteConfig, workers: number): RouteConfig {
  const part = (limit: number): number => partOf(limit, workers);
  const arm = (config: RouteConfig["stable"]): RouteConfig["stable"] => ({
    ...config,
    connections: part(config.connections),
    queue: part(config.queue),
    concurrency: config.concurrency === "none" ? "none" : part(config.concurrency),
  });
  const { rescue, mirror, longLived } = route;
  return {
    ...route,
    stable: arm(route.stable),
    canary: arm(route.canary),
    rescue: rescue === "off" ? rescue : { ...rescue, concurrency: part(rescue.concurrency) },
    longLived: { ...longLived, connections: part(longLived.connections) },
    mirror: mirror === "off" ? mirror : { ...mirror, concurrency: part(mirror.concurrency) },
  };
}

/** Never none at all: with fewer than workers each has one. */
function partOf(limit: number, workers: number): number {
  return Math.max(Math.min(limit, 1), Math.floor(limit / workers));
}
