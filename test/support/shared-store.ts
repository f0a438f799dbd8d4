/**
 * A store that replicas share, in memory: several of them on one object. It can be away, lose what it holds, answer nothing about what has landed, and
 * each replica can be cut off from it or paused past its lease. Time is the clock's, which is moved by hand.
 */

import { millis } from "../../src/domain/units.ts";
import type {
  Announcement,
  Claim,
  ForwardedOrder,
  Headcount,
  Loaded,
  ReplicaInfo,
  Saved,
  SharedStore,
  StateDocument,
} from "../../src/engine/ports.ts";
import { isNewer } from "../../src/engine/adopting.ts";
import type { Order } from "../../src/engine/orders.ts";
import { decodeState, encodeState } from "../../src/store/document.ts";
import { decodeOrder } from "../../src/store/orders.ts";
import type { FakeClock } from "./clock.ts";

const TTL_MS = 3000;
const MARGIN_MS = 500;
const RENEW_MS = 1000;
const STALE_MS = 5000;

interface Waiting {
  readonly id: string;
  readonly replica: string;
  readonly written: string;
  readonly answered: (answer: string | undefined) => void;
}

/** What all of them share. */
export class SharedObject {
  readonly clock: FakeClock;
  /** False: it is gone, for everybody. */
  isUp = true;
  text: string | undefined;
  holder = "";
  fence = 0;
  heldUntil = 0;
  entries: { readonly id: string; readonly replica: string; readonly measure: Uint8Array }[] = [];
  readonly told = new Map<string, { readonly about: Announcement; readonly at: number }>();
  headcount: Headcount | undefined;
  /** By id, who has it; empty: it is done. */
  readonly claims = new Map<string, string>();
  orders: Waiting[] = [];
  readonly taken = new Map<string, Waiting>();
  readonly members: SharedMember[] = [];
  /** Weights of every document that was saved, by route, oldest first. */
  readonly saved: StateDocument[] = [];
  #next = 1;

  constructor(clock: FakeClock) {
    this.clock = clock;
  }

  get document(): StateDocument | undefined {
    if (this.text === undefined) return undefined;
    const decoded = decodeState(this.text);
    if (!decoded.ok) throw new Error(decoded.detail);
    return decoded.document;
  }

  /** A new replica. */
  join(replica: string): SharedMember {
    const member = new SharedMember(this, replica);
    this.members.push(member);
    return member;
  }

  /** Everything that it held is lost. */
  flush(): void {
    this.text = undefined;
    this.holder = "";
    this.heldUntil = 0;
    this.entries = [];
    this.told.clear();
    this.claims.clear();
  }

  nextId(): string {
    return `${String(this.#next++).padStart(12, "0")}-0`;
  }
}

/** One replica's side. */
export class SharedMember implements SharedStore {
  readonly replica: string;
  readonly #object: SharedObject;
  readonly #stop: () => void;
  /** True: nothing passes between it and the store. */
  isCut = false;
  /** True: its saves land, and it is not told so. */
  isUnsure = false;
  readonly #done = new Set<string>();
  #until = 0;
  #fence = 0;
  #seen = "";
  #lastLease = "";
  #changed: (document: StateDocument) => void = () => {};
  #leaseChanged: () => void = () => {};

  constructor(object: SharedObject, replica: string) {
    this.#object = object;
    this.replica = replica;
    this.#stop = object.clock.every(millis(RENEW_MS), () => this.renew());
    this.renew();
  }

  get isUp(): boolean {
    return this.#object.isUp && !this.isCut;
  }

  load(): Promise<Loaded> {
    if (!this.isUp) return Promise.resolve({ kind: "corrupt", detail: "the store is away", keptAs: "" });
    const { document } = this.#object;
    return Promise.resolve(document === undefined ? { kind: "none" } : { kind: "found", document });
  }

  async save(document: StateDocument, options: { readonly raises?: boolean } = {}): Promise<Saved> {
    // As over a network: what comes meanwhile comes first.
    await Promise.resolve();
    if (!this.isUp) return { ok: false, kind: "unavailable", detail: "the store is away" };
    const object = this.#object;
    const isHolder = object.holder === this.replica && object.fence === this.#fence;
    if (options.raises === true && !isHolder) return { ok: false, kind: "fenced", detail: "another leads" };
    const found = object.document?.version ?? 0;
    if (document.version !== found + 1) return { ok: false, kind: "conflict", found };
    const encoded = encodeState(document, "shared");
    if (!encoded.ok) throw new Error(encoded.detail);
    object.text = encoded.text;
    object.saved.push(document);
    for (const member of object.members) if (member !== this) member.heal();
    if (this.isUnsure) return { ok: false, kind: "unavailable", detail: "no answer" };
    this.#seen = keyOf(document);
    return { ok: true };
  }

