/**
 * The `node:http` server of the general lane: strict parser, own limits with own answers, one turn at a time per connection.
 *
 * It listens nowhere: connections are given to it, from their first byte or when the fast lane hands one over. Everything that is decided about a
 * request is decided from `rawHeaders`; Node's own opinions (dropped fields above a count, joined duplicates, default answers to Expect, to
 * broken requests and to a missing Host) are turned off one by one. Every socket and stream has an `error` listener from its birth.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Config } from "../../config/schema.ts";
import type { ErrorCode } from "../../domain/errors.ts";
import type { OwnAnswer } from "../answer.ts";
import { originOf, type Peer } from "../forwarding.ts";
import { cleanTrailers, readRequestHead, type RequestHead } from "../headers.ts";
import { RETIRE_IDLE_MS } from "../lane.ts";
import type { Reception } from "../listener.ts";
import { Pace } from "../pace.ts";
import { ClientBody } from "./body.ts";
import { ClientConnection, ClientSide } from "./client.ts";
import { isWebSocket, type UpgradeSocket } from "./upgrade.ts";

/** A WebSocket upgrade as read. */
export interface UpgradeSide {
  readonly peer: Peer;
  readonly head: RequestHead;
  /** The raw field list as received. */
  readonly fields: readonly string[];
  readonly proto: "http" | "https";
  /** What the client speaks. */
  readonly version: "1.1" | "2";
  /** Takes the answer as HTTP/1.1, and then whatever goes through. */
  readonly socket: UpgradeSocket;
  /** What the client sent behind its head. */
  readonly bytes: Buffer;
  /** Answers, and ends the client's side. */
  refuse(status: number, code: ErrorCode, detail: string): void;
  /** The same with any answer of the proxy's own. */
  give(status: number, own: OwnAnswer): void;
  /** All that the client will get was written. */
  linger(): void;
  /** The client's side is closed. */
  over(): void;
}

const NOBODY: { readonly peer: Peer; readonly served: number } = {
  peer: { address: "", subject: "" },
  served: 0,
};

/** What llhttp takes for a request of RTSP, or of ICE; which protocol it read it does not tell. */
const FOREIGN_METHODS: ReadonlySet<string> = new Set([
  "ANNOUNCE",
  "DESCRIBE",
  "FLUSH",
  "GET_PARAMETER",
  "PAUSE",
  "PLAY",
  "RECORD",
  "REDIRECT",
  "SETUP",
  "SET_PARAMETER",
  "SOURCE",
  "TEARDOWN",
]);

/** The general lane's connections. */
export class GeneralServer {
  readonly #server: Server;
  readonly #reception: Reception;
  readonly #proto: "http" | "https";
  readonly #closed: () => void;
  readonly #connections = new Map<Duplex, ClientConnection>();
  /** Who is at the other end of a socket that is about to be a connection. */
  readonly #peers = new WeakMap<Duplex, { readonly peer: Peer; readonly served: number }>();
  #isRetiring = false;

