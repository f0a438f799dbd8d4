/**
 * Where the endpoints that are names lead to, asked on a schedule and never by a request (reliability.md B16).
 *
 * It promises that the last good answer is kept whatever becomes of later lookups, that a name is asked once for all who want it, and that few
 * lookups run at a time: `dns.lookup` blocks one of four threads that the file system needs too. That call and not a resolver of our own,
 * so that /etc/hosts and the system's rules hold. Only who comes before the first answer waits. Every new connection begins at the next address
 * of an answer; addresses that failed of late come last.
 */

import { lookup as lookupOf } from "node:dns/promises";
import { BlockList, isIP } from "node:net";
import { codeOf } from "../domain/errors.ts";
import { millis, type Millis } from "../domain/units.ts";
import type { Clock, Log } from "../engine/ports.ts";

/** Asks for the addresses of a name, best first. Rejects when there is no answer. */
export type Lookup = (name: string) => Promise<readonly string[]>;

/** The system's answer, from wherever the system takes it. */
export const systemLookup: Lookup = async (name) =>
  (await lookupOf(name, { all: true })).map(({ address }) => address);

/** How a name is asked for. */
export interface NameRules {
  /** How often; the shortest of all who want the name holds. Not more than once a second. */
  readonly refresh: Millis;
  /** Whether it may lead to loopback and link-local addresses. */
  readonly local: boolean;
}

/** Who wants to know where a name leads. */
export interface NameListener {
  /** A lookup failed, or led nowhere that is allowed. */
  dnsFailed(): void;
  /** Some addresses are gone, or others have come; not told of the first answer. @param isElsewhere none of those before is left */
  dnsChanged(isElsewhere: boolean): void;
}

/** Takes addresses in the order in which to try them; without an error there is one. */
export type Taker = (error: Error | null, addresses: readonly string[]) => void;

/** A name, as one endpoint sees it. */
export interface NamePlace {
  /** Calls `take` once: at once when addresses are known, else with the next answer or its failure. */
  addresses(take: Taker): void;
  /** Whether the name leads to this address now. */
  has(address: string): boolean;
  /** There was no connection to this address. */
  failed(address: string): void;
  /** There was no connection: the name is asked again, unless it was just now. */
  askAgain(): void;
  /** Other rules, which hold for the last answer too. */
  obey(rules: NameRules): void;
  /** Nobody wants to know any more. */
  close(): void;
}

/** What a resolver needs. */
export interface ResolverParts {
  readonly clock: Clock;
  readonly log: Log;
  readonly lookup: Lookup;
}

/** How often it is looked what is due. */
const TICK_MS = millis(1000);
/** A name is asked again for a failed connection no sooner than so long after the last time. */
const AGAIN_MS = 1000;
/** A name that never had an answer is asked at least so often. */
const UNANSWERED_MS = 5000;
/** Lookups at a time; of four threads one is left for the file system. */
const AT_ONCE = 3;
/** An address that failed comes last for so long. */
const FAILED_MS = 30_000;

/** All names of one thread. */
export class Resolver {
  readonly #parts: ResolverParts;
  readonly #names = new Map<string, Name>();
  readonly #queue = new Set<Name>();
  #running = 0;
  #stop: (() => void) | undefined = undefined;

  constructor(parts: ResolverParts) {
    this.#parts = parts;
  }

  /** Keeps a name's addresses until its place is closed; the first lookup begins now. */
  watch(text: string, rules: NameRules, listener: NameListener): NamePlace {
    let name = this.#names.get(text);
    if (name === undefined) {
      name = new Name(text, this.#parts, {
        ask: (one) => this.#ask(one),
        unwanted: (one) => this.#forget(one),
      });
      this.#names.set(text, name);
      this.#stop ??= this.#parts.clock.every(TICK_MS, () => this.#tick());
    }
    const place = new Watcher(name, rules, listener);
    name.add(place);
    return place;
  }

  #tick(): void {
    const now = this.#parts.clock.mono();
    for (const name of this.#names.values()) if (now >= name.dueAt) this.#ask(name);
  }

  #ask(name: Name): void {
    if (name.isAsking) return;
    this.#queue.add(name);
    this.#serve();
  }

  #forget(name: Name): void {
    this.#names.delete(name.text);
    this.#queue.delete(name);
    if (this.#names.size > 0) return;
    this.#stop?.();
    this.#stop = undefined;
  }

  #serve(): void {
    for (const name of this.#queue) {
      if (this.#running >= AT_ONCE) return;
      this.#queue.delete(name);
      this.#running++;
      // Settles its own trouble.
      void name.ask().then(() => {
        this.#running--;
        this.#serve();
      });
    }
  }
}

