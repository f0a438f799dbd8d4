/** The ways in which an upstream breaks, from the head of a request on. */

import type { Socket } from "node:net";
import { resetConnection } from "./raw.ts";
import { reply } from "./upstream.ts";

/** What is done with the connection. */
export type Fault = (socket: Socket) => void;
/** By name; the first two are none. */
export const FAULTS: Readonly<Record<string, Fault>> = {
  answer: (socket) => void socket.write(reply(200, "ok")),
  failing: (socket) => void socket.write(reply(500, "no")),
  hang: () => undefined,
  "reset at once": resetConnection,
  "close at once": (socket) => void socket.destroy(),
  "close in the head": (socket) => void socket.end("HTTP/1.1 200 OK\r\nConte"),
  "close in the body": (socket) => void socket.end("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
  garbage: (socket) => void socket.write("\0\0\0\0"),
  "only informational": (socket) => void socket.end("HTTP/1.1 103 X\r\n\r\n"),
  "endless informational": (socket) => void socket.write("HTTP/1.1 103 X\r\n\r\n".repeat(100)),
};
