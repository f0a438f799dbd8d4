/**
 * What was told over which channel, in a file that survives a `kill -9`: one JSON line for each change, appended and on the disk before the message goes out. It
 * is read whole at a start and written anew when most of it is history, so it stays small.
 *
 * It is no queue: messages themselves are kept with the decisions they tell of. If the file cannot be written people are told all the same, and what was told is
 * known until the process ends. A file that could not be opened is tried again with each line that is to be kept, and never in between.
 */

import { mkdir, open, type FileHandle } from "node:fs/promises";
import { join } from "node:path";
import { codeOf } from "../domain/errors.ts";
import { isRecord } from "../domain/record.ts";
import type { Clock, Fate, Log, Outbox } from "../engine/ports.ts";
import { nodeDisk, removeQuietly } from "./disk.ts";

const FILE = "outbox.jsonl";
const MODE = 0o600;
/** Nobody hands a message over again after so long: ms. */
const KEPT_MS = 86_400_000;
/** Messages that are remembered; the oldest is forgotten. */
const MOST_FATES = 5000;
const MOST_NOTES = 2000;
/** Lines beyond what is known before the file is written anew. */
const SLACK_LINES = 2000;
const MOST_BYTES = 32 * 1024 * 1024;

/** Where it is, and whom it needs. */
export interface OutboxOptions {
  /** The state's folder; null: in memory. */
  readonly folder: string | null;
  readonly clock: Pick<Clock, "wall">;
  readonly log: Log;
}

/** A line of the file. */
type Line =
  | { readonly at: number; readonly channel: string; readonly id: string; readonly fate: Fate }
  | { readonly at: number; readonly channel: string; readonly key: string; readonly value: string | null };

/** The outbox, as it was left. Never rejects: what cannot be read is told to the log, and nothing is known then. */
export async function openOutbox(options: OutboxOptions): Promise<Outbox> {
  const outbox = new KeptOutbox(options);
  await outbox.read();
  return outbox;
}

/** An outbox that forgets with the process. */
export function memoryOutbox(clock: Pick<Clock, "wall">, log: Log): Outbox {
  return new KeptOutbox({ folder: null, clock, log });
}

class KeptOutbox implements Outbox {
  readonly #options: OutboxOptions;
  readonly #fates = new Map<string, { readonly at: number; readonly fate: Fate }>();
  readonly #notes = new Map<string, Map<string, string>>();
  #file: FileHandle | undefined;
  #lines = 0;
  #isClosed = false;
  /** A line may have been left unfinished: the next one begins on a line of its own. */
  #isTorn = false;
  #isFailing = false;
  /** The tail of the queue: writes run one after the other. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: OutboxOptions) {
    this.#options = options;
  }

  get #path(): string {
    return join(this.#options.folder ?? "", FILE);
  }

  async read(): Promise<void> {
    const { folder, log } = this.#options;
    if (folder === null) return;
    try {
      await this.#open(folder);
    } catch (error) {
      log.error("what was told before is not known", { file: this.#path, error });
    }
  }

  fate(id: string, channel: string): Fate {
    return this.#fates.get(nameOf(id, channel))?.fate ?? "new";
  }

  mark(id: string, channel: string, fate: Fate): Promise<boolean> {
    return this.#add({ at: this.#options.clock.wall(), channel, id, fate });
  }

  notes(channel: string): ReadonlyMap<string, string> {
    return this.#notes.get(channel) ?? new Map<string, string>();
  }

  note(channel: string, key: string, value: string | undefined): Promise<boolean> {
    return this.#add({ at: this.#options.clock.wall(), channel, key, value: value ?? null });
  }

  close(): Promise<void> {
    return this.#queued(async () => {
      const file = this.#file;
      this.#file = undefined;
      this.#isClosed = true;
      await file?.close().catch(() => {});
    });
  }

  /** Opens it and takes up what it says. */
  async #open(folder: string): Promise<FileHandle> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    const file = await open(this.#path, "a+", MODE);
    this.#file = file;
    // One that cannot be read is written anew with the first line that is kept.
    this.#lines = Infinity;
    const { size } = await file.stat();
    if (size > MOST_BYTES) throw new Error(`${FILE} is longer than ${MOST_BYTES} bytes`);
    const text = await file.readFile("utf8");
    // Told while it could not be opened: newer than all of it, and in none of its lines.
    const since = [...this.#history()];
    this.#fates.clear();
    this.#notes.clear();
    const kept = text.split("\n").flatMap((each) => lineOf(each) ?? []);
    for (const line of [...kept, ...since]) this.#take(line);
    this.#isTorn = text !== "" && !text.endsWith("\n");
    if (since.length === 0) this.#lines = kept.length;
    return file;
  }

