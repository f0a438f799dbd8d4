/**
 * Tells people over several channels without ever making anybody wait: `notify` queues and returns.
 *
 * Each channel has a queue and a pace of its own, so that one that hangs holds up nobody else. Every attempt has a time-out, failures are
 * tried again with growing pauses, and a queue has an end: when it is full the oldest of the least severe messages goes, so that a flood of warnings cannot
 * push out the one that pages. What was not delivered is counted.
 */

import type { ChannelStats, Handing, Notifier } from "../engine/ports.ts";
import type { Channel } from "./channel.ts";
import { Lane, type FanoutOptions, type LaneParts } from "./lane.ts";

/** What is used where nothing else is said. Six attempts within some half a minute. */
const FANOUT_DEFAULTS: FanoutOptions = {
  queue: 100,
  timeoutMs: 10_000,
  retries: 5,
  backoffMs: 1000,
  closeMs: 3000,
  minuteMs: 60_000,
};

/** A notifier with a lifetime. */
export interface Fanout extends Notifier {
  /** By channel. */
  stats(): Readonly<Record<string, ChannelStats>>;
  /** Each channel's name, and why it did not take what it was given last; empty: it did, or was given nothing. */
  last(): readonly { readonly channel: string; readonly trouble: string }[];
  /** Sends what is queued for a short while, drops the rest, and closes the channels. Never rejects. */
  close(): Promise<void>;
}

const NOTHING_ELSE: Handing = { mayHaveArrived: false, done: () => {} };

/** A notifier that hands every notice to every channel that is for it. */
export function createFanout(
  channels: readonly Channel[],
  parts: LaneParts,
  options: Partial<FanoutOptions> = {},
): Fanout {
  const settings = { ...FANOUT_DEFAULTS, ...options };
  const lanes = channels.map((channel) => [channel.name, new Lane(channel, parts, settings)] as const);
  let closing: Promise<unknown> | undefined;
  return {
    notify(notice, { mayHaveArrived, done } = NOTHING_ELSE) {
      let left = lanes.length;
      const handing: Handing = {
        mayHaveArrived,
        done() {
          left -= 1;
          if (left === 0) done();
        },
      };
      for (const [, lane] of lanes) lane.push(notice, handing);
    },
    stats: () => Object.fromEntries(lanes.map(([name, lane]) => [name, lane.stats])),
    last: () => lanes.map(([channel, { trouble }]) => ({ channel, trouble })),
    async close() {
      closing ??= Promise.all(lanes.map(([, lane]) => lane.close()));
      await closing;
    },
  };
}
