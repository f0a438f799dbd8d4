/**
 * Who can reach the admin listener, and which configurations would let in whom nobody meant to: what the schema cannot say of one field
 * alone. Pure.
 *
 * It is checked with the file and not only when the socket is opened, so that `sluice check` and a reload say it too, with line and column
 * (reliability.md 41).
 */

import type { ConfigPath } from "./problems.ts";

/** What is looked at; the whole configuration fits. */
export interface Reach {
  readonly admin: {
    readonly address: string;
    readonly tls?: unknown;
    readonly insecure: boolean;
    readonly tokens: readonly { readonly name: string }[];
  };
  readonly routes: readonly {
    readonly stable: { readonly endpoints: readonly string[] };
    readonly canary: { readonly endpoints: readonly string[] };
  }[];
}

/** One way in that is not meant to be there. */
export interface ReachProblem {
  readonly path: ConfigPath;
  readonly message: string;
}

/** Names in the journal that are not a person's to bear: the program's own decisions, and the token that it made for itself. */
const RESERVED: ReadonlySet<string> = new Set(["sluice", "local", "anonymous"]);
const HOST = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?$/;
const LOOPBACK_V4 = /^127(?:\.\d{1,3}){3}$/;
/** 127.0.0.0/8 as an IPv6 address. */
const MAPPED_LOOPBACK = /^\[::ffff:(?:7f[0-9a-f]{2}:|127\.)/;
const EVERYWHERE: ReadonlySet<string> = new Set(["", "0.0.0.0", "[::]"]);

/** The name of a listen address or Host value, without port, in lower case; undefined when it is neither. */
export function hostnameOf(text: string): string | undefined {
  return HOST.exec(text)?.[1]?.toLowerCase().replace(/\.$/, "");
}

/** Whether `hostname`, as `hostnameOf` gives it, is this machine's own loopback. */
export function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "[::1]" || LOOPBACK_V4.test(hostname);
}

/** Whether only this machine can reach `address`. */
export function isLocalAddress(address: string): boolean {
  if (address.startsWith("unix:")) return true;
  const hostname = hostnameOf(address);
  return hostname !== undefined && isLoopback(hostname);
}

/** What is missing for the admin API to be on `address`, in sentences; nothing on an address that only this machine can reach. */
export function exposureOf({ address, tls, insecure, tokens }: Reach["admin"]): readonly string[] {
  if (isLocalAddress(address)) return [];
  const who = `other machines can reach ${address}: the admin API needs`;
  const found: string[] = [];
  if (tokens.length === 0) found.push(`${who} a token under admin.tokens there`);
  if (tls === undefined && !insecure) {
    found.push(`${who} a certificate there, admin.tls (or admin.insecure: true, and tokens go in the clear)`);
  }
  return found;
}

/** Everything that is wrong, in the order of the file. */
export function reachProblems(config: Reach): readonly ReachProblem[] {
  const { admin } = config;
  const found: ReachProblem[] = [];
  for (const message of exposureOf(admin)) found.push({ path: ["admin", "address"], message });
  if (admin.tls !== undefined && admin.address.startsWith("unix:"))
    found.push({
      path: ["admin", "tls"],
      message: "a unix socket takes no certificate: nobody else can reach it",
    });
  admin.tokens.forEach(({ name }, index) => {
    if (!RESERVED.has(name)) return;
    found.push({
      path: ["admin", "tokens", index, "name"],
      message: `"${name}" is the program's own name in the journal; give the token another`,
    });
  });
  config.routes.forEach((route, index) => {
    for (const arm of ["stable", "canary"] as const) {
      route[arm].endpoints.forEach((endpoint, position) => {
        if (!leadsTo(endpoint, admin.address)) return;
        found.push({
          path: ["routes", index, arm, "endpoints", position],
          message: "this is the admin listener, which no request may reach through the proxy",
        });
      });
    }
  });
  return found;
}

/** Whether an endpoint is the listener at `address`, by its written form: what a name leads to is not looked up here. */
function leadsTo(endpoint: string, address: string): boolean {
  const colon = address.lastIndexOf(":");
  const port = address.slice(colon + 1);
  if (address.startsWith("unix:") || port === "0") return false;
  // There may be ten thousand routes: most endpoints are told apart by their last characters.
  const mayBe = endpoint.endsWith(`:${port}`) || !/:\d+$/.test(endpoint) || port.startsWith("0");
  const url = mayBe ? URL.parse(endpoint) : null;
  if (url === null) return false;
  const implied = url.protocol === "https:" ? "443" : "80";
  if (Number(url.port === "" ? implied : url.port) !== Number(port)) return false;
  const host = address.slice(0, colon).toLowerCase();
  // `h2c:` is none of the URL standard's own schemes, so its host may come as it was written.
  const target = url.hostname.toLowerCase();
  const isHere = isLoopback(target) || EVERYWHERE.has(target) || MAPPED_LOOPBACK.test(target);
  return isHere ? EVERYWHERE.has(host) || isLoopback(host) : target === host;
}
