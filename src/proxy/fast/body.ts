/**
 * A request body on its way through the fast lane: the very bytes that came, verified as they pass, with limits, back-pressure, and what is
 * needed to send it again.
 *
 * Bytes may lie in a buffer that is read into again at once (`isOwn` false): those are copied before they are kept or written. A stalled,
 * oversized or broken body is the client's fault and is told apart from the upstream not reading.
 */

import type { RequestBody } from "../lane.ts";
import type { Pace } from "../pace.ts";
import { BROKEN, ChunkScan, DONE, ONGOING } from "./chunked.ts";

/** The rest of an unwanted body that is still read, so that the connection can be kept. */
const DISCARD_BYTES = 256 * 1024;

/** Where a body goes. */
export interface BodyTarget {
  /** A piece; it must be whole in the kernel's hands, or copied, before this returns, unless `isOwn`. False: wait until told to go on. */
  writeBody(bytes: Buffer, from: number, to: number, isOwn: boolean): boolean;
  /** The last piece was written. */
  bodyEnded(): void;
}

/** What a body tells the client's connection. */
export interface BodyOwner {
  /** The body is broken or too large. */
  bodyFault(status: number, detail: string): void;
  /** Read on, or do not. */
  readBody(wanted: boolean): void;
  /** What watches how fast the client is; undefined: it may be as slow as it likes. Asked once, when there is something to wait for. */
  pace(): Pace | undefined;
}

/** The body of one request. */
export class FastBody implements RequestBody {
  readonly #owner: BodyOwner;
  readonly #max: number;
  readonly #chunks: ChunkScan | undefined;
  #left: number;
  #target: BodyTarget | undefined = undefined;
  /** Came before there was a target. */
  #backlog: Buffer[] = [];
  #held: Buffer[] = [];
  #holdMax = 0;
  #heldBytes = 0;
  #bytes = 0;
  #attached = false;
  #complete = false;
  #discarding = false;
  #wanted = true;
  #pace: Pace | undefined = undefined;
  #isWatched = false;

  /**
   * @param length declared; −1: chunked
   * @param max    bytes at the most
   * @param trailerMax bytes of a trailer section
   */
  constructor(owner: BodyOwner, length: number, max: number, trailerMax: number) {
    this.#owner = owner;
    this.#max = max;
    this.#left = length;
    this.#chunks = length < 0 ? new ChunkScan(trailerMax) : undefined;
  }

  hold(maxBytes: number): void {
    this.#holdMax = maxBytes;
  }

  get isHeld(): boolean {
    return this.#bytes === this.#heldBytes;
  }

  get isComplete(): boolean {
    return this.#complete;
  }

  /** Whether it is the client that everybody waits for. */
  get isWaiting(): boolean {
    return !this.#complete && this.#wanted;
  }

  get isDiscarding(): boolean {
    return this.#discarding;
  }

