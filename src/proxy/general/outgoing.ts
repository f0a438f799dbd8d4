/** The field list of a request as it goes upstream, for ordinary requests and for upgrades of this lane. Pure but for the dice. */

import type { Dice } from "../../engine/ports.ts";
import {
  addOwnFields,
  REQUEST_ID,
  requestId,
  retrace,
  type Origin,
  type TraceFields,
} from "../forwarding.ts";
import { copyRequestFields, type RequestHead } from "../headers.ts";

/** What a request brought. */
export interface Incoming {
  readonly head: RequestHead;
  /** The raw field list as received. */
  readonly fields: readonly string[];
  readonly origin: Origin;
  readonly proto: string;
  /** What the client speaks: Via says it (RFC 9110 §7.6.3). */
  readonly version: "1.1" | "2";
}

/**
 * The outgoing list, built in one pass; without a Host, Host is left to the endpoint.
 *
 * @param drop `Override.header`
 * @param trace what is put in place of the client's trace context; undefined: that goes on as it came
 */
export function outgoingFields(
  { head, fields, origin, proto, version }: Incoming,
  drop: string,
  dice: Dice,
  trace?: TraceFields,
): string[] {
  const out: string[] = [];
  if (head.host !== "") out.push("host", head.host);
  const hasId = copyRequestFields(out, fields, head.connection, drop, origin.trusted);
  if (trace !== undefined) retrace(out, trace);
  addOwnFields(out, { origin, fields, host: head.host, proto, version });
  if (!hasId) out.push(REQUEST_ID, requestId(dice));
  if (head.framing === "length") out.push("content-length", String(head.length));
  return out;
}
