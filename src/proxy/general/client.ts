/**
 * The client's side of the general lane: one `node:http` connection with its turns, and one exchange's `Downstream` on it.
 *
 * Node emits every pipelined request at once; here a connection has one turn at a time, so that one client cannot become a hundred upstream
 * requests and answers stay in order (reliability.md A8). After a refusal a connection is deaf: whatever Node still emits of it is
 * ignored (A9).
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { ErrorCode } from "../../domain/errors.ts";
import { ownAnswer, phraseOf, rawAnswer, type OwnAnswer } from "../answer.ts";
import type { Peer } from "../forwarding.ts";
import type { FieldedHead } from "../headers.ts";
import type { Downstream } from "../lane.ts";
import type { Limits } from "../listener.ts";
import { fieldOf } from "../request.ts";
import { RequestSide, type RequestParts } from "./side.ts";

/** After a refusal the client's bytes are still read for so long, or a reset would erase the answer before it is read. */
const LINGER_MS = 1000;
const EMPTY = Buffer.alloc(0);

/** One request waiting for, or having, its turn. */
export interface Turn {
  readonly request: IncomingMessage;
  /** Undefined for an upgrade, whose socket left Node's hands. */
  readonly response: ServerResponse | undefined;
  run(): void;
}

/** One client connection. */
export class ClientConnection {
  readonly socket: Socket;
  readonly peer: Peer;
  /** The exchange of the present turn, once it is routed. */
  side: ClientSide | undefined;
  /** The process is going away: every answer ends its connection. */
  isRetiring = false;
  #turn: Turn | undefined;
  #queue: Turn[] = [];
  #deaf = false;
  #last: (() => void) | undefined;
  readonly #limits: () => Limits;
  #served: number;
  #isPaused = false;

  /** @param served requests that it had in the other lane */
  constructor(socket: Socket, peer: Peer, limits: () => Limits, served: number) {
    this.socket = socket;
    this.peer = peer;
    this.#limits = limits;
    this.#served = served;
  }

  get isBusy(): boolean {
    return this.#turn !== undefined || this.#queue.length > 0;
  }

  /** Nothing more is served behind the present answer: the process is going away, and no request waits. */
  get isLast(): boolean {
    return this.isRetiring && this.#queue.length === 0;
  }

  /** Whether nothing more is heard from it. */
  get isDeaf(): boolean {
    return this.#deaf;
  }

  /** Whether the request whose turn it is has not been read to its end. */
  get isReading(): boolean {
    return this.#turn?.request.complete === false;
  }

