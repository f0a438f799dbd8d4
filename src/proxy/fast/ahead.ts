/**
 * What a client of the fast lane has sent before its turn: when it is so much that the connection is not read until a request is answered
 * (reliability.md 8, 25). Pure.
 */

/** Bytes that are enough, whatever they are. */
const ENOUGH_BYTES = 64 * 1024;
const HEAD_END = Buffer.from("\r\n\r\n", "latin1");
/** Bytes of the shortest head that is served: `GET / HTTP/1.1`, and a Host of one letter. */
const SHORTEST_HEAD = 26;

/** Both, as bytes of their own. */
export function kept(before: Buffer | undefined, more: Buffer): Buffer {
  return before === undefined ? Buffer.from(more) : Buffer.concat([before, more]);
}

/** Whether these bytes are enough: by their number, or by the ends of heads in them, of which a body may hold more. */
export function isEnough(bytes: Buffer, requests: number): boolean {
  if (bytes.length > ENOUGH_BYTES) return true;
  if (bytes.length < requests * SHORTEST_HEAD) return false;
  let heads = 0;
  for (let at = bytes.indexOf(HEAD_END); at >= 0; at = bytes.indexOf(HEAD_END, at + HEAD_END.length))
    if (++heads >= requests) return true;
  return false;
}
