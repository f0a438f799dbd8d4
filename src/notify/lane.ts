/**
 * One channel with its queue: attempts with a time, pauses between them, an end to the queue, and a pace.
 *
 * Nobody is told twice: before a message is sent the outbox says so, and after it that it was. If the process dies in between, or nobody answers, it may have
 * arrived; then it is sent again only where the receiver takes two for one.
 */

import { wordsOf } from "../domain/errors.ts";
import { leastSevere } from "../domain/severity.ts";
import type { ChannelStats, Handing, Log, Notice, Outbox } from "../engine/ports.ts";
import type { Channel, Delivery } from "./channel.ts";
import { heldBack } from "./held-back.ts";
import { isLouder, Listening } from "./interest.ts";
import { Pace } from "./pace.ts";
import { within } from "./patience.ts";

/** How patient it is. */
export interface FanoutOptions {
  /** Messages that wait for one channel at the most. */
  readonly queue: number;
  /** An attempt without an answer by then has failed: ms. */
  readonly timeoutMs: number;
  /** Further attempts after the first. */
  readonly retries: number;
  /** Pause before the first further attempt; twice as long before each next one, up to a minute: ms. */
  readonly backoffMs: number;
  /** How long `close` waits for what is queued: ms. */
  readonly closeMs: number;
  /** How long a turn of a channel's `perMinute` takes to come back: ms. */
  readonly minuteMs: number;
}

/** Whom it needs. */
export interface LaneParts {
  readonly log: Log;
  readonly outbox: Outbox;
  /** Wall clock, ms. */
  readonly wall: () => number;
}

/** What is sent next. */
interface Letter {
  readonly notice: Notice;
  /** The messages that it is told in place of; none: it is one itself. */
  readonly folded: readonly Notice[];
}

const LONGEST_PAUSE_MS = 60_000;
/** A receiver that asks for more patience than this is asked again all the same. */
const LONGEST_RETRY_AFTER_MS = 300_000;
/** So long a channel that was told to stop has to say how far it came: ms. */
const LAST_WORDS_MS = 100;

/** One channel with its queue. */
export class Lane {
  readonly #channel: Channel;
  readonly #parts: LaneParts;
  readonly #options: FanoutOptions;
  readonly #listening: Listening;
  readonly #pace: Pace;
  readonly #queue: Notice[] = [];
  /** How what is in hand was handed over; what a flood is told as was not. */
  readonly #handed = new Map<Notice, readonly Handing[]>();
  /** Aborted when nothing more is to be tried. */
  readonly #over = new AbortController();
  #running: Promise<void> | undefined;
  #isClosing = false;
  /** Called when there may be a turn again. */
  #wake: () => void = () => {};
  /** Whether messages had to wait for a turn: then they are told as one. */
  #isFlooded = false;
  /** Messages that a flood has pushed out of the queue, since it was told last. */
  #pushedOut = 0;
  readonly #counts = { sent: 0, failed: 0, dropped: 0, inDoubt: 0, heldBack: 0 };
  #lastError: string | null = null;
  /** Why the last attempt failed; empty: it did not. */
  trouble = "";
  #lastSuccessAt: string | null = null;

  constructor(channel: Channel, parts: LaneParts, options: FanoutOptions) {
    this.#channel = channel;
    this.#parts = parts;
    this.#options = options;
    this.#listening = new Listening(channel.interest, channel.name, parts.outbox, parts.wall);
    this.#pace = new Pace(channel.perMinute ?? Infinity, options.minuteMs, () => this.#wake());
  }

  get stats(): ChannelStats {
    return {
      ...this.#counts,
      queued: this.#queue.length,
      lastError: this.#lastError,
      lastSuccessAt: this.#lastSuccessAt,
    };
  }

