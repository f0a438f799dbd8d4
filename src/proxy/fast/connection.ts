/**
 * One upstream connection of the fast lane, with one exchange at a time on it: the response is scanned where it was read and handed on as the
 * same bytes.
 *
 * Each connection has a buffer of its own, because what the client's kernel does not take at once stays there until it does: reading
 * stops for as long. A connection is used again only when the request was written and the response read to their last bytes, neither side
 * said close, and no byte came since (reliability.md B12). Sources: RFC 9112 §6.3, §9.3.
 */

import type { Socket } from "node:net";
import type { Dialler, Link } from "../dial.ts";
import { FAILURES, type Failure } from "../failure.ts";
import { BROKEN, ChunkScan, DONE, ONGOING } from "./chunked.ts";
import { borrowLarge, returnLarge, type Large } from "./buffers.ts";
import { FastHead, HEADROOM } from "./head.ts";
import { Outlet } from "./outlet.ts";
import { MORE, PLAIN, ResponseScan, scanResponse } from "./scan.ts";
import { Timed, type Wheel } from "./wheel.ts";

const READ_BYTES = 64 * 1024;
const HEAD_BYTES = 64 * 1024;
const TRAILER_BYTES = 16 * 1024;
/** Idle upstream connections are closed after so long, or a second before the upstream says it would. */
const IDLE_MS = 4000;
const HINT_MARGIN_MS = 1000;
const HINT_MAX_MS = 60_000;
const ALPN: readonly string[] = ["http/1.1"];

/** The one head of this thread: it is read, told and forgotten within one turn. */
const HEAD = new FastHead(new ResponseScan());

/** Whose response a connection reads. */
export interface Tenant {
  /** Whether the request's method is HEAD. */
  readonly isHead: boolean;
  /** The request was written to its last byte. */
  readonly isSent: boolean;
  /** Whether the client is behind with what was passed on. */
  readonly isStalled: boolean;
  /** The connection is open. */
  onConnected(): void;
  /** The kernel took all that was written of the request. */
  onFlushed(): void;
  /** A byte of a response was read. */
  onAnswer(): void;
  onInformational(head: FastHead): void;
  onHead(head: FastHead): void;
  /** A piece of the response's body. */
  pass(bytes: Buffer, from: number, to: number): void;
  /** The bytes of one read were passed, and there are more to come. */
  onProgress(): void;
  /** The response is whole: lets go of the connection. */
  over(): void;
  /** Tells of the end, when the connection has been seen to. */
  tellEnd(): void;
  /** The deadline is over. */
  onTimer(): void;
  /** The response is not HTTP, or its body is not. */
  fail(failure: Failure): void;
  /** The connection is lost. */
  onLost(error: unknown): void;
}

/** What a connection asks of its pool. */
export interface ConnectionOwner {
  readonly wheel: Wheel;
  /** Whole exchange done: may be used again. */
  release(connection: Connection): void;
  /** Is closed, or has to be. */
  drop(connection: Connection): void;
}

const AT_HEAD = 0;
const IN_LENGTH = 1;
const IN_CHUNKS = 2;
const TO_CLOSE = 3;

/** One connection. */
export class Connection extends Timed {
  readonly link: Link;
  readonly socket: Socket;
  readonly #owner: ConnectionOwner;
  tenant: Tenant | undefined = undefined;
  /** Exchanges done on it. */
  served = 0;
  isOpen = false;
  isGone = false;
  /** How long it may be idle, milliseconds. */
  idleMs = IDLE_MS;
  #small: Buffer = Buffer.allocUnsafeSlow(HEADROOM + READ_BYTES);
  #large: Large | undefined = undefined;
  #bytes: Buffer = this.#small;
  #place: Buffer = this.#bytes.subarray(HEADROOM);
  #partial: Buffer | undefined = undefined;
  #state = AT_HEAD;
  #left = 0;
  #keeps = false;
  #chunks: ChunkScan | undefined = undefined;
  #error: unknown = undefined;
  readonly #isTls: boolean;
  readonly #direct: boolean;
  #outlet: Outlet;

