/** How a message is signed, as Standard Webhooks asks (specification 1.0.0). Apart from the channel that sends, for others sign as well. */

import { createHmac } from "node:crypto";

/** The three fields of Standard Webhooks; without a secret the first two. `seconds` since the epoch. */
export function signatureFields(
  secret: string | undefined,
  id: string,
  seconds: number,
  body: string,
): Readonly<Record<string, string>> {
  const fields = { "webhook-id": id, "webhook-timestamp": String(seconds) };
  if (secret === undefined) return fields;
  const signed = createHmac("sha256", keyOf(secret)).update(`${id}.${seconds}.${body}`).digest("base64");
  return { ...fields, "webhook-signature": `v1,${signed}` };
}

function keyOf(secret: string): Buffer {
  return secret.startsWith("whsec_") ? Buffer.from(secret.slice(6), "base64") : Buffer.from(secret, "utf8");
}
