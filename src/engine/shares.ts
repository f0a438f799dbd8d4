/**
 * What one replica has measured, as it goes to the leader: counts that add up, and histograms in HdrHistogram's V2 form. Encoded where it was measured,
 * decoded and added up in a thread of the leader's (`ports.ts`, `Merger`). Pure.
 */

import { addBlocks, EMPTY_COUNTS, MIN_FAILED_KEYS, type BlockCounts } from "../domain/evidence/counting.ts";
import { compactSparse, decodeHistogram, encodeHistogram } from "../domain/latency.ts";
import type { Slice, SparseCounts } from "../domain/slice.ts";
import { ARMS, type Arm } from "../domain/split.ts";
import { mergeSlices } from "../domain/window.ts";
import type { CanaryKeys, RescueCounts, RouteShare, Sample } from "./ports.ts";

const NO_RESCUES: RescueCounts = { answered: 0, failed: 0, refused: 0 };
/** Of a route, in one round of all replicas: who is told of bad responses needs no more. */
const SAMPLES_KEPT = 500;

/** Nothing, of a route in a state. */
export function noShare(route: string, of: string): RouteShare {
  const block = { canary: EMPTY_COUNTS, stable: EMPTY_COUNTS };
  return { route, of, block, arms: {}, rescues: NO_RESCUES, samples: [], keys: { failed: [], seen: [] } };
}

/** Both together; they are of the same route in the same state. */
export function addShares(a: RouteShare, b: RouteShare): RouteShare {
  const arms: Partial<Record<Arm, Slice>> = { ...a.arms };
  for (const arm of ARMS) {
    const [one, other] = [a.arms[arm], b.arms[arm]];
    if (other !== undefined) arms[arm] = one === undefined ? other : mergeSlices(one, other);
  }
  return {
    route: a.route,
    of: a.of,
    block: addBlocks(a.block, b.block),
    arms,
    rescues: {
      answered: a.rescues.answered + b.rescues.answered,
      failed: a.rescues.failed + b.rescues.failed,
      refused: a.rescues.refused + b.rescues.refused,
    },
    samples: [...a.samples, ...b.samples].slice(0, SAMPLES_KEPT),
    keys: distinctKeys(a.keys, b.keys),
  };
}

/** Keys that either has seen, five of each at the most. */
export function distinctKeys(a: CanaryKeys, b: CanaryKeys): CanaryKeys {
  return { failed: distinct(a.failed, b.failed), seen: distinct(a.seen, b.seen) };
}

function distinct(a: readonly number[], b: readonly number[]): readonly number[] {
  // Where nobody else tells of any, as on every tick of a replica on its own.
  if (b.length === 0 && a.length <= MIN_FAILED_KEYS) return a;
  return [...new Set([...a, ...b])].slice(0, MIN_FAILED_KEYS);
}

