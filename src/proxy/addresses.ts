/**
 * How many connections each client address has, over all threads, in memory that does not grow with the number of addresses (reliability.md 25, 29):
 * a count-min sketch of shared words, two rows per thread. Each thread writes its own rows, so that what a dead thread held is taken out with
 * them.
 *
 * A count is never too low. It is too high only for an address that shares a word with others in both rows, which a seed that clients do not know
 * keeps them from arranging. Source: Cormode and Muthukrishnan, "An Improved Data Stream Summary: The Count-Min Sketch and its
 * Applications" (2005).
 */

import { murmur3 } from "../domain/hash.ts";

/** Words of a row: one half of a 32-bit hash says which. */
const COLUMNS = 65_536;
const ROWS = 2;
const THREAD_WORDS = ROWS * COLUMNS;
/** Groups of an IPv6 address that count as one client: a /64 is what one subscriber is given. */
const NETWORK_GROUPS = 4;
const GROUPS = 8;

/** Memory for so many threads, all zero. The platform gives no room to what is not touched. */
export function addressWords(threads: number): SharedArrayBuffer {
  return new SharedArrayBuffer(threads * THREAD_WORDS * 4);
}

/** The counts as one thread sees them. */
export class Addresses {
  readonly #words: Int32Array;
  readonly #own: number;
  readonly #seed: number;

  /**
   * @param thread index of this thread's rows
   * @param seed   the same in every thread that counts, and not known outside
   */
  constructor(buffer: SharedArrayBuffer, thread: number, seed: number) {
    this.#words = new Int32Array(buffer);
    this.#own = thread * THREAD_WORDS;
    this.#seed = seed;
  }

  /** What stands for an address in `enter` and `leave`: a 32-bit hash of it, of IPv6 of its /64. @param address in plain form */
  placeOf(address: string): number {
    return murmur3(networkOf(address), this.#seed);
  }

  /** Counts one connection more of this thread's; returns how many the address has in the process, this one included. */
  enter(place: number): number {
    const first = place >>> 16;
    const second = COLUMNS + (place & 0xffff);
    Atomics.add(this.#words, this.#own + first, 1);
    Atomics.add(this.#words, this.#own + second, 1);
    return Math.min(this.#sum(first), this.#sum(second));
  }

  /** One of this thread's has closed. */
  leave(place: number): void {
    Atomics.sub(this.#words, this.#own + (place >>> 16), 1);
    Atomics.sub(this.#words, this.#own + COLUMNS + (place & 0xffff), 1);
  }

  /** The thread is dead, and so are its connections. */
  clear(): void {
    this.#words.fill(0, this.#own, this.#own + THREAD_WORDS);
  }

  #sum(word: number): number {
    let sum = 0;
    for (let at = word; at < this.#words.length; at += THREAD_WORDS) sum += Atomics.load(this.#words, at);
    return sum;
  }
}

/** IPv4 as it is; of IPv6 the first 64 bits, in one spelling. */
export function networkOf(address: string): string {
  if (!address.includes(":")) return address;
  const [plain = ""] = address.split("%", 1);
  const [head = "", tail] = plain.split("::", 2);
  const groups = groupsOf(head);
  if (tail !== undefined) {
    const behind = groupsOf(tail);
    // An IPv4 address at the end stands for two groups.
    const zeros = GROUPS - groups.length - behind.length - (tail.includes(".") ? 1 : 0);
    for (let nth = 0; nth < zeros; nth++) groups.push("0");
    groups.push(...behind);
  }
  const network = groups.slice(0, NETWORK_GROUPS).map((group) => Number.parseInt(group, 16).toString(16));
  return network.join(":");
}

function groupsOf(text: string): string[] {
  return text === "" ? [] : text.split(":");
}
