/**
 * The engine on a bench: a real controller, recorder and routing, with a clock moved by hand, a store in memory and an upstream world that is
 * told what it measured. No sockets.
 */

import { configSchema, type Config } from "../../src/config/schema.ts";
import type { HardRule } from "../../src/domain/evidence/catastrophic.ts";
import { REASON_INDEX, kindOf, type Reason } from "../../src/domain/outcome.ts";
import { LiveSlice } from "../../src/domain/slice.ts";
import type { Arm } from "../../src/domain/split.ts";
import type { Command } from "../../src/domain/rollout-types.ts";
import { millis, percentOf, ppm } from "../../src/domain/units.ts";
import { TICK_MS, openController, type Controller } from "../../src/engine/controller.ts";
import type {
  Backups,
  Confirm,
  DataPlane,
  Dice,
  EndpointHealth,
  EvidencePort,
  Sample,
  Journal,
  JournalEntry,
  JournalLine,
  Log,
  IncidentFiles,
  Notice,
  Preflight,
  Saved,
  Store,
} from "../../src/engine/ports.ts";
import type { CheckStatus } from "../../src/engine/status.ts";
import type { Split } from "../../src/engine/routing.ts";
import {
  EvidenceBoard,
  EvidenceReader,
  evidencePort,
  limitEvidence,
} from "../../src/proxy/evidence-board.ts";
import { memoryStore } from "../../src/store/memory.ts";
import { fakeClock, type FakeClock } from "./clock.ts";
import { fakeDice } from "./dice.ts";

/** What an arm came to in some stretch of time. */
export interface Served {
  readonly ok?: number;
  readonly failed?: number;
  /** Answered 404, which is a success. */
  readonly missing?: number;
  readonly excluded?: number;
  readonly ms?: number;
  readonly failedMs?: number;
  readonly reason?: Reason;
}

/** A bad response, unremarkable but for `over`. */
export const sampleOf = (over: Partial<Sample>): Sample => ({
  kind: "failure",
  method: "GET",
  path: "/",
  reason: "status",
  status: 500,
  keyHash: "",
  traceId: "",
  rescued: false,
  ...over,
});

