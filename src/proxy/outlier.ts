/**
 * Which endpoints of an arm are left out for a while because they fail in live traffic, as one thread sees it. Pure: time is an argument, and the
 * owner is told of what happens.
 *
 * Names and rules are Envoy's ("Outlier detection", Envoy 1.3x documentation): failures in a row eject; so does, at a look every `interval`, a success
 * rate too far below that of the siblings; each further ejection lasts longer, and one fewer is remembered for each interval that an endpoint is
 * in. Two things differ, for what the configuration promises: never is a larger share out than `maxEjected` (Envoy looks before it ejects, and may exceed it),
 * and an endpoint is back when its time is over, not at the next look.
 */

import type { ArmConfig } from "../config/schema.ts";
import { FULL, millis, type Millis } from "../domain/units.ts";

/** How outliers are found. */
export type OutlierConfig = Exclude<ArmConfig["outlier"], "off">;

/** How one endpoint stands. The first three numbers are written by whoever counts answers. */
export class Standing {
  /** Failures in a row. */
  failed = 0;
  /** Of 502, 503, 504 and no answer at all, in a row. */
  gateway = 0;
  /** Exchanges since the last look, and those that succeeded. */
  exchanges = 0;
  succeeded = 0;
  isOut = false;
  /** When it is back; means nothing while it is in. */
  until: Millis = NEVER;
  /** How many base ejections the last one was, less what was forgotten since. */
  times = 0;
  /** Since when it is in, or an ejection was forgotten last. */
  wellSince: Millis = NEVER;
  /** It belongs to the arm; one that a reload has taken away may still have exchanges in flight. */
  isMember = false;
}

const NEVER = millis(0);

/** What happens to an endpoint. */
export type OutlierEvent = "ejected_consecutive" | "ejected_success_rate" | "ejection_refused" | "returned";

/** Hears what has happened to an endpoint. @param ms how long an ejection lasts */
export type OutlierListener = (event: OutlierEvent, standing: Standing, now: Millis, ms: Millis) => void;

/** The outliers of one arm. */
export class Outliers {
  readonly #tell: OutlierListener;
  #config: OutlierConfig;
  #members: readonly Standing[] = [];
  #out = 0;
  #look: Millis;
  /** Before this time `advance` has nothing to do. */
  due: Millis;

  constructor(config: OutlierConfig, now: Millis, tell: OutlierListener) {
    this.#config = config;
    this.#tell = tell;
    this.#look = millis(now + config.interval);
    this.due = this.#look;
  }

  /** How many are out. */
  get out(): number {
    return this.#out;
  }

