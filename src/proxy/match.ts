/**
 * Which route a request is for: by host, exact before `*.`, before any; then by the longest path prefix of whole segments. Pure.
 *
 * Compiled into lists sorted once per configuration, so that a match costs no allocation beyond the lower-cased host.
 */

import type { RouteConfig } from "../config/schema.ts";

/** Something that can be matched: a route's compiled form. */
export interface Matched {
  readonly config: RouteConfig;
}

/** The routes of one configuration, ready to be matched. */
export interface RouteTable<T extends Matched> {
  readonly all: readonly T[];
  /** The route of a host (with or without port, empty for none) and a path; undefined: none. */
  match(host: string, path: string): T | undefined;
}

/** The table of these routes. Of two that match alike, the first in the configuration wins. */
export function routeTable<T extends Matched>(routes: readonly T[]): RouteTable<T> {
  const exact = new Map<string, T[]>();
  const wild: { readonly suffix: string; readonly routes: T[] }[] = [];
  const open: T[] = [];
  for (const route of routes) {
    const host = route.config.match.host?.toLowerCase();
    if (host === undefined) open.push(route);
    else if (host.startsWith("*.")) {
      const suffix = host.slice(1);
      const found = wild.find((each) => each.suffix === suffix);
      if (found === undefined) wild.push({ suffix, routes: [route] });
      else found.routes.push(route);
    } else exact.set(host, [...(exact.get(host) ?? []), route]);
  }
  for (const list of [...exact.values(), ...wild.map((each) => each.routes), open])
    list.sort(longestPathFirst);
  wild.sort((a, b) => b.suffix.length - a.suffix.length);
  return {
    all: routes,
    match(host, path) {
      const name = withoutPort(host).toLowerCase();
      const here = byPath(exact.get(name), path);
      if (here !== undefined) return here;
      for (const each of wild) {
        if (name.length > each.suffix.length && name.endsWith(each.suffix)) {
          const found = byPath(each.routes, path);
          if (found !== undefined) return found;
        }
      }
      return byPath(open, path);
    },
  };
}

function longestPathFirst(a: Matched, b: Matched): number {
  return b.config.match.path.length - a.config.match.path.length;
}

function byPath<T extends Matched>(routes: readonly T[] | undefined, path: string): T | undefined {
  if (routes === undefined) return undefined;
  for (const route of routes) if (isUnder(path, route.config.match.path)) return route;
  return undefined;
}

/** Whether `path` is `prefix` or lies below it, by whole segments: `/api` covers `/api` and `/api/x`, not `/apis`. */
export function isUnder(path: string, prefix: string): boolean {
  if (prefix.endsWith("/")) return path.startsWith(prefix) || path === prefix.slice(0, -1);
  return path.startsWith(prefix) && (path.length === prefix.length || path[prefix.length] === "/");
}

function withoutPort(host: string): string {
  const colon = host.lastIndexOf(":");
  return colon < 0 || host.endsWith("]") ? host : host.slice(0, colon);
}
