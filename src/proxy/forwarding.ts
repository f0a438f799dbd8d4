/**
 * Who the client is, and what the upstream is told about it. Pure.
 *
 * By default the peer is untrusted: what it says in X-Forwarded-* or Forwarded is replaced. A peer in `trustedProxies` is believed:
 * its fields are kept and appended to, and the client is the first address from the right that is no trusted proxy (RFC 7239 §7.4).
 */

import { isIPv4, isIPv6, type BlockList } from "node:net";
import type { Dice } from "../engine/ports.ts";
import { fieldOf } from "./request.ts";

/** Who is at the other end of a client connection. */
export interface Peer {
  /** Its address in plain form; by the PROXY protocol where a listener speaks it. */
  readonly address: string;
  /** Subject of its verified certificate; empty when it showed none. */
  readonly subject: string;
}

/** What is believed about the client's side of a request. */
export interface Origin {
  /** The peer's address. */
  readonly peer: string;
  /** Whether the peer is a trusted proxy. */
  readonly trusted: boolean;
  /** The client's address. */
  readonly client: string;
}

/** An address in its plain form: IPv4 without the IPv6 mapping. Empty when the socket is gone. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return "";
  return address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
}

/** Whether an address is in one of the networks; what is no address is in none. */
export function isIn(networks: BlockList, address: string): boolean {
  if (isIPv4(address)) return networks.check(address, "ipv4");
  return isIPv6(address) && networks.check(address, "ipv6");
}

/** The origin of a request that came from `peer` with these fields. */
export function originOf(
  peer: string,
  fields: readonly string[],
  trustedProxies: BlockList,
  any: boolean,
): Origin {
  if (!any || !isIn(trustedProxies, peer)) return { peer, trusted: false, client: peer };
  const hops = joined(fields, "x-forwarded-for").split(",");
  let client = peer;
  for (let at = hops.length - 1; at >= 0; at--) {
    const hop = plainAddress((hops[at] ?? "").trim());
    if (!isIPv4(hop) && !isIPv6(hop)) break;
    client = hop;
    if (!isIn(trustedProxies, hop)) break;
  }
  return { peer, trusted: true, client };
}

/** What the proxy itself says to every upstream is who is asking, and `Via`; a request id, too, when the client brought none. */
export function addOwnFields(
  out: string[],
  request: {
    readonly origin: Origin;
    readonly fields: readonly string[];
    readonly host: string;
    readonly proto: string;
    readonly version: "1.1" | "2";
  },
): void {
  addForwarding(out, request.origin, request.fields, request.host, request.proto);
  out.push("via", request.version === "2" ? "2 sluice" : "1.1 sluice");
}

/** Name of the field that carries the request id. */
export const REQUEST_ID = "x-request-id";

/** A new request id. */
export function requestId(dice: Dice): string {
  return dice.token(12);
}

/** What a request of a sampled trace carries in place of the client's own. */
export interface TraceFields {
  readonly parent: string;
  readonly keepsState: boolean;
}

/** The outgoing list with our `traceparent`, and with the client's `tracestate` where that stays; in place. */
export function retrace(fields: string[], { parent, keepsState }: TraceFields): void {
  let to = 0;
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? "";
    const lower = name.length === 11 || name.length === 10 ? name.toLowerCase() : "";
    if (lower === "traceparent" || (lower === "tracestate" && !keepsState)) continue;
    fields[to++] = name;
    fields[to++] = fields[at + 1] ?? "";
  }
  fields.length = to;
  fields.push("traceparent", parent);
}

/** Adds the forwarding fields to an outgoing list from which the client's own were left out. */
function addForwarding(
  out: string[],
  origin: Origin,
  fields: readonly string[],
  host: string,
  proto: string,
): void {
  const before = origin.trusted ? joined(fields, "x-forwarded-for") : "";
  out.push("x-forwarded-for", before === "" ? origin.peer : `${before}, ${origin.peer}`);
  const said = origin.trusted ? fieldOf(fields, "x-forwarded-proto") : undefined;
  out.push("x-forwarded-proto", said ?? proto);
  const saidHost = origin.trusted ? fieldOf(fields, "x-forwarded-host") : undefined;
  if (saidHost !== undefined || host !== "") out.push("x-forwarded-host", saidHost ?? host);
  if (!origin.trusted) return;
  const forwarded = joined(fields, "forwarded");
  const node = origin.peer.includes(":") ? `"[${origin.peer}]"` : origin.peer;
  if (forwarded !== "") out.push("forwarded", `${forwarded}, for=${node}`);
}

function joined(fields: readonly string[], name: string): string {
  let value = "";
  for (let at = 0; at < fields.length; at += 2) {
    if ((fields[at] ?? "").toLowerCase() !== name) continue;
    const each = fields[at + 1] ?? "";
    value = value === "" ? each : `${value}, ${each}`;
  }
  return value;
}
