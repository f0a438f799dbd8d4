/** What the fan-out asks of a channel: one attempt at one message. Pure types. */

import type { Notice } from "../engine/ports.ts";

/** A message on its way. The id stays the same over all attempts, so that the receiver can tell a repetition. */
export interface Message {
  readonly id: string;
  readonly notice: Notice;
  /** 1 for the first. */
  readonly attempt: number;
}

/** How one attempt ended. `retry: false`: the same message would be refused again. */
export type Delivery =
  { readonly ok: true } | { readonly ok: false; readonly retry: boolean; readonly detail: string };

/** A way to tell people. */
export interface Channel {
  /** For logs and counts. */
  readonly name: string;
  /** Tries once. `signal` says that nobody waits any longer. A rejection counts as a failure that may be retried. */
  send(message: Message, signal: AbortSignal): Promise<Delivery>;
  /** Lets go of connections. */
  close(): Promise<void>;
}
