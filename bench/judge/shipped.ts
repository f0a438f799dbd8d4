/** The rules as shipped, put in front of a simulated world: what follows from each second, as the engine would have it. */

import {
  HARD_LIMITS,
  HARD_WORDS,
  hardGuards,
  peekHard,
  type HardReading,
} from "../../src/domain/evidence/catastrophic.ts";
import { ARMED, confirmed, type Confirmation, type ConfirmEvent } from "../../src/domain/evidence/confirm.ts";
import { EMPTY_BLOCK, type ArmCounts, type BlockCounts } from "../../src/domain/evidence/counting.ts";
import { DEFAULT_MARGIN } from "../../src/domain/evidence/gate.ts";
import { RouteEvidence } from "../../src/domain/evidence/route.ts";
import { LONGEST_MINUTES, sustained, type Minute } from "../../src/domain/evidence/sustained.ts";
import { judge } from "../../src/domain/judge.ts";
import type { SustainedRule } from "../../src/domain/rule.ts";
import { millis, ppm, type Millis } from "../../src/domain/units.ts";
import type { Latency, Reading } from "../../src/domain/window.ts";
import { Trailing, type Sums } from "./trailing.ts";
import type { Bad, Second } from "./world.ts";

/** A rule, or several, that may roll back. */
export interface Judge {
  /** A step of the plan starts. @param at seconds */
  step: (at: number) => void;
  /** A second begins; whether the canary gets traffic in it. */
  begin: (at: number) => boolean;
  /** Takes in the second that has begun. */
  take: (second: Second) => Rollback | null;
  /** What the canary served up to now. */
  readonly served: Served;
}

/** The end of a rollout: which rule, or why an alarm was final, and after how many seconds. */
export interface Rollback {
  readonly why: string;
  readonly at: number;
}

/** Responses of the canary: all, failed ones, ones slower than the P95 limit. */
export interface Served {
  readonly n: number;
  readonly e: number;
  readonly s: number;
}

const GUARDS = hardGuards(HARD_LIMITS);
const RULES = { limits: HARD_LIMITS, margin: DEFAULT_MARGIN };
/** What the default rules mean by worse than stable (`worseBy`); latencies have a margin of their own. */
const WORSE_BY = 0.001;
const NONE: ArmCounts = EMPTY_BLOCK.canary;
const ROW_S = 10;

/** How the tiers of §3 are run. */
export interface TiersSpec {
  /** False: the first crossing is final. */
  readonly confirm: boolean;
  /** Whether the comparative tier takes part. */
  readonly compare: boolean;
  /** When the fast tier is asked. The program does so with every bad response; the design's second table was made with once a second. */
  readonly asked: "with every bad response" | "once a second";
}

/** The tiers of statistics.md §3 as shipped. */
export const SHIPPED: TiersSpec = { confirm: true, compare: true, asked: "with every bad response" };

/** The catastrophic and the comparative tier with trip, probe, confirm. */
export class Tiers implements Judge {
  readonly #spec: TiersSpec;
  readonly #hard = new Float64Array(HARD_WORDS);
  readonly #evidence = new RouteEvidence(RULES, { state: this.#hard, at: 0 });
  #confirmation: Confirmation = ARMED;
  #rollback: Rollback | null = null;
  #served: Served = { n: 0, e: 0, s: 0 };
  #trips = 0;
  #firstTrip: Served | null = null;
  #sharedSeconds = 0;

  constructor(spec: TiersSpec = SHIPPED) {
    this.#spec = spec;
    this.#evidence.fresh();
  }

  get served(): Served {
    return this.#served;
  }

  get trips(): number {
    return this.#trips;
  }

  /** What was served up to the first crossing; null before. */
  get firstTrip(): Served | null {
    return this.#firstTrip;
  }

  /** Seconds in which a trouble was seen to be shared, to the tenth. */
  get sharedSeconds(): number {
    return this.#sharedSeconds;
  }

  step(): void {
    this.#evidence.stageStart(true);
    // A trip that is under way ends with the step, as in the rollout; past ones are remembered.
    this.#confirmation = { phase: "armed", trips: this.#confirmation.trips };
  }

  begin(at: number): boolean {
    this.#tell({ type: "time", nowMs: at * 1000 }, at);
    return this.#isOn;
  }