  lease() {
    const isLeader = this.#fence > 0 && this.#object.clock.mono() < this.#until - MARGIN_MS;
    const leader = this.isUp ? this.#object.holder : this.#lastLease.split(" ")[0]!;
    return { isLeader, leader, fence: this.#fence };
  }

  onDocument(changed: (document: StateDocument) => void): void {
    this.#changed = changed;
  }

  onLease(changed: () => void): void {
    this.#leaseChanged = changed;
  }

  /** Once a second: the lease, and what was missed. */
  renew(): void {
    const object = this.#object;
    const now = object.clock.mono();
    if (this.isUp) {
      if (object.holder !== this.replica && now >= object.heldUntil) {
        object.holder = this.replica;
        object.fence++;
      }
      const isHolder = object.holder === this.replica;
      this.#fence = isHolder ? object.fence : 0;
      if (isHolder) object.heldUntil = this.#until = now + TTL_MS;
      this.heal();
    }
    const { isLeader, leader } = this.lease();
    const lease = `${leader} ${isLeader}`;
    if (lease === this.#lastLease) return;
    this.#lastLease = lease;
    this.#leaseChanged();
  }

  /** Tells of a document that is newer than what was told. */
  heal(): void {
    const { document } = this.#object;
    if (!this.isUp || document === undefined || keyOf(document) === this.#seen) return;
    this.#seen = keyOf(document);
    this.#changed(document);
  }

  /** The lease goes to nobody; who asks first gets it. */
  loseLease(): void {
    if (this.#object.holder === this.replica) this.#object.heldUntil = 0;
    this.#until = 0;
  }

  publish(measure: Uint8Array): Promise<boolean> {
    if (!this.isUp) return Promise.resolve(false);
    this.#object.entries.push({ id: this.#object.nextId(), replica: this.replica, measure });
    return Promise.resolve(true);
  }

  take(after: string, most: number) {
    const entries = this.isUp ? this.#object.entries : [];
    return Promise.resolve(
      entries.filter(({ id, replica }) => id > after && replica !== this.replica).slice(0, most),
    );
  }

  replicas(): Promise<readonly ReplicaInfo[]> {
    const object = this.#object;
    const now = object.clock.mono();
    if (!this.isUp) return Promise.resolve([]);
    return Promise.resolve(
      [...object.told].map(([replica, { about, at }]) => ({
        ...about,
        replica,
        at,
        silentMs: millis(Math.max(0, now - at)),
        isStale: now - at > STALE_MS,
        isLeader: replica === object.holder,
      })),
    );
  }

  async headcount(): Promise<Headcount | undefined> {
    const object = this.#object;
    if (!this.isUp) return undefined;
    if (this.lease().isLeader) {
      const all = await this.replicas();
      const stale = all.filter(({ isStale }) => isStale).map(({ replica }) => replica);
      object.headcount = { replicas: all.length, stale };
    }
    return object.headcount;
  }

  announce(about: Announcement): Promise<boolean> {
    if (this.isUp) this.#object.told.set(this.replica, { about, at: this.#object.clock.mono() });
    return Promise.resolve(this.isUp);
  }

  claim(id: string, takesOver: boolean): Promise<Claim | undefined> {
    if (!this.isUp) return Promise.resolve(undefined);
    const { claims, told, clock } = this.#object;
    const holder = claims.get(id) ?? this.replica;
    if (holder === "" || this.#done.has(id)) return Promise.resolve("done");
    if (holder !== this.replica) {
      if (clock.mono() - (told.get(holder)?.at ?? 0) <= STALE_MS) return Promise.resolve("theirs");
      if (!takesOver) return Promise.resolve("gone");
    }
    claims.set(id, this.replica);
    return Promise.resolve("ours");
  }

  done(...ids: readonly string[]): Promise<boolean> {
    for (const id of ids) this.#done.add(id);
    if (!this.isUp) return Promise.resolve(false);
    for (const id of ids) {
      this.#object.claims.set(id, "");
      for (const member of this.#object.members) if (member.isUp) member.#done.add(id);
    }
    return Promise.resolve(true);
  }

  forward(order: Order, within: number): Promise<string | undefined> {
    return this.write(JSON.stringify(order), within);
  }

  /** Puts whatever it is in the queue, as a replica of another version might. */
  write(written: string, within: number): Promise<string | undefined> {
    const object = this.#object;
    if (!this.isUp) return Promise.resolve(undefined);
    return new Promise((resolve) => {
      const id = object.nextId();
      const done = (answer: string | undefined): void => {
        stop();
        object.orders = object.orders.filter((each) => each.id !== id);
        resolve(answer);
      };
      const stop = object.clock.every(millis(within), () => done(undefined));
      object.orders.push({ id, replica: this.replica, written, answered: done });
    });
  }

  forwarded(): Promise<readonly ForwardedOrder[]> {
    const object = this.#object;
    if (!this.isUp || object.holder !== this.replica) return Promise.resolve([]);
    const orders = object.orders;
    object.orders = [];
    for (const each of orders) object.taken.set(each.id, each);
    return Promise.resolve(
      orders.map(({ id, replica, written }) => ({ id, replica, order: decodeOrder(written) })),
    );
  }

  answer(id: string, answer: string): Promise<boolean> {
    this.#object.taken.get(id)?.answered(answer);
    return Promise.resolve(true);
  }

  close(): Promise<void> {
    this.#stop();
    return Promise.resolve();
  }
}

function keyOf({ epoch = 0, version }: StateDocument): string {
  return `${epoch}/${version}`;
}

/** Whether each saved document is newer than the one before. */
export function risesInOrder(documents: readonly StateDocument[]): boolean {
  return documents.every((each, at) => at === 0 || isNewer(each, documents[at - 1]!));
}
