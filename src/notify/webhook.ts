/**
 * A notice as one JSON POST, signed as Standard Webhooks asks (https://www.standardwebhooks.com, specification 1.0.0), so that the receiver
 * can check it with any of that project's libraries, and take a message that comes twice for one by its `webhook-id`.
 */

import type { Clock } from "../engine/ports.ts";
import type { Channel, Interest, Message } from "./channel.ts";
import { isFailed, isTaken, refusalOf, type Sender } from "./post.ts";
import { signatureFields } from "./signature.ts";

/** Where to, and with which secret. */
export interface WebhookOptions {
  readonly url: string;
  /** The shared secret, `whsec_` and base64 or any other text; undefined: unsigned. */
  readonly secret: string | undefined;
  /** Named in the message. */
  readonly environment: string;
  readonly clock: Pick<Clock, "wall">;
  readonly sender: Sender;
  readonly interest?: Interest;
  readonly perMinute?: number;
}

/** A channel that posts `{ type: "sluice.<event>", timestamp, data }`. */
export function webhookChannel(options: WebhookOptions): Channel {
  const { url, secret, environment, clock, sender, ...rest } = options;
  return {
    name: "webhook",
    isKeyed: true,
    ...rest,
    async send(message, signal) {
      const wall = clock.wall();
      const body = bodyOf(message, environment, wall);
      // What a field cannot carry is written as in a URL.
      const id = message.id.replaceAll(/[^\x21-\x7e]+/g, encodeURIComponent);
      const fields = signatureFields(secret, id, Math.floor(wall / 1000), body);
      const answer = await sender.post(url, fields, body, signal);
      if (isFailed(answer)) return answer;
      return isTaken(answer) ? { ok: true } : refusalOf(answer);
    },
    close: () => sender.close(),
  };
}

function bodyOf(message: Message, environment: string, wall: number): string {
  return JSON.stringify({
    type: `sluice.${message.notice.event}`,
    timestamp: new Date(wall).toISOString(),
    data: { environment, ...message.notice },
  });
}
