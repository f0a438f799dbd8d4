/**
 * How bytes go out on a socket: straight to the handle where that works (`handle.ts`), through the stream where not. One question matters to
 * its users: has the kernel taken all of it? If not, they stop their source until they are told.
 *
 * Through TLS nothing is ever taken at once, but what is written is copied: there a little may be under way.
 */

import type { Socket } from "node:net";
import { directWriter, type DirectWriter } from "./handle.ts";

const TLS_LEAD_BYTES = 128 * 1024;
const EMPTY = Buffer.alloc(0);

/** The writing side of one socket. */
export class Outlet {
  readonly #socket: Socket;
  readonly #direct: DirectWriter | undefined;
  readonly #lead: number;
  readonly #flushed: () => void;
  #isWaiting = false;

  /**
   * @param socket  open
   * @param direct  whether the handle may be used
   * @param flushed called once after each time that something was left over, when it is taken
   */
  constructor(socket: Socket, direct: boolean, isTls: boolean, flushed: () => void) {
    this.#socket = socket;
    this.#lead = isTls ? TLS_LEAD_BYTES : 0;
    this.#flushed = flushed;
    this.#direct = direct && !isTls ? directWriter(socket, flushed, () => socket.destroy()) : undefined;
  }

  /** Whether the kernel has not taken all yet. */
  get isPending(): boolean {
    return this.#direct === undefined ? this.#socket.writableLength > this.#lead : this.#direct.isPending;
  }

  /** Sends bytes. False: something is left over, and they must not change until `flushed` was called. */
  write(bytes: Buffer): boolean {
    const socket = this.#socket;
    if (socket.destroyed) return true;
    if (this.#direct !== undefined) return this.#wrote(this.#direct.write(bytes));
    // What has to wait inside the stream is not copied there.
    socket.write(this.#lead > 0 && socket.writableLength > 0 ? Buffer.from(bytes) : bytes);
    return this.#isTaken();
  }

  /** Sends a text as latin1. False: something is left over. */
  writeText(text: string): boolean {
    if (this.#socket.destroyed) return true;
    if (this.#direct !== undefined) return this.#wrote(this.#direct.writeLatin1(text));
    this.#socket.write(text, "latin1");
    return this.#isTaken();
  }

  /** Whether the kernel has taken anything since this was last asked; the platform's own time-outs know it only of the stream's writes. */
  hasMoved(): boolean {
    return this.#direct?.hasMoved() ?? false;
  }

  #wrote(result: "taken" | "pending" | "failed"): boolean {
    // The end of the connection is told by its `close`.
    if (result === "failed") this.#socket.destroy();
    return result !== "pending";
  }

  #isTaken(): boolean {
    if (this.#socket.writableLength <= this.#lead) return true;
    if (!this.#isWaiting) {
      this.#isWaiting = true;
      this.#socket.write(EMPTY, () => {
        this.#isWaiting = false;
        this.#flushed();
      });
    }
    return false;
  }
}
