/**
 * How much a client may ask of an HTTP/2 connection without a request: resets, SETTINGS and PING by count, every other frame by its bytes.
 *
 * The platform shows only some frames. What it does not show (WINDOW_UPDATE, PRIORITY, empty DATA, unknown ones) still comes as bytes: those that
 * belong to no head, no body and no acknowledgement of what was sent are overhead, and overhead is bounded (reliability.md 48). Pure; time
 * and counts are arguments.
 */

import type { Millis } from "../../domain/units.ts";

/** The time over which everything is counted. */
const WINDOW_MS = 10_000;
/** A small frame with its head. */
const FRAME_BYTES = 32;
/** What may always be: trailers, padding, the heads that the platform refuses by itself. */
const SLACK_BYTES = 128 * 1024;
/** What was on its way when a request ended that was not read to its end: a window. */
const WINDOW_BYTES = 64 * 1024;
/** Overhead that a byte of a request body may bring along. Messages of ten bytes have one of their own; a byte in each frame would have nine. */
const PER_BODY_BYTE = 2;
/** Bytes sent per byte of WINDOW_UPDATE that they may bring back: some clients send one for every small message. */
const SENT_PER_BYTE = 4;

/** What may be done in one window. */
export interface CalmLimits {
  /** Requests that the client resets. */
  readonly resets: number;
  /** SETTINGS, PING and small frames. */
  readonly frames: number;
}

/** Why a connection is ended. */
export type Flood = "http2_resets" | "http2_flood";

/** The account of one connection. */
export class Calm {
  readonly #limits: CalmLimits;
  #since: Millis;
  #resets = 0;
  #frames = 0;
  #heads = 0;
  #body = 0;
  #unread = 0;
  #readBefore: number;
  #sentBefore = 0;

  /** @param read bytes of the connection that were read before */
  constructor(limits: CalmLimits, now: Millis, read: number) {
    this.#limits = limits;
    this.#since = now;
    this.#readBefore = read;
  }

  /** A request has begun, with a head of so many bytes. */
  head(bytes: number): void {
    this.#heads += bytes;
  }

  /** A request ended, and not all of its body was read. */
  unread(): void {
    this.#unread++;
  }

  /** So much of a request body was read. */
  body(bytes: number): void {
    this.#body += bytes;
  }

  /** The client has reset a request; the trouble, if that was one too many. */
  reset(): Flood | undefined {
    return ++this.#resets > this.#limits.resets ? "http2_resets" : undefined;
  }

  /** A SETTINGS or PING came; the trouble, if that was one too many. */
  frame(): Flood | undefined {
    return ++this.#frames > this.#limits.frames ? "http2_flood" : undefined;
  }

  /**
   * Looks at the bytes of the connection since the window began; begins a new one when it is over. To be called about once a second.
   *
   * @param read bytes of the connection, without those that wait for their reader
   */
  look(now: Millis, read: number, sent: number): Flood | undefined {
    const overhead = read - this.#readBefore - this.#body;
    const allowed =
      this.#limits.frames * FRAME_BYTES +
      SLACK_BYTES +
      this.#heads +
      this.#unread * WINDOW_BYTES +
      this.#body * PER_BODY_BYTE +
      (sent - this.#sentBefore) / SENT_PER_BYTE;
    if (overhead > allowed) return "http2_flood";
    if (now - this.#since < WINDOW_MS) return undefined;
    this.#since = now;
    this.#resets = 0;
    this.#frames = 0;
    this.#heads = 0;
    this.#body = 0;
    this.#unread = 0;
    this.#readBefore = read;
    this.#sentBefore = sent;
    return undefined;
  }
}
