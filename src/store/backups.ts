/**
 * Backups: what is recorded, the configuration file and the journal's end, copied into one folder each, `<timestamp>_<reason>`.
 *
 * A backup is made under a hidden name, synced and renamed, so that it is there whole or not at all; its state is not the file's bytes but what they
 * were read as, written anew, so that a damaged state is found when the backup is made and not when it is needed. Secrets (`admin.token`,
 * `cookie.key`) are no part of it. One is made at a time, and nobody waits for a disk that hangs for longer than `PATIENCE_MS`.
 */

import { createHash, randomUUID } from "node:crypto";
import { join } from "node:path";
import { z } from "zod";
import { codeOf, wordsOf } from "../domain/errors.ts";
import { PHASES, type Phase } from "../domain/rollout-types.ts";
import { retained, type Dated, type Retention } from "../domain/retention.ts";
import { millis, percentOf, type Millis } from "../domain/units.ts";
import type {
  BackupInfo,
  BackupShelf,
  Clock,
  LoadedBackup,
  Log,
  MadeBackup,
  RecordedState,
  StateDocument,
} from "../engine/ports.ts";
import { FILE, currentIn } from "./current.ts";
import { nodeDisk, type Disk } from "./disk.ts";
import { decodeState, encodeState } from "./document.ts";

/** Where backups go, and what they are made of. */
export interface BackupsOptions extends Retention {
  /** Made when it is missing, at the first backup. */
  readonly folder: string;
  /** Folder of the state. */
  readonly state: string;
  /** The configuration file as it was read; undefined when there is none. */
  readonly config: () => Uint8Array | undefined;
  /** The journal's last line; undefined when it has none. */
  readonly journal: () => Promise<JournalHead | undefined>;
  /** The program's version. */
  readonly program: string;
  readonly clock: Clock;
  readonly log: Log;
  /** For tests. */
  readonly disk?: Disk;
}

type JournalHead = Extract<LoadedBackup, { ok: true }>["head"];

/** Backups with a lifetime. */
export interface OpenBackups extends BackupShelf {
  /** Makes one whenever the newest is a day old, from now on; the returned function ends it. */
  daily(): () => void;
  /** Waits for what is being made, as long as anybody else does. */
  close(): Promise<void>;
}

const DAY_MS = millis(86_400_000);
/** Between two looks whether the day's backup is due. */
const LOOK_MS = millis(3_600_000);
const PATIENCE_MS = millis(30_000);
const LATE = { ok: false, detail: `not done in ${PATIENCE_MS / 1000} s; it goes on behind` } as const;
const MOST_WAITING = 16;
/** Backups of one millisecond and reason. */
const MOST_OF_ONE_NAME = 100;
/** What is hidden and older than this was left by a process that died: ms. */
const ABANDONED_MS = 600_000;

const MODE = 0o600;
const FOLDER_MODE = 0o700;
const MANIFEST = "manifest.json";
const CONFIG = "config.yaml";
const HEAD = "journal.head";
const NO_HEAD: JournalHead = { seq: 0, hash: "0".repeat(64) };
const NAME = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)\.(\d{3})Z_[A-Za-z0-9_-]{1,60}$/;

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const manifestSchema = z.object({
  format: z.literal(1),
  at: z.iso.datetime(),
  reason: z.string(),
  program: z.string(),
  version: z.int().min(0),
  /** Weights in percent. */
  routes: z.record(
    z.string(),
    z.object({
      phase: z.custom<Phase>((value) => PHASES.some((phase) => phase === value), "not a phase"),
      weight: z.number().min(0).max(100),
      rollout: z.string(),
    }),
  ),
  /** SHA-256 by name. */
  files: z.partialRecord(z.enum([FILE, CONFIG, HEAD]), hash),
});
const headSchema = z.object({ seq: z.int().min(0), hash });

/** The backups in `options.folder`. Touches nothing before the first is made. */
export function openBackups(options: BackupsOptions): OpenBackups {
  return new FolderBackups(options);
}

class FolderBackups implements OpenBackups {
  readonly #options: BackupsOptions;
  readonly #disk: Disk;
  /** The tail of the queue. */
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;
  /** When the day's backup is due, by the monotonic clock; undefined before it was looked up. */
  #due: Millis | undefined;

  constructor(options: BackupsOptions) {
    this.#options = options;
    this.#disk = options.disk ?? nodeDisk;
  }

