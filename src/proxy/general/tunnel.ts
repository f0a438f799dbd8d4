/**
 * One upgrade as an exchange: the same split, the same table of fields, one outcome. It settles when the upstream has answered; what is
 * open afterwards is long-lived, counted and closed apart. A failed upgrade is not rescued: stable would have to take a
 * connection for hours, and a WebSocket client tries again by itself.
 */

import type { RouteSplit } from "../../engine/routing.ts";
import type { Reason } from "../../domain/outcome.ts";
import type { Told } from "../accounts.ts";
import { NO_ANSWER } from "../endpoints.ts";
import { bucketByText } from "../affinity.ts";
import { choose } from "../choice.ts";
import { settle } from "../exchange.ts";
import { FAILURES } from "../failure.ts";
import type { Origin } from "../forwarding.ts";
import { bound } from "../long-lived.ts";
import { startTunnel } from "../h2/upstream-tunnel.ts";
import { fieldOf, type RequestView } from "../request.ts";
import type { Route, Surroundings } from "../route.ts";
import type { UpgradeSide } from "./server.ts";
import { outgoingFields } from "./outgoing.ts";
import { startUpgrade, type Upgrade } from "./upgrade.ts";

/** Carries out one upgrade on a route. */
export function upgradeExchange(
  route: Route,
  split: RouteSplit,
  side: UpgradeSide,
  origin: Origin,
  around: Surroundings,
): void {
  const { head, fields, socket, bytes } = side;
  const startedAt = around.clock.mono();
  const view: RequestView = {
    method: "GET",
    target: head.target,
    client: origin.client,
    subject: side.peer.subject,
    header: (name) => fieldOf(fields, name),
    bucketOf: (sources, salt) => bucketByText(view, sources, salt),
  };
  const choice = choose(route, split, view, around);
  const { arm, cookie } = choice;
  const { timeouts } = route;
  const meter = route.meter.arm(arm);
  const pool = arm === "canary" ? route.canary : route.stable;
  const endpoint = pool.pick(startedAt);
  const { host } = head;
  const { proto, version } = side;
  const told: Told = {
    view,
    host,
    proto,
    version,
    startedAt,
    get parent() {
      return view.header("traceparent");
    },
  };
  const story = around.accounts.begin(route, choice, split.salt, told);
  let inFlight = true;
  const { epoch, tunnels } = route.longLived;
  route.budget.count(startedAt);
  meter.inFlight++;
  around.overload.inFlight++;
  const settled = (reason: Reason, status: number, latencyUs: number): void => {
    if (inFlight) {
      meter.inFlight--;
      around.overload.inFlight--;
    }
    inFlight = false;
    const now = around.clock.mono();
    const failed = reason !== "ok" && reason !== "client_gone" && reason !== "unavailable";
    if (failed || reason === "ok") {
      const isAnswer = reason === "ok" || reason === "status";
      pool.answered(endpoint, isAnswer ? status : NO_ANSWER, now);
    }
    settle(route, choice, view, reason, status, latencyUs, startedAt, now, false, story);
    story?.over(reason, status, now);
  };
  const isOverTunnels = tunnels[arm] >= route.config.longLived.connections;
  if (isOverTunnels || meter.inFlight > pool.concurrency) {
    meter.event(isOverTunnels ? "over_tunnels" : "over_concurrency");
    const { reason, status, code, detail } = FAILURES.overloaded;
    settled(reason, status, -1);
    side.refuse(status, code, detail);
    return;
  }
  tunnels[arm]++;
  const parent = story?.sends(arm, endpoint.url, startedAt) ?? "";
  const outgoing = outgoingFields(
    { head, fields, origin, proto, version },
    route.override.header,
    around.dice,
    parent === "" ? undefined : { parent, keepsState: story?.keepsState === true },
  );
  const upgrade: Upgrade = {
    socket,
    version: side.version,
    bytes,
    dialler: endpoint.dialler,
    target: head.target,
    fields: outgoing,
    cookie,
    connectMs: timeouts.connect,
    headersMs: timeouts.headers,
    idleMs: timeouts.idle,
    now: () => around.clock.mono(),
    opened(latencyUs) {
      settled("ok", 101, latencyUs);
      bound(socket, route.config.longLived, () => tunnel.close());
      route.longLived.add(arm, tunnel, epoch);
    },
    answered: (status, latencyUs) => settled(status >= 500 ? "status" : "ok", status, latencyUs),
    failed: settled,
    refuse: (failure) => side.refuse(failure.status, failure.code, failure.detail),
    ending: () => side.linger(),
    closed() {
      tunnels[arm]--;
      route.longLived.remove(arm, tunnel);
      side.over();
    },
  };
  const tunnel = endpoint.isHttp2Only ? startTunnel(upgrade, endpoint.http2) : startUpgrade(upgrade);
}
