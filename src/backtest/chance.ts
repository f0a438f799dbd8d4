/** Chance that can be had again: everything drawn follows from a seed and a number, so two runs over the same log agree. Pure. */

import { murmur3 } from "../domain/hash.ts";
import type { Dice } from "../engine/ports.ts";

/** A number from 0 (included) to 1 (excluded) that follows from a seed and the number of the line that it is for. */
export function uniform(seed: number, nth: number): number {
  // Murmur's finalizer over both: neighbours have nothing in common.
  let h = Math.imul(nth | 0, 0x9e3779b1) ^ Math.imul(seed | 0, 0x85ebca6b) ^ Math.floor(nth / 2 ** 32);
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return ((h ^ (h >>> 16)) >>> 0) / 2 ** 32;
}

/** A seed for something of its own. */
export function seedOf(seed: number, name: string): number {
  return murmur3(name, seed);
}

/** Dice that fall the same way for the same seed. */
export function seededDice(seed: number): Dice {
  let thrown = 0;
  return {
    random: () => uniform(seed, thrown++),
    token: (bytes) => {
      const words = Array.from({ length: Math.ceil(bytes / 4) }, () =>
        Math.floor(uniform(seed, thrown++) * 2 ** 32),
      );
      return Buffer.from(Uint32Array.from(words).buffer).subarray(0, bytes).toString("base64url");
    },
  };
}
