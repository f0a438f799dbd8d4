/** What a reload changes, and what it cannot change while running. Pure. */

import type { Config } from "../config/schema.ts";

/** Sections that are bound when the program starts. */
const BOUND = ["listen", "workers", "state", "reports", "backups", "environment", "notify"] as const;
/** Sections that are in force at once, for connections that are open too. */
const FOLLOWED = [
  "limits",
  "overload",
  "trustedProxies",
  "plans",
  "freezes",
  "drain",
  "lane",
  "bulletins",
  "safety",
  "flags",
  "tracing",
  "accessLog",
] as const;

/** The parts of the configuration that differ: those in force at once, and those that wait for a restart. */
export function reloadDifferences(
  before: Config,
  after: Config,
): { readonly changed: readonly string[]; readonly needsRestart: readonly string[] } {
  const differs = (a: unknown, b: unknown): boolean => JSON.stringify(a) !== JSON.stringify(b);
  const routesBefore = new Map(before.routes.map((route) => [route.name, route]));
  const routes = after.routes.filter((route) => differs(routesBefore.get(route.name), route));
  const kept = new Set(after.routes.map((route) => route.name));
  const gone = before.routes.filter((route) => !kept.has(route.name));
  const differing = <Name extends keyof Config>(names: readonly Name[]): Name[] =>
    names.filter((name) => differs(before[name], after[name]));
  // The operators' tokens follow, their listener does not.
  const [tokensBefore, tokens] = [before.admin.tokens, after.admin.tokens];
  const isAdminBound = differs({ ...before.admin, tokens: [] }, { ...after.admin, tokens: [] });
  return {
    changed: [
      ...differing(FOLLOWED),
      ...(differs(tokensBefore, tokens) ? ["admin.tokens"] : []),
      ...[...routes, ...gone].map((route) => `routes.${route.name}`),
    ],
    needsRestart: [...differing(BOUND), ...(isAdminBound ? ["admin"] : [])],
  };
}
