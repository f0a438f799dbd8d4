/**
 * What a rule over the whole service would have said: both arms together, against the same limit. It is there to be compared with: at a small
 * weight the canary's failures drown in it. Pure.
 */

import type { SustainedRule } from "../domain/rule.ts";
import { isComparing, isRobust, isSequential, type Rule } from "../domain/rule.ts";
import { FULL, millis, ppm, type Millis, type Ppm } from "../domain/units.ts";

/** A limit on the share of failures, and for how long it must be broken. */
export interface WholeRule {
  readonly above: Ppm;
  readonly for: Millis;
  readonly window: Millis;
  readonly minRequests: number;
}

const DEFAULT: WholeRule = {
  above: ppm(10_000),
  for: millis(300_000),
  window: millis(60_000),
  minRequests: 20,
};

/** The route's own rule about sustained errors; without one, above 1 % for five minutes. */
export function wholeRuleOf(rules: readonly Rule[]): WholeRule {
  const sustained = rules.filter((rule): rule is Extract<SustainedRule, { metric: "error_rate" }> => {
    return !isSequential(rule) && !isRobust(rule) && !isComparing(rule) && rule.metric === "error_rate";
  });
  const robust = rules.filter(isRobust).find(({ metric }) => metric === "error_rate");
  return sustained[0] ?? (robust?.metric === "error_rate" ? { ...DEFAULT, above: robust.above } : DEFAULT);
}

/** The rule over the trailing window, a second at a time. */
export class WholeService {
  readonly #rule: WholeRule;
  readonly #requests: Float64Array;
  readonly #failures: Float64Array;
  #seconds = 0;
  #all = 0;
  #bad = 0;
  #breachMs: number | undefined = undefined;
  /** When it would have fired, milliseconds since the first line; undefined: never. */
  firedMs: number | undefined = undefined;
  /** The highest share of failures over a whole window; null: no window was whole and had enough requests. */
  highest: number | null = null;
  highestMs = 0;

  constructor(rule: WholeRule) {
    this.#rule = rule;
    const seconds = Math.round(rule.window / 1000);
    this.#requests = new Float64Array(seconds);
    this.#failures = new Float64Array(seconds);
  }

  get rule(): WholeRule {
    return this.#rule;
  }

  /** Counts a response of either arm. */
  count(failed: boolean): void {
    const at = this.#seconds % this.#requests.length;
    this.#requests[at]! += 1;
    this.#all++;
    if (!failed) return;
    this.#failures[at]! += 1;
    this.#bad++;
  }

  /** A second is over. @param ms since the first line */
  tick(ms: number): void {
    this.#look(ms);
    this.#seconds++;
    const at = this.#seconds % this.#requests.length;
    this.#all -= this.#requests[at]!;
    this.#bad -= this.#failures[at]!;
    this.#requests[at] = 0;
    this.#failures[at] = 0;
  }

  #look(ms: number): void {
    const { above, minRequests } = this.#rule;
    if (this.#all < minRequests) return;
    const share = this.#bad / this.#all;
    if (this.#seconds + 1 >= this.#requests.length && (this.highest === null || share > this.highest)) {
      this.highest = share;
      this.highestMs = ms;
    }
    if (this.#bad * FULL <= above * this.#all) {
      this.#breachMs = undefined;
      return;
    }
    this.#breachMs ??= ms;
    if (ms - this.#breachMs >= this.#rule.for) this.firedMs ??= ms;
  }
}
