/**
 * HTTP/2 from clients, over TLS (chosen by ALPN) or with prior knowledge: sessions on `node:http2`, each stream one exchange.
 *
 * It listens nowhere: connections are given to it. Streams at the same time, heads, resets and frames without a request are bounded, and a
 * client that goes beyond is told ENHANCE_YOUR_CALM (reliability.md 48). Sources: RFC 9113, RFC 8441.
 */

import {
  constants,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { Socket } from "node:net";
import type { Config } from "../../config/schema.ts";
import { originOf, type Peer } from "../forwarding.ts";
import { ClientBody } from "../general/body.ts";
import { cleanTrailers, type Refusal } from "../headers.ts";
import { RETIRE_IDLE_MS } from "../lane.ts";
import type { Limits, Reception } from "../listener.ts";
import { Pace } from "../pace.ts";
import { Calm, type Flood } from "./calm.ts";
import { readHttp2Head, sizeOf, type Http2Head } from "./request.ts";
import { Http2Side } from "./stream.ts";
import { isGrpc } from "./fields.ts";
import { WebSocketStream } from "./websocket.ts";

const { NGHTTP2_ENHANCE_YOUR_CALM, NGHTTP2_NO_ERROR, NGHTTP2_PROTOCOL_ERROR, NGHTTP2_REFUSED_STREAM } =
  constants;
const STREAM_WINDOW = 64 * 1024 - 1;
const SESSION_WINDOW = 1024 * 1024;
/** Room for what is refused by us with an answer, so that the platform does not refuse it without one. */
const HEAD_ROOM = 32 * 1024;
const LAST_STREAM = 2 ** 31 - 1;
const LOOK_MS = 1000;
/**
 * The platform's account of a session's memory keeps for ever what waited to be written when a stream was reset, and refuses every stream from some 150
 * aborted downloads on; the memory itself is given back, and is bounded here by back-pressure. So the account has no limit.
 */
const MEMORY_MB = 1_000_000;
/** What was said last has so long to arrive; then the connection is closed, whatever its client does. */
const LINGER_MS = 1000;
// Without an error the platform would leave the code out.
const FLOOD = new Error("the client floods");
const LATE = new Error("the client's preface is late");

/** Something on a session that can be ended with an answer pending. */
interface Open {
  /** It was ended on this side. */
  readonly isOver: boolean;
  readonly stream: ServerHttp2Stream;
  /** Ends it; whether an answer was pending. */
  cut(): boolean;
}

/** One connection. */
interface Connection {
  readonly session: ServerHttp2Session;
  readonly socket: Socket;
  readonly peer: Peer;
  readonly calm: Calm;
  readonly open: Set<Open>;
  isFresh: boolean;
  /** The time of an idle connection was over, but it was not idle. */
  isLate: boolean;
  /** Requests so far. */
  served: number;
  linger: NodeJS.Timeout | undefined;
}

/** The HTTP/2 connections of one listener. */
export class Http2Server {
  readonly #reception: Reception;
  readonly #proto: "http" | "https";
  readonly #closed: () => void;
  readonly #connections = new Set<Connection>();
  #config: Config;
  #isRetiring = false;
  #timer: NodeJS.Timeout | undefined = undefined;

  /** @param closed called whenever a connection has closed */
  constructor(config: Config, reception: Reception, proto: "http" | "https", closed: () => void) {
    this.#config = config;
    this.#reception = reception;
    this.#proto = proto;
    this.#closed = closed;
  }

  /** Connections open now. */
  get size(): number {
    return this.#connections.size;
  }

  /** Follows the limits of a new configuration; open connections keep the settings that they were told. */
  reconfigure(config: Config): void {
    this.#config = config;
  }

  /** Takes a connection over for good; what was read of it has been put back. */
  adopt(socket: Socket, peer: Peer): void {
    const { limits } = this.#config;
    const { clock } = this.#reception;
    const session = performServerHandshake(socket, {
      settings: {
        enablePush: false,
        enableConnectProtocol: true,
        initialWindowSize: STREAM_WINDOW,
        maxConcurrentStreams: limits.streams,
        maxHeaderListSize: limits.head + limits.url + HEAD_ROOM,
      },
      maxHeaderListPairs: limits.fields * 2 + 64,
      // The platform would leave such a field out without a word; here its request is refused.
      strictFieldWhitespaceValidation: false,
      // What an upstream sends twice goes on twice, as over HTTP/1.1.
      strictSingleValueFields: false,
      maxSessionMemory: MEMORY_MB,
      maxOutstandingPings: 10,
      maxSettings: 32,
      maxSessionInvalidFrames: 100,
      maxSessionRejectedStreams: 100,
      // Ours counts first, and says why.
      streamResetBurst: limits.resets * 10,
      streamResetRate: limits.resets,
    });
    const connection: Connection = {
      session,
      socket,
      peer,
      calm: new Calm(limits, clock.mono(), socket.bytesRead),
      open: new Set(),
      isFresh: true,
      isLate: false,
      served: 0,
      linger: undefined,
    };
    this.#connections.add(connection);
    socket.once("close", () => this.#left(connection));
    this.#listen(connection);
    session.setLocalWindowSize(SESSION_WINDOW);
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref();
    if (this.#isRetiring) this.#retireOne(connection);
  }

  /** Each connection takes no more requests and ends with its present answers; idle ones end soon. */
  retire(): void {
    this.#isRetiring = true;
    for (const connection of this.#connections) this.#retireOne(connection);
  }

  /** Ends what is left. Returns how many exchanges had an answer pending. */
  cut(): number {
    let cut = 0;
    for (const connection of this.#connections) {
      const { session, socket, open } = connection;
      for (const each of open) if (each.cut()) cut++;
      // What was ended with a word, and not with a reset, has a moment to arrive.
      if ([...open].some(({ stream }) => !stream.destroyed)) {
        this.#close(connection);
        this.#lingering(connection);
        continue;
      }
      session.destroy();
      // The platform would wait for a client that reads nothing.
      socket.destroy();
    }
    return cut;
  }

  #listen(connection: Connection): void {
    const { session, socket } = connection;
    const { limits } = this.#config;
    // What follows from it is told by `close`.
    session.on("error", ignore);
    session.on("stream", (stream, _headers, _flags, raw) => this.#begun(connection, stream, raw));
    session.on("ping", () => this.#see(connection, connection.calm.frame()));
    session.on("remoteSettings", () => {
      connection.isFresh = false;
      this.#see(connection, connection.calm.frame());
    });
    // The preface, the first SETTINGS and the first request. Of a later one that is not complete the platform shows nothing: it is cut as an idle
    // connection is.
    session.setTimeout(Math.ceil(limits.headTime));
    session.on("timeout", () => {
      if (connection.isFresh) this.#end(connection, LATE, NGHTTP2_PROTOCOL_ERROR);
      else if (connection.open.size > 0) connection.isLate = true;
      else this.#close(connection);
    });
    // HTTP/2 has no use for a connection that is open in one direction.
    socket.once("end", () => this.#end(connection, undefined, NGHTTP2_NO_ERROR));
  }

  /** First no more requests, then, when what was on its way has come, no more at all (RFC 9113 §6.8). */
  #retireOne(connection: Connection): void {
    const { session } = connection;
    if (session.closed || session.destroyed) return;
    session.goaway(NGHTTP2_NO_ERROR, LAST_STREAM);
    const timer = setTimeout(() => {
      this.#close(connection);
    }, RETIRE_IDLE_MS);
    session.once("close", () => clearTimeout(timer));
  }

  /** No more requests; the connection ends with the last answer. */
  #close(connection: Connection): void {
    const { session, open } = connection;
    if (!session.closed && !session.destroyed) session.close();
    if (open.size === 0) this.#lingering(connection);
  }

  /** Ends it now. */
  #end(connection: Connection, error: Error | undefined, code: number): void {
    if (!connection.session.destroyed) connection.session.destroy(error, code);
    this.#lingering(connection);
  }

  /** The platform waits until its client has read the last byte and closes too: that may be never. */
  #lingering(connection: Connection): void {
    const { socket } = connection;
    if (socket.destroyed) return;
    connection.linger ??= setTimeout(() => socket.destroy(), LINGER_MS);
  }

  #left(connection: Connection): void {
    this.#connections.delete(connection);
    clearTimeout(connection.linger);
    connection.session.destroy();
    if (this.#connections.size === 0 && this.#timer !== undefined) {
      clearInterval(this.#timer);
      this.#timer = undefined;
    }
    this.#closed();
  }

  #look(): void {
    const now = this.#reception.clock.mono();
    for (const connection of this.#connections) {
      const { session, socket, open } = connection;
      // Ended by the platform, or by its client's GOAWAY.
      if ((session.closed || session.destroyed) && open.size === 0) this.#lingering(connection);
      const { bytesRead, bytesWritten } = socket;
      let waiting = 0;
      for (const each of open) waiting += each.stream.readableLength;
      this.#see(connection, connection.calm.look(now, bytesRead - waiting, bytesWritten));
    }
  }

  #see(connection: Connection, flood: Flood | undefined): void {
    if (flood === undefined || connection.session.destroyed) return;
    this.#reception.meter.event(flood);
    this.#end(connection, FLOOD, NGHTTP2_ENHANCE_YOUR_CALM);
  }

  #begun(connection: Connection, stream: ServerHttp2Stream, raw: readonly string[]): void {
    stream.on("error", ignore);
    connection.calm.head(sizeOf(raw));
    // It may have been reset in the same segment: then nobody wants it.
    if (stream.aborted || stream.destroyed) {
      this.#see(connection, connection.calm.reset());
      return;
    }
    const limits = this.#reception.limits();
    if (connection.served === 0) connection.session.setTimeout(Math.ceil(limits.keepAliveMs));
    if (++connection.served > limits.requests) {
      // It came in the same segment as the last: nothing was done about it, so its client may send it again.
      stream.close(NGHTTP2_REFUSED_STREAM);
      return;
    }
    const request = readHttp2Head(raw, !stream.endAfterHeaders, limits.head);
    if (request.protocol !== "") this.#connect(connection, stream, request);
    else this.#requested(connection, stream, request, limits);
    // The last one is answered; what comes behind it is not, and its client sends it again elsewhere.
    if (connection.served >= limits.requests) this.#close(connection);
  }

  #requested(connection: Connection, stream: ServerHttp2Stream, request: Http2Head, limits: Limits): void {
    const reception = this.#reception;
    const { head, fields } = request;
    let side: Http2Side | undefined = undefined;
    const body =
      head.framing === "none"
        ? undefined
        : this.#bodyOf(stream, limits, isGrpc(fields), (status, detail) => {
            if (side?.exchange === undefined) side?.refuse(status, "SPLIT_REQUEST_REFUSED", detail);
            else side.exchange.onDownstreamFault(status, detail);
          });
    // An END_STREAM that comes apart from the head is still to be read.
    if (body === undefined) stream.resume();
    const made = new Http2Side({
      ...request,
      stream,
      version: "2",
      body,
      origin: originOf(connection.peer.address, fields, limits.trusted, limits.anyTrusted),
      subject: connection.peer.subject,
      startedAt: reception.clock.mono(),
      proto: this.#proto,
      dice: reception.dice,
      idleMs: limits.body.idleMs,
    });
    side = made;
    this.#opened(connection, stream, {
      stream,
      get isOver() {
        return made.hasEnded;
      },
      cut() {
        const isPending = made.exchange !== undefined;
        made.exchange?.close();
        return isPending;
      },
    });
    const { refusal } = head;
    if (refusal !== undefined) {
      reception.meter.refused(refusal.status);
      made.refuse(refusal.status, "SPLIT_REQUEST_REFUSED", refusal.detail);
    } else if (head.target === "*") {
      // About this server as a whole, so not any upstream's to answer.
      stream.respond([":status", "204"], { endStream: true });
    } else {
      // Upstreams are never asked to: their answer would be one more that somebody waits for (reliability.md 15).
      if (request.expects && body !== undefined) stream.additionalHeaders({ ":status": 100 });
      reception.exchange(made);
    }
  }

  #bodyOf(
    stream: ServerHttp2Stream,
    limits: Limits,
    isMessages: boolean,
    fault: (status: number, detail: string) => void,
  ): ClientBody {
    let trailers: readonly string[] = [];
    stream.on("trailers", (_headers: unknown, _flags: unknown, raw: readonly string[]) => {
      trailers = isMessages ? raw : cleanTrailers(raw);
    });
    stream.pause();
    const { bodyRate } = limits;
    return new ClientBody(
      { stream, cut: () => stream.close(NGHTTP2_NO_ERROR), fault, trailers: () => trailers },
      limits.body,
      // Messages come when there is something to say.
      bodyRate > 0 && !isMessages ? new Pace(this.#reception.clock, bodyRate) : undefined,
    );
  }

  /** An extended CONNECT: a WebSocket, or nothing that is served (RFC 8441). */
  #connect(connection: Connection, stream: ServerHttp2Stream, request: Http2Head): void {
    const reception = this.#reception;
    const side = new WebSocketStream(stream, request, connection.peer, this.#proto, reception.dice);
    this.#opened(connection, stream, {
      stream,
      get isOver() {
        return side.destroyed;
      },
      cut() {
        stream.close(NGHTTP2_NO_ERROR);
        return true;
      },
    });
    const refusal =
      request.protocol === "websocket"
        ? (request.head.refusal ?? bodyTrouble(request))
        : { status: 501, detail: "this protocol is not served" };
    if (refusal === undefined) {
      reception.upgrade(side);
      return;
    }
    reception.meter.refused(refusal.status);
    side.refuse(refusal.status, "SPLIT_REQUEST_REFUSED", refusal.detail);
  }

  #opened(connection: Connection, stream: ServerHttp2Stream, open: Open): void {
    connection.open.add(open);
    // Whoever reads it has begun to, or stopped it, before: this does not make it flow.
    stream.on("data", (chunk: Buffer) => connection.calm.body(chunk.length));
    // Before the stream's own listener, which takes it for ended then.
    stream.prependOnceListener("aborted", () => {
      if (!open.isOver) this.#see(connection, connection.calm.reset());
    });
    stream.once("close", () => {
      connection.open.delete(open);
      if (!stream.readableEnded) connection.calm.unread();
      if (connection.open.size > 0) return;
      const { session } = connection;
      if (session.closed) this.#lingering(connection);
      else if (connection.isLate && !session.destroyed) {
        connection.isLate = false;
        session.setTimeout(Math.ceil(this.#config.limits.keepAlive));
      }
    });
  }
}

/** What follows the head of a WebSocket is its own, and no body: the upstream would wait for one (reliability.md 32). */
function bodyTrouble({ head }: Http2Head): Refusal | undefined {
  return head.length > 0 ? { status: 400, detail: "an upgrade with a body" } : undefined;
}

function ignore(): void {
  // what follows from it is told by `close`
}
