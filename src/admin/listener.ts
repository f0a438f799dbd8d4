/**
 * The sockets of the operators' listener: its limits and clocks, the order of calls on a connection, and what is answered to what never became a
 * call. `call.ts` decides everything else.
 *
 * Calls of one connection are handled one after the other, because a client that pipelines two writes means them in that order, and after a
 * refusal that left something unread the connection is over. Whatever is refused, here too, is refused in one form: a problem document with the
 * guards of `answer.ts`.
 */

import {
  STATUS_CODES,
  createServer,
  type IncomingMessage,
  type Server,
  type ServerOptions,
  type ServerResponse,
} from "node:http";
import { createServer as createTlsServer, type Server as TlsServer } from "node:https";
import type { Duplex } from "node:stream";
import { asAppError, codeOf } from "../domain/errors.ts";
import type { Dice, Log } from "../engine/ports.ts";
import { GUARDS, packed, problemAnswer, type Answer } from "./answer.ts";
import type { Calls } from "./call.ts";
import type { Pair } from "./certificate.ts";
import type { AdminConnections } from "./connections.ts";

/** What a caller may ask of the listener. */
export interface AdminLimits {
  /** A request head must be complete by then, and a TLS handshake: ms. */
  readonly headMs: number;
  /** A whole request must be there by then: ms. */
  readonly requestMs: number;
  /** Connections at the most. */
  readonly connections: number;
  /** Fields of a head at the most. */
  readonly fields: number;
}

/** The limits that are not the operator's to say. */
export const LIMITS: Omit<AdminLimits, "connections"> = { headMs: 10_000, requestMs: 20_000, fields: 100 };
const HEAD_BYTES = 16 * 1024;
const KEEP_ALIVE_MS = 5000;
/** A connection on which nothing moves for so long is gone: ms. */
const SILENCE_MS = 60_000;
/** How long, and how much, is read and thrown away so that a refusal reaches a client that is still sending: ms, bytes. */
const LINGER_MS = 500;
const LINGER_BYTES = 256 * 1024;
/** Requests of one connection that may wait for their turn. */
const PIPELINED = 16;
/** What is in flight at `close` and not answered by then is cut: ms. */
const CLOSE_MS = 2000;

/** What a listener is made of. */
export interface ListenerOptions {
  readonly calls: Calls;
  readonly limits: AdminLimits;
  readonly connections: AdminConnections;
  /** The certificate; left out: plain HTTP. */
  readonly pair: Pair | undefined;
  readonly dice: Dice;
  readonly log: Log;
}

/** What is known of a connection. */
interface Connection {
  /** Ends when the last call that was taken has been answered; `before`: the one before it. */
  tail: Promise<void>;
  before: Promise<void>;
  last: { readonly request: IncomingMessage; readonly response: ServerResponse } | undefined;
  /** Calls that are taken and not answered. */
  open: number;
  /** Nothing that still arrives is looked at. */
  isOver: boolean;
  /** A call was refused with something of it unread: those behind it may be pieces of it. */
  isUnread: boolean;
}

/** The listener; it listens once `server` is told to. */
export class Listener {
  readonly server: Server | TlsServer;
  readonly #calls: Calls;
  readonly #all: AdminConnections;
  readonly #dice: Dice;
  readonly #log: Log;
  readonly #connections = new WeakMap<Duplex, Connection>();
  #isClosing = false;

