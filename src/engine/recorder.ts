/**
 * Keeps the record in step with what is in force: state to the store, entries to the journal, one writer, in order.
 *
 * Two kinds of saving. `record` answers whether the state is durable: a climb waits for it and stays where it is when it fails. `offer` is for
 * what is in force already (a rollback, the clocks of a tick): it is taken at once, coalesced with what else waits, and tried again every
 * `retry` until it is written; that time has passed waits for a while where many replicas share the store. So a full or hanging disk stops climbing
 * and delays nothing towards stable (product.md §2.14).
 *
 * Where several replicas share the store, another one may have saved first. Then its document is taken, and what waits here is looked at again in its light
 * (`adopting.ts`): what lowers is applied to it, what does not is dropped where it was decided on something that is not so any more.
 */

import { isDeepStrictEqual } from "node:util";
import { IDLE } from "../domain/rollout-move.ts";
import type { RolloutState } from "../domain/rollout-types.ts";
import { ALL_OFF, isAllOff, mergedSafety, type SafetyState } from "../domain/safety.ts";
import { isDue } from "../domain/publishing.ts";
import type { Millis } from "../domain/units.ts";
import { adopted, isNewer, type Pending } from "./adopting.ts";
import type {
  Clock,
  Journal,
  JournalEntry,
  Log,
  RecordedState,
  Saved,
  SharedStore,
  StateDocument,
  Store,
} from "./ports.ts";

const JOURNAL_WAITING = 1000;
/** So often a save is tried at once when others are always first. */
const TRIES = 8;

type Routes = Readonly<Record<string, RecordedState>>;

/** What a recorder of several replicas works with. */
export interface SharedRecord {
  readonly store: SharedStore;
  /** Whether this replica may raise now. */
  readonly leads: () => boolean;
  /** Between two saves of nothing but time: each is given to every replica. */
  readonly every: () => Millis;
  /** What is on record about these routes is not what was meant here: it is to be put in force. */
  readonly onAdopted: (routes: Routes) => void;
  /** Another replica has changed the switches from `known` to `theirs`. */
  readonly onSafety: (known: SafetyState, theirs: SafetyState) => void;
}

/** What is recorded beside a rollout: its evidence, and what people were told. */
const BESIDE: ReadonlySet<string> = new Set<keyof Omit<RecordedState, keyof RolloutState>>([
  "evidence",
  "notices",
  "bulletins",
  "alerts",
]);

/** The rollout in what is recorded of a route; what is beside it is not asked for: a store may have it packed. */
export function rolloutIn(recorded: RecordedState): RolloutState {
  const names = Object.keys(recorded).filter((name) => !BESIDE.has(name)) as (keyof RolloutState)[];
  // All of a rollout's fields, for the others were left out.
  return Object.fromEntries(names.map((name) => [name, recorded[name]])) as unknown as RolloutState;
}

/** What the recorder works with. */
export interface RecorderPorts {
  readonly store: Store;
  /** Left out: nobody else saves. */
  readonly shared?: SharedRecord | undefined;
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Log;
  /** Called when saving begins to fail and when it works again. */
  readonly onHealth: (healthy: boolean, detail: string) => void;
}

/** What a recorder begins with: what was found. */
export type RecorderStart = Pick<StateDocument, "version" | "epoch" | "routes" | "safety">;

/** What there is where nothing was saved. */
export const NO_DOCUMENT: RecorderStart = { version: 0, routes: {} };

