/**
 * The only door to http-proxy-3: WebSocket upgrades, and nothing else.
 *
 * Its request path must not carry HTTP (it removes Transfer-Encoding from a chunked DELETE and sends the body all the same), so it gets
 * only what was checked before: a GET without a body, `Connection: Upgrade`, version 13. It is given a request object of ours, so that
 * the fields sent are the ones our table allows, and the target goes out byte for byte. Of the answers it sees a 101 that was checked; any other is
 * read and passed on here.
 */

import { Agent, type ClientRequest, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { ProxyServer } from "http-proxy-3";
import type { Reason } from "../../domain/outcome.ts";
import type { Millis } from "../../domain/units.ts";
import type { Dialler } from "../dial.ts";
import { FAILURES, failureOf, type Failure } from "../failure.ts";
import { objectOf } from "../h2/fields.ts";
import { readResponseFields } from "../headers.ts";
import { fieldOf } from "../request.ts";
import { acceptOf, Carrier } from "./carrier.ts";

/** Whether a request asks for a WebSocket the way RFC 6455 §4.1 says: what is no such request is an ordinary one. */
export function isWebSocket(request: IncomingMessage): boolean {
  const fields = request.rawHeaders;
  return (
    request.method === "GET" &&
    request.httpVersion === "1.1" &&
    fieldOf(fields, "upgrade")?.toLowerCase() === "websocket" &&
    fieldOf(fields, "sec-websocket-version") === "13" &&
    (fieldOf(fields, "connection") ?? "")
      .toLowerCase()
      .split(/[\t ]*,[\t ]*/)
      .includes("upgrade") &&
    fieldOf(fields, "transfer-encoding") === undefined &&
    (fieldOf(fields, "content-length") ?? "0") === "0"
  );
}

/** The client's side of a tunnel: a TCP socket, or what looks like one. */
export interface UpgradeSocket extends Duplex {
  setTimeout(ms: number, callback?: () => void): unknown;
}

/** One upgrade to carry out. */
export interface Upgrade {
  readonly socket: UpgradeSocket;
  /** What the client speaks. */
  readonly version: "1.1" | "2";
  /** What the client sent behind its head. */
  readonly bytes: Buffer;
  /** How connections to the endpoint are opened. */
  readonly dialler: Dialler;
  readonly target: string;
  /** End-to-end fields, without Connection and Upgrade. */
  readonly fields: readonly string[];
  /** Set-Cookie value to add to the answer; empty: none. */
  readonly cookie: string;
  readonly connectMs: Millis;
  readonly headersMs: Millis;
  /** Of the body of an answer that opens nothing. */
  readonly idleMs: Millis;
  readonly now: () => Millis;
  /** The upstream said 101: the tunnel is open. */
  opened(latencyUs: number): void;
  /** The upstream answered something else, which is relayed. */
  answered(status: number, latencyUs: number): void;
  /** No answer from the upstream; `latencyUs` negative when it is not known. */
  failed(reason: Reason, status: number, latencyUs: number): void;
  /** Answers the client with a failure and ends its connection, whether or not the client ends its side. */
  refuse(failure: Failure): void;
  /** All that the client will get was written. */
  ending(): void;
  /** The client's connection is closed. Always comes, last. */
  closed(): void;
}

const ALPN: readonly string[] = ["http/1.1"];
const NOTHING = Buffer.alloc(0);

/** What http-proxy-3 listens to a 101 with: it tells the client and joins both sides. */
type Opens = (response: IncomingMessage, tunnel: Socket, head: Buffer) => void;

const proxy = new ProxyServer({ xfwd: false, ws: true });
// A request of our own is always given a callback; the listener keeps the emitter from throwing.
proxy.on("error", ignore);

const pending = new WeakMap<object, (upstream: ClientRequest) => void>();
proxy.on("proxyReqWs", (upstream, request) => pending.get(request)?.(upstream));

/** Starts an upgrade. Returns what closes both sides. */
export function startUpgrade(upgrade: Upgrade): { close(): void } {
  const carrier = new Http1Carrier(upgrade);
  carrier.start();
  return carrier;
}

/** One upgrade over a connection of its own. */
class Http1Carrier extends Carrier {
  #request: ClientRequest | undefined = undefined;
  #tunnel: Socket | undefined = undefined;

  start(): void {
    const { socket, dialler, connectMs } = this.upgrade;
    this.arm(connectMs, FAILURES.connectTimeout);
    const facade = requestFor(this.upgrade);
    pending.set(facade, (made) => {
      this.#request = made;
      // http-proxy-3 normalises the path; it has to go out as it came.
      made.path = this.upgrade.target;
    });
    const target = `http://${dialler.address.authority}`;
    const agent = new Opener(dialler, () => this.sent());
    try {
      proxy.ws(facade, socket, NOTHING, { target, agent }, ignore);
      if (this.#request !== undefined) this.#listen(this.#request);
    } catch {
      this.fail(FAILURES.internal);
    }
  }

  protected override stop(): void {
    this.#request?.destroy();
    this.#tunnel?.destroy();
  }

  /** Of the library only the opening is wanted: it would end a broken answer as if that were whole. */
  #listen(request: ClientRequest): void {
    const [opens] = request.listeners("upgrade") as Opens[];
    for (const event of ["error", "response", "upgrade"]) request.removeAllListeners(event);
    request.on("error", (error) => this.fail(failureOf(error, this.isSent ? "head" : "connect")));
    request.on("response", (response) => this.#answered(request, response));
    request.on("upgrade", (response, tunnel: Socket, head) => {
      this.#tunnel = tunnel;
      tunnel.on("error", () => this.close());
      if (!this.isAsked || opens === undefined || !this.#switches(response)) {
        this.fail(FAILURES.malformed);
        this.stop();
        return;
      }
      for (const early of this.opened()) tunnel.write(early);
      opens(response, tunnel, head);
    });
  }

  #answered(request: ClientRequest, response: IncomingMessage): void {
    const { statusCode = 0, statusMessage = "", rawHeaders } = response;
    response.on("error", ignore);
    if (!this.relay(statusCode, statusMessage, rawHeaders, response)) return;
    const cut = (): void => {
      if (!response.complete) this.close();
    };
    // Node takes a body without a length for whole when its connection is reset, but says this before; what it says behind the end is of bytes that
    // nobody asked for.
    request.on("error", cut);
    response.on("close", cut);
    response.on("end", () => {
      if (response.complete) this.end();
    });
  }

  /** Whether a 101 opens what was asked for (RFC 6455 §4.1, RFC 9110 §7.8); it has the fields then that the client is to see. */
  #switches(response: IncomingMessage): boolean {
    const { version, fields, cookie } = this.upgrade;
    const { rawHeaders } = response;
    const head = readResponseFields(101, "", rawHeaders);
    if (head.malformed !== "" || fieldOf(rawHeaders, "upgrade")?.toLowerCase() !== "websocket") return false;
    // Of a client that has no key of its own we are the one who has to look.
    if (version === "2" && fieldOf(rawHeaders, "sec-websocket-accept") !== acceptOf(fields)) return false;
    if (cookie !== "") head.fields.push("set-cookie", cookie);
    response.headers = { connection: "Upgrade", upgrade: "websocket", ...recordOf(head.fields) };
    return true;
  }
}

