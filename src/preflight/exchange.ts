/**
 * One request and as much of its answer as is wanted, over a connection of its own: HTTP/1.1, or HTTP/2 where an endpoint speaks nothing else.
 *
 * It promises to end with the signal, and to hold no more than it was told to read, whatever the other side sends. Redirects are not followed. Not the data
 * path's connections: what goes this way is no user's and must not be measured as one.
 */

import { request, type IncomingMessage } from "node:http";
import { connect as connectHttp2 } from "node:http2";
import { request as requestTls } from "node:https";
import { connect, isIP, type LookupFunction } from "node:net";
import { connect as connectTls, type ConnectionOptions } from "node:tls";
import { bareHost } from "../domain/host.ts";

/** What to send, and where. */
export interface Ask {
  /** `http:`, `https:` or `h2c:`; path and query are not looked at. */
  readonly url: URL;
  readonly isHttp2: boolean;
  readonly method: string;
  /** Path and query. */
  readonly path: string;
  /** Lower-case names. */
  readonly fields: Readonly<Record<string, string>>;
  /** What is sent as Host; left out: that of the URL. */
  readonly authority?: string | undefined;
  readonly body?: string;
  /** How TLS is spoken; left out: verified by the platform's trust. */
  readonly tls?: ConnectionOptions | undefined;
  readonly lookup: LookupFunction;
  /** How much of the body is wanted of an answer with this status: bytes; what is longer is cut off. */
  readonly most: (status: number) => number;
}

/** What came back. */
export interface Answer {
  readonly status: number;
  /** The Date field. */
  readonly date: string | undefined;
  /** Latin-1; at most as long as was wanted. */
  readonly body: string;
  /** False when the body was cut short by the other side. Longer than wanted is whole. */
  readonly isWhole: boolean;
}

const MOST_HEAD = 16 * 1024;
const MOST_FIELDS = 200;
const MEMORY_MB = 4;

/** The answer. Rejects with the platform's error, or when `signal` is aborted first. */
export function exchange(ask: Ask, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const settled = new AbortController();
    const end = (): void => {
      signal.removeEventListener("abort", stop);
      settled.abort();
    };
    const stop = (): void => {
      end();
      reject(new Error("was ended"));
    };
    signal.addEventListener("abort", stop);
    if (signal.aborted) return stop();
    const send = ask.isHttp2 ? overHttp2 : overHttp1;
    const attempt = send(
      ask,
      (answer) => {
        end();
        resolve(answer);
      },
      (error) => {
        end();
        reject(error);
      },
    );
    // A timer, an error and an answer may all come; the first has settled it.
    if (settled.signal.aborted) attempt.destroy();
    else settled.signal.addEventListener("abort", () => attempt.destroy());
  });
}

type Done = (answer: Answer) => void;
type Failed = (error: Error) => void;

/** The body of an answer as it comes in. */
class Body {
  readonly #most: number;
  readonly #parts: Buffer[] = [];
  #length = 0;

  constructor(most: number) {
    this.#most = most;
  }

  get isFull(): boolean {
    return this.#length >= this.#most;
  }

  add(chunk: Buffer): void {
    this.#parts.push(chunk);
    this.#length += chunk.length;
  }

  text(): string {
    return Buffer.concat(this.#parts).toString("latin1").slice(0, this.#most);
  }
}

function placeOf({ url, tls, lookup }: Ask) {
  const host = bareHost(url.hostname);
  const isTls = url.protocol === "https:";
  const port = url.port === "" ? (isTls ? 443 : 80) : Number(url.port);
  // Of an address the name in a certificate is the address itself.
  const platform = { rejectUnauthorized: true, ...(isIP(host) === 0 ? { servername: host } : {}) };
  return { place: { host, port, lookup }, secure: isTls ? (tls ?? platform) : undefined };
}

function overHttp1(ask: Ask, done: Done, failed: Failed): { destroy(): void } {
  const { place, secure } = placeOf(ask);
  const { method, path, fields, body = "", authority = ask.url.host } = ask;
  const outgoing = (secure === undefined ? request : requestTls)({
    ...secure,
    ...place,
    method,
    path,
    agent: false,
    maxHeaderSize: MOST_HEAD,
    headers: { host: authority, ...fields, ...lengthOf(ask) },
  });
  let isAnswered = false;
  outgoing.on("response", (incoming) => {
    isAnswered = true;
    collect(incoming, ask, done);
  });
  outgoing.on("upgrade", (_response, socket) => {
    socket.on("error", () => {});
    socket.destroy();
    done({ status: 101, date: undefined, body: "", isWhole: true });
  });
  outgoing.on("error", failed);
  outgoing.on("close", () => {
    if (!isAnswered) failed(new Error("connection closed without an answer"));
  });
  outgoing.end(body);
  return outgoing;
}

function lengthOf({ method, body }: Ask): Readonly<Record<string, string>> {
  if (body === undefined && method !== "POST") return {};
  return { "content-length": String(Buffer.byteLength(body ?? "")) };
}

function collect(incoming: IncomingMessage, { most }: Ask, done: Done): void {
  const { statusCode: status = 0, headers } = incoming;
  const body = new Body(most(status));
  const finish = (isWhole: boolean): void => done({ status, date: headers.date, body: body.text(), isWhole });
  if (body.isFull) finish(true);
  incoming.on("data", (chunk: Buffer) => {
    body.add(chunk);
    if (body.isFull) finish(true);
  });
  incoming.on("error", () => finish(false));
  incoming.on("close", () => finish(incoming.complete));
}

function overHttp2(ask: Ask, done: Done, failed: Failed): { destroy(): void } {
  const { place, secure } = placeOf(ask);
  const { method, path, fields, authority = ask.url.host, most } = ask;
  const encrypted =
    secure === undefined ? undefined : connectTls({ ...secure, ...place, ALPNProtocols: ["h2"] });
  const socket = encrypted ?? connect(place);
  socket.on("error", failed);
  socket.on("close", () => failed(new Error("connection closed without an answer")));
  encrypted?.on("secureConnect", () => {
    if (encrypted.alpnProtocol !== "h2") failed(new Error("no HTTP/2"));
  });
  const session = connectHttp2(`${secure === undefined ? "http" : "https"}://${authority}`, {
    createConnection: () => socket,
    settings: { enablePush: false },
    maxHeaderListPairs: MOST_FIELDS,
    maxSessionMemory: MEMORY_MB,
  });
  session.on("error", failed);
  const { body: content } = ask;
  const stream = session.request(
    { ":method": method, ":path": path, ":authority": authority, ...fields, ...lengthOf(ask) },
    { endStream: content === undefined },
  );
  stream.on("error", failed);
  stream.on("response", ({ ":status": status = 0, date }) => {
    const body = new Body(most(status));
    const finish = (isWhole: boolean): void => done({ status, date, body: body.text(), isWhole });
    if (body.isFull) finish(true);
    stream.on("data", (chunk: Buffer) => {
      body.add(chunk);
      if (body.isFull) finish(true);
    });
    stream.on("end", () => finish(true));
    stream.on("close", () => finish(false));
  });
  if (content !== undefined) stream.end(content);
  return {
    destroy() {
      session.destroy();
      socket.destroy();
    },
  };
}
