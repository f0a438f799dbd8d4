/**
 * One upgrade as an exchange: the same split, the same table of fields, one outcome. It settles when the upstream has answered; what is
 * open afterwards is long-lived, counted and closed apart. A failed upgrade is not rescued: stable would have to take a
 * connection for hours, and a WebSocket client tries again by itself.
 */

import type { RouteSplit } from "../../engine/routing.ts";
import type { Reason } from "../../domain/outcome.ts";
import { pick } from "../endpoints.ts";
import { bucketByText } from "../affinity.ts";
import { choose } from "../exchange.ts";
import type { Origin } from "../forwarding.ts";
import { fieldOf, type RequestView } from "../request.ts";
import type { Route, Surroundings } from "../route.ts";
import type { UpgradeSide } from "./server.ts";
import { outgoingFields } from "./outgoing.ts";
import { startUpgrade } from "./upgrade.ts";

/** Carries out one upgrade on a route. */
export function upgradeExchange(
  route: Route,
  split: RouteSplit,
  side: UpgradeSide,
  origin: Origin,
  around: Surroundings,
): void {
  const { head, request, socket, bytes, connection } = side;
  const fields = request.rawHeaders;
  const startedAt = around.clock.mono();
  const view: RequestView = {
    method: "GET",
    target: head.target,
    client: origin.client,
    header: (name) => fieldOf(fields, name),
    bucketOf: (sources, salt) => bucketByText(view, sources, salt),
  };
  const { arm, forced, key, cookie } = choose(route, split, view, around);
  const { name, timeouts } = route.config;
  const meter = route.meter.arm(arm);
  const endpoint = pick(arm === "canary" ? route.canary : route.stable, name, arm, around);
  let inFlight = true;
  const { epoch } = route.longLived;
  route.budget.count(startedAt);
  meter.inFlight++;
  const settle = (reason: Reason, status: number, latencyUs: number): void => {
    if (inFlight) meter.inFlight--;
    inFlight = false;
    const totalUs = (around.clock.mono() - startedAt) * 1000;
    route.meter.record(arm, forced, reason, status, latencyUs, totalUs);
    const failed = reason !== "ok" && reason !== "client_gone" && reason !== "unavailable";
    if (arm === "canary" && !forced && failed)
      route.meter.sample(view, key ?? route.identify.keyOf(view), reason, status, false);
  };
  const outgoing = outgoingFields(
    { head, fields, origin, proto: "http" },
    route.override.header,
    around.dice,
  );
  const tunnel = startUpgrade({
    request,
    socket,
    bytes,
    endpoint: endpoint.url,
    target: head.target,
    fields: outgoing,
    cookie,
    connectMs: timeouts.connect,
    headersMs: timeouts.headers,
    now: () => around.clock.mono(),
    opened(latencyUs) {
      settle("ok", 101, latencyUs);
      route.longLived.add(arm, tunnel, epoch);
    },
    answered: (status, latencyUs) => settle(status >= 500 ? "status" : "ok", status, latencyUs),
    failed: settle,
    refuse: (failure) => connection.refuse(failure.status, failure.code, failure.detail),
    ending: () => connection.linger(),
    closed() {
      route.longLived.remove(arm, tunnel);
      connection.over();
    },
  });
}
