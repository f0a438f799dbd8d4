/**
 * What the engine needs of the world, as interfaces with their contracts. Adapters on floor 2 implement them, `main.ts` joins the two,
 * tests bring fakes. Nothing here has behaviour.
 */

import type { AlertState } from "../domain/alert.ts";
import type { BulletinBook } from "../domain/bulletin.ts";
import type { HardRule } from "../domain/evidence/catastrophic.ts";
import type { Snapshot } from "../domain/evidence/route.ts";
import type { BlockCounts } from "../domain/evidence/counting.ts";
import type { Slice } from "../domain/slice.ts";
import type { Arm } from "../domain/split.ts";
import type { BadKind } from "../domain/outcome.ts";
import type { IncidentRecord } from "../domain/incident.ts";
import type { FlagOverride } from "../domain/flag-change.ts";
import type { PreflightResult } from "../domain/preflight.ts";
import type { Phase, RolloutState, Severity } from "../domain/rollout-types.ts";
import type { SafetyState } from "../domain/safety.ts";
import type { Millis, Ppm } from "../domain/units.ts";
import type { Order } from "./orders.ts";
import type { Split } from "./routing.ts";

/** Time. The only source of it outside the domain, where it is an argument. */
export interface Clock {
  /** Monotonic milliseconds with a fraction; meaningless as a date. */
  mono(): Millis;
  /** Milliseconds since the epoch; for display, dates and tokens only. */
  wall(): number;
  /** Calls `run` every `interval` until the returned function is called. Does not keep the process alive. */
  every(interval: Millis, run: () => void | Promise<void>): () => void;
}

/** Chance. */
export interface Dice {
  /** A number from 0 (included) to 1 (excluded). Fast, not secret. */
  random(): number;
  /** `bytes` random bytes as base64url, from the system's secure source. */
  token(bytes: number): string;
}

/** One line of the log: pino's names, JSON. Never blocks, never throws. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}
/** Further fields of a log line. No raw key, no secret. */
export type LogFields = Readonly<Record<string, unknown>>;

/** The saved state: the public, versioned state document. */
export interface StateDocument {
  /** Format of the document; 1. */
  readonly format: 1;
  /** One more per save. */
  readonly version: number;
  /** Higher after a shared store had lost saves; left out: 0. Of two documents the one with the higher (epoch, version) is the newer. */
  readonly epoch?: number;
  /** Wall clock, ISO 8601, for display. */
  readonly savedAt: string;
  /** By route name. */
  readonly routes: Readonly<Record<string, RecordedState>>;
  /** The safety switches that are on; left out: none is. */
  readonly safety?: SafetyState;
}

/** What is recorded of one route. */
export type RecordedState = RolloutState &
  RecordedTelling & {
    /** As of some seconds before; left out: there is none. What cannot be read is left out, too: it costs time, never safety. */
    readonly evidence?: RecordedEvidence;
    /** Left out: there are no alerts, and no silences. */
    readonly alerts?: AlertState | undefined;
  };

/** What people were told, or are to be told, of a route. What cannot be read is left out. */
export interface RecordedTelling {
  /** The last ones, of the last hour: told again after a restart, under the same ids. */
  readonly notices?: readonly RecordedNotice[] | undefined;
  /** What the clock has told, and incidents. */
  readonly bulletins?: BulletinBook | undefined;
}

/** A message, and when it was made: wall-clock milliseconds. */
export interface RecordedNotice {
  readonly atMs: number;
  readonly notice: Notice;
}

/** Evidence that a restart goes on from. */
export interface RecordedEvidence {
  /** Fingerprint of the rules that it is for: it says nothing to others. */
  readonly rules: string;
  readonly snapshot: Snapshot;
  /** Up to where in the stream of a shared store other replicas' measurements are in it; left out: there are none. */
  readonly upTo?: string;
}

/** What a store found when asked for the state. */
export type Loaded =
  | { readonly kind: "found"; readonly document: StateDocument }
  | { readonly kind: "none" }
  /** Unreadable: kept beside itself as `keptAs`, never guessed at. */
  | { readonly kind: "corrupt"; readonly detail: string; readonly keptAs: string };

