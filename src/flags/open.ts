/**
 * The feature flags in service: the file's, with what people have changed over them, evaluated for whoever asks.
 *
 * A file is taken whole or not at all: while it is wrong the flags of before stay in force, and that is said. A change by a person is on the disk
 * before it is answered; what switches a flag off is in force at once and recorded then, as everywhere in this program. Which keys a followed flag
 * is on for is asked of the split in force at each call, so a rollback needs no further step.
 */

import { isDeepStrictEqual } from "node:util";
import { readFlagFile } from "../config/flag-file.ts";
import { tiesOf, type FlagsConfig } from "../config/flags.ts";
import { watchConfig, type ConfigWatch } from "../config/watch.ts";
import { AppError, asAppError } from "../domain/errors.ts";
import type { Flag, FlagMetadata } from "../domain/flag.ts";
import {
  changed,
  openedBy,
  overridden,
  settled,
  strategyOf,
  type FlagChange,
  type FlagTies,
  type RouteStand,
} from "../domain/flag-change.ts";
import { IDLE } from "../domain/rollout-move.ts";
import { refused, type Refusal } from "../domain/refusal.ts";
import { millis } from "../domain/units.ts";
import type { Clock, FlagRecord, FlagStore, Journal, Log } from "../engine/ports.ts";
import type { Evaluate, EvaluatorOf } from "./evaluator.ts";
import { shownOf, statusOf, type FlagList, type FlagStatus } from "./status.ts";

/** What the flags work with. */
export interface FlagParts {
  readonly store: FlagStore;
  readonly journal: Pick<Journal, "append">;
  /** How a route stands now; undefined when there is none of this name. */
  readonly standOf: (route: string) => RouteStand | undefined;
  readonly clock: Pick<Clock, "wall" | "every">;
  readonly log: Log;
}

/** What a flag is for one context, in OFREP's words. */
export type FlagAnswer =
  | {
      readonly ok: true;
      readonly key: string;
      /** Left out: the code's own default. */
      readonly value?: unknown;
      readonly variant?: string;
      readonly reason: string;
      readonly metadata: FlagMetadata;
    }
  | { readonly ok: false; readonly key: string; readonly code: FlagError; readonly detail: string };

/** Why there is no answer: OpenFeature's codes. */
export type FlagError = "FLAG_NOT_FOUND" | "TARGETING_KEY_MISSING" | "PARSE_ERROR" | "GENERAL";

/** The attributes of whoever asks. */
export type FlagContext = Readonly<Record<string, unknown>>;

/** How the flags are doing. */
export interface FlagStats {
  readonly ok: boolean;
  /** Wall clock of the last good file, milliseconds since the epoch. */
  readonly at: number;
  /** Evaluations since start, by reason or error code. */
  readonly evaluations: Readonly<Record<string, number>>;
}

/** A section with its flags, read and checked, not in force yet. */
export interface PreparedFlags {
  readonly section: FlagsConfig | undefined;
  /** `again`: as before, to be read once more. */
  readonly read: ReadFlags | "again" | undefined;
}

interface ReadFlags {
  readonly flags: ReadonlyMap<string, Flag>;
  readonly evaluatorOf: EvaluatorOf;
}

/** The flags, with their lifetime. */
export interface Flags {
  /** One flag for one context. */
  evaluate(key: string, context: FlagContext): FlagAnswer;
  /** Every flag for one context, in the order of the file. */
  evaluateAll(context: FlagContext): readonly FlagAnswer[];
  /** Undefined where no flags are configured. */
  list(): FlagList | undefined;
  get(key: string): FlagStatus | undefined;
  /** A change by a person; resolves when it is in force and recorded. */
  set(
    key: string,
    change: FlagChange,
    actor: string,
  ): Promise<{ readonly ok: true; readonly status: FlagStatus } | Refusal>;
  /** Undefined where no flags are configured. */
  stats(): FlagStats | undefined;
  /** Whether the file is good as it is now. */
  check(): Promise<{ readonly ok: boolean; readonly detail: string }>;
  /** Reads and checks what another section names; rejects with SPLIT_CONFIG_INVALID or SPLIT_CONFIG_UNREADABLE. */
  prepare(section: FlagsConfig | undefined): Promise<PreparedFlags>;
  /** Puts in force what was prepared. */
  adopt(prepared: PreparedFlags): Promise<void>;
  close(): Promise<void>;
}

