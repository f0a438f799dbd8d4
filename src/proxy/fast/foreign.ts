/**
 * Whether a request line speaks of another protocol. Pure.
 *
 * llhttp, and with it the general lane, reads RTSP and ICE as well as HTTP and does not tell which it was. So what the fast lane hands over is
 * looked at before: a version that does not begin with `HTTP/` is no request of ours (RFC 9112 §2.3; reliability.md A5).
 */

const CR = 0x0d;
const LF = 0x0a;
const SP = 0x20;
const PROTOCOL = "HTTP/";

/** Whether something else than HTTP/ stands where the version does. What has not come yet counts as right. */
export function isForeign(bytes: Uint8Array, from: number, to: number): boolean {
  let at = from;
  // Empty lines before the first (RFC 9112 §2.2).
  while (at < to && (bytes[at] === CR || bytes[at] === LF)) at++;
  at = behindWord(bytes, behindWord(bytes, at, to), to);
  for (let nth = 0; nth < PROTOCOL.length && at + nth < to; nth++)
    if (bytes[at + nth] !== PROTOCOL.charCodeAt(nth)) return true;
  return false;
}

/** Behind a word and the spaces that follow it; `to`, when the line ends before. */
function behindWord(bytes: Uint8Array, from: number, to: number): number {
  let at = from;
  while (at < to && bytes[at] !== SP) {
    if (bytes[at] === CR || bytes[at] === LF) return to;
    at++;
  }
  while (at < to && bytes[at] === SP) at++;
  return at;
}
