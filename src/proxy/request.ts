/**
 * A request as policy sees it: method, target, fields and the client's address, and nothing of the lane that read it. Pure.
 *
 * Affinity, overrides and route matching take this small view and never a library's request object, so that every lane shares
 * them. Fields are read where they lie in the raw list; nothing is copied, joined or lower-cased beforehand.
 */

/** Where a sticky key may be, compiled. */
export interface KeySource {
  readonly kind: "header" | "cookie" | "query" | "jwt" | "ip" | "tls";
  /** Header names in lower case; the rest as configured. */
  readonly name: string;
}

/** Methods that may be sent twice by themselves (RFC 9110 §9.2.2). */
export const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]);

/** What `bucketOf` says when none of the sources is there. */
export const NO_KEY = -1;

/** What policy may know of a request. */
export interface RequestView {
  readonly method: string;
  /** Origin form: path and query, byte for byte (latin1). */
  readonly target: string;
  /** The client's address as believed after `trustedProxies`; IPv4 in dotted form. */
  readonly client: string;
  /** Subject of the client's verified certificate; empty when it showed none. */
  readonly subject: string;
  /** Value of the first field of that name; undefined when there is none. @param name in lower case */
  header(name: string): string | undefined;
  /** Bucket of the sticky key: that of the first source that is there and not empty; `NO_KEY` when none is. */
  bucketOf(sources: readonly KeySource[], salt: string): number;
}

/** Value of the first field called `name` in a raw list (name, value, name, value, …); undefined when there is none. */
export function fieldOf(fields: readonly string[], name: string): string | undefined {
  for (let at = 0; at < fields.length; at += 2) {
    const found = fields[at] ?? "";
    if (found.length === name.length && (found === name || found.toLowerCase() === name))
      return fields[at + 1];
  }
  return undefined;
}

/** Value of a cookie in a Cookie field, quotes and all; undefined when absent. The first one of that name counts. */
export function cookieOf(cookies: string | undefined, name: string): string | undefined {
  if (cookies === undefined) return undefined;
  let from = 0;
  while (from < cookies.length) {
    let to = cookies.indexOf(";", from);
    if (to < 0) to = cookies.length;
    while (from < to && (cookies[from] === " " || cookies[from] === "\t")) from++;
    if (cookies.startsWith(name, from) && cookies[from + name.length] === "=")
      return cookies.slice(from + name.length + 1, to).trimEnd();
    from = to + 1;
  }
  return undefined;
}

/** Raw (undecoded) value of a query parameter; undefined when absent. The first one of that name counts. */
export function queryOf(target: string, name: string): string | undefined {
  let from = target.indexOf("?");
  if (from < 0) return undefined;
  from++;
  while (from <= target.length) {
    let to = target.indexOf("&", from);
    if (to < 0) to = target.length;
    if (target.startsWith(name, from)) {
      const behind = from + name.length;
      if (behind === to) return "";
      if (target[behind] === "=") return target.slice(behind + 1, to);
    }
    from = to + 1;
  }
  return undefined;
}
