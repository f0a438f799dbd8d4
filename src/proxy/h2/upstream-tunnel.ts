/**
 * WebSockets to endpoints that are spoken to in HTTP/2: one stream each (RFC 8441), begun by extended CONNECT. The client's side is the one
 * that every upgrade has, and is answered in HTTP/1.1.
 *
 * An upstream that does not offer it (SETTINGS_ENABLE_CONNECT_PROTOCOL) is not asked: the client is told that there is no such way,
 * which says nothing about the arm. Either side's end ends the other, and what was cut is never ended in order (reliability.md 32).
 */

import { createHash } from "node:crypto";
import { constants, type ClientHttp2Stream } from "node:http2";
import type { Millis } from "../../domain/units.ts";
import { linesOf, statusLine } from "../answer.ts";
import { FAILURES, type Failure } from "../failure.ts";
import type { Upgrade } from "../general/upgrade.ts";
import { readResponseFields } from "../headers.ts";
import { fieldOf } from "../request.ts";
import type { Tenant, UpstreamSession } from "./session.ts";
import type { Http2Pool } from "./upstream.ts";
import { onWhole } from "./upstream-end.ts";
import { isTooLong, requestList, statusIn, withoutPseudo } from "./fields.ts";

const { NGHTTP2_CANCEL: CANCEL } = constants;
/** RFC 6455 §4.2.2. */
const ACCEPT_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/** What a client may send before its upgrade is answered. */
const EARLY_BYTES = 64 * 1024;
const LAST_CHUNK = "0\r\n\r\n";

/** Starts an upgrade over a pool. Returns what closes both sides. */
export function startTunnel(upgrade: Upgrade, pool: Http2Pool): { close(): void } {
  const tunnel = new Tunnel(upgrade, pool);
  tunnel.start();
  return tunnel;
}

class Tunnel implements Tenant {
  readonly #upgrade: Upgrade;
  readonly #pool: Http2Pool;
  readonly #timer: NodeJS.Timeout;
  #session: UpstreamSession | undefined = undefined;
  #stream: ClientHttp2Stream | undefined = undefined;
  #sentAt: Millis | undefined = undefined;
  #isSettled = false;
  #isOpen = false;
  #isOver = false;
  #isWhole = false;
  /** What the client sent before it may; also how its leaving is noticed. */
  readonly #early: Buffer[];
  #earlyBytes = 0;
  /** How the body of an answer that opens nothing is written. */
  #isChunked = false;

