/**
 * What people change about flags beside the file, and what that comes to. Pure.
 *
 * A change lies over the file and not in it: the file is read again and again, and what was switched off at night must not come back with the next
 * deployment of a file that knows nothing of it.
 */

import { isAlwaysOn, offVariantOf, sidesOf, variantsSaid, type Flag } from "./flag.ts";
import { shareOf, withShare } from "./flag-targeting.ts";
import { refused, type Refusal } from "./refusal.ts";
import type { Phase } from "./rollout-types.ts";
import { bucketOf, armOf } from "./split.ts";
import type { Ppm } from "./units.ts";

/** What lies over a flag of the file. */
export interface FlagOverride {
  readonly state?: "on" | "off";
  /** Everybody gets this one. */
  readonly variant?: string;
  /** The share of the side that is on. */
  readonly percentage?: Ppm;
  /** Who, when (ISO 8601) and why: of the last change. */
  readonly by: string;
  readonly at: string;
  readonly reason: string;
}

/** A change that somebody asks for. */
export interface FlagChange {
  readonly state?: "on" | "off" | undefined;
  readonly variant?: string | undefined;
  readonly percentage?: Ppm | undefined;
  /** As the file says, from now on. */
  readonly reset?: boolean | undefined;
  /** Also what a critical flag must not become. */
  readonly force?: boolean | undefined;
  readonly reason: string;
}

/** What a flag has to do with routes, and how dear it is. */
export interface FlagTies {
  /** Route whose canary it is on for. */
  readonly follows: string | undefined;
  /** Route whose rollout has to succeed first. */
  readonly opensAfter: string | undefined;
  readonly isCritical: boolean;
}

/** How a route stands, as far as flags look. */
export interface RouteStand {
  readonly phase: Phase;
  readonly rollout: string;
  readonly salt: string;
  readonly weight: Ppm;
}

/** The flag with what lies over it. What no longer fits the file counts for nothing. */
export function overridden(flag: Flag, override: FlagOverride | undefined): Flag {
  if (override === undefined) return flag;
  const { state, variant, percentage } = override;
  const sides = sidesOf(flag);
  let { targeting, defaultVariant } = flag;
  if (variant !== undefined && Object.hasOwn(flag.variants, variant)) {
    targeting = undefined;
    defaultVariant = variant;
  } else if (percentage !== undefined && sides !== undefined) {
    targeting = withShare(targeting, sides, percentage) ?? targeting;
  } else if (state === "on" && targeting === undefined && flag.type === "boolean" && sides !== undefined) {
    // One truth: whoever switches a flag on means that it is on, whatever value the file has as its default.
    defaultVariant = sides.on;
  }
  const shown = state === undefined ? flag.state : state === "on" ? "ENABLED" : "DISABLED";
  return { ...flag, state: shown, targeting, defaultVariant };
}

/** What lies over `flag` after `change`, undefined for nothing; or why the change is refused. */
export function changed(
  flag: Flag,
  before: FlagOverride | undefined,
  change: FlagChange,
  ties: FlagTies,
  who: { readonly by: string; readonly at: string },
): { readonly ok: true; readonly override: FlagOverride | undefined } | Refusal {
  const trouble = changeTrouble(flag, change, ties);
  if (trouble !== undefined) return trouble;
  const override = change.reset === true ? undefined : merged(before, change, who);
  if (ties.isCritical && !isAlwaysOn(overridden(flag, override)) && change.force !== true)
    return refused(
      "SPLIT_FLAG_CRITICAL",
      `"${flag.key}" is critical: to switch it off takes force and a reason`,
    );
  return { ok: true, override };
}

