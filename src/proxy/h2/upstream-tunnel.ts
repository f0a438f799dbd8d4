/**
 * WebSockets to endpoints that are spoken to in HTTP/2: one stream each (RFC 8441), begun by extended CONNECT. The client's side is the one
 * that every upgrade has, and is answered in HTTP/1.1.
 *
 * An upstream that does not offer it (SETTINGS_ENABLE_CONNECT_PROTOCOL) is not asked: the client is told that there is no such way,
 * which says nothing about the arm. Either side's end ends the other, and what was cut is never ended in order (reliability.md 32).
 */

import { constants, type ClientHttp2Stream } from "node:http2";
import { linesOf, statusLine } from "../answer.ts";
import { FAILURES, type Failure } from "../failure.ts";
import { acceptOf, Carrier } from "../general/carrier.ts";
import type { Upgrade } from "../general/upgrade.ts";
import { readResponseFields } from "../headers.ts";
import type { Tenant, UpstreamSession } from "./session.ts";
import type { Http2Pool } from "./upstream.ts";
import { onWhole } from "./upstream-end.ts";
import { isTooLong, requestList, statusIn, withoutPseudo } from "./fields.ts";

const { NGHTTP2_CANCEL: CANCEL } = constants;

/** Starts an upgrade over a pool. Returns what closes both sides. */
export function startTunnel(upgrade: Upgrade, pool: Http2Pool): { close(): void } {
  const tunnel = new Tunnel(upgrade, pool);
  pool.enter(tunnel, upgrade.connectMs);
  return tunnel;
}

class Tunnel extends Carrier implements Tenant {
  readonly #pool: Http2Pool;
  #session: UpstreamSession | undefined = undefined;
  #stream: ClientHttp2Stream | undefined = undefined;
  #isOver = false;
  #isWhole = false;

  constructor(upgrade: Upgrade, pool: Http2Pool) {
    super(upgrade);
    this.#pool = pool;
  }

  /** No connection takes it: waits as long as a response head may take. */
  wait(): void {
    this.#session = undefined;
    this.arm(this.upgrade.headersMs, FAILURES.waited);
  }

  begin(session: UpstreamSession): void {
    this.#session = session;
    // The session has a clock of its own until it is open.
    this.disarm();
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
    const { target, fields } = this.upgrade;
    const { scheme, authority } = this.#pool.place;
    const list = requestList({ method: "CONNECT", target, scheme, authority }, withoutKey(fields));
    list.unshift(":protocol", "websocket");
    try {
      // One that waits for trailers is not ended when it is reset.
      this.#listen(session.request(list, { endStream: false, waitForTrailers: true }));
      this.sent();
    } catch {
      this.fail(FAILURES.internal);
    }
  }

  protected override stop(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const stream = this.#stream;
    this.#stream = undefined;
    this.#pool.over();
    if (stream !== undefined) stream.close(CANCEL);
    else if (this.#session !== undefined) this.#session.forget(this);
    else this.#pool.forget(this);
  }

  #listen(stream: ClientHttp2Stream): void {
    this.#stream = stream;
    onWhole(stream, () => (this.#isWhole = true));
    stream.on("response", (_headers, _flags, list) => this.#answered(stream, list));
    stream.on("wantTrailers", () => stream.sendTrailers({}));
    stream.on("end", () => this.#ended());
    stream.on("close", () => this.#ended());
  }

  #answered(stream: ClientHttp2Stream, list: readonly string[]): void {
    const status = statusIn(list);
    const fields = withoutPseudo(list);
    if (isTooLong(list)) this.fail(FAILURES.malformed);
    else if (status === 200) this.#open(stream, fields);
    else if (this.relay(status, "", fields, stream)) stream.end();
  }

  #open(stream: ClientHttp2Stream, list: readonly string[]): void {
    const { socket, cookie, fields } = this.upgrade;
    const head = readResponseFields(200, "", list);
    if (head.malformed !== "") {
      this.fail(FAILURES.malformed);
      return;
    }
    if (cookie !== "") head.fields.push("set-cookie", cookie);
    const own = ["connection", "Upgrade", "upgrade", "websocket", "sec-websocket-accept", acceptOf(fields)];
    socket.write(`${statusLine(101)}${linesOf(own)}${linesOf(head.fields)}\r\n`, "latin1");
    for (const early of this.opened()) stream.write(early);
    this.forward(stream);
    socket.on("data", (chunk: Buffer) => {
      if (stream.writable && !stream.write(chunk)) socket.pause();
    });
    if (socket.readableEnded) stream.end();
    else socket.once("end", () => stream.end());
    stream.on("drain", () => socket.resume());
    socket.resume();
  }

  /** The upstream's side has ended, or is gone. Comes once or twice. */
  #ended(): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    if (this.isAsked) {
      this.fail(FAILURES.reset);
      return;
    }
    if (!this.#isWhole) {
      this.close();
      return;
    }
    // The connection may have closed behind what the client has not taken yet.
    const rest: unknown = stream.read();
    if (Buffer.isBuffer(rest)) this.write(rest);
    this.end();
    if (stream.destroyed) this.stop();
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