  #queued<T>(run: () => Promise<T>): Promise<T> {
    const next = this.#last.then(run);
    this.#last = next.catch(() => {});
    return next;
  }

  #add(line: Line): Promise<boolean> {
    this.#take(line);
    return this.#queued(() => this.#write(line));
  }

  #take(line: Line): void {
    if ("id" in line) {
      const name = nameOf(line.id, line.channel);
      // Last in the order of the map, too.
      this.#fates.delete(name);
      if (line.fate !== "new") this.#fates.set(name, { at: line.at, fate: line.fate });
      for (const [oldest, { at }] of this.#fates) {
        if (this.#fates.size <= MOST_FATES && at > line.at - KEPT_MS) break;
        this.#fates.delete(oldest);
      }
      return;
    }
    const notes = this.#notes.get(line.channel) ?? new Map<string, string>();
    this.#notes.set(line.channel, notes);
    notes.delete(line.key);
    if (line.value !== null) notes.set(line.key, line.value);
    const [oldest] = notes.keys();
    if (notes.size > MOST_NOTES && oldest !== undefined) notes.delete(oldest);
  }

  async #write(line: Line): Promise<boolean> {
    const { folder } = this.#options;
    if (folder === null || this.#isClosed) return false;
    try {
      let file = this.#file ?? (await this.#open(folder));
      if (this.#lines >= this.#known() * 2 + SLACK_LINES) file = await this.#rewrite(folder);
      const text = `${this.#isTorn ? "\n" : ""}${JSON.stringify(line)}\n`;
      this.#isTorn = true;
      await file.appendFile(text);
      await file.datasync();
      this.#isTorn = false;
      this.#isFailing = false;
      this.#lines += 1;
      return true;
    } catch (error) {
      if (!this.#isFailing)
        this.#options.log.error("what was told cannot be kept; after a restart it may be told again", {
          file: this.#path,
          code: codeOf(error),
        });
      this.#isFailing = true;
      return false;
    }
  }

  #known(): number {
    return this.#fates.size + [...this.#notes.values()].reduce((sum, notes) => sum + notes.size, 0);
  }

  /** The same, without its history: whole under another name first. */
  async #rewrite(folder: string): Promise<FileHandle> {
    const temporary = `${this.#path}.tmp`;
    await removeQuietly(nodeDisk, temporary);
    const lines = [...this.#history()];
    await nodeDisk.write(temporary, lines.map((line) => `${JSON.stringify(line)}\n`).join(""), MODE);
    await nodeDisk.rename(temporary, this.#path);
    await nodeDisk.sync(folder);
    const before = this.#file;
    const file = await open(this.#path, "a", MODE);
    this.#file = file;
    await before?.close().catch(() => {});
    this.#isTorn = false;
    this.#lines = lines.length;
    return file;
  }

  *#history(): Generator<Line> {
    for (const [name, { at, fate }] of this.#fates) {
      const [channel, id] = partsOf(name);
      yield { at, channel, id, fate };
    }
    const at = this.#options.clock.wall();
    for (const [channel, notes] of this.#notes)
      for (const [key, value] of notes) yield { at, channel, key, value };
  }
}

/** A channel's name has no space. */
function nameOf(id: string, channel: string): string {
  return `${channel} ${id}`;
}

function partsOf(name: string): readonly [string, string] {
  const space = name.indexOf(" ");
  return [name.slice(0, space), name.slice(space + 1)];
}

/** A line as it was written; undefined for one that was torn, or is none. */
function lineOf(text: string): Line | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (!isRecord(value)) return undefined;
    const { at, channel, id, fate, key, value: note } = value;
    if (typeof at !== "number" || typeof channel !== "string") return undefined;
    if (typeof id === "string" && (fate === "new" || fate === "begun" || fate === "done"))
      return { at, channel, id, fate };
    if (typeof key === "string" && (typeof note === "string" || note === null))
      return { at, channel, key, value: note };
    return undefined;
  } catch {
    return undefined;
  }
}