/** What became of a save. Expected trouble is a value. */
export type Saved =
  | { readonly ok: true }
  /** Someone else saved first; their version is `found`. */
  | { readonly ok: false; readonly kind: "conflict"; readonly found: number }
  /** It raises, and this replica does not hold the lease, or the raise could not be made safe against a failover. */
  | { readonly ok: false; readonly kind: "fenced"; readonly detail: string }
  | { readonly ok: false; readonly kind: "unavailable"; readonly detail: string };

/** Where the state is kept. Every implementation runs the same contract test. */
export interface Store {
  load(): Promise<Loaded>;
  /**
   * Saves `document` if the saved version is `document.version − 1` (0 when there is none). Durable when it resolves with ok. Never
   * rejects, never leaves a partial document behind. After `unavailable` it may have landed all the same; the next save then says
   * `conflict` with the number to go on from.
   */
  save(document: StateDocument, options?: SaveOptions): Promise<Saved>;
  close(): Promise<void>;
}

/** What is kept of feature flags beside their file. */
export interface FlagRecord {
  readonly format: 1;
  /** What lies over the file, by flag. */
  readonly overrides: Readonly<Record<string, FlagOverride>>;
  /** By route, the rollout that has opened the flags behind it. */
  readonly opened: Readonly<Record<string, string>>;
}

/** Where that is kept. Never rejects, never leaves half a record behind. */
export interface FlagStore {
  load(): Promise<
    | { readonly kind: "found"; readonly record: FlagRecord }
    | { readonly kind: "none" }
    /** Unreadable: kept as `keptAs`, never guessed at. */
    | { readonly kind: "corrupt"; readonly detail: string; readonly keptAs: string }
  >;
  /** Durable when it resolves with ok. */
  save(record: FlagRecord): Promise<{ readonly ok: true } | { readonly ok: false; readonly detail: string }>;
}

/** How a save is meant. */
export interface SaveOptions {
  /** A weight rises by it, or could later: only the holder of the lease may. A store of one replica does not ask. */
  readonly raises?: boolean;
}

/** Who may climb, as this replica knows it. */
export interface Lease {
  /** False from the moment, by the monotonic clock, at which the lease could have been lost. */
  readonly isLeader: boolean;
  /** The holder's name; empty when nobody is known to hold it. */
  readonly leader: string;
  /** One more with each holder; 0 as long as there was none. */
  readonly fence: number;
}

/** What a replica tells of itself. */
export interface Announcement {
  /** Version of the document in force there. */
  readonly applied: number;
  /** By route, in percent. */
  readonly weights: Readonly<Record<string, number>>;
  /** Requests per second, by route. */
  readonly perSecond: Readonly<Record<string, number>>;
}

/** A replica as the others see it. */
export interface ReplicaInfo extends Announcement {
  readonly replica: string;
  /** When it was last heard of, by the store's clock: ms since the epoch. */
  readonly at: number;
  /** Since when it was not heard of, by the store's clock. */
  readonly silentMs: Millis;
  /** It has been silent for so long that its figures do not count any more. */
  readonly isStale: boolean;
  readonly isLeader: boolean;
}

/** How many replicas there are, as one of them has counted for all: for each of a thousand to look at all the others would be too much. */
export interface Headcount {
  /** The silent ones among them. */
  readonly replicas: number;
  /** Names of those that have been silent for so long that their figures do not count any more. */
  readonly stale: readonly string[];
}

/** Whose something is that is to be done once: `gone`, a replica's of which nothing was heard for some seconds. */
export type Claim = "ours" | "theirs" | "gone" | "done";

/** What another replica measured. */
export interface SharedMeasure {
  /** Its place in the stream: what `take` goes on from. */
  readonly id: string;
  readonly replica: string;
  readonly measure: Uint8Array;
}

