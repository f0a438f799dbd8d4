/** Upstreams without an HTTP library: they read requests by hand, remember the very bytes, and answer what a script says. */

import { createHash } from "node:crypto";
import { createServer, type AddressInfo, type Socket } from "node:net";

/** One request as it came over the wire. */
export interface Seen {
  readonly head: string;
  /** Decoded body, latin1. */
  readonly body: string;
  readonly method: string;
  readonly target: string;
  /** How many requests came before it on this connection. */
  readonly nth: number;
  /** Value of the first field of that name. */
  field(name: string): string | undefined;
}

/** Answers one request; the default ends nothing and keeps the connection. */
export type Script = (socket: Socket, seen: Seen) => void;

/** The 101 that opens a WebSocket asked for with this key (RFC 6455 §4.2.2). */
export function switching(key: string | undefined): string {
  const accept = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
  return `HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\n`;
}

/** A running upstream. */
export interface Upstream {
  readonly url: string;
  readonly requests: Seen[];
  readonly sockets: Set<Socket>;
  /** Connections accepted so far. */
  readonly accepted: number;
  script: Script;
  /** Called with every socket at once, before any byte: for upstreams that do not read. */
  onConnection: ((socket: Socket) => void) | undefined;
  /** Called when a connection has closed. */
  onClose: (() => void) | undefined;
  close(): Promise<void>;
}

/** A plain answer with a length. */
export function reply(status: number, body = "", fields = ""): string {
  return `HTTP/1.1 ${status} X\r\n${fields}Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** An upstream that answers `text` (or by a script) to every whole request. Rejects when the port is taken. */
export async function upstream(answer: string | Script, host = "127.0.0.1", port = 0): Promise<Upstream> {
  const server = createServer();
  const self: { -readonly [K in keyof Upstream]: Upstream[K] } = {
    url: "",
    requests: [],
    sockets: new Set(),
    accepted: 0,
    script: typeof answer === "string" ? (socket) => void socket.write(answer, "latin1") : answer,
    onConnection: undefined,
    onClose: undefined,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of self.sockets) socket.destroy();
      }),
  };
  server.on("connection", (socket) => {
    self.accepted++;
    self.sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => {
      self.sockets.delete(socket);
      self.onClose?.();
    });
    if (self.onConnection !== undefined) {
      self.onConnection(socket);
      return;
    }
    let bytes = "";
    let nth = 0;
    socket.on("data", (chunk: Buffer) => {
      bytes += chunk.toString("latin1");
      for (let found = parse(bytes, nth); found !== undefined; found = parse(bytes, nth)) {
        bytes = bytes.slice(found.length);
        nth++;
        self.requests.push(found.seen);
        self.script(socket, found.seen);
      }
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  // A TCP server has an address of this form.
  self.url = `http://${host}:${(server.address() as AddressInfo).port}`;
  return self;
}

/** An address at which nobody listens. Not a port that was just freed: the next listener of the same test may be given it. */
export const NOBODY = "http://127.0.0.1:1";

function parse(bytes: string, nth: number): { readonly seen: Seen; readonly length: number } | undefined {
  const end = bytes.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const head = bytes.slice(0, end);
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}:[ \\t]*(.*)$`, "im").exec(head)?.[1]?.replace(/\r$/, "");
  const [method = "", target = ""] = head.split(" ", 2);
  let at = end + 4;
  let body = "";
  if (field("transfer-encoding") !== undefined) {
    for (;;) {
      const line = bytes.indexOf("\r\n", at);
      if (line < 0) return undefined;
      const size = Number.parseInt(bytes.slice(at, line), 16);
      if (size === 0) {
        // Trailers may stand before the empty line.
        const last = bytes.indexOf("\r\n\r\n", line);
        if (last < 0) return undefined;
        at = last + 4;
        break;
      }
      const next = line + 2 + size + 2;
      if (bytes.length < next) return undefined;
      body += bytes.slice(line + 2, line + 2 + size);
      at = next;
    }
  } else {
    const length = Number(field("content-length") ?? 0);
    if (bytes.length < at + length) return undefined;
    body = bytes.slice(at, at + length);
    at += length;
  }
  return { seen: { head, body, method, target, nth, field }, length: at };
}
