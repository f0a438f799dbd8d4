/**
 * What keeps a browser from being used against the admin API: the Host allow-list (DNS rebinding), and the refusal of foreign origins
 * (reliability.md G.43). Pure.
 *
 * Names are compared without their port, since a forwarded port is common and says nothing about who calls: a rebinding attack needs a *name* of
 * its own. For the same reason the very address that a connection arrived at is allowed, so that a probe of a pod's address works.
 */

import type { ErrorCode } from "../domain/errors.ts";

/** What is looked at of a request. */
export interface Caller {
  /** Every Host field. */
  readonly hosts: readonly string[];
  readonly origins: readonly string[];
  readonly fetchSite: readonly string[];
  /** The address at which the connection arrived; undefined on a unix socket. */
  readonly localAddress: string | undefined;
}

/** Why a call goes no further. */
export interface OriginRefusal {
  readonly code: ErrorCode;
  readonly message: string;
}

const HOST = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?$/;
const LOOPBACK_V4 = /^127(?:\.\d{1,3}){3}$/;

/** The name of a listen address or Host value, without port, in lower case; undefined when it is neither. */
export function hostnameOf(text: string): string | undefined {
  return HOST.exec(text)?.[1]?.toLowerCase().replace(/\.$/, "");
}

/** Whether `hostname`, as `hostnameOf` gives it, is this machine's own loopback. */
export function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || LOOPBACK_V4.test(hostname);
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
    if (caller.origins.some((origin) => !isOwnOrigin(origin, host))) {
      return { code: "SPLIT_ORIGIN_REFUSED", message: "the request comes from a page of another origin" };
    }
    if (caller.fetchSite.some((site) => site.toLowerCase().includes("cross-site"))) {
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

function isOwnOrigin(origin: string, host: string): boolean {
  const url = URL.parse(origin);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) return false;
  return url.host === URL.parse(`${url.protocol}//${host}`)?.host;
}