  constructor({ calls, limits, connections, pair, dice, log }: ListenerOptions) {
    this.#calls = calls;
    this.#all = connections;
    this.#dice = dice;
    this.#log = log;
    const options: ServerOptions = {
      maxHeaderSize: HEAD_BYTES,
      headersTimeout: limits.headMs,
      requestTimeout: Math.max(limits.requestMs, limits.headMs),
      connectionsCheckingInterval: Math.min(1000, limits.headMs),
      keepAliveTimeout: KEEP_ALIVE_MS,
      insecureHTTPParser: false,
      // `call.ts` refuses what names no Host, in the form in which everything is refused.
      requireHostHeader: false,
    };
    this.server =
      pair === undefined
        ? createServer(options)
        : createTlsServer({
            ...options,
            ...pair,
            ALPNProtocols: ["http/1.1"],
            handshakeTimeout: limits.headMs,
          });
    // All fields are shown; `call.ts` refuses too many (reliability.md A.2).
    this.server.maxHeadersCount = 0;
    this.server.timeout = SILENCE_MS;
    const failed = (error: Error): void => log.debug("admin connection failed", { error: error.message });
    this.server.on("connection", (socket) => {
      socket.on("error", failed);
      connections.add(socket);
    });
    this.server.on("secureConnection", (socket: Duplex) => socket.on("error", failed));
    this.server.on("request", (request, response) => this.#take(request, response));
    // 100 is sent when the body is about to be read, so that a body that will be refused is never asked for; other expectations are refused there.
    for (const event of ["checkContinue", "checkExpectation"]) {
      this.server.on(event, (request: IncomingMessage, response: ServerResponse) =>
        this.#take(request, response),
      );
    }
    this.server.on("connect", (_request, socket) =>
      this.#refuse(problemAnswer("SPLIT_METHOD_NOT_ALLOWED", "this is no proxy"), socket),
    );
    this.server.on("clientError", (error, socket) => {
      const code = codeOf(error);
      // A handshake that failed: there is nothing that an answer could be written into.
      if (/^ERR_(?:SSL|TLS)_/.test(code)) socket.destroy();
      else this.#refuse(refusalOf(code), socket);
    });
    this.server.on("error", (error) => log.error("the admin listener failed", { error: error.message }));
  }

  /** New connections are greeted with `pair` from now on. Only for a listener that was made with one. */
  setPair(pair: Pair): void {
    if ("setSecureContext" in this.server) this.server.setSecureContext(pair);
  }

  /** Stops listening; resolves when every connection is closed, by force after CLOSE_MS. */
  close(): Promise<void> {
    this.#isClosing = true;
    return new Promise((resolve) => {
      const force = setTimeout(() => this.#all.destroy(), CLOSE_MS);
      this.server.close(() => {
        clearTimeout(force);
        resolve();
      });
      this.server.closeIdleConnections();
    });
  }

  #connectionOf(socket: Duplex): Connection {
    let connection = this.#connections.get(socket);
    if (connection === undefined) {
      const done = Promise.resolve();
      connection = { tail: done, before: done, last: undefined, open: 0, isOver: false, isUnread: false };
      this.#connections.set(socket, connection);
    }
    return connection;
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const connection = this.#connectionOf(request.socket);
    request.on("error", () => undefined); // The client left; `close` of the response tells.
    response.on("error", () => undefined);
    if (connection.isOver) return;
    if (connection.open >= PIPELINED) {
      connection.isOver = true;
      request.socket.destroy();
      return;
    }
    connection.open++;
    connection.last = { request, response };
    connection.before = connection.tail;
    connection.tail = connection.tail.then(async () => {
      try {
        if (!connection.isUnread && !request.socket.destroyed)
          await this.#serve(request, response, connection);
      } finally {
        connection.open--;
      }
    });
  }

  /** Answers one call. Never rejects. */
  async #serve(request: IncomingMessage, response: ServerResponse, connection: Connection): Promise<void> {
    let answer: Answer | undefined;
    try {
      answer = await this.#calls.answer(request, response);
      if (answer !== undefined)
        answer = await packed(answer, request.headers["accept-encoding"]?.toString() ?? "");
    } catch (error) {
      answer = this.#unexpected(request, error);
    }
    if (answer === undefined || response.destroyed) return;
    const isUnread = answer.close || !request.complete;
    if (isUnread) connection.isOver = connection.isUnread = true;
    const isLast = this.#isClosing || (connection.isOver && connection.open === 1);
    try {
      await send(request, response, answer, isUnread, isLast);
    } catch (error) {
      this.#unexpected(request, error);
      response.destroy();
    }
  }