/** Who carries out what a name wants. */
interface Home {
  ask(name: Name): void;
  unwanted(name: Name): void;
}

/** One name. */
class Name {
  readonly text: string;
  dueAt = Infinity;
  isAsking = false;
  /** What it led to at last. */
  answer: readonly string[] = [];
  error: Error | undefined = undefined;
  readonly #parts: ResolverParts;
  readonly #home: Home;
  readonly #watchers = new Set<Watcher>();
  readonly #failedAt = new Map<string, Millis>();
  /** What was told of the last lookup; empty: that it went well. */
  #trouble = "";
  #askedAt = -Infinity;

  constructor(text: string, parts: ResolverParts, home: Home) {
    this.text = text;
    this.#parts = parts;
    this.#home = home;
  }

  add(watcher: Watcher): void {
    this.#watchers.add(watcher);
    if (this.answer.length === 0) return this.#home.ask(this);
    watcher.learn(this.answer);
    this.plan();
  }

  remove(watcher: Watcher): void {
    if (this.#watchers.delete(watcher) && this.#watchers.size === 0) this.#home.unwanted(this);
  }

  /** Asks, unless it was asked just now. False when it was, and there is nothing to wait for. */
  again(): boolean {
    if (this.isAsking) return true;
    if (this.#parts.clock.mono() - this.#askedAt < AGAIN_MS) return false;
    this.#home.ask(this);
    return true;
  }

  failed(address: string): void {
    this.#failedAt.set(address, this.#parts.clock.mono());
  }

  /** Whether there was no connection to an address of late. */
  hasFailed(address: string): boolean {
    const at = this.#failedAt.get(address);
    return at !== undefined && this.#parts.clock.mono() - at < FAILED_MS;
  }

  /** Looks it up. Never rejects. */
  async ask(): Promise<void> {
    const { clock, lookup } = this.#parts;
    this.isAsking = true;
    this.#askedAt = clock.mono();
    this.dueAt = Infinity;
    try {
      const found = [...new Set(await lookup(this.text))].filter((each) => isIP(each) !== 0);
      if (found.length === 0) throw new Error("there is no address");
      this.isAsking = false;
      this.#learn(found);
    } catch (caught) {
      this.isAsking = false;
      this.#fail(caught instanceof Error ? caught : new Error(String(caught)));
    }
    this.plan();
  }

  /** When it is to be asked next. */
  plan(): void {
    if (this.isAsking) return;
    let wait = this.answer.length > 0 ? Infinity : UNANSWERED_MS;
    for (const { rules } of this.#watchers) wait = Math.min(wait, rules.refresh);
    this.dueAt = this.#askedAt + wait;
  }

  #learn(found: readonly string[]): void {
    const before = this.answer;
    this.answer = found;
    this.error = undefined;
    if (this.#trouble !== "") {
      this.#trouble = "";
      this.#parts.log.info("an endpoint's name can be looked up again", { name: this.text });
    }
    const isSame = before.length === found.length && before.every((each) => found.includes(each));
    if (!isSame) {
      for (const each of this.#failedAt.keys()) if (!found.includes(each)) this.#failedAt.delete(each);
      if (before.length > 0)
        this.#parts.log.info("an endpoint's name leads to other addresses", {
          name: this.text,
          before,
          after: found,
        });
    }
    for (const each of this.#watchers) each.learn(found);
  }

  #fail(error: Error): void {
    this.error = error;
    const trouble = codeOf(error) || error.message;
    if (trouble !== this.#trouble) {
      this.#trouble = trouble;
      this.#parts.log.warn("an endpoint's name cannot be looked up", {
        name: this.text,
        detail: trouble,
        kept: this.answer,
      });
    }
    for (const each of this.#watchers) each.learnNothing(error);
  }
}

