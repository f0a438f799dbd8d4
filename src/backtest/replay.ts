/**
 * The replay: lines in order of time, a tick for each second of theirs, each line given to whose it is in each virtual run.
 *
 * A log of both arms is thinned: of the canary's lines those are kept whose bucket is below the weight that is in force at that moment. In a log of one
 * arm the product's own bucket of the line's key chooses who is the canary's, and the faults go into those. Beside the run that is asked about
 * go the A/A runs, whose canary is stable by another shuffle, and a count of what a rule over the whole service would have seen.
 */

import { setImmediate } from "node:timers/promises";
import type { Config, RouteConfig } from "../config/schema.ts";
import { AppError } from "../domain/errors.ts";
import type { Step } from "../domain/plan.ts";
import { BUCKETS, bucketOf } from "../domain/split.ts";
import { FULL, NONE, type Ppm } from "../domain/units.ts";
import { TICK_MS } from "../engine/controller.ts";
import { seedOf, uniform } from "./chance.ts";
import type { Faults } from "./fault.ts";
import type { Line } from "./line.ts";
import { RecordedShare } from "./share.ts";
import { Merge, type Source } from "./source.ts";
import { WholeService, wholeRuleOf } from "./whole.ts";
import { VirtualClock, World } from "./world.ts";

/** What is replayed. */
export interface ReplayParts {
  readonly config: Config;
  readonly route: RouteConfig;
  /** Lines of another route are left out; empty: every line counts. */
  readonly only: string;
  readonly steps: readonly Step[];
  readonly sources: readonly Source[];
  /** Whether the log has lines of both arms. */
  readonly arms: "both" | "one";
  readonly faults: Faults;
  readonly seed: number;
  /** A/A runs. */
  readonly salts: number;
}

/** A stretch without a line that is told as a gap. */
const GAP_MS = 60_000;
/** A line so much later than the one before is a wrong date, not a quiet month: it would be idled through second by second. */
const LEAP_MS = 31 * 86_400_000;

/** What was in the log, beside what it came to. */
class LogTally {
  lines = 0;
  /** Lines whose time was before that of a line before them. */
  late = 0;
  latestMs = 0;
  otherRoutes = 0;
  /** Lines that do not say whose they are, in a log of both arms. */
  unattributed = 0;
  /** The canary's lines in a log that is taken as stable's. */
  strays = 0;
  /** The canary's lines above the weight, and stable's at 100 %. */
  thinned = 0;
  gaps = 0;
  gapsMs = 0;
  longestGapMs = 0;
}

/** A replay that is under way, or over. */
export class Replay {
  readonly tally = new LogTally();
  readonly share = new RecordedShare();
  readonly whole: WholeService;
  readonly #parts: ReplayParts;
  readonly #merge: Merge;
  #clock = new VirtualClock(0);
  #main: World | undefined = undefined;
  /** A/A runs, those that are over too. */
  aa: readonly World[] = [];
  #seeds: readonly number[] = [];
  #nextTick = Infinity;
  #last = 0;
  /** The highest weight so far: what the whole service is compared at, as if nobody had rolled back. */
  #reached: Ppm = NONE;

  constructor(parts: ReplayParts) {
    this.#parts = parts;
    this.#merge = new Merge(parts.sources);
    this.whole = new WholeService(wholeRuleOf(parts.route.rollback.onAny));
  }

