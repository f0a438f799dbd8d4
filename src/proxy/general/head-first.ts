/**
 * Sends the head of a request whose body has not begun. undici writes a head together with the first byte behind it; when the client waits for
 * something first, nothing would ever reach the upstream (reliability.md 15, 22).
 *
 * So the head goes out from here, and the one that undici writes later is kept off the socket. It writes the head as one text, then each chunk's
 * size with the end of the line before it; `test/proxy/bodies.test.ts` holds that, byte by byte.
 */

import type { Socket } from "node:net";
import { fieldOf } from "../request.ts";
import type { Outgoing } from "./sender.ts";

const CHUNKED = "transfer-encoding: chunked\r\n";

/** Sends the head of `request` now, and lets only what follows it go out behind. Nothing of it may have been written before. */
export function sendHeadFirst(
  socket: Socket,
  { method, target, fields }: Pick<Outgoing, "method" | "target" | "fields">,
): void {
  const isChunked = fieldOf(fields, "content-length") === undefined;
  let head = `${method} ${target} HTTP/1.1\r\n`;
  for (let at = 0; at < fields.length; at += 2) head += `${fields[at]}: ${fields[at + 1]}\r\n`;
  socket.write(`${head}connection: keep-alive\r\n${isChunked ? CHUNKED : ""}\r\n`, "latin1");
  const plain = socket.write.bind(socket);
  const restore = (): void => void Reflect.deleteProperty(socket, "write");
  const size = (text: string): boolean => {
    restore();
    // The end of its head went out already.
    return plain(text.slice(2), "latin1");
  };
  const first = (text: string): boolean => {
    if (text.endsWith(CHUNKED)) {
      setWrite(socket, size);
      return true;
    }
    restore();
    // Or the body ended without a byte.
    return isChunked ? plain("0\r\n\r\n", "latin1") : true;
  };
  setWrite(socket, first);
}

function setWrite(socket: Socket, write: (text: string) => boolean): void {
  Object.defineProperty(socket, "write", { value: write, configurable: true, writable: true });
}
