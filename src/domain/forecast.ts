/**
 * What a plan will know: for each step the evidence that it needs against what its traffic will give, and when it begins and ends. Pure; known before
 * the first request is sent, as long as both arms are as good as `Assumption` says.
 *
 * A step *knows* when all of its evidence comes within its hold in nine of ten cases. One that does not is no wrong plan, for a rollout waits for its
 * evidence; but its dates are not those of the plan, and where a rule never gets its data, the rollout stays for good. Times are given in half and in
 * nine of ten cases; added up over the steps, the latter are on the safe side. Source: statistics.md §5.
 */

import {
  canaryRate,
  dataFor,
  findingHarm,
  meetingLimit,
  provingNoHarm,
  smallestFound,
  wordsOf,
  type Assumption,
  type Need,
  type Setting,
  type Takes,
  type Wanted,
} from "./needs.ts";
import { nextOpening } from "./calendar.ts";
import type { Plan, Step } from "./plan.ts";
import type { Calendar } from "./rollout-types.ts";
import { HEALTHY_WORDS, calmWords } from "./promotion.ts";
import { isComparing, type CompareRule, type Rule } from "./rule.ts";
import { FULL, NONE } from "./units.ts";

/** One step as it will go. */
export interface StepForecast {
  readonly step: Step;
  /** Wall clock, ms, in half of the cases; null when the rollout never gets here by itself. */
  readonly begins: number | null;
  /** Wall clock, ms, in half of the cases: when hold and evidence are done, and only people and windows keep it; null: never. */
  readonly done: number | null;
  /** Wall clock, ms, in half and in nine of ten cases; null when it never gets away from here. */
  readonly ends: number | null;
  readonly ends90: number | null;
  readonly canaryPerSecond: number;
  /** Finding the harm when it is there from the step's start, and when it begins later; null: never, or not looked for. */
  readonly detect: Takes | null;
  readonly detectLater: Takes | null;
  /** The smallest rise that is found within the hold in nine of ten cases; null when none is. */
  readonly smallestRise: number | null;
  /** Proving that the canary is not worse; null: never, or not asked for. */
  readonly prove: Takes | null;
  readonly needs: readonly Need[];
  readonly knows: boolean;
  /** What is missing, and what to do about it, in whole sentences. */
  readonly words: readonly string[];
}

/** A plan as it will go. */
export interface Forecast {
  readonly steps: readonly StepForecast[];
  readonly knows: boolean;
  /** Index of the first step that the rollout cannot get away from by itself; null when there is none. */
  readonly stuckAt: number | null;
}

/** A step as it will go, whenever it begins. */
type Timeless = Omit<StepForecast, "begins" | "done" | "ends" | "ends90">;

/** How `steps` will go when they start at `start` (wall clock, ms) and nobody lets them wait: a step is left when a window is open. */
export function forecast(
  steps: readonly Step[],
  rules: readonly Rule[],
  assumed: Assumption,
  start: number,
  { windows, freezes }: Pick<Plan, "windows"> & Pick<Calendar, "freezes"> = { windows: [], freezes: [] },
): Forecast {
  const first = steps.findIndex(({ weight }) => weight > NONE);
  let begins: number | null = start;
  let begins90: number | null = start;
  const found: StepForecast[] = [];
  for (const [index, step] of steps.entries()) {
    const isLast = step.weight === FULL || step.holdback !== undefined;
    const raise = index === first ? "the first step" : "this step";
    const each = atStep(rules, { step, assumed, raise: isLast ? undefined : raise });
    const rises = (steps[index + 1]?.weight ?? NONE) > step.weight;
    const leaves = (at: number | null): number | null =>
      at === null || !rises ? at : nextOpening(windows, freezes, at);
    const done = endOf(begins, each, "p50Ms");
    const ends: number | null = leaves(done);
    const ends90: number | null = leaves(endOf(begins90, each, "p90Ms"));
    found.push({ ...each, begins, done, ends, ends90 });
    begins = ends;
    begins90 = ends90;
  }
  const stuckAt = found.findIndex(({ ends }) => ends === null);
  return {
    steps: found,
    knows: found.every(({ knows }) => knows),
    stuckAt: stuckAt === -1 ? null : stuckAt,
  };
}

/** When a step that begins then ends: after its hold, and not without its evidence. The climb waits for no harm to be found. */
function endOf(begins: number | null, { step, needs }: Timeless, odds: keyof Takes): number | null {
  const waits = needs.filter(({ kind }) => kind !== "detect").map(({ takes }) => takes?.[odds] ?? Infinity);
  const lasts = Math.max(step.holdMs, ...waits);
  return begins === null || lasts === Infinity ? null : begins + lasts;
}

function atStep(rules: readonly Rule[], setting: Setting): Timeless {
  const { step } = setting;
  const asked = step.weight === NONE ? NOTHING : askedAt(rules, setting);
  const { calm, healthy } = step;
  const around = [
    ...(calm === undefined ? [] : [calmWords(calm)]),
    ...(healthy === true ? [HEALTHY_WORDS] : []),
  ];
  const missing = asked.wanted.filter(({ takes }) => takes === null || takes.p90Ms > step.holdMs);
  return {
    step,
    canaryPerSecond: canaryRate(setting),
    detect: asked.detect,
    detectLater: asked.detectLater,
    smallestRise: asked.smallestRise,
    prove: asked.wanted.find(({ kind }) => kind === "prove")?.takes ?? null,
    needs: [
      ...asked.wanted.map(({ kind, what, responses, takes }) => ({ kind, what, responses, takes })),
      // What is so or not takes neither traffic nor time.
      ...around.map((what) => ({
        kind: "limit" as const,
        what,
        responses: 0,
        takes: { p50Ms: 0, p90Ms: 0 },
      })),
    ],
    knows: missing.length === 0,
    words: [...missing.map((each) => wordsOf(each, setting)), ...(step.weight === FULL ? [ALONE] : [])],
  };
}

const ALONE = "no stable traffic is left at 100 %: comparison and proof are off";

interface Asked extends Pick<StepForecast, "detect" | "detectLater" | "smallestRise"> {
  readonly wanted: readonly Wanted[];
}

const NOTHING: Asked = { wanted: [], detect: null, detectLater: null, smallestRise: null };

function askedAt(rules: readonly Rule[], setting: Setting): Asked {
  const { weight, success = [], promotion } = setting.step;
  const data = dataFor(rules, setting);
  const limits = success.map((limit) => meetingLimit(limit, setting));
  if (weight === FULL) return { ...NOTHING, wanted: [...data, ...limits] };
  const compare = rules.filter(isComparing).find(comparesErrors);
  const harm = compare === undefined ? undefined : findingHarm(compare, setting);
  return {
    wanted: [
      ...data,
      ...(harm === undefined ? [] : [harm.need]),
      ...(promotion === undefined ? [] : [provingNoHarm(promotion, setting)]),
      ...limits,
    ],
    detect: harm?.need.takes ?? null,
    detectLater: harm?.later ?? null,
    smallestRise: compare === undefined ? null : smallestFound(compare, setting),
  };
}

/** A rule that only shows what it finds protects nobody. */
function comparesErrors({ compare, action }: CompareRule): boolean {
  return compare === "error_rate" && action !== "observe";
}
