/** What people see of a flag: the public shape of the admin API. Shares are percent. Pure. */

import type { Flag, FlagMetadata, FlagType } from "../domain/flag.ts";
import {
  strategyOf,
  type FlagOverride,
  type FlagTies,
  type RouteStand,
  type Strategy,
} from "../domain/flag-change.ts";
import { FULL, NONE, percentOf } from "../domain/units.ts";

/** One flag. */
export interface FlagStatus {
  readonly key: string;
  readonly type: FlagType;
  readonly enabled: boolean;
  /** How it chooses a variant. */
  readonly strategy: Strategy;
  /** Share of its side that is on; null where that is no share. */
  readonly percentage: number | null;
  /** Where that share is on its way; null where there is none. */
  readonly phase: "not_started" | "in_progress" | "completed" | null;
  readonly variants: Readonly<Record<string, unknown>>;
  readonly defaultVariant: string | null;
  /** Route whose canary it is on for. */
  readonly follows: string | null;
  /** Route whose rollout has to succeed before it opens. */
  readonly opensAfter: string | null;
  readonly open: boolean;
  readonly critical: boolean;
  /** What was set over the file; null when nothing was. */
  readonly override: FlagChangeShown | null;
  readonly metadata: FlagMetadata;
}

/** What was set, by whom and why. */
export interface FlagChangeShown extends Omit<FlagOverride, "percentage"> {
  readonly percentage?: number;
}

/** All of them, and how their file is. */
export interface FlagList {
  readonly file: string;
  /** When the file was last good, ISO 8601. */
  readonly loadedAt: string;
  /** Whether it still is; if not, the flags are those of before. */
  readonly ok: boolean;
  /** What is wrong with it, a line per problem; empty when nothing is. */
  readonly detail: string;
  readonly flags: readonly FlagStatus[];
}

/** A flag as people see it; `flag` with what lies over it. */
export function statusOf(
  flag: Flag,
  ties: FlagTies,
  now: {
    readonly stand: RouteStand | undefined;
    readonly isOpen: boolean;
    readonly override: FlagOverride | undefined;
  },
): FlagStatus {
  const { strategy, share } = strategyOf(flag, now.stand);
  const { key, type, state, variants, defaultVariant, metadata } = flag;
  return {
    key,
    type,
    enabled: state === "ENABLED",
    strategy,
    percentage: share === null ? null : percentOf(share),
    phase:
      share === null ? null : share === NONE ? "not_started" : share === FULL ? "completed" : "in_progress",
    variants,
    defaultVariant,
    follows: ties.follows ?? null,
    opensAfter: ties.opensAfter ?? null,
    open: now.isOpen,
    critical: ties.isCritical,
    override: now.override === undefined ? null : shownOf(now.override),
    metadata,
  };
}

/** What was set, with its share in percent. */
export function shownOf({ percentage, ...rest }: FlagOverride): FlagChangeShown {
  return percentage === undefined ? rest : { ...rest, percentage: percentOf(percentage) };
}
