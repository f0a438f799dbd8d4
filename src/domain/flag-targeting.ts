/**
 * The rules by which a flag chooses a variant: JsonLogic with flagd's operators. Pure.
 *
 * They are only checked and rewritten here; flagd's own evaluator runs them. A list of operators and not "whatever the evaluator has": its engine
 * knows more of them than flagd does, and a file that works here must work there.
 */

import { variantsSaid, wrong, wrongKey, type Fields, type FlagPath, type FlagProblem } from "./flag.ts";
import { isRecord } from "./record.ts";
import { FULL, ppm, type Ppm } from "./units.ts";

/** The operators of flagd's published targeting schema. */
const OPERATORS: ReadonlySet<string> = new Set(
  (
    "var missing missing_some if and or ! !! == === != !== > >= < <= + - * / % min max " +
    "map filter reduce all none some merge in cat substr starts_with ends_with sem_ver fractional"
  ).split(" "),
);

/** The most that the weights of a `fractional` may come to: what an int32 holds. */
const MAX_TOTAL = 2 ** 31 - 1;

/** What a rule stands among. */
export interface Around {
  /** The rules that can be referred to. */
  readonly evaluators: Fields;
  /** Of the flag; undefined for a rule that is nobody's yet. */
  readonly variants: Fields | undefined;
}

/** What is wrong with the targeting at `path`. */
export function checkTargeting(targeting: unknown, path: FlagPath, around: Around): readonly FlagProblem[] {
  if (!isRecord(targeting)) return [wrong(path, "expected a rule: { operator: arguments }")];
  return checkRule(targeting, path, around, true);
}

/** `isResult`: what it gives is the name of a variant. */
function checkRule(rule: unknown, path: FlagPath, around: Around, isResult: boolean): readonly FlagProblem[] {
  if (Array.isArray(rule)) return rule.flatMap((each, at) => checkRule(each, [...path, at], around, false));
  if (!isRecord(rule)) return isResult ? checkVariant(rule, path, around) : [];
  const [operator, second] = Object.keys(rule);
  if (operator === undefined) return [];
  if (second !== undefined) return [wrongKey([...path, second], "a rule has one operator; this is another")];
  const inside = [...path, operator];
  const operands = rule[operator];
  if (operator === "$ref") return checkReference(operands, inside, around);
  if (!OPERATORS.has(operator)) return [wrongKey(inside, `unknown operator \`${operator}\``)];
  if (operator === "fractional") return checkFractional(operands, inside, around, isResult);
  if (operator === "if" && Array.isArray(operands))
    return operands.flatMap((each, at) =>
      checkRule(each, [...inside, at], around, isResult && isBranch(at, operands.length)),
    );
  return checkRule(operands, inside, around, false);
}

/** Whether the operand of an `if` is what it gives: every second one, and one more than that behind them. */
function isBranch(at: number, count: number): boolean {
  return at % 2 === 1 || (at === count - 1 && count > 1);
}

function checkVariant(name: unknown, path: FlagPath, { variants }: Around): readonly FlagProblem[] {
  if (variants === undefined || name === null) return [];
  // A rule may give a boolean or a number for the variant of that name.
  if (Object.hasOwn(variants, typeof name === "string" ? name : JSON.stringify(name))) return [];
  return [wrong(path, `there is no such variant; ${variantsSaid(variants)}`)];
}

function checkReference(name: unknown, path: FlagPath, { evaluators }: Around): readonly FlagProblem[] {
  if (typeof name !== "string" || !Object.hasOwn(evaluators, name))
    return [wrong(path, "there is no such rule in `$evaluators`")];
  return isCircular(evaluators[name], evaluators, [name])
    ? [wrong(path, `the rule "${name}" refers to itself`)]
    : [];
}

function isCircular(rule: unknown, evaluators: Fields, seen: readonly string[]): boolean {
  if (Array.isArray(rule)) return rule.some((each) => isCircular(each, evaluators, seen));
  if (!isRecord(rule)) return false;
  return Object.entries(rule).some(([operator, operands]) => {
    if (operator !== "$ref" || typeof operands !== "string") return isCircular(operands, evaluators, seen);
    return seen.includes(operands) || isCircular(evaluators[operands], evaluators, [...seen, operands]);
  });
}

