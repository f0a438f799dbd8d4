/**
 * The state of a shared store as this replica last knew it, in a file of its own: what a start without the store goes on from.
 *
 * It is `state.json` as a store in a folder writes it, so that backups find it, and so that a replica that is given a shared store in place of its
 * folder brings its rollouts along. Of two fleets that use one folder by mistake, neither takes the other's.
 */

import { createHash, randomUUID } from "node:crypto";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { wordsOf } from "../domain/errors.ts";
import type { Log, StateDocument } from "../engine/ports.ts";
import { FILE, claimsOf, currentIn } from "./current.ts";
import { nodeDisk, removeQuietly, type Disk } from "./disk.ts";
import { encodeShared } from "./document.ts";

const MODE = 0o600;
const MARK = "fleet-";

/** Keeps a document for a start without the store. */
export interface Keeper {
  /** What is kept; undefined when there is nothing that could be gone on from. */
  read(): Promise<StateDocument | undefined>;
  /** Keeps `document`; soon, and only the newest of those that wait. */
  keep(document: StateDocument): void;
  /** Resolves when all is written. */
  close(): Promise<void>;
}

/** The file. */
export class LastKnown implements Keeper {
  readonly #folder: string;
  readonly #lineage: string;
  readonly #log: Log;
  readonly #disk: Disk;
  #next: StateDocument | undefined;
  #writing: Promise<void> | undefined;
  #isSaid = false;

  /** `name`: the fleet's. */
  constructor(folder: string, name: string, log: Log, disk: Disk = nodeDisk) {
    this.#folder = folder;
    this.#lineage = MARK + createHash("sha256").update(name).digest("hex").slice(0, 16);
    this.#log = log;
    this.#disk = disk;
  }

  async read(): Promise<StateDocument | undefined> {
    const current = await currentIn(this.#folder, this.#disk);
    if (current.kind === "none") return undefined;
    if (current.kind === "found") {
      const isOurs = current.lineage === this.#lineage || !current.lineage.startsWith(MARK);
      if (isOurs) return current.document;
    }
    this.#log.warn("the state as last known here is left alone", {
      file: join(this.#folder, FILE),
      detail: current.kind === "found" ? "it is another fleet's" : current.detail,
    });
    return undefined;
  }

  keep(document: StateDocument): void {
    this.#next = document;
    this.#writing ??= this.#write().finally(() => (this.#writing = undefined));
  }

  async close(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    // Whoever is told of it acts first, and what has come with it is read first.
    await turn();
    for (let document = this.#next; document !== undefined; document = this.#next) {
      this.#next = undefined;
      const temporary = join(this.#folder, `${FILE}.tmp-${randomUUID()}`);
      try {
        const encoded = encodeShared(document, this.#lineage);
        if (!encoded.ok) throw new Error(encoded.detail);
        await this.#disk.makeFolder(claimsOf(this.#folder), 0o700);
        await this.#disk.write(temporary, encoded.text, MODE);
        await this.#disk.rename(temporary, join(this.#folder, FILE));
        await this.#disk.sync(this.#folder);
        this.#isSaid = false;
      } catch (error) {
        // The store has it; what is lost is a start without the store.
        if (!this.#isSaid)
          this.#log.error("the state cannot be kept on this disk for a start without the store", {
            folder: this.#folder,
            detail: wordsOf(error),
          });
        this.#isSaid = true;
      } finally {
        await removeQuietly(this.#disk, temporary);
      }
    }
  }
}
