/**
 * What happens to a connection between its arrival and a lane: the PROXY protocol's header is read, TLS is spoken, and who is at its other end is
 * found out. A lane gets connections that are ready; all that can fail before fails here, is counted, and is nobody else's trouble.
 *
 * One clock limits all of it, and a connection counts from its arrival: a flood of handshakes that never end is bounded like any other flood.
 * All listening sockets of a listener hand their connections to one TLS server that itself listens nowhere; a plain connection passes straight through.
 */

import { createServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type Server as TlsServer, type TLSSocket } from "node:tls";
import type { PlaneEvent } from "../domain/event.ts";
import type { Millis } from "../domain/units.ts";
import type { Clock, Log } from "../engine/ports.ts";
import { Certificates } from "./certificates.ts";
import { innerSocket } from "./fast/handle.ts";
import { Timed, type Wheel } from "./fast/wheel.ts";
import { plainAddress, type Peer } from "./forwarding.ts";
import type { ListenTls, PemShelf } from "./pem.ts";
import { readProxyHeader } from "./proxy-protocol.ts";

/** Trouble of a listening socket comes by the thousand. */
const TROUBLE_MS = 1000;

/** What a connection was counted as when it came. */
export interface Standing {
  /** Connections of the process, this one included. */
  readonly open: number;
  /** What stands for its client's address in the counts; undefined: it is not counted there. */
  place: number | undefined;
  /** Connections of that address, this one included. */
  ofAddress: number;
}

/** A connection that is ready for a lane. */
export interface Accepted {
  /** Paused. */
  readonly socket: Socket;
  readonly peer: Peer;
  /** Its client has chosen HTTP/2 by ALPN. */
  readonly isHttp2: boolean;
  readonly standing: Standing;
  /** Nothing was read from it. */
  readonly isUntouched: boolean;
}

/** What an acceptor is made with. */
export interface AcceptorOptions {
  readonly tls: ListenTls | undefined;
  readonly pems: PemShelf;
  readonly proxyProtocol: boolean;
  /** Header and handshake must be complete by then. */
  readonly headTimeMs: () => number;
  readonly wheel: Wheel;
  readonly clock: Clock;
  readonly log: Log;
  readonly event: (event: PlaneEvent) => void;
  /** Counts a connection; undefined when it was one too many, and is closed. @param address undefined: a header is to tell it */
  readonly arrived: (socket: Socket, address: string | undefined) => Standing | undefined;
  /** A header has told the address; false when it has too many, and the connection is not wanted. */
  readonly named: (standing: Standing, address: string) => boolean;
  readonly accepted: (connection: Accepted) => void;
  /** A connection that had arrived, and was not accepted, is closed. */
  readonly left: (standing: Standing) => void;
}

/** A connection on its way. */
class Arriving extends Timed {
  readonly socket: Socket;
  readonly standing: Standing;
  readonly late: (arriving: Arriving) => void;
  address: string;
  awaits: "proxy_header_refused" | "tls_handshake_failed" = "proxy_header_refused";
  closed: () => void = ignore;

  constructor(socket: Socket, address: string, standing: Standing, late: (arriving: Arriving) => void) {
    super();
    this.socket = socket;
    this.address = address;
    this.standing = standing;
    this.late = late;
  }

  onDue(): void {
    this.late(this);
  }
}

/** Accepts the connections of one listener. */
export class Acceptor {
  readonly #options: AcceptorOptions;
  readonly #certificates: Certificates | undefined;
  readonly #secure: TlsServer | undefined;
  readonly #unfollow: () => void;
  readonly #arriving = new Map<Socket, Arriving>();
  #toldAt: Millis | undefined = undefined;
  #untold = 0;

  /** Throws when the certificates cannot be used. */
  constructor(options: AcceptorOptions) {
    this.#options = options;
    const { tls, pems, log } = options;
    this.#certificates = tls === undefined ? undefined : new Certificates(tls, pems);
    this.#secure = this.#certificates === undefined ? undefined : this.#secureServer(this.#certificates);
    this.#unfollow =
      this.#certificates === undefined || this.#secure === undefined
        ? ignore
        : this.#certificates.follow(this.#secure, log);
  }

