/**
 * A data plane that carries nothing: it is told of exchanges, counts them as the real one does, and takes the canary's weight away as the real one
 * does when one bad response was too many.
 */

import type { RouteConfig } from "../config/schema.ts";
import type { HardRule } from "../domain/evidence/catastrophic.ts";
import { PLANE_EVENTS } from "../domain/event.ts";
import { murmur3 } from "../domain/hash.ts";
import {
  REASONS,
  REASON_INDEX,
  SAMPLES,
  badKindOf,
  kindOf,
  type BadKind,
  type OutcomeKind,
} from "../domain/outcome.ts";
import { foldedPath, isKnownIssue } from "../domain/path.ts";
import { LiveSlice, OVERHEAD_BOUNDS } from "../domain/slice.ts";
import type { Arm } from "../domain/split.ts";
import { NONE, type Ppm } from "../domain/units.ts";
import type { DataPlane, PlaneGauges, PlaneMeasure, Sample } from "../engine/ports.ts";
import type { Split } from "../engine/routing.ts";
import { ReplayCounts } from "./counts.ts";
import type { Line } from "./line.ts";

const KIND = REASONS.map(kindOf);

const NO_OVERHEAD = { counts: new Array<number>(OVERHEAD_BOUNDS.length + 1).fill(0), seconds: 0 };
const NO_EVENTS = PLANE_EVENTS.map(() => 0);
const NO_RESCUES = { answered: 0, failed: 0, refused: 0 };
const NO_LOAD: PlaneGauges = {
  connections: 0,
  workers: 1,
  workerRestarts: 0,
  exchangesLost: 0,
  fastLane: { reads: false, writes: false },
  routes: {},
};

/** What an arm has come to since the start. */
export interface ArmTotals {
  /** Successes and failures. */
  responses: number;
  failures: number;
}

/** One route's data path, replayed. */
export class ReplayPlane implements DataPlane {
  readonly evidence: ReplayCounts;
  readonly totals: Readonly<Record<Arm, ArmTotals>> = {
    stable: { responses: 0, failures: 0 },
    canary: { responses: 0, failures: 0 },
  };
  readonly #route: string;
  readonly #knownIssues: RouteConfig["rollback"]["knownIssues"];
  readonly #slices: Readonly<Record<Arm, LiveSlice>> = { stable: new LiveSlice(), canary: new LiveSlice() };
  readonly #forced: Readonly<Record<Arm, LiveSlice>> = { stable: new LiveSlice(), canary: new LiveSlice() };
  #samples: Sample[] = [];
  #tellCrossing: (route: string, rule: HardRule) => void = () => {};
  #weight: Ppm = NONE;
  #salt = "";
  /** Alarms of the fast tier. */
  crossings = 0;

  constructor({ name, rollback }: RouteConfig) {
    this.#route = name;
    this.#knownIssues = rollback.knownIssues;
    this.evidence = new ReplayCounts(rollback.onAny);
  }

  /** The canary's share that is in force. */
  get weight(): Ppm {
    return this.#weight;
  }

  get salt(): string {
    return this.#salt;
  }

  /** An exchange of this arm has settled. @param nth of its line, for those without a key */
  settled(arm: Arm, line: Line, nth: number): void {
    const { status, latencyUs } = line;
    const index = this.#reasonOf(line);
    (line.forced ? this.#forced : this.#slices)[arm].record(index, status, latencyUs, Math.max(0, latencyUs));
    const kind = KIND[index];
    if (line.forced || kind === "excluded") return;
    const failed = kind === "failure";
    const totals = this.totals[arm];
    totals.responses++;
    if (failed) totals.failures++;
    const isBad = this.evidence.count(arm, failed, status, latencyUs);
    if (arm === "stable") return;
    const bad = badKindOf(isBad, REASONS[index]!, status);
    if (bad !== undefined) this.#sample(bad, line);
    if (!isBad && !this.evidence.wantsKeys) return;
    const key = line.key === "" ? nth : murmur3(line.key, 0);
    this.evidence.sawKey(key);
    if (!isBad) return;
    this.evidence.failedKey(key);
    this.#look();
  }

  /** What an exchange comes to on this route. */
  outcomeOf(line: Line): OutcomeKind {
    return KIND[this.#reasonOf(line)]!;
  }

  #reasonOf({ reason, status, target }: Line): number {
    const isKnown = reason === "status" && isKnownIssue(this.#knownIssues, status, target);
    return isKnown ? REASON_INDEX.known_issue : REASON_INDEX[reason];
  }

  #look(): void {
    if (this.#weight === NONE) return;
    const rule = this.evidence.crossed();
    if (rule === null) return;
    this.#weight = NONE;
    this.crossings++;
    this.#tellCrossing(this.#route, rule);
  }

  #sample(kind: BadKind, { method, target, reason, status, key, traceId }: Line): void {
    if (this.#samples.length >= SAMPLES[kind]) return;
    const keyHash = key === "" ? "" : murmur3(key, 0).toString(16).padStart(8, "0");
    this.#samples.push({
      kind,
      method,
      path: foldedPath(target),
      reason,
      status,
      keyHash,
      traceId,
      rescued: false,
    });
  }

  onCrossing(crossed: (route: string, rule: HardRule) => void): void {
    this.#tellCrossing = crossed;
  }

  apply(split: Split): void {
    const own = split.routes.get(this.#route);
    if (own === undefined) return;
    this.#weight = own.weight;
    this.#salt = own.salt;
  }

  drain(): PlaneMeasure {
    const arms = taken(this.#slices);
    const forced = taken(this.#forced);
    const samples = this.#samples;
    this.#samples = [];
    const route = { route: this.#route, arms, forced, rescues: NO_RESCUES, events: {}, samples };
    return { routes: [route], refused: {}, overhead: NO_OVERHEAD, events: NO_EVENTS };
  }

  gauges(): PlaneGauges {
    return NO_LOAD;
  }

  closeLongLived(): void {}
}

function taken(slices: Readonly<Record<Arm, LiveSlice>>): PlaneMeasure["routes"][number]["arms"] {
  const stable = slices.stable.take();
  const canary = slices.canary.take();
  return { ...(stable === undefined ? {} : { stable }), ...(canary === undefined ? {} : { canary }) };
}