  take(second: Second): Rollback | null {
    const wasOn = this.#isOn;
    const canary = wasOn ? this.#ask(second) : NONE;
    if (this.#rollback !== null) return this.#rollback;
    const canaryLatency = this.#isOn ? second.canaryLatency : [];
    this.#evidence.commit({ ...second, canary, canaryLatency }, 1);
    const end = second.at + 1;
    if (wasOn) this.#tell({ type: "responses", nowMs: end * 1000, count: second.canary.n }, end);
    if (this.#isOn && this.#crossed(EMPTY_BLOCK, 0)) this.#cross(end, end);
    if (end % ROW_S === 0 && this.#spec.compare) this.#compare(end);
    return this.#rollback;
  }

  get #isOn(): boolean {
    return this.#confirmation.phase !== "tripped";
  }

  /** Asks the fast tier; what is to be committed of the canary's counts. */
  #ask({ at, canary, stable, bad }: Second): ArmCounts {
    const isAsked = this.#spec.asked === "with every bad response";
    const sums = { n: 0, e: 0, s: 0, v: 0, c4: 0 };
    for (const each of isAsked ? bad : []) {
      addBad(sums, each);
      const part = (each.at - 0.5) / canary.n;
      if (!this.#crossed({ canary: sums, stable: partOf(stable, part) }, part)) continue;
      this.#serve(sums);
      // The engine's time is that of its last tick.
      this.#cross(at, at + part);
      // What led to it must not count again, and the rest of the second is stable's.
      return NONE;
    }
    this.#serve(canary);
    return canary;
  }

  #crossed(counts: BlockCounts, seconds: number): boolean {
    return peekHard(GUARDS, this.#hard, 0, counts, seconds) !== null;
  }

  #serve({ n, e, s }: ArmCounts): void {
    const before = this.#served;
    this.#served = { n: before.n + n, e: before.e + e, s: before.s + s };
  }

  /** @param tick seconds as the engine knows them @param at seconds */
  #cross(tick: number, at: number): void {
    this.#firstTrip ??= this.#served;
    this.#tell({ type: "crossing", nowMs: tick * 1000, confirm: this.#spec.confirm }, at);
  }

  #tell(event: ConfirmEvent, at: number): void {
    const { state, outcome } = confirmed(this.#confirmation, event);
    this.#confirmation = state;
    if (outcome.type === "rollback") this.#rollback = { why: outcome.reason, at };
    if (outcome.type !== "trip") return;
    this.#trips++;
    this.#evidence.trip();
  }

  #compare(at: number): void {
    const { catastrophic, comparative } = this.#evidence.readings();
    if (catastrophic.some(({ kind }) => kind === "shared_cause")) this.#sharedSeconds += ROW_S;
    const found = comparative.find(
      ({ fires, difference, quantile }) => fires && (quantile !== null || Number(difference) >= WORSE_BY),
    );
    if (found !== undefined) this.#rollback ??= { why: found.rule, at };
  }
}

function addBad(sums: { n: number; e: number; s: number; v: number }, { at, e, s, v }: Bad): void {
  sums.n = at;
  sums.e += e;
  sums.s += s;
  sums.v += v;
}

/** What stable has answered after that part of the second. */
function partOf({ n, e, s, v, c4 }: ArmCounts, part: number): ArmCounts {
  const of = (count: number): number => Math.floor(count * part);
  return { n: of(n), e: of(e), s: of(s), v: of(v), c4: of(c4) };
}

/** What is common to rules that leave the canary's traffic alone until they roll back. */
export abstract class Watching implements Judge {
  #served: Served = { n: 0, e: 0, s: 0 };

  get served(): Served {
    return this.#served;
  }

  /** Most rules know of no steps. */
  step(_at: number): void {
    // Nothing starts anew.
  }

  begin(): boolean {
    return true;
  }

  take(second: Second): Rollback | null {
    const { n, e, s } = second.canary;
    this.#served = { n: this.#served.n + n, e: this.#served.e + e, s: this.#served.s + s };
    const why = this.judged(second);
    return why === null ? null : { why, at: second.at + 1 };
  }

  /** Which rule rolls back after this second, or null. */
  protected abstract judged(second: Second): string | null;
}

