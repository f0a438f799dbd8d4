/**
 * What keeps a browser from being used against the admin API: the Host allow-list (DNS rebinding), and the refusal of foreign origins
 * (reliability.md G.43). Pure.
 *
 * Names are compared without their port, since a forwarded port is common and says nothing about who calls: a rebinding attack needs a *name* of
 * its own. For the same reason the very address that a connection arrived at is allowed, so that a probe of a pod's address works.
 */

import { hostnameOf, isLoopback } from "../config/reach.ts";
import type { ErrorCode } from "../domain/errors.ts";

/** What is looked at of a request. */
export interface Caller {
  /** Every Host field. */
  readonly hosts: readonly string[];
  readonly origins: readonly string[];
  /** Every Sec-Fetch-Site field: where a browser says that the request comes from. */
  readonly fetchSite: readonly string[];
  /** Whether it asks for more than to read. */
  readonly isWrite: boolean;
  /** Whether it came over TLS of ours. */
  readonly isEncrypted: boolean;
  /** The address at which the connection arrived; undefined on a unix socket. */
  readonly localAddress: string | undefined;
}

/** Why a call goes no further. */
export interface OriginRefusal {
  readonly code: ErrorCode;
  readonly message: string;
}

/** A function that refuses what no honest caller sends; undefined lets the call through. `address`: what is listened on. */
export function createOriginCheck(
  address: string,
  hosts: readonly string[],
): (caller: Caller) => OriginRefusal | undefined {
  const allowed = new Set<string>();
  for (const text of [address, ...hosts]) {
    const hostname = hostnameOf(text);
    if (hostname !== undefined) allowed.add(hostname);
  }
  return (caller) => {
    const host = caller.hosts.length === 1 ? (caller.hosts[0] ?? "") : "";
    const hostname = hostnameOf(host);
    const isOwn =
      hostname !== undefined &&
      (allowed.has(hostname) || isLoopback(hostname) || hostname === bracketed(caller.localAddress));
    if (!isOwn) {
      return { code: "SPLIT_HOST_REFUSED", message: "the Host is none by which this API may be called" };
    }
    if (caller.origins.some((origin) => !isOwnOrigin(origin, host, caller.isEncrypted))) {
      return { code: "SPLIT_ORIGIN_REFUSED", message: "the request comes from a page of another origin" };
    }
    if (caller.fetchSite.some((site) => isForeign(site.trim().toLowerCase(), caller.isWrite))) {
      return { code: "SPLIT_ORIGIN_REFUSED", message: "the request comes from a page of another site" };
    }
    return undefined;
  };
}

/** A socket's address as it would stand in a Host. */
function bracketed(address: string | undefined): string | undefined {
  const plain = address?.toLowerCase().replace(/^::ffff:(?=\d+\.)/, "");
  return plain?.includes(":") === true ? `[${plain}]` : plain;
}

/**
 * Whether a browser says of a request that another site made it. A read may come from the same site, as a link on a dashboard next door does; a
 * write must come from a page of this very origin or from no page at all, whatever a browser of tomorrow calls the rest.
 */
function isForeign(site: string, isWrite: boolean): boolean {
  if (site === "same-origin" || site === "none") return false;
  return isWrite || site !== "same-site";
}

/** Behind a proxy that ends TLS an origin is `https:` though we speak plain HTTP; where TLS is ours, a page over plain HTTP is not our own. */
function isOwnOrigin(origin: string, host: string, isEncrypted: boolean): boolean {
  const url = URL.parse(origin);
  if (url === null || (url.protocol !== "https:" && (isEncrypted || url.protocol !== "http:"))) return false;
  return url.host === URL.parse(`${url.protocol}//${host}`)?.host;
}
