/**
 * One log as a source of lines: a file, gzipped or not, or standard input. What cannot be read is counted, and the first of it told with its
 * place; a file most of whose lines cannot be read is refused, since a verdict on the rest would be about something else.
 */

import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";
import { AppError, UNREAD, causeOf } from "../domain/errors.ts";
import { envoyReader } from "./envoy.ts";
import { readJson } from "./json.ts";
import { emptyLine, type Reader } from "./line.ts";
import { NGINX_FORMAT, nginxReader } from "./nginx.ts";
import type { Next, Source } from "./source.ts";

/** Forms that a line may have. */
export type LogFormat = "json" | "nginx" | "envoy";

/** How logs are to be read. */
export interface LogOptions {
  /** Undefined: each file's first line tells. */
  readonly format: LogFormat | undefined;
  /** NGINX's `log_format`; undefined: the combined one with `$request_time $upstream_addr`. */
  readonly layout: string | undefined;
  /** Addresses of the canary, HOST:PORT. */
  readonly canaries: ReadonlySet<string>;
  /** What `-` reads. */
  readonly stdin: AsyncIterable<Buffer>;
}

const CHUNK_BYTES = 1024 * 1024;
/** Much longer than any access log's line, and too short to fill the memory. */
const MAX_LINE = 64 * 1024;
/** So much of a log is looked through for lines of the canary before it begins. */
const LOOKED_THROUGH = 16 * 1024 * 1024;
/** So many lines that cannot be read are told. */
const TOLD = 5;
/** After so many lines it is looked whether most can be read. */
const JUDGED_AFTER = 1000;
const NEWLINE = 10;
const RETURN = 13;
const EMPTY = Buffer.alloc(0);

/** A log that is read. */
export class LogFile implements Source {
  readonly line = emptyLine();
  readonly name: string;
  readonly format: LogFormat;
  readonly #reader: Reader;
  readonly #chunks: AsyncIterator<Buffer>;
  #bytes: Buffer;
  #at = 0;
  #hasEnded = false;
  /** In a line that is too long: what is left of it is passed over. */
  #isPassing = false;
  /** Number of the line that was looked at last. */
  #number = 0;
  /** Lines that were not empty, and those that could not be read. */
  lines = 0;
  bad = 0;
  /** The first lines that could not be read: `file:line: reason`. */
  readonly told: string[] = [];