  push(notice: Notice, handing: Handing): void {
    if (!this.#listening.wants(notice)) return handing.done();
    // Not done: whoever could tell it as well may do so.
    if (this.#isClosing) {
      this.#drop(alone(notice), "the notifier is closed");
      return;
    }
    this.#listening.expect(notice);
    this.#handed.set(notice, [...this.#handingsOf(notice), handing]);
    this.#queue.push(notice);
    if (this.#queue.length > this.#options.queue) {
      const victim = this.#queue.splice(leastSevere(this.#queue), 1)[0];
      if (victim !== undefined) {
        this.#drop(alone(victim), "the queue is full");
        this.#end(victim);
      }
      this.#pushedOut += 1;
    }
    this.#running ??= this.#run();
    this.#wake();
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    this.#wake();
    const deadline = setTimeout(() => this.#over.abort(), this.#options.closeMs);
    await this.#running;
    clearTimeout(deadline);
    this.#over.abort();
    this.#pace.close();
    try {
      await within(this.#options.timeoutMs, this.#channel.close());
    } catch (error) {
      this.#parts.log.warn("a notification channel did not close", { channel: this.#channel.name, error });
    }
  }

  async #run(): Promise<void> {
    // So that `notify` returns before a channel does anything at all.
    await Promise.resolve();
    while (this.#queue.length > 0) {
      const next = this.#next();
      if (next === undefined) await new Promise<void>((resolve) => (this.#wake = resolve));
      else {
        await this.#deliver(next);
        if (!this.#over.signal.aborted) for (const each of allOf(next)) this.#end(each);
      }
    }
    this.#running = undefined;
  }

  /** The first message that has its turn; undefined: all wait. At the end nobody waits. */
  #next(): Letter | undefined {
    const index = this.#queue.findIndex((notice) => this.#isClosing || this.#pace.has(kindOf(notice)));
    const notice = this.#queue[index];
    if (notice === undefined) {
      this.#isFlooded = true;
      return undefined;
    }
    this.#pace.take(kindOf(notice));
    if (this.#isFlooded && kindOf(notice) === "plain") {
      this.#isFlooded = false;
      const folded = this.#fold();
      if (folded !== undefined) return folded;
    }
    this.#queue.splice(index, 1);
    return alone(notice);
  }

  /** All that can be told as one, as one. What a pager opens or closes by cannot. */
  #fold(): Letter | undefined {
    const { outbox } = this.#parts;
    const { name, isKeyed } = this.#channel;
    const canFold = (notice: Notice): boolean =>
      kindOf(notice) === "plain" &&
      !this.#mayHaveArrived(notice) &&
      (notice.incident === undefined || !isKeyed) &&
      // What was told before, or may have been, is not told again within another.
      outbox.fate(notice.id, name) !== "done";
    const folded = this.#queue.filter(canFold);
    if (folded.length < 2) return undefined;
    const rest = this.#queue.filter((notice) => !canFold(notice));
    this.#queue.splice(0, Infinity, ...rest);
    this.#counts.heldBack += folded.length;
    const notice = heldBack(folded, this.#pushedOut);
    this.#pushedOut = 0;
    return { notice, folded };
  }

  async #deliver(letter: Letter): Promise<void> {
    const { outbox, log, wall } = this.#parts;
    const { name, isKeyed } = this.#channel;
    const { notice } = letter;
    if (outbox.fate(notice.id, name) === "done") return;
    if (!isKeyed && this.#mayHaveArrived(notice))
      return this.#doubt(letter, "the program ended while it was being sent");
    await this.#mark(letter, "begun");
    let detail = "the notifier was closed";
    for (let attempt = 1; attempt <= this.#options.retries + 1; attempt += 1) {
      if (this.#over.signal.aborted) break;
      const delivery = await this.#attempt({ id: notice.id, notice, attempt });
      if (delivery.ok) {
        this.#counts.sent += 1;
        this.#lastSuccessAt = new Date(wall()).toISOString();
        this.trouble = "";
        if (delivery.detail !== undefined)
          log.warn("a notification was delivered in part", { channel: name, detail: delivery.detail });
        await this.#mark(letter, "done");
        await this.#kept(allOf(letter).map((each) => this.#listening.told(each)));
        return;
      }
      this.#counts.failed += 1;
      this.#lastError = this.trouble = detail = delivery.detail;
      if (delivery.isUnknown === true && this.#over.signal.aborted) return this.#drop(letter, detail);
      if (delivery.isUnknown === true && !isKeyed) return this.#doubt(letter, detail);
      if (!delivery.retry) break;
      if (attempt <= this.#options.retries) await this.#pause(attempt, delivery.retryAfterMs);
    }
    this.#drop(letter, detail);
    // Whoever hands it over again, after a restart, may try again.
    await this.#mark(letter, "new");
  }

  /** Nothing more becomes of it here. */
  #end(notice: Notice): void {
    for (const { done } of this.#handingsOf(notice)) done();
    this.#handed.delete(notice);
  }

  /** From here before the program ended, or from somebody who is gone. */
  #mayHaveArrived(notice: Notice): boolean {
    const isBegun = this.#parts.outbox.fate(notice.id, this.#channel.name) === "begun";
    return isBegun || this.#handingsOf(notice).some(({ mayHaveArrived }) => mayHaveArrived);
  }

  /** The same message may be handed over again while it waits. */
  #handingsOf(notice: Notice): readonly Handing[] {
    return this.#handed.get(notice) ?? [];
  }

  async #mark(letter: Letter, fate: "new" | "begun" | "done"): Promise<void> {
    const { outbox } = this.#parts;
    const marks = allOf(letter).map(({ id }) => outbox.mark(id, this.#channel.name, fate));
    await this.#kept(marks);
  }

  /** A disk that hangs holds up no message. */
  async #kept(lines: readonly Promise<unknown>[]): Promise<void> {
    await within(this.#options.timeoutMs, Promise.all(lines)).catch(() => {});
  }

  async #attempt(message: Parameters<Channel["send"]>[0]): Promise<Delivery> {
    const patience = new AbortController();
    const signal = AbortSignal.any([patience.signal, this.#over.signal]);
    const { timeoutMs } = this.#options;
    let isOver = false;
    const sending = new Promise<Delivery>((resolve) => resolve(this.#channel.send(message, signal))).catch(
      (error: unknown): Delivery => ({ ok: false, retry: true, detail: wordsOf(error), isUnknown: isOver }),
    );
    // The race, and not the signal alone: a channel that ignores its signal must not hold up the queue either.
    return within(timeoutMs, sending, this.#over.signal).catch(async (error: unknown): Promise<Delivery> => {
      isOver = true;
      patience.abort();
      const silent: Delivery = { ok: false, retry: true, detail: wordsOf(error), isUnknown: true };
      const last = await within(LAST_WORDS_MS, sending).catch(() => silent);
      return last.ok ? last : { ...silent, isUnknown: last.isUnknown ?? false };
    });
  }

  /** Waits before attempt number `attempt` + 1, or until it is over. */
  async #pause(attempt: number, askedMs = 0): Promise<void> {
    const ms = Math.max(
      Math.min(this.#options.backoffMs * 2 ** (attempt - 1), LONGEST_PAUSE_MS),
      Math.min(askedMs, LONGEST_RETRY_AFTER_MS),
    );
    await within(ms, new Promise<void>(() => {}), this.#over.signal).catch(() => {});
  }

  /** It may have arrived, and would come twice if it were sent again. */
  async #doubt(letter: Letter, detail: string): Promise<void> {
    this.#counts.inDoubt += countOf(letter);
    this.#tell("a notification may or may not have arrived, and is not sent again", letter.notice, detail);
    await this.#mark(letter, "done");
  }

  #drop(letter: Letter, detail: string): void {
    this.#counts.dropped += countOf(letter);
    for (const each of allOf(letter)) this.#listening.missed(each);
    this.#tell("a notification was not delivered", letter.notice, detail);
  }

  #tell(words: string, { event, severity, route }: Notice, detail: string): void {
    this.#parts.log.warn(words, { channel: this.#channel.name, event, severity, route, detail });
  }
}

function alone(notice: Notice): Letter {
  return { notice, folded: [] };
}

/** What has the fate of a letter. */
function allOf({ notice, folded }: Letter): readonly Notice[] {
  return [notice, ...folded];
}

/** How many messages that is, to whoever counts them. */
function countOf({ folded }: Letter): number {
  return Math.max(folded.length, 1);
}

function kindOf({ severity }: Notice): "loud" | "plain" {
  return isLouder(severity, "warning") ? "loud" : "plain";
}
