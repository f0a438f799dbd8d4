/**
 * Tells people over several channels without ever making anybody wait: `notify` queues and returns.
 *
 * Each channel has a queue and a pace of its own, so that one that hangs holds up nobody else. Every attempt has a time-out, failures are
 * tried again with growing pauses, and a queue has an end: when it is full the oldest of the least severe messages goes, so that a flood of warnings cannot
 * push out the one that pages. What was not delivered is counted.
 */

import { wordsOf } from "../domain/errors.ts";
import type { Severity } from "../domain/rollout-types.ts";
import type { Log, Notice, Notifier } from "../engine/ports.ts";
import type { Channel, Delivery } from "./channel.ts";

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
}

/** What is used where nothing else is said. Six attempts within some half a minute. */
const FANOUT_DEFAULTS: FanoutOptions = {
  queue: 100,
  timeoutMs: 10_000,
  retries: 5,
  backoffMs: 1000,
  closeMs: 3000,
};

/** Messages since start, over all channels: a notice to three channels counts three times. */
export interface FanoutStats {
  readonly sent: number;
  /** Failed attempts. */
  readonly failed: number;
  /** Messages that were given up. */
  readonly dropped: number;
}

/** A notifier with a lifetime. */
export interface Fanout extends Notifier {
  stats(): FanoutStats;
  /** The same by channel. */
  tallies(): readonly (FanoutStats & { readonly channel: string })[];
  /** Each channel's name, and why it did not take what it was given last; empty: it did, or was given nothing. */
  last(): readonly { readonly channel: string; readonly trouble: string }[];
  /** Sends what is queued for a short while, drops the rest, and closes the channels. Never rejects. */
  close(): Promise<void>;
}

const LONGEST_PAUSE_MS = 60_000;
const RANKS: Readonly<Record<Severity, number>> = { info: 0, warning: 1, critical: 2, emergency: 3 };

/** A notifier that hands every notice to every channel. */
export function createFanout(
  channels: readonly Channel[],
  log: Log,
  options: Partial<FanoutOptions> = {},
): Fanout {
  const settings = { ...FANOUT_DEFAULTS, ...options };
  const lanes = channels.map((channel) => new Lane(channel, log, settings));
  let closing: Promise<unknown> | undefined;
  return {
    notify(notice) {
      for (const lane of lanes) lane.push({ id: notice.id, notice });
    },
    stats: () => ({
      sent: sum(lanes.map((lane) => lane.sent)),
      failed: sum(lanes.map((lane) => lane.failed)),
      dropped: sum(lanes.map((lane) => lane.dropped)),
    }),
    tallies: () => lanes.map(({ name, sent, failed, dropped }) => ({ channel: name, sent, failed, dropped })),
    last: () => lanes.map(({ name, trouble }) => ({ channel: name, trouble })),
    async close() {
      closing ??= Promise.all(lanes.map((lane) => lane.close()));
      await closing;
    },
  };
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

interface Waiting {
  readonly id: string;
  readonly notice: Notice;
}

/** One channel with its queue. */
class Lane {
  readonly #channel: Channel;
  readonly #log: Log;
  readonly #options: FanoutOptions;
  readonly #queue: Waiting[] = [];
  /** Aborted when nothing more is to be tried. */
  readonly #over = new AbortController();
  #running: Promise<void> | undefined;
  #isClosing = false;
  /** Why the last attempt failed; empty: it did not. */
  trouble = "";
  sent = 0;
  failed = 0;
  dropped = 0;

  constructor(channel: Channel, log: Log, options: FanoutOptions) {
    this.#channel = channel;
    this.#log = log;
    this.#options = options;
  }

  get name(): string {
    return this.#channel.name;
  }

  push(message: Waiting): void {
    if (this.#isClosing) {
      this.#drop(message, "the notifier is closed");
      return;
    }
    this.#queue.push(message);
    if (this.#queue.length > this.#options.queue) {
      const victim = this.#queue.splice(leastSevere(this.#queue), 1)[0];
      if (victim !== undefined) this.#drop(victim, "the queue is full");
    }
    this.#running ??= this.#run();
  }

  async close(): Promise<void> {
    this.#isClosing = true;
    const deadline = setTimeout(() => this.#over.abort(), this.#options.closeMs);
    await this.#running;
    clearTimeout(deadline);
    this.#over.abort();
    try {
      await within(this.#options.timeoutMs, this.#channel.close());
    } catch (error) {
      this.#log.warn("a notification channel did not close", { channel: this.#channel.name, error });
    }
  }

  async #run(): Promise<void> {
    // So that `notify` returns before a channel does anything at all.
    await Promise.resolve();
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      await this.#deliver(next);
    }
    this.#running = undefined;
  }

  async #deliver(message: Waiting): Promise<void> {
    let detail = "the notifier was closed";
    for (let attempt = 1; attempt <= this.#options.retries + 1; attempt += 1) {
      if (this.#over.signal.aborted) break;
      const delivery = await this.#attempt(message, attempt);
      this.trouble = delivery.ok ? "" : delivery.detail;
      if (delivery.ok) {
        this.sent += 1;
        return;
      }
      this.failed += 1;
      detail = delivery.detail;
      if (!delivery.retry) break;
      if (attempt <= this.#options.retries) await this.#pause(attempt);
    }
    this.#drop(message, detail);
  }

  async #attempt(message: Waiting, attempt: number): Promise<Delivery> {
    const patience = new AbortController();
    const signal = AbortSignal.any([patience.signal, this.#over.signal]);
    const { timeoutMs } = this.#options;
    try {
      // The race, and not the signal alone: a channel that ignores its signal must not hold up the queue either.
      const sending = Promise.resolve(this.#channel.send({ ...message, attempt }, signal));
      return await within(timeoutMs, sending, this.#over.signal);
    } catch (error) {
      return { ok: false, retry: true, detail: wordsOf(error) };
    } finally {
      patience.abort();
    }
  }

  /** Waits before attempt number `attempt` + 1, or until it is over. */
  async #pause(attempt: number): Promise<void> {
    const ms = Math.min(this.#options.backoffMs * 2 ** (attempt - 1), LONGEST_PAUSE_MS);
    await within(ms, new Promise<void>(() => {}), this.#over.signal).catch(() => {});
  }

  #drop(message: Waiting, detail: string): void {
    this.dropped += 1;
    const { event, severity, route } = message.notice;
    this.#log.warn("a notification was not delivered", {
      channel: this.#channel.name,
      event,
      severity,
      route,
      detail,
    });
  }
}

/** Index of the oldest among the least severe. The queue is not empty. */
function leastSevere(queue: readonly Waiting[]): number {
  let least = 0;
  queue.forEach((message, index) => {
    if (RANKS[message.notice.severity] < RANKS[queue[least]?.notice.severity ?? "emergency"]) least = index;
  });
  return least;
}

/** What `work` resolves with; rejects after `ms`, or when `signal` aborts, and then leaves `work` to itself. */
async function within<T>(ms: number, work: Promise<T>, signal?: AbortSignal): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  let stop: (() => void) | undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
    timer.unref();
    stop = () => reject(new Error("the notifier was closed"));
    signal?.addEventListener("abort", stop);
    if (signal?.aborted === true) stop();
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
    if (stop !== undefined) signal?.removeEventListener("abort", stop);
  }
}