/** The absolute guards by themselves, as if a crossing needed nobody to compare with. */
export class AbsoluteOnly extends Watching {
  readonly #evidence = new RouteEvidence(RULES);

  constructor() {
    super();
    this.#evidence.fresh();
  }

  override step(): void {
    this.#evidence.stageStart(true);
  }

  protected judged({ canary, stable, at }: Second): string | null {
    this.#evidence.commit({ ...EMPTY_BLOCK, canary, stable }, 1);
    // The troubles that make it cross last longer.
    if (at % ROW_S !== ROW_S - 1) return null;
    const crossed = ({ absolute, need }: HardReading): boolean => absolute >= need;
    return this.#evidence.readings().catastrophic.find(crossed)?.rule ?? null;
  }
}

const PER_MINUTE = 60;

/** The sustained rule in its robust form. */
export class RobustSustained extends Watching {
  #minutes: (Second["canary"] & { readonly stable: Second["stable"] })[] = [];
  #canary = { ...NONE };
  #stable = { ...NONE };

  override step(): void {
    this.#minutes = [];
  }

  protected judged({ canary, stable, at }: Second): string | null {
    this.#canary = added(this.#canary, canary);
    this.#stable = added(this.#stable, stable);
    if (at % PER_MINUTE !== PER_MINUTE - 1) return null;
    this.#minutes.push({ ...this.#canary, stable: this.#stable });
    if (this.#minutes.length > LONGEST_MINUTES) this.#minutes.shift();
    this.#canary = { ...NONE };
    this.#stable = { ...NONE };
    return this.#breach();
  }

  #breach(): string | null {
    for (const [rule, kind] of [
      ["errors", "e"],
      ["p95", "s"],
      ["p99", "v"],
    ] as const) {
      const minutes = this.#minutes.map((each): Minute => ({
        n1: each.n,
        x1: each[kind],
        n0: each.stable.n,
        x0: each.stable[kind],
      }));
      if (sustained(minutes, HARD_LIMITS[rule]!).kind === "breach") return rule;
    }
    return null;
  }
}

function added(a: ArmCounts, b: ArmCounts): ArmCounts {
  return { n: a.n + b.n, e: a.e + b.e, s: a.s + b.s, v: a.v + b.v, c4: a.c4 + b.c4 };
}

const FOR = { for: millis(300_000), window: millis(60_000), minRequests: 1, action: "rollback" } as const;
const FOR_5M: readonly SustainedRule[] = [
  { metric: "error_rate", above: ppm(10_000), ...FOR },
  { metric: "p95", above: millis(500), of: "all", ...FOR },
  { metric: "p99", above: millis(1000), of: "all", ...FOR },
];

/** "Above the limit for five minutes" by its words, as alerting systems have it: nobody asks how stable is doing. */
export class ForFiveMinutes extends Watching {
  readonly #last = new Trailing(60);
  #clocks: Readonly<Record<string, Millis>> = {};

  protected judged({ canary }: Second): string | null {
    const reading = readingOf(this.#last.add(canary));
    const verdict = judge({
      step: undefined,
      rules: FOR_5M,
      weight: ppm(100_000),
      canary: () => reading,
      stable: () => reading,
      readings: undefined,
      keys: { failed: 0, seen: 0, worst: "" },
      sharedCause: "rollback",
      health: { failures: 0, healthy: true },
      clocks: this.#clocks,
      elapsedMs: millis(1000),
    });
    this.#clocks = verdict.clocks;
    return verdict.checks.find(({ kind }) => kind === "failed")?.rule ?? null;
  }
}

const BELOW_MS = 1;
const ABOVE_MS = 100_000;

/** A reading whose percentiles are only known to be above or below their limits, which is all that a limit asks. */
function readingOf({ n, e, s, v }: Sums): Reading {
  const latency: Latency = {
    n,
    p50: n === 0 ? null : BELOW_MS,
    p95: percentile(n, s, 0.05),
    p99: percentile(n, v, 0.01),
  };
  return { requests: n, failures: e, excluded: 0, all: latency, successes: latency };
}

/** Above its limit when more than its share of the responses is. */
function percentile(n: number, slow: number, share: number): number | null {
  if (n === 0) return null;
  return slow > Math.floor(share * n) ? ABOVE_MS : BELOW_MS;
}
