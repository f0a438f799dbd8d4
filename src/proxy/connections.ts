/**
 * Client connections of the whole process, one shared word per thread: each thread writes its own, and the sum is what `limits.connections`
 * bounds. So what a dead thread held is taken out by setting its word to zero, and nothing can drift.
 */

/** Memory for so many threads, all zero. */
export function connectionWords(threads: number): SharedArrayBuffer {
  return new SharedArrayBuffer(threads * 4);
}

/** The connections as one thread sees them. */
export class Connections {
  readonly #words: Int32Array;
  readonly #own: number;

  /** @param thread index of this thread's word */
  constructor(buffer: SharedArrayBuffer, thread: number) {
    this.#words = new Int32Array(buffer);
    this.#own = thread;
  }

  /**
   * Counts one more of this thread's; returns how many the process has, this one included. When two threads count the last free place at the
   * same time, both may see one too many: the limit is never exceeded, and may be missed by one.
   */
  enter(): number {
    Atomics.add(this.#words, this.#own, 1);
    return this.total;
  }

  /** One of this thread's has closed. */
  leave(): void {
    Atomics.sub(this.#words, this.#own, 1);
  }

  /** The thread is dead, and so are its connections. */
  clear(): void {
    Atomics.store(this.#words, this.#own, 0);
  }

  get total(): number {
    let total = 0;
    for (let thread = 0; thread < this.#words.length; thread++) total += Atomics.load(this.#words, thread);
    return total;
  }
}