/** One name by the rules of one endpoint. */
class Watcher implements NamePlace {
  rules: NameRules;
  readonly #name: Name;
  readonly #listener: NameListener;
  #addresses: readonly string[] = [];
  /** The last answer held nothing that the rules allow. */
  #error: Error | undefined = undefined;
  #waiting: Taker[] = [];
  #turn = 0;

  constructor(name: Name, rules: NameRules, listener: NameListener) {
    this.#name = name;
    this.rules = rules;
    this.#listener = listener;
  }

  addresses(take: Taker): void {
    if (this.#addresses.length > 0) return take(null, this.#order());
    const error = this.#error ?? this.#name.error;
    if (error !== undefined && !this.#name.again()) return take(error, []);
    this.#waiting.push(take);
  }

  has(address: string): boolean {
    return this.#addresses.includes(address);
  }

  failed(address: string): void {
    this.#name.failed(address);
  }

  askAgain(): void {
    this.#name.again();
  }

  obey(rules: NameRules): void {
    const wasLocal = this.rules.local;
    this.rules = rules;
    this.#name.plan();
    if (rules.local !== wasLocal && this.#name.answer.length > 0) this.learn(this.#name.answer);
  }

  close(): void {
    this.#name.remove(this);
    this.#release(new Error("the endpoint is not wanted any more"));
  }

  /** There is an answer. */
  learn(answer: readonly string[]): void {
    const found = this.#allowed(answer);
    if (found.length === 0) {
      this.#keep(this.#allowed(this.#addresses));
      this.#error = new Error(`${this.#name.text} leads to loopback or link-local addresses alone`);
      this.learnNothing(this.#error);
      return;
    }
    this.#error = undefined;
    this.#keep(found);
    this.#release(null);
  }

  /** There is no answer; what was there before is kept. */
  learnNothing(error: Error): void {
    this.#listener.dnsFailed();
    this.#release(error);
  }

  #keep(addresses: readonly string[]): void {
    const before = this.#addresses;
    this.#addresses = addresses;
    if (before.length === 0) return;
    const left = before.filter((each) => addresses.includes(each)).length;
    if (left < before.length || left < addresses.length) this.#listener.dnsChanged(left === 0);
  }

  #release(error: Error | null): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const take of waiting)
      if (this.#addresses.length > 0) take(null, this.#order());
      else take(error, []);
  }

  /** All addresses, beginning with the one whose turn it is; those that failed of late come last. */
  #order(): readonly string[] {
    const { length } = this.#addresses;
    if (length === 1) return this.#addresses;
    const from = this.#turn++ % length;
    const turned = [...this.#addresses.slice(from), ...this.#addresses.slice(0, from)];
    const failed = turned.filter((each) => this.#name.hasFailed(each));
    if (failed.length === 0) return turned;
    return [...turned.filter((each) => !failed.includes(each)), ...failed];
  }

  #allowed(answer: readonly string[]): readonly string[] {
    if (this.rules.local || this.#name.text.toLowerCase() === "localhost") return answer;
    return answer.filter((each) => !isLocal(each));
  }
}

/** This machine, and the link it is on: not where a name from elsewhere may lead, by accident or malice. */
const LOCAL = new BlockList();
for (const [net, prefix] of [
  ["0.0.0.0", 8],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
] as const)
  LOCAL.addSubnet(net, prefix, "ipv4");
// Addresses of version 4 in those of version 6 are checked by their own rules.
LOCAL.addSubnet("::", 127, "ipv6");
LOCAL.addSubnet("fe80::", 10, "ipv6");

function isLocal(address: string): boolean {
  const [plain = ""] = address.split("%", 1);
  return LOCAL.check(plain, isIP(plain) === 6 ? "ipv6" : "ipv4");
}