  #unexpected(request: IncomingMessage, error: unknown): Answer {
    const known = asAppError(error);
    const instance = `urn:sluice:case:${this.#dice.token(9)}`;
    const fields = { instance, code: known.code, method: request.method, url: request.url, error };
    this.#log.error("an admin call failed unexpectedly", fields);
    // The message of a bug may hold anything; the log has it.
    return known.code === "SPLIT_INTERNAL"
      ? problemAnswer("SPLIT_INTERNAL", "something went wrong; the log says what", { instance })
      : problemAnswer(known.code, known.message, { instance });
  }

  /** What is not HTTP, too long or too slow. An answer is only written where no other one is due (reliability.md A.7). */
  #refuse(answer: Answer, socket: Duplex): void {
    const connection = this.#connectionOf(socket);
    const { last, open, isOver } = connection;
    connection.isOver = true;
    if (isOver || !socket.writable) {
      // An answer under way ends the connection itself.
      if (open === 0) socket.destroy();
    } else if (last !== undefined && !last.request.complete && !last.response.headersSent) {
      // The trouble is inside the body of the last call: this is its answer.
      void connection.before.then(() => writeRefusal(socket, answer));
    } else if (open > 0) void connection.tail.then(() => socket.destroy());
    else writeRefusal(socket, answer);
  }
}

/** Writes the answer to what never became a request, where node:http has none to write with, and ends the connection. */
function writeRefusal(socket: Duplex, { status, headers, body }: Answer): void {
  const length = { "content-length": String(Buffer.byteLength(body)) };
  const lines = Object.entries({ ...GUARDS, ...headers, ...length });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const phrase = STATUS_CODES[status] ?? "Refused";
  socket.end(`HTTP/1.1 ${status} ${phrase}\r\n${head}connection: close\r\n\r\n${body.toString()}`);
  setTimeout(() => socket.destroy(), LINGER_MS).unref();
}

function refusalOf(code: string): Answer {
  if (code === "HPE_HEADER_OVERFLOW" || code === "HPE_CHUNK_EXTENSIONS_OVERFLOW") {
    return problemAnswer("SPLIT_TOO_LARGE", "the head of the request is too long", { status: 431 });
  }
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") {
    return problemAnswer("SPLIT_TIMED_OUT", "the request did not arrive in time", { status: 408 });
  }
  return problemAnswer("SPLIT_REQUEST_REFUSED", "this is not a request that can be understood");
}

/**
 * Writes an answer; resolves when it is written or the client is gone. `isUnread`: lingers a little, then ends the connection; `isLast`: ends
 * it at once.
 */
function send(
  request: IncomingMessage,
  response: ServerResponse,
  answer: Answer,
  isUnread: boolean,
  isLast: boolean,
): Promise<void> {
  const headers: Record<string, string> = {
    ...GUARDS,
    ...answer.headers,
    // Of a 304 it would be the length of what is not sent (RFC 9110 §8.6).
    ...(answer.status === 304 ? {} : { "content-length": String(Buffer.byteLength(answer.body)) }),
  };
  if (isUnread || isLast) headers["connection"] = "close";
  return new Promise((resolve) => {
    response.once("close", () => resolve());
    response.writeHead(answer.status, headers);
    if (!isUnread) response.end(request.method === "HEAD" ? undefined : answer.body);
    else {
      response.write(answer.body);
      linger(request, () => response.end());
    }
  });
}

/** Reads and throws away what a client still sends, for a short while: closing at once would reset the answer away (reliability.md D.25). */
function linger(request: IncomingMessage, end: () => void): void {
  let left = LINGER_BYTES;
  let isDone = false;
  const finish = (): void => {
    if (isDone) return;
    isDone = true;
    clearTimeout(timer);
    request.off("data", discard);
    request.socket.off("end", finish);
    request.pause();
    end();
  };
  const discard = (part: Buffer): void => {
    left -= part.length;
    if (left < 0) finish();
  };
  const timer = setTimeout(finish, LINGER_MS);
  request.on("data", discard);
  request.once("end", finish);
  request.once("close", finish);
  // A client that has said its last is not waited for.
  request.socket.once("end", finish);
  request.resume();
}
