/**
 * An HTTP/2 client without an HTTP/2 library: frames out, frames in, byte for byte, so that a test can send what no library would (RFC 9113 §4, RFC 7541).
 *
 * Field lists go out as literals without an index. The peer is told to keep no table of its own, so that of what comes back a status can be
 * read without the rest of HPACK.
 */

import { connect, type Socket } from "node:net";

/** Frame types (RFC 9113 §6). */
export const DATA = 0;
export const HEADERS = 1;
export const PRIORITY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const WINDOW_UPDATE = 8;
export const CONTINUATION = 9;

/** Flags. END_STREAM and ACK are the same bit. */
export const END_STREAM = 1;
export const ACK = 1;
export const END_HEADERS = 4;

/** Error codes (RFC 9113 §7) that tests look for. */
export const NO_ERROR = 0;
export const INTERNAL_ERROR = 2;
export const REFUSED_STREAM = 7;
export const CANCEL = 8;
export const ENHANCE_YOUR_CALM = 11;

export const PREFACE = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "latin1");

const PATIENCE_MS = 10_000;

/** One frame as it came. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** Name and value, in the order in which they go out. */
export type Fields = readonly (readonly [string, string])[];

/** The head of a request for a WebSocket (RFC 8441). */
export const WEBSOCKET: Fields = [
  [":method", "CONNECT"],
  [":protocol", "websocket"],
  [":scheme", "http"],
  [":authority", "app"],
  [":path", "/chat"],
];

/** A frame. */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Buffer = Buffer.alloc(0),
): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A SETTINGS frame of these identifiers and values. */
export function settings(...pairs: readonly (readonly [number, number])[]): Buffer {
  const payload = Buffer.alloc(pairs.length * 6);
  pairs.forEach(([id, value], nth) => {
    payload.writeUInt16BE(id, nth * 6);
    payload.writeUInt32BE(value, nth * 6 + 2);
  });
  return frame(SETTINGS, 0, 0, payload);
}

/** A payload of one 32-bit number: a window's increment, an error code. */
export function number(value: number): Buffer {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(value);
  return payload;
}

/** Fields as a block of literals without an index (RFC 7541 §6.2.2); latin1. */
export function block(fields: Fields): Buffer {
  return Buffer.concat(fields.flatMap(([name, value]) => [Buffer.of(0), text(name), text(value)]));
}

/** The fields of an ordinary request, with others behind. */
export function request(path: string, others: Fields = [], method = "GET"): Fields {
  const pseudo = [
    [":method", method],
    [":scheme", "http"],
    [":authority", "app"],
    [":path", path],
  ] as const;
  return [...pseudo, ...others];
}

/** A whole head in one HEADERS frame. @param flags `END_STREAM` for a request without a body */
export function head(stream: number, fields: Fields, flags = END_STREAM): Buffer {
  return frame(HEADERS, flags | END_HEADERS, stream, block(fields));
}

/** A connection that sends frames. */
export interface RawHttp2 {
  readonly socket: Socket;
  /** All that came. */
  readonly frames: readonly Frame[];
  readonly isClosed: boolean;
  send(...bytes: readonly Buffer[]): void;
  /** As `send`; resolves when the kernel has taken it all, or the connection is closed. */
  flushed(bytes: Buffer): Promise<void>;
  /** Resolves once this holds; rejects when the connection has closed, or 10 s have passed, before. */
  until(what: string, ready: () => boolean): Promise<void>;
  /** Resolves when the connection has closed, however; rejects after 10 s. */
  closed(): Promise<void>;
  /** Status of the last head on a stream; 0 for none. */
  statusOf(stream: number): number;
  /** Body on a stream so far. */
  bodyOf(stream: number): Buffer;
  /** Whether the peer has ended a stream with END_STREAM. */
  hasEnded(stream: number): boolean;
  /** Code of the peer's RST_STREAM on a stream; undefined for none. */
  resetOf(stream: number): number | undefined;
  /** Code of the peer's last GOAWAY; undefined for none. */
  readonly goAway: number | undefined;
  destroy(): void;
}

/** Connects to `host:port` and sends the preface and these SETTINGS; acknowledges those of the peer. */
export async function rawHttp2(
  address: string,
  pairs: readonly (readonly [number, number])[] = [],
): Promise<RawHttp2> {
  const colon = address.lastIndexOf(":");
  const socket = connect(Number(address.slice(colon + 1)), address.slice(0, colon));
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", reject);
  });
  socket.setNoDelay(true);
  // No dynamic table (SETTINGS_HEADER_TABLE_SIZE): see the first lines.
  socket.write(Buffer.concat([PREFACE, settings([1, 0], ...pairs)]));
  return listenTo(socket);
}

