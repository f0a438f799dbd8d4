/**
 * The response of the exchange whose turn it is, on its way to the client: head and body go out as one piece where they lie behind each
 * other, which is how they were read. One per connection, used again for every exchange.
 *
 * A client that takes nothing of it is not waited for without end.
 */

import type { Socket } from "node:net";
import { composeHead, dateLineAt, editHead, type FastHead } from "./head.ts";
import { Outlet } from "./outlet.ts";

const EMPTY = Buffer.alloc(0);
const CRLF = Buffer.from("\r\n", "latin1");
const LAST_CHUNK = Buffer.from("0\r\n\r\n", "latin1");

/** The writing side of one client connection. */
export class Response {
  readonly #socket: Socket;
  readonly #outlet: Outlet;
  /** Whether a head was written, so that no other answer can be given. */
  hasHead = false;
  /** Some of the present response was given to the kernel. */
  #isOnItsWay = false;
  /** The upstream ends its body by closing: here it goes in chunks. */
  #reframes = false;
  #isStalled = false;
  // Written, and not sent yet.
  #out: Buffer = EMPTY;
  #from = 0;
  #to = 0;

  /** @param flushed called when a client that was behind has caught up */
  constructor(socket: Socket, direct: boolean, isTls: boolean, flushed: () => void) {
    this.#socket = socket;
    this.#outlet = new Outlet(socket, direct, isTls, () => {
      this.#isStalled = false;
      socket.setTimeout(0);
      flushed();
    });
  }

  /** The next exchange begins. */
  reset(): void {
    this.hasHead = false;
    this.#reframes = false;
  }

  /** A 102 or 103. */
  informational(head: FastHead): void {
    this.append(composeHead(head, "", false));
  }

  /** The head, edited where it lies if possible. @param cookie Set-Cookie value, or "" @param wall milliseconds since the epoch */
  head(head: FastHead, cookie: string, closes: boolean, wall: number): void {
    const { scan } = head;
    this.#reframes = head.hasBody && !scan.chunked && scan.length < 0;
    let extra = scan.hasDate ? "" : dateLineAt(wall);
    if (cookie !== "") extra += `set-cookie: ${cookie}\r\n`;
    if (closes) extra += "connection: close\r\n";
    if (this.#reframes) extra += "transfer-encoding: chunked\r\n";
    this.hasHead = true;
    this.#isOnItsWay = false;
    const from = head.isSimple ? editHead(head, extra) : -1;
    if (from < 0) this.append(composeHead(head, extra, head.hasBody && scan.chunked));
    else this.#extend(head.bytes, from, scan.end);
  }

  /** Forgets the head and what was written behind it, unless some of it was sent. Returns whether it did. */
  takeBack(): boolean {
    if (!this.hasHead || this.#isOnItsWay) return false;
    this.reset();
    this.#forget();
    return true;
  }

  /** A piece of the body. */
  write(bytes: Buffer, from: number, to: number): void {
    if (this.#reframes) {
      const size = Buffer.from(`${(to - from).toString(16)}\r\n`, "latin1");
      this.append(Buffer.concat([size, bytes.subarray(from, to), CRLF]));
    } else if (bytes === this.#out && from === this.#to) this.#to = to;
    else this.#extend(bytes, from, to);
  }

  /** Bytes of our own. */
  append(bytes: Buffer): void {
    this.#extend(bytes, 0, bytes.length);
  }

  /** The end of the body. */
  end(): void {
    if (this.#reframes) this.append(LAST_CHUNK);
    this.flush();
  }

  /** Sends what was written. False: the client is behind; `flushed` is called when it has caught up. @param patienceMs how long it may take nothing */
  flush(patienceMs = 0): boolean {
    if (this.#to > this.#from) this.#push();
    if (!this.#outlet.isPending) return true;
    if (patienceMs > 0 && !this.#isStalled && !this.#socket.destroyed) {
      this.#isStalled = true;
      this.#socket.setTimeout(patienceMs);
    }
    return false;
  }

  /** The time is over in which a client may take nothing: goes on waiting if it took something all the same. */
  waited(patienceMs: number): void {
    if (this.#outlet.hasMoved()) this.#socket.setTimeout(patienceMs);
    else this.#socket.destroy();
  }

  get isPending(): boolean {
    return this.#outlet.isPending;
  }

  #extend(bytes: Buffer, from: number, to: number): void {
    if (this.#to > this.#from) this.#push();
    this.#out = bytes;
    this.#from = from;
    this.#to = to;
  }

  #push(): void {
    const piece = this.#out.subarray(this.#from, this.#to);
    this.#forget();
    this.#isOnItsWay = true;
    this.#outlet.write(piece);
  }

  #forget(): void {
    this.#out = EMPTY;
    this.#from = 0;
    this.#to = 0;
  }
}
