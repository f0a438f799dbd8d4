/**
 * Keeps what TLS needs up to date, in the main thread: the files' texts, looked at every two seconds, and the key that seals session tickets, which is
 * another one every twelve hours. Threads are told; they use the new texts for new connections.
 *
 * Files are looked at by their state and not watched: certbot and Kubernetes swap symbolic links somewhere above them, of which a watch of the
 * file's folder learns nothing. A change is taken when it has been still from one look to the next, because a certificate and its key are
 * written one after the other. Texts that cannot be used never replace usable ones: those stay, and the log says so once per change.
 */

import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import type { Config } from "../config/schema.ts";
import { asAppError } from "../domain/errors.ts";
import { millis } from "../domain/units.ts";
import type { Clock, Dice, Log } from "../engine/ports.ts";
import {
  armGroups,
  examine,
  listenGroups,
  PemShelf,
  readPems,
  TICKET_BYTES,
  type Found,
  type PemGroup,
  type Pems,
} from "./pem.ts";

const LOOK_MS = millis(2000);
const TICKETS_MS = millis(12 * 3_600_000);

/** What it needs. */
export interface PemWatchOptions {
  readonly clock: Clock;
  readonly dice: Dice;
  readonly log: Log;
}

/** The files of the configuration in force. */
export class PemWatch {
  readonly #options: PemWatchOptions;
  readonly #stops: (() => void)[] = [];
  /** What is in force. */
  readonly shelf = new PemShelf();
  /** Those of the listeners, which no reload changes. */
  #listening: readonly PemGroup[] = [];
  #arms: readonly PemGroup[] = [];
  /** The state of each file at the last look, and as it was when its text was taken. */
  #seen: ReadonlyMap<string, string> = new Map();
  #taken: ReadonlyMap<string, string> = new Map();
  /** What was said last about a group, so that it is said once. */
  readonly #complaints = new Map<string, string>();
  #running: Promise<unknown> = Promise.resolve();

  constructor(options: PemWatchOptions) {
    this.#options = options;
  }

