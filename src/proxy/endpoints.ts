/**
 * The endpoints of one arm in one thread, and which of them takes an exchange: the one with fewer in flight of two drawn at random among those that are
 * healthy and not ejected.
 *
 * Two and not all: with every replica choosing the least loaded of all, they choose the same one at the same time (Mitzenmacher, "The power
 * of two choices"). When too few are fit (`panic`) all are used, for the rest would break under the load of all, and probes may be wrong. An
 * endpoint that is new or back takes part in a draw with a chance that grows over `slowStart`: one with nothing in flight would
 * otherwise win every draw it is in.
 *
 * Two are drawn before anybody is asked how he is. If both are fit, they are a fair draw of those that are, so that the usual case costs
 * two questions, whatever the number of endpoints; nothing is allocated, and no timer runs.
 */

import type { ArmConfig } from "../config/schema.ts";
import type { ArmEvent } from "../domain/event.ts";
import type { Arm } from "../domain/split.ts";
import { FULL, millis, type Millis } from "../domain/units.ts";
import type { Clock, Dice, Log } from "../engine/ports.ts";
import { Outliers, Standing, type OutlierEvent } from "./outlier.ts";

/** One endpoint, as it is chosen. */
export interface Candidate {
  readonly url: string;
  /** Exchanges on it, waiting ones included. */
  readonly inFlight: number;
  readonly place: Place;
}

/** What an arm keeps about one of its endpoints. */
export class Place {
  readonly standing = new Standing();
  /** It was found to be unhealthy, and not yet to be healthy again. */
  wasUnhealthy = false;
  /** When it came, or came back: its full share begins `slowStart` later. */
  cameAt: Millis = LONG_AGO;
}

const LONG_AGO = millis(0);
/** The chance of an endpoint that has just come, of its full one. */
const LEAST_CHANCE = 0.1;
/** When all that were drawn so often are new, newness is no reason any more. */
const DRAWS = 8;

/** What stands for an endpoint that did not answer, or not as HTTP, or not to the end. */
export const NO_ANSWER = 502;

/** What an arm needs beside its endpoints. */
export interface Judgement {
  readonly clock: Clock;
  readonly dice: Dice;
  readonly log: Log;
  /** Whether an endpoint may be sent to; unknown ones may. */
  readonly healthy: (route: string, arm: Arm, endpoint: string) => boolean;
}

/** Who counts what happens to an arm. */
export interface Events {
  event(event: ArmEvent): void;
}

/** The rules by which an arm chooses. */
export type ChoiceConfig = Pick<ArmConfig, "concurrency" | "outlier" | "panic" | "slowStart">;

/** The endpoints of one arm. Kept over reloads. */
export class ArmEndpoints<T extends Candidate> {
  readonly #route: string;
  readonly #arm: Arm;
  readonly #by: Judgement;
  readonly #meter: Events;
  /** Exchanges in flight on the arm at the most. */
  concurrency = Infinity;
  #all: readonly T[] = [];
  #outliers: Outliers | undefined = undefined;
  #panic = 0;
  #slowStart = 0;
  /** Until then somebody may have less than its full share. */
  #slowUntil = 0;

  constructor(route: string, arm: Arm, by: Judgement, meter: Events) {
    this.#route = route;
    this.#arm = arm;
    this.#by = by;
    this.#meter = meter;
  }

  get all(): readonly T[] {
    return this.#all;
  }

