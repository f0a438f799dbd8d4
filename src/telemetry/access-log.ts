/**
 * The access log: a JSON line for each account that is to have one, in the form that `sluice backtest` reads.
 *
 * Lines are collected and written one batch after the other, never by whom they are about. A disk that is slow or full, or a reader that stalls, loses lines, which
 * are counted, and nothing else. A file is renamed when it is long enough, and opened anew when it is asked for, so that another program may have renamed it.
 */

import { mkdir, open, rename, stat, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import type { AccessLogConfig } from "../config/schema.ts";
import type { AccessLine } from "../domain/access-line.ts";
import type { Account } from "../domain/account.ts";
import { asAppError, codeOf } from "../domain/errors.ts";
import type { Log } from "../engine/ports.ts";

/** Lines by what became of them, since start. */
export interface LineCounts {
  readonly written: number;
  readonly dropped: number;
}

/** An access log. */
export interface AccessLog {
  /** Queues the line and returns at once. */
  take(account: Account): void;
  /** Writes to the file of that name from now on, whatever became of the one that was open. */
  reopen(): void;
  readonly counts: LineCounts;
  /** Writes what waits, within a bound; what is late is counted as dropped. */
  close(): Promise<void>;
}

/** Characters that wait for the disk, or for a reader, at the most. */
const MOST_WAITING = 8 * 1024 * 1024;
/** What waits at the end has so long to be written. */
const DRAIN_MS = 2000;

/** Takes text for the standard output; resolves when whoever reads that has made place for it. */
export type Write = (text: string) => Promise<void>;

/**
 * Opens nothing before there is a line.
 *
 * @param after no line is written before: another log may still have the same file
 */
export function openAccessLog(
  config: AccessLogConfig,
  write: Write,
  log: Log,
  after: Promise<void> = Promise.resolve(),
): AccessLog {
  const { to } = config;
  const sink = to === "stdout" ? new Output(write) : new RotatingFile(to.file, config, log);
  return new Lines(sink, log, after);
}

/** What an exchange's line says. */
export function accessLine(account: Account): AccessLine {
  const { startedAt, settledMs, latencyMs, why, bucket, keyHash, traceId, arm, reason, status } = account;
  return {
    time: new Date(startedAt + settledMs).toISOString(),
    route: account.route,
    arm,
    status,
    ms: latencyMs < 0 ? null : rounded(latencyMs),
    method: account.method,
    path: account.path,
    reason,
    ...(keyHash === "" ? {} : { key: keyHash }),
    ...(bucket < 0 ? {} : { bucket }),
    ...(why === "forced" ? { forced: true } : {}),
    ...(why === "rescue" ? {} : { why }),
    rescued: account.rescued,
    answered: account.answered,
    totalMs: rounded(account.totalMs),
    ...(traceId === "" ? {} : { traceId }),
  };
}

function rounded(ms: number): number {
  return Math.round(ms * 1000) / 1000;
}

/** Where batches of lines go. */
interface Sink {
  /** Rejects when they could not be written. */
  write(text: string): Promise<void>;
  reopen(): void;
  close(): Promise<void>;
}

class Lines implements AccessLog {
  readonly counts = { written: 0, dropped: 0 };
  readonly #sink: Sink;
  readonly #log: Log;
  readonly #after: Promise<void>;
  #batch: string[] = [];
  /** Taken, and neither written nor dropped yet: lines, and their characters. */
  #lines = 0;
  #waiting = 0;
  #writing: Promise<void> | undefined = undefined;
  #isFailing = false;

  constructor(sink: Sink, log: Log, after: Promise<void>) {
    this.#sink = sink;
    this.#log = log;
    this.#after = after;
  }

  take(account: Account): void {
    const line = `${JSON.stringify(accessLine(account))}\n`;
    if (this.#waiting + line.length > MOST_WAITING) {
      this.counts.dropped++;
      return;
    }
    this.#lines++;
    this.#waiting += line.length;
    this.#batch.push(line);
    this.#writing ??= this.#write().finally(() => (this.#writing = undefined));
  }

  reopen(): void {
    this.#sink.reopen();
  }

  async close(): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, DRAIN_MS)));
    const end = async (): Promise<void> => {
      await this.#writing;
      await this.#sink.close();
    };
    await Promise.race([end(), late]);
    clearTimeout(timer);
    // What is under way may yet be written, and is not waited for.
    this.#batch = [];
    this.#count("dropped", this.#lines);
  }

  #count(became: keyof LineCounts, lines: number): void {
    // What came too late was counted at the end.
    const count = Math.min(lines, this.#lines);
    this.#lines -= count;
    this.counts[became] += count;
  }

  async #write(): Promise<void> {
    // Not in the turn in which they come: those of one batch go together.
    await new Promise((resolve) => setImmediate(resolve));
    await this.#after;
    while (this.#batch.length > 0) {
      const lines = this.#batch;
      this.#batch = [];
      const text = lines.join("");
      try {
        await this.#sink.write(text);
        this.#count("written", lines.length);
        this.#isFailing = false;
      } catch (error) {
        this.#count("dropped", lines.length);
        if (!this.#isFailing)
          this.#log.error("the access log cannot be written", { detail: asAppError(error).message });
        this.#isFailing = true;
      }
      this.#waiting -= text.length;
    }
  }
}

