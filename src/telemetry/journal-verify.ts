/**
 * Checks a journal's file from its first line to its last, as it lies there: a piece at a time, so that gigabytes cost no memory, and without
 * asking the program that may be writing to it. What stands behind the last line end is a line that is not whole yet, and no fault.
 */

import { createReadStream } from "node:fs";
import { parseLine, troubleOf, type ChainEnd } from "./journal-line.ts";

/** What a check came to. */
export interface JournalCheck {
  /** Lines that hold, up to the end or the first that does not. */
  readonly lines: number;
  /** Number of the first line in the file, in the journal's own counting; 0 when there is none. */
  readonly first: number;
  /** The last line that holds; undefined when there is none. */
  readonly last: ChainEnd | undefined;
  /** Bytes behind the last line end. */
  readonly unfinished: number;
  /** The first line of the file that does not hold, from 1; undefined when all do. */
  readonly broken: { readonly line: number; readonly what: string } | undefined;
  /** Why the journal does not go on from `head`; undefined when it does, none was given, or the journal is broken. */
  readonly against: string | undefined;
}

/** No line of a journal is as long: bytes. */
const LONGEST_LINE = 16 * 1024 * 1024;

/**
 * Checks `file`; and with `head`, the end that was noted elsewhere, that the journal still has it. Rejects with the platform's error when the file
 * cannot be read.
 */
export async function checkJournal(file: string, head?: ChainEnd): Promise<JournalCheck> {
  let [lines, first, unfinished] = [0, 0, 0];
  let last: ChainEnd | undefined;
  let atHead: string | undefined;
  const result = (broken?: string): JournalCheck => ({
    lines,
    first,
    last,
    unfinished,
    broken: broken === undefined ? undefined : { line: lines + 1, what: broken },
    against:
      head === undefined || broken !== undefined
        ? undefined
        : missing(head, atHead, { first, last: last?.seq ?? 0 }),
  });
  for await (const { text, rest } of linesOf(file)) {
    unfinished = rest;
    if (rest > LONGEST_LINE) return result("it has no end within 16 MiB");
    if (text === undefined) continue;
    const line = parseLine(text);
    const trouble = line === undefined ? "it is no line of a journal" : troubleOf(line, last);
    if (line === undefined || trouble !== undefined) return result(trouble);
    if (lines === 0) first = line.seq;
    if (line.seq === head?.seq) atHead = line.hash;
    last = { seq: line.seq, hash: line.hash };
    lines += 1;
  }
  return result();
}

/** Why a journal with the lines `first` to `last` does not go on from `head`. */
function missing(
  head: ChainEnd,
  found: string | undefined,
  { first, last }: { readonly first: number; readonly last: number },
): string | undefined {
  if (head.seq === 0 || found === head.hash) return undefined;
  if (found !== undefined) return `line ${head.seq} is another one than it was`;
  if (last < head.seq) return `it ends at line ${last}, and had line ${head.seq}`;
  return `it begins at line ${first}, behind line ${head.seq}`;
}

/** Each line of `file`, and after each piece of it how many bytes wait for their line's end. */
async function* linesOf(
  file: string,
): AsyncGenerator<{ readonly text: string | undefined; readonly rest: number }> {
  let waiting: Buffer[] = [];
  let rest = 0;
  // A stream of bytes gives buffers.
  for await (const piece of createReadStream(file) as AsyncIterable<Buffer>) {
    let from = 0;
    for (let end = piece.indexOf(10); end >= 0; end = piece.indexOf(10, from)) {
      const text = Buffer.concat([...waiting, piece.subarray(from, end)]).toString("utf8");
      waiting = [];
      rest = 0;
      from = end + 1;
      yield { text, rest };
    }
    if (from === piece.length) continue;
    waiting.push(piece.subarray(from));
    rest += piece.length - from;
    yield { text: undefined, rest };
  }
}
