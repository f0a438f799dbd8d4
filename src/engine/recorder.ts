/**
 * Keeps the record in step with what is in force: state to the store, entries to the journal, one writer, in order.
 *
 * Two kinds of saving. `record` answers whether the state is durable: a climb waits for it and stays where it is when it fails. `offer` is for
 * what is in force already (a rollback, the clocks of a tick): it is taken at once, coalesced with what else waits, and tried again every
 * `retry` until it is written. So a full or hanging disk stops climbing and delays nothing towards stable (product.md §2.14).
 */

import { isDeepStrictEqual } from "node:util";
import type { RolloutState } from "../domain/rollout-types.ts";
import { ALL_OFF, isAllOff, type SafetyState } from "../domain/safety.ts";
import type { Clock, Journal, JournalEntry, Log, RecordedState, StateDocument, Store } from "./ports.ts";

const JOURNAL_WAITING = 1000;

/** The rollout in what is recorded of a route, without what goes with it: its evidence, and what people were told. */
export function rolloutIn(recorded: RecordedState): RolloutState {
  const {
    evidence: _evidence,
    notices: _notices,
    bulletins: _bulletins,
    alerts: _alerts,
    ...state
  } = recorded;
  return state;
}

/** What the recorder works with. */
export interface RecorderPorts {
  readonly store: Store;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Log;
  /** Called when saving begins to fail and when it works again. */
  readonly onHealth: (healthy: boolean, detail: string) => void;
}

/** The one writer of state and journal. */
export class Recorder {
  readonly #ports: RecorderPorts;
  #routes: Record<string, RecordedState>;
  #safety: SafetyState;
  #version: number;
  #dirty = false;
  #saving: Promise<boolean> | undefined;
  #entries: JournalEntry[] = [];
  #appending: Promise<boolean> | undefined;
  #healthy = true;
  #trouble = "";
  #journals = true;
  storeErrors = 0;
  journalErrors = 0;

  /** @param document what the store remembers; undefined: nothing */
  constructor(ports: RecorderPorts, document: StateDocument | undefined) {
    this.#ports = ports;
    this.#version = document?.version ?? 0;
    this.#routes = { ...document?.routes };
    this.#safety = document?.safety ?? ALL_OFF;
  }

  /** Version of the last document that was written. */
  get version(): number {
    return this.#version;
  }

  /** What is, or is being, recorded of a route, also of one that is not configured now; undefined when there is nothing. */
  stateOf(route: string): RecordedState | undefined {
    return this.#routes[route];
  }

  /** The safety switches that are, or are being, recorded. */
  get safety(): SafetyState {
    return this.#safety;
  }

  /** Why the last save failed; empty: it did not. */
  get trouble(): string {
    return this.#trouble;
  }

  /** Whether the last line for the journal could be written. */
  get journals(): boolean {
    return this.#journals;
  }

  /** Whether everything offered has been written. */
  get isCurrent(): boolean {
    return this.#isSaved && this.#entries.length === 0;
  }

  /** The state to be on disk from now on; written soon. What stands still is not written again every second. */
  offer(route: string, state: RecordedState): void {
    if (isDeepStrictEqual(this.#routes[route], state)) return;
    this.#routes[route] = state;
    this.#dirty = true;
    void this.#flush();
  }

  /** The state of a route that is not there any more is not kept; written with what comes next. */
  forget(route: string): void {
    const { [route]: _gone, ...kept } = this.#routes;
    this.#routes = kept;
  }

  /** Writes `state`; resolves whether a document that holds it, or what replaced it since, is durable. Never rejects. */
  record(route: string, state: RecordedState): Promise<boolean> {
    this.#routes[route] = state;
    return this.#written();
  }

  /** The same of the safety switches. */
  recordSafety(safety: SafetyState): Promise<boolean> {
    this.#safety = safety;
    return this.#written();
  }

  async #written(): Promise<boolean> {
    this.#dirty = true;
    // A save that is under way holds an older document: its end is not ours, that of the next is.
    if (this.#saving !== undefined) await this.#saving;
    return this.#flush();
  }

  /** Appends `entry` after all that wait; resolves whether it is durable. It stays in the queue when it is not. */
  async journal(entry: JournalEntry): Promise<boolean> {
    this.#entries.push(entry);
    if (this.#entries.length > JOURNAL_WAITING) this.#entries.shift();
    // What is being appended may end before it reaches this entry.
    await this.#appending;
    await this.#append();
    return !this.#entries.includes(entry);
  }

  /** Takes back an entry that could not be written, because what it told of did not happen. */
  withdraw(entry: JournalEntry): void {
    this.#entries = this.#entries.filter((each) => each !== entry);
  }

  /** Tries again what could not be written. */
  retry(): void {
    if (this.#dirty) void this.#flush();
    if (this.#entries.length > 0) void this.#append();
  }

  /** Writes what waits, once; for the end of the process. */
  async finish(): Promise<void> {
    await this.#saving;
    if (!this.#isSaved) await this.#flush();
    await this.#append();
  }

  get #isSaved(): boolean {
    return !this.#dirty && this.#saving === undefined;
  }

  /** One save, and when there is something newer by then, the next: whoever waits for one waits for no more than that. */
  #flush(): Promise<boolean> {
    this.#saving ??= this.#save().finally(() => {
      this.#saving = undefined;
      // What failed waits for `retry`.
      if (this.#dirty && this.#healthy) void this.#flush();
    });
    return this.#saving;
  }

  async #save(): Promise<boolean> {
    this.#dirty = false;
    const { clock, store } = this.#ports;
    const document: StateDocument = {
      format: 1,
      version: this.#version + 1,
      savedAt: new Date(clock.wall()).toISOString(),
      routes: { ...this.#routes },
      ...(isAllOff(this.#safety) ? {} : { safety: this.#safety }),
    };
    const saved = await store.save(document);
    if (saved.ok) {
      this.#version = document.version;
      this.#report(true, "");
      return true;
    }
    this.#dirty = true;
    this.storeErrors++;
    if (saved.kind === "conflict") {
      // Another writer on the same state: go on from its number, so that what is in force here can be recorded at the next try.
      this.#version = saved.found;
      this.#report(false, `another process wrote version ${saved.found}`);
    } else {
      this.#report(false, saved.detail);
    }
    return false;
  }

  #append(): Promise<boolean> {
    this.#appending ??= this.#appendAll().finally(() => {
      this.#appending = undefined;
    });
    return this.#appending;
  }

  async #appendAll(): Promise<boolean> {
    for (let entry = this.#entries[0]; entry !== undefined; entry = this.#entries[0]) {
      if (!(await this.#ports.journal.append(entry))) {
        this.journalErrors++;
        this.#journals = false;
        return false;
      }
      this.withdraw(entry);
    }
    this.#journals = true;
    return true;
  }

  #report(healthy: boolean, detail: string): void {
    this.#trouble = detail;
    if (healthy === this.#healthy) return;
    this.#healthy = healthy;
    if (healthy) this.#ports.log.info("state can be recorded again", { version: this.#version });
    else this.#ports.log.error("state cannot be recorded; the weight cannot rise", { detail });
    this.#ports.onHealth(healthy, detail);
  }
}
