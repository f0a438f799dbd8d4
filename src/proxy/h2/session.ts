/**
 * One HTTP/2 connection to an endpoint, with its streams.
 *
 * It is open once the upstream's SETTINGS are there, and not before: an endpoint that speaks something else, or nothing, is then a failed
 * connection on which no request was sent, and how many streams it takes is known. It promises that no stream begins beyond
 * that number, and its owner one `left`, whatever ended it. After a time-out nothing begins on it until it has answered a PING; a
 * connection that does not is dead, and ends (reliability.md 12, 14, 24, 30).
 */

import {
  connect,
  type ClientHttp2Session,
  type ClientHttp2Stream,
  type ClientSessionRequestOptions,
} from "node:http2";
import type { Socket } from "node:net";
import type { Millis } from "../../domain/units.ts";
import { FAILURES, failureOf, type Failure } from "../failure.ts";
import type { Waiter } from "../slots.ts";
import { HEAD_BYTES } from "./fields.ts";
import type { Link } from "../dial.ts";
import { onceOpen, type Place } from "./upstream-socket.ts";

/** Streams of one connection at the most, whatever the upstream would take. */
export const STREAMS_MAX = 100;
/** A connection without streams is closed after so long. */
const IDLE_MS = 60_000;
/** A connection that was ended is destroyed after so long, should its last bytes not be taken. */
const ENDING_MS = 1000;
/** What one stream may send unread. */
const STREAM_WINDOW = 256 * 1024;
/** What all may send together between two looks at it; a stream that stalls is held by its own window. */
const SESSION_WINDOW = 4 * 1024 * 1024;

/** The smallest field counts as 32 bytes of a head (RFC 9113 §6.5.2). */
const FIELDS_MAX = HEAD_BYTES / 32;
/** Heads of ours are bounded before they come here. */
const SENT_HEAD_BYTES = 1024 * 1024;
const MEMORY_MB = 64;
const ALPN_HTTP2: readonly string[] = ["h2"];
const ALPN_EITHER: readonly string[] = ["h2", "http/1.1"];

/** What Node's `connect` is given; in one object, as its types do not know the last option for clients. */
const OPTIONS = {
  settings: { enablePush: false, initialWindowSize: STREAM_WINDOW, maxHeaderListSize: HEAD_BYTES },
  maxHeaderListPairs: FIELDS_MAX,
  maxSendHeaderBlockLength: SENT_HEAD_BYTES,
  maxSessionMemory: MEMORY_MB,
  maxReservedRemoteStreams: 0,
  strictSingleValueFields: false,
};

/** Who wants a stream. Of these one is called, once, unless it was forgotten before. */
export interface Tenant extends Waiter<UpstreamSession> {
  /** There is room for a stream of its own now. */
  onOpen(session: UpstreamSession): void;
  /** The session could not be opened. */
  onNoSession(failure: Failure): void;
  /** The endpoint chose HTTP/1.1. */
  onHttp1(): void;
}

/** Who keeps sessions. */
export interface SessionOwner {
  /** It is open; for these, who had waited for it, there is no room. */
  opened(session: UpstreamSession, crowd: readonly Tenant[]): void;
  /** There is room for one more stream, or it is idle. */
  freed(session: UpstreamSession): void;
  /** The endpoint chose HTTP/1.1; the tenants are about to hear it. */
  isHttp1(): void;
  /** It takes no more streams, and what it has is lost. Last. */
  left(session: UpstreamSession): void;
}

/** How a session is made. */
export interface SessionParts {
  readonly place: Place;
  readonly owner: SessionOwner;
  readonly connectMs: Millis;
  /** Whether HTTP/1.1 would do: it is offered too. */
  readonly mayBeHttp1: boolean;
  /** How many streams it is believed to take until it says so itself. */
  readonly streams: number;
}

/** One connection. */
export class UpstreamSession {
  /** Streams that were answered on it. 0: it may never have worked. */
  answered = 0;
  /** Streams above this id were not processed, as the upstream said when it went away (RFC 9113 §6.8). */
  lastProcessed = Infinity;
  readonly #owner: SessionOwner;
  readonly #link: Link;
  readonly #socket: Socket;
  #http2: ClientHttp2Session | undefined = undefined;
  #state: "opening" | "open" | "leaving" | "closed" = "opening";
  readonly #waiting = new Set<Tenant>();
  #streams = 0;
  #max: number;
  #isRetiring = false;
  /** Until a PING is answered. */
  #doubt: NodeJS.Timeout | undefined = undefined;
  /** The time to connect, then that of idleness. */
  #timer: NodeJS.Timeout | undefined;

