/**
 * The only door to http-proxy-3: WebSocket upgrades, and nothing else.
 *
 * Its request path must not carry HTTP (it removes Transfer-Encoding from a chunked DELETE and sends the body all the same), so it gets
 * only what was checked before: a GET without a body, `Connection: Upgrade`, version 13. It is given a request object of ours, so that
 * the fields sent are the ones our table allows, and the target goes out byte for byte.
 */

import { Agent, type ClientRequest, type IncomingMessage } from "node:http";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { ProxyServer } from "http-proxy-3";
import type { Reason } from "../../domain/outcome.ts";
import type { Millis } from "../../domain/units.ts";
import type { Dialler } from "../dial.ts";
import { FAILURES, failureOf, type Failure } from "../failure.ts";
import { readResponseFields } from "../headers.ts";
import { fieldOf } from "../request.ts";

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
  /** Whether the client takes an answer in chunks. */
  readonly isPlain: boolean;
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
  /** Connection and answer must have come by then. */
  readonly patienceMs: Millis;
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
const LATE = new Error("no connection in time");

const proxy = new ProxyServer({ xfwd: false, ws: true });
// A request of our own is always given a callback; the listener keeps the emitter from throwing.
proxy.on("error", () => undefined);

const pending = new WeakMap<object, (upstream: ClientRequest) => void>();
proxy.on("proxyReqWs", (upstream, request) => pending.get(request)?.(upstream));

/** Starts an upgrade. Returns what closes both sides. */
export function startUpgrade(upgrade: Upgrade): { close(): void } {
  const { socket } = upgrade;
  let upstream: ClientRequest | undefined;
  let settled = false;
  let sentAt: Millis | undefined;
  const settle = (run: () => void): void => {
    if (settled) return;
    settled = true;
    clearTimeout(timer);
    run();
  };
  const since = (): number => (sentAt === undefined ? -1 : (upgrade.now() - sentAt) * 1000);
  const fail = (failure: Failure): void => {
    settle(() => {
      upgrade.failed(failure.reason, failure.status, failure.timedOut ? since() : -1);
      upgrade.refuse(failure);
    });
  };
  const timer = setTimeout(() => {
    fail(FAILURES.headTimeout);
    upstream?.destroy();
  }, upgrade.patienceMs);
  socket.once("close", () => {
    settle(() => upgrade.failed("client_gone", 499, -1));
    upstream?.destroy();
    upgrade.closed();
  });
  // The client need not end its side, and what it still sends is dropped.
  socket.once("finish", () => upgrade.ending());
  const facade = requestFor(upgrade);
  pending.set(facade, (made) => {
    upstream = made;
    // http-proxy-3 normalises the path; it has to go out as it came.
    made.path = upgrade.target;
    made.on("error", () => undefined);
    made.on("finish", () => (sentAt = upgrade.now()));
    made.on("upgrade", (response, tunnel) => {
      tunnel.on("error", () => socket.destroy());
      socket.once("close", () => tunnel.destroy());
      addCookie(response, upgrade.cookie);
      settle(() => upgrade.opened(since()));
    });
    made.on("response", (response) => {
      tidy(response, upgrade.cookie);
      response.on("error", () => socket.destroy());
      response.on("close", () => {
        if (!response.complete) socket.destroy();
      });
      // http-proxy-3 writes on whatever the client takes.
      response.on("data", () => {
        if (socket.writableNeedDrain) response.pause();
      });
      socket.on("drain", () => response.resume());
      settle(() => upgrade.answered(response.statusCode ?? 502, since()));
    });
  });
  proxy.ws(
    facade,
    socket,
    upgrade.bytes,
    { target: `http://${upgrade.dialler.address.authority}`, agent: new Opener(upgrade) },
    (error) => fail(sentAt === undefined ? connectFailure(error) : failureOf(error, "head")),
  );
  return {
    close() {
      socket.destroy();
      upstream?.destroy();
    },
  };
}

/** Opens the connection of one upgrade, TLS and all; the library takes it for plain HTTP, and looks nothing up. */
class Opener extends Agent {
  readonly #upgrade: Upgrade;

  constructor(upgrade: Upgrade) {
    super({ keepAlive: false });
    this.#upgrade = upgrade;
  }

  override createConnection(): Socket {
    const { dialler, connectMs } = this.#upgrade;
    const { socket } = dialler.dial(ALPN);
    const late = setTimeout(() => socket.destroy(LATE), connectMs);
    const inTime = (): void => clearTimeout(late);
    socket.once(dialler.address.isTls ? "secureConnect" : "connect", inTime);
    socket.once("close", inTime);
    return socket;
  }
}

function connectFailure(error: unknown): Failure {
  return error === LATE ? FAILURES.connectTimeout : failureOf(error, "connect");
}

/** What http-proxy-3 reads of a request: method, target, fields, version. */
function requestFor(upgrade: Upgrade): IncomingMessage {
  const headers: Record<string, string | string[]> = { connection: "Upgrade", upgrade: "websocket" };
  for (let at = 0; at < upgrade.fields.length; at += 2) {
    const name = (upgrade.fields[at] ?? "").toLowerCase();
    const value = upgrade.fields[at + 1] ?? "";
    const before = Object.hasOwn(headers, name) ? headers[name] : undefined;
    headers[name] =
      before === undefined ? value : typeof before === "string" ? [before, value] : [...before, value];
  }
  const { socket } = upgrade;
  // It uses just these of an IncomingMessage; the real one would bring fields that must not be sent.
  return {
    method: "GET",
    url: "/",
    headers,
    httpVersion: upgrade.isPlain ? "1.1" : "1.0",
    httpVersionMajor: 1,
    socket,
    connection: socket,
  } as unknown as IncomingMessage;
}

function addCookie(response: IncomingMessage, cookie: string): void {
  if (cookie === "") return;
  response.headers["set-cookie"] = [...(response.headers["set-cookie"] ?? []), cookie];
}

/** An answer that is no 101 is an ordinary one, behind which the connection ends. */
function tidy(response: IncomingMessage, cookie: string): void {
  const kept = new Set<string>();
  const { fields } = readResponseFields(response.statusCode ?? 0, "", response.rawHeaders);
  for (let at = 0; at < fields.length; at += 2) kept.add((fields[at] ?? "").toLowerCase());
  for (const name of Object.keys(response.headers)) if (!kept.has(name)) delete response.headers[name];
  response.headers.connection = "close";
  addCookie(response, cookie);
}
