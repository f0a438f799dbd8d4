/**
 * A notice as one JSON POST, signed as Standard Webhooks asks (https://www.standardwebhooks.com, specification 1.0.0), so that the receiver
 * can check it with any of that project's libraries.
 *
 * The secret never leaves: errors carry the status or the platform's code, not the address, which with many services is a secret itself.
 */

import { Agent, request } from "undici";
import { codeOf } from "../domain/errors.ts";
import type { Clock } from "../engine/ports.ts";
import type { Channel, Delivery, Message } from "./channel.ts";
import { signatureFields } from "./signature.ts";

/** Where to, and with which secret. */
export interface WebhookOptions {
  readonly url: string;
  /** The shared secret, `whsec_` and base64 or any other text; undefined: unsigned. */
  readonly secret: string | undefined;
  /** Named in the message. */
  readonly environment: string;
  readonly clock: Clock;
}

const CONNECT_MS = 5000;
/** So much of an answer is read before the connection is given up: bytes. */
const MOST_ANSWER = 64 * 1024;

/**
 * A channel that posts `{ type: "sluice.<event>", timestamp, data }`. A 2xx is a success; 408, 429 and 5xx may be tried again, any other status
 * (redirects included, which are not followed) may not.
 */
export function webhookChannel(options: WebhookOptions): Channel {
  const agent = new Agent({ connections: 1, connect: { timeout: CONNECT_MS } });
  return {
    name: "webhook",
    async send(message, signal) {
      const wall = options.clock.wall();
      const body = bodyOf(message, options.environment, wall);
      const seconds = Math.floor(wall / 1000);
      try {
        const answer = await request(options.url, {
          method: "POST",
          headers: {
            "content-type": "application/json",
            "user-agent": "sluice",
            ...signatureFields(options.secret, message.id, seconds, body),
          },
          body,
          dispatcher: agent,
          signal,
        });
        await answer.body.dump({ limit: MOST_ANSWER, signal }).catch(() => {});
        return deliveryOf(answer.statusCode);
      } catch (error) {
        return { ok: false, retry: true, detail: failureOf(error) };
      }
    },
    close: () => agent.destroy(),
  };
}

function bodyOf(message: Message, environment: string, wall: number): string {
  const { id, severity, event, route, rollout, summary, lines, details, incident, audience } = message.notice;
  return JSON.stringify({
    type: `sluice.${event}`,
    timestamp: new Date(wall).toISOString(),
    data: { environment, id, severity, event, route, rollout, summary, lines, details, incident, audience },
  });
}

function deliveryOf(status: number): Delivery {
  if (status >= 200 && status < 300) return { ok: true };
  const retry = status === 408 || status === 429 || status >= 500;
  return { ok: false, retry, detail: `status ${status}` };
}

function failureOf(error: unknown): string {
  if (!(error instanceof Error)) return "failed";
  return codeOf(error) || error.name;
}
