/**
 * The upstream of the benchmark: a server on bare sockets, in its own process, that answers with as many bytes as the path says (`/1k`,
 * `/64k`, `/1m`, also behind other segments: `/orders/1k`). It does as little as can be done, so that what is measured is the proxy in
 * front of it. It prints its port as the first line and lives until its parent goes away.
 *
 * A request without a body is answered when its head has come, one with a body (Content-Length or chunked) when the body has. It trusts
 * what it reads: a proxy's requests are well-formed.
 */

import { createServer, Socket, type SocketConstructorOpts } from "node:net";

const END = Buffer.from("\r\n\r\n");
const GET = 0x47;
const UNITS: Readonly<Record<string, number>> = { "": 1, k: 1024, m: 1024 * 1024 };
/** Read by every connection: what is not consumed within the callback is copied. */
const SHARED_BYTES = 256 * 1024;

/** The whole answer per request target. The benchmark asks for a handful of them, or for ten thousand routes' worth of one size. */
const answers = new Map<string, Buffer>();
const sizes = new Map<number, Buffer>();

function answerTo(target: string): Buffer {
  const known = answers.get(target);
  if (known !== undefined) return known;
  const [, digits = "1", unit = "k"] = /\/(\d+)([km]?)$/.exec(target) ?? [];
  const answer = answerOf(Number(digits) * (UNITS[unit] ?? 1));
  if (answers.size < 100_000) answers.set(target, answer);
  return answer;
}

function answerOf(bytes: number): Buffer {
  const known = sizes.get(bytes);
  if (known !== undefined) return known;
  const head = `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${String(bytes)}\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n`;
  const answer = Buffer.concat([Buffer.from(head), Buffer.alloc(bytes, "x")]);
  sizes.set(bytes, answer);
  return answer;
}

/** Where a chunked body ends: size lines, data, and trailer lines until an empty one. */
class Chunks {
  #line = "";
  #data = 0;
  #inTrailer = false;

  /** The index behind the body's end, or -1 when it goes on. */
  end(bytes: Buffer, from: number): number {
    let at = from;
    while (at < bytes.length) {
      if (this.#data > 0) {
        const step = Math.min(this.#data, bytes.length - at);
        this.#data -= step;
        at += step;
        continue;
      }
      const feed = bytes.indexOf(10, at);
      this.#line += bytes.toString("latin1", at, feed === -1 ? bytes.length : feed + 1);
      if (feed === -1) return -1;
      at = feed + 1;
      const line = this.#line.trim();
      this.#line = "";
      if (this.#inTrailer && line === "") return at;
      // A chunk's data is followed by CRLF, which is counted with it.
      const size = this.#inTrailer ? 0 : Number.parseInt(line, 16);
      if (size > 0) this.#data = size + 2;
      else this.#inTrailer = true;
    }
    return -1;
  }
}

/** One connection: between requests, within a head, or within a body. */
class Conversation {
  readonly #socket: () => Socket;
  #rest: Buffer | undefined;
  #answer: Buffer | undefined;
  #missing = 0;
  #chunks: Chunks | undefined;

  constructor(socket: () => Socket) {
    this.#socket = socket;
  }

  read(chunk: Buffer): void {
    let bytes = this.#rest === undefined ? chunk : Buffer.concat([this.#rest, chunk]);
    this.#rest = undefined;
    while (bytes.length > 0) {
      const used = this.#answer === undefined ? this.#head(bytes) : this.#body(bytes, this.#answer);
      if (used === 0) {
        this.#rest = Buffer.from(bytes);
        return;
      }
      if (used === bytes.length) return;
      bytes = bytes.subarray(used);
    }
  }

  /** How many bytes were a head; 0 when it is not complete. */
  #head(bytes: Buffer): number {
    const end = bytes.indexOf(END);
    if (end === -1) return 0;
    const start = bytes.indexOf(32) + 1;
    const answer = answerTo(bytes.toString("latin1", start, bytes.indexOf(32, start)));
    if (bytes[0] !== GET && this.#announces(bytes.toString("latin1", 0, end + 2))) this.#answer = answer;
    else this.#socket().write(answer);
    return end + END.length;
  }

  #announces(head: string): boolean {
    this.#missing = Number(/\r\ncontent-length: *(\d+)/i.exec(head)?.[1] ?? 0);
    this.#chunks = /\r\ntransfer-encoding: *chunked/i.test(head) ? new Chunks() : undefined;
    return this.#missing > 0 || this.#chunks !== undefined;
  }

  /** How many bytes were of the body; answers when it has ended. */
  #body(bytes: Buffer, answer: Buffer): number {
    if (this.#chunks !== undefined) {
      const end = this.#chunks.end(bytes, 0);
      if (end === -1) return bytes.length;
      this.#chunks = undefined;
      this.#answered(answer);
      return end;
    }
    const used = Math.min(this.#missing, bytes.length);
    this.#missing -= used;
    if (this.#missing === 0) this.#answered(answer);
    return used;
  }

  #answered(answer: Buffer): void {
    this.#answer = undefined;
    this.#socket().write(answer);
  }
}

const shared = Buffer.alloc(SHARED_BYTES);

/**
 * Reads into one buffer for all connections where Node lets an accepted handle be wrapped again, which costs 30 % less than a Buffer
 * per read; by the documented event otherwise. The first way is undocumented and stays in this file, which no user runs.
 */
function serve(accepted: Socket): void {
  // The private field is looked at, not believed: without it the documented way is taken.
  const handle: unknown = Reflect.get(accepted, "_handle");
  if (handle === undefined || handle === null) {
    const conversation = new Conversation(() => accepted);
    accepted.on("data", (chunk) => conversation.read(chunk)).on("error", () => accepted.destroy());
    accepted.resume();
    return;
  }
  Reflect.set(accepted, "_handle", null);
  accepted.destroy();
  const conversation: Conversation = new Conversation(() => socket);
  const callback = (count: number): boolean => {
    conversation.read(shared.subarray(0, count));
    return true;
  };
  const options = { handle, onread: { buffer: shared, callback } };
  const socket: Socket = new Socket(options as unknown as SocketConstructorOpts); // the types do not know `handle` as unknown
  socket.on("error", () => socket.destroy()).on("end", () => socket.end());
  socket.read(0);
}

const server = createServer({ noDelay: true, pauseOnConnect: true }, serve);
server.listen({ port: 0, host: "127.0.0.1", backlog: 4096 }, () => {
  const address = server.address();
  if (address !== null && typeof address === "object") process.stdout.write(`${String(address.port)}\n`);
});
// The parent holds the other end of this pipe: when it dies, however it dies, so does this.
process.stdin.resume().on("end", () => process.exit(0));