/** A data plane that is told what it measured and remembers what it was told. */
export class FakePlane implements DataPlane {
  split: Split | undefined;
  readonly #board = new EvidenceBoard(1);
  readonly #reader = new EvidenceReader(0);
  /** How late the workers' event loops were, ms. */
  lagMs = 0;
  readonly evidence: EvidencePort = evidencePort(this.#board, () => this.lagMs);
  /** Says that a thread has taken the weight away. */
  cross: (route: string, rule: HardRule) => void = () => {};
  /** Every weight of every route that was ever in force, percent. */
  readonly weights: number[] = [];
  readonly closed: { route: string; how: string }[] = [];
  onApply: (weight: number) => void = () => {};
  #live = { evidence: new Map<string, LiveSlice>(), forced: new Map<string, LiveSlice>() };
  #samples = new Map<string, Sample[]>();
  #rescued = new Map<string, number>();
  refused: Record<string, number> = {};

  /** Makes room for the counts of a configuration's routes, by its limits. */
  configure(config: Config): void {
    const chunk = this.#board.grow(config.routes.map(({ name }) => name));
    if (chunk !== undefined) this.#reader.add(chunk);
    limitEvidence(this.#board, config);
  }

  onCrossing(crossed: (route: string, rule: HardRule) => void): void {
    this.cross = crossed;
  }

  /** A key came to the canary, or failed there. */
  key(route: string, key: number, failed: boolean): void {
    const cell = this.#reader.cell(route);
    cell.sawKey(key);
    if (failed) cell.failedKey(key);
  }

  serve(route: string, arm: Arm, served: Served, kind: "evidence" | "forced" = "evidence"): void {
    const key = `${route}/${arm}`;
    const slice = this.#live[kind].get(key) ?? new LiveSlice();
    this.#live[kind].set(key, slice);
    const record = (count: number, reason: Reason, status: number, ms: number): void => {
      for (let i = 0; i < count; i++) {
        slice.record(REASON_INDEX[reason], status, ms * 1000, ms * 1000);
        if (kind === "evidence" && kindOf(reason) !== "excluded")
          this.#reader.cell(route).count(arm, kindOf(reason) === "failure", status, ms * 1000);
      }
    };
    record(served.ok ?? 0, "ok", 200, served.ms ?? 10);
    record(served.missing ?? 0, "ok", 404, served.ms ?? 10);
    record(served.failed ?? 0, served.reason ?? "status", 500, served.failedMs ?? served.ms ?? 10);
    record(served.excluded ?? 0, "client_gone", 0, 10);
  }

  sample(route: string, sample: Partial<Sample>): void {
    this.#samples.set(route, [...(this.#samples.get(route) ?? []), sampleOf(sample)]);
  }

  rescue(route: string, count: number): void {
    this.#rescued.set(route, (this.#rescued.get(route) ?? 0) + count);
  }

  apply(split: Split): void {
    this.split = split;
    for (const each of split.routes.values()) {
      this.weights.push(percentOf(each.weight));
      this.onApply(percentOf(each.weight));
    }
  }

  drain() {
    const names = new Set(
      [...this.#live.evidence.keys(), ...this.#live.forced.keys()].map((key) =>
        key.slice(0, key.indexOf("/")),
      ),
    );
    for (const name of [...this.#samples.keys(), ...this.#rescued.keys()]) names.add(name);
    const take = (kind: "evidence" | "forced", name: string) => {
      const arms: Partial<Record<Arm, NonNullable<ReturnType<LiveSlice["take"]>>>> = {};
      for (const arm of ["stable", "canary"] as const) {
        const slice = this.#live[kind].get(`${name}/${arm}`)?.take();
        if (slice !== undefined) arms[arm] = slice;
      }
      return arms;
    };
    const routes = [...names].map((route) => ({
      route,
      arms: take("evidence", route),
      forced: take("forced", route),
      rescues: { answered: this.#rescued.get(route) ?? 0, failed: 0, refused: 0 },
      events: {},
      samples: this.#samples.get(route) ?? [],
    }));
    this.#samples = new Map();
    this.#rescued = new Map();
    const refused = this.refused;
    this.refused = {};
    return { routes, refused, overhead: { counts: [1], seconds: 0.001 }, events: [1] };
  }

  gauges() {
    const idle = { inFlight: 0, longLived: 0 };
    const routes = { app: { stable: { inFlight: 1, longLived: 0 }, canary: idle } };
    return {
      connections: 1,
      routes,
      workers: 1,
      workerRestarts: 0,
      exchangesLost: 0,
      fastLane: { reads: true, writes: false },
    };
  }

  closeLongLived(route: string, how: "drain" | "close"): void {
    this.closed.push({ route, how });
  }
}

/** A journal in memory that can be told to fail or to hang. */
export class FakeJournal implements Journal {
  readonly entries: JournalEntry[] = [];
  fails: () => boolean = () => false;

  append(entry: JournalEntry): Promise<boolean> {
    if (this.fails()) return Promise.resolve(false);
    this.entries.push(entry);
    return Promise.resolve(true);
  }

  read({
    limit,
    route,
  }: {
    readonly limit: number;
    readonly route?: string;
  }): Promise<readonly JournalLine[]> {
    const lines = this.entries
      .filter((entry) => route === undefined || entry.route === route)
      .map((entry, index) => ({
        ...entry,
        seq: index + 1,
        at: "2026-01-01T00:00:00.000Z",
        before: { ...entry.before, weight: percentOf(entry.before.weight) },
        after: { ...entry.after, weight: percentOf(entry.after.weight) },
        prev: "",
        hash: "",
      }));
    return Promise.resolve(lines.slice(-limit));
  }
}

const QUIET: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** A bench with one controller on it. */
export interface Bench {
  readonly controller: Controller;
  readonly plane: FakePlane;
  readonly journal: FakeJournal;
  readonly store: Store;
  readonly clock: FakeClock;
  readonly notices: Notice[];
  readonly reports: Record<string, unknown>[];
  /** What the probes say of an arm's only endpoint; null: they know of none. */
  readonly health: Record<Arm, Partial<EndpointHealth> | null>;
  /** Ticks once a second for so long; `each` is called before every tick. */
  run(seconds: number, each?: () => void): Promise<void>;
  /** No tick any more: as after a kill. */
  kill(): void;
}

/** A route's configuration with rules that decide within seconds. */
export function benchConfig(route: object = {}, more: object = {}): Config {
  return configSchema.parse({
    routes: [
      {
        name: "app",
        stable: { endpoints: ["http://127.0.0.1:1"], version: "3" },
        canary: { endpoints: ["http://127.0.0.1:2"], version: "4" },
        rollback: { onAny: [{ metric: "error_rate", above: "1%", for: "5m" }] },
        // A bench that is about alerts has its own.
        alerts: [],
        ...route,
      },
    ],
    ...more,
  });
}

/** A bench; `parts` of an earlier one may be handed in to play a restart. */
export async function bench(
  config: Config,
  parts: {
    readonly store?: Store;
    readonly journal?: FakeJournal;
    readonly clock?: FakeClock;
    readonly preflight?: Preflight;
    readonly backups?: Backups;
    readonly confirm?: Confirm;
    readonly incidents?: IncidentFiles;
    readonly unwell?: () => string | undefined;
    /** Others than every bench has: its rollouts have other ids. */
    readonly dice?: Dice;
    readonly log?: Log;
  } = {},
): Promise<Bench> {
  const clock = parts.clock ?? fakeClock();
  const store = parts.store ?? memoryStore();
  const journal = parts.journal ?? new FakeJournal();
  const plane = new FakePlane();
  plane.configure(config);
  const notices: Notice[] = [];
  const reports: Record<string, unknown>[] = [];
  const health: Bench["health"] = { stable: {}, canary: {} };
  const controller = await openController(config, {
    store,
    journal,
    plane,
    probes: {
      health: (_route, arm) => {
        const known = health[arm];
        return known === null
          ? []
          : [{ url: `http://${arm}`, healthy: true, failures: 0, detail: "", ...known }];
      },
    },
    notifier: {
      notify(notice, handing) {
        notices.push(notice);
        handing?.done();
      },
    },
    reports: {
      write(pack) {
        reports.push({ ...pack });
        return Promise.resolve("pack");
      },
    },
    preflight: parts.preflight,
    backups: parts.backups,
    confirm: parts.confirm,
    incidents: parts.incidents,
    ...(parts.unwell === undefined ? {} : { unwell: parts.unwell }),
    clock,
    dice: parts.dice ?? fakeDice(7),
    log: parts.log ?? QUIET,
  });
  let each: () => void = () => {};
  const stop = clock.every(TICK_MS, async () => {
    each();
    await controller.tick();
  });
  return {
    controller,
    plane,
    journal,
    store,
    clock,
    notices,
    reports,
    health,
    async run(seconds, before = () => {}) {
      each = before;
      await clock.advance(seconds * 1000);
    },
    kill: stop,
  };
}

// The words that scenarios are told in.

export const ADA = { name: "ada" };
export const step = (percent: number, seconds: number, bake = false) => ({
  weight: ppm(percent * 10_000),
  holdMs: millis(seconds * 1000),
  bake,
});
const PLAN = [step(0, 0), step(5, 60), step(50, 60), step(100, 60)];
export const startOf = (steps = PLAN): Command => ({
  type: "start",
  steps,
  version: "4.1",
  force: false,
  reason: "release",
});
export const setWeight = (percent: number): Command => ({
  type: "set_weight",
  weight: ppm(percent * 10_000),
  force: false,
  reason: "try",
});
export const rollback: Command = { type: "rollback", reason: "manual" };

export const well = (b: Bench) => (): void => {
  b.plane.serve("app", "canary", { ok: 50 });
  b.plane.serve("app", "stable", { ok: 50 });
};
export const ill = (b: Bench) => (): void => b.plane.serve("app", "canary", { ok: 25, failed: 25 });
export const statusOf = (b: Bench) => {
  const status = b.controller.route("app");
  if (status === undefined) throw new Error("no route");
  return status;
};
export const weightOf = (b: Bench): number => statusOf(b).weight;
/** The check of the rule that begins with these words; there need be none yet, which a test of it finds out. */
export const checkOf = (b: Bench, words: string): CheckStatus =>
  statusOf(b).checks.find(({ rule }) => rule.startsWith(words))!;
/** A bench under these rules, with a tenth of the users on the canary by hand. */
export async function benchOf(onAny: readonly object[], more: object = {}): Promise<Bench> {
  const b = await bench(benchConfig({ rollback: { onAny, ...more } }));
  await b.controller.command("app", setWeight(10), ADA);
  return b;
}
/** A store that answers as `answer` says, or hangs. */
export function storeWith(
  answer: (save: () => Promise<Saved>) => Promise<Saved>,
  inner: Store = memoryStore(),
): Store {
  return {
    load: () => inner.load(),
    save: (document) => answer(() => inner.save(document)),
    close: () => inner.close(),
  };
}
export const full = (): Promise<Saved> =>
  Promise.resolve({ ok: false, kind: "unavailable", detail: "ENOSPC" });
export const never = (): Promise<Saved> => new Promise(() => {});
