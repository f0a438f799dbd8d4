/**
 * The only way to open a connection to an endpoint, for every lane: where it leads, and how TLS is spoken on it.
 *
 * It promises that no connection is made with options, nor used for another exchange at an address, that the configuration or the endpoint's name
 * does not lead to any more. An endpoint that is an address costs no more than the call of `connect`; one that is a name is dialled at the addresses that
 * the resolver knows, one after the other until one takes the connection (RFC 8305), without a lookup.
 */

import { connect, isIP, type LookupFunction, type Socket, type TcpNetConnectOpts } from "node:net";
import { connect as connectTls } from "node:tls";
import { upstreamTls, type PemOf, type UpstreamTls } from "../config/upstream-tls.ts";
import type { ArmConfig } from "../config/schema.ts";
import { bareHost } from "../domain/host.ts";
import type { NameListener, NamePlace, NameRules, Resolver } from "./resolve.ts";

/** What dialling takes. */
export interface DialMeans {
  readonly resolver: Resolver;
  readonly pem: PemOf;
}

/** Who is to know about an endpoint's place. */
export interface DialListener extends NameListener {
  /** Idle connections may not be current any more. */
  stale(): void;
}

/** An address that does not answer is given up for the next one after so long, if there is a next one. */
const ATTEMPT_MS = 1000;

/** Options of a socket without TLS; the platform's types do not know the last one. */
type SocketOptions = Partial<TcpNetConnectOpts> & { readonly highWaterMark?: number };

/** Where an endpoint is. */
export interface Address {
  /** A name or an address, without brackets. */
  readonly host: string;
  readonly port: number;
  readonly isTls: boolean;
  /** `host:port`, for a request without a Host. */
  readonly authority: string;
}

/** The address in an endpoint's URL: `http://`, `https://` or `h2c://`. */
function addressOf(url: string): Address {
  const isTls = url.startsWith("https:");
  // URL knows the default ports of http and https alone.
  const { hostname, port, host } = new URL(url.replace(/^h2c:/, "http:"));
  return {
    host: bareHost(hostname),
    port: port === "" ? (isTls ? 443 : 80) : Number(port),
    isTls,
    authority: host,
  };
}

/** One connection that was dialled. */
export class Link {
  readonly socket: Socket;
  /** Of the dialler, when it was last looked whether this is current. */
  stamp: number;
  readonly tls: UpstreamTls | undefined;
  readonly #dialler: Dialler;

  constructor(socket: Socket, stamp: number, tls: UpstreamTls | undefined, dialler: Dialler) {
    this.socket = socket;
    this.stamp = stamp;
    this.tls = tls;
    this.#dialler = dialler;
  }

  /** Whether it leads where the endpoint is now, by the rules of now; else it must carry nothing more. */
  get isCurrent(): boolean {
    return this.stamp === this.#dialler.stamp || this.#dialler.renew(this);
  }
}

/** How connections to one endpoint are opened. Kept over reloads. */
export class Dialler {
  readonly address: Address;
  readonly #means: DialMeans;
  readonly #listener: DialListener;
  #config: ArmConfig["tls"] = undefined;
  #name: NamePlace | undefined = undefined;
  #tls: UpstreamTls | undefined = undefined;
  /** By the protocols that were offered. */
  readonly #sessions = new Map<string, Buffer>();
  /** Another number whenever a link may have ceased to be current. */
  stamp = 0;

  /** @param url `http://`, `https://` or `h2c://`. Throws as `configure`. */
  constructor(url: string, config: ArmConfig, means: DialMeans, listener: DialListener) {
    this.address = addressOf(url);
    this.#means = means;
    this.#listener = listener;
    this.configure(config);
  }

  /** New options; they bind every connection that is opened or used from now on. Throws AppError SPLIT_CONFIG_INVALID when they cannot be used. */
  configure({ tls, dns }: ArmConfig): void {
    this.#config = tls;
    this.renewTls();
    const { host } = this.address;
    if (isIP(host) !== 0) return;
    if (this.#name === undefined) this.#name = this.#watch(host, dns);
    else this.#name.obey(dns);
  }

  /** The same options, with what the files hold now. Throws as `configure`. */
  renewTls(): void {
    if (!this.address.isTls) return;
    const before = this.#tls;
    const next = upstreamTls(this.address.host, this.#config, this.#means.pem, before);
    if (next === before) return;
    this.#tls = next;
    this.#sessions.clear();
    if (before !== undefined) this.#outdate();
  }

  /**
   * Opens a connection. It may fail before it is open by `error` and `close`, as sockets do; the wait for a name's first answer is part of it.
   *
   * @param alpn protocols to offer over TLS, the best first
   * @param more options of the socket, without TLS
   */
  dial(alpn: readonly string[], more: SocketOptions = {}): Link {
    const { host, port, isTls } = this.address;
    const name = this.#name;
    const place =
      name === undefined
        ? { host, port }
        : {
            host,
            port,
            lookup: lookupOf(name),
            autoSelectFamily: true,
            autoSelectFamilyAttemptTimeout: ATTEMPT_MS,
          };
    const socket = isTls ? this.#dialTls(place, alpn) : connect({ ...place, ...more });
    if (name !== undefined) follow(socket, name, isTls ? "secureConnect" : "connect");
    return new Link(socket, this.stamp, this.#tls, this);
  }

  /** Whether a link of an older stamp is current all the same. It has the present stamp then. */
  renew(link: Link): boolean {
    if (link.tls !== this.#tls) return false;
    if (this.#name !== undefined && !this.#name.has(link.socket.remoteAddress ?? "")) return false;
    link.stamp = this.stamp;
    return true;
  }

  close(): void {
    this.#name?.close();
  }

  #dialTls(place: TcpNetConnectOpts, alpn: readonly string[]): Socket {
    const key = alpn.join();
    const session = this.#sessions.get(key);
    const tls = this.#tls;
    const socket = connectTls({
      ...tls?.options,
      ...place,
      ALPNProtocols: [...alpn],
      ...(session === undefined ? {} : { session }),
    });
    // Comes when the certificate was found to be good, and not before.
    socket.on("session", (fresh) => {
      if (tls === this.#tls) this.#sessions.set(key, fresh);
    });
    // Whatever was wrong, the next handshake is a whole one.
    const failed = (): void => void this.#sessions.delete(key);
    socket.once("error", failed);
    socket.once("secureConnect", () => socket.off("error", failed));
    return socket;
  }

  #watch(host: string, rules: NameRules): NamePlace {
    return this.#means.resolver.watch(host, rules, {
      dnsFailed: () => this.#listener.dnsFailed(),
      dnsChanged: (isElsewhere) => {
        this.#listener.dnsChanged(isElsewhere);
        this.#outdate();
      },
    });
  }

  #outdate(): void {
    this.stamp++;
    this.#listener.stale();
  }
}

/** What `connect` calls for the addresses of a name: it asks for all. */
function lookupOf(name: NamePlace): LookupFunction {
  return (_host, _options, take) =>
    name.addresses((error, addresses) =>
      take(
        error,
        addresses.map((address) => ({ address, family: isIP(address) })),
      ),
    );
}

/** Tells a name's place of the addresses that do not answer, and of a connection that was never open. */
function follow(socket: Socket, name: NamePlace, opened: "connect" | "secureConnect"): void {
  let isOpen = false;
  socket.once(opened, () => (isOpen = true));
  socket.on("connectionAttemptFailed", (address: string) => name.failed(address));
  socket.on("connectionAttemptTimeout", (address: string) => name.failed(address));
  socket.once("close", () => {
    if (!isOpen) name.askAgain();
  });
}
