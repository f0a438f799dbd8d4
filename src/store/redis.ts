/**
 * The state that replicas share, in Redis or Valkey: compared and set by one script, told to everybody by pub/sub, and looked for every few seconds by
 * everybody, because what is told while nobody listens is gone.
 *
 * Redis may lose what it has acknowledged (a failover, a restart, FLUSHALL). So each replica remembers the highest (epoch, version) that it has
 * seen, takes nothing lower, and keeps it in a file. What was lost is published again by the holder of the lease, under a higher epoch, after
 * the others had time to offer what they know. Until then nothing is saved. A raise also waits until a replica of Redis has it, where there are any; what
 * lowers waits for nothing.
 */

import { randomUUID } from "node:crypto";
import { setTimeout as wait } from "node:timers/promises";
import type { SharedState } from "../config/state.ts";
import type { Secret, SecretSource } from "../config/secret.ts";
import type { Millis } from "../domain/units.ts";
import type { Order } from "../engine/orders.ts";
import type {
  Announcement,
  Claim,
  Clock,
  Dice,
  ForwardedOrder,
  Headcount,
  Lease,
  Loaded,
  Log,
  ReplicaInfo,
  Saved,
  SaveOptions,
  SharedMeasure,
  SharedStore,
  StateDocument,
} from "../engine/ports.ts";
import { decodeFollowed, decodeState, encodeShared } from "./document.ts";
import { decodeNews, encodeNews } from "./document-news.ts";
import { LastKnown, type Keeper } from "./last-known.ts";
import { Fleet } from "./redis-fleet.ts";
import { LeaseKeeper } from "./redis-lease.ts";
import { Link, type Word } from "./redis-link.ts";
import { COPIES, OFFER, PUBLISH_AGAIN, SAVE, evalOf, type Script } from "./redis-scripts.ts";
import { aboutOf, compared, epochOf, fenced, listOf, refused, textsOf, unavailable } from "./redis-words.ts";
import { Rounds } from "./rounds.ts";

/** What a shared store is opened with. */
export interface SharedOptions {
  readonly state: SharedState;
  readonly secretOf: (source: SecretSource) => Secret;
  /** This replica's name, without the part that makes it unique. */
  readonly replica: string;
  readonly clock: Clock;
  readonly dice: Dice;
  readonly log: Log;
  /** What keeps the state as last known; left out: a file. */
  readonly lastKnown?: Keeper | undefined;
}

/** So long a start waits for the store: ms. */
const OPEN_MS = 2000;
/** Between two looks, half of it and more by chance: ms. */
const LOOK_MS = 2000;
const LOOK_SPREAD_MS = 3000;
/** After a loss was told, so long everybody has to offer what they know: ms. */
const OFFERS_MS = 500;
const OFFER_SPREAD_MS = 300;
const OFFER_KEPT_MS = 10_000;
/** So many replicas of Redis must have a raise, within so many ms. */
const COPIES_NEEDED = 1;
const COPY_MS = 200;
const LINEAGE = "shared";

/** A document, and who saved it; nobody's name: it is from this replica's disk, or was offered. */
interface Known {
  readonly document: StateDocument;
  readonly by: string;
}
interface Numbers {
  readonly epoch: number;
  readonly version: number;
  readonly by: string;
}

/** Epoch, version and writer: no other document has all of them. */
function nameOf({ document, by }: Known): string {
  return `${epochOf(document)} ${document.version} ${by}`;
}

function wholeIn(text: string): StateDocument | undefined {
  const decoded = decodeFollowed(text);
  return decoded.ok ? decoded.document : undefined;
}

/** Opens the store. Never rejects: a store that is away is come back to, and the state is what was last known here. */
export async function redisStore(options: SharedOptions): Promise<RedisStore> {
  const store = new RedisStore(options);
  await store.open();
  return store;
}

/** The store, and what else the fleet has in it. */
export class RedisStore implements SharedStore {
  readonly replica: string;
  readonly #options: SharedOptions;
  readonly #prefix: string;
  readonly #link: Link;
  readonly #lease: LeaseKeeper;
  readonly #fleet: Fleet;
  readonly #lastKnown: Keeper;
  readonly #looks = new Rounds(() => this.#look());
  readonly #onDocument: ((document: StateDocument) => void)[] = [];
  readonly #onLease: (() => void)[] = [];
  #known: Known | undefined;
  /** Whether Redis has had replicas of its own since the connection began. */
  #hasCopies = false;
  #isClosed = false;

