/**
 * What a step of a plan needs to know, how long its traffic takes to tell, and how to say so when that is too long. Pure.
 *
 * Four kinds: that a harm is found, that the canary is proved not to be worse, that the plan's limits are met or shown, and that each rule has the
 * data without which it says nothing and holds the weight. Times are given in half and in nine of ten cases. Source: statistics.md §5.
 */

import {
  effortToDetect,
  effortToProve,
  smallestRise,
  Z90,
  type Assumed,
  type Effort,
} from "./evidence/planning.ts";
import { responsesToShow, SLOWER_THAN } from "./evidence/success.ts";
import { ENOUGH_RESPONSES, LONGEST_MINUTES } from "./evidence/sustained.ts";
import type { Promotion, Step, SuccessLimit } from "./plan.ts";
import { limitWords } from "./promotion.ts";
import { isRobust, ruleId, type CompareRule, type Rule } from "./rule.ts";
import { FULL, countText, millis, percentOf, type Millis } from "./units.ts";

/** What is taken for granted. Shares are fractions. */
export interface Assumption {
  /** Responses per second of both arms together, above 0. */
  readonly perSecond: number;
  /** The share that fails in either arm, within [0, 0.5). */
  readonly baseline: number;
  /** The rise of the canary's share that should be found, above 0. */
  readonly harm: number;
}

/** How long something takes, in half and in nine of ten cases, ms. */
export interface Takes {
  readonly p50Ms: number;
  readonly p90Ms: number;
}

/** One thing that a step needs. */
export interface Need {
  /** `detect`: that a harm is found, `prove`: that the canary is not worse, `limit`: one of the plan's success limits, `data`: a rule's least traffic. */
  readonly kind: "detect" | "prove" | "limit" | "data";
  /** The rule, the limit or the question, in its own words. */
  readonly what: string;
  /** Canary responses that it takes in half of the cases; null: no number is enough. */
  readonly responses: number | null;
  /** Null: it never comes. */
  readonly takes: Takes | null;
}

/** A need that can say what is wrong with it. */
export interface Wanted extends Need {
  /** What it takes, e.g. `needs 2,995 canary requests to show < 0.1 % at 95 %`. */
  readonly ask: string;
  /** What else than time and traffic would help. */
  readonly otherwise: readonly string[];
  /** Why it never comes, and what would help. */
  readonly never: string;
}

/** A step with traffic, before anything is known. */
export interface Setting {
  readonly step: Step;
  readonly assumed: Assumption;
  /** What can be raised to get more traffic, e.g. `the first step`; undefined where the climb ends. */
  readonly raise: string | undefined;
}

/** Evidence grows by odds, and what never fails has none. */
const LEAST_BASELINE = 0.0001;

/** The canary's responses per second. */
export function canaryRate({ step, assumed }: Pick<Setting, "step" | "assumed">): number {
  return (assumed.perSecond * step.weight) / FULL;
}

/** How long so many canary responses take, whole ms. */
function lastsMs(responses: number, setting: Setting): number {
  return Math.round((1000 * responses) / canaryRate(setting));
}

/** Responses without which a rule says nothing, and how far it looks back for them. */
interface Least {
  readonly responses: number;
  readonly windowMs: Millis;
}

const ROBUST: Least = { responses: ENOUGH_RESPONSES, windowMs: millis(LONGEST_MINUTES * 60_000) };

/** The least traffic of the rules that say nothing without, and then hold the weight (product.md §2.8): those that need the same together. */
export function dataFor(rules: readonly Rule[], setting: Setting): readonly Wanted[] {
  const alike = new Map<string, { readonly least: Least; readonly names: string[] }>();
  for (const rule of rules) {
    const least = leastOf(rule);
    if (least === undefined) continue;
    const key = `${least.responses} ${least.windowMs}`;
    const group = alike.get(key) ?? { least, names: [] };
    group.names.push(ruleId(rule));
    alike.set(key, group);
  }
  return [...alike.values()].map(({ least, names }) => leastTraffic(least, names, setting));
}

