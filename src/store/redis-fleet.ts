/**
 * What replicas tell each other over Redis, beside the state: measurements, who is there, orders for the leader, who carries out what, secrets.
 *
 * Measurements go through a stream that keeps the last minute, so that a new leader goes on where the old one stopped. A batch that may have
 * arrived, because only its answer was lost, is sent again under its number and counted once.
 */

import type { Order } from "../engine/orders.ts";
import type {
  Announcement,
  Claim,
  ForwardedOrder,
  Headcount,
  ReplicaInfo,
  SharedMeasure,
} from "../engine/ports.ts";
import { millis, type Millis } from "../domain/units.ts";
import { randomUUID } from "node:crypto";
import { z } from "zod";
import { decodeOrder } from "./orders.ts";
import type { LeaseKeeper } from "./redis-lease.ts";
import type { Link } from "./redis-link.ts";
import { listOf } from "./redis-words.ts";
import {
  ALL_DONE,
  ANNOUNCE,
  ANSWER,
  CLAIM,
  DONE,
  FORWARD,
  FORWARDED,
  KEEP_FIRST,
  MEASURE,
  REPLICAS,
  evalOf,
} from "./redis-scripts.ts";

const MEASURES_KEPT_MS = 60_000;
/** So long a replica may be silent before its figures do not count. */
const STALE_MS = 5000;
/** So long a silent one is named. */
const NAMED_MS = 60_000;
const CLAIMS: readonly Claim[] = ["ours", "theirs", "gone", "done"];
/** So much of what is done is remembered. */
const DONE_KEPT = 1000;
const CLAIM_MS = 7 * 24 * 3_600_000;
const ANSWER_MS = 60_000;
/** The answer to an order is looked for so often, should the word that it is there get lost. */
const LOOK_MS = 250;
const ORDERS_AT_ONCE = 100;
const PAGE = 200;

const announcement = z.object({
  applied: z.int().min(0),
  weights: z.record(z.string(), z.number()),
  perSecond: z.record(z.string(), z.number()),
}) satisfies z.ZodType<Announcement>;
/** Of what another version of this program tells: it is there all the same. */
const NOTHING_TOLD: Announcement = { applied: 0, weights: {}, perSecond: {} };
const headcount = z.object({
  replicas: z.int().min(0),
  stale: z.array(z.string()),
}) satisfies z.ZodType<Headcount>;

/** A replica, with what it told as text: whoever only counts need not read it. */
type Heard = Omit<ReplicaInfo, keyof Announcement> & { readonly told: string };

/** What it works with. `key` gives a key of this fleet. */
export interface FleetOptions {
  readonly link: Link;
  readonly lease: LeaseKeeper;
  readonly key: (name: string) => string;
  readonly channel: string;
  readonly replica: string;
}

/** The replicas of one fleet, as one of them sees them. */
export class Fleet {
  readonly #options: FleetOptions;
  readonly #waiting = new Map<string, () => void>();
  /** The secrets that this replica works with. */
  readonly #agreed = new Map<string, string>();
  readonly #done = new Set<string>();
  /** The batch of which it is not known whether it has arrived. */
  #unsure: Uint8Array | undefined;
  #batch = 0;
  #publishing: Promise<boolean> | undefined;

  constructor(options: FleetOptions) {
    this.#options = options;
  }

