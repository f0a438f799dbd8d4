/**
 * Sends the trailers of a request behind its last chunk, which undici has no way to do.
 *
 * undici tells that the request is sent, and then writes the end of a chunked body as one text, in the same turn; that text is replaced here, once.
 * `test/proxy/trailers.test.ts` holds it, byte by byte. Of a body without a byte undici makes one without chunks: its trailers are left out.
 */

import type { Socket } from "node:net";
import { linesOf } from "../answer.ts";
import { cleanTrailers } from "../headers.ts";

const LAST_CHUNK = "\r\n0\r\n\r\n";

/** Lets the end of the body that is about to be written have these trailers, as far as they may be passed on. */
export function sendTrailers(socket: Socket, trailers: readonly string[]): void {
  const lines = linesOf(cleanTrailers(trailers));
  // Where the head went first and nothing behind it, the end is not undici's.
  if (lines === "" || Object.hasOwn(socket, "write")) return;
  const write = (text: string): boolean => {
    Reflect.deleteProperty(socket, "write");
    return socket.write(text === LAST_CHUNK ? `\r\n0\r\n${lines}\r\n` : text, "latin1");
  };
  Object.defineProperty(socket, "write", { value: write, configurable: true, writable: true });
}
