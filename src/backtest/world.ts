/**
 * One virtual run of a plan: the shipped controller with its judge and its rollout, over a replayed data plane, a clock that the log moves, and
 * a record that is kept nowhere. Nothing about deciding is here.
 */

import { setImmediate } from "node:timers/promises";
import type { Config } from "../config/schema.ts";
import { AppError } from "../domain/errors.ts";
import type { Step } from "../domain/plan.ts";
import type { Phase, Severity } from "../domain/rollout-types.ts";
import { NONE, millis, type Ppm } from "../domain/units.ts";
import { openController, type Controller } from "../engine/controller.ts";
import type { Clock, DataPlane, JournalEntry, Log, Probes, Store } from "../engine/ports.ts";
import type { CheckStatus } from "../engine/status.ts";
import { seededDice } from "./chance.ts";
import { ReplayPlane } from "./plane.ts";

/** The time of a replay: moved by the lines of the log. */
export class VirtualClock implements Clock {
  /** Milliseconds since the epoch of the first line. */
  readonly start: number;
  /** Since the first line, milliseconds. */
  now = 0;

  constructor(start: number) {
    this.start = start;
  }

  mono() {
    return millis(this.now);
  }

  wall(): number {
    return this.start + this.now;
  }

  every(): () => void {
    // Ticks are made by whoever replays.
    return () => {};
  }
}

/** Something that the engine wrote into its journal, or told people. */
export interface WorldEvent {
  /** Since the first line, milliseconds. */
  readonly ms: number;
  readonly event: string;
  /** Of the message that told people; what is journaled alone was no more than `info`. */
  severity: Severity;
  readonly phase: Phase;
  /** Before and after. */
  readonly from: Ppm;
  readonly weight: Ppm;
  readonly reason: string;
  /** Rules that have failed, as they stood at the last tick. */
  readonly failed: readonly CheckStatus[];
  /** The canary's responses since the start, and those that failed. */
  readonly responses: number;
  readonly failures: number;
  /** The same of both arms. */
  readonly allResponses: number;
  readonly allFailures: number;
}

/** What the journal has of people being told; a backtest is about what becomes of the weight. */
const BESIDE = /^(?:ALERT_|SILENCE_|INCIDENT_|STAKEHOLDERS_TOLD$)/;

const QUIET: Log = { debug() {}, info() {}, warn() {}, error() {} };
const ACTOR = { name: "backtest" };
/** A log holds no probes. */
const WELL: Probes = {
  health: (_route, arm) => [{ url: `http://${arm}`, healthy: true, failures: 0, detail: "" }],
};

/** A store that takes everything and keeps nothing: a replay is not gone on with. */
function noStore(): Store {
  return {
    load: () => Promise.resolve({ kind: "none" }),
    save: () => Promise.resolve({ ok: true }),
    close: () => Promise.resolve(),
  };
}

/** What a world is made of. */
export interface WorldParts {
  /** With one route. */
  readonly config: Config;
  readonly steps: readonly Step[];
  readonly clock: VirtualClock;
  readonly seed: number;
}

/** A rollout that is under way, or over, in virtual time. */
export class World {
  readonly plane: ReplayPlane;
  readonly events: WorldEvent[] = [];
  readonly #clock: VirtualClock;
  #controller: Controller | undefined = undefined;
  #phase: Phase = "idle";
  #crossings = 0;

  private constructor(plane: ReplayPlane, clock: VirtualClock) {
    this.plane = plane;
    this.#clock = clock;
  }

  /** A world in which the plan has just been started. */
  static async start({ config, steps, clock, seed }: WorldParts): Promise<World> {
    const [route] = config.routes;
    if (route === undefined) throw new AppError("SPLIT_INTERNAL", "a backtest without a route");
    const plane = new ReplayPlane(route);
    const world = new World(plane, clock);
    await world.#open(config, plane, seed);
    const start = { type: "start", steps, version: "", force: false, reason: "backtest" } as const;
    const began = await world.#controller?.command(route.name, start, ACTOR);
    if (began?.ok !== true) throw new AppError("SPLIT_INTERNAL", began?.message ?? "the plan did not start");
    return world;
  }

  async #open(config: Config, plane: DataPlane, seed: number): Promise<void> {
    this.#controller = await openController(config, {
      store: noStore(),
      journal: {
        append: (entry) => {
          if (!BESIDE.test(entry.event)) this.#note(entry);
          return Promise.resolve(true);
        },
        read: () => Promise.resolve([]),
      },
      plane,
      probes: WELL,
      notifier: {
        notify: ({ severity, event, summary }) => {
          const noted = this.events.findLast((each) => each.event === event);
          // What is held is told alone; everything else that people are told is in the journal before.
          if (event === "shared_cause" || event === "one_client") this.#add(event, severity, summary, []);
          else if (noted !== undefined) noted.severity = severity;
        },
      },
      reports: { write: () => Promise.resolve(undefined) },
      clock: this.#clock,
      dice: seededDice(seed),
      log: QUIET,
    });
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** Whether nothing more can come of it: the canary has no traffic, and will get none. */
  get isOver(): boolean {
    return this.#phase === "rolled_back" && this.plane.weight === NONE;
  }

  /** Whether the plan has been walked, or rolled back. */
  get hasEnded(): boolean {
    return this.#phase === "succeeded" || this.#phase === "rolled_back";
  }

  /** A second has passed. */
  async tick(): Promise<void> {
    await this.#controller?.tick();
  }

  /** Whether an alarm has just rung, and what it means is being written down. */
  get hasRung(): boolean {
    return this.plane.crossings > this.#crossings;
  }

  /** Lets what an alarm meant be written down at the time at which it rang. */
  async settle(): Promise<void> {
    this.#crossings = this.plane.crossings;
    await setImmediate();
  }

  #note({ event, before, after, reason, details }: JournalEntry): void {
    this.#phase = after.phase;
    const checks = (details?.["checks"] ?? []) as readonly CheckStatus[];
    const failed = checks.filter((check) => check.verdict === "failed");
    this.#add(event, "info", reason, failed, before.weight, after.weight);
  }

  #add(
    event: string,
    severity: Severity,
    reason: string,
    failed: readonly CheckStatus[],
    from: Ppm = this.plane.weight,
    weight: Ppm = this.plane.weight,
  ): void {
    const { canary, stable } = this.plane.totals;
    this.events.push({
      ms: this.#clock.now,
      event,
      severity,
      phase: this.#phase,
      from,
      weight,
      reason,
      failed,
      responses: canary.responses,
      failures: canary.failures,
      allResponses: canary.responses + stable.responses,
      allFailures: canary.failures + stable.failures,
    });
  }
}
