/**
 * What carrying out an upgrade takes whatever the upstream speaks: the client's side until it is answered, the clocks, and an answer that opens
 * nothing. What is spoken upstream is the subclass's own (`upgrade.ts`, `../h2/upstream-tunnel.ts`).
 *
 * Either side's end ends the other, and what was cut is never ended in order (reliability.md 17, 31, 32). Only what the one table of rules lets pass
 * reaches the client (18, 19).
 */

import { createHash } from "node:crypto";
import type { Readable } from "node:stream";
import type { Millis } from "../../domain/units.ts";
import { linesOf, statusLine } from "../answer.ts";
import { FAILURES, type Failure } from "../failure.ts";
import { readResponseFields } from "../headers.ts";
import { fieldOf } from "../request.ts";
import type { Upgrade } from "./upgrade.ts";

/** RFC 6455 §4.2.2. */
const ACCEPT_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/** What a client may send before its upgrade is answered. */
const EARLY_BYTES = 64 * 1024;
/** The other side of a tunnel is cut so long after the client has ended its own. */
const GRACE_MS = 1000;
const LAST_CHUNK = "0\r\n\r\n";

/** One upgrade under way. */
export abstract class Carrier {
  protected readonly upgrade: Upgrade;
  #state: "asked" | "open" | "settled" = "asked";
  #timer: NodeJS.Timeout | undefined = undefined;
  #sentAt: Millis | undefined = undefined;
  /** What the client sent before it may; also how its leaving is noticed. */
  readonly #early: Buffer[];
  #earlyBytes = 0;
  /** How the body of an answer that opens nothing is written. */
  #isChunked = false;

  constructor(upgrade: Upgrade) {
    this.upgrade = upgrade;
    this.#early = [upgrade.bytes];
    const { socket } = upgrade;
    socket.once("close", () => {
      this.#settle("settled", () => upgrade.failed("client_gone", 499, -1));
      clearTimeout(this.#timer);
      this.stop();
      upgrade.closed();
    });
    // The client need not end its side, and what it still sends is dropped.
    socket.once("finish", () => upgrade.ending());
    socket.on("data", this.#hold);
    socket.once("end", () => {
      if (this.#state === "open") this.#leaving();
      // A stream of HTTP/2 that ends has not left: that would be a reset.
      else if (upgrade.version === "1.1") socket.destroy();
    });
  }

  /** Ends both sides at once: the client's, and with its close the upstream's. */
  close(): void {
    this.upgrade.socket.destroy();
  }

  /** Answers the client with a failure, unless it was answered before. */
  fail(failure: Failure): void {
    this.#settle("settled", () => {
      this.upgrade.failed(failure.reason, failure.status, failure.timedOut ? this.#since() : -1);
      this.stop();
      this.upgrade.refuse(failure);
    });
  }

  /** Lets the upstream's side go, whatever its state. Comes more than once. */
  protected abstract stop(): void;

  /** Whether the request has reached a connection. */
  protected get isSent(): boolean {
    return this.#sentAt !== undefined;
  }

  /** Whether nothing was answered yet. */
  protected get isAsked(): boolean {
    return this.#state === "asked";
  }

  /** The upgrade fails so unless there is progress in time. */
  protected arm(ms: number, failure: Failure): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.fail(failure), ms);
  }

  /** Somebody else's clock runs. */
  protected disarm(): void {
    clearTimeout(this.#timer);
  }

  /** The request was sent, from when on the upstream has its time to answer. */
  protected sent(): void {
    if (!this.isAsked) return;
    this.#sentAt = this.upgrade.now();
    this.arm(this.upgrade.headersMs, FAILURES.headTimeout);
  }

  /** The tunnel is open, and the client was told. Returns what it sent before. */
  protected opened(): readonly Buffer[] {
    const { socket } = this.upgrade;
    this.#settle("open", () => this.upgrade.opened(this.#since()));
    socket.off("data", this.#hold);
    if (socket.readableEnded) this.#leaving();
    return this.#early.splice(0).filter((chunk) => chunk.length > 0);
  }

  /**
   * Passes on an answer that opens nothing, behind which the client's connection ends. Its end is for the caller to tell.
   *
   * @param fields the raw list as received
   * @returns whether it may be passed on; else the upgrade has failed
   */
  protected relay(status: number, reason: string, fields: readonly string[], body: Readable): boolean {
    const { socket, version, cookie } = this.upgrade;
    const head = readResponseFields(status, reason, fields);
    // A success would say to a client of HTTP/2 that its tunnel is open (RFC 8441 §5).
    if (!this.isAsked || head.malformed !== "" || status < (version === "2" ? 300 : 200)) {
      this.fail(FAILURES.malformed);
      return false;
    }
    if (cookie !== "") head.fields.push("set-cookie", cookie);
    const hasBody = status !== 204 && status !== 304;
    this.#isChunked = version === "1.1" && hasBody && fieldOf(head.fields, "content-length") === undefined;
    head.fields.push("connection", "close");
    if (this.#isChunked) head.fields.push("transfer-encoding", "chunked");
    socket.write(`${statusLine(status, reason)}${linesOf(head.fields)}\r\n`, "latin1");
    this.#settle("settled", () => this.upgrade.answered(status, this.#since()));
    // Until the client is gone: nor is one waited for that takes nothing.
    this.#timer = setTimeout(() => this.close(), this.upgrade.idleMs);
    this.forward(body);
    socket.resume();
    return true;
  }

  /** Hands on what the upstream sends, as fast as the client takes it. */
  protected forward(from: Readable): void {
    from.on("data", (chunk: Buffer) => {
      this.#timer?.refresh();
      if (!this.write(chunk)) from.pause();
    });
    this.upgrade.socket.on("drain", () => {
      this.#timer?.refresh();
      from.resume();
    });
  }

  /** Writes what is behind the head. Returns false when the client has enough for now. */
  protected write(chunk: Buffer): boolean {
    const { socket } = this.upgrade;
    if (!socket.writable) return true;
    if (!this.#isChunked) return socket.write(chunk);
    socket.write(`${chunk.length.toString(16)}\r\n`, "latin1");
    socket.write(chunk);
    return socket.write("\r\n", "latin1");
  }

  /** The upstream's side came to its end. */
  protected end(): void {
    const { socket } = this.upgrade;
    if (socket.writable) socket.end(this.#isChunked ? LAST_CHUNK : undefined);
  }

  readonly #hold = (chunk: Buffer): void => {
    if (!this.isAsked) return;
    this.#early.push(chunk);
    this.#earlyBytes += chunk.length;
    if (this.#earlyBytes > EARLY_BYTES) this.upgrade.socket.pause();
  };

  #leaving(): void {
    const timer = setTimeout(() => this.close(), GRACE_MS);
    this.upgrade.socket.once("close", () => clearTimeout(timer));
  }

  #settle(state: "open" | "settled", run: () => void): void {
    if (!this.isAsked) return;
    this.#state = state;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    run();
  }

  #since(): number {
    return this.#sentAt === undefined ? -1 : (this.upgrade.now() - this.#sentAt) * 1000;
  }
}

/** What a server says to the key in these fields (RFC 6455 §4.2.2). */
export function acceptOf(fields: readonly string[]): string {
  const key = fieldOf(fields, "sec-websocket-key") ?? "";
  return createHash("sha1")
    .update(key + ACCEPT_SUFFIX)
    .digest("base64");
}