  /** Puts rules and endpoints in force; there must be one. Those that were not there before are new, unless none was. */
  configure(config: ChoiceConfig, endpoints: readonly T[]): void {
    const now = this.#by.clock.mono();
    const known = new Set(this.#all);
    this.#all = endpoints;
    this.concurrency = config.concurrency === "none" ? Infinity : config.concurrency;
    this.#panic = config.panic / FULL;
    this.#slowStart = config.slowStart === "none" ? 0 : config.slowStart;
    // Whoever came before is measured by the new length.
    this.#slowUntil = 0;
    for (const one of endpoints) {
      if (known.size > 0 && !known.has(one)) this.begin(one.place, now);
      this.#slowUntil = Math.max(this.#slowUntil, one.place.cameAt + this.#slowStart);
    }
    this.#findOutliers(config.outlier, now);
  }

  /** From now on an endpoint is new. */
  begin(place: Place, now: Millis): void {
    place.cameAt = now;
    this.#slowUntil = Math.max(this.#slowUntil, now + this.#slowStart);
  }

  /** What became of an exchange on an endpoint: the status of its answer, or `NO_ANSWER`. */
  answered(one: T, status: number, now: Millis): void {
    if (this.#outliers === undefined) return;
    if (status < 500) this.#outliers.succeed(one.place.standing);
    else this.#outliers.fail(one.place.standing, status >= 502 && status <= 504, now);
  }

  /** The endpoint for the next exchange. @param tried another one is preferred, where there is any */
  pick(now: Millis, tried?: T): T {
    const all = this.#all;
    const { length } = all;
    if (length === 1) return all[0]!;
    if (this.#outliers !== undefined && now >= this.#outliers.due) this.#outliers.advance(now);
    const first = this.#draw(length);
    const second = this.#draw(length - 1);
    // Both are below the length.
    const a = all[first]!;
    const b = all[second < first ? second : second + 1]!;
    if (a === tried || b === tried || !this.#isFit(a, now) || !this.#isFit(b, now))
      return this.#pickSome(now, tried);
    if (now >= this.#slowUntil) return lessLoaded(a, b);
    return this.#struck(a, b, now) ?? this.#pickSome(now, tried);
  }

  /** The endpoint for the next exchange, when not everybody is to be drawn. */
  #pickSome(now: Millis, tried: T | undefined): T {
    let fit = 0;
    let able = 0;
    for (const one of this.#all) {
      if (!this.#isFit(one, now)) continue;
      fit++;
      if (one !== tried) able++;
    }
    const isPanic = able === 0 || fit < this.#all.length * this.#panic;
    if (isPanic) able = this.#all.length - (tried !== undefined && this.#all.includes(tried) ? 1 : 0);
    for (let draws = 1; ; draws++) {
      const first = this.#draw(able);
      const a = this.#nth(first, isPanic, tried, now);
      if (able === 1) return this.#chosen(a, now);
      const second = this.#draw(able - 1);
      const b = this.#nth(second < first ? second : second + 1, isPanic, tried, now);
      if (isPanic || draws === DRAWS) return this.#chosen(lessLoaded(a, b), now);
      const chosen = this.#struck(a, b, now);
      if (chosen !== undefined) return chosen;
    }
  }

  /** The nth of those that may be drawn; there are more. */
  #nth(nth: number, isPanic: boolean, tried: T | undefined, now: Millis): T {
    let left = nth;
    for (const one of this.#all)
      if (one !== tried && (isPanic || this.#isFit(one, now)) && left-- === 0) return one;
    throw new RangeError("there are not so many endpoints");
  }

  #chosen(one: T, now: Millis): T {
    if (!this.#isFit(one, now)) this.#meter.event("panic");
    return one;
  }

  /** Of two that were drawn the less loaded, or the only one whom its newness did not strike out; undefined when both are. */
  #struck(a: T, b: T, now: Millis): T | undefined {
    const stays = this.#stays(a, now);
    if (this.#stays(b, now)) return stays ? lessLoaded(a, b) : b;
    return stays ? a : undefined;
  }

  #stays({ place }: T, now: Millis): boolean {
    const age = now - place.cameAt;
    if (age >= this.#slowStart || place.cameAt === LONG_AGO) return true;
    return this.#by.dice.random() < Math.max(LEAST_CHANCE, age / this.#slowStart);
  }

  #isFit({ place, url }: T, now: Millis): boolean {
    if (place.standing.isOut) return false;
    if (!this.#by.healthy(this.#route, this.#arm, url)) {
      place.wasUnhealthy = true;
      return false;
    }
    if (place.wasUnhealthy) {
      place.wasUnhealthy = false;
      this.begin(place, now);
    }
    return true;
  }

  #draw(count: number): number {
    return Math.min(count - 1, Math.floor(this.#by.dice.random() * count));
  }

  #findOutliers(config: ArmConfig["outlier"], now: Millis): void {
    // Of several alone can one be an outlier.
    if (config === "off" || this.#all.length < 2) {
      this.#outliers?.dissolve(now);
      this.#outliers = undefined;
      return;
    }
    this.#outliers ??= new Outliers(config, now, (event, standing, at, ms) =>
      this.#told(event, standing, at, ms),
    );
    this.#outliers.configure(
      config,
      this.#all.map(({ place }) => place.standing),
      now,
    );
  }

  #told(event: OutlierEvent, standing: Standing, now: Millis, ms: Millis): void {
    const one = this.#all.find(({ place }) => place.standing === standing);
    if (event !== "returned") this.#meter.event(event);
    // One that a reload took away.
    if (one === undefined || event === "ejection_refused") return;
    const fields = { route: this.#route, arm: this.#arm, url: one.url };
    if (event === "returned") {
      this.begin(one.place, now);
      this.#by.log.info("an ejected endpoint is used again", fields);
    } else this.#by.log.warn("endpoint ejected", { ...fields, why: event, ms });
  }
}

function lessLoaded<T extends Candidate>(a: T, b: T): T {
  return b.inFlight < a.inFlight ? b : a;
}
