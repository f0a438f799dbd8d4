/**
 * Which arm a sticky key belongs to. Pure: the same key, salt and weight give the same arm on every
 * replica, after every restart, in every version of this program.
 *
 * A key falls into one of a million buckets once and for all; the weight only moves the line between the
 * buckets. So raising the weight moves keys from stable to canary and never back, and lowering it moves
 * them from canary to stable and never back: nobody flips twice during a rollout.
 */

import { murmur3, murmur3OfAscii } from "./hash.ts";
import type { Ppm } from "./units.ts";

/** `stable` is the old upstream, `canary` the new one. */
export type Arm = "stable" | "canary";

/** Both arms, stable first. */
export const ARMS: readonly Arm[] = ["stable", "canary"];

/** One bucket is one part per million of weight. */
export const BUCKETS = 1_000_000;

/**
 * The bucket of a key, an integer from 0 to 999 999. Each holds 4 294 or 4 295 of the 2^32 hashes.
 *
 * @param key  the sticky key as found in the request, not normalised
 * @param salt another salt is another shuffle of the same keys
 */
export function bucketOf(key: string, salt: string): number {
  // Exact: the product stays below 2^53, and a division by a power of two loses nothing.
  return Math.floor((murmur3(salt + key, 0) * BUCKETS) / 2 ** 32);
}

/** `bucketOf` of a key that lies in a buffer, without making a text of it; −1 when key or salt is not ASCII: then ask `bucketOf`. */
export function bucketOfBytes(bytes: Uint8Array, from: number, to: number, salt: string): number {
  const hash = murmur3OfAscii(salt, bytes, from, to);
  return hash < 0 ? -1 : Math.floor((hash * BUCKETS) / 2 ** 32);
}

/** The buckets below the weight are the canary's: none at 0, all at a million. */
export function armOf(bucket: number, weight: Ppm): Arm {
  return bucket < weight ? "canary" : "stable";
}