  private constructor(name: string, chunks: AsyncIterator<Buffer>, first: Buffer, options: LogOptions) {
    this.name = name;
    this.#chunks = chunks;
    // A byte order mark is no part of the first line.
    this.#bytes = first[0] === 0xef && first[1] === 0xbb && first[2] === 0xbf ? first.subarray(3) : first;
    this.format = options.format ?? formatOf(this.#bytes);
    this.#reader = readerOf(this.format, options);
  }

  /** Opens a log and reads its beginning. Throws SPLIT_LOG_UNREADABLE. @param name of a file; `-`: standard input */
  static async open(name: string, options: LogOptions): Promise<LogFile> {
    const chunks = told(name, name === "-" ? options.stdin : fileOf(name))[Symbol.asyncIterator]();
    const first: Buffer[] = [];
    let length = 0;
    while (length < LOOKED_THROUGH) {
      const chunk = await chunks.next();
      if (chunk.done === true) break;
      first.push(chunk.value);
      length += chunk.value.length;
    }
    return new LogFile(name, chunks, Buffer.concat(first), options);
  }

  /** Whether there are lines of the canary at its beginning. */
  get hasCanary(): boolean {
    const line = emptyLine();
    for (let at = 0; at < this.#bytes.length;) {
      const end = this.#bytes.indexOf(NEWLINE, at);
      if (end < 0) return false;
      const to = endOfText(this.#bytes, at, end);
      if (this.#reader(this.#bytes, at, to, line) === "" && line.arm === "canary") return true;
      at = end + 1;
    }
    return false;
  }

  next(): Next {
    for (;;) {
      const end = this.#bytes.indexOf(NEWLINE, this.#at);
      if (end < 0) return this.#atEnd();
      const from = this.#at;
      this.#at = end + 1;
      this.#number++;
      if (this.#isPassing) this.#isPassing = false;
      else if (this.#read(from, end)) return "line";
    }
  }

  /** What is left has no end yet. */
  #atEnd(): Next {
    if (!this.#hasEnded) return "more";
    const from = this.#at;
    this.#at = this.#bytes.length;
    if (from < this.#at && !this.#isPassing) {
      this.#number++;
      if (this.#read(from, this.#at)) return "line";
    }
    if (this.bad * 2 > this.lines) throw this.#unreadable();
    return "end";
  }

  #read(from: number, end: number): boolean {
    const bytes = this.#bytes;
    const to = endOfText(bytes, from, end);
    if (to === from) return false;
    this.lines++;
    const wrong = to - from > MAX_LINE ? TOO_LONG : this.#wrongIn(from, to);
    if (wrong === "") return true;
    this.refuse(wrong);
    return false;
  }

  #wrongIn(from: number, to: number): string {
    const wrong = this.#reader(this.#bytes, from, to, this.line);
    return wrong !== "" || (this.line.at >= 0 && this.line.at < LATEST) ? wrong : OUT_OF_TIME;
  }

  refuse(reason: string): void {
    this.bad++;
    if (this.told.length < TOLD) this.told.push(`${this.name}:${this.#number}: ${reason}`);
    if (this.lines >= JUDGED_AFTER && this.bad * 2 > this.lines) throw this.#unreadable();
  }

  #unreadable(): AppError {
    const hint = this.format === "nginx" ? "; its log_format can be named" : "";
    const said = `${this.name}: ${this.bad} of ${this.lines} lines cannot be read as ${this.format}${hint}`;
    return new AppError("SPLIT_LOG_UNREADABLE", [said, ...this.told].join("\n"));
  }

  /** Lets go of the file, whether it was read to its end or not. */
  async close(): Promise<void> {
    await this.#chunks.return?.();
  }

  /** The line that has begun is too long; where it ends is found later. */
  #passOver(): void {
    this.#isPassing = true;
    this.lines++;
    this.#number++;
    this.refuse(TOO_LONG);
    this.#number--;
  }

  async fill(): Promise<void> {
    let rest = this.#bytes.subarray(this.#at);
    this.#at = 0;
    if (rest.length > MAX_LINE && !rest.includes(NEWLINE)) {
      if (!this.#isPassing) this.#passOver();
      rest = EMPTY;
    }
    const chunk = await this.#chunks.next();
    if (chunk.done === true) {
      this.#hasEnded = true;
      this.#bytes = rest;
    } else this.#bytes = rest.length === 0 ? chunk.value : Buffer.concat([rest, chunk.value]);
  }
}

/** The year 2286: a date behind it is a number of something else. */
const LATEST = 1e13;
const OUT_OF_TIME = "its time is before 1970 or far from now";
const TOO_LONG = `it is longer than ${MAX_LINE / 1024} KiB`;

/** The end of a line's text: CRLF ends lines, too. */
function endOfText(bytes: Buffer, from: number, end: number): number {
  return end > from && bytes[end - 1] === RETURN ? end - 1 : end;
}

/** The form of the first line that is not empty. */
function formatOf(bytes: Buffer): LogFormat {
  let at = 0;
  while (bytes[at] === NEWLINE || bytes[at] === RETURN) at++;
  if (bytes[at] === 0x7b) return "json";
  return bytes[at] === 0x5b ? "envoy" : "nginx";
}

function readerOf(format: LogFormat, { layout, canaries }: LogOptions): Reader {
  if (format === "json") return readJson;
  if (format === "envoy") return envoyReader(canaries);
  const reader = nginxReader(layout ?? NGINX_FORMAT, canaries);
  if (reader === undefined) {
    const needs = "a time ($time_local, $time_iso8601 or $msec) and $status, and text between its fields";
    throw new AppError("SPLIT_USAGE", `--log-format needs ${needs}`);
  }
  return reader;
}

async function* fileOf(name: string): AsyncGenerator<Buffer> {
  const file = createReadStream(name, { highWaterMark: CHUNK_BYTES });
  if (!name.endsWith(".gz")) {
    yield* file as AsyncIterable<Buffer>;
    return;
  }
  const whole = createGunzip({ chunkSize: CHUNK_BYTES });
  file.on("error", (error) => whole.destroy(error));
  try {
    yield* file.pipe(whole) as AsyncIterable<Buffer>;
  } finally {
    file.destroy();
  }
}

/** The chunks, with a failure to read them told in this program's words. */
async function* told(name: string, chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* chunks;
  } catch (error) {
    throw new AppError("SPLIT_LOG_UNREADABLE", `cannot read ${name}: ${causeOf(error, WHY)}`, {
      cause: error,
    });
  }
}

const WHY: Readonly<Record<string, string>> = {
  ...UNREAD,
  Z_BUF_ERROR: "its gzip stream ends too soon",
  Z_DATA_ERROR: "it is not gzip",
};