  /** @param direct whether the handle may be written on */
  constructor(dialler: Dialler, direct: boolean, owner: ConnectionOwner) {
    super();
    const { isTls } = dialler.address;
    this.#owner = owner;
    this.#isTls = isTls;
    this.#direct = direct;
    this.link = isTls ? this.#dialTls(dialler) : this.#dial(dialler);
    this.socket = this.link.socket;
    this.socket.on(isTls ? "secureConnect" : "connect", () => this.#connected());
    this.socket.on("error", (error) => (this.#error = error));
    this.socket.on("end", () => this.#ended());
    this.socket.on("close", () => this.#closed());
    // What is written before it is open waits in the stream.
    this.#outlet = new Outlet(this.socket, false, isTls, this.#onFlushed);
  }

  #dial(dialler: Dialler): Link {
    return dialler.dial(ALPN, {
      noDelay: true,
      onread: {
        buffer: () => this.#place,
        callback: (count) => {
          this.#read(this.#bytes, HEADROOM, HEADROOM + count);
          return true;
        },
      },
    });
  }

  #dialTls(dialler: Dialler): Link {
    const link = dialler.dial(ALPN);
    link.socket.setNoDelay(true);
    link.socket.on("data", (bytes: Buffer) => this.#read(bytes, 0, bytes.length));
    return link;
  }

  readonly #onFlushed = (): void => this.tenant?.onFlushed();

  /** Sends bytes; false: the tenant's `onFlushed` is called when the kernel has taken them. */
  write(bytes: Buffer): boolean {
    return this.#outlet.write(bytes);
  }

  /** Sends a text as latin1; false: as `write`. */
  writeText(text: string): boolean {
    return this.#outlet.writeText(text);
  }

  /** Whether the kernel has not taken all that was written. */
  get isPending(): boolean {
    return this.#outlet.isPending;
  }

  deadline(ms: number): void {
    this.#owner.wheel.set(this, ms);
  }

  noDeadline(): void {
    this.#owner.wheel.clear(this);
  }

  onDue(): void {
    if (this.tenant !== undefined) this.tenant.onTimer();
    else this.#owner.drop(this);
  }

  destroy(): void {
    this.isGone = true;
    this.#owner.wheel.remove(this);
    this.socket.destroy();
    this.#shrink(false);
  }

  #connected(): void {
    this.isOpen = true;
    this.tenant?.onConnected();
    // What waited is written by the stream in this turn, in front of whatever comes later.
    process.nextTick(opened, this);
  }

  /** Writes directly from now on, where that works. */
  straighten(): void {
    if (this.socket.writableLength === 0 && !this.isGone)
      this.#outlet = new Outlet(this.socket, this.#direct, this.#isTls, this.#onFlushed);
  }

  #ended(): void {
    const { tenant } = this;
    if (tenant !== undefined && this.#state === TO_CLOSE && this.#error === undefined)
      this.#complete(tenant, false);
    else this.#lost();
  }

  #closed(): void {
    this.#lost();
  }

  /** The other side has gone, with or without a word. */
  #lost(): void {
    if (this.isGone) return;
    const { tenant } = this;
    const error = this.#error;
    if (tenant === undefined) this.#owner.drop(this);
    else tenant.onLost(error);
  }

  #read(place: Buffer, begin: number, to: number): void {
    let bytes = place;
    let from = begin;
    let end = to;
    const { tenant } = this;
    if (tenant === undefined) {
      // Nobody asked: whatever this is must not become the next answer.
      this.#owner.drop(this);
      return;
    }
    if (this.#partial !== undefined) {
      const joined = Buffer.allocUnsafeSlow(HEADROOM + this.#partial.length + to - begin);
      this.#partial.copy(joined, HEADROOM);
      place.copy(joined, HEADROOM + this.#partial.length, begin, to);
      bytes = joined;
      from = HEADROOM;
      end = joined.length;
      this.#partial = undefined;
    }
    while (this.#state === AT_HEAD) {
      from = this.#head(tenant, bytes, from, end);
      if (from < 0 || this.tenant !== tenant) return;
    }
    this.#body(tenant, bytes, from, end);
    // As much as there was room for: there is more to come.
    if (to === HEADROOM + READ_BYTES && this.tenant === tenant && this.#large === undefined) this.#enlarge();
  }

  /** Reads one head; returns where it ends, −1 when nothing more is to be read now. */
  #head(tenant: Tenant, bytes: Buffer, from: number, to: number): number {
    tenant.onAnswer();
    const { scan } = HEAD;
    const verdict = scanResponse(bytes, from, to, HEAD_BYTES, scan);
    if (verdict === MORE) {
      this.#partial = Buffer.from(bytes.subarray(from, to));
      return -1;
    }
    if (verdict !== PLAIN) {
      tenant.fail(FAILURES.malformed);
      return -1;
    }
    HEAD.bytes = bytes;
    HEAD.from = from;
    const { end, status, length, chunked, closes, isOld } = scan;
    if (status < 200) {
      HEAD.hasBody = false;
      tenant.onInformational(HEAD);
      return end;
    }
    const hasBody = !tenant.isHead && status !== 204 && status !== 304;
    HEAD.hasBody = hasBody;
    this.#keeps = !closes && !isOld && !scan.names;
    if (scan.keepAlive >= 0) this.#hint(bytes, scan);
    if (!hasBody) this.#expect(IN_LENGTH, 0);
    else if (chunked) {
      this.#expect(IN_CHUNKS, 0);
      this.#chunks = new ChunkScan(TRAILER_BYTES);
    } else if (length >= 0) this.#expect(IN_LENGTH, length);
    else this.#expect(TO_CLOSE, 0);
    tenant.onHead(HEAD);
    return end;
  }

  #expect(state: number, left: number): void {
    this.#state = state;
    this.#left = left;
  }

  #body(tenant: Tenant, bytes: Buffer, from: number, to: number): void {
    switch (this.#state) {
      case IN_LENGTH: {
        const end = Math.min(to, from + this.#left);
        this.#left -= end - from;
        tenant.pass(bytes, from, end);
        if (this.#left === 0) {
          this.#complete(tenant, end < to);
          return;
        }
        break;
      }
      case IN_CHUNKS:
        if (this.#passChunks(tenant, bytes, from, to)) return;
        break;
      default:
        tenant.pass(bytes, from, to);
    }
    if (this.tenant === tenant) tenant.onProgress();
  }

  /** Passes chunks on; true when that was the end, one way or the other. */
  #passChunks(tenant: Tenant, bytes: Buffer, from: number, to: number): boolean {
    // Made with the head.
    const chunks = this.#chunks!;
    let at = from;
    while (at < to) {
      const passes = chunks.scan(bytes, at, to);
      tenant.pass(bytes, at, passes);
      if (this.tenant !== tenant) return true;
      if (chunks.event === ONGOING) return false;
      if (chunks.event === BROKEN) {
        tenant.fail(FAILURES.cut);
        return true;
      }
      at = chunks.resume;
      if (chunks.event !== DONE) continue;
      if (chunks.trailer !== "") tenant.pass(Buffer.from(chunks.trailer, "latin1"), 0, chunks.trailer.length);
      this.#complete(tenant, at < to);
      return true;
    }
    return false;
  }

  /** The response is whole. Surplus bytes reach nobody: the connection goes with them (reliability.md C20). */
  #complete(tenant: Tenant, surplus: boolean): void {
    if (this.tenant !== tenant) return;
    const keeps = this.#keeps && !surplus && this.#state !== TO_CLOSE && tenant.isSent;
    this.#state = AT_HEAD;
    this.#chunks = undefined;
    this.#error = undefined;
    tenant.over();
    this.served++;
    if (keeps) this.#owner.release(this);
    else this.#owner.drop(this);
    tenant.tellEnd();
    const { isStalled } = tenant;
    if (this.#large !== undefined) this.#shrink(!isStalled);
    else if (isStalled) this.#renew();
  }

  /** The client's kernel still takes from the present buffer: the next response is read into another. */
  #renew(): void {
    this.#small = Buffer.allocUnsafeSlow(HEADROOM + READ_BYTES);
    this.#bytes = this.#small;
    this.#place = this.#bytes.subarray(HEADROOM);
  }

  #enlarge(): void {
    this.#large = borrowLarge();
    if (this.#large === undefined) return;
    this.#bytes = this.#large.bytes;
    this.#place = this.#large.place;
  }

  /** @param isFree whether the client's kernel has all of it */
  #shrink(isFree: boolean): void {
    if (this.#large !== undefined) returnLarge(this.#large, isFree);
    this.#large = undefined;
    this.#bytes = this.#small;
    this.#place = this.#bytes.subarray(HEADROOM);
  }

  /** `Keep-Alive: timeout=N`: closed a second before the upstream would. */
  #hint(bytes: Buffer, scan: ResponseScan): void {
    const slot = scan.keepAlive * 4;
    const found = /timeout=(\d{1,6})/i.exec(
      bytes.toString("latin1", scan.fields[slot + 2], scan.fields[slot + 3]),
    );
    if (found === null) return;
    const ms = Number(found[1]) * 1000 - HINT_MARGIN_MS;
    if (ms <= 0) this.#keeps = false;
    else this.idleMs = Math.min(ms, HINT_MAX_MS);
  }
}

function opened(connection: Connection): void {
  connection.straighten();
}