  /** The run that is asked about. Throws before there was a line. */
  get main(): World {
    if (this.#main === undefined) throw new AppError("SPLIT_LOG_UNREADABLE", "there is no line in the log");
    return this.#main;
  }

  /** Time of the first line, milliseconds since the epoch. */
  get start(): number {
    return this.#clock.start;
  }

  /** From the first line to the last. */
  get lengthMs(): number {
    return this.#last - this.#clock.start;
  }

  /** Replays all there is. */
  async run(): Promise<void> {
    const merge = this.#merge;
    for (;;) {
      const source = merge.next();
      if (source === undefined) {
        if (!(await merge.fill())) break;
        continue;
      }
      const { line } = source;
      if (this.#main === undefined) await this.#begin(line.at);
      if (!this.#isInOrder(source)) continue;
      if (line.at >= this.#nextTick) await this.#tickTo(line.at);
      this.#clock.now = line.at - this.#clock.start;
      if (this.#take(line)) await this.#settle();
    }
    if (this.#main === undefined) return;
    await this.#tickTo(this.#last + TICK_MS);
    // Whatever is still being written down.
    await setImmediate();
  }

  async #begin(at: number): Promise<void> {
    const { config, steps, seed, salts, route } = this.#parts;
    const clock = new VirtualClock(at);
    this.#clock = clock;
    this.#last = at;
    this.#nextTick = at + TICK_MS;
    this.#main = await World.start({ config, steps, clock, seed: seedOf(seed, "plan") });
    // A salt that is pinned would give each of them the same shuffle.
    const { salt: _, ...shuffled } = route;
    const free = { ...config, routes: [shuffled] };
    this.#seeds = Array.from({ length: salts }, (_nothing, nth) => seedOf(seed, `aa ${nth}`));
    const worlds: World[] = [];
    for (const own of this.#seeds) worlds.push(await World.start({ config: free, steps, clock, seed: own }));
    this.aa = worlds;
    this.#reached = this.#main.plane.weight;
  }

  #isInOrder(source: Source): boolean {
    const { line } = source;
    const passed = line.at - this.#last;
    if (passed > LEAP_MS) {
      source.refuse("its time is more than 31 days after that of the line before");
      return false;
    }
    this.tally.lines++;
    if (passed < 0) {
      this.tally.late++;
      this.tally.latestMs = Math.max(this.tally.latestMs, -passed);
      line.at = this.#last;
      return true;
    }
    this.#last = line.at;
    if (passed < GAP_MS) return true;
    this.tally.gaps++;
    this.tally.gapsMs += passed;
    this.tally.longestGapMs = Math.max(this.tally.longestGapMs, passed);
    return true;
  }

  async #tickTo(at: number): Promise<void> {
    const clock = this.#clock;
    const running = [this.main, ...this.aa].filter((world) => !this.#isDone(world));
    for (; this.#nextTick <= at; this.#nextTick += TICK_MS) {
      clock.now = this.#nextTick - clock.start;
      for (const world of running) if (!this.#isDone(world)) await world.tick();
      this.whole.tick(clock.now);
      this.share.tick();
      if (this.main.plane.weight > this.#reached) this.#reached = this.main.plane.weight;
    }
  }

  /** A plan that has been walked is watched on, as the program does; an A/A run has told what it can. */
  #isDone(world: World): boolean {
    return world.isOver || (world !== this.#main && world.hasEnded);
  }

  async #settle(): Promise<void> {
    for (const world of [this.main, ...this.aa]) if (world.hasRung) await world.settle();
  }

  /** Gives a line to whose it is; whether an alarm has rung. */
  #take(line: Line): boolean {
    const { only, arms } = this.#parts;
    if (only !== "" && line.route !== "" && line.route !== only) {
      this.tally.otherRoutes++;
      return false;
    }
    const nth = this.tally.lines;
    const rang = arms === "both" ? this.#takeRecorded(line, nth) : this.#takeChosen(line, nth);
    return this.#takeShuffled(line, nth) || rang;
  }

  /** A line of a log of both arms: each is whose it was. */
  #takeRecorded(line: Line, nth: number): boolean {
    const { plane } = this.main;
    if (line.arm === "") {
      this.tally.unattributed++;
      return false;
    }
    const isCanary = line.arm === "canary";
    if (line.forced) {
      if (!this.main.isOver) plane.settled(line.arm, line, nth);
      return false;
    }
    const { weight } = plane;
    this.share.count(isCanary, weight);
    if (!isCanary) {
      if (this.#reached < FULL) this.#compare(line);
      if (weight === FULL) this.tally.thinned++;
      else if (!this.main.isOver) plane.settled("stable", line, nth);
      return false;
    }
    // By a shuffle of its own: by the one that they were recorded with, the canary's keys are all in the lowest buckets.
    const bucket = this.#bucketOf(line, `thin ${plane.salt}`, this.#parts.seed, nth);
    const told = this.#faulty(line, nth);
    if (this.share.keeps(bucket, this.#reached)) this.#compare(told);
    if (!this.share.keeps(bucket, weight)) {
      this.tally.thinned++;
      return false;
    }
    this.share.got++;
    plane.settled("canary", told, nth);
    return this.main.hasRung;
  }

  /** A line of a log of one arm: the canary's by its bucket. */
  #takeChosen(line: Line, nth: number): boolean {
    if (line.arm === "canary") {
      this.tally.strays++;
      return false;
    }
    const { plane, isOver } = this.main;
    if (line.forced) {
      if (!isOver) plane.settled("stable", line, nth);
      return false;
    }
    const bucket = this.#bucketOf(line, plane.salt, this.#parts.seed, nth);
    const told = bucket < this.#reached ? this.#faulty(line, nth) : line;
    this.#compare(told);
    if (isOver) return false;
    if (bucket < plane.weight) plane.settled("canary", told, nth);
    else plane.settled("stable", line, nth);
    return this.main.hasRung;
  }

  /** Stable's lines, both arms of them, in every A/A run. */
  #takeShuffled(line: Line, nth: number): boolean {
    if (line.forced || line.arm === "canary") return false;
    let rang = false;
    for (let index = 0; index < this.aa.length; index++) {
      const world = this.aa[index]!;
      if (this.#isDone(world)) continue;
      const { plane } = world;
      const bucket = this.#bucketOf(line, plane.salt, this.#seeds[index]!, nth);
      plane.settled(bucket < plane.weight ? "canary" : "stable", line, nth);
      if (world.hasRung) rang = true;
    }
    return rang;
  }

  /** Counts a line for the rule over the whole service. */
  #compare(line: Line): void {
    const outcome = this.main.plane.outcomeOf(line);
    if (outcome !== "excluded") this.whole.count(outcome === "failure");
  }

  #faulty(line: Line, nth: number): Line {
    const { faults } = this.#parts;
    return faults.isNone ? line : faults.on(line, this.#clock.now, nth);
  }

  /** A line without a key is nobody's in particular: by chance, as `anonymous: chance` has it. */
  #bucketOf({ key }: Line, salt: string, seed: number, nth: number): number {
    return key === "" ? Math.floor(uniform(seed, nth) * BUCKETS) : bucketOf(key, salt);
  }
}
