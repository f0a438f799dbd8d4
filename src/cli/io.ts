/** The command line's end of the world: where text goes, where answers come from. Passed in, so that a test is a terminal too. */

import type { Style } from "./render.ts";

/** A terminal, a pipe or a test. */
export interface Io {
  readonly stdout: (text: string) => void;
  readonly stderr: (text: string) => void;
  /** What is piped in; not touched before it is read. */
  readonly stdin: AsyncIterable<Buffer>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Whether a person sits at the other end: standard input and output are a terminal. */
  readonly isTTY: boolean;
  readonly columns: number;
  /** Lines of the terminal; left out: not known. */
  readonly rows?: number | undefined;
  /** Wall clock, ms since the epoch. */
  readonly now: () => number;
  /** Asks on the terminal; resolves the line typed, without its end. */
  readonly ask: (question: string) => Promise<string>;
}

/** How to draw for `io`: colour only on a terminal that has not been asked for none (no-color.org). A pipe is never cut. */
export function styleOf(io: Io): Style {
  const plain = (io.env["NO_COLOR"] ?? "") !== "" || io.env["TERM"] === "dumb";
  return {
    color: io.isTTY && !plain,
    columns: io.isTTY ? Math.max(20, io.columns) : Number.POSITIVE_INFINITY,
  };
}

/**
 * A block of text that is drawn over itself. The returned function replaces what it drew last; lines must fit the terminal's width, or
 * the count of lines to go up would be wrong.
 */
export function redrawing(io: Io): (text: string) => void {
  let height = 0;
  return (whole) => {
    // What is higher than the terminal could not be drawn over.
    const text = whole
      .split("\n")
      .slice(0, Math.max(1, (io.rows ?? Infinity) - 1))
      .join("\n");
    const up = height === 0 ? "" : `\u001b[${height}A\r\u001b[0J`;
    io.stdout(`${up}${text}\n`);
    height = text.split("\n").length;
  };
}
