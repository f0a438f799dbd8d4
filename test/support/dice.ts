/** Chance that repeats itself: the same seed gives the same numbers and tokens. */

import type { Dice } from "../../src/engine/ports.ts";

/** Dice that roll the same for the same `seed`, any whole number (mulberry32; good enough to spread, not to hide). */
export function fakeDice(seed: number): Dice {
  let state = seed >>> 0;
  function random(): number {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }
  return {
    random,
    token: (bytes) =>
      Buffer.from(Uint8Array.from({ length: bytes }, () => Math.floor(random() * 256))).toString("base64url"),
  };
}
