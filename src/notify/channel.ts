/** What the fan-out asks of a channel: one attempt at one message. Pure types. */

import type { Audience, Notice } from "../engine/ports.ts";
import type { Severity } from "../domain/rollout-types.ts";

/** A message on its way. The id stays the same over all attempts, so that the receiver can tell a repetition. */
export interface Message {
  readonly id: string;
  readonly notice: Notice;
  /** 1 for the first. */
  readonly attempt: number;
}

/** How an attempt failed. `retry: false`: the same message would be refused again. */
export interface Failed {
  readonly ok: false;
  readonly retry: boolean;
  /** For people: no address, no secret. */
  readonly detail: string;
  /** The receiver asks not to be asked again before: ms. */
  readonly retryAfterMs?: number | undefined;
  /** It may have arrived all the same. */
  readonly isUnknown?: boolean;
}

/** How one attempt ended. `detail` where there is more to say than that it went well. */
export type Delivery = { readonly ok: true; readonly detail?: string } | Failed;

/** What a channel is for. */
export interface Interest {
  readonly severities: readonly Severity[];
  readonly audiences: readonly Audience[];
  /** The same open incident is not told again before this has passed: ms. */
  readonly repeatMs: number;
  /** Whether a digest of the day is wanted. */
  readonly digest: boolean;
}

/** A way to tell people. */
export interface Channel {
  /** For logs and counts. */
  readonly name: string;
  /** Whether the receiver itself takes a message that comes twice for one: then one whose end is unknown is sent again, else it is not. */
  readonly isKeyed: boolean;
  /** Left out: everything. */
  readonly interest?: Interest;
  /** Messages a minute at the most; left out: any number. */
  readonly perMinute?: number;
  /** Tries once. `signal` says that nobody waits any longer. A rejection counts as a failure that may be retried. */
  send(message: Message, signal: AbortSignal): Promise<Delivery>;
  /** Whether it would arrive, without alarming anybody; left out: a test message can be sent. */
  test?(message: Message, signal: AbortSignal): Promise<Delivery>;
  /** Lets go of connections. */
  close(): Promise<void>;
}