/** What another replica was asked for. */
export interface ForwardedOrder {
  readonly id: string;
  readonly replica: string;
  /** Undefined: this version does not know it. */
  readonly order: Order | undefined;
}

/** A store that several replicas have together. No call rejects; none takes longer than a second, but for `forward`. */
export interface SharedStore extends Store {
  /** This replica's name. */
  readonly replica: string;
  /** Whether the store answers. */
  readonly isUp: boolean;
  lease(): Lease;
  /**
   * Calls `changed` with each newer document that another replica saved: pushed at once, and found by looking after seconds at the latest. One of the same
   * version stands in place of this replica's own save, which was lost: what it lowered is to be lowered again.
   */
  onDocument(changed: (document: StateDocument) => void): void;
  /** Calls `changed` when `lease()` says something else than before. */
  onLease(changed: () => void): void;
  /** Hands on what was measured since the last call that resolved true; false: it has to be handed on again. */
  publish(measure: Uint8Array): Promise<boolean>;
  /** What others have handed on after the place `after` (empty: from the beginning of what is kept), oldest first, `most` at the most. */
  take(after: string, most: number): Promise<readonly SharedMeasure[]>;
  /** Everybody who was heard of within a minute, this replica too, by name; empty when the store could not be asked. */
  replicas(): Promise<readonly ReplicaInfo[]>;
  /** Counted anew by the one that leads, and as that has counted last for everybody else; undefined: nobody has, or the store could not be asked. */
  headcount(): Promise<Headcount | undefined>;
  /** Tells the others; false when it could not. */
  announce(about: Announcement): Promise<boolean>;
  /**
   * Whether `id` is this replica's to carry out: `ours` for one replica of all, however often it asks, until somebody says `done`. Undefined: the store could
   * not be asked.
   *
   * @param takesOver where whoever has it is gone, it is this replica's from now on
   */
  claim(id: string, takesOver: boolean): Promise<Claim | undefined>;
  /** All of `ids` were carried out: nobody gets them again, also where the store loses that it was told so. False: it is to be said again. */
  done(...ids: readonly string[]): Promise<boolean>;
  /** Hands an order to the leader; its answer, or undefined when none came in time. Then it is not taken up later, but may be under way. */
  forward(order: Order, within: Millis): Promise<string | undefined>;
  /** The orders that wait for the leader, oldest first; each is given once, and only to the leader. */
  forwarded(): Promise<readonly ForwardedOrder[]>;
  answer(id: string, answer: string): Promise<boolean>;
}

/** What the journal is told; the journal adds sequence, time and hash. */
export interface JournalEntry {
  readonly event: string;
  readonly route: string;
  readonly rollout: string;
  readonly actor: string;
  readonly reason: string;
  readonly before: JournalPoint;
  readonly after: JournalPoint;
  /** More, by event: the failed rules of a rollback, the verdict of a climb. */
  readonly details?: Readonly<Record<string, unknown>>;
}
/** Where a rollout stood. */
export interface JournalPoint {
  readonly phase: Phase;
  readonly step: number;
  readonly weight: Ppm;
}
/** A line of the journal as written: append-only, each with the hash of the one before. The public journal line. */
export interface JournalLine {
  readonly seq: number;
  /** Wall clock, ISO 8601. */
  readonly at: string;
  readonly event: string;
  readonly route: string;
  readonly rollout: string;
  readonly actor: string;
  readonly reason: string;
  /** Weights in percent. */
  readonly before: { readonly phase: Phase; readonly step: number; readonly weight: number };
  readonly after: { readonly phase: Phase; readonly step: number; readonly weight: number };
  readonly details?: Readonly<Record<string, unknown>>;
  /** Hash of the line before; 64 zeros for the first. */
  readonly prev: string;
  /** SHA-256, hex, over this line's JSON without `hash`. */
  readonly hash: string;
}

/** The audit trail. */
export interface Journal {
  /** Appends and makes durable; resolves false, and keeps nothing, when it could not. Never rejects. */
  append(entry: JournalEntry): Promise<boolean>;
  /** The last `limit` lines, oldest first; of one route when named. */
  read(options: { readonly limit: number; readonly route?: string }): Promise<readonly JournalLine[]>;
}

