/**
 * A request body on its way from a client (a `node:http` message or an HTTP/2 stream) to an upstream, with back-pressure, limits, and what is needed to send it again.
 *
 * The upstream's library gets a stream of ours and never the client's own: it destroys its stream when an upstream fails, and with an
 * IncomingMessage that would destroy the client's connection. So a sink may die and another take its place, primed with what is
 * held. A stalled or oversized body is the client's fault and is told apart from the upstream not reading.
 */

import { Readable } from "node:stream";
import type { RequestBody } from "../lane.ts";
import type { Pace } from "../pace.ts";
import type { StreamBody } from "./sender.ts";

/** The rest of an unwanted body that is still read, so that the connection can be kept. */
const DISCARD_BYTES = 256 * 1024;
const DISCARD_MS = 2000;

/** What a body may be. */
export interface BodyLimits {
  /** No byte for so long, milliseconds: 408. */
  readonly idleMs: number;
  /** Bytes; Infinity for none: 413. */
  readonly max: number;
}

/** Where a body comes from. */
export interface BodySource {
  readonly stream: Readable;
  /** Ends the client's side: it goes on sending what nobody wants. */
  cut(): void;
  /** The body is late or too large: the status and why. */
  fault(status: number, detail: string): void;
  /** Trailer fields that may be passed on, once `stream` has ended. */
  trailers(): readonly string[];
}

class Sink extends Readable {
  readonly #want: () => void;

  constructor(want: () => void) {
    super({ highWaterMark: 64 * 1024 });
    this.#want = want;
    // Its user takes its own listener off before it is through with it.
    this.on("error", ignore);
  }

  override _read(): void {
    this.#want();
  }
}

/** The body of one request. Reads nothing before `open`. */
export class ClientBody implements RequestBody, StreamBody {
  readonly #source: BodySource;
  readonly #limits: BodyLimits;
  readonly #pace: Pace | undefined;
  #sink: Sink | undefined;
  #held: Buffer[] = [];
  #heldBytes = 0;
  #holdMax = 0;
  #bytes = 0;
  #started = false;
  #complete = false;
  #discarding = false;
  #idle: NodeJS.Timeout | undefined;
  #idleMs: number;

  /** @param pace watches how fast the client is; left out: it may be as slow as it likes */
  constructor(source: BodySource, limits: BodyLimits, pace?: Pace) {
    this.#source = source;
    this.#limits = limits;
    this.#idleMs = limits.idleMs;
    this.#pace = pace;
  }

  hold(maxBytes: number): void {
    this.#holdMax = maxBytes;
  }

  get isHeld(): boolean {
    return this.#bytes === this.#heldBytes;
  }

  /** The whole body; undefined when it is not complete, or not held as a whole. */
  copy(): Buffer | undefined {
    return this.#complete && this.isHeld ? Buffer.concat(this.#held) : undefined;
  }

  get isComplete(): boolean {
    return this.#complete;
  }

  get trailers(): readonly string[] {
    return this.#source.trailers();
  }

  /** From now on the client may send nothing for so long, milliseconds. */
  allowIdle(ms: number): void {
    this.#idleMs = ms;
  }

  /** Whether it is the client that everybody waits for. */
  get isWaiting(): boolean {
    return this.#idle !== undefined;
  }

  /** A stream of the whole body, from its first byte; the one opened before is closed. Only while `isHeld`. */
  open(): Readable {
    this.#close();
    const sink = new Sink(() => {
      if (this.#sink === sink) this.#want();
    });
    this.#sink = sink;
    for (const chunk of this.#held) sink.push(chunk);
    if (this.#complete) sink.push(null);
    if (!this.#started) this.#start();
    return sink;
  }

  discard(): void {
    if (this.#discarding) return;
    this.#discarding = true;
    this.#close();
    this.#waited();
    this.#held = [];
    if (this.#complete) return;
    this.#bytes = 0;
    if (!this.#started) this.#start();
    this.#source.stream.resume();
    const timer = setTimeout(() => {
      if (!this.#complete) this.#source.cut();
    }, DISCARD_MS);
    timer.unref();
  }

  /** The connection is gone or the exchange over: no timer is left behind. */
  release(): void {
    this.#waited();
    this.#close();
    this.#held = [];
  }

  #start(): void {
    this.#started = true;
    const { stream } = this.#source;
    stream.on("data", (chunk: Buffer) => this.#data(chunk));
    stream.on("end", () => this.#end());
    stream.pause();
  }

  #want(): void {
    if (this.#complete || this.#discarding) return;
    this.#pace?.wait();
    if (this.#idle === undefined) {
      this.#idle = setTimeout(() => {
        this.#waited();
        this.#source.fault(408, "the request body stopped");
      }, this.#idleMs);
    }
    this.#source.stream.resume();
  }

  #waited(): void {
    this.#pace?.rest();
    if (this.#idle !== undefined) clearTimeout(this.#idle);
    this.#idle = undefined;
  }

  #data(chunk: Buffer): void {
    this.#bytes += chunk.length;
    if (this.#discarding) {
      // Enough was read to be polite; what is left ends with the connection, a little later, so that the answer arrives first.
      if (this.#bytes > DISCARD_BYTES) this.#source.stream.pause();
      return;
    }
    if (this.#bytes > this.#limits.max) {
      this.#waited();
      this.#source.fault(413, "the request body is too large");
      return;
    }
    if (this.#pace?.took(chunk.length) === false) {
      this.#waited();
      this.#source.fault(408, "the request body came too slowly");
      return;
    }
    this.#keep(chunk);
    this.#idle?.refresh();
    if (this.#sink?.push(chunk) !== true) {
      this.#waited();
      this.#source.stream.pause();
    }
  }

  #keep(chunk: Buffer): void {
    const before = this.#bytes - chunk.length;
    if (this.#heldBytes === before && this.#bytes <= this.#holdMax) {
      this.#held.push(chunk);
      this.#heldBytes = this.#bytes;
    } else this.#held = [];
  }

  #end(): void {
    this.#complete = true;
    this.#waited();
    this.#sink?.push(null);
  }

  #close(): void {
    const sink = this.#sink;
    this.#sink = undefined;
    sink?.destroy();
  }
}

function ignore(): void {
  // the stream's user has been told already
}
