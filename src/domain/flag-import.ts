/**
 * The older form of a flags file, `{ version, flags: { KEY: { enabled, rollout_strategy, … } } }`, as flags of flagd's form. Pure.
 *
 * Two things are not taken over as they were. A share without its unit is refused: one file meant 0.001 as a fraction, another as percent. And dates
 * raise nothing: `progressive` served everybody once its end had passed, a flag that had been taken back included.
 */

import {
  BAD_KEY,
  FLAG_KEY,
  isMetadataValue,
  wrong,
  wrongKey,
  type Fields,
  type Flag,
  type FlagMetadata,
  type FlagPath,
  type FlagProblem,
  type FlagsRead,
} from "./flag.ts";
import { isRecord } from "./record.ts";
import { withShare } from "./flag-targeting.ts";
import { NONE, parseRate, type Ppm } from "./units.ts";

const STRATEGIES = ["all_at_once", "percentage", "progressive", "canary"];
const VARIANTS = { on: true, off: false };
const SIDES = { on: "on", off: "off" };
const FILE_KEYS = ["version", "last_updated", "flags", "$schema", "description", "environment"];

/** Whether a file is of that form: flagd's has no version, and no flag of it is `enabled`. */
export function isOlderForm(file: Fields): boolean {
  if ("version" in file) return true;
  const { flags } = file;
  return isRecord(flags) && Object.values(flags).some((flag) => isRecord(flag) && "enabled" in flag);
}

/** The flags of such a file, or every problem. */
export function readOlder(file: Fields): FlagsRead {
  const problems: FlagProblem[] = Object.keys(file)
    .filter((key) => !FILE_KEYS.includes(key))
    .map((key) => wrongKey([key], `unknown key \`${key}\``));
  const { flags } = file;
  if (!isRecord(flags)) problems.push(wrong(["flags"], "expected a mapping of flags by their keys"));
  const read = Object.entries(isRecord(flags) ? flags : {}).map(([key, flag]) =>
    readOne(key, flag, problems),
  );
  return problems.length > 0
    ? { ok: false, problems }
    : { ok: true, flags: new Map(read.map((flag) => [flag.key, flag])) };
}

function readOne(key: string, given: unknown, problems: FlagProblem[]): Flag {
  const path = ["flags", key];
  if (!FLAG_KEY.test(key)) problems.push(wrongKey(path, BAD_KEY));
  if (!isRecord(given))
    problems.push(wrong(path, "expected a flag: enabled, rollout_strategy, default_value"));
  const {
    enabled,
    default_value: byDefault = false,
    rollout_strategy: strategy = "all_at_once",
    rollout_percentage: _long,
    percentage: _short,
    progressive_config: progressive = {},
    ...rest
  } = isRecord(given) ? given : { enabled: false };
  const expect = (holds: boolean, field: string, message: string): void => {
    if (!holds) problems.push(wrong([...path, field], message));
  };
  expect(typeof enabled === "boolean", "enabled", "expected true or false");
  expect(typeof byDefault === "boolean", "default_value", "expected true or false");
  expect(
    STRATEGIES.includes(strategy as string),
    "rollout_strategy",
    `expected one of ${STRATEGIES.join(", ")}`,
  );
  expect(isRecord(progressive), "progressive_config", "expected a mapping");
  const share = shareIn(given, path, strategy === "percentage", problems);
  return {
    key,
    // One truth: a flag that is not enabled is off, whatever its value.
    state: enabled === true ? "ENABLED" : "DISABLED",
    type: "boolean",
    variants: VARIANTS,
    defaultVariant: strategy === "all_at_once" && byDefault === true ? "on" : "off",
    targeting: targetingOf(strategy, share, progressive, path, problems),
    metadata: metadataOf(rest, path, problems),
  };
}

/** The share under either of its names, with its unit; a problem for a bare number, and for none where one is needed. */
function shareIn(flag: unknown, path: FlagPath, isNeeded: boolean, problems: FlagProblem[]): Ppm | undefined {
  const fields = isRecord(flag) ? flag : {};
  const name = "percentage" in fields ? "percentage" : "rollout_percentage";
  const given = fields[name];
  if (given === undefined && !isNeeded) return undefined;
  const share = typeof given === "string" ? parseRate(given) : undefined;
  const expected =
    'expected a share from 0% to 100% with its percent sign, like "0.1%"; a bare number has no unit';
  if (share === undefined) problems.push(wrong([...path, name], expected));
  return share;
}

function targetingOf(
  strategy: unknown,
  share: Ppm | undefined,
  progressive: unknown,
  path: FlagPath,
  problems: FlagProblem[],
): unknown {
  if (strategy === "percentage" || strategy === "progressive")
    // Of `progressive` without a share nobody gets it until somebody says how many.
    return withShare(undefined, SIDES, share ?? NONE);
  if (strategy !== "canary") return undefined;
  const within = (name: string, variable: string): readonly unknown[] => {
    const list = isRecord(progressive) ? (progressive[name] ?? []) : [];
    if (Array.isArray(list) && list.every((each) => typeof each === "string"))
      return list.length === 0 ? [] : [{ in: [{ var: variable }, list] }];
    problems.push(wrong([...path, "progressive_config", name], "expected a list of texts"));
    return [];
  };
  const any = [...within("canary_users", "targetingKey"), ...within("canary_regions", "region")];
  return any.length === 0 ? undefined : { if: [{ or: any }, "on", "off"] };
}

/** What this program has no use for stays with the flag, for people; what cannot stay is refused rather than lost. */
function metadataOf(rest: Fields, path: FlagPath, problems: FlagProblem[]): FlagMetadata {
  const kept: Record<string, string | number | boolean> = {};
  for (const [name, value] of Object.entries(rest)) {
    if (isMetadataValue(value)) kept[name] = value;
    else problems.push(wrongKey([...path, name], `unknown key \`${name}\``));
  }
  return kept;
}