/** The same on a socket of the test's own, on which nothing is sent by itself but acknowledgements of SETTINGS. */
export function listenTo(socket: Socket): RawHttp2 {
  const frames: Frame[] = [];
  let rest: Buffer = Buffer.alloc(0);
  let isClosed = false;
  let notify: () => void = () => undefined;
  socket.on("data", (chunk: Buffer) => {
    rest = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    for (let next = firstOf(rest); next !== undefined; next = firstOf(rest)) {
      rest = rest.subarray(9 + next.payload.length);
      frames.push(next);
      if (next.type === SETTINGS && next.flags === 0) socket.write(frame(SETTINGS, ACK, 0));
    }
    notify();
  });
  socket.on("error", () => undefined);
  socket.on("close", () => {
    isClosed = true;
    notify();
  });
  const wait = async (what: string, ready: () => boolean): Promise<void> => {
    const late = AbortSignal.timeout(PATIENCE_MS);
    while (!ready()) {
      if (late.aborted) throw new Error(`${what} did not come; ${told(frames)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, PATIENCE_MS);
        notify = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  };
  const codeOf = (type: number, stream: number, at: number): number | undefined =>
    frames.findLast((each) => each.type === type && each.stream === stream)?.payload.readUInt32BE(at);
  return {
    socket,
    frames,
    get isClosed() {
      return isClosed;
    },
    send: (...bytes) => void socket.write(Buffer.concat(bytes)),
    flushed: (bytes) =>
      new Promise((resolve) => {
        const done = (): void => {
          socket.off("close", done);
          resolve();
        };
        socket.once("close", done);
        socket.write(bytes, done);
      }),
    async until(what, ready) {
      await wait(what, () => isClosed || ready());
      if (!ready()) throw new Error(`closed before ${what}; ${told(frames)}`);
    },
    closed: () => wait("close", () => isClosed),
    statusOf(stream) {
      const last = frames.findLast((each) => each.type === HEADERS && each.stream === stream);
      return last === undefined ? 0 : statusIn(last.payload);
    },
    bodyOf: (stream) =>
      Buffer.concat(
        frames.filter((each) => each.type === DATA && each.stream === stream).map((each) => each.payload),
      ),
    hasEnded: (stream) =>
      frames.some(
        (each) =>
          each.stream === stream &&
          (each.type === DATA || each.type === HEADERS) &&
          (each.flags & END_STREAM) !== 0,
      ),
    resetOf: (stream) => codeOf(RST_STREAM, stream, 0),
    get goAway() {
      return codeOf(GOAWAY, 0, 4);
    },
    destroy: () => void socket.destroy(),
  };
}

function firstOf(bytes: Buffer): Frame | undefined {
  if (bytes.length < 9) return undefined;
  const length = bytes.readUIntBE(0, 3);
  if (bytes.length < 9 + length) return undefined;
  return {
    type: bytes[3] ?? 0,
    flags: bytes[4] ?? 0,
    stream: bytes.readUInt32BE(5) & 0x7fffffff,
    payload: bytes.subarray(9, 9 + length),
  };
}

function told(frames: readonly Frame[]): string {
  const last = frames.slice(-20).map(({ type, flags, stream }) => `${type}/${flags}/${stream}`);
  return `received ${frames.length} frames, at last ${last.join(" ")}`;
}

/** A string literal without Huffman coding (RFC 7541 §5.2). */
function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  return Buffer.concat([integer(bytes.length), bytes]);
}

/** An integer with a prefix of seven bits (RFC 7541 §5.1). */
function integer(value: number): Buffer {
  if (value < 127) return Buffer.of(value);
  const bytes = [127];
  let rest = value - 127;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  bytes.push(rest);
  return Buffer.from(bytes);
}

/** Statuses that have a place in the static table (RFC 7541, Appendix A). */
const STATUSES = [200, 204, 206, 304, 400, 404, 500];

/** The status that a head begins with, behind a change of the table's size if there is one; 0 when it begins with none. */
function statusIn(payload: Buffer): number {
  let at = 0;
  while (((payload[at] ?? 0) & 0xe0) === 0x20) at++;
  const first = payload[at] ?? 0;
  if (first >= 0x80) return STATUSES[(first & 0x7f) - 8] ?? 0;
  // A literal whose name is one of those of the table.
  if (![0x08, 0x48, 0x18].includes(first)) return 0;
  const length = payload[at + 1] ?? 0;
  const value = payload.subarray(at + 2, at + 2 + (length & 0x7f));
  return Number(length >= 0x80 ? digits(value) : value.toString("latin1"));
}

/** Digits in Huffman code (RFC 7541, Appendix B): five bits for 0 to 2, six for the others. */
function digits(bytes: Buffer): string {
  let bits = "";
  for (const byte of bytes) bits += byte.toString(2).padStart(8, "0");
  let found = "";
  for (let at = 0; at + 5 <= bits.length;) {
    const short = Number.parseInt(bits.slice(at, at + 5), 2);
    const long = Number.parseInt(bits.slice(at, at + 6), 2);
    if (short <= 2) {
      found += String(short);
      at += 5;
    } else if (at + 6 <= bits.length && long >= 0x19 && long <= 0x1f) {
      found += String(long - 0x16);
      at += 6;
    } else break;
  }
  return found;
}
