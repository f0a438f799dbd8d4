/**
 * The operators' listener: its own server, limits and clocks, so that nothing that is done to it slows traffic, and nothing of it can be
 * reached through the public listener (reliability.md G).
 *
 * `call.ts` decides what is answered; this file owns the sockets. Calls of one connection are handled one after the other, because a client
 * that pipelines two writes means them in that order, and after a refusal that left something unread the connection is over.
 */

import {
  STATUS_CODES,
  createServer,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from "node:http";
import type { Duplex } from "node:stream";
import type { Config } from "../config/schema.ts";
import { AppError, asAppError } from "../domain/errors.ts";
import type { Control, ReloadResult } from "../engine/control.ts";
import type { Clock, Dice, Log } from "../engine/ports.ts";
import { GUARDS, problemAnswer, type Answer } from "./answer.ts";
import { createAuth, type Token } from "./auth.ts";
import { createCalls, type Calls } from "./call.ts";
import { createEvents } from "./events.ts";
import { createAnswers } from "./idempotency.ts";
import { isLocalAddress, listen } from "./listen.ts";
import { openApiDocument } from "./openapi.ts";
import { createOriginCheck } from "./origin.ts";

/** What a caller may ask of the listener. */
export interface AdminLimits {
  /** A request head must be complete by then: ms. */
  readonly headMs: number;
  /** A whole request must be there by then: ms. */
  readonly requestMs: number;
  /** Connections at the most. */
  readonly connections: number;
  /** Fields of a head at the most. */
  readonly fields: number;
}

const LIMITS: AdminLimits = { headMs: 10_000, requestMs: 20_000, connections: 256, fields: 100 };
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

/** What the admin API needs. */
export interface AdminOptions {
  /** `host:port`, `[v6]:port`, `:port` or `unix:PATH`. */
  readonly address: string;
  /** Further names by which it may be called. */
  readonly hosts: readonly string[];
  readonly control: Control;
  readonly config: () => Config;
  /** Everybody who may call, the token of the state folder included. */
  readonly tokens: readonly Token[];
  /** The exposition in the format that the Accept field prefers. */
  readonly metrics: (accept: string) => Promise<{ readonly contentType: string; readonly body: string }>;
  readonly reload: (actor: string) => Promise<ReloadResult>;
  readonly readiness: () => { readonly ready: boolean; readonly checks: Readonly<Record<string, string>> };
  /** Begins the drain and returns. */
  readonly drain: () => void;
  readonly clock: Clock;
  readonly dice: Dice;
  readonly log: Log;
  readonly limits?: Partial<AdminLimits>;
}

/** The API in service. */
export interface Admin {
  /** Where it listens, with the port given out; `unix:PATH` for a socket. */
  readonly address: string;
  /** Finishes what is in flight, for two seconds at the most, and lets the address go. Never rejects. */
  close(): Promise<void>;
}

/**
 * The admin API, listening. Rejects with SPLIT_LISTEN_FAILED when it cannot, and when the address can be reached from other machines although
 * the configuration names no token.
 */
export async function createAdmin(options: AdminOptions): Promise<Admin> {
  const { address, control, clock, log } = options;
  if (!isLocalAddress(address) && options.config().admin.tokens.length === 0) {
    throw new AppError(
      "SPLIT_LISTEN_FAILED",
      `the admin API does not listen on ${address}, which other machines can reach, without a token under admin.tokens`,
    );
  }
  const limits = { ...LIMITS, ...options.limits };
  const events = createEvents(control, clock, log);
  const document = openApiDocument();
  const calls = createCalls({
    sources: { ...options, document: () => document },
    checkOrigin: createOriginCheck(address, options.hosts),
    authenticate: createAuth(options.tokens, clock),
    answers: createAnswers(clock),
    events,
    log,
    maxFields: limits.fields,
  });
  const listener = new Listener(calls, limits, options.dice, log);
  const bound = await listen(listener.server, address);
  return {
    address: bound,
    async close() {
      events.close();
      await listener.close();
    },
  };
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

class Listener {
  readonly server: Server;
  readonly #calls: Calls;
  readonly #dice: Dice;
  readonly #log: Log;
  readonly #connections = new WeakMap<Duplex, Connection>();
  #isClosing = false;

  constructor(calls: Calls, limits: AdminLimits, dice: Dice, log: Log) {
    this.#calls = calls;
    this.#dice = dice;
    this.#log = log;
    this.server = createServer({
      maxHeaderSize: HEAD_BYTES,
      headersTimeout: limits.headMs,
      requestTimeout: Math.max(limits.requestMs, limits.headMs),
      connectionsCheckingInterval: Math.min(1000, limits.headMs),
      keepAliveTimeout: KEEP_ALIVE_MS,
      insecureHTTPParser: false,
    });
    // All fields are shown; `call.ts` refuses too many (reliability.md A.2).
    this.server.maxHeadersCount = 0;
    this.server.maxConnections = limits.connections;
    this.server.timeout = SILENCE_MS;
    this.server.on("connection", (socket) => {
      socket.on("error", (error) => log.debug("admin connection failed", { error: error.message }));
    });
    this.server.on("request", (request, response) => this.#take(request, response));
    // 100 is sent when the body is about to be read, so that a body that will be refused is never asked for.
    this.server.on("checkContinue", (request: IncomingMessage, response: ServerResponse) =>
      this.#take(request, response),
    );
    this.server.on("clientError", (error, socket) => this.#refuse(error, socket));
    this.server.on("error", (error) => log.error("the admin listener failed", { error: error.message }));
  }

  /** Stops listening; resolves when every connection is closed, by force after CLOSE_MS. */
  close(): Promise<void> {
    this.#isClosing = true;
    return new Promise((resolve) => {
      const force = setTimeout(() => this.server.closeAllConnections(), CLOSE_MS);
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
  #refuse(error: Error, socket: Duplex): void {
    const connection = this.#connectionOf(socket);
    const { last, open, isOver } = connection;
    connection.isOver = true;
    if (isOver || !socket.writable) {
      // An answer under way ends the connection itself.
      if (open === 0) socket.destroy();
    } else if (last !== undefined && !last.request.complete && !last.response.headersSent) {
      // The trouble is inside the body of the last call: this is its answer.
      void connection.before.then(() => writeRefusal(socket, error));
    } else if (open > 0) void connection.tail.then(() => socket.destroy());
    else writeRefusal(socket, error);
  }
}

/** Writes the answer to what never became a request, where node:http has none to write with, and ends the connection. */
function writeRefusal(socket: Duplex, error: Error): void {
  const { status, headers, body } = refusalOf("code" in error ? String(error.code) : "");
  const lines = Object.entries({ ...headers, "content-length": String(Buffer.byteLength(body)) });
  const head = lines.map(([name, value]) => `${name}: ${value}\r\n`).join("");
  const phrase = STATUS_CODES[status] ?? "Refused";
  socket.end(`HTTP/1.1 ${status} ${phrase}\r\n${head}connection: close\r\n\r\n${body}`);
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
    "content-length": String(Buffer.byteLength(answer.body)),
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
  request.resume();
}