function leastTraffic(least: Least, names: readonly string[], setting: Setting): Wanted {
  const { responses, windowMs } = least;
  const perSecond = canaryRate(setting);
  const fillsMs = lastsMs(responses, setting);
  const asked = `${requests(responses)} within ${spanOf(windowMs)}`;
  const quoted = listed(
    names.map((name) => `"${name}"`),
    "and",
  );
  const helps = least === ROBUST ? ["judge by another rule"] : ["lengthen the window", "lower minRequests"];
  return {
    kind: "data",
    what: names.join("; "),
    responses,
    takes: fillsMs <= windowMs ? { p50Ms: fillsMs, p90Ms: fillsMs } : null,
    ask: `needs ${asked} for ${quoted}`,
    otherwise: [],
    never:
      `CANNOT CLIMB: needs ${asked} for ${quoted}; ${given(setting)}, ${figure((perSecond * windowMs) / 1000)} in that time: ` +
      "the verdict stays inconclusive, and the rollout can never climb from here by itself; " +
      listed([...raised(setting), ...helps], "or"),
  };
}

/** Undefined for a rule that speaks as soon as it has something to say, and for one that stands in nobody's way. */
function leastOf(rule: Rule): Least | undefined {
  if (rule.action === "observe") return undefined;
  if (isRobust(rule)) return ROBUST;
  if ("test" in rule) return undefined;
  if (rule.metric === "health_failures") return undefined;
  return { responses: rule.minRequests, windowMs: rule.window };
}

/** That a harm is found by comparison with stable; and the same when it begins within the step. */
export function findingHarm(
  { worseBy }: CompareRule,
  setting: Setting,
): { readonly need: Wanted; readonly later: Takes | null } {
  const { harm, baseline } = setting.assumed;
  const least = worseBy / FULL;
  // A smaller difference is none to the rule.
  const effort = (begins: "start" | "later"): Effort | null =>
    harm < least ? null : effortToDetect(ratesOf(setting), harm, begins);
  const what = `find a rise of ${points(harm)}`;
  return {
    need: {
      ...ofEffort("detect", what, effort("start"), setting),
      otherwise: [],
      never:
        `no traffic is enough to ${what}: the comparison looks for ${points(least)} or more, ` +
        `and for more than a fifth above the ${share(baseline)} of stable`,
    },
    later: takesOf(effort("later")),
  };
}

/** The smallest rise that the comparison finds within the step's hold in nine of ten cases; null when it finds none. */
export function smallestFound({ worseBy }: CompareRule, setting: Setting): number | null {
  const rise = smallestRise(ratesOf(setting), setting.step.holdMs / 1000);
  return rise === null ? null : Math.max(rise, worseBy / FULL);
}

/** That the canary is proved not to be worse. */
export function provingNoHarm({ notWorseBy, leastMs }: Promotion, setting: Setting): Wanted {
  const what = `prove that it is not worse than stable by ${points(notWorseBy / FULL)}`;
  const effort = effortToProve(ratesOf(setting), notWorseBy / FULL, leastMs / 1000);
  return {
    ...ofEffort("prove", what, effort, setting),
    otherwise: ["widen the margin"],
    never: `CANNOT CLIMB: no traffic is enough to ${what}`,
  };
}

/** That one of the plan's limits is met, or shown to be, by a canary that fails as the baseline does and is never slow. */
export function meetingLimit(limit: SuccessLimit, setting: Setting): Wanted {
  const { baseline } = setting.assumed;
  const isErrors = limit.metric === "error_rate";
  const allowed = isErrors ? limit.below / FULL : SLOWER_THAN[limit.metric];
  const bad = isErrors ? baseline : 0;
  const least = bad < allowed ? 1 : Infinity;
  const responses = (failing: number, deviations: number): number =>
    limit.shown ? (responsesToShow(failing, allowed, deviations) ?? Infinity) : least;
  const half = responses(bad, 0);
  const takes = { p50Ms: lastsMs(half, setting), p90Ms: lastsMs(responses(bad, Z90), setting) };
  const below = isErrors ? `< ${share(allowed)}` : `${limit.metric.toUpperCase()} < ${spanOf(limit.below)}`;
  const shown = limit.shown ? `show ${below} at 95 %` : `see ${below}`;
  const none = responses(0, 0);
  return {
    kind: "limit",
    what: limitWords(limit),
    responses: half === Infinity ? null : half,
    takes: takes.p90Ms === Infinity ? null : takes,
    ask:
      none === half
        ? `needs ${requests(none)} to ${shown}`
        : `needs ${requests(none)} without a failure to ${shown}, ${countText(half)} when ${share(bad)} fail`,
    otherwise: ["relax the criterion"],
    never:
      `CANNOT CLIMB: "${limitWords(limit)}" can never be ${limit.shown ? "shown" : "met"}, ` +
      `for ${share(baseline)} fail even when all is well; relax the criterion`,
  };
}