  /** Reads everything that a configuration names, and looks at it from now on. Rejects with AppError when something cannot be used. */
  async open(config: Config): Promise<void> {
    const { clock } = this.#options;
    this.#listening = listenGroups(config);
    this.#arms = armGroups(config);
    this.#seal();
    const marks = await marksOf(pathsOf(this.#groups));
    this.#use(this.#groups, await readPems(marks.keys()), "must");
    this.#seen = marks;
    this.#taken = marks;
    this.#stops.push(
      clock.every(LOOK_MS, () => this.#inTurn(() => this.#look())),
      clock.every(TICKETS_MS, () => this.#seal()),
    );
  }

  /**
   * Reads everything anew, with what another configuration names, and puts in force what can be used. Rejects with AppError when that
   * configuration cannot be put in force, for want of a usable text; the one in force has all of its texts afterwards in either case.
   */
  prepare(config: Config): Promise<void> {
    return this.#inTurn(async () => {
      const groups = [...this.#listening, ...armGroups(config)];
      const marks = await marksOf(pathsOf([...groups, ...this.#arms]));
      const found = await readPems(marks.keys());
      this.#use(groups, found, "may");
      this.#seen = marks;
      this.#taken = readable(marks, found);
    });
  }

  /** That configuration, which was prepared, is in force; texts that it does not name are forgotten. */
  adopt(config: Config): void {
    this.#arms = armGroups(config);
    const named = new Set(pathsOf(this.#groups));
    const pems = new Map([...this.#pems].filter(([path]) => named.has(path)));
    if (pems.size < this.#pems.size) this.shelf.replace({ ...this.shelf.material, pems });
  }

  close(): void {
    for (const stop of this.#stops.splice(0)) stop();
  }

  get #groups(): readonly PemGroup[] {
    return [...this.#listening, ...this.#arms];
  }

  get #pems(): Pems {
    return this.shelf.material.pems;
  }

  #inTurn<T>(run: () => Promise<T>): Promise<T> {
    const result = this.#running.then(run);
    this.#running = result.catch(() => undefined);
    return result;
  }

  async #look(): Promise<void> {
    const marks = await marksOf(pathsOf(this.#groups));
    const changed = [...marks].filter(([path, mark]) => this.#taken.get(path) !== mark);
    const isStill = changed.every(([path, mark]) => this.#seen.get(path) === mark);
    this.#seen = marks;
    if (changed.length === 0 || !isStill) return;
    const found = await readPems(marks.keys());
    this.#use(this.#groups, found, "look");
    this.#taken = readable(marks, found);
  }

  /**
   * Puts in force what was found. `must`: everything has to be usable; `may`: only that for which there is nothing usable already, and what is
   * wrong is said again; `look`: nothing has to.
   */
  #use(groups: readonly PemGroup[], found: Found, how: "must" | "may" | "look"): void {
    const { log, clock } = this.#options;
    const wall = clock.wall();
    const bad = new Set<PemGroup>();
    for (const group of groups) {
      try {
        const oddities = examine(group, found, wall);
        this.#complaints.delete(idOf(group));
        if (how !== "look" || this.#isOther(group, found))
          for (const detail of oddities) log.warn("a certificate that clients may refuse", { detail });
      } catch (error) {
        // Throws where there is nothing usable in force either.
        if (how === "must") throw error;
        if (how === "may") examine(group, this.#pems, wall);
        bad.add(group);
        this.#complain(group, found, asAppError(error).message, how === "may");
      }
    }
    const renewed = takeable(groups, bad).filter((group) => this.#isOther(group, found));
    if (renewed.length === 0) return;
    const pems = new Map(this.#pems);
    for (const path of pathsOf(renewed)) {
      const text = found.get(path);
      if (typeof text === "string") pems.set(path, text);
    }
    this.shelf.replace({ ...this.shelf.material, pems });
    if (how !== "must") log.info("TLS files were read anew", { files: pathsOf(renewed) });
  }

  #isOther({ paths }: PemGroup, found: Found): boolean {
    return paths.some((path) => found.get(path) !== this.#pems.get(path));
  }

  #complain(group: PemGroup, found: Found, detail: string, again: boolean): void {
    const hash = createHash("sha256").update(detail);
    for (const path of group.paths) hash.update(String(found.get(path)));
    const change = hash.digest("hex");
    const id = idOf(group);
    if (!again && this.#complaints.get(id) === change) return;
    this.#complaints.set(id, change);
    this.#options.log.error("a changed TLS file cannot be used, the one before stays in force", { detail });
  }

  /** Another key for tickets. The dice's bytes are made exactly as many as a key needs, whatever text they came as. */
  #seal(): void {
    const { dice } = this.#options;
    const tickets = createHash("sha384").update(dice.token(TICKET_BYTES)).digest();
    this.shelf.replace({ ...this.shelf.material, tickets });
  }
}

/** Groups of which no file is also one of a bad group's: those stay together as they are. */
function takeable(groups: readonly PemGroup[], bad: ReadonlySet<PemGroup>): readonly PemGroup[] {
  const held = new Set([...bad].flatMap(({ paths }) => paths));
  let rest: readonly PemGroup[] = groups;
  for (;;) {
    const kept = rest.filter(({ paths }) => !paths.some((path) => held.has(path)));
    if (kept.length === rest.length) return rest;
    for (const { paths } of rest.filter((group) => !kept.includes(group)))
      for (const path of paths) held.add(path);
    rest = kept;
  }
}

function pathsOf(groups: readonly PemGroup[]): readonly string[] {
  return [...new Set(groups.flatMap(({ paths }) => paths))];
}

function idOf({ what, paths }: PemGroup): string {
  return [what, ...paths].join("\n");
}

/** Without the files that could not be read: those are tried again at the next look. */
function readable(marks: ReadonlyMap<string, string>, found: Found): ReadonlyMap<string, string> {
  return new Map([...marks].filter(([path]) => typeof found.get(path) === "string"));
}

/** What tells one state of a file from another, symbolic links followed. */
async function marksOf(paths: readonly string[]): Promise<ReadonlyMap<string, string>> {
  const marks = paths.map(async (path): Promise<readonly [string, string]> => {
    try {
      const { dev, ino, size, mtimeNs, ctimeNs } = await stat(path, { bigint: true });
      return [path, [dev, ino, size, mtimeNs, ctimeNs].join(" ")];
    } catch {
      return [path, "none"];
    }
  });
  return new Map(await Promise.all(marks));
}
