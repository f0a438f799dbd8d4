/**
 * HTTP/2 upstreams: one on `node:http2` that answers by a script, and one without a library that speaks in frames, for what no library
 * would do.
 */

import {
  createSecureServer,
  createServer as createHttp2,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type ServerOptions,
} from "node:http2";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";

/** One request as the upstream got it. */
export interface SeenStream {
  readonly stream: ServerHttp2Stream;
  readonly method: string;
  readonly target: string;
  /** Fields and pseudo-fields as they came: name, value, name, value, … */
  readonly list: readonly string[];
  /** Which connection it came on, from 1. */
  readonly connection: number;
  /** Value of the first field of that name. */
  field(name: string): string | undefined;
  /** The whole body, latin1. Rejects when it is cut. */
  body(): Promise<string>;
}

/** Answers one stream. */
export type StreamScript = (stream: ServerHttp2Stream, seen: SeenStream) => void;

/** A running upstream. */
export interface Http2Upstream {
  /** `h2c://…`, or `https://…` with a certificate. */
  readonly url: string;
  readonly requests: SeenStream[];
  readonly sessions: Set<ServerHttp2Session>;
  /** Connections so far. */
  readonly accepted: number;
  script: StreamScript;
  close(): Promise<void>;
}

/** An upstream that answers by a script. With `tls`, over TLS. */
export async function http2Upstream(
  script: StreamScript,
  options: ServerOptions & { readonly tls?: { readonly cert: string; readonly key: string } } = {},
): Promise<Http2Upstream> {
  const { tls, ...http2 } = options;
  const server = tls === undefined ? createHttp2(http2) : createSecureServer({ ...http2, ...tls });
  const sockets = new Set<Socket>();
  const self: { -readonly [K in keyof Http2Upstream]: Http2Upstream[K] } = {
    url: "",
    requests: [],
    sessions: new Set(),
    accepted: 0,
    script,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => sockets.delete(socket));
  });
  server.on("sessionError", () => undefined);
  server.on("session", (session) => {
    const connection = ++self.accepted;
    self.sessions.add(session);
    session.on("error", () => undefined);
    session.on("close", () => self.sessions.delete(session));
    session.on("stream", (stream: ServerHttp2Stream, _headers, _flags, list: string[]) => {
      stream.on("error", () => undefined);
      const field = (name: string): string | undefined => {
        const at = list.findIndex((each, nth) => nth % 2 === 0 && each === name);
        return at < 0 ? undefined : list[at + 1];
      };
      const seen: SeenStream = {
        stream,
        list,
        connection,
        method: field(":method") ?? "",
        target: field(":path") ?? "",
        field,
        body: () => bodyOf(stream),
      };
      self.requests.push(seen);
      self.script(stream, seen);
    });
  });
  self.url = `${tls === undefined ? "h2c" : "https"}://${await listening(server)}`;
  return self;
}

/** An answer with a body. */
export function answer(
  status: number,
  body = "",
  fields: Record<string, string | string[]> = {},
): StreamScript {
  return (stream) => {
    stream.respond({ ":status": status, ...fields }, { endStream: body === "" });
    if (body !== "") stream.end(body, "latin1");
  };
}