/** What is wrong with a need that does not come within the step's hold. */
export function wordsOf({ ask, takes, otherwise, never }: Wanted, setting: Setting): string {
  if (takes === null) return never;
  const { holdMs } = setting.step;
  const [half, most] = [spanOf(takes.p50Ms), spanOf(takes.p90Ms)];
  const lasts = half === most ? half : `${half}, ${most} in nine of ten cases`;
  const short = `the ${spanOf(holdMs)} hold ${takes.p50Ms > holdMs ? "is" : "may be"} too short`;
  return `${ask}; ${given(setting)}, that is ${lasts}: ${short}; ${listed(["lengthen it", ...raised(setting), ...otherwise], "or")}`;
}

function ratesOf({ step, assumed }: Setting): Assumed {
  const { perSecond, baseline } = assumed;
  return { perSecond, weight: step.weight / FULL, baseline: Math.max(LEAST_BASELINE, baseline) };
}

function takesOf(effort: Effort | null): Takes | null {
  return effort === null
    ? null
    : {
        p50Ms: Math.round(effort.seconds50 * 1000),
        p90Ms: Math.round(effort.seconds90 * 1000),
      };
}

function ofEffort(
  kind: Need["kind"],
  what: string,
  effort: Effort | null,
  setting: Setting,
): Need & Pick<Wanted, "ask"> {
  const takes = takesOf(effort);
  if (effort === null || takes === null) return { kind, what, responses: null, takes: null, ask: "" };
  const responses = Math.ceil(effort.canary50);
  // Some evidence takes its time, however much traffic there is.
  const isBound = takes.p50Ms > 1.001 * lastsMs(effort.canary50, setting);
  const time = isBound ? `, in ${spanOf(takes.p50Ms)} at least,` : "";
  return { kind, what, responses, takes, ask: `needs about ${requests(responses)}${time} to ${what}` };
}

function raised({ raise }: Setting): readonly string[] {
  return raise === undefined ? [] : [`raise ${raise}`];
}

/** `0.9 requests/s at 5 % give 0.045/s`. */
function given(setting: Setting): string {
  const { step, assumed } = setting;
  return `${figure(assumed.perSecond)} requests/s at ${percentOf(step.weight)} % give ${figure(canaryRate(setting))}/s`;
}

/** `a, b or c`. */
function listed(texts: readonly string[], last: "and" | "or"): string {
  return texts.length === 1 ? texts.join("") : `${texts.slice(0, -1).join(", ")} ${last} ${texts.at(-1)}`;
}

function requests(n: number): string {
  return `${countText(n)} canary request${n === 1 ? "" : "s"}`;
}

/** Three digits. */
function figure(value: number): string {
  return value >= 1000 ? countText(Math.round(value)) : String(Number(value.toPrecision(3)));
}

function share(fraction: number): string {
  return `${figure(fraction * 100)} %`;
}

/** A difference of two shares: `0.5 points`. */
export function points(fraction: number): string {
  const told = figure(fraction * 100);
  return `${told} point${told === "1" ? "" : "s"}`;
}

const UNITS = [
  ["d", 86_400_000, 259_200_000],
  ["h", 3_600_000, 3_600_000],
  ["min", 60_000, 60_000],
  ["s", 1000, 1000],
] as const;

/** A time for people, in one unit: `18.5 h`. */
export function spanOf(ms: number): string {
  const [unit, length] = UNITS.find(([, , from]) => ms >= from) ?? (["ms", 1] as const);
  return `${countText(Number((ms / length).toFixed(1)))} ${unit}`;
}