/** Buckets with whole weights that come to more than nothing; before them, perhaps, what is hashed. */
function checkFractional(
  operands: unknown,
  path: FlagPath,
  around: Around,
  isResult: boolean,
): readonly FlagProblem[] {
  if (!Array.isArray(operands)) return [wrong(path, "`fractional` takes a list of buckets")];
  const isSeeded = !Array.isArray(operands[0]) && operands.length > 0;
  const problems = isSeeded ? [...checkRule(operands[0], [...path, 0], around, false)] : [];
  const buckets: readonly unknown[] = isSeeded ? operands.slice(1) : operands;
  if (buckets.length === 0) return [...problems, wrong(path, "`fractional` needs at least one bucket")];
  buckets.forEach((bucket, index) => {
    const at = [...path, index + (isSeeded ? 1 : 0)];
    if (!Array.isArray(bucket) || bucket.length === 0 || bucket.length > 2) {
      problems.push(wrong(at, "a bucket is a list of a variant and its weight"));
      return;
    }
    problems.push(...checkRule(bucket[0], [...at, 0], around, isResult), ...checkWeight(bucket, at, around));
  });
  if (problems.length > 0) return problems;
  // Weights that a rule gives are not known here.
  const known = buckets.map((bucket) => weightOf(bucket as readonly unknown[]));
  const total = known.reduce<number>((sum, each) => sum + (each ?? 0), 0);
  if (total > MAX_TOTAL) return [wrong(path, `the weights come to ${total}; ${MAX_TOTAL} is the most`)];
  if (total === 0 && !known.includes(undefined))
    return [wrong(path, "the weights come to 0: nobody would get a variant")];
  return [];
}

function checkWeight(bucket: readonly unknown[], at: FlagPath, around: Around): readonly FlagProblem[] {
  const [, weight = 1] = bucket;
  if (isRecord(weight)) return checkRule(weight, [...at, 1], around, false);
  if (typeof weight === "number" && Number.isInteger(weight) && weight >= 0) return [];
  return [wrong([...at, 1], "a weight is a whole number, 0 or more")];
}

/** A bucket's weight; undefined when a rule gives it. */
function weightOf([, weight = 1]: readonly unknown[]): number | undefined {
  return typeof weight === "number" ? weight : undefined;
}

/** A checked rule with its references replaced by what they refer to. */
export function inlined(rule: unknown, evaluators: Fields): unknown {
  if (Array.isArray(rule)) return rule.map((each) => inlined(each, evaluators));
  if (!isRecord(rule)) return rule;
  if (typeof rule["$ref"] === "string") return inlined(evaluators[rule["$ref"]], evaluators);
  return Object.fromEntries(
    Object.entries(rule).map(([operator, operands]) => [operator, inlined(operands, evaluators)]),
  );
}

/** Two sides of a flag. */
interface Sides {
  readonly on: string;
  readonly off: string;
}

/** The share that a targeting gives to `on`: of the one `fractional` between the two sides; undefined when there is none, or several. */
export function shareOf(targeting: unknown, sides: Sides): Ppm | undefined {
  const found = splitsIn(targeting, sides);
  const [only] = found;
  if (only === undefined || found.length > 1) return undefined;
  return ppm(Math.round((only.on / (only.on + only.off)) * FULL));
}

/**
 * The targeting with another share for `on`: the one `fractional` between the two sides, its buckets in the order in which they were, so
 * that raising only adds keys; a new one by the targeting key when there is no targeting. Undefined when there is none to change, or several.
 */
export function withShare(targeting: unknown, sides: Sides, share: Ppm): unknown {
  if (targeting === undefined)
    return {
      fractional: [
        [sides.on, share],
        [sides.off, FULL - share],
      ],
    };
  if (splitsIn(targeting, sides).length !== 1) return undefined;
  return reweighed(targeting, sides, share);
}

function splitsIn(rule: unknown, sides: Sides): readonly { readonly on: number; readonly off: number }[] {
  if (Array.isArray(rule)) return rule.flatMap((each) => splitsIn(each, sides));
  if (!isRecord(rule)) return [];
  return Object.entries(rule).flatMap(([operator, operands]) => {
    const split = operator === "fractional" ? splitOf(operands, sides) : undefined;
    return split === undefined ? splitsIn(operands, sides) : [split];
  });
}

/** What a checked `fractional` gives to either side; undefined when it is about something else. */
function splitOf(operands: unknown, sides: Sides): { readonly on: number; readonly off: number } | undefined {
  const buckets = (operands as readonly unknown[]).filter((each) => Array.isArray(each));
  const weights = new Map(buckets.map((bucket) => [bucket[0] as unknown, weightOf(bucket)]));
  const [on, off] = [weights.get(sides.on), weights.get(sides.off)];
  return buckets.length !== 2 || on === undefined || off === undefined ? undefined : { on, off };
}

function reweighed(rule: unknown, sides: Sides, share: Ppm): unknown {
  if (Array.isArray(rule)) return rule.map((each) => reweighed(each, sides, share));
  if (!isRecord(rule)) return rule;
  return Object.fromEntries(
    Object.entries(rule).map(([operator, operands]) => {
      if (operator !== "fractional" || splitOf(operands, sides) === undefined)
        return [operator, reweighed(operands, sides, share)];
      const buckets = (operands as readonly unknown[]).map((each) =>
        Array.isArray(each) ? [each[0], each[0] === sides.on ? share : FULL - share] : each,
      );
      return [operator, buckets];
    }),
  );
}