  /** Takes the bytes at `from`…`to`; returns where the body ends: `to`, or before when it is complete. After a fault: `to`. */
  take(bytes: Buffer, from: number, to: number, isOwn: boolean): number {
    if (this.#pace?.took(to - from) === false && !this.#discarding)
      return this.#fault(408, "the request body came too slowly", to);
    const end =
      this.#chunks === undefined
        ? this.#lengths(bytes, from, to, isOwn)
        : this.#chunked(this.#chunks, bytes, from, to, isOwn);
    if (this.#complete && !this.#discarding) this.#target?.bodyEnded();
    return end;
  }

  #wait(): void {
    if (!this.#isWatched) {
      this.#isWatched = true;
      this.#pace = this.#owner.pace();
      this.#pace?.took(this.#bytes);
    }
    this.#pace?.wait();
  }

  /** The whole body without its framing; undefined when it is not complete, or not held as a whole. */
  copy(): Buffer | undefined {
    if (!this.#complete || !this.isHeld) return undefined;
    const bytes = Buffer.concat(this.#held);
    return this.#chunks === undefined ? bytes : withoutChunks(bytes);
  }

  /** What came already, as latin1 text to go out with the head, when it is short and was not sent before; else "". */
  takeSmall(maxBytes: number): string {
    const first = this.#backlog[0];
    if (this.#attached || first === undefined || this.#backlog.length > 1 || first.length > maxBytes)
      return "";
    this.#backlog = [];
    return first.toString("latin1");
  }

  /** Sends it to a target, from its first byte. Only the first time, or while `isHeld`. */
  attach(target: BodyTarget): void {
    const before = this.#attached ? this.#held : this.#backlog;
    this.#attached = true;
    this.#target = target;
    this.#backlog = [];
    let wanted = true;
    for (const piece of before) if (!target.writeBody(piece, 0, piece.length, true)) wanted = false;
    if (this.#complete) target.bodyEnded();
    this.#want(wanted);
  }

  /** The target takes more. */
  resume(target: BodyTarget): void {
    if (this.#target === target && !this.#discarding) this.#want(true);
  }

  /** The target is gone; what comes now is kept for the next one, within limits. */
  detach(target: BodyTarget): void {
    if (this.#target === target) this.#target = undefined;
  }

  discard(): void {
    if (this.#discarding) return;
    this.#discarding = true;
    this.#target = undefined;
    this.#backlog = [];
    this.#held = [];
    this.#bytes = 0;
    this.#want(true);
  }

  #lengths(bytes: Buffer, from: number, to: number, isOwn: boolean): number {
    const end = Math.min(to, from + this.#left);
    this.#left -= end - from;
    if (this.#left === 0) this.#complete = true;
    this.#piece(bytes, from, end, isOwn);
    return end;
  }

  #chunked(chunks: ChunkScan, bytes: Buffer, from: number, to: number, isOwn: boolean): number {
    let at = from;
    while (at < to) {
      const passes = chunks.scan(bytes, at, to);
      if (chunks.event === BROKEN) return this.#fault(400, "the request is not HTTP", to);
      if (chunks.total > this.#max) return this.#fault(413, "the request body is too large", to);
      if (chunks.event === DONE) this.#complete = true;
      this.#piece(bytes, at, passes, isOwn);
      if (chunks.event === ONGOING) return passes;
      at = chunks.resume;
      if (chunks.event !== DONE) continue;
      if (chunks.trailer !== "")
        this.#piece(Buffer.from(chunks.trailer, "latin1"), 0, chunks.trailer.length, true);
      return at;
    }
    return at;
  }

  #fault(status: number, detail: string, to: number): number {
    this.#owner.bodyFault(status, detail);
    return to;
  }

  #piece(bytes: Buffer, from: number, to: number, isOwn: boolean): void {
    if (from === to) return;
    this.#bytes += to - from;
    if (this.#discarding) {
      // Enough was read to be polite; what is left ends with the connection, a little later, so that the answer arrives first.
      if (this.#bytes > DISCARD_BYTES) this.#want(false);
      return;
    }
    let copy: Buffer | undefined = undefined;
    if (this.#heldBytes === this.#bytes - (to - from) && this.#bytes <= this.#holdMax) {
      copy = Buffer.from(bytes.subarray(from, to));
      this.#held.push(copy);
      this.#heldBytes = this.#bytes;
    } else this.#held = [];
    if (this.#target !== undefined) {
      if (!this.#target.writeBody(bytes, from, to, isOwn)) this.#want(false);
      return;
    }
    if (!this.#attached) this.#backlog.push(copy ?? Buffer.from(bytes.subarray(from, to)));
    this.#want(false);
  }

  #want(wanted: boolean): void {
    // There is nothing to wait for behind its end, and the connection is read on to see its client leave.
    if (this.#complete) return;
    this.#wanted = wanted;
    if (!wanted) this.#pace?.rest();
    else if (!this.#discarding) this.#wait();
    this.#owner.readBody(wanted);
  }
}

/** The bytes in chunks that were verified when they came (RFC 9112 §7.1); trailers are left out. */
function withoutChunks(bytes: Buffer): Buffer {
  const pieces: Buffer[] = [];
  for (let at = 0; at < bytes.length;) {
    const line = bytes.indexOf("\r\n", at, "latin1");
    // The size ends where an extension begins, if there is one.
    const size = Number.parseInt(bytes.toString("latin1", at, line), 16);
    if (!(size > 0)) break;
    pieces.push(bytes.subarray(line + 2, line + 2 + size));
    at = line + 2 + size + 2;
  }
  return Buffer.concat(pieces);
}
