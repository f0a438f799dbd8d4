/** The checks that are a look at figures: the arms' health, what stable can carry, and the clock. Pure. */

import type { ArmConfig } from "../config/schema.ts";
import { formatDuration, millis } from "../domain/units.ts";
import type { EndpointHealth } from "../engine/ports.ts";
import { fails, holds, type Finding } from "./limit.ts";

/** Whether every endpoint is known to be healthy. One that no probe has told of is not. */
export function checkArms(stable: readonly EndpointHealth[], canary: readonly EndpointHealth[]): Finding {
  const all = [...stable, ...canary];
  const sick = all.filter(({ healthy }) => healthy !== true);
  const told = `${all.length - sick.length}/${all.length} endpoints healthy`;
  const [first] = sick;
  if (first === undefined) return all.length === 0 ? fails("no endpoint is probed") : holds(told);
  const why = first.healthy === null ? "is not known yet" : first.detail === "" ? "is not" : first.detail;
  return fails(`${told}; ${first.url}: ${why}`);
}

/** What a route measures now. */
export interface Load {
  /** Of both arms together. */
  readonly perSecond: number;
  /** Null: not measured. */
  readonly p95Ms: number | null;
}

/**
 * Whether stable could take all of the traffic: as many exchanges are in flight as come in the time that one takes (Little's law). With the P95 for the
 * time, which is more than the mean, there is some room in it.
 */
export function checkCapacity(stable: ArmConfig, health: readonly EndpointHealth[], load: Load): Finding {
  const healthy = health.filter((each) => each.healthy === true).length;
  if (healthy === 0) return fails("no endpoint of stable is known to be healthy");
  const limits = limitsOf(stable, healthy);
  const [tightest] = limits.sort((a, b) => a.limit - b.limit);
  if (tightest === undefined) return holds("no limit configured");
  const { limit, words } = tightest;
  if (load.perSecond === 0 || load.p95Ms === null) return holds(`no traffic measured; room for ${words}`);
  const needed = (load.perSecond * load.p95Ms) / 1000;
  const told = `${rounded(load.perSecond)} requests/s × P95 ${rounded(load.p95Ms)} ms = ${rounded(needed)} in flight; ${words}`;
  return needed <= limit ? holds(told) : fails(told);
}

function limitsOf(
  { connections, concurrency, protocol, endpoints }: ArmConfig,
  healthy: number,
): { readonly limit: number; readonly words: string }[] {
  // One connection of HTTP/2 carries many exchanges.
  const isHttp2 = protocol === "http2" || endpoints.every((url) => url.startsWith("h2c:"));
  const of = `${healthy} of ${endpoints.length} endpoints × ${connections} connections`;
  return [
    ...(isHttp2 ? [] : [{ limit: healthy * connections, words: `${healthy * connections} (${of})` }]),
    ...(concurrency === "none"
      ? []
      : [{ limit: concurrency, words: `${concurrency} (the arm's concurrency)` }]),
  ];
}

function rounded(value: number): number {
  return Number(value.toPrecision(3));
}

/** A point in both times. */
export interface Moment {
  /** Monotonic, ms. */
  readonly mono: number;
  /** Since the epoch, ms. */
  readonly wall: number;
}

const FIRST_YEAR = 2025;
const LAST_YEAR = 2100;
/** Two clocks that differ by more do not agree: ms. */
const AGREE_MS = 60_000;

/**
 * Whether the wall clock is right: windows, dates and signatures hang on it.
 *
 * @param aheadMs how far an upstream's clock is ahead; undefined: none has told. It decides what a jump since start means: the clock may have been set right
 */
export function checkClock(start: Moment, now: Moment, aheadMs: number | undefined): Finding {
  const year = new Date(now.wall).getUTCFullYear();
  if (!(year >= FIRST_YEAR && year <= LAST_YEAR)) return fails(`it shows the year ${year}`);
  if (aheadMs !== undefined && Math.abs(aheadMs) > AGREE_MS) {
    return fails(`the canary's clock is ${span(aheadMs)} ${aheadMs > 0 ? "ahead" : "behind"}`);
  }
  const jumped = now.wall - start.wall - (now.mono - start.mono);
  const told =
    Math.abs(jumped) > AGREE_MS ? `it jumped by ${span(jumped)} since start` : "no jump since start";
  if (aheadMs === undefined) {
    return Math.abs(jumped) > AGREE_MS
      ? fails(told)
      : holds(`${told}; no answer of the canary to compare with`);
  }
  return holds(`${told}; the canary's agrees`);
}

function span(ms: number): string {
  return formatDuration(millis(Math.round(Math.abs(ms) / 1000) * 1000));
}
