/**
 * How the bytes of a client's connection come in: into one buffer that all connections of the thread share, where that works (`handle.ts`), else
 * as buffers of the platform's.
 *
 * While a body is uploaded a connection reads into a buffer of its own, because what the upstream's kernel does not take at once stays
 * in it.
 */

import type { Socket } from "node:net";
import { borrowLarge, returnLarge, type Large } from "./buffers.ts";
import { socketAround, takeHandle } from "./handle.ts";

const SHARED_BYTES = 64 * 1024;
const OWN_BYTES = 64 * 1024;
const SHARED = Buffer.allocUnsafeSlow(SHARED_BYTES);

/** Who takes the bytes. */
export interface Taker {
  /** Bytes have come. They stay what they are only during the call, unless `isOwn`. */
  onBytes(bytes: Buffer, from: number, to: number, isOwn: boolean): void;
}

/** The reading side of one connection. */
export class Intake {
  readonly socket: Socket;
  readonly #isShared: boolean;
  #taker: Taker | undefined;
  #own: Buffer | undefined = undefined;
  #large: Large | undefined = undefined;

  /** Takes over a paused socket. @param shared whether its handle may be used: only where nothing was read yet, and over TLS never */
  constructor(accepted: Socket, shared: boolean, taker: Taker) {
    this.#taker = taker;
    const handle = shared ? takeHandle(accepted) : undefined;
    this.#isShared = handle !== undefined;
    if (handle === undefined) {
      this.socket = accepted;
      accepted.on("data", this.#onData);
      return;
    }
    this.socket = socketAround(
      handle,
      () => this.#own ?? SHARED,
      // The very buffer given just above.
      (count, bytes) => this.#onRead(bytes as Buffer, count),
    );
  }

  /** From the next read on, bytes come into a buffer that is not used for anything else. */
  own(): void {
    if (!this.#isShared || this.#own !== undefined) return;
    this.#large = borrowLarge();
    this.#own = this.#large?.place ?? Buffer.allocUnsafeSlow(OWN_BYTES);
  }

  /** From the next read on, bytes come into the shared buffer. @param isFree whether nobody writes from the own one any more */
  share(isFree: boolean): void {
    if (this.#large !== undefined) returnLarge(this.#large, isFree);
    this.#large = undefined;
    this.#own = undefined;
  }

  /** Gives the connection away as an ordinary stream that is paused, beginning with these bytes, which are copied. */
  release(bytes: Buffer, from: number, to: number): Socket {
    const { socket } = this;
    this.#taker = undefined;
    this.share(false);
    const rest = Buffer.from(bytes.subarray(from, to));
    socket.pause();
    if (!this.#isShared) {
      socket.off("data", this.#onData);
      if (rest.length > 0) socket.unshift(rest);
    } else if (rest.length > 0) socket.push(rest);
    return socket;
  }

  readonly #onData = (bytes: Buffer): void => {
    this.#taker?.onBytes(bytes, 0, bytes.length, true);
  };

  #onRead(bytes: Buffer, count: number): boolean {
    if (this.#taker === undefined) return this.socket.push(Buffer.from(bytes.subarray(0, count)));
    this.#taker.onBytes(bytes, 0, count, bytes !== SHARED);
    return true;
  }
}