  constructor({ place, owner, connectMs, mayBeHttp1, streams }: SessionParts) {
    this.#owner = owner;
    this.#max = streams;
    this.#timer = setTimeout(() => this.#fail(FAILURES.connectTimeout), connectMs);
    this.#link = place.dial(mayBeHttp1 ? ALPN_EITHER : ALPN_HTTP2);
    const { socket } = this.#link;
    this.#socket = socket;
    socket.setNoDelay(true);
    let trouble: unknown = undefined;
    socket.on("error", (error) => (trouble ??= error));
    socket.on("close", () => this.#fail(failureOf(trouble, "connect")));
    onceOpen(socket, (speaks) => {
      if (this.#state !== "opening") return;
      if (speaks === "h2") this.#begin(place);
      else if (mayBeHttp1) this.#http1();
      else this.#fail(FAILURES.connect);
    });
  }

  /** Streams that may begin on it now; while it is opening, tenants that may still enter. */
  get room(): number {
    if (this.#isRetiring) return 0;
    if (this.#state === "opening") return this.#max - this.#waiting.size;
    if (this.#state !== "open" || this.#doubt !== undefined || this.isLost || !this.#link.isCurrent) return 0;
    return this.#max - this.#streams;
  }

  /** Whether streams may begin on it without waiting for it. */
  get isOpen(): boolean {
    return this.#state === "open";
  }

  /** Whether it is open, and has no stream. */
  get isIdle(): boolean {
    return this.#state === "open" && this.#streams === 0;
  }

  /** Whether it is open, and does not lead where the endpoint is now. */
  get isStale(): boolean {
    return this.#state === "open" && !this.#link.isCurrent;
  }

  /** Whether its connection is gone. */
  get isLost(): boolean {
    return this.#http2?.destroyed !== false;
  }

  /** How many streams it takes at once; 0: the upstream wants none. */
  get capacity(): number {
    return this.#max;
  }

  /** Whether the upstream takes WebSockets on it (RFC 8441). */
  get takesTunnels(): boolean {
    return this.#http2?.remoteSettings.enableConnectProtocol === true;
  }

  /** Lets a tenant have a stream, now or when it is open. Only while there is room. */
  enter(tenant: Tenant): void {
    if (this.#state === "open") tenant.onOpen(this);
    else this.#waiting.add(tenant);
  }

  /** A tenant waits no more for it to open. */
  forget(tenant: Tenant): void {
    this.#waiting.delete(tenant);
  }

  /** Begins a stream; only in `onOpen`. Throws when Node will not send these fields. */
  request(fields: readonly string[], options: ClientSessionRequestOptions): ClientHttp2Stream {
    // It is open.
    const stream = this.#http2!.request(fields, options);
    this.#disarm();
    this.#streams++;
    stream.on("error", ignore);
    stream.once("close", () => this.#streamClosed());
    return stream;
  }

  /** A request on it has timed out. Nothing more begins on it until it has answered a PING; it has so long for that. */
  doubt(patienceMs: Millis): void {
    if (this.#state !== "open" || this.#doubt !== undefined || this.isLost) return;
    this.#patience(patienceMs);
    this.#http2?.ping((error) => {
      if (error !== null || this.#doubt === undefined) return;
      clearTimeout(this.#doubt);
      this.#doubt = undefined;
      this.#owner.freed(this);
    });
  }

  /** No more streams: ends with the last of those that it has, or has promised. */
  retire(): void {
    this.#isRetiring = true;
    if (this.#state === "open") this.#state = "leaving";
    if (this.#streams === 0 && this.#waiting.size === 0) this.end();
  }

  /** Ends it, with all its streams. */
  end(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#disarm();
    clearTimeout(this.#doubt);
    const socket = this.#socket;
    if (this.#http2 === undefined || this.#http2.destroyed) socket.destroy();
    else {
      this.#http2.destroy();
      const timer = setTimeout(() => socket.destroy(), ENDING_MS);
      socket.once("close", () => clearTimeout(timer));
    }
    this.#owner.left(this);
  }

  #begin({ scheme, authority }: Place): void {
    const session = connect(`${scheme}://${authority}`, {
      ...OPTIONS,
      createConnection: () => this.#socket,
    });
    this.#http2 = session;
    session.on("error", ignore);
    // Node closes it then.
    session.on("frameError", () => this.retire());
    session.on("remoteSettings", ({ maxConcurrentStreams }) => {
      this.#max = Math.min(maxConcurrentStreams ?? STREAMS_MAX, STREAMS_MAX);
      if (this.#state === "opening") this.#opened();
      else if (this.room > 0) this.#owner.freed(this);
    });
    session.on("goaway", (_code, lastStreamId) => {
      this.lastProcessed = Math.min(this.lastProcessed, lastStreamId);
      this.retire();
    });
    session.on("close", () => this.#fail(FAILURES.connect));
    session.setLocalWindowSize(SESSION_WINDOW);
  }

  #opened(): void {
    this.#state = "open";
    this.#disarm();
    const tenants = this.#leaveTenants();
    this.#owner.opened(this, tenants.splice(this.#max));
    for (const tenant of tenants) tenant.onOpen(this);
    if (this.#isRetiring) this.retire();
    else if (this.#streams === 0) {
      this.#idle();
      this.#owner.freed(this);
    }
  }

  /** What ends it while it is opening is its tenants' failure; later it is just its end. */
  #fail(failure: Failure): void {
    const tenants = this.#leaveTenants();
    this.end();
    for (const tenant of tenants) tenant.onNoSession(failure);
  }

  #http1(): void {
    const tenants = this.#leaveTenants();
    this.#owner.isHttp1();
    this.end();
    for (const tenant of tenants) tenant.onHttp1();
  }

  #leaveTenants(): Tenant[] {
    const tenants = [...this.#waiting];
    this.#waiting.clear();
    return tenants;
  }

  #streamClosed(): void {
    this.#streams--;
    const isLast = this.#streams === 0;
    if (this.#state === "leaving") {
      if (isLast) this.end();
    } else if (this.#state === "open") {
      if (this.isLost) {
        this.end();
        return;
      }
      if (isLast) this.#idle();
      this.#owner.freed(this);
    }
  }

  #idle(): void {
    this.#disarm();
    this.#timer = setTimeout(() => this.retire(), IDLE_MS);
    this.#timer.unref();
  }

  #patience(ms: Millis): void {
    const read = this.#socket.bytesRead;
    this.#doubt = setTimeout(() => {
      // Alive and busy; whether it takes new streams is still not known.
      if (this.#socket.bytesRead > read) this.#patience(ms);
      else this.end();
    }, ms);
    this.#doubt.unref();
  }

  #disarm(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

function ignore(): void {
  // what follows from it is told by `close`
}
