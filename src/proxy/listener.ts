/**
 * Holds the number of connections within the limit, and decides in which lane each begins: HTTP/2 in its own, everything else in the fast one,
 * which hands over what is not strictly plain HTTP/1.1, unless the configuration turns it off.
 */

import type { BlockList, Server, Socket } from "node:net";
import type { Config } from "../config/schema.ts";
import type { ErrorCode } from "../domain/errors.ts";
import type { Clock, Dice, Log } from "../engine/ports.ts";
import { Acceptor, type Accepted, type Standing } from "./acceptor.ts";
import type { Addresses } from "./addresses.ts";
import type { Place } from "./bind.ts";
import type { Exchange } from "./exchange.ts";
import { ANSWERED_ABOVE } from "./files.ts";
import { FastClient } from "./fast/client.ts";
import type { Handles } from "./fast/handle.ts";
import type { FastLane } from "./fast/lane.ts";
import type { Wheel } from "./fast/wheel.ts";
import type { Peer } from "./forwarding.ts";
import type { BodyLimits } from "./general/body.ts";
import { GeneralServer, type UpgradeSide } from "./general/server.ts";
import { Http2Server } from "./h2/server.ts";
import type { HeadLimits } from "./headers.ts";
import { RETIRE_IDLE_MS, type Downstream, type ResponseHead } from "./lane.ts";
import type { PlaneMeter } from "./measure.ts";
import type { PemShelf } from "./pem.ts";
import { sniff, spokenIn, type Sniffed, type Spoken } from "./sniff.ts";

export type { UpgradeSide } from "./general/server.ts";

/** Connections of one address above its limit that still get a readable answer. */
const ANSWERED_ABOVE_OF_ADDRESS = 16;
/** After a refusal the client's bytes are still read for so long, or a reset would erase the answer before it is read. */
const LINGER_MS = 1000;
/** What an HTTP/2 client that is not served reads: empty SETTINGS, GOAWAY with ENHANCE_YOUR_CALM (RFC 9113 §6.5, §6.8, §7). */
const GO_AWAY = Buffer.from("000000040000000000000008070000000000000000000000000b", "hex");

/** An accepted request, in either lane. */
export interface Arrival<R extends ResponseHead> extends Downstream<R> {
  /** The authority to route by; empty only for HTTP/1.0 without one. */
  readonly host: string;
  /** Origin form. */
  readonly target: string;
  exchange: Exchange<R> | undefined;
  /** Goes to the general lane, where the request begins anew; false: it is there already. Only before `send`. */
  leaveLane(): boolean;
}

/** What both lanes need; the limits are read per request, so that a reload reaches open connections. */
export interface Reception {
  readonly clock: Clock;
  readonly dice: Dice;
  readonly log: Log;
  readonly meter: PlaneMeter;
  limits(): Limits;
  /** Takes an accepted request. */
  exchange<R extends ResponseHead>(arrival: Arrival<R>): void;
  /** Takes a WebSocket upgrade, with the bytes that followed its head. */
  upgrade(side: UpgradeSide): void;
}

/** The limits in force, in the form the hot path reads. */
export interface Limits {
  readonly head: HeadLimits;
  readonly body: BodyLimits;
  /** Bytes a second that a request body must come with; 0 for none. Not for gRPC, where a stream may be quiet for a reason. */
  readonly bodyRate: number;
  readonly connections: number;
  /** Connections of one address; Infinity for none. */
  readonly perAddress: number;
  /** Requests on one connection; Infinity for none. HTTP/2 says GOAWAY with the last. */
  readonly requests: number;
  /** Requests that a client may send ahead. */
  readonly pipeline: number;
  readonly headTimeMs: number;
  readonly keepAliveMs: number;
  readonly trusted: BlockList;
  readonly anyTrusted: boolean;
}

/** The limits of a configuration. */
export function limitsOf(config: Config, trusted: BlockList): Limits {
  const { limits } = config;
  const body = limits.body === "none" ? Infinity : limits.body;
  return {
    head: { head: limits.head, fields: limits.fields, url: limits.url, body },
    body: { idleMs: limits.bodyIdle, max: body },
    bodyRate: limits.bodyRate === "none" ? 0 : limits.bodyRate,
    connections: limits.connections,
    perAddress: limits.perAddress === "none" ? Infinity : limits.perAddress,
    requests: limits.requests === "none" ? Infinity : limits.requests,
    pipeline: limits.pipeline,
    headTimeMs: limits.headTime,
    keepAliveMs: limits.keepAlive,
    trusted,
    anyTrusted: config.trustedProxies.length > 0,
  };
}