  /** @param closed called whenever a connection has closed */
  constructor(config: Config, reception: Reception, proto: "http" | "https", closed: () => void) {
    this.#reception = reception;
    this.#proto = proto;
    this.#closed = closed;
    const { limits } = config;
    this.#server = createServer({
      insecureHTTPParser: false,
      requireHostHeader: false,
      maxHeaderSize: headRoomOf(config),
      headersTimeout: Math.ceil(limits.headTime),
      // A total would kill honest slow uploads; bodies have an idle limit of their own.
      requestTimeout: 0,
      connectionsCheckingInterval: Math.min(1000, Math.max(50, Math.ceil(limits.headTime / 2))),
      keepAliveTimeout: Math.ceil(limits.keepAlive),
      noDelay: true,
      // Anything but a WebSocket loses its Upgrade and is an ordinary request.
      shouldUpgradeCallback: isWebSocket,
    });
    // Node would drop fields above a count without a sign; the count is checked, and answered, by us.
    this.#server.maxHeadersCount = 0;
    this.#listen();
    // What looks after late heads begins with this event, which does not come by itself to a server that listens nowhere.
    this.#server.emit("listening");
  }

  /** Connections open now. */
  get size(): number {
    return this.#connections.size;
  }

  /** Follows the limits of a new configuration; connections that are here already keep the room for a head that they have. */
  reconfigure(config: Config): void {
    const { limits } = config;
    // Read for each new connection; the platform's types leave it out.
    Object.assign(this.#server, { maxHeaderSize: headRoomOf(config) });
    this.#server.headersTimeout = Math.ceil(limits.headTime);
    this.#server.keepAliveTimeout = Math.ceil(limits.keepAlive);
  }

  /** Takes a connection over for good. @param served requests that it had before, in the other lane */
  adopt(socket: Socket, peer: Peer, served: number): void {
    this.#peers.set(socket, { peer, served });
    this.#server.emit("connection", socket);
    if (this.#isRetiring) this.#connections.get(socket)?.endIdle(RETIRE_IDLE_MS);
    socket.resume();
  }

  /** Answers a connection that will not be served. */
  refuse(socket: Socket, peer: Peer, status: number, code: ErrorCode, detail: string): void {
    this.#peers.set(socket, { peer, served: 0 });
    this.#connected(socket).refuse(status, code, detail);
    socket.resume();
  }

  /** Each connection ends with its present answer, idle ones now. */
  retire(): void {
    this.#isRetiring = true;
    for (const connection of this.#connections.values()) {
      connection.isRetiring = true;
      if (!connection.isBusy && !connection.isDeaf) connection.endIdle(RETIRE_IDLE_MS);
    }
  }

  /** Ends what is left. Returns how many connections had an answer pending. */
  cut(): number {
    let cut = 0;
    for (const connection of this.#connections.values()) {
      if (connection.isBusy) cut++;
      connection.side?.exchange?.close();
      connection.socket.destroy();
    }
    return cut;
  }

  /** Stops the clock of late heads. */
  close(): void {
    this.#server.close();
  }

  #listen(): void {
    const server = this.#server;
    server.on("connection", (socket: Socket) => void this.#connected(socket));
    server.on("request", (request, response) => this.#requested(request, response, false));
    const expected = (request: IncomingMessage, response: ServerResponse): void => {
      // Node takes any value for a 100-continue that has one in it.
      if (expectsContinue(request.rawHeaders)) this.#requested(request, response, true);
      else this.#refuseInTurn(request, response, 417, "only 100-continue is expected here");
    };
    server.on("checkContinue", expected);
    server.on("checkExpectation", expected);
    server.on("connect", (_request: IncomingMessage, socket: Duplex) => {
      socket.on("error", ignore);
      this.#reception.meter.refused(400);
      const connection = this.#connections.get(socket);
      if (connection === undefined) socket.destroy();
      else connection.finally(() => connection.refuse(400, "SPLIT_REQUEST_REFUSED", "CONNECT is not served"));
    });
    server.on("upgrade", (request: IncomingMessage, socket: Duplex, bytes: Buffer) =>
      this.#upgraded(request, socket, bytes),
    );
    server.on("clientError", (error: NodeJS.ErrnoException, socket: Duplex) => this.#broken(error, socket));
  }

  #connected(socket: Socket): ClientConnection {
    const { peer, served } = this.#peers.get(socket) ?? NOBODY;
    const connection = new ClientConnection(socket, peer, () => this.#reception.limits(), served);
    connection.isRetiring = this.#isRetiring;
    socket.on("error", ignore);
    this.#connections.set(socket, connection);
    socket.once("close", () => {
      this.#connections.delete(socket);
      this.#closed();
    });
    return connection;
  }

  #requested(request: IncomingMessage, response: ServerResponse, expects: boolean): void {
    if (FOREIGN_METHODS.has(request.method ?? "")) {
      this.#refuseInTurn(request, response, 400, "the request is not HTTP");
      return;
    }
    request.on("error", ignore);
    response.on("error", ignore);
    const connection = this.#connections.get(request.socket);
    if (connection === undefined) return;
    connection.take({
      request,
      response,
      run: () => this.#run(connection, request, response, expects),
    });
  }

  #run(
    connection: ClientConnection,
    request: IncomingMessage,
    response: ServerResponse,
    expects: boolean,
  ): void {
    const reception = this.#reception;
    const startedAt = reception.clock.mono();
    const limits = reception.limits();
    const fields = request.rawHeaders;
    const head = readRequestHead(
      request.method ?? "",
      request.url ?? "",
      request.httpVersion,
      fields,
      limits.head,
    );
    const origin = originOf(connection.peer.address, fields, limits.trusted, limits.anyTrusted);
    let side: ClientSide | undefined = undefined;
    const body =
      head.framing === "none"
        ? undefined
        : new ClientBody(
            {
              stream: request,
              cut: () => void connection.socket.destroy(),
              fault(status, detail) {
                if (side?.exchange === undefined) connection.refuse(status, "SPLIT_REQUEST_REFUSED", detail);
                else side.exchange.onDownstreamFault(status, detail);
              },
              trailers: () => cleanTrailers(request.rawTrailers),
            },
            limits.body,
            limits.bodyRate > 0 ? new Pace(reception.clock, limits.bodyRate) : undefined,
          );
    const { idleMs } = limits.body;
    // The patience with the answer before this one is over.
    connection.socket.setTimeout(0);
    const made = new ClientSide({
      connection,
      request,
      response,
      method: request.method ?? "",
      head,
      fields,
      origin,
      subject: connection.peer.subject,
      body,
      startedAt,
      idleMs,
      proto: this.#proto,
      version: "1.1",
      dice: reception.dice,
    });
    side = made;
    connection.side = made;
    response.on("drain", () => made.onDrain());
    response.on("close", () => {
      body?.release();
      if (!response.writableFinished) made.exchange?.onDownstreamGone();
      connection.over();
    });
    if (head.refusal !== undefined) {
      this.#refuse(made, head.refusal.status, "SPLIT_REQUEST_REFUSED", head.refusal.detail);
      return;
    }
    if (head.target === "*") {
      // About this server as a whole, so not any upstream's to answer.
      response.writeHead(204);
      response.end();
      return;
    }
    if (expects && request.httpVersion === "1.1") response.writeContinue();
    reception.exchange(made);
  }

  #refuseInTurn(request: IncomingMessage, response: ServerResponse, status: number, detail: string): void {
    request.on("error", ignore);
    response.on("error", ignore);
    const connection = this.#connections.get(request.socket);
    connection?.take({
      request,
      response,
      run: () => {
        this.#reception.meter.refused(status);
        response.on("close", () => connection.over());
        connection.refuse(status, "SPLIT_REQUEST_REFUSED", detail, request.method !== "HEAD");
      },
    });
  }

  #refuse(side: ClientSide, status: number, code: ErrorCode, detail: string): void {
    this.#reception.meter.refused(status);
    side.refuse(status, code, detail);
  }

  #upgraded(request: IncomingMessage, duplex: Duplex, bytes: Buffer): void {
    // Node took its own listener off with the event.
    duplex.on("error", ignore);
    request.on("error", ignore);
    const connection = this.#connections.get(duplex);
    // And the one for `drain` with it: an answer that is still going out before this turn would stop for ever.
    duplex.on("drain", () => connection?.side?.onDrain());
    if (connection === undefined || connection.isDeaf) {
      if (connection === undefined) duplex.destroy();
      return;
    }
    connection.take({
      request,
      response: undefined,
      run: () => {
        connection.finally(ignore);
        const limits = this.#reception.limits();
        const { method = "", url = "", httpVersion, rawHeaders } = request;
        const head = readRequestHead(method, url, httpVersion, rawHeaders, limits.head);
        const refusal = !isWebSocket(request)
          ? { status: 501, detail: "this upgrade is not served" }
          : head.framing === "none"
            ? head.refusal
            : { status: 400, detail: "an upgrade with a body" };
        if (refusal !== undefined) {
          this.#reception.meter.refused(refusal.status);
          connection.refuse(refusal.status, "SPLIT_REQUEST_REFUSED", refusal.detail);
          return;
        }
        this.#reception.upgrade({
          peer: connection.peer,
          head,
          fields: rawHeaders,
          proto: this.#proto,
          version: "1.1",
          socket: connection.socket,
          bytes,
          refuse: (status, code, detail) => connection.refuse(status, code, detail),
          give: (status, own) => connection.give(status, own),
          linger: () => connection.linger(),
          over: () => connection.over(),
        });
      },
    });
  }

  /** A request that is not HTTP, a head that is late or too large, or a lost socket. */
  #broken(error: NodeJS.ErrnoException, socket: Duplex): void {
    const connection = this.#connections.get(socket);
    if (
      connection === undefined ||
      !socket.writable ||
      error.code === "ECONNRESET" ||
      error.code === "EPIPE"
    ) {
      socket.destroy();
      return;
    }
    if (connection.isDeaf && !connection.isBusy) return;
    const [status, detail] = troubleOf(error.code ?? "");
    if (connection.isReading) {
      // The body of the present request is what is broken.
      const exchange = connection.side?.exchange;
      if (exchange !== undefined) {
        // The client stopped inside its body: it left, it did not send anything wrong.
        if (error.code === "HPE_INVALID_EOF_STATE") exchange.onDownstreamGone();
        else exchange.onDownstreamFault(status, detail);
        return;
      }
      // It was answered by us without its body, and that answer may be under way.
    }
    this.#reception.meter.refused(status);
    // Never in place of the answer of a request before it.
    connection.finally(() => connection.refuse(status, "SPLIT_REQUEST_REFUSED", detail));
  }
}

/** Room for the target beside the fields: each has a limit and an answer of its own. */
function headRoomOf({ limits }: Config): number {
  return limits.head + limits.url;
}

/** Whether the one thing expected is 100-continue (RFC 9110 §10.1.1). */
function expectsContinue(fields: readonly string[]): boolean {
  const expected = fields.filter((_, at) => at % 2 === 1 && fields[at - 1]?.toLowerCase() === "expect");
  return expected.length === 1 && expected[0]?.toLowerCase() === "100-continue";
}

function troubleOf(code: string): readonly [number, string] {
  if (code === "HPE_HEADER_OVERFLOW") return [431, "the request head is too large"];
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return [408, "the request head took too long"];
  if (code === "HPE_INVALID_VERSION") return [505, "only HTTP/1.0 and HTTP/1.1 are spoken here"];
  return [400, "the request is not HTTP"];
}

function ignore(): void {
  // what follows from it is told by `close`
}
