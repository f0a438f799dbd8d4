/**
 * Accepts connections, holds their number within the limit, and decides in which lane each begins: in the fast one, which hands over what is
 * not strictly plain, unless the configuration turns it off.
 */

import { createServer, type BlockList, type Server, type Socket } from "node:net";
import { createServer as createTlsServer } from "node:tls";
import type { Config } from "../config/schema.ts";
import type { Clock, Dice, Log } from "../engine/ports.ts";
import type { TlsTexts } from "./bind.ts";
import type { Exchange } from "./exchange.ts";
import { FastClient, type FastLane } from "./fast/client.ts";
import type { Handles } from "./fast/handle.ts";
import type { Wheel } from "./fast/wheel.ts";
import { plainAddress } from "./forwarding.ts";
import type { BodyLimits } from "./general/body.ts";
import { GeneralServer, type UpgradeSide } from "./general/server.ts";
import type { HeadLimits } from "./headers.ts";
import type { Downstream, ResponseHead } from "./lane.ts";
import type { PlaneMeter } from "./measure.ts";

export type { UpgradeSide } from "./general/server.ts";

/** Connections above the limit that still get a readable answer; beyond them they are dropped. */
const ANSWERED_ABOVE = 128;

/** An accepted request, in either lane. */
export interface Arrival<R extends ResponseHead> extends Downstream<R> {
  /** The authority to route by; empty only for HTTP/1.0 without one. */
  readonly host: string;
  /** Origin form. */
  readonly target: string;
  exchange: Exchange<R> | undefined;
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
  readonly connections: number;
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
    connections: limits.connections,
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
  readonly tls: TlsTexts | undefined;
  /** Counts one more connection of the whole process; returns how many there are. */
  entered(): number;
  /** One is closed. */
  left(): void;
}

/** One listener with its connections. */
export class Listener {
  readonly server: Server;
  readonly #reception: Reception;
  readonly #options: ListenerOptions;
  readonly #proto: "http" | "https";
  readonly #general: GeneralServer;
  readonly #lane: FastLane;
  readonly #fast = new Set<FastClient>();
  readonly #more: Server[] = [];
  readonly #handshakeMs: number;
  #isFast: boolean;
  #isRetiring = false;
  #whenEmpty: (() => void) | undefined = undefined;

  constructor(config: Config, reception: Reception, options: ListenerOptions) {
    this.#reception = reception;
    this.#options = options;
    this.#isFast = config.lane === "auto";
    this.#proto = options.tls === undefined ? "http" : "https";
    this.#general = new GeneralServer(config, reception, this.#proto, () => this.#left());
    this.#lane = {
      reception,
      wheel: options.wheel,
      handles: options.handles,
      handOver: (socket) => this.#general.adopt(socket),
      left: (client, isClosed) => {
        this.#fast.delete(client);
        if (isClosed) this.#left();
      },
    };
    this.#handshakeMs = Math.ceil(config.limits.headTime);
    this.server = this.#acceptor();
  }

  /** Further servers to be bound to the same port; what they accept is this listener's. */
  spread(count: number): readonly Server[] {
    const more = Array.from({ length: count }, () => this.#acceptor());
    this.#more.push(...more);
    return more;
  }

  /** Connections open now. */
  get connections(): number {
    return this.#fast.size + this.#general.size;
  }

  /** Follows a new configuration as far as an open listener can; open connections stay in their lane. */
  reconfigure(config: Config): void {
    this.#isFast = config.lane === "auto";
    this.#general.reconfigure(config);
  }

  /** Stops accepting; each connection ends with its present answer, idle ones now. Resolves when none is left. */
  async retire(): Promise<void> {
    this.#isRetiring = true;
    const closed = [this.server, ...this.#more].map(
      (server) => new Promise<void>((resolve) => server.close(() => resolve())),
    );
    this.#general.retire();
    for (const client of this.#fast) client.retire();
    await Promise.all(closed);
    if (this.connections > 0) await new Promise<void>((resolve) => (this.#whenEmpty = resolve));
    this.#general.close();
  }

  /** Ends what is left. Returns how many connections had an answer pending. */
  cut(): number {
    let cut = this.#general.cut();
    for (const client of this.#fast) {
      if (client.isBusy) cut++;
      client.exchange?.close();
      client.socket.destroy();
    }
    return cut;
  }

  #acceptor(): Server {
    const { tls } = this.#options;
    const basics = { allowHalfOpen: true, noDelay: true };
    let server: Server;
    if (tls === undefined) {
      server = createServer({ ...basics, pauseOnConnect: true });
      server.on("connection", (socket) => this.#accepted(socket));
    } else {
      const secure = createTlsServer({
        ...basics,
        ...tls,
        ALPNProtocols: ["http/1.1"],
        minVersion: "TLSv1.2",
        handshakeTimeout: this.#handshakeMs,
      });
      // A handshake that fails is its client's trouble, and its socket is destroyed already.
      secure.on("tlsClientError", ignore);
      secure.on("secureConnection", (socket) => this.#accepted(socket));
      server = secure;
    }
    // Out of file descriptors, above all: said by the log, never fatal.
    server.on("error", (error) => this.#reception.log.error("listener", { error: error.message }));
    return server;
  }

  #accepted(socket: Socket): void {
    socket.on("error", ignore);
    const { connections } = this.#reception.limits();
    const open = this.#options.entered();
    if (open > connections + ANSWERED_ABOVE) {
      socket.destroy();
      this.#left();
    } else if (open > connections) {
      this.#reception.meter.refused(503);
      this.#general.refuse(socket);
    } else if (this.#isFast) {
      const client = new FastClient(socket, plainAddress(socket.remoteAddress), this.#proto, this.#lane);
      client.isRetiring = this.#isRetiring;
      this.#fast.add(client);
    } else this.#general.adopt(socket);
  }

  #left(): void {
    this.#options.left();
    if (this.#whenEmpty !== undefined && this.connections === 0) this.#whenEmpty();
  }
}

function ignore(): void {
  // what follows from it is told by `close`
}
