/**
 * Feature flags as flagd writes them, checked as a whole. Pure: a parsed file in, flags or every problem with its path out.
 *
 * What flagd would only find out while it evaluates (an operator that there is not, a `fractional` whose weights come to nothing, a variant that
 * nobody defined) is found here, when the file is read: until then the flags of before stay in force.
 */

import { readOlder, isOlderForm } from "./flag-import.ts";
import { checkTargeting, inlined } from "./flag-targeting.ts";
import {
  BAD_KEY,
  FLAG_KEY,
  isMetadataValue,
  typeOf,
  variantsSaid,
  wrong,
  wrongKey,
  type Fields,
  type Flag,
  type FlagMetadata,
  type FlagPath,
  type FlagProblem,
  type FlagsRead,
  type FlagType,
} from "./flag.ts";
import { isRecord } from "./record.ts";

const FILE_KEYS = ["$schema", "flags", "$evaluators", "metadata"];
const FLAG_KEYS = ["state", "variants", "defaultVariant", "targeting", "metadata"];

/** The flags of a parsed file, in flagd's form or in the older one. */
export function readFlags(file: unknown): FlagsRead {
  if (!isRecord(file)) return { ok: false, problems: [wrong([], "expected a mapping with `flags`")] };
  if (isOlderForm(file)) return readOlder(file);
  const problems: FlagProblem[] = unknownKeys(file, FILE_KEYS, []);
  const { flags, $evaluators: evaluators = {}, metadata } = file;
  if (!isRecord(evaluators)) problems.push(wrong(["$evaluators"], "expected a mapping of rules"));
  const rules = isRecord(evaluators) ? evaluators : {};
  for (const [name, rule] of Object.entries(rules))
    problems.push(...checkTargeting(rule, ["$evaluators", name], { evaluators: rules, variants: undefined }));
  problems.push(...metadataProblems(metadata, ["metadata"]));
  if (!isRecord(flags)) {
    problems.push(wrong(["flags"], "expected a mapping of flags by their keys"));
    return { ok: false, problems };
  }
  for (const [key, flag] of Object.entries(flags)) problems.push(...flagProblems(key, flag, rules));
  if (problems.length > 0) return { ok: false, problems };
  const read = Object.entries(flags).map(([key, flag]) => flagOf(key, flag as Fields, file, rules));
  return { ok: true, flags: new Map(read.map((flag) => [flag.key, flag])) };
}

/** Of what was checked. */
function flagOf(key: string, flag: Fields, file: Fields, evaluators: Fields): Flag {
  const { state, variants, defaultVariant = null, targeting, metadata } = flag;
  const isTargeted = isRecord(targeting) && Object.keys(targeting).length > 0;
  return {
    key,
    // The three casts: `flagProblems` has seen that they are so.
    state: state as Flag["state"],
    type: typeOf(Object.values(variants as Fields)[0]) as FlagType,
    variants: variants as Fields,
    defaultVariant: defaultVariant as string | null,
    targeting: isTargeted ? inlined(targeting, evaluators) : undefined,
    metadata: { ...(file["metadata"] as FlagMetadata), ...(metadata as FlagMetadata) },
  };
}

function flagProblems(key: string, flag: unknown, evaluators: Fields): readonly FlagProblem[] {
  const path = ["flags", key];
  if (!FLAG_KEY.test(key)) return [wrongKey(path, BAD_KEY)];
  if (!isRecord(flag)) return [wrong(path, "expected a flag: state, variants, defaultVariant, targeting")];
  const problems = unknownKeys(flag, FLAG_KEYS, path);
  const { state, variants, defaultVariant, targeting, metadata } = flag;
  if (state !== "ENABLED" && state !== "DISABLED")
    problems.push(wrong([...path, "state"], 'expected "ENABLED" or "DISABLED"'));
  problems.push(...metadataProblems(metadata, [...path, "metadata"]));
  if (!isRecord(variants) || Object.keys(variants).length === 0)
    return [...problems, wrong([...path, "variants"], "expected at least one variant: name and value")];
  problems.push(...variantProblems(variants, path));
  if (defaultVariant !== undefined && defaultVariant !== null) {
    if (typeof defaultVariant !== "string" || !Object.hasOwn(variants, defaultVariant))
      problems.push(
        wrong([...path, "defaultVariant"], `there is no such variant; ${variantsSaid(variants)}`),
      );
  }
  if (targeting !== undefined)
    problems.push(...checkTargeting(targeting, [...path, "targeting"], { evaluators, variants }));
  return problems;
}

/** Every variant has the type of the first. */
function variantProblems(variants: Fields, path: FlagPath): readonly FlagProblem[] {
  const [first] = Object.entries(variants);
  const wanted = typeOf(first?.[1]);
  return Object.entries(variants).flatMap(([name, value]) => {
    const at = [...path, "variants", name];
    const type = typeOf(value);
    if (type === undefined) return [wrong(at, "a variant is a boolean, a text, a number or an object")];
    if (wanted === undefined || type === wanted) return [];
    return [wrong(at, `this variant is of type ${type}, "${first?.[0]}" is of type ${wanted}`)];
  });
}

function unknownKeys(value: Fields, known: readonly string[], path: FlagPath): FlagProblem[] {
  return Object.keys(value)
    .filter((key) => !known.includes(key))
    .map((key) => wrongKey([...path, key], `unknown key \`${key}\``));
}

function metadataProblems(metadata: unknown, path: FlagPath): readonly FlagProblem[] {
  if (metadata === undefined) return [];
  if (!isRecord(metadata)) return [wrong(path, "expected a mapping of names to texts, numbers or booleans")];
  return Object.entries(metadata).flatMap(([name, value]) =>
    isMetadataValue(value) ? [] : [wrong([...path, name], "expected a text, a number or a boolean")],
  );
}
