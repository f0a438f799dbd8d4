/**
 * Mutants of messages: the grammar bent a little, so that most stay close to what is plain, where a scanner can be wrong. All chance
 * comes from the seed.
 */

/** A number from 0 to just below 1. */
export type Roll = () => number;

/** Chance that repeats itself: the same seed, the same rolls (mulberry32). */
export function rollOf(seed: number): Roll {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One of them. */
export function pick<T>(roll: Roll, list: readonly T[]): T {
  // The lists are not empty.
  return list[Math.floor(roll() * list.length)]!;
}

const upTo = (roll: Roll, most: number): number => Math.floor(roll() * (most + 1));

const METHODS = [
  "GET",
  "HEAD",
  "POST",
  "PUT",
  "DELETE",
  "OPTIONS",
  "PATCH",
  "TRACE",
  "PROPFIND",
  "FOO",
  "PRI",
  "get",
];
const TARGETS = [
  "/",
  "/a",
  "//",
  "/a?b=c",
  "/%00",
  "/\\x",
  "/a#b",
  "*",
  "http://y/z",
  "y:80",
  "/\x7f",
  "/\xe9",
  "/a b",
  "?",
];
const VERSIONS = [
  "HTTP/1.1",
  "HTTP/1.1",
  "HTTP/1.1",
  "HTTP/1.0",
  "HTTP/1.2",
  "HTTP/2.0",
  "HTTP/1.1 ",
  "http/1.1",
];
const HARMLESS = [
  "A: b\r\n",
  "X-Long-Name:\t \tb \r\n",
  "Cookie: a=b; c=d\r\n",
  "Connection: keep-alive\r\n",
  "TE: trailers\r\n",
  "X-Forwarded-For: 1.2.3.4\r\nx_forwarded-for: 1\r\n",
  "X-Request-Id: \xe9\r\n",
  "Keep-Alive: timeout=5\r\nKeep-Alive:\r\n",
];
const NAMES = [
  "A", "X-Long-Name", "Cookie", "Host", "Content-Length", "Transfer-Encoding", "Connection", "Proxy-Connection", "Keep-Alive", "TE",
  "Trailer", "Upgrade", "Expect", "HTTP2-Settings", "X-Forwarded-For", "x_forwarded-for", "X-Forwarded-Proto", "X-Request-Id", "Via",
  "Forwarded", "Content-Type", "Date", "Content_Length", "Transfer-Encodin", "Content-Lengthx",
]; // prettier-ignore
const VALUES = [
  "", "b", " b ", "\tb\t", "x", "5", "0", "chunked", "Chunked", "chunked ", "identity", "close", "keep-alive", "Close, x", "upgrade",
  "websocket", "100-continue", "trailers", "a=b; c=d", "\xe9", "a\x0bb", "5 ", "05", "5\t", "text/event-stream", "timeout=1", "\"a\r\n b\"",
]; // prettier-ignore
const CODES = [
  "200 OK",
  "200 ",
  "200",
  "204 No",
  "304 No",
  "103 Hints",
  "100 Continue",
  "101 S",
  "404 \xe9",
  "599 x",
  "600 x",
  "20 x",
];
const PIECES = [
  "\r", "\n", "\r\n", "\r\n\r\n", "\0", " ", "\t", ":", ";", ",", "0", "5", "a", "\x7f", "\x80", "\xa0", "\xff", "\x0b", "\x0c", "\\",
  '"', "0\r\n\r\n", "chunked", "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Connection: close\r\n", " HTTP/1.1\r\n",
  "\r\n ", "Host: y\r\n", ";a=b", "A: b\r\n",
]; // prettier-ignore

/** A chunked body, now and then with a mistake in it. */
export function chunksOf(roll: Roll, body: string): string {
  let text = "";
  let rest = body;
  while (rest !== "") {
    const size = 1 + upTo(roll, Math.min(rest.length - 1, 20));
    const shown = roll() < 0.02 ? size + pick(roll, [-1, 1]) : size;
    const digits =
      roll() < 0.5
        ? shown.toString(16)
        : shown
            .toString(16)
            .toUpperCase()
            .padStart(1 + upTo(roll, 9), "0");
    text += `${digits}${extensionOf(roll)}\r\n${rest.slice(0, size)}\r\n`;
    rest = rest.slice(size);
  }
  text += `${pick(roll, ["0", "0", "0", "000"])}${extensionOf(roll)}\r\n`;
  while (roll() < 0.2) text += fieldOf(roll);
  return `${text}\r\n`;
}

function extensionOf(roll: Roll): string {
  const chance = roll();
  if (chance < 0.85) return "";
  if (chance < 0.99) return pick(roll, [";a", ";a=b", ';a="b c"', ";a;b=c", ';a="b\\"c";d']);
  return pick(roll, [";", "; a", ' ;a="', ";a=", ";=a", ";\xe9"]);
}

/** Most are harmless: a head has many fields and must not have a wrong one too often. */
function fieldOf(roll: Roll): string {
  if (roll() < 0.5) return pick(roll, HARMLESS);
  return `${pick(roll, NAMES)}:${pick(roll, ["", " ", " ", "  ", "\t"])}${pick(roll, VALUES)}\r\n`;
}

/** Fields, with a framing that fits `body` more often than not; and the body in that framing. */
function framed(roll: Roll, isRequest: boolean): { readonly fields: string; readonly body: string } {
  let fields = isRequest && roll() < 0.97 ? "Host: x\r\n" : "";
  for (let left = upTo(roll, 4); left > 0; left--) fields += fieldOf(roll);
  const text = pick(roll, [
    "",
    "hello",
    "GET /in HTTP/1.1\r\nHost: x\r\n\r\n",
    "0\r\n\r\n",
    "a".repeat(upTo(roll, 100)),
  ]);
  const kind = roll();
  if (kind < 0.3) return { fields, body: isRequest ? "" : text };
  const off = roll() < 0.05 ? pick(roll, [-1, 1, 10]) : 0;
  if (kind < 0.6)
    return { fields: `${fields}Content-Length: ${Math.max(0, text.length + off)}\r\n`, body: text };
  return { fields: `Transfer-Encoding: chunked\r\n${fields}`, body: chunksOf(roll, text) };
}

/** A request by the grammar, which may be wrong on purpose. */
export function requestOf(roll: Roll): string {
  const { fields, body } = framed(roll, true);
  const method = pick(roll, roll() < 0.8 ? METHODS.slice(0, 7) : METHODS);
  const target = roll() < 0.8 ? `/${upTo(roll, 999)}` : pick(roll, TARGETS);
  const version = roll() < 0.9 ? "HTTP/1.1" : pick(roll, VERSIONS);
  return `${method} ${target} ${version}\r\n${fields}\r\n${body}`;
}

/** A response by the grammar, which may be wrong on purpose. */
export function responseOf(roll: Roll): string {
  const { fields, body } = framed(roll, false);
  const version = roll() < 0.9 ? "HTTP/1.1" : pick(roll, VERSIONS);
  return `${version} ${roll() < 0.7 ? "200 OK" : pick(roll, CODES)}\r\n${fields}\r\n${body}`;
}

/** The text with up to four changes. @param others texts that pieces may come from */
export function mutantOf(roll: Roll, text: string, others: readonly string[]): string {
  let mutant = text;
  for (let left = pick(roll, [0, 1, 1, 1, 2, 2, 3, 4]); left > 0; left--)
    mutant = changed(roll, mutant, others);
  return mutant;
}

/** One kind of change, to the text between `before` and `behind`. */
type Change = (roll: Roll, before: string, here: string, behind: string, others: readonly string[]) => string;

const CHANGES: readonly Change[] = [
  (_, before, __, behind) => before + behind,
  (roll, before, here, behind) => before + pick(roll, PIECES) + here + behind,
  (roll, before, _, behind) => before + pick(roll, PIECES) + behind,
  (roll, before, here, behind) => before + String.fromCharCode(upTo(roll, 255)) + here.slice(1) + behind,
  (_, before, here, behind) => before + here + here + behind,
  (_, before, here, behind) => before + swapCase(here) + behind,
  (roll, before, here, behind) => before + here.replace(/\d+/, String(upTo(roll, 70))) + behind,
  (roll, before, here, behind) => (roll() < 0.3 ? before : before + here + pick(roll, PIECES) + behind),
  (roll, before, here, behind) => withLineMoved(roll, before + here + behind),
  (roll, before, here, behind, others) => {
    const other = pick(roll, others);
    const from = upTo(roll, other.length);
    const part = other.slice(from, roll() < 0.5 ? from + upTo(roll, 40) : undefined);
    return before + part + (roll() < 0.5 ? here + behind : "");
  },
];

function changed(roll: Roll, text: string, others: readonly string[]): string {
  // Near a line's end or a colon as often as anywhere.
  const edges = [...text.matchAll(/[\r\n:; ]/g)];
  const at =
    edges.length > 0 && roll() < 0.5 ? pick(roll, edges).index + upTo(roll, 1) : upTo(roll, text.length);
  const to = Math.min(text.length, at + 1 + upTo(roll, roll() < 0.8 ? 1 : 30));
  return pick(roll, CHANGES)(roll, text.slice(0, at), text.slice(at, to), text.slice(to), others);
}

/** A line put elsewhere, or there too. */
function withLineMoved(roll: Roll, text: string): string {
  const lines = text.split("\r\n");
  const from = upTo(roll, lines.length - 1);
  const moved = lines[from] ?? "";
  if (roll() < 0.5) lines.splice(from, 1);
  lines.splice(upTo(roll, lines.length), 0, moved);
  return lines.join("\r\n");
}

function swapCase(text: string): string {
  return text.replaceAll(/[a-zA-Z]/g, (letter) => String.fromCharCode(letter.charCodeAt(0) ^ 0x20));
}