/** A message for people: every channel, journal, report and console shows this same object. */
export interface Notice {
  /** The same when it is told again: `route:rollout:revision:event` where a decision made it, else random. No two messages share one. */
  readonly id: string;
  readonly severity: Severity;
  /** e.g. `rolled_back`, `store_unavailable`. */
  readonly event: string;
  readonly route: string;
  readonly rollout: string;
  /** One line, for somebody who was asleep a moment ago. */
  readonly summary: string;
  /** What is known, for people: at most 30 lines, no raw key, no secret. */
  readonly lines: readonly string[];
  readonly details: Readonly<Record<string, unknown>>;
  /** What it opens, or closes, with a pager; left out: nothing. */
  readonly incident?: Incident;
  /** Whom it is for: those who run the service, or those who are kept informed. */
  readonly audience: Audience;
}

/** Trouble with a beginning and an end: by the same key from one to the other. */
export interface Incident {
  readonly key: string;
  readonly action: "trigger" | "acknowledge" | "resolve";
}

/** Whom a message is for. */
export type Audience = "operators" | "stakeholders";

/** Tells people. Queues and returns at once; never throws; what it could not send it counts. */
export interface Notifier {
  notify(notice: Notice, handing?: Handing): void;
}

/** How a message is handed over that several replicas could tell. */
export interface Handing {
  /** Somebody else has begun to tell it and is gone: it may have arrived, also where no outbox here says so. */
  readonly mayHaveArrived: boolean;
  /** Called when nothing more becomes of it here: it was sent, or given up for good. */
  readonly done: () => void;
}

/** How one way to tell people fares, since start. */
export interface ChannelStats {
  readonly sent: number;
  /** Failed attempts. */
  readonly failed: number;
  /** Messages that were given up. */
  readonly dropped: number;
  /** Messages that may have arrived, and were not sent again lest they come twice. */
  readonly inDoubt: number;
  /** Messages that were told as one with others, because there were too many. */
  readonly heldBack: number;
  /** Messages that wait now. */
  readonly queued: number;
  /** Why the last attempt that failed did; null: none has. No address, no secret. */
  readonly lastError: string | null;
  /** Wall clock, ISO 8601; null: nothing was sent yet. */
  readonly lastSuccessAt: string | null;
}

/** What became of a message over a channel. `begun`: it may have arrived. */
export type Fate = "new" | "begun" | "done";

/** What was told over which channel, over restarts, so that nobody is told twice. Rejects never; what it cannot keep it knows until the process ends. */
export interface Outbox {
  fate(id: string, channel: string): Fate;
  /** On the disk when it resolves true. */
  mark(id: string, channel: string, fate: Fate): Promise<boolean>;
  /** What a channel has to know after a restart, by key: where its thread is, what it has opened. */
  notes(channel: string): ReadonlyMap<string, string>;
  /** Keeps a note; undefined lets go of it. */
  note(channel: string, key: string, value: string | undefined): Promise<boolean>;
  close(): Promise<void>;
}

/** Writes an evidence pack; resolves its path, or undefined when it could not (counted and logged by the implementation). */
export interface Reports {
  write(
    pack: { readonly route: string; readonly rollout: string } & Readonly<Record<string, unknown>>,
  ): Promise<string | undefined>;
}

/** Keeps the files of incidents, made of the record and the journal. */
export interface IncidentFiles {
  /** Writes them anew; resolves when that was tried. Never rejects. */
  write(incident: IncidentRecord): Promise<void>;
}

/** One backup: what it holds, in short. */
export interface BackupInfo {
  readonly name: string;
  /** Wall clock, ISO 8601. */
  readonly at: string;
  /** Why it was made, e.g. `before_start`. */
  readonly reason: string;
  /** Version of the program that made it. */
  readonly program: string;
  /** Version of the state in it; 0: nothing was recorded yet. */
  readonly version: number;
  /** Weights in percent. */
  readonly routes: Readonly<
    Record<string, { readonly phase: Phase; readonly weight: number; readonly rollout: string }>
  >;
}