/** Opens the connection of one upgrade, TLS and all; the library takes it for plain HTTP, and looks nothing up. */
class Opener extends Agent {
  readonly #dialler: Dialler;
  readonly #opened: () => void;

  constructor(dialler: Dialler, opened: () => void) {
    super({ keepAlive: false });
    this.#dialler = dialler;
    this.#opened = opened;
  }

  override createConnection(): Socket {
    const { socket } = this.#dialler.dial(ALPN);
    // The request, which waits for no more than this, goes out with it.
    socket.once(this.#dialler.address.isTls ? "secureConnect" : "connect", this.#opened);
    return socket;
  }
}

/** What http-proxy-3 reads of a request: method, target, fields, version. */
function requestFor({ socket, fields }: Upgrade): IncomingMessage {
  // It uses just these of an IncomingMessage; the real one would bring fields that must not be sent.
  return {
    method: "GET",
    url: "/",
    headers: { ...recordOf(fields), connection: "Upgrade", upgrade: "websocket" },
    httpVersion: "1.1",
    httpVersionMajor: 1,
    socket,
    connection: socket,
  } as unknown as IncomingMessage;
}

/** Fields in the form in which they are handed to and by the library: one value by itself, several as a list. */
function recordOf(fields: readonly string[]): Record<string, string | string[]> {
  const entries = Object.entries(objectOf(fields));
  return Object.fromEntries(
    entries.map(([name, values]) => [name, values.length === 1 ? values.join() : values]),
  );
}

function ignore(): void {
  // what follows from it is told by the listeners of ours
}
