/**
 * Which route a request is for: by host, exact before `*.`, before any; then by the longest path prefix of whole segments. Pure but for the
 * memory of the last host.
 *
 * Compiled into maps once per configuration, so that ten thousand routes cost what one does, whether they differ by host or by path. The
 * host of the request before is remembered: clients on kept connections nearly always ask for the same one.
 */

import type { RouteConfig } from "../config/schema.ts";

/** Something that can be matched: a route's compiled form. */
export interface Matched {
  readonly config: RouteConfig;
}

/** The routes of one configuration, ready to be matched. */
export interface RouteTable<T extends Matched> {
  readonly all: readonly T[];
  /** The route of a host (with or without port, empty for none) and a target in origin form, query and all; undefined: none. */
  match(host: string, target: string): T | undefined;
}

/** The table of these routes. Of two that match alike, the first in the configuration wins. */
export function routeTable<T extends Matched>(routes: readonly T[]): RouteTable<T> {
  const exact = new Map<string, Paths<T>>();
  const wild = new Map<string, Paths<T>>();
  const open = new Paths<T>();
  for (const route of routes) {
    const host = route.config.match.host?.toLowerCase();
    if (host === undefined) open.add(route);
    else if (host.startsWith("*.")) pathsOf(wild, host.slice(1)).add(route);
    else pathsOf(exact, host).add(route);
  }
  const suffixes = [...wild].sort(([a], [b]) => b.length - a.length);
  let lastHost = "";
  let last: readonly Paths<T>[] = [];

  function candidates(host: string): readonly Paths<T>[] {
    const name = withoutPort(host).toLowerCase();
    const found: Paths<T>[] = [];
    const here = exact.get(name);
    if (here !== undefined) found.push(here);
    for (const [suffix, paths] of suffixes)
      if (name.length > suffix.length && name.endsWith(suffix)) found.push(paths);
    found.push(open);
    return found;
  }

  return {
    all: routes,
    match(host, target) {
      if (host !== lastHost || last.length === 0) {
        lastHost = host;
        last = candidates(host);
      }
      for (let nth = 0; nth < last.length; nth++) {
        // Within the list.
        const found = last[nth]!.find(target);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}

function pathsOf<T extends Matched>(map: Map<string, Paths<T>>, host: string): Paths<T> {
  let paths = map.get(host);
  if (paths === undefined) {
    paths = new Paths();
    map.set(host, paths);
  }
  return paths;
}

/** The routes of one host, by path prefix. `/api` covers `/api` and `/api/x`, not `/apis`; `/api/` is the same prefix. */
class Paths<T extends Matched> {
  readonly #byPrefix = new Map<string, T>();
  /** Slashes of the longest prefix: deeper into a path nothing can match. */
  #depth = 0;

  add(route: T): void {
    const { path } = route.config.match;
    const prefix = path.endsWith("/") ? path.slice(0, -1) : path;
    const before = this.#byPrefix.get(prefix);
    if (before !== undefined && before.config.match.path.length >= path.length) return;
    this.#byPrefix.set(prefix, route);
    this.#depth = Math.max(this.#depth, prefix.split("/").length - 1);
  }

  find(target: string): T | undefined {
    if (this.#depth === 0) return this.#byPrefix.get("");
    const query = target.indexOf("?");
    let end = query < 0 ? target.length : query;
    // The end of the last segment that a prefix may have; every path begins with a slash.
    let at = 0;
    for (let depth = 0; depth < this.#depth && at >= 0; depth++) at = target.indexOf("/", at + 1);
    if (at > 0 && at < end) end = at;
    for (;;) {
      const found = this.#byPrefix.get(target.slice(0, end));
      if (found !== undefined || end === 0) return found;
      end = target.lastIndexOf("/", end - 1);
      if (end < 0) end = 0;
    }
  }
}

function withoutPort(host: string): string {
  const colon = host.lastIndexOf(":");
  return colon < 0 || host.endsWith("]") ? host : host.slice(0, colon);
}