  constructor(options: SharedOptions) {
    const { state, secretOf, clock, dice, log } = options;
    this.#options = options;
    this.replica = `${options.replica}-${randomUUID().slice(0, 8)}`;
    this.#prefix = `{sluice:${state.name}}:`;
    const revealed = (source: SecretSource | undefined): string | undefined =>
      source === undefined ? undefined : secretOf(source).reveal();
    const key = (name: string): string => this.#prefix + name;
    this.#link = new Link({
      state,
      password: revealed(state.password),
      sentinelPassword: revealed(state.sentinelPassword),
      ca: revealed(state.ca),
      dice,
      log,
      channel: this.#channel,
      onMessage: (message) => this.#heard(message),
      onConnect: () => this.#connected(),
    });
    const common = { link: this.#link, channel: this.#channel, replica: this.replica, dice };
    this.#lease = new LeaseKeeper({
      ...common,
      keys: { lease: key("lease"), fence: key("fence") },
      clock,
      log,
      changed: () => this.#leaseChanged(),
    });
    this.#fleet = new Fleet({ ...common, lease: this.#lease, key });
    this.#lastKnown = options.lastKnown ?? new LastKnown(state.folder, state.name, log);
  }

  /** Waits for the first connection, but not for long. */
  async open(): Promise<void> {
    const document = await this.#lastKnown.read();
    if (document !== undefined) this.#known ??= { document, by: "" };
    await this.#link.opened(OPEN_MS);
    await this.#looks.now();
    await this.#lease.now();
  }

  get isUp(): boolean {
    return this.#link.isUp;
  }

  /** Commands that Redis did not answer, or refused. */
  get failures(): number {
    return this.#link.failures;
  }

  lease(): Lease {
    return this.#lease.lease;
  }

  onDocument(changed: (document: StateDocument) => void): void {
    this.#onDocument.push(changed);
  }

  onLease(changed: () => void): void {
    this.#onLease.push(changed);
  }

  async load(): Promise<Loaded> {
    const reply = await this.#link.send("HMGET", this.#key("state"), "document", "by");
    const [text, by] = textsOf(reply);
    if (!reply.ok || text === undefined) return this.#remembered();
    const decoded = decodeState(text);
    if (!decoded.ok) {
      await this.#link.send("HSET", this.#key("state"), "corrupt", text);
      const keptAs = `field corrupt of ${this.#key("state")}`;
      this.#options.log.error("the saved state cannot be used", { detail: decoded.detail, keptAs });
      return { kind: "corrupt", detail: decoded.detail, keptAs };
    }
    if (this.#known === undefined || compared(decoded.document, this.#known.document) >= 0)
      this.#remember(decoded.document, by ?? "");
    return this.#remembered();
  }

  async save(document: StateDocument, { raises = false }: SaveOptions = {}): Promise<Saved> {
    const epoch = Math.max(epochOf(document), epochOf(this.#known?.document));
    const stamped = epoch === 0 ? document : { ...document, epoch };
    const encoded = encodeShared(stamped, LINEAGE);
    if (!encoded.ok) return unavailable(encoded.detail);
    const lease = raises ? this.#lease.held : "";
    if (lease === undefined) return fenced("this replica does not hold the lease");
    if (raises && !(await this.#isCopied())) return fenced("no replica of Redis confirmed in time");
    const command = [
      ...this.#writing(SAVE, ["state", "lease", "journal"], stamped, encoded.text, lease),
      ...this.#newsOf(stamped),
    ] as const;
    const [what, found, copies] = await this.#saved(command, raises);
    if (what === "ok") {
      this.#remember(stamped, this.replica);
      return copies ? { ok: true } : unavailable("saved, but no replica of Redis has it yet");
    }
    // Somebody else's save, or nobody's any more: what is there now is looked for at once.
    if (what === "conflict" || what === "lost") void this.#looks.now();
    return refused(what, found);
  }

  /** A script that writes `document`: its keys, the document, the lease as this replica holds it, and what is known. */
  #writing(
    script: Script,
    keys: readonly string[],
    document: StateDocument,
    text: string,
    lease: string,
  ): readonly [string, ...Word[]] {
    const known = this.#known?.document;
    const written = [epochOf(document), document.version, this.replica, text, aboutOf(document)];
    const names = keys.map((name) => this.#key(name));
    return evalOf(script, ...names, ...written, this.#channel, lease, epochOf(known), known?.version ?? 0);
  }

  /** The document before `document`, and what has changed since; empty where all of it is to be told. */
  #newsOf(document: StateDocument): readonly [before: string, news: string] {
    const known = this.#known;
    if (known === undefined || known.by === "" || known.document.version !== document.version - 1)
      return ["", ""];
    return [nameOf(known), encodeNews(document, known.document) ?? ""];
  }

  /** What the script said, the version found, and whether as many copies are made as there must be. */
  async #saved(
    command: readonly [string, ...Word[]],
    raises: boolean,
  ): Promise<readonly [what: string, found: number, copies: boolean]> {
    const waits = raises && this.#needsCopies;
    const reply = waits
      ? await this.#link.together([command, ["WAIT", COPIES_NEEDED, COPY_MS]])
      : await this.#link.send(...command);
    if (!reply.ok) return [reply.detail, 0, false];
    const [script, copies] = waits ? listOf(reply.value) : [reply.value, COPIES_NEEDED];
    const [what, found] = listOf(script);
    return [String(what), Number(found), Number(copies) >= COPIES_NEEDED];
  }

  publish(measure: Uint8Array): Promise<boolean> {
    return this.#fleet.publish(measure);
  }
  take(after: string, most: number): Promise<readonly SharedMeasure[]> {
    return this.#fleet.take(after, most);
  }
  replicas(): Promise<readonly ReplicaInfo[]> {
    return this.#fleet.replicas();
  }
  headcount(): Promise<Headcount | undefined> {
    return this.#fleet.headcount();
  }
  announce(about: Announcement): Promise<boolean> {
    return this.#fleet.announce(about);
  }
  claim(id: string, takesOver: boolean): Promise<Claim | undefined> {
    return this.#fleet.claim(id, takesOver);
  }
  done(...ids: readonly string[]): Promise<boolean> {
    return this.#fleet.done(...ids);
  }
  forward(order: Order, within: Millis): Promise<string | undefined> {
    return this.#fleet.forward(order, within);
  }
  forwarded(): Promise<readonly ForwardedOrder[]> {
    return this.#fleet.forwarded();
  }
  answer(id: string, answer: string): Promise<boolean> {
    return this.#fleet.answer(id, answer);
  }
  /** The secret that the fleet has under that name: `mine`, when it had none; undefined when the store could not be asked. */
  secret(name: string, mine: string): Promise<string | undefined> {
    return this.#fleet.secret(name, mine);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#looks.stop();
    await this.#lease.close();
    await this.#lastKnown.close();
    this.#link.close();
  }

  get #channel(): string {
    return this.#key("news");
  }

  #key(name: string): string {
    return this.#prefix + name;
  }

  /** With Sentinels there are replicas, or there should be: a primary that has lost them may be about to be replaced. */
  get #needsCopies(): boolean {
    return this.#hasCopies || this.#options.state.way === "sentinels";
  }

  /** Whether what is written now gets to a replica of Redis, tried before anything is said of a raise. */
  async #isCopied(): Promise<boolean> {
    if (!this.#needsCopies) return true;
    const trial = ["SET", this.#key("trial"), this.replica, "PX", OFFER_KEPT_MS] as const;
    const reply = await this.#link.together([trial, ["WAIT", COPIES_NEEDED, COPY_MS]]);
    return reply.ok && Number(listOf(reply.value)[1]) >= COPIES_NEEDED;
  }

  #remembered(): Loaded {
    return this.#known === undefined ? { kind: "none" } : { kind: "found", document: this.#known.document };
  }

  #remember(document: StateDocument, by: string): void {
    if (this.#known !== undefined && compared(document, this.#known.document) < 0) return;
    this.#known = { document, by };
    this.#lastKnown.keep(document);
  }

  /** Takes a document that is newer than what is known, or another of the same number: then this one's own is lost. */
  #adopt(document: StateDocument, by: string): void {
    if (this.#isClosed || !this.#isNews({ ...document, epoch: epochOf(document), by })) return;
    this.#remember(document, by);
    if (by === this.replica) return;
    for (const changed of this.#onDocument) changed(document);
  }

  #isNews(of: Numbers): boolean {
    if (this.#known === undefined) return of.version > 0;
    const order = compared(of, this.#known.document);
    return order > 0 || (order === 0 && this.#known.by !== "" && of.by !== this.#known.by);
  }

  #connected(): void {
    this.#hasCopies = false;
    void this.#fleet.keepSecrets();
    void this.#fleet.compareDone();
    void this.#looks.now();
    void this.#lease.now();
  }

  #leaseChanged(): void {
    // What was lost is published again by the holder: it looks whether there is anything.
    if (this.#lease.lease.isLeader) void this.#looks.now();
    for (const changed of this.#onLease) changed();
  }

  #heard(message: string): void {
    const end = message.indexOf("\n");
    const [kind, ...words] = (end < 0 ? message : message.slice(0, end)).split(" ");
    if (kind === "lease") void this.#lease.now();
    else if (kind === "answer") this.#fleet.answered(words[0] ?? "");
    else if (kind === "done") this.#fleet.heardDone(words.join(" "));
    else if (kind === "lost")
      void wait(this.#options.dice.random() * OFFER_SPREAD_MS).then(() => this.#looks.now());
    else if (kind === "doc" || kind === "news") this.#told(kind, words, message.slice(end + 1));
  }

  /** Another has saved: all of it is told, or what has changed since the document that is named. */
  #told(kind: "doc" | "news", words: readonly string[], text: string): void {
    const [epoch, version, by = "", ...before] = words;
    if (!this.#isNews({ epoch: Number(epoch), version: Number(version), by })) return;
    const document = kind === "doc" ? wholeIn(text) : this.#changedBy(text, before.join(" "));
    if (document === undefined) void this.#looks.now();
    else this.#adopt(document, by);
  }

  #changedBy(news: string, since: string): StateDocument | undefined {
    const known = this.#known;
    return known !== undefined && nameOf(known) === since ? decodeNews(news, known.document) : undefined;
  }

  /** Compares what is known with what is there, and does what follows from it. */
  async #look(): Promise<number> {
    const { dice } = this.#options;
    void this.#link.probe();
    const key = this.#key("state");
    const [reply, copies] = await Promise.all([
      this.#link.send("HMGET", key, "epoch", "version", "by"),
      this.#link.send(...evalOf(COPIES, key)),
    ]);
    if (copies.ok) this.#hasCopies ||= Number(copies.value) > 0;
    if (reply.ok && !this.#isClosed) {
      const [epoch, version, by = ""] = textsOf(reply);
      const found = { epoch: Number(epoch ?? 0), version: Number(version ?? 0), by };
      if (this.#isNews(found)) await this.#fetch();
      else if (this.#known !== undefined && compared(found, this.#known.document) < 0)
        return this.#regain(found, this.#known.document);
    }
    return LOOK_MS + dice.random() * LOOK_SPREAD_MS;
  }

  async #fetch(): Promise<void> {
    const [text, by] = textsOf(await this.#link.send("HMGET", this.#key("state"), "document", "by"));
    if (text === undefined) return;
    const decoded = decodeFollowed(text);
    if (decoded.ok) this.#adopt(decoded.document, by ?? "");
    else this.#options.log.error("the shared state cannot be used", { detail: decoded.detail });
  }

  /** Redis has lost saves: the holder of the lease publishes the highest that anybody knows, everybody else offers what they have. */
  async #regain(found: Numbers, known: StateDocument): Promise<number> {
    const { log } = this.#options;
    void this.#fleet.keepSecrets();
    void this.#fleet.compareDone();
    const encoded = encodeShared(known, LINEAGE);
    if (!encoded.ok) return LOOK_MS;
    if (this.#lease.held === undefined) {
      const words = [epochOf(known), known.version, encoded.text, OFFER_KEPT_MS];
      await this.#link.send(...evalOf(OFFER, this.#key("offer"), ...words));
      return LOOK_MS;
    }
    await this.#link.send("PUBLISH", this.#channel, "lost");
    await wait(OFFERS_MS);
    const epoch = Math.max(found.epoch, epochOf(known)) + 1;
    const again = { ...known, epoch };
    const text = encodeShared(again, LINEAGE);
    const held = this.#lease.held;
    if (!text.ok || held === undefined) return LOOK_MS;
    const keys = ["state", "lease", "journal", "offer"];
    const reply = await this.#link.send(...this.#writing(PUBLISH_AGAIN, keys, again, text.text, held));
    const [what, offer] = reply.ok ? listOf(reply.value) : [];
    if (what === "ok") {
      log.warn("the shared store had lost saves; what was known is published again", {
        found: found.version,
        version: known.version,
        epoch,
      });
      this.#remember(again, this.replica);
    } else if (what === "offer") {
      const decoded = decodeState(String(offer));
      if (decoded.ok) this.#adopt(decoded.document, "");
      return 0;
    }
    return LOOK_MS;
  }
}
