/**
 * One new connection to an endpoint and what is spoken on it: in the clear HTTP/2 by prior knowledge (RFC 9113 §3.3), over TLS what
 * ALPN says (RFC 7301).
 */

import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { Dialler, Link } from "../dial.ts";

/** Where an endpoint is, and how it is spoken to. */
export interface Place {
  readonly scheme: "http" | "https";
  /** `host:port`, for a request without a Host. */
  readonly authority: string;
  /** Opens a connection. @param alpn protocols to offer over TLS, the best first */
  dial(alpn: readonly string[]): Link;
}

/** The place that a dialler leads to. */
export function placeOf(dialler: Dialler): Place {
  const { isTls, authority } = dialler.address;
  return { scheme: isTls ? "https" : "http", authority, dial: (alpn) => dialler.dial(alpn) };
}

/** Calls `opened` when a connection is ready, with what is spoken on it. Of one that fails it says nothing: that is told by `error` and `close`. */
export function onceOpen(socket: Socket, opened: (speaks: "h2" | "http1") => void): void {
  if (socket instanceof TLSSocket)
    socket.once("secureConnect", () => opened(socket.alpnProtocol === "h2" ? "h2" : "http1"));
  else socket.once("connect", () => opened("h2"));
}