/** Backups that can be taken out again. */
export interface BackupShelf extends Backups {
  create(reason: string): Promise<MadeBackup>;
  /** Those that can be read, newest first. */
  list(): Promise<readonly BackupInfo[]>;
  load(name: string): Promise<LoadedBackup>;
}

/** What was made, or why nothing was. */
export type MadeBackup =
  | { readonly ok: true; readonly name: string; readonly info: BackupInfo }
  | { readonly ok: false; readonly detail: string };

/** A backup, or why it cannot be used. */
export type LoadedBackup =
  | {
      readonly ok: true;
      readonly info: BackupInfo;
      /** Undefined when nothing was recorded yet. */
      readonly document: StateDocument | undefined;
      /** The journal's last line when it was made; `seq` 0: it had none. */
      readonly head: { readonly seq: number; readonly hash: string };
    }
  | { readonly ok: false; readonly kind: "missing" | "damaged"; readonly detail: string };

/** One bad response of the canary, unforced, for people to look at. */
export interface Sample {
  readonly kind: BadKind;
  readonly method: string;
  /** The path with its variable parts folded, at most 80 characters. */
  readonly path: string;
  readonly reason: string;
  readonly status: number;
  /** murmur3 of the key, hex; empty when there was none. */
  readonly keyHash: string;
  /** W3C trace id when the request carried one, else empty. */
  readonly traceId: string;
  readonly rescued: boolean;
}

/** How many rescues ended how. */
export interface RescueCounts {
  /** Stable answered in the canary's place. */
  readonly answered: number;
  /** Stable failed too. */
  readonly failed: number;
  /** Not tried: over the budget or the concurrency guard. */
  readonly refused: number;
}

/** What the data plane measured of one route since it was last drained. Mergeable by addition. */
export interface RouteMeasure {
  readonly route: string;
  /** First attempts of unforced traffic: the evidence. */
  readonly arms: Readonly<Partial<Record<Arm, Slice>>>;
  /** Forced traffic, counted apart. */
  readonly forced: Readonly<Partial<Record<Arm, Slice>>>;
  readonly rescues: RescueCounts;
  /** What happened to the arms, by `ARM_EVENTS`. */
  readonly events: Readonly<Partial<Record<Arm, readonly number[]>>>;
  /** Bad responses of the canary, unforced, at most a few hundred of each kind per drain. */
  readonly samples: readonly Sample[];
}

/** What one replica measured of a route within a second or so, for the leader. Mergeable by addition. */
export interface RouteShare {
  readonly route: string;
  /** The rollout, and how many alarms it has had: of another one it is no evidence. */
  readonly of: string;
  readonly block: BlockCounts;
  /** First attempts of unforced traffic. */
  readonly arms: Readonly<Partial<Record<Arm, Slice>>>;
  readonly rescues: RescueCounts;
  readonly samples: readonly Sample[];
  readonly keys: CanaryKeys;
}

/** Adds up what replicas have measured, where it stalls nobody. Never rejects. */
export interface Merger {
  /** @param measures as `encodeShares` wrote them; what cannot be read is left out */
  merge(measures: readonly Uint8Array[]): Promise<readonly RouteShare[]>;
}

/** Distinct keys, as numbers that stand for them, five of each at the most. */
export interface CanaryKeys {
  /** Those that had a bad response of the canary. */
  readonly failed: readonly number[];
  /** Those that came to it. */
  readonly seen: readonly number[];
}

/** What the data plane measured since it was last drained. */
export interface PlaneMeasure {
  /** A route that several threads carried may come several times. */
  readonly routes: readonly RouteMeasure[];
  /** Requests refused before they had a route: by status sent. */
  readonly refused: Readonly<Record<string, number>>;
  /** The proxy's own time per exchange: not cumulated counts by `OVERHEAD_BOUNDS`, and their sum in seconds. */
  readonly overhead: { readonly counts: readonly number[]; readonly seconds: number };
  /** What happened beside exchanges, by `PLANE_EVENTS`. */
  readonly events: readonly number[];
}