  /** One more server, yet to listen, whose connections come here. */
  server(): Server {
    const server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: true });
    server.on("connection", (socket) => this.#arrived(socket));
    server.on("error", (error) => this.#trouble(error));
    return server;
  }

  /** Connections on their way now. */
  get size(): number {
    return this.#arriving.size;
  }

  /** Ends those on their way, and follows no more changes. */
  close(): void {
    this.#unfollow();
    for (const arriving of this.#arriving.values()) {
      this.#gone(arriving, false);
      arriving.socket.destroy();
    }
  }

  #arrived(socket: Socket): void {
    socket.on("error", ignore);
    const { arrived, accepted, proxyProtocol, headTimeMs, wheel } = this.#options;
    const address = plainAddress(socket.remoteAddress);
    const standing = arrived(socket, proxyProtocol ? undefined : address);
    if (standing === undefined) return;
    if (!proxyProtocol && this.#secure === undefined) {
      accepted({ socket, peer: { address, subject: "" }, isHttp2: false, standing, isUntouched: true });
      return;
    }
    const arriving = new Arriving(socket, address, standing, this.#late);
    // One that never began anything, as balancers' checks do, has failed at nothing.
    arriving.closed = () => this.#gone(arriving, socket.bytesRead > 0);
    this.#arriving.set(socket, arriving);
    wheel.set(arriving, headTimeMs());
    socket.on("close", arriving.closed);
    if (proxyProtocol) this.#header(arriving);
    else this.#handshake(arriving);
  }

  #header(arriving: Arriving): void {
    const { socket, standing } = arriving;
    readProxyHeader(socket, (header) => {
      if (header === undefined) {
        this.#gone(arriving, socket.bytesRead > 0);
        socket.destroy();
        return;
      }
      if (header.address !== undefined) arriving.address = header.address;
      if (!this.#options.named(standing, arriving.address)) {
        this.#gone(arriving, false);
        socket.destroy();
        return;
      }
      if (this.#secure !== undefined) this.#handshake(arriving);
      else if (this.#release(arriving)) {
        const peer = { address: arriving.address, subject: "" };
        this.#options.accepted({ socket, peer, isHttp2: false, standing, isUntouched: false });
      }
    });
  }

  #handshake(arriving: Arriving): void {
    arriving.awaits = "tls_handshake_failed";
    // A client that closes its side within the handshake has gone; half-open connections begin after it.
    arriving.socket.allowHalfOpen = false;
    // A documented way to bring a connection in; bytes that were put back come first.
    this.#secure?.emit("connection", arriving.socket);
  }

  #secureServer(certificates: Certificates): TlsServer {
    const secure = createTlsServer({
      ...certificates.serverOptions(),
      ALPNProtocols: ["h2", "http/1.1"],
    });
    secure.on("tlsClientError", (_error, socket) => void socket.destroy());
    secure.on("secureConnection", (socket) => this.#secured(certificates, socket));
    return secure;
  }

  #secured(certificates: Certificates, socket: TLSSocket): void {
    socket.on("error", ignore);
    const raw = innerSocket(socket);
    const arriving = raw === undefined ? undefined : this.#arriving.get(raw);
    const subject = certificates.subjectOf(socket);
    if (arriving === undefined || subject === undefined) {
      if (arriving !== undefined) this.#gone(arriving, true);
      socket.destroy();
      return;
    }
    socket.allowHalfOpen = true;
    if (!this.#release(arriving)) return;
    const { standing, address } = arriving;
    const isHttp2 = socket.alpnProtocol === "h2";
    this.#options.accepted({ socket, peer: { address, subject }, isHttp2, standing, isUntouched: false });
  }

  readonly #late = (arriving: Arriving): void => {
    this.#gone(arriving, true);
    arriving.socket.destroy();
  };

  #gone(arriving: Arriving, isFailure: boolean): void {
    if (!this.#release(arriving)) return;
    if (isFailure) this.#options.event(arriving.awaits);
    this.#options.left(arriving.standing);
  }

  /** It is not on its way any more. False: it has not been for long. */
  #release(arriving: Arriving): boolean {
    if (!this.#arriving.delete(arriving.socket)) return false;
    this.#options.wheel.remove(arriving);
    arriving.socket.off("close", arriving.closed);
    return true;
  }

  /** Out of file descriptors, above all: never fatal, and said at most once a second. */
  #trouble(error: Error): void {
    const { clock, log } = this.#options;
    const now = clock.mono();
    this.#untold++;
    if (this.#toldAt !== undefined && now - this.#toldAt < TROUBLE_MS) return;
    log.error("connections cannot be accepted", { error: error.message, times: this.#untold });
    this.#toldAt = now;
    this.#untold = 0;
  }
}

function ignore(): void {
  // what follows from it is told by `close`
}