/** Shares of the same route in the same state as one, in the order in which they come first. */
export function mergeShares(shares: readonly RouteShare[]): readonly RouteShare[] {
  const groups = new Map<string, RouteShare[]>();
  for (const share of shares) {
    const key = `${share.route}\n${share.of}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [share]);
    else group.push(share);
  }
  return [...groups.values()].map(merged);
}

/** At least one share of one route in one state. Latencies are added up in one go: two by two, each would be copied as often as there are shares. */
function merged(shares: readonly RouteShare[]): RouteShare {
  const sum = shares.map(withoutLatencies).reduce(addShares);
  const arms: Partial<Record<Arm, Slice>> = {};
  for (const arm of ARMS) {
    const slice = sum.arms[arm];
    if (slice === undefined) continue;
    const all = (of: "successes" | "failures"): SparseCounts =>
      compactSparse(shares.flatMap((share) => share.arms[arm]?.[of] ?? []));
    arms[arm] = { ...slice, successes: all("successes"), failures: all("failures") };
  }
  return { ...sum, arms };
}

function withoutLatencies(share: RouteShare): RouteShare {
  const arms: Partial<Record<Arm, Slice>> = {};
  for (const arm of ARMS) {
    const slice = share.arms[arm];
    if (slice !== undefined) arms[arm] = { ...slice, successes: [], failures: [] };
  }
  return { ...share, arms };
}

/** What the bytes of several replicas come to. */
export function mergeEncoded(measures: readonly Uint8Array[]): readonly RouteShare[] {
  return mergeShares(measures.flatMap(decodeShares));
}

// As written: short names, for there may be thousands of these a second.
type Counts = readonly [n: number, e: number, s: number, v: number, c4: number];
interface WrittenSlice {
  readonly r: readonly number[];
  readonly c: readonly number[];
  readonly d: readonly number[];
  readonly t: number;
  /** Histograms; left out: empty. */
  readonly ok?: string;
  readonly bad?: string;
}
interface WrittenShare {
  readonly n: string;
  readonly of: string;
  readonly b: readonly [canary: Counts, stable: Counts];
  readonly a: Readonly<Partial<Record<Arm, WrittenSlice>>>;
  readonly re: readonly [number, number, number];
  readonly s: readonly Sample[];
  readonly k: readonly [failed: readonly number[], seen: readonly number[]];
}

/** Shares as bytes. @param digits of the histograms @param samples bad responses of a route at the most */
export function encodeShares(
  shares: readonly RouteShare[],
  { digits, samples }: { readonly digits: 1 | 2; readonly samples: number },
): Uint8Array {
  const written = shares.map((share): WrittenShare => {
    const { canary, stable } = share.arms;
    return {
      n: share.route,
      of: share.of,
      b: [countsOf(share.block, "canary"), countsOf(share.block, "stable")],
      a: {
        ...(canary === undefined ? {} : { canary: writtenSlice(canary, digits) }),
        ...(stable === undefined ? {} : { stable: writtenSlice(stable, digits) }),
      },
      re: [share.rescues.answered, share.rescues.failed, share.rescues.refused],
      s: share.samples.slice(0, samples),
      k: [share.keys.failed, share.keys.seen],
    };
  });
  return new TextEncoder().encode(JSON.stringify({ v: 1, routes: written }));
}

function countsOf(block: BlockCounts, arm: Arm): Counts {
  const { n, e, s, v, c4 } = block[arm];
  return [n, e, s, v, c4];
}

function writtenSlice(slice: Slice, digits: 1 | 2): WrittenSlice {
  return {
    r: slice.byReason,
    c: slice.byClass,
    d: slice.durations,
    t: slice.durationSeconds,
    ...(slice.successes.length === 0 ? {} : { ok: encodeHistogram(slice.successes, digits) }),
    ...(slice.failures.length === 0 ? {} : { bad: encodeHistogram(slice.failures, digits) }),
  };
}

/** The shares in some bytes; none when they are of another version, or damaged: they are not evidence then. */
export function decodeShares(bytes: Uint8Array): readonly RouteShare[] {
  try {
    // What `encodeShares` of another replica has written; anything else ends in the catch, or counts nothing.
    const { v, routes } = JSON.parse(new TextDecoder().decode(bytes)) as {
      readonly v: number;
      readonly routes: readonly WrittenShare[];
    };
    return v === 1 ? routes.map(readShare) : [];
  } catch {
    return [];
  }
}

function readShare({ n: route, of, b, a, re, s: samples, k }: WrittenShare): RouteShare {
  return {
    route,
    of,
    block: { canary: readCounts(b[0]), stable: readCounts(b[1]) },
    arms: {
      ...(a.canary === undefined ? {} : { canary: readSlice(a.canary) }),
      ...(a.stable === undefined ? {} : { stable: readSlice(a.stable) }),
    },
    rescues: { answered: re[0], failed: re[1], refused: re[2] },
    samples,
    keys: { failed: k[0], seen: k[1] },
  };
}

function readCounts([n, e, s, v, c4]: Counts): BlockCounts[Arm] {
  return { n, e, s, v, c4 };
}

function readSlice({ r, c, d, t, ok, bad }: WrittenSlice): Slice {
  return {
    byReason: r,
    byClass: c,
    durations: d,
    durationSeconds: t,
    successes: ok === undefined ? [] : decodeHistogram(ok),
    failures: bad === undefined ? [] : decodeHistogram(bad),
  };
}