function changeTrouble(flag: Flag, change: FlagChange, { follows }: FlagTies): Refusal | undefined {
  const { state, variant, percentage, reset } = change;
  const asked = [state, variant, percentage, reset].filter((each) => each !== undefined);
  if (asked.length === 0)
    return refused("SPLIT_INPUT_INVALID", "expected state, variant, percentage or reset");
  if (reset !== undefined && asked.length > 1)
    return refused("SPLIT_INPUT_INVALID", "reset: goes with nothing else");
  if (variant !== undefined && percentage !== undefined)
    return refused("SPLIT_INPUT_INVALID", "percentage: does not go with a variant for everybody");
  if (follows !== undefined && (variant !== undefined || percentage !== undefined))
    return refused(
      "SPLIT_FLAG_FOLLOWS",
      `"${flag.key}" follows the route "${follows}": its share is the route's weight`,
    );
  if (variant !== undefined && !Object.hasOwn(flag.variants, variant))
    return refused("SPLIT_INPUT_INVALID", `variant: there is no such one; ${variantsSaid(flag.variants)}`);
  if (percentage === undefined) return undefined;
  const sides = sidesOf(flag);
  if (sides !== undefined && withShare(flag.targeting, sides, percentage) !== undefined) return undefined;
  return refused(
    "SPLIT_INPUT_INVALID",
    `percentage: "${flag.key}" has no single \`fractional\` between two sides whose share could be set`,
  );
}

function merged(
  before: FlagOverride | undefined,
  { state, variant, percentage, reason }: FlagChange,
  { by, at }: { readonly by: string; readonly at: string },
): FlagOverride {
  const isOther = variant !== undefined || percentage !== undefined;
  const { variant: oldVariant, percentage: oldShare, state: oldState } = before ?? {};
  const next = {
    state: state ?? oldState,
    variant: isOther ? variant : oldVariant,
    percentage: isOther ? percentage : oldShare,
  };
  return {
    ...(next.state === undefined ? {} : { state: next.state }),
    ...(next.variant === undefined ? {} : { variant: next.variant }),
    ...(next.percentage === undefined ? {} : { percentage: next.percentage }),
    by,
    at,
    reason,
  };
}

/**
 * The rollout that has opened the flags behind a route; undefined while they are closed. Once open they stay so through the next rollout, whose
 * stable has what they are about; the rollback of the one that opened them closes them.
 *
 * @param before what it was until now
 */
export function openedBy(before: string | undefined, stand: RouteStand | undefined): string | undefined {
  if (stand === undefined) return before;
  if (stand.phase === "succeeded") return stand.rollout;
  return stand.phase === "rolled_back" && before === stand.rollout ? undefined : before;
}

/** What a flag serves without any rule of its own being asked, and why; undefined: its rules say. */
export type Settled =
  | { readonly variant: string | null; readonly reason: "DISABLED" | "SPLIT" }
  | { readonly variant: undefined; readonly reason: "TARGETING_KEY_MISSING" };

/**
 * What is settled before the rules are asked: a flag that is off or not yet open serves its off side; one that follows a route is on for exactly the
 * keys that the edge sends to the canary, by the same salt, bucket and weight.
 *
 * @param stand of the route that it follows; undefined: it follows none
 */
export function settled(
  flag: Flag,
  isOpen: boolean,
  stand: RouteStand | undefined,
  key: string | undefined,
): Settled | undefined {
  const off = offVariantOf(flag);
  if (flag.state === "DISABLED" || !isOpen) return { variant: off, reason: "DISABLED" };
  const sides = sidesOf(flag);
  if (stand === undefined || sides === undefined) return undefined;
  if (key === undefined) return { variant: undefined, reason: "TARGETING_KEY_MISSING" };
  const arm = armOf(bucketOf(key, stand.salt), stand.weight);
  return { variant: arm === "canary" ? sides.on : sides.off, reason: "SPLIT" };
}

/** How a flag chooses. */
export type Strategy = "follows" | "percentage" | "targeting" | "static";

/** How a flag chooses, and the share of its side that is on; null where that is no share. */
export function strategyOf(
  flag: Flag,
  stand: RouteStand | undefined,
): { readonly strategy: Strategy; readonly share: Ppm | null } {
  if (stand !== undefined) return { strategy: "follows", share: stand.weight };
  if (flag.targeting === undefined) return { strategy: "static", share: null };
  const sides = sidesOf(flag);
  const share = sides === undefined ? undefined : shareOf(flag.targeting, sides);
  return share === undefined ? { strategy: "targeting", share: null } : { strategy: "percentage", share };
}
