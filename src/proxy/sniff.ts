/** Which HTTP a connection speaks, by its first bytes: HTTP/2 begins with a preface that no HTTP/1.1 request is (RFC 9113 §3.4). */

import type { Socket } from "node:net";

const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

/** `unknown`: too few bytes yet to tell. */
export type Spoken = "http1" | "http2" | "unknown";

/** What these first bytes of a connection say. */
export function spokenIn(first: Buffer): Spoken {
  const length = Math.min(first.length, PREFACE.length);
  if (first.compare(PREFACE, 0, length, 0, length) !== 0) return "http1";
  return length === PREFACE.length ? "http2" : "unknown";
}

/** What came of listening. `late`: too few bytes in time. */
export type Sniffed = "http1" | "http2" | "late";

/**
 * Reads a paused connection until it can be told what it speaks, puts the bytes back and tells, once, with the socket paused. One that ends before
 * that is destroyed, as it can want nothing any more; of one that closes nothing is told.
 */
export function sniff(socket: Socket, patienceMs: number, tell: (spoken: Sniffed) => void): void {
  let read: Buffer = Buffer.alloc(0);
  const look = (chunk: Buffer): void => {
    read = read.length === 0 ? chunk : Buffer.concat([read, chunk]);
    const spoken = spokenIn(read);
    if (spoken !== "unknown") done(spoken);
  };
  const ended = (): void => void socket.destroy();
  const done = (spoken: Sniffed): void => {
    stop();
    socket.pause();
    if (read.length > 0) socket.unshift(read);
    tell(spoken);
  };
  const stop = (): void => {
    clearTimeout(timer);
    socket.off("data", look);
    socket.off("end", ended);
    socket.off("close", stop);
  };
  const timer = setTimeout(done, patienceMs, "late");
  socket.on("data", look);
  socket.on("end", ended);
  socket.on("close", stop);
  socket.resume();
}
