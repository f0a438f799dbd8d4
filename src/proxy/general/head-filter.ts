/**
 * What undici reads of a connection while a response head is awaited, looked at before it. Two things it would do otherwise: end the connection
 * over a `100 Continue`, which a client that expects none has to drop (RFC 9110 §15.2; reliability.md 21), and take the answer of another
 * protocol that llhttp knows, RTSP or ICE, or another version, for HTTP/1.1.
 *
 * undici asks its socket for bytes by `read`, so that is where they are looked at. Nothing is guessed: a head that has begun to be informational is kept
 * back until it is whole, as the strict scanner of the fast lane has it, and goes on as it came, or not at all; everything from the final head on
 * passes.
 */

import type { Socket } from "node:net";
import { MORE, PLAIN, ResponseScan, scanResponse } from "../fast/scan.ts";

const NOTHING = Buffer.alloc(0);
const SCAN = new ResponseScan();
const VERSION = "HTTP/1.";
/** `HTTP/1.1 100` */
const START_BYTES = 12;

/** Who awaits a head. */
export interface Awaiting {
  /** A byte of a response was read. */
  onResponseStarted(): void;
  /** A 100 was left out. */
  onContinue(): void;
  /** What came is not HTTP/1.x. */
  onForeign(): void;
}

/** The reading side of one upstream connection. */
export class HeadFilter {
  readonly #max: number;
  #held: Buffer = NOTHING;
  #awaiting: Awaiting | undefined = undefined;

  /** @param max bytes that a head may have */
  constructor(socket: Socket, max: number) {
    this.#max = max;
    const plain = socket.read.bind(socket);
    const read = (size?: number): unknown => {
      for (;;) {
        const piece: unknown = plain(size);
        if (this.#awaiting === undefined || !Buffer.isBuffer(piece)) return piece;
        const passed = this.#pass(this.#awaiting, piece);
        // Nothing at all would mean that there is no more to be had now.
        if (passed.length > 0) return passed;
      }
    };
    Object.defineProperty(socket, "read", { value: read, configurable: true, writable: true });
  }

  /** What is read from now on is to be a response. */
  await(awaiting: Awaiting): void {
    this.#awaiting = awaiting;
    this.#held = NOTHING;
  }

  /** What goes on to undici of the bytes held and these. */
  #pass(awaiting: Awaiting, piece: Buffer): Buffer {
    awaiting.onResponseStarted();
    const bytes = this.#held.length === 0 ? piece : Buffer.concat([this.#held, piece]);
    this.#held = NOTHING;
    const kept: Buffer[] = [];
    let at = 0;
    while (this.#awaiting === awaiting) {
      const start = bytes.toString("latin1", at, at + START_BYTES);
      if (!VERSION.startsWith(start.slice(0, VERSION.length))) {
        this.#awaiting = undefined;
        awaiting.onForeign();
        return NOTHING;
      }
      const isInformational = start.length < START_BYTES || start.charAt(9) === "1";
      const verdict = isInformational ? scanResponse(bytes, at, bytes.length, this.#max, SCAN) : undefined;
      if (verdict === MORE) {
        this.#held = Buffer.from(bytes.subarray(at));
        return Buffer.concat(kept);
      }
      if (verdict !== PLAIN) {
        // The final head, or something for undici to refuse.
        this.#awaiting = undefined;
        break;
      }
      if (SCAN.status === 100) awaiting.onContinue();
      else kept.push(bytes.subarray(at, SCAN.end));
      at = SCAN.end;
    }
    kept.push(bytes.subarray(at));
    return kept.length === 1 ? kept[0]! : Buffer.concat(kept);
  }
}