  /** As `SharedStore.publish`: a batch that was taken is handed on by this, until it has arrived. */
  publish(measure: Uint8Array): Promise<boolean> {
    const turn = (this.#publishing ?? Promise.resolve(true)).then(() => this.#publish(measure));
    this.#publishing = turn;
    return turn;
  }

  async #publish(measure: Uint8Array): Promise<boolean> {
    if (!(await this.#sendBatch())) return false;
    this.#batch += 1;
    this.#unsure = measure;
    await this.#sendBatch();
    return true;
  }

  async #sendBatch(): Promise<boolean> {
    if (this.#unsure === undefined) return true;
    const { link, key, replica } = this.#options;
    const reply = await link.send(
      ...evalOf(
        MEASURE,
        key("measures"),
        key(`sent:${replica}`),
        replica,
        this.#batch,
        this.#unsure,
        MEASURES_KEPT_MS,
      ),
    );
    if (reply.ok) this.#unsure = undefined;
    return reply.ok;
  }

  async take(after: string, most: number): Promise<readonly SharedMeasure[]> {
    const { link, key, replica } = this.#options;
    const found: SharedMeasure[] = [];
    let from = after;
    while (found.length < most) {
      const start = from === "" ? "-" : `(${from}`;
      const reply = await link.sendForBytes("XRANGE", key("measures"), start, "+", "COUNT", PAGE);
      if (!reply.ok || !Array.isArray(reply.value)) break;
      const entries = reply.value.map(measureOf);
      for (const entry of entries) {
        if (found.length < most && entry.replica !== replica) found.push(entry);
      }
      const last = entries.at(-1);
      if (last === undefined || entries.length < PAGE) break;
      from = last.id;
    }
    return found;
  }

  async announce(about: Announcement): Promise<boolean> {
    const { link, key, replica } = this.#options;
    const words = [replica, JSON.stringify(about), 2 * NAMED_MS] as const;
    return (await link.send(...evalOf(ANNOUNCE, key("replicas"), ...words))).ok;
  }

  async replicas(): Promise<readonly ReplicaInfo[]> {
    const heard = (await this.#heard()) ?? [];
    return heard.map(({ told, ...each }) => ({ ...(jsonOf(told, announcement) ?? NOTHING_TOLD), ...each }));
  }

  async headcount(): Promise<Headcount | undefined> {
    const { link, key, lease } = this.#options;
    if (lease.held === undefined) {
      const reply = await link.send("GET", key("headcount"));
      return reply.ok && typeof reply.value === "string" ? jsonOf(reply.value, headcount) : undefined;
    }
    const heard = await this.#heard();
    if (heard === undefined) return undefined;
    const stale = heard.filter(({ isStale }) => isStale).map(({ replica }) => replica);
    const counted = { replicas: heard.length, stale };
    await link.send("SET", key("headcount"), JSON.stringify(counted), "PX", NAMED_MS);
    return counted;
  }

  /** Who was heard of, by name; undefined when the store could not be asked. */
  async #heard(): Promise<readonly Heard[] | undefined> {
    const { link, key } = this.#options;
    const reply = await link.send(...evalOf(REPLICAS, key("replicas"), key("lease"), NAMED_MS));
    if (!reply.ok) return undefined;
    const [now, held, all] = listOf(reply.value);
    const texts = listOf(all).map(String);
    const heard: Heard[] = [];
    for (let at = 0; at + 1 < texts.length; at += 2)
      heard.push(heardOf(texts[at] ?? "", texts[at + 1] ?? "", Number(now), String(held)));
    return heard.sort((a, b) => (a.replica < b.replica ? -1 : 1));
  }

  async claim(id: string, takesOver: boolean): Promise<Claim | undefined> {
    if (this.#done.has(id)) return "done";
    const { link, key, replica } = this.#options;
    const keys = [key(`claim:${id}`), key("done"), key("replicas")];
    const reply = await link.send(
      ...evalOf(CLAIM, ...keys, id, replica, CLAIM_MS, STALE_MS, Number(takesOver)),
    );
    return reply.ok ? CLAIMS.find((each) => each === reply.value) : undefined;
  }

  async done(...ids: readonly string[]): Promise<boolean> {
    for (const id of ids) this.heardDone(id);
    const { link, key, channel } = this.#options;
    return (await link.send(...evalOf(DONE, key("done"), DONE_KEPT, CLAIM_MS, channel, ...ids))).ok;
  }

  /** The word that something is done: here it stays so, whatever Redis loses. */
  heardDone(id: string): void {
    this.#done.add(id);
    // The oldest is the first.
    const [oldest = id] = this.#done;
    if (this.#done.size > DONE_KEPT) this.#done.delete(oldest);
  }

  /** What is done is known here and there, after either may have missed some of it. */
  async compareDone(): Promise<void> {
    const { link, key } = this.#options;
    const reply = await link.send(...evalOf(ALL_DONE, key("done")));
    if (!reply.ok) return;
    const there = new Set(listOf(reply.value).map(String));
    const missing = [...this.#done].filter((id) => !there.has(id));
    for (const id of there) this.heardDone(id);
    if (missing.length > 0) await this.done(...missing);
  }

  async forward(order: Order, within: Millis): Promise<string | undefined> {
    const { link, key, replica } = this.#options;
    const id = randomUUID();
    const over = new AbortController();
    const end = setTimeout(() => {
      over.abort();
      this.answered(id);
    }, within);
    try {
      const sent = await link.send(
        ...evalOf(FORWARD, key("commands"), id, replica, JSON.stringify(order), within),
      );
      if (!sent.ok) return undefined;
      while (!over.signal.aborted) {
        await this.#told(id);
        const answer = await link.send("GET", key(`answer:${id}`));
        if (answer.ok && typeof answer.value === "string") return answer.value;
      }
      return undefined;
    } finally {
      clearTimeout(end);
      this.#waiting.delete(id);
    }
  }

  async forwarded(): Promise<readonly ForwardedOrder[]> {
    const { link, key, lease } = this.#options;
    const { held } = lease;
    if (held === undefined) return [];
    const reply = await link.send(...evalOf(FORWARDED, key("commands"), key("lease"), held, ORDERS_AT_ONCE));
    return reply.ok && Array.isArray(reply.value) ? reply.value.map(orderOf) : [];
  }

  async answer(id: string, answer: string): Promise<boolean> {
    const { link, key, channel } = this.#options;
    return (await link.send(...evalOf(ANSWER, key(`answer:${id}`), answer, ANSWER_MS, channel, id))).ok;
  }

  /** The word that an answer is there. */
  answered(id: string): void {
    this.#waiting.get(id)?.();
  }

  /** The secret that the fleet has under that name: `mine`, when it had none; undefined when the store could not be asked. */
  async secret(name: string, mine: string): Promise<string | undefined> {
    const { link, key } = this.#options;
    const reply = await link.send(...evalOf(KEEP_FIRST, key(`secret:${name}`), mine));
    if (!reply.ok || typeof reply.value !== "string") return undefined;
    this.#agreed.set(name, reply.value);
    return reply.value;
  }

  /** Puts back what was agreed on, where the store has lost it: who comes new is to work with what the others have. */
  async keepSecrets(): Promise<void> {
    const { link, key } = this.#options;
    for (const [name, agreed] of this.#agreed)
      await link.send(...evalOf(KEEP_FIRST, key(`secret:${name}`), agreed));
  }

  /** Resolves at the word that the answer is there, or when it is time to look for it. */
  #told(id: string): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, LOOK_MS);
      this.#waiting.set(id, () => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

/** An entry of the stream: its place, and names with values, all as bytes. */
function measureOf(entry: unknown): SharedMeasure {
  const [id, fields] = entry as readonly [Uint8Array, readonly Uint8Array[]];
  const at = (name: string): Uint8Array =>
    fields[fields.findIndex((field, index) => index % 2 === 0 && textOf(field) === name) + 1] ?? NOTHING;
  return { id: textOf(id), replica: textOf(at("r")), measure: at("m") };
}

const NOTHING = new Uint8Array();

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("utf8");
}

/** `UNTIL ID REPLICA`, and the order behind a line's end. */
function orderOf(entry: unknown): ForwardedOrder {
  const text = String(entry);
  const end = text.indexOf("\n");
  const [, id = "", replica = ""] = text.slice(0, end).split(" ");
  return { id, replica, order: decodeOrder(text.slice(end + 1)) };
}

/** `AT`, and what it told behind it. */
function heardOf(replica: string, text: string, now: number, held: string): Heard {
  const space = text.indexOf(" ");
  const at = Number(text.slice(0, space));
  const silentMs = millis(Math.max(0, now - at));
  const isLeader = held.endsWith(` ${replica}`);
  return { replica, at, silentMs, isStale: silentMs > STALE_MS, isLeader, told: text.slice(space + 1) };
}

/** What a text says, when it is of that kind; else undefined. */
function jsonOf<T>(text: string, kind: z.ZodType<T>): T | undefined {
  try {
    return kind.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}