/** How a listener is made. */
export interface ListenerOptions {
  readonly wheel: Wheel;
  readonly handles: Handles;
  readonly place: Place;
  readonly pems: PemShelf;
  /** Counts one more connection of the whole process; returns how many there are. */
  entered(): number;
  /** One is closed. */
  left(): void;
  readonly addresses: Addresses;
}

/** One listener with its connections. */
export class Listener {
  readonly server: Server;
  readonly #reception: Reception;
  readonly #options: ListenerOptions;
  readonly #proto: "http" | "https";
  readonly #general: GeneralServer;
  readonly #http2: Http2Server;
  readonly #lane: FastLane;
  readonly #fast = new Set<FastClient>();
  /** Connections of which it is not known yet what they speak. */
  readonly #unknown = new Set<Socket>();
  readonly #more: Server[] = [];
  readonly #acceptor: Acceptor;
  #isFast: boolean;
  #isRetiring = false;
  #whenEmpty: (() => void) | undefined = undefined;

  constructor(config: Config, reception: Reception, options: ListenerOptions) {
    this.#reception = reception;
    this.#options = options;
    this.#isFast = config.lane === "auto";
    this.#proto = options.place.tls === undefined ? "http" : "https";
    const left = (): void => this.#left();
    this.#general = new GeneralServer(config, reception, this.#proto, left);
    this.#http2 = new Http2Server(config, reception, this.#proto, left);
    this.#lane = {
      reception,
      wheel: options.wheel,
      handles: options.handles,
      handOver: (socket, peer, first, served) => this.#handOver(socket, peer, served, spokenIn(first)),
      left: (client, isClosed) => {
        this.#fast.delete(client);
        if (isClosed) this.#left();
      },
    };
    this.#acceptor = new Acceptor({
      ...options,
      tls: options.place.tls,
      proxyProtocol: options.place.proxyProtocol,
      headTimeMs: () => reception.limits().headTimeMs,
      clock: reception.clock,
      log: reception.log,
      event: (event) => reception.meter.event(event),
      arrived: (socket, from) => this.#arrived(socket, from),
      named: (standing, from) => this.#named(standing, from),
      accepted: (connection) => this.#accepted(connection),
      left: (standing) => this.#notAdmitted(standing),
    });
    this.server = this.#acceptor.server();
  }

  /** Further servers to be bound to the same port; what they accept is this listener's. */
  spread(count: number): readonly Server[] {
    const more = Array.from({ length: count }, () => this.#acceptor.server());
    this.#more.push(...more);
    return more;
  }

  /** Connections open now. */
  get connections(): number {
    return this.#fast.size + this.#general.size + this.#http2.size + this.#unknown.size + this.#acceptor.size;
  }

  /** Follows a new configuration as far as an open listener can; open connections stay in their lane. */
  reconfigure(config: Config): void {
    this.#isFast = config.lane === "auto";
    this.#general.reconfigure(config);
    this.#http2.reconfigure(config);
  }

  /**
   * Stops accepting; each connection ends with its present answer, idle ones soon. One that is still on its way to a lane has as long as an idle
   * one: its client knows of no end, and may be sending its request. Resolves when none is left.
   */
  async retire(): Promise<void> {
    this.#isRetiring = true;
    const closed = [this.server, ...this.#more].map(
      (server) => new Promise<void>((resolve) => server.close(() => resolve())),
    );
    this.#general.retire();
    this.#http2.retire();
    for (const client of this.#fast) client.retire();
    const timer = setTimeout(() => this.#closeUnready(), RETIRE_IDLE_MS);
    await Promise.all(closed);
    if (this.connections > 0) await new Promise<void>((resolve) => (this.#whenEmpty = resolve));
    clearTimeout(timer);
    this.#closeUnready();
    this.#general.close();
  }

  /** Ends what is left. Returns how many connections had an answer pending. */
  cut(): number {
    let cut = this.#general.cut() + this.#http2.cut();
    for (const client of this.#fast) {
      if (client.isBusy) cut++;
      client.exchange?.close();
      client.socket.destroy();
    }
    this.#closeUnready();
    return cut;
  }

  /** Ends what has not come to a lane. */
  #closeUnready(): void {
    for (const socket of this.#unknown) socket.destroy();
    this.#acceptor.close();
  }

  /** Counts a connection; undefined: one too many even to say so. */
  #arrived(socket: Socket, address: string | undefined): Standing | undefined {
    const standing: Standing = { open: this.#options.entered(), place: undefined, ofAddress: 0 };
    if (standing.open > this.#reception.limits().connections + ANSWERED_ABOVE)
      this.#reception.meter.event("over_connections");
    else if (address === undefined || this.#named(standing, address)) return standing;
    socket.destroy();
    this.#notAdmitted(standing);
    return undefined;
  }

  /** Counts it for its address, from the first moment at which that is known: handshakes that never end count too. */
  #named(standing: Standing, address: string): boolean {
    const { perAddress } = this.#reception.limits();
    if (perAddress === Infinity || address === "") return true;
    const { addresses } = this.#options;
    standing.place = addresses.placeOf(address);
    standing.ofAddress = addresses.enter(standing.place);
    if (standing.ofAddress <= perAddress + ANSWERED_ABOVE_OF_ADDRESS) return true;
    this.#reception.meter.event("over_address");
    return false;
  }

  #notAdmitted(standing: Standing): void {
    this.#leaveAddress(standing);
    this.#left();
  }

  #leaveAddress({ place }: Standing): void {
    if (place !== undefined) this.#options.addresses.leave(place);
  }

  #accepted(connection: Accepted): void {
    const { socket, peer, isHttp2, standing } = connection;
    const { connections, perAddress } = this.#reception.limits();
    const { meter } = this.#reception;
    let last = socket;
    if (standing.open > connections) {
      meter.event("over_connections");
      this.#turnAway(socket, peer, isHttp2, [503, "SPLIT_OVERLOADED", "too many connections"]);
    } else if (standing.ofAddress > perAddress) {
      meter.event("over_address");
      const detail = "too many connections from this address";
      this.#turnAway(socket, peer, isHttp2, [429, "SPLIT_REQUEST_REFUSED", detail]);
    }
    // The lane may have made another socket of it.
    else last = this.#admit(connection);
    if (standing.place !== undefined) last.once("close", () => this.#leaveAddress(standing));
  }

  /** Gives a connection to the lane that it begins in; returns the socket that is now its. */
  #admit({ socket, peer, isHttp2, isUntouched }: Accepted): Socket {
    if (!isHttp2 && this.#isFast) {
      const client = new FastClient(socket, peer, this.#proto, this.#lane, isUntouched);
      if (this.#isRetiring) client.retire();
      this.#fast.add(client);
      return client.socket;
    }
    if (isHttp2) this.#http2.adopt(socket, peer);
    else this.#handOver(socket, peer, 0, this.#proto === "https" ? "http1" : "unknown");
    return socket;
  }

  /** Says why a connection is not served, and ends it. */
  #turnAway(
    socket: Socket,
    peer: Peer,
    isHttp2: boolean,
    [status, code, detail]: readonly [number, ErrorCode, string],
  ): void {
    this.#reception.meter.refused(status);
    if (!isHttp2) {
      this.#general.refuse(socket, peer, status, code, detail);
      return;
    }
    this.#unknown.add(socket);
    const timer = setTimeout(() => socket.destroy(), LINGER_MS);
    timer.unref();
    socket.once("close", () => {
      clearTimeout(timer);
      this.#unknown.delete(socket);
      this.#left();
    });
    socket.resume();
    socket.end(GO_AWAY);
  }

  /** Over TLS the client has said by ALPN what it speaks; in the clear its first bytes say it. @param served requests that it had before */
  #handOver(socket: Socket, peer: Peer, served: number, spoken: Spoken | Sniffed): void {
    if (spoken === "http1") this.#general.adopt(socket, peer, served);
    else if (spoken === "http2") this.#http2.adopt(socket, peer);
    else if (spoken === "late") {
      this.#reception.meter.refused(408);
      this.#general.refuse(socket, peer, 408, "SPLIT_REQUEST_REFUSED", "the request head took too long");
    } else {
      const closed = (): void => {
        this.#unknown.delete(socket);
        this.#left();
      };
      this.#unknown.add(socket);
      socket.once("close", closed);
      sniff(socket, this.#reception.limits().headTimeMs, (sniffed) => {
        this.#unknown.delete(socket);
        socket.off("close", closed);
        this.#handOver(socket, peer, served, sniffed);
      });
    }
  }

  #left(): void {
    this.#options.left();
    if (this.#whenEmpty !== undefined && this.connections === 0) this.#whenEmpty();
  }
}