/** How often it is looked whether a rollout has succeeded behind which flags open. */
const LOOK_MS = millis(1000);
const NOTHING: FlagRecord = { format: 1, overrides: {}, opened: {} };
const { phase, step, weight } = IDLE;
/** No route has a part in it. */
const NOWHERE = { phase, step, weight };

/** The flags of `section`. Rejects with SPLIT_CONFIG_INVALID, every problem with its place, when the file is wrong. */
export async function openFlags(section: FlagsConfig | undefined, parts: FlagParts): Promise<Flags> {
  const loaded = await parts.store.load();
  if (loaded.kind === "corrupt")
    parts.log.error("what was set about flags cannot be read: they are as their file says", {
      detail: loaded.detail,
      keptAs: loaded.keptAs,
    });
  const flags = new FlagService(parts, loaded.kind === "found" ? loaded.record : NOTHING);
  await flags.adopt(await flags.prepare(section));
  return flags;
}

class FlagService implements Flags {
  readonly #parts: FlagParts;
  readonly #evaluations: Record<string, number> = {};
  readonly #stopLooking: () => void;
  #record: FlagRecord;
  #section: FlagsConfig | undefined;
  #read: ReadFlags | undefined;
  /** Those of the file with what lies over them. */
  #flags: ReadonlyMap<string, Flag> = new Map();
  #evaluate: Evaluate | undefined;
  #watch: ConfigWatch | undefined;
  #load: { readonly ok: boolean; readonly at: number; readonly detail: string };
  /** Whether what is known of rollouts that have opened flags is on the disk. */
  #isOpenedKept = true;
  /** The tail of the queue: one change is recorded at a time. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(parts: FlagParts, record: FlagRecord) {
    this.#parts = parts;
    this.#record = record;
    this.#load = { ok: true, at: parts.clock.wall(), detail: "" };
    this.#stopLooking = parts.clock.every(LOOK_MS, () => this.#look());
  }

  async prepare(section: FlagsConfig | undefined): Promise<PreparedFlags> {
    if (section === undefined) return { section, read: undefined };
    // A file that is wrong must not keep the rest of a configuration out, which has not to do with it.
    if (isDeepStrictEqual(section, this.#section)) return { section, read: "again" };
    return { section, read: await readIn(section) };
  }

  async adopt({ section, read }: PreparedFlags): Promise<void> {
    if (read === "again") return this.#reread();
    const before = this.#section;
    this.#section = section;
    this.#put(read);
    if (section?.file === before?.file) return;
    this.#watch?.close();
    this.#watch =
      section === undefined
        ? undefined
        : await watchConfig(section.file, () => this.#reread(), {
            onError: ({ message }) =>
              this.#parts.log.warn("the folder of the flags cannot be watched", { detail: message }),
          });
  }

  #put(read: ReadFlags | undefined): void {
    this.#read = read;
    this.#load = { ok: true, at: this.#parts.clock.wall(), detail: "" };
    this.#cover();
    const gone = Object.keys(this.#record.overrides).filter((key) => read?.flags.has(key) !== true);
    if (read !== undefined && gone.length > 0)
      this.#parts.log.warn("something was set about flags that there are no more", { flags: gone });
  }

  /** Lays over the file's flags what was set. */
  #cover(): void {
    const all = [...(this.#read?.flags.values() ?? [])].map((flag) =>
      overridden(flag, this.#record.overrides[flag.key]),
    );
    this.#flags = new Map(all.map((flag) => [flag.key, flag]));
    this.#evaluate = this.#read?.evaluatorOf(all).evaluate;
  }

  async #reread(): Promise<void> {
    const { log } = this.#parts;
    if (this.#section === undefined) return;
    const { file } = this.#section;
    try {
      this.#put(await readIn(this.#section));
      log.info("flags read again", { file, flags: this.#flags.size });
    } catch (error) {
      const { code, message } = asAppError(error);
      this.#load = { ...this.#load, ok: false, detail: message };
      log.error("the flags file was refused, the flags of before stay in force", {
        file,
        code,
        detail: message,
      });
    }
  }

  async check(): Promise<{ readonly ok: boolean; readonly detail: string }> {
    if (this.#section === undefined) return { ok: true, detail: "there are none" };
    try {
      const { flags } = await readIn(this.#section);
      return { ok: true, detail: `${flags.size} flags, valid` };
    } catch (error) {
      return { ok: false, detail: asAppError(error).message };
    }
  }

  evaluate(key: string, context: FlagContext): FlagAnswer {
    const flag = this.#flags.get(key);
    const answer = flag === undefined ? missing(key) : this.#answer(flag, context);
    const counted = answer.ok ? answer.reason : answer.code;
    this.#evaluations[counted] = (this.#evaluations[counted] ?? 0) + 1;
    return answer;
  }

  evaluateAll(context: FlagContext): readonly FlagAnswer[] {
    return [...this.#flags.keys()].map((key) => this.evaluate(key, context));
  }

  #answer(flag: Flag, context: FlagContext): FlagAnswer {
    const { key } = flag;
    const ties = this.#ties(key);
    const { targetingKey } = context;
    const known = typeof targetingKey === "string" && targetingKey !== "" ? targetingKey : undefined;
    const decided = settled(flag, this.#isOpen(ties), this.#follows(ties), known);
    if (decided === undefined) {
      // Set with the flags themselves.
      const found = this.#evaluate!(key, context);
      if (!found.ok) return { ok: false, key, code: found.code, detail: found.detail };
      const isSplit =
        strategyOf(flag, undefined).strategy === "percentage" && found.reason === "TARGETING_MATCH";
      return answerOf(flag, found.variant, isSplit ? "SPLIT" : found.reason);
    }
    if (decided.variant === undefined) {
      const detail = "this flag follows a route, whose split is by the targeting key";
      return { ok: false, key, code: decided.reason, detail };
    }
    return answerOf(flag, decided.variant, decided.reason);
  }

  #ties(key: string): FlagTies {
    // There are no flags without a section.
    return tiesOf(this.#section!, key);
  }

  #follows({ follows }: FlagTies): RouteStand | undefined {
    return follows === undefined ? undefined : this.#parts.standOf(follows);
  }

  #isOpen({ opensAfter }: FlagTies): boolean {
    if (opensAfter === undefined) return true;
    return openedBy(this.#record.opened[opensAfter], this.#parts.standOf(opensAfter)) !== undefined;
  }

  list(): FlagList | undefined {
    if (this.#section === undefined) return undefined;
    const flags = [...this.#flags.keys()].map((key) => this.#statusOf(key));
    const { ok, at, detail } = this.#load;
    return { file: this.#section.file, loadedAt: new Date(at).toISOString(), ok, detail, flags };
  }

  get(key: string): FlagStatus | undefined {
    return this.#flags.has(key) ? this.#statusOf(key) : undefined;
  }

  #statusOf(key: string): FlagStatus {
    const ties = this.#ties(key);
    // Asked only about flags that there are.
    const flag = this.#flags.get(key)!;
    return statusOf(flag, ties, {
      stand: this.#follows(ties),
      isOpen: this.#isOpen(ties),
      override: this.#record.overrides[key],
    });
  }

  stats(): FlagStats | undefined {
    if (this.#section === undefined) return undefined;
    return { ok: this.#load.ok, at: this.#load.at, evaluations: { ...this.#evaluations } };
  }

  set(key: string, change: FlagChange, actor: string): ReturnType<Flags["set"]> {
    return this.#queued(() => this.#change(key, change, actor));
  }

  async #change(key: string, change: FlagChange, actor: string): ReturnType<Flags["set"]> {
    const { store, journal, clock } = this.#parts;
    const flag = this.#read?.flags.get(key);
    if (flag === undefined) return refused("SPLIT_NOT_FOUND", `there is no flag "${key}"`);
    const before = this.#record;
    const { [key]: was, ...others } = before.overrides;
    const at = new Date(clock.wall()).toISOString();
    const decision = changed(flag, was, change, this.#ties(key), { by: actor, at });
    if (!decision.ok) return decision;
    const { override } = decision;
    const next = { ...before, overrides: override === undefined ? others : { ...others, [key]: override } };
    const lowers = change.state === "off";
    if (lowers) this.#putRecord(next);
    const saved = await store.save(next);
    const said = {
      flag: key,
      from: was === undefined ? null : shownOf(was),
      to: override === undefined ? null : shownOf(override),
      forced: change.force === true,
    };
    const isKept =
      saved.ok &&
      (await journal.append({
        event: "FLAG_CHANGED",
        route: "",
        rollout: "",
        actor,
        reason: change.reason,
        before: NOWHERE,
        after: NOWHERE,
        details: said,
      }));
    if (isKept) {
      if (!lowers) this.#putRecord(next);
      this.#parts.log.info("a flag was changed", { actor, reason: change.reason, ...said });
      return { ok: true, status: this.#statusOf(key) };
    }
    const unrecorded = (end: string): Refusal =>
      refused("SPLIT_STATE_UNWRITABLE", `the change could not be recorded, ${end}`);
    if (lowers) return unrecorded("the flag is off all the same, until a restart");
    if (saved.ok) await store.save(before);
    return unrecorded("so it was not made");
  }

  #putRecord(record: FlagRecord): void {
    this.#record = { ...record, opened: this.#record.opened };
    this.#cover();
  }

  /** Notes which rollouts have succeeded, or were rolled back after that. */
  async #look(): Promise<void> {
    const { opened } = this.#record;
    const next = { ...opened };
    for (const route of Object.keys(this.#section?.after ?? {})) {
      const by = openedBy(opened[route], this.#parts.standOf(route));
      if (by === undefined) delete next[route];
      else next[route] = by;
    }
    const isOther = JSON.stringify(next) !== JSON.stringify(opened);
    if (isOther) {
      this.#record = { ...this.#record, opened: next };
      this.#parts.log.info("flags have opened or closed behind a rollout", { opened: next });
    }
    if (!isOther && this.#isOpenedKept) return;
    await this.#queued(async () => {
      const saved = await this.#parts.store.save(this.#record);
      if (!saved.ok && this.#isOpenedKept)
        this.#parts.log.error("which rollouts have opened flags could not be recorded", {
          detail: saved.detail,
        });
      this.#isOpenedKept = saved.ok;
    });
  }

  #queued<T>(run: () => Promise<T>): Promise<T> {
    const done = this.#last.then(run);
    this.#last = done.catch(() => {});
    return done;
  }

  async close(): Promise<void> {
    this.#stopLooking();
    this.#watch?.close();
    await this.#last;
  }
}

async function readIn(section: FlagsConfig): Promise<ReadFlags> {
  const flags = await readFlagFile(section);
  // Brings an evaluator along, which is only loaded where there are flags.
  const { evaluatorOf } = await import("./evaluator.ts");
  const [broken] = evaluatorOf([...flags.values()]).broken;
  if (broken !== undefined)
    throw new AppError("SPLIT_CONFIG_INVALID", `${section.file}:1:1: the rules of "${broken}" cannot be run`);
  return { flags, evaluatorOf };
}

function missing(key: string): FlagAnswer {
  return { ok: false, key, code: "FLAG_NOT_FOUND", detail: "there is no such flag" };
}

function answerOf(flag: Flag, variant: string | null, reason: string): FlagAnswer {
  const { key, metadata } = flag;
  if (variant === null) return { ok: true, key, reason, metadata };
  return { ok: true, key, value: flag.variants[variant], variant, reason, metadata };
}