  /** How many may be out at once: the configured share, but one at least where there are several; of one, none. */
  get allowed(): number {
    const { length } = this.#members;
    return length < 2 ? 0 : Math.max(1, Math.floor((length * this.#config.maxEjected) / FULL));
  }

  /** Other rules, or other endpoints. Those that are out stay out as far as that many may be. */
  configure(config: OutlierConfig, members: readonly Standing[], now: Millis): void {
    if (config.interval !== this.#config.interval) this.#look = millis(now + config.interval);
    this.#config = config;
    for (const one of this.#members) one.isMember = false;
    for (const one of members) one.isMember = true;
    for (const one of this.#members) if (!one.isMember) one.isOut = false;
    this.#members = members;
    const out = members.filter((one) => one.isOut).sort((a, b) => a.until - b.until);
    this.#out = out.length;
    for (const one of out) {
      one.until = millis(Math.min(one.until, now + config.maxEjection));
      if (this.#out > this.allowed) this.#takeBack(one, now);
    }
    this.#plan();
  }

  /** Everybody is in, and nothing is remembered: there are no rules any more. */
  dissolve(now: Millis): void {
    for (const one of this.#members) {
      if (one.isOut) this.#takeBack(one, now);
      one.isMember = false;
      one.times = 0;
    }
    this.#members = [];
  }

  /** An endpoint has answered, and not with a failure. */
  succeed(one: Standing): void {
    one.failed = 0;
    one.gateway = 0;
    one.exchanges++;
    one.succeeded++;
  }

  /** An endpoint has failed. @param isGateway with 502, 503 or 504, or by not answering at all */
  fail(one: Standing, isGateway: boolean, now: Millis): void {
    one.exchanges++;
    one.failed++;
    if (isGateway) one.gateway++;
    else one.gateway = 0;
    if (one.isOut || !one.isMember) return;
    const { consecutive5xx, consecutiveGateway } = this.#config;
    const isTooMany =
      one.failed >= consecutive5xx || (consecutiveGateway !== "none" && one.gateway >= consecutiveGateway);
    if (!isTooMany) return;
    // What is over by now must not stand in the way.
    if (now >= this.due) this.advance(now);
    this.#eject("ejected_consecutive", one, now);
  }

  /** Takes back those whose time is over, and looks at success rates when that is due. */
  advance(now: Millis): void {
    for (const one of this.#members) if (one.isOut && now >= one.until) this.#takeBack(one, now);
    if (now >= this.#look) {
      this.#forget(now);
      this.#compare(now);
      this.#look = millis(now + this.#config.interval);
    }
    this.#plan();
  }

  /** For each interval that an endpoint was in, one of its ejections is forgotten. */
  #forget(now: Millis): void {
    const { interval } = this.#config;
    for (const one of this.#members) {
      if (one.isOut || one.times === 0) continue;
      const intervals = Math.min(one.times, Math.floor((now - one.wellSince) / interval));
      one.times -= intervals;
      one.wellSince = millis(one.wellSince + intervals * interval);
    }
  }

  /** Ejects those whose success rate is too far below the mean of all that had enough exchanges. */
  #compare(now: Millis): void {
    const { successRate } = this.#config;
    if (successRate !== "off") {
      const judged = this.#members.filter(
        ({ isOut, exchanges }) => !isOut && exchanges >= successRate.requestVolume,
      );
      if (judged.length >= successRate.minimumHosts) {
        const limit = limitOf(judged, successRate.deviations);
        for (const one of judged) if (rateOf(one) < limit) this.#eject("ejected_success_rate", one, now);
      }
    }
    for (const one of this.#members) {
      one.exchanges = 0;
      one.succeeded = 0;
    }
  }

  #eject(event: "ejected_consecutive" | "ejected_success_rate", one: Standing, now: Millis): void {
    one.failed = 0;
    one.gateway = 0;
    // One that is alone is none among several, and nothing is refused to it.
    if (this.#members.length < 2) return;
    if (this.#out >= this.allowed) {
      this.#tell("ejection_refused", one, now, NEVER);
      return;
    }
    const { baseEjection, maxEjection } = this.#config;
    // More would only take longer to forget.
    if (baseEjection * one.times < maxEjection) one.times++;
    const ms = millis(Math.min(baseEjection * one.times, maxEjection));
    one.isOut = true;
    one.until = millis(now + ms);
    this.#out++;
    this.#plan();
    this.#tell(event, one, now, ms);
  }

  #takeBack(one: Standing, now: Millis): void {
    one.isOut = false;
    one.wellSince = now;
    // What came while it was out was sent before.
    one.failed = 0;
    one.gateway = 0;
    this.#out--;
    this.#tell("returned", one, now, NEVER);
  }

  #plan(): void {
    let due = this.#look;
    if (this.#out > 0) for (const one of this.#members) if (one.isOut && one.until < due) due = one.until;
    this.due = due;
  }
}

function rateOf({ exchanges, succeeded }: Standing): number {
  return succeeded / exchanges;
}

/** So many standard deviations below the mean success rate; there is at least one. */
function limitOf(judged: readonly Standing[], deviations: number): number {
  const mean = judged.reduce((sum, one) => sum + rateOf(one), 0) / judged.length;
  const variance = judged.reduce((sum, one) => sum + (rateOf(one) - mean) ** 2, 0) / judged.length;
  return mean - deviations * Math.sqrt(variance);
}
