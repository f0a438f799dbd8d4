/**
 * The journal: the audit trail, append-only JSON lines in one file, each on the disk before `append` says so.
 *
 * The file is the truth, not this process's memory of it: before each append its length is compared with the length it should
 * have, and if they differ (an append that failed half-way, another process that writes to it too, a kill -9 before this start) the
 * end of the file is read again. What stands behind the last whole line was never acknowledged; it is moved aside to `<file>.torn-<n>`
 * and cut off, so that the next line begins on a line of its own. Only the end is read: opening costs the same on the first day and in the
 * tenth year.
 */

import { mkdir, open, readdir, writeFile, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { AppError, asAppError } from "../domain/errors.ts";
import type { Clock, Journal, JournalEntry, JournalLine, Log } from "../engine/ports.ts";
import { FIRST_HASH, nextLine, parseLine, type ChainEnd } from "./journal-line.ts";

export { verifyJournal } from "./journal-line.ts";

/** Where the journal is, and whom it needs. */
export interface JournalOptions {
  /** The file; its folder is made when it is missing. Null: in memory, the last 1000 lines. */
  readonly path: string | null;
  readonly clock: Pick<Clock, "wall">;
  readonly log: Log;
}

/** A journal with a lifetime. */
export interface OpenJournal extends Journal {
  /** Waits for the appends under way; later ones resolve false. */
  close(): Promise<void>;
  /** Appends that failed since it was opened. */
  readonly errors: number;
}

const KEPT_IN_MEMORY = 1000;
const CHUNK_BYTES = 64 * 1024;
const START: ChainEnd = { seq: 0, hash: FIRST_HASH };

/**
 * The journal at `path`, ready to go on where it ended. Throws AppError SPLIT_STATE_UNWRITABLE when the file can be neither opened nor made; a
 * file with a damaged end opens.
 */
export async function openJournal(options: JournalOptions): Promise<OpenJournal> {
  const { path, clock, log } = options;
  if (path === null) return new MemoryJournal(clock, log);
  const file = await opened(path);
  const journal = new FileJournal(file, path, clock, log);
  try {
    await journal.resume();
  } catch (error) {
    // A full or read-only disk: it opens all the same, and each append tries again.
    log.error("could not repair the end of the journal", { file: path, error });
  }
  return journal;
}

async function opened(path: string): Promise<FileHandle> {
  const folder = dirname(path);
  try {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    return await open(path, "a+", 0o600);
  } catch (error) {
    const why = asAppError(error).message;
    throw new AppError("SPLIT_STATE_UNWRITABLE", `cannot write the journal in ${folder}: ${why}`, {
      cause: error,
    });
  }
}

class MemoryJournal implements OpenJournal {
  readonly #clock: JournalOptions["clock"];
  readonly #log: Log;
  readonly #lines: JournalLine[] = [];
  #end: ChainEnd = START;
  errors = 0;

  constructor(clock: JournalOptions["clock"], log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  async append(entry: JournalEntry): Promise<boolean> {
    try {
      const text = JSON.stringify(nextLine(entry, this.#end, this.#clock.wall()));
      const line = parseLine(text);
      if (line === undefined) throw new TypeError("not a journal entry");
      this.#lines.push(line);
      if (this.#lines.length > KEPT_IN_MEMORY) this.#lines.shift();
      this.#end = line;
      return true;
    } catch (error) {
      this.errors += 1;
      this.#log.error("could not write to the journal", { event: entry.event, route: entry.route, error });
      return false;
    }
  }

  async read(options: { readonly limit: number; readonly route?: string }): Promise<readonly JournalLine[]> {
    if (!(options.limit >= 1)) return [];
    return this.#lines
      .filter((line) => options.route === undefined || line.route === options.route)
      .slice(-Math.floor(options.limit));
  }

  async close(): Promise<void> {}
}

class FileJournal implements OpenJournal {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #clock: JournalOptions["clock"];
  readonly #log: Log;
  #end: ChainEnd = START;
  /** Bytes up to and with the last good line; −1 while the end of the file is not known. */
  #length = -1;
  /** The tail of the queue: appends and reads run one after the other. */
  #last: Promise<unknown> = Promise.resolve();
  /** Hash of a line that was refused and could not be taken back: it must not count, though it can be read. */
  #refused = "";
  #closed = false;
  errors = 0;

  constructor(file: FileHandle, path: string, clock: JournalOptions["clock"], log: Log) {
    this.#file = file;
    this.#path = path;
    this.#clock = clock;
    this.#log = log;
  }

  append(entry: JournalEntry): Promise<boolean> {
    return this.#queued(async () => {
      try {
        if (this.#closed) throw new Error("the journal is closed");
        await this.#appendOne(entry);
        return true;
      } catch (error) {
        this.errors += 1;
        this.#log.error("could not write to the journal", { event: entry.event, route: entry.route, error });
        return false;
      }
    });
  }

  /** Skips lines that cannot be read, and resolves with what there is when the disk fails. */
  read(options: { readonly limit: number; readonly route?: string }): Promise<readonly JournalLine[]> {
    return this.#queued(async () => {
      const found: JournalLine[] = [];
      if (this.#closed || !(options.limit >= 1)) return found;
      try {
        const end = this.#length >= 0 ? this.#length : (await this.#file.stat()).size;
        for await (const { text } of this.#linesBackwards(end)) {
          const line = parseLine(text);
          if (line === undefined || (options.route !== undefined && line.route !== options.route)) continue;
          found.push(line);
          if (found.length >= options.limit) break;
        }
      } catch (error) {
        this.#log.error("could not read the journal", { file: this.#path, error });
      }
      return found.toReversed();
    });
  }

  close(): Promise<void> {
    return this.#queued(async () => {
      if (this.#closed) return;
      this.#closed = true;
      await this.#file.close().catch(() => {});
    });
  }

  /** Finds the last line that can be read, moves what stands behind it aside, and goes on from it. */
  async resume(): Promise<void> {
    this.#length = -1;
    const { size } = await this.#file.stat();
    let end = 0;
    this.#end = START;
    for await (const { text, upTo } of this.#linesBackwards(size)) {
      const line = parseLine(text);
      if (line === undefined || line.hash === this.#refused) continue;
      this.#end = line;
      end = upTo;
      break;
    }
    if (end < size) await this.#setAside(end, size);
    this.#length = end;
  }

  #queued<T>(run: () => Promise<T>): Promise<T> {
    const next = this.#last.then(run);
    this.#last = next.catch(() => {});
    return next;
  }

  async #appendOne(entry: JournalEntry): Promise<void> {
    if ((await this.#file.stat()).size !== this.#length) await this.resume();
    const line = nextLine(entry, this.#end, this.#clock.wall());
    const bytes = Buffer.from(`${JSON.stringify(line)}\n`);
    try {
      // One write: if the disk takes only a part of it, the rest would not fare better.
      const { bytesWritten } = await this.#file.write(bytes);
      if (bytesWritten !== bytes.length) {
        throw new Error(`the disk took ${bytesWritten} of ${bytes.length} bytes`);
      }
      await this.#file.datasync();
    } catch (error) {
      await this.#retract(bytes, line.hash);
      throw error;
    }
    this.#length += bytes.length;
    this.#end = line;
  }

  /** Takes a failed line back. If that fails too, or someone else has written meanwhile, the next append sorts it out. */
  async #retract(bytes: Buffer, hash: string): Promise<void> {
    try {
      const { size } = await this.#file.stat();
      if (size > this.#length) {
        const written = await this.#bytes(this.#length, size);
        const ours = written.length <= bytes.length && bytes.subarray(0, written.length).equals(written);
        if (!ours) throw new Error("the journal has another writer");
        await this.#file.truncate(this.#length);
      }
    } catch (error) {
      this.#refused = hash;
      this.#log.warn("could not take a failed journal line back", { file: this.#path, error });
    } finally {
      // A write that failed says nothing about what is on the disk: the end is read again before the next line.
      this.#length = -1;
    }
  }

  async #setAside(from: number, to: number): Promise<void> {
    const name = `${basename(this.#path)}.torn-`;
    let keptAs = "";
    try {
      const taken = new Set(await readdir(dirname(this.#path)));
      let n = 1;
      while (taken.has(name + String(n))) n += 1;
      keptAs = join(dirname(this.#path), name + String(n));
      await writeFile(keptAs, this.#chunks(from, to), { flag: "wx", mode: 0o600, flush: true });
    } catch (error) {
      this.#log.error("could not keep a torn end of the journal; it stays where it is", {
        file: this.#path,
        error,
      });
      throw error;
    }
    await this.#file.truncate(from);
    await this.#file.datasync();
    this.#log.warn("the end of the journal was torn and was set aside", {
      file: this.#path,
      bytes: to - from,
      keptAs,
    });
  }

  async *#chunks(from: number, to: number): AsyncGenerator<Buffer> {
    for (let at = from; at < to; at += CHUNK_BYTES)
      yield await this.#bytes(at, Math.min(at + CHUNK_BYTES, to));
  }

  async #bytes(from: number, to: number): Promise<Buffer> {
    const { buffer, bytesRead } = await this.#file.read(Buffer.alloc(to - from), 0, to - from, from);
    return buffer.subarray(0, bytesRead);
  }

  /** The whole lines that end before `end`, last first; `upTo` is the offset behind a line's newline. */
  async *#linesBackwards(end: number): AsyncGenerator<{ readonly text: string; readonly upTo: number }> {
    let pieces: Buffer[] = []; // of the line whose start was not seen yet, last piece first
    let upTo = -1; // behind the newline of that line; −1 until the last newline was seen
    for (let to = end; to > 0; to -= CHUNK_BYTES) {
      const from = Math.max(0, to - CHUNK_BYTES);
      let rest = await this.#bytes(from, to);
      for (let at = rest.lastIndexOf(10); at >= 0; at = rest.lastIndexOf(10)) {
        pieces.push(rest.subarray(at + 1));
        if (upTo >= 0) yield { text: textOf(pieces), upTo };
        pieces = [];
        upTo = from + at + 1;
        rest = rest.subarray(0, at);
      }
      if (upTo >= 0) pieces.push(rest);
    }
    if (upTo >= 0) yield { text: textOf(pieces), upTo };
  }
}

function textOf(pieces: readonly Buffer[]): string {
  return Buffer.concat(pieces.toReversed()).toString("utf8");
}
