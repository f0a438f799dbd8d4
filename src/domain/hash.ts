/**
 * MurmurHash3, x86, 32 bits. Pure.
 *
 * Why this one: flagd's `fractional` rule uses it, so that a flag and the edge can put a user on the same side
 * (product.md §2.2); it passes the avalanche tests that raw FNV fails; and it is public and frozen, so a key's bucket can be
 * computed by anybody. Source: A. Appleby, SMHasher, MurmurHash3_x86_32 (public domain); vectors in the test.
 */

const C1 = 0xcc9e2d51;
const C2 = 0x1b873593;

/**
 * The hash of the UTF-8 bytes of `text`, an integer from 0 to 2^32 − 1.
 *
 * Lone surrogates hash as U+FFFD, as `TextEncoder` encodes them.
 */
export function murmur3(text: string, seed: number): number {
  // Sticky keys are nearly always ASCII: those need no encoder, hence no allocation.
  for (let i = 0; i < text.length; i++) {
    if (text.charCodeAt(i) > 0x7f) {
      const encoded = new TextEncoder().encode(text);
      // Only asked for places below the length.
      return hash(encoded.length, seed, (at) => encoded[at]!);
    }
  }
  return hashAscii(text, seed);
}

/**
 * The hash, with seed 0, of the ASCII text `prefix` followed by the ASCII bytes at `from`…`to`; −1 when either is not ASCII.
 *
 * For keys that lie in a buffer: the same as `murmur3` of the two joined, without a text being made.
 */
export function murmur3OfAscii(prefix: string, bytes: Uint8Array, from: number, to: number): number {
  let h = 0;
  let k = 0;
  let shift = 0;
  let all = 0;
  const before = prefix.length;
  for (let at = 0; at < before; at++) {
    const code = prefix.charCodeAt(at);
    all |= code;
    k |= code << shift;
    shift = (shift + 8) & 31;
    if (shift === 0) {
      h = mixBlock(h, k);
      k = 0;
    }
  }
  for (let at = from; at < to; at++) {
    // Within the bytes.
    const byte = bytes[at]!;
    all |= byte;
    k |= byte << shift;
    shift = (shift + 8) & 31;
    if (shift === 0) {
      h = mixBlock(h, k);
      k = 0;
    }
  }
  return all > 0x7f ? -1 : finish(h, k, before + to - from);
}

function hashAscii(text: string, seed: number): number {
  const length = text.length;
  const tail = length & ~3;
  let h = seed | 0;
  for (let i = 0; i < tail; i += 4) {
    h = mixBlock(
      h,
      text.charCodeAt(i) |
        (text.charCodeAt(i + 1) << 8) |
        (text.charCodeAt(i + 2) << 16) |
        (text.charCodeAt(i + 3) << 24),
    );
  }
  let k = 0;
  for (let i = length - 1; i >= tail; i--) k = (k << 8) | text.charCodeAt(i);
  return finish(h, k, length);
}

function hash(length: number, seed: number, byteAt: (at: number) => number): number {
  const tail = length & ~3;
  let h = seed | 0;
  for (let i = 0; i < tail; i += 4) {
    h = mixBlock(h, byteAt(i) | (byteAt(i + 1) << 8) | (byteAt(i + 2) << 16) | (byteAt(i + 3) << 24));
  }
  let k = 0;
  for (let i = length - 1; i >= tail; i--) k = (k << 8) | byteAt(i);
  return finish(h, k, length);
}

function scramble(k: number): number {
  const mixed = Math.imul(k, C1);
  return Math.imul((mixed << 15) | (mixed >>> 17), C2);
}

function mixBlock(h: number, k: number): number {
  const mixed = h ^ scramble(k);
  return (Math.imul((mixed << 13) | (mixed >>> 19), 5) + 0xe6546b64) | 0;
}

function finish(state: number, tail: number, length: number): number {
  // A zero tail scrambles to zero, so an absent tail needs no case of its own.
  let h = state ^ scramble(tail) ^ length;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