/** Steps of the fast lane that were tried at start and work here: reading into shared memory, writing on the handle. */
export interface FastLaneSteps {
  readonly reads: boolean;
  readonly writes: boolean;
}

/** Load at this moment. */
export interface PlaneGauges {
  readonly connections: number;
  /** Threads that carry traffic now. */
  readonly workers: number;
  /** Threads that died and were replaced, since start. */
  readonly workerRestarts: number;
  /** Exchanges that were in flight on them. */
  readonly exchangesLost: number;
  /** Which of the fast lane's steps beyond what the platform documents are in use. */
  readonly fastLane: FastLaneSteps;
  readonly routes: Readonly<
    Record<string, Readonly<Record<Arm, { readonly inFlight: number; readonly longLived: number }>>>
  >;
}

/** The judge's counts, over all threads. Every call returns at once. */
export interface EvidencePort {
  /** What was counted of a route since `commit`, and how late the latest thread's event loop was of late, ms. */
  read(route: string): { readonly block: BlockCounts; readonly lagMs: number };
  /**
   * Takes a block that `read` gave as committed.
   *
   * @param hard the fast tier's evidence with it, for the threads to look at; undefined: they decide nothing about this route
   */
  commit(route: string, block: BlockCounts, hard: Float64Array | undefined): void;
  /** Distinct keys since `forgetKeys`. */
  keys(route: string): CanaryKeys;
  forgetKeys(route: string): void;
}

/** The proxy as the engine sees it. Every call returns at once. */
export interface DataPlane {
  readonly evidence: EvidencePort;
  /** Calls `crossed` when a thread has taken the canary's weight away, and for which rule. One listener. */
  onCrossing(crossed: (route: string, rule: HardRule) => void): void;
  /** Puts a split in force: the next exchange sees it. */
  apply(split: Split): void;
  /** What was measured since the last call; starts again from zero. */
  drain(): PlaneMeasure;
  gauges(): PlaneGauges;
  /** Closes, or drains until `deadlineMs`, the canary's long-lived connections of a route. */
  closeLongLived(route: string, how: "drain" | "close", deadlineMs: Millis): void;
}

export type { PreflightResult } from "../domain/preflight.ts";

/** Checks everything that can be checked before a step is left. Never rejects; bounded in time. */
export interface Preflight {
  run(route: string, version: string): Promise<readonly PreflightResult[]>;
}

/** Keeps copies of state and configuration. Never rejects. */
export interface Backups {
  create(
    reason: string,
  ): Promise<{ readonly ok: true; readonly name: string } | { readonly ok: false; readonly detail: string }>;
}

/** Health of one endpoint as the probes see it. */
export interface EndpointHealth {
  readonly url: string;
  /** Null until the first success, or the first full row of failures: one lost probe proves neither. */
  readonly healthy: boolean | null;
  /** Failed probes in a row. */
  readonly failures: number;
  /** Why the last probe failed; empty when it did not. */
  readonly detail: string;
}

/** Active probes of every endpoint of both arms, always. */
export interface Probes {
  health(route: string, arm: Arm): readonly EndpointHealth[];
}

/** Whom to ask. */
export interface ConfirmHook {
  readonly url: string;
  readonly secret?: { readonly env: string } | { readonly file: string } | undefined;
  /** No answer by then means no. */
  readonly timeout: Millis;
  /** Whether it may lead to link-local and metadata addresses. */
  readonly allowPrivate: boolean;
}

/** Asks another program whether the weight may rise. */
export interface Confirm {
  /**
   * Asks once: a 2xx means go. Never rejects; `detail` is one line for people.
   *
   * @param about what the other program is told beside route and environment: rollout, version, step, weight
   */
  ask(
    route: string,
    hook: ConfirmHook,
    about: Readonly<Record<string, unknown>>,
  ): Promise<{ readonly go: boolean; readonly detail: string }>;
}
