/** Where lines come from, several at once: merged by time, so that rotated files may be named in any order, and those of several machines at once. */

import type { Line } from "./line.ts";

/** What a source has: a line, nothing before it has been filled, or nothing any more. */
export type Next = "line" | "more" | "end";

/** Lines of one file, or made up. */
export interface Source {
  /** The line that `next` has found; written over by the next call. */
  readonly line: Line;
  /** Finds the next line that can be read. */
  next(): Next;
  /** Reads on; to be called after `more`. */
  fill(): Promise<void>;
  /** Takes the present line for one that could not be read. */
  refuse(reason: string): void;
}

interface Entry {
  readonly source: Source;
  state: Next;
}

/** Several sources as one, in order of time. */
export class Merge {
  readonly #entries: Entry[];
  #taken: Entry | undefined = undefined;

  constructor(sources: readonly Source[]) {
    this.#entries = sources.map((source) => ({ source, state: "more" }));
  }

  /** The source whose line is the earliest; undefined: `fill` first. */
  next(): Source | undefined {
    const taken = this.#taken;
    if (taken !== undefined) {
      taken.state = taken.source.next();
      this.#taken = undefined;
      if (taken.state === "more") return undefined;
    }
    let first: Entry | undefined = undefined;
    for (const entry of this.#entries) {
      if (entry.state === "more") return undefined;
      if (entry.state === "line" && (first === undefined || entry.source.line.at < first.source.line.at))
        first = entry;
    }
    this.#taken = first;
    return first?.source;
  }

  /** Reads on where that is needed; false when all have ended. */
  async fill(): Promise<boolean> {
    for (const entry of this.#entries) {
      while (entry.state === "more") {
        await entry.source.fill();
        entry.state = entry.source.next();
      }
    }
    return this.#entries.some(({ state }) => state === "line");
  }
}