  /** A request, when it is its turn. Ignored on a deaf connection. */
  take(turn: Turn): void {
    if (this.#deaf) return;
    const { requests, pipeline } = this.#limits();
    if (++this.#served >= requests && turn.response !== undefined) turn.response.shouldKeepAlive = false;
    // What follows a request that ends the connection is not forwarded.
    if (turn.response?.shouldKeepAlive === false) this.#deaf = true;
    if (this.#turn === undefined) {
      this.#begin(turn);
      return;
    }
    this.#queue.push(turn);
    // Not at once: Node resumes a socket behind each request that it has read to its end.
    if (this.#queue.length >= pipeline) process.nextTick(holdBack, this);
  }

  /** Reads no more while as many requests wait as may; what was read already has its turn all the same. */
  holdBack(): void {
    if (this.#queue.length < this.#limits().pipeline) return;
    this.#isPaused = true;
    this.socket.pause();
  }

  /** Runs `last` when every request that was read to its end has been answered; nothing more is heard. */
  finally(last: () => void): void {
    this.#deaf = true;
    // Its end will not come.
    if (this.#queue.at(-1)?.request.complete === false) this.#queue.pop();
    if (this.isBusy) this.#last ??= last;
    else last();
  }

  /** Answers raw and ends the connection; nothing more is heard. */
  refuse(status: number, code: ErrorCode, detail: string, withBody = true): void {
    this.give(status, ownAnswer(status, code, detail, ""), withBody);
  }

  /** The same with any answer of the proxy's own. */
  give(status: number, own: OwnAnswer, withBody = true): void {
    this.#deaf = true;
    this.#queue = [];
    const { socket } = this;
    if (!socket.writable) {
      socket.destroy();
      return;
    }
    socket.end(rawAnswer(status, own, withBody));
    this.linger();
  }

  /** Ends the connection when no request has come for so long. */
  endIdle(ms: number): void {
    const { socket } = this;
    const timer = setTimeout(() => {
      if (!this.isBusy) socket.destroySoon();
    }, ms);
    socket.once("close", () => clearTimeout(timer));
  }

  /** Reads and drops what the client still sends, for a short time, then destroys. */
  linger(): void {
    const { socket } = this;
    this.#turn?.request.on("data", ignore);
    this.#turn?.request.resume();
    socket.resume();
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    timer.unref();
    socket.once("end", () => socket.destroy());
    socket.once("close", () => clearTimeout(timer));
  }

  /** The present turn is over: its answer was written, or its connection is lost. */
  over(): void {
    this.#turn = undefined;
    this.side = undefined;
    const next = this.#queue.shift();
    if (next !== undefined) {
      if (this.#isPaused) this.socket.resume();
      this.#isPaused = false;
      if (!this.socket.destroyed) this.#begin(next);
    } else if (this.#last !== undefined) {
      const last = this.#last;
      this.#last = undefined;
      if (!this.socket.destroyed) last();
    } else if (this.isRetiring) this.socket.destroySoon();
  }

  #begin(turn: Turn): void {
    this.#turn = turn;
    turn.run();
  }
}

/** What is known of a request when its turn comes. */
export interface SideParts extends RequestParts {
  readonly connection: ClientConnection;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** A client that takes no byte of its answer for so long is cut, milliseconds. */
  readonly idleMs: number;
}

/** `Downstream` over `node:http`. */
export class ClientSide extends RequestSide implements Downstream<FieldedHead> {
  readonly #connection: ClientConnection;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;
  readonly #idleMs: number;
  #trailers: readonly string[] = [];
  #wrote = false;
  #closeDelimited = false;

  constructor(parts: SideParts) {
    super(parts);
    this.#connection = parts.connection;
    this.#request = parts.request;
    this.#response = parts.response;
    this.#idleMs = parts.idleMs;
  }

  informational({ status, fields }: FieldedHead): void {
    if (this.#request.httpVersion !== "1.1" || this.#response.headersSent) return;
    try {
      // From Node 24.18 on; before, a 103 is written with its Link alone.
      if ("writeInformation" in this.#response) this.#response.writeInformation(status, fields);
      else writeHint(this.#response, status, fields);
    } catch {
      // A hint that Node does not take is only a hint: the answer comes all the same.
    }
  }

  respond({ status, reason, fields }: FieldedHead, cookie: string): boolean {
    const response = this.#response;
    if (cookie !== "") fields.push("set-cookie", cookie);
    if (this.#connection.isLast) response.shouldKeepAlive = false;
    try {
      response.writeHead(status, phraseOf(status, reason), fields);
    } catch {
      return false;
    }
    this.#closeDelimited = !response.chunkedEncoding && fieldOf(fields, "content-length") === undefined;
    // The head goes out with the first piece of the body if that is here already, else by itself.
    process.nextTick(flush, this);
    return true;
  }

  /** Sends the head when no body has taken it along. An empty write keeps latin1, `flushHeaders` would not. */
  flush(): void {
    if (this.#wrote || this.#response.writableEnded || this.#response.destroyed) return;
    this.#response.write(EMPTY);
  }

  write(chunk: Buffer): boolean {
    this.#wrote = true;
    const taken = this.#response.write(chunk);
    if (!taken) this.#patience();
    return taken;
  }

  get isStalled(): boolean {
    return this.#response.writableLength > 0;
  }

  /** The client took all that was written. */
  onDrain(): void {
    if (!this.#response.writableEnded) this.#connection.socket.setTimeout(0);
    this.attempt?.resume();
  }

  /** A client that takes nothing is not waited for without end. Node looks at the kernel's progress before it lets the time be over. */
  #patience(): void {
    this.#connection.socket.setTimeout(this.#idleMs);
  }

  trailers(fields: readonly string[]): void {
    this.#trailers = fields;
  }

  end(): void {
    const response = this.#response;
    const trailers = this.#trailers;
    if (trailers.length > 0 && response.chunkedEncoding) {
      const pairs: [string, string][] = [];
      for (let at = 0; at < trailers.length; at += 2)
        pairs.push([trailers[at] ?? "", trailers[at + 1] ?? ""]);
      try {
        response.addTrailers(pairs);
      } catch {
        // a trailer is never worth the body that came before it
      }
    }
    response.end();
    if (this.#connection.socket.writableLength > 0) this.#patience();
  }

  cut(): void {
    const { socket } = this.#connection;
    // Without a length or chunks a plain end would look like a whole body. Of a socket whose end is on its way the platform would lose the
    // descriptor: a reset fails there, and it is taken for closed all the same.
    if (this.#closeDelimited && this.#response.headersSent && !socket.writableEnded) socket.resetAndDestroy();
    else socket.destroy();
  }

  answer(status: number, code: ErrorCode, detail: string, cookie: string): void {
    this.give(status, ownAnswer(status, code, detail, cookie));
  }

  give(status: number, own: OwnAnswer): void {
    const response = this.#response;
    if (response.headersSent || response.destroyed) {
      this.cut();
      return;
    }
    // The rest of a body that nobody reads must not be taken for the next request.
    if (this.body !== undefined && !this.#request.complete) {
      this.#connection.give(status, own, this.method !== "HEAD");
      return;
    }
    if (this.#connection.isLast) response.shouldKeepAlive = false;
    response.writeHead(status, [...own.fields]);
    response.end(own.body);
  }

  refuse(status: number, code: ErrorCode, detail: string): void {
    if (this.#response.headersSent) this.cut();
    else this.#connection.refuse(status, code, detail, this.method !== "HEAD");
  }
}

function writeHint(response: ServerResponse, status: number, fields: readonly string[]): void {
  if (status === 102) {
    response.writeProcessing();
    return;
  }
  const link: string[] = [];
  for (let at = 0; at < fields.length; at += 2)
    if ((fields[at] ?? "").toLowerCase() === "link") link.push(fields[at + 1] ?? "");
  if (link.length > 0) response.writeEarlyHints({ link });
}

function holdBack(connection: ClientConnection): void {
  connection.holdBack();
}

function flush(side: ClientSide): void {
  side.flush();
}

function ignore(): void {
  // dropped
}
