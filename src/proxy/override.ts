/**
 * Overrides: a header, cookie or query parameter that forces an arm, with the route's secret or from an allowed network
 * (product.md §2.4). Forced exchanges are served and counted apart, and never are evidence.
 *
 * A wrong secret is no override at all, and says nothing: the request takes the normal split. The same holds for `canary` while the
 * route is rolled back or stopped, unless the rule says `always`: whoever forces the canary there is better served than refused.
 */

import { createHash, timingSafeEqual } from "node:crypto";
import type { BlockList } from "node:net";
import type { RouteConfig, SecretConfig } from "../config/schema.ts";
import type { Secret } from "../config/secret.ts";
import { networksOf } from "../config/networks.ts";
import type { Arm } from "../domain/split.ts";
import { isIn } from "./forwarding.ts";
import { cookieOf, queryOf, type RequestView } from "./request.ts";

/** A route's override rule, compiled. */
export interface Override {
  /** Lower-case name of the header, which is not forwarded; empty: none. */
  readonly header: string;
  /** The arm a request forces; undefined: none, or not allowed to. @param canaryOpen `RouteSplit.forcedCanary` */
  armOf(view: RequestView, canaryOpen: boolean): Arm | undefined;
}

const NO_OVERRIDE: Override = { header: "", armOf: () => undefined };

/** The override of a route. `secretOf` reads the secret once, here. */
export function overrideOf(route: RouteConfig, secretOf: (source: SecretConfig) => Secret): Override {
  const rule = route.override;
  if (rule === undefined) return NO_OVERRIDE;
  const header = rule.header?.toLowerCase() ?? "";
  const networks: BlockList = networksOf(rule.from);
  const hash = rule.secret === undefined ? undefined : hashed(secretOf(rule.secret).reveal());
  const said = (view: RequestView): string | undefined =>
    (header === "" ? undefined : view.header(header)) ??
    (rule.cookie === undefined ? undefined : cookieOf(view.header("cookie"), rule.cookie)) ??
    (rule.query === undefined ? undefined : queryOf(view.target, rule.query));
  // Hashes of both sides: the comparison takes the same time whatever the length of what was sent.
  const knowsSecret = (given: string | undefined): boolean =>
    given !== undefined && hash !== undefined && timingSafeEqual(hashed(given), hash);
  return {
    header,
    armOf(view, canaryOpen) {
      const value = said(view);
      if (value === undefined) return undefined;
      const colon = value.indexOf(":");
      const name = colon < 0 ? value : value.slice(0, colon);
      if (name !== "stable" && name !== "canary") return undefined;
      if (name === "canary" && !canaryOpen && !rule.always) return undefined;
      return knowsSecret(colon < 0 ? undefined : value.slice(colon + 1)) || isIn(networks, view.client)
        ? name
        : undefined;
    },
  };
}

function hashed(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