/** The one writer of state and journal. */
export class Recorder {
  readonly #ports: RecorderPorts;
  #routes: Record<string, RecordedState>;
  #safety: SafetyState;
  /** The switches wait to be written, or are being written. */
  #isSafetyWaiting = false;
  #isSafetyWriting = false;
  /** The last document that is known to be saved. */
  #known: RecorderStart & { readonly safety: SafetyState };
  /** The number of which the next save is one more; another one than the known document's where a store has lost saves. */
  #base: { readonly epoch: number; readonly version: number };
  /** What waits to be written, and what is being written. */
  #waiting = new Map<string, Pending>();
  #writing: ReadonlyMap<string, Pending> = new Map();
  #saving: Promise<boolean> | undefined;
  /** When the last save of this replica's that landed was begun. */
  #savedAt = -Infinity;
  #entries: JournalEntry[] = [];
  #appending: Promise<boolean> | undefined;
  #healthy = true;
  #trouble = "";
  #journals = true;
  storeErrors = 0;
  journalErrors = 0;

  constructor(ports: RecorderPorts, found: RecorderStart) {
    this.#ports = ports;
    this.#known = { ...found, safety: found.safety ?? ALL_OFF };
    this.#base = { epoch: found.epoch ?? 0, version: found.version };
    this.#routes = { ...found.routes };
    this.#safety = this.#known.safety;
    ports.shared?.store.onDocument((document) => this.#adopt(document));
  }

  /** Version of the last document that was written, or taken over from another replica. */
  get version(): number {
    return this.#known.version;
  }

  /** Whether several replicas save. */
  get isShared(): boolean {
    return this.#ports.shared !== undefined;
  }

  /** Whether this replica may raise: nobody else saves, or it holds the lease. */
  get leads(): boolean {
    return this.#ports.shared?.leads() ?? true;
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
    return !this.#hasPressing && this.#saving === undefined && this.#entries.length === 0;
  }

  /**
   * The state to be on disk from now on; written soon. What stands still is not written again every second.
   *
   * @param mayWait nothing but time has passed, and of that little can be lost: many replicas are not given it every second
   */
  offer(route: string, state: RecordedState, mayWait = false): void {
    // Time is the leader's to count.
    if (!this.leads) return this.#dropRaises([route]);
    const before = this.#routes[route];
    // A rollout that goes on differs by its time, and then the rest need not be compared.
    const isStill = before?.heldMs === state.heldMs && before.servedMs === state.servedMs;
    if (isStill && isDeepStrictEqual(before, state)) return;
    // What has lowered and is not known to be saved stays a lowering, however often it is said again.
    const isPressing = !mayWait || !this.isShared || this.#waiting.get(route) === "pressing";
    this.#put(route, state, this.#isLowering(route) ? "lowers" : isPressing ? "pressing" : "time");
    if (this.#hasPressing || this.#isDue) void this.#flush();
  }

  /** The state of a route that is not there any more is not kept; written with what comes next. */
  forget(route: string): void {
    const { [route]: _gone, ...kept } = this.#routes;
    this.#routes = kept;
  }

  /** The safety switches to be on disk; resolves whether they, or what became of them since, are durable. Any replica may. */
  async recordSafety(safety: SafetyState): Promise<boolean> {
    this.#safety = safety;
    this.#isSafetyWaiting = true;
    if (this.#saving !== undefined) await this.#saving;
    const isSaved = await this.#flush();
    return isSaved && (!this.isShared || isDeepStrictEqual(this.#known.safety, this.#safety));
  }

  /**
   * Writes `state`; resolves whether a document that holds it, or what replaced it since, is durable. Never rejects.
   *
   * @param how `lowers`: any replica may, and it is tried until it is written
   */
  async record(
    route: string,
    state: RecordedState,
    how: Extract<Pending, "lowers" | "raises"> = "raises",
  ): Promise<boolean> {
    const before = this.#routes[route];
    // A raise that is refused goes back to what is on record, which must have been lowered by then.
    if (this.isShared && how === "raises" && this.#isLowering(route) && !(await this.#flush())) return false;
    // What was put there meanwhile is newer.
    if (this.#routes[route] === before) this.#put(route, state, how);
    // A save that is under way holds an older document: its end is not ours, that of the next is.
    if (this.#saving !== undefined) await this.#saving;
    return (await this.#flush()) && (!this.isShared || this.#isKnown(route, state));
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
    if (this.#hasPressing) void this.#flush();
    if (this.#entries.length > 0) void this.#append();
  }

  /** Writes what waits, once; for the end of the process. */
  async finish(): Promise<void> {
    await this.#saving;
    if (this.#hasWaiting) await this.#flush();
    await this.#append();
  }

  /** This replica does not lead any more: what waited and does not lower is not written. */
  yield(): void {
    this.#dropRaises([...this.#waiting.keys(), ...this.#writing.keys()]);
  }

  /** Looks whether a shared store has lost saves: then the leader saves what is known here again. */
  async restoreLost(): Promise<void> {
    if (this.#saving === undefined && (await this.#reconciled())) await this.#flush();
  }

  /** Whether the store holds this decision about a route, or one that followed. */
  #isKnown(route: string, { id, revision }: RecordedState): boolean {
    const known = this.#known.routes[route];
    return known?.id === id && known.revision >= revision;
  }

  #isLowering(route: string): boolean {
    return this.#waiting.get(route) === "lowers" || this.#writing.get(route) === "lowers";
  }

  #put(route: string, state: RecordedState, how: Pending): void {
    this.#routes[route] = state;
    this.#waiting.set(route, how);
  }

  get #hasWaiting(): boolean {
    return this.#waiting.size > 0 || this.#isSafetyWaiting;
  }

  /** Whether there is more than time, or time that was to be saved and could not be. */
  get #hasPressing(): boolean {
    const isMore = this.#isSafetyWaiting || [...this.#waiting.values()].some((how) => how !== "time");
    return isMore || (!this.#healthy && this.#waiting.size > 0);
  }

  get #isDue(): boolean {
    const { clock, shared } = this.#ports;
    return shared !== undefined && isDue(this.#savedAt, shared.every(), clock.mono());
  }

  /** One save, and when there is something newer by then, the next: whoever waits for one waits for no more than that. */
  #flush(): Promise<boolean> {
    this.#saving ??= this.#saveInTurn().then((isSaved) => {
      this.#saving = undefined;
      // What failed waits for `retry`.
      if (isSaved && this.#hasPressing) void this.#flush();
      return isSaved;
    });
    return this.#saving;
  }

  /** Until it is saved, or cannot be: others may always be first. */
  async #saveInTurn(): Promise<boolean> {
    for (let left = this.isShared ? TRIES : 1; left > 0; left--) {
      const saved = await this.#save();
      if (saved.ok) return true;
      if (saved.kind === "unavailable" || !(await this.#overtaken(saved))) return false;
    }
    return false;
  }

  async #save(): Promise<Saved> {
    const { clock, store } = this.#ports;
    const { epoch, version } = this.#base;
    const begun = clock.mono();
    const document: StateDocument = {
      format: 1,
      version: version + 1,
      ...(epoch === 0 ? {} : { epoch }),
      savedAt: new Date(clock.wall()).toISOString(),
      routes: { ...this.#routes },
      ...(isAllOff(this.#safety) ? {} : { safety: this.#safety }),
    };
    this.#writing = this.#waiting;
    this.#waiting = new Map();
    this.#isSafetyWriting = this.#isSafetyWaiting;
    this.#isSafetyWaiting = false;
    const saved = await store.save(document, { raises: [...this.#writing.values()].includes("raises") });
    const writing = this.#writing;
    const isSafetyWriting = this.#isSafetyWriting;
    this.#writing = new Map();
    this.#isSafetyWriting = false;
    if (saved.ok) {
      this.#savedAt = begun;
      if (isNewer(document, this.#known)) this.#know(document);
      this.#report(true, "");
      return saved;
    }
    this.#waiting = new Map([...writing, ...this.#waiting]);
    this.#isSafetyWaiting ||= isSafetyWriting;
    if (!this.isShared || saved.kind === "unavailable") this.storeErrors++;
    if (saved.kind === "unavailable") this.#report(false, saved.detail);
    return saved;
  }

  /** Somebody else was first, or leads: what is on record is taken. Resolves whether there is still something to be saved at once. */
  async #overtaken(saved: Exclude<Saved, { ok: true } | { kind: "unavailable" }>): Promise<boolean> {
    if (!this.isShared) {
      // Another writer on the same state: go on from its number, so that what is in force here can be recorded at the next try.
      // A store of one replica fences nobody.
      const { found } = saved as Extract<Saved, { kind: "conflict" }>;
      this.#base = { ...this.#base, version: found };
      this.#known = { ...this.#known, version: found };
      this.#report(false, `another process wrote version ${found}`);
      return false;
    }
    if (saved.kind === "fenced") {
      this.#ports.log.warn("a raise was not recorded", { detail: saved.detail });
      this.yield();
      return this.#hasWaiting;
    }
    // It may have been pushed here while the save was under way.
    const isKnown = saved.found === this.#base.version;
    return (isKnown || (await this.#reconciled())) && this.#hasWaiting;
  }

  /** Whether what is saved was other than what was known here, and is so no more: what is newer is taken, what was lost is to be saved again. */
  async #reconciled(): Promise<boolean> {
    const before = this.#known;
    const loaded = await this.#ports.store.load();
    if (loaded.kind === "corrupt" || this.#known !== before) return this.#known !== before;
    if (loaded.kind === "found" && isNewer(loaded.document, before)) {
      this.#adopt(loaded.document);
      return true;
    }
    const found = loaded.kind === "found" ? loaded.document : NO_DOCUMENT;
    if (!this.leads || !isNewer(before, found)) return false;
    const { version } = found;
    this.#ports.log.warn("the store has lost saves; what is known here is saved again", { version });
    this.#base = { epoch: (before.epoch ?? 0) + 1, version };
    for (const route of Object.keys(this.#routes))
      if (!this.#waiting.has(route)) this.#waiting.set(route, "raises");
    return true;
  }

  #know({ version, epoch = 0, routes, safety = ALL_OFF }: StateDocument): void {
    this.#known = { version, epoch, routes, safety };
    this.#base = { version, epoch };
  }

  /** Another replica has saved. */
  #adopt(document: StateDocument): void {
    // One of the same number stands in place of a save of this replica's that was lost.
    if (isNewer(this.#known, document)) return;
    const { routes, kept, changed } = adopted(document.routes, {
      known: this.#known.routes,
      mine: this.#routes,
      pending: new Map([...this.#writing, ...this.#waiting]),
      leads: this.leads,
    });
    const [before, theirs] = [this.#known.safety, document.safety ?? ALL_OFF];
    this.#know(document);
    this.#safety = mergedSafety(before, this.#safety, theirs);
    this.#isSafetyWaiting = !isDeepStrictEqual(this.#safety, theirs);
    this.#isSafetyWriting = false;
    this.#routes = { ...routes };
    this.#writing = new Map();
    this.#waiting = new Map(kept);
    const { shared } = this.#ports;
    shared?.onSafety(before, theirs);
    shared?.onAdopted(changed);
  }

  /** What is not written of these routes and does not lower goes; what is on record is in force. */
  #dropRaises(routes: readonly string[]): void {
    const back: Record<string, RecordedState> = {};
    for (const route of routes) {
      if (this.#isLowering(route)) continue;
      this.#waiting.delete(route);
      const known = this.#known.routes[route];
      back[route] = known ?? IDLE;
      if (known === undefined) this.forget(route);
      else this.#routes[route] = known;
    }
    this.#base = { version: this.#known.version, epoch: this.#known.epoch ?? 0 };
    this.#ports.shared?.onAdopted(back);
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
    if (healthy) this.#ports.log.info("state can be recorded again", { version: this.version });
    else this.#ports.log.error("state cannot be recorded; the weight cannot rise", { detail });
    this.#ports.onHealth(healthy, detail);
  }
}