function bodyOf(stream: ServerHttp2Stream): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    let isWhole = false;
    stream.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
    stream.on("end", () => {
      isWhole = !stream.aborted;
      if (isWhole) resolve(text);
    });
    stream.on("close", () => {
      if (!isWhole) reject(new Error(`cut after ${text.length}: ${stream.rstCode}`));
    });
  });
}

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  // A TCP server has an address of this form.
  return `127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Frame types (RFC 9113 §6). */
export const DATA = 0;
export const HEADERS = 1;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
const GOAWAY = 7;
export const CONTINUATION = 9;
/** Flags. */
export const END_STREAM = 1;
const ACK = 1;
export const END_HEADERS = 4;

/** One frame. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  readonly payload: Buffer;
}

/** One connection of an upstream that speaks in frames. */
export interface FrameConnection {
  readonly socket: Socket;
  /** Which one it is, from 1. */
  readonly nth: number;
  readonly frames: Frame[];
  /** Frames of a type that came for a stream; 0: for any. */
  got(type: number, stream?: number): readonly Frame[];
  send(...frames: readonly Buffer[]): void;
}

/** An upstream that speaks in frames. */
export interface FrameUpstream {
  readonly url: string;
  readonly connections: FrameConnection[];
  /** Hears every frame. */
  script: (connection: FrameConnection, frame: Frame) => void;
  /** Resolves when this holds, looked at whenever a frame comes or a connection opens or closes; rejects after 5 s. */
  until(ready: () => boolean): Promise<void>;
  close(): Promise<void>;
}

const PATIENCE_MS = 5000;
const PREFACE_LENGTH = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".length;

/**
 * Starts one. It sends `greeting` as soon as there is a connection (its SETTINGS, which may be none at all), and acknowledges
 * SETTINGS and PINGs by itself unless told not to.
 */
export async function frameUpstream(
  script: FrameUpstream["script"],
  { greeting = frame(SETTINGS), acks = true }: { readonly greeting?: Buffer; readonly acks?: boolean } = {},
): Promise<FrameUpstream> {
  const server = createServer();
  let look: () => void = () => undefined;
  const self: { -readonly [K in keyof FrameUpstream]: FrameUpstream[K] } = {
    url: "",
    connections: [],
    script,
    until: (ready) =>
      new Promise((resolve, reject) => {
        const seen = (): string =>
          self.connections.map(({ frames }) => frames.map(({ type }) => type).join(" ")).join(" | ");
        const timer = setTimeout(() => reject(new Error(`never; frames: ${seen()}`)), PATIENCE_MS);
        look = () => {
          if (!ready()) return;
          look = () => undefined;
          clearTimeout(timer);
          resolve();
        };
        look();
      }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const { socket } of self.connections) socket.destroy();
      }),
  };
  server.on("connection", (socket) => {
    const connection: FrameConnection = {
      socket,
      nth: self.connections.length + 1,
      frames: [],
      got: (type, stream = 0) =>
        connection.frames.filter((each) => each.type === type && (stream === 0 || each.stream === stream)),
      send: (...frames) => void socket.write(Buffer.concat(frames)),
    };
    self.connections.push(connection);
    socket.on("error", () => undefined);
    socket.write(greeting);
    let bytes: Buffer = Buffer.alloc(0);
    let preface = PREFACE_LENGTH;
    socket.on("data", (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk]);
      if (preface > 0) {
        const read = Math.min(preface, bytes.length);
        preface -= read;
        bytes = bytes.subarray(read);
      }
      for (let found = parse(bytes); found !== undefined; found = parse(bytes)) {
        bytes = bytes.subarray(9 + found.payload.length);
        connection.frames.push(found);
        const isRequest = (found.type === SETTINGS || found.type === PING) && (found.flags & ACK) === 0;
        if (acks && isRequest)
          connection.send(frame(found.type, ACK, 0, found.type === PING ? found.payload : ""));
        self.script(connection, found);
        look();
      }
    });
    socket.on("close", () => look());
    look();
  });
  self.url = `h2c://${await listening(server)}`;
  return self;
}

function parse(bytes: Buffer): Frame | undefined {
  if (bytes.length < 9) return undefined;
  const length = bytes.readUIntBE(0, 3);
  if (bytes.length < 9 + length) return undefined;
  return {
    type: bytes[3] ?? 0,
    flags: bytes[4] ?? 0,
    stream: bytes.readUInt32BE(5),
    payload: Buffer.from(bytes.subarray(9, 9 + length)),
  };
}

/** The bytes of a frame; a payload as text is latin1. */
export function frame(type: number, flags = 0, stream = 0, payload: Buffer | string = ""): Buffer {
  const body = typeof payload === "string" ? Buffer.from(payload, "latin1") : payload;
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, body]);
}

/** A HEADERS frame: fields as literals (RFC 7541 §6.2.2). */
export function headers(
  stream: number,
  fields: readonly (readonly [string, string])[],
  flags = END_HEADERS,
): Buffer {
  return frame(HEADERS, flags, stream, fieldBlock(fields));
}

/** Fields as literals without Huffman coding. */
export function fieldBlock(fields: readonly (readonly [string, string])[]): Buffer {
  const parts: Buffer[] = [];
  for (const [name, value] of fields) parts.push(Buffer.from([0]), ...literal(name), ...literal(value));
  return Buffer.concat(parts);
}

function literal(text: string): readonly Buffer[] {
  const bytes = Buffer.from(text, "latin1");
  const length: number[] = [];
  let rest = bytes.length;
  if (rest < 127) length.push(rest);
  else {
    length.push(127);
    for (rest -= 127; rest >= 128; rest = Math.floor(rest / 128)) length.push((rest % 128) + 128);
    length.push(rest);
  }
  return [Buffer.from(length), bytes];
}

/** A SETTINGS frame. */
export function settings(pairs: Readonly<Record<number, number>>): Buffer {
  const payload = Object.entries(pairs).map(([id, value]) => Buffer.concat([two(Number(id)), four(value)]));
  return frame(SETTINGS, 0, 0, Buffer.concat(payload));
}

/** RST_STREAM with an error code. */
export function reset(stream: number, code: number): Buffer {
  return frame(RST_STREAM, 0, stream, four(code));
}

/** GOAWAY. */
export function goaway(lastStream: number, code: number): Buffer {
  return frame(GOAWAY, 0, 0, Buffer.concat([four(lastStream), four(code)]));
}

function two(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(value);
  return bytes;
}

function four(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}