  async create(reason: string): Promise<MadeBackup> {
    const { clock, log } = this.#options;
    const made = await (this.#waiting < MOST_WAITING
      ? soon(clock, this.#queued(reason), LATE)
      : { ok: false as const, detail: "too many wait for one that is being made" });
    if (made.ok) {
      this.#due = millis(clock.mono() + DAY_MS);
      log.info("a backup was made", { name: made.name, reason });
    } else log.error("no backup could be made", { reason, detail: made.detail });
    return made;
  }

  async list(): Promise<readonly BackupInfo[]> {
    const found: BackupInfo[] = [];
    for (const { name } of (await this.#dated()).toReversed()) {
      const read = await manifestOf(this.#disk, this.#options.folder, name);
      if (read.ok) found.push(read.info);
      else this.#options.log.warn("a backup cannot be read", { name, detail: read.detail });
    }
    return found;
  }

  load(name: string): Promise<LoadedBackup> {
    return readBackup(this.#options.folder, name, this.#disk);
  }

  daily(): () => void {
    const { clock } = this.#options;
    const look = async (): Promise<void> => {
      this.#due ??= await this.#firstDue();
      if (clock.mono() >= this.#due && !(await this.#isBlank())) await this.create("daily");
    };
    let last = look();
    return clock.every(LOOK_MS, () => (last = last.then(look)));
  }

  async close(): Promise<void> {
    const { clock, log } = this.#options;
    const isDone = this.#last.then(() => true);
    if (!(await soon(clock, isDone, false))) log.warn("a backup is left unfinished: the disk takes too long");
  }

  /** When the newest will be a day old, by the monotonic clock. One that seems to be of the future does not count. */
  async #firstDue(): Promise<Millis> {
    const { clock } = this.#options;
    const ages = (await this.#dated()).map(({ at }) => clock.wall() - at).filter((age) => age >= 0);
    return millis(clock.mono() + Math.max(0, DAY_MS - Math.min(...ages)));
  }

  /** Whether nothing was ever recorded, so that nothing can be lost. */
  async #isBlank(): Promise<boolean> {
    return (await currentIn(this.#options.state, this.#disk)).kind === "none";
  }

  #queued(reason: string): Promise<MadeBackup> {
    this.#waiting += 1;
    const made = this.#last.then(async (): Promise<MadeBackup> => {
      try {
        return await this.#make(reason);
      } catch (error) {
        return { ok: false, detail: wordsOf(error) };
      } finally {
        this.#waiting -= 1;
      }
    });
    this.#last = made;
    return made;
  }

  async #make(reason: string): Promise<MadeBackup> {
    const { folder, clock, program } = this.#options;
    const disk = this.#disk;
    const contents = await this.#contents();
    if (!contents.ok) return contents;
    const { files, document } = contents;
    const at = new Date(clock.wall()).toISOString();
    const manifest = {
      format: 1,
      at,
      reason,
      program,
      version: document?.version ?? 0,
      routes: inShort(document?.routes ?? {}),
    } as const;
    const sums = Object.fromEntries([...files].map(([name, content]) => [name, sumOf(content)]));
    files.set(MANIFEST, `${JSON.stringify({ ...manifest, files: sums }, null, 2)}\n`);
    const hidden = join(folder, `.making-${randomUUID()}`);
    try {
      await disk.makeFolder(hidden, FOLDER_MODE);
      for (const [name, content] of files) await disk.write(join(hidden, name), content, MODE);
      await disk.sync(hidden);
      const name = await this.#publish(hidden, `${at.replaceAll(/[-:]/g, "")}_${partOfName(reason)}`);
      await disk.sync(folder);
      await this.#prune(name);
      const { format: _, ...info } = manifest;
      return { ok: true, name, info: { name, ...info } };
    } finally {
      await disk.removeFolder(hidden).catch(() => {});
    }
  }

  /** The files but the manifest. */
  async #contents(): Promise<
    | {
        readonly ok: true;
        readonly files: Map<string, string | Uint8Array>;
        readonly document: StateDocument | undefined;
      }
    | { readonly ok: false; readonly detail: string }
  > {
    const { state, config, journal } = this.#options;
    const files = new Map<string, string | Uint8Array>();
    // Before the state: what the state has and this has not is looked at twice, which is better than not at all.
    const head = (await journal()) ?? NO_HEAD;
    files.set(HEAD, `${JSON.stringify({ seq: head.seq, hash: head.hash })}\n`);
    const current = await currentIn(state, this.#disk);
    if (current.kind === "corrupt")
      return { ok: false, detail: `the state cannot be read: ${current.detail}` };
    if (current.kind === "found") {
      const encoded = encodeState(current.document, current.lineage);
      if (!encoded.ok) return encoded;
      files.set(FILE, encoded.text);
    }
    const written = config();
    if (written !== undefined) files.set(CONFIG, written);
    return { ok: true, files, document: current.kind === "found" ? current.document : undefined };
  }

  /** Gives the hidden folder the first free name. */
  async #publish(hidden: string, stem: string): Promise<string> {
    for (let n = 1; ; n += 1) {
      const name = n === 1 ? stem : `${stem}-${n}`;
      try {
        // A folder that is not empty cannot be replaced.
        await this.#disk.rename(hidden, join(this.#options.folder, name));
        return name;
      } catch (error) {
        const isTaken = codeOf(error) === "ENOTEMPTY" || codeOf(error) === "EEXIST";
        if (!isTaken || n >= MOST_OF_ONE_NAME) throw error;
      }
    }
  }

  /** Every backup by its name, oldest first; none when the folder cannot be read. */
  async #dated(): Promise<readonly Dated[]> {
    const names = await this.#disk.list(this.#options.folder).catch(() => []);
    return names
      .flatMap((name) => {
        const at = wallOf(name);
        return at === undefined ? [] : [{ name, at }];
      })
      .sort((a, b) => a.at - b.at || (a.name < b.name ? -1 : 1));
  }

  /** Removes those that need not stay, and what processes that died have left. That it could not costs room, nothing else. */
  async #prune(made: string): Promise<void> {
    const { folder, clock, log } = this.#options;
    const disk = this.#disk;
    try {
      const all = await this.#dated();
      const kept = retained(all, this.#options, clock.wall());
      for (const { name } of all) {
        // The one just made may look old: the clock may have been set back.
        if (kept.has(name) || name === made) continue;
        const hidden = join(folder, `.removing-${randomUUID()}`);
        await disk.rename(join(folder, name), hidden);
        await disk.removeFolder(hidden);
        log.info("an old backup was removed", { name });
      }
      const now = await disk.writtenAt(join(folder, made));
      for (const name of await disk.list(folder)) {
        if (!/^\.(making|removing)-/.test(name)) continue;
        const age = now - (await disk.writtenAt(join(folder, name)).catch(() => now));
        if (age > ABANDONED_MS) await disk.removeFolder(join(folder, name));
      }
    } catch (error) {
      log.warn("could not remove old backups", { folder, detail: wordsOf(error) });
    }
  }
}

/** The backup `name` of `folder`, each of its files held against the manifest. Never rejects. */
export async function readBackup(folder: string, name: string, disk: Disk = nodeDisk): Promise<LoadedBackup> {
  const manifest = await manifestOf(disk, folder, name);
  if (!manifest.ok) return manifest;
  const texts: Record<string, string> = {};
  for (const [file, sum] of Object.entries(manifest.files)) {
    const text = await disk.read(join(folder, name, file)).catch(() => undefined);
    if (text === undefined) return damaged(`its ${file} cannot be read`);
    if (sumOf(text) !== sum) return damaged(`its ${file} is not what was backed up`);
    texts[file] = text;
  }
  const head = parsed(headSchema, texts[HEAD]);
  if (head === undefined) return damaged(`its ${HEAD} is none`);
  const state = texts[FILE];
  if (state === undefined) return { ok: true, info: manifest.info, document: undefined, head };
  const decoded = decodeState(state);
  if (!decoded.ok) return damaged(`its ${FILE}: ${decoded.detail}`);
  return { ok: true, info: manifest.info, document: decoded.document, head };
}

type Manifest =
  | {
      readonly ok: true;
      readonly info: BackupInfo;
      readonly files: z.output<typeof manifestSchema>["files"];
    }
  | Extract<LoadedBackup, { ok: false }>;

async function manifestOf(disk: Disk, folder: string, name: string): Promise<Manifest> {
  const missing = { ok: false, kind: "missing", detail: `there is no backup ${name} in ${folder}` } as const;
  // A name leads nowhere else.
  if (!NAME.test(name)) return missing;
  let text: string;
  try {
    text = await disk.read(join(folder, name, MANIFEST));
  } catch (error) {
    return codeOf(error) === "ENOENT" ? missing : damaged(wordsOf(error));
  }
  const manifest = parsed(manifestSchema, text);
  if (manifest === undefined) return damaged(`its ${MANIFEST} is none that this version knows`);
  const { at, reason, program, version, routes, files } = manifest;
  return { ok: true, info: { name, at, reason, program, version, routes }, files };
}

function damaged(detail: string): Extract<LoadedBackup, { ok: false }> {
  return { ok: false, kind: "damaged", detail };
}

/** `text` as `schema` reads it; undefined when it does not. */
function parsed<S extends z.ZodType>(schema: S, text: string | undefined): z.output<S> | undefined {
  try {
    return schema.parse(JSON.parse(text ?? ""));
  } catch {
    return undefined;
  }
}

function inShort(routes: Readonly<Record<string, RecordedState>>): BackupInfo["routes"] {
  return Object.fromEntries(
    Object.entries(routes).map(([name, { phase, weight, id }]) => [
      name,
      { phase, weight: percentOf(weight), rollout: id },
    ]),
  );
}

function sumOf(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex");
}

/** A reason as the end of a name: it cannot leave the folder, whatever it says. */
function partOfName(reason: string): string {
  return reason.replaceAll(/[^A-Za-z0-9_-]/g, "-").slice(0, 50) || "unnamed";
}

/** When the backup of that name was made, ms since the epoch; undefined for what is no such name. */
function wallOf(name: string): number | undefined {
  const parts = NAME.exec(name);
  if (parts === null) return undefined;
  const [, year, month, day, hour, minute, second, ms] = parts;
  const at = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}Z`);
  return Number.isNaN(at) ? undefined : at;
}

/** What `work` resolves, or `late` when it takes too long: then it goes on by itself. */
function soon<T>(clock: Clock, work: Promise<T>, late: T): Promise<T> {
  return new Promise((resolve) => {
    const stop = clock.every(PATIENCE_MS, () => {
      stop();
      resolve(late);
    });
    void work.then((result) => {
      stop();
      resolve(result);
    });
  });
}