/** The standard output. */
class Output implements Sink {
  readonly write: Write;

  constructor(write: Write) {
    this.write = write;
  }

  reopen(): void {
    // There is only the one.
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** A file that is renamed when it is long enough. */
class RotatingFile implements Sink {
  readonly #path: string;
  readonly #most: number;
  readonly #keep: number;
  readonly #log: Log;
  #file: FileHandle | undefined = undefined;
  #length = 0;
  /** As long as this it is renamed: longer than `size` after that has failed. */
  #limit: number;
  #isStale = false;

  constructor(path: string, { size, keep }: Pick<AccessLogConfig, "size" | "keep">, log: Log) {
    this.#path = path;
    this.#most = size;
    this.#keep = keep;
    this.#log = log;
    this.#limit = size;
  }

  async write(text: string): Promise<void> {
    if (this.#isStale) await this.close();
    const bytes = Buffer.from(text);
    if (this.#most > 0 && this.#length > 0 && this.#length + bytes.length > this.#limit) await this.#rotate();
    const file = (this.#file ??= await this.#opened());
    try {
      await file.appendFile(bytes);
      this.#length += bytes.length;
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  reopen(): void {
    this.#isStale = true;
    this.#limit = this.#most;
  }

  async close(): Promise<void> {
    const file = this.#file;
    this.#file = undefined;
    this.#length = 0;
    this.#isStale = false;
    await file?.close().catch(() => {});
  }

  async #opened(): Promise<FileHandle> {
    await mkdir(dirname(this.#path), { recursive: true, mode: 0o750 });
    // Whom requests came from, hashed, and where they went is for this machine's operators.
    const file = await open(this.#path, "a", 0o640);
    this.#length = (await file.stat()).size;
    return file;
  }

  async #rotate(): Promise<void> {
    const length = this.#length;
    await this.close();
    try {
      await this.#setAside();
      this.#limit = this.#most;
    } catch (error) {
      // It goes on growing, which loses nothing. Tried again when it is longer by as much, or opened anew.
      if (this.#limit === this.#most)
        this.#log.error("the access log cannot be renamed, and grows", { detail: asAppError(error).message });
      this.#limit = length + this.#most;
    }
  }

  async #setAside(): Promise<void> {
    const nth = (n: number): string => `${this.#path}.${n}`;
    // The file itself goes first: when it has to stay, none of the older ones may make room for it. One that is still there was left by a program that ended here.
    const isLeft = await isFile(nth(0));
    if (!isLeft && !(await renamed(this.#path, nth(0)))) return;
    try {
      // None of them may be renamed onto one that has stayed where it is.
      for (let n = this.#keep - 1; n >= 0; n--) await renamed(nth(n), nth(n + 1));
    } catch (error) {
      if (!isLeft) await rename(nth(0), this.#path);
      throw error;
    }
  }
}

async function isFile(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined);
  return found?.isFile() === true;
}

/** Renames a file if it is there; whether it was. */
async function renamed(from: string, to: string): Promise<boolean> {
  try {
    await rename(from, to);
    return true;
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
    return false;
  }
}