  constructor(upgrade: Upgrade, pool: Http2Pool) {
    this.#upgrade = upgrade;
    this.#pool = pool;
    this.#early = [upgrade.bytes];
    this.#timer = setTimeout(() => {
      this.fail(this.#sentAt === undefined ? FAILURES.waited : FAILURES.headTimeout);
    }, upgrade.patienceMs);
  }

  start(): void {
    const { socket } = this.#upgrade;
    socket.once("close", () => {
      this.#settle(() => this.#upgrade.failed("client_gone", 499, -1));
      this.#stop();
      this.#upgrade.closed();
    });
    // The client need not end its side, and what it still sends is dropped.
    socket.once("finish", () => this.#upgrade.ending());
    socket.on("data", (chunk: Buffer) => this.#received(chunk));
    // Before it was answered it can only have left.
    socket.on("end", () => {
      if (this.#isOpen) this.#stream?.end();
      else socket.destroy();
    });
    this.#pool.enter(this, this.#upgrade.connectMs);
  }

  close(): void {
    this.#upgrade.socket.destroy();
    this.#stop();
  }

  wait(): void {
    this.#session = undefined;
  }

  begin(session: UpstreamSession): void {
    this.#session = session;
    session.enter(this);
  }

  onNoSession(failure: Failure): void {
    this.#session = undefined;
    this.fail(failure);
  }

  /** Offered only where HTTP/1.1 will do, and there a tunnel is not sought. */
  onHttp1(): void {
    this.onNoSession(FAILURES.connect);
  }

  onOpen(session: UpstreamSession): void {
    if (!session.takesTunnels) {
      this.fail(FAILURES.noTunnel);
      return;
    }
    const { target, fields, now } = this.#upgrade;
    const { scheme, authority } = this.#pool.place;
    const list = requestList({ method: "CONNECT", target, scheme, authority }, withoutKey(fields));
    list.unshift(":protocol", "websocket");
    try {
      // One that waits for trailers is not ended when it is reset.
      this.#listen(session.request(list, { endStream: false, waitForTrailers: true }));
      this.#sentAt = now();
    } catch {
      this.fail(FAILURES.internal);
    }
  }

  fail(failure: Failure): void {
    this.#settle(() => {
      this.#upgrade.failed(failure.reason, failure.status, failure.timedOut ? this.#since() : -1);
      this.#stop();
      this.#upgrade.refuse(failure);
    });
  }

  #listen(stream: ClientHttp2Stream): void {
    this.#stream = stream;
    onWhole(stream, () => (this.#isWhole = true));
    stream.on("response", (_headers, _flags, list) => this.#answered(stream, list));
    stream.on("wantTrailers", () => stream.sendTrailers({}));
    stream.on("end", () => this.#ended());
    stream.on("close", () => {
      if (this.#isSettled) this.#ended();
      else this.fail(FAILURES.reset);
    });
  }

  #answered(stream: ClientHttp2Stream, list: readonly string[]): void {
    const status = statusIn(list);
    const head = readResponseFields(status, "", withoutPseudo(list));
    if (head.malformed !== "" || status < 200 || isTooLong(list)) {
      this.fail(FAILURES.malformed);
      return;
    }
    if (this.#upgrade.cookie !== "") head.fields.push("set-cookie", this.#upgrade.cookie);
    if (status === 200) this.#open(stream, head.fields);
    else this.#relay(stream, status, head.fields);
  }

  #open(stream: ClientHttp2Stream, fields: readonly string[]): void {
    const { socket } = this.#upgrade;
    const own = ["connection", "Upgrade", "upgrade", "websocket", "sec-websocket-accept", this.#accept()];
    socket.write(`${statusLine(101)}${linesOf(own)}${linesOf(fields)}\r\n`, "latin1");
    this.#settle(() => this.#upgrade.opened(this.#since()));
    this.#isOpen = true;
    for (const chunk of this.#early.splice(0)) if (chunk.length > 0) stream.write(chunk);
    this.#forward(stream);
    stream.on("drain", () => socket.resume());
    socket.resume();
  }

  /** An answer that opens nothing is an ordinary one, behind which the client's connection ends. */
  #relay(stream: ClientHttp2Stream, status: number, fields: readonly string[]): void {
    const { socket, isPlain } = this.#upgrade;
    this.#isChunked = isPlain && fieldOf(fields, "content-length") === undefined && mayHaveBody(status);
    const own = this.#isChunked
      ? ["transfer-encoding", "chunked", "connection", "close"]
      : ["connection", "close"];
    socket.write(`${statusLine(status)}${linesOf(fields)}${linesOf(own)}\r\n`, "latin1");
    this.#settle(() => this.#upgrade.answered(status, this.#since()));
    stream.end();
    this.#forward(stream);
  }

  #received(chunk: Buffer): void {
    const { socket } = this.#upgrade;
    const stream = this.#stream;
    if (this.#isOpen) {
      if (stream?.writable === true && !stream.write(chunk)) socket.pause();
    } else if (!this.#isSettled) {
      this.#early.push(chunk);
      this.#earlyBytes += chunk.length;
      if (this.#earlyBytes > EARLY_BYTES) socket.pause();
    }
  }

  /** Hands on what the upstream sends, as fast as the client takes it. */
  #forward(stream: ClientHttp2Stream): void {
    const { socket } = this.#upgrade;
    stream.on("data", (chunk: Buffer) => {
      if (!this.#write(chunk)) stream.pause();
    });
    socket.on("drain", () => stream.resume());
  }

  #write(chunk: Buffer): boolean {
    const { socket } = this.#upgrade;
    if (!socket.writable) return true;
    if (!this.#isChunked) return socket.write(chunk);
    socket.write(`${chunk.length.toString(16)}\r\n`, "latin1");
    socket.write(chunk);
    return socket.write("\r\n", "latin1");
  }

  /** The upstream's side has ended, or is gone. Comes once or twice. */
  #ended(): void {
    const { socket } = this.#upgrade;
    const stream = this.#stream;
    if (stream === undefined) return;
    if (!this.#isWhole) {
      socket.destroy();
      this.#stop();
      return;
    }
    // The connection may have closed behind what the client has not taken yet.
    const rest: unknown = stream.read();
    if (Buffer.isBuffer(rest)) this.#write(rest);
    if (socket.writable) socket.end(this.#isChunked ? LAST_CHUNK : undefined);
    if (stream.destroyed) this.#stop();
  }

  #settle(run: () => void): void {
    if (this.#isSettled) return;
    this.#isSettled = true;
    clearTimeout(this.#timer);
    run();
  }

  #stop(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const stream = this.#stream;
    this.#stream = undefined;
    this.#pool.over();
    if (stream !== undefined) stream.close(CANCEL);
    else if (this.#session !== undefined) this.#session.forget(this);
    else this.#pool.forget(this);
  }

  #since(): number {
    return this.#sentAt === undefined ? -1 : (this.#upgrade.now() - this.#sentAt) * 1000;
  }

  #accept(): string {
    const key = fieldOf(this.#upgrade.fields, "sec-websocket-key") ?? "";
    return createHash("sha1")
      .update(key + ACCEPT_SUFFIX)
      .digest("base64");
  }
}

/** Extended CONNECT has no key (RFC 8441 §5). */
function withoutKey(fields: readonly string[]): string[] {
  const out: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? "";
    if (name.toLowerCase() !== "sec-websocket-key") out.push(name, fields[at + 1] ?? "");
  }
  return out;
}

function mayHaveBody(status: number): boolean {
  return status !== 204 && status !== 304;
}
