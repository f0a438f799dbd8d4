/** The last hour of every route, in memory. */

import t from "tap";
import { EVERY_MS, POINTS, keepHistory } from "../../src/telemetry/history.ts";
import type { RouteStatus } from "../../src/engine/status.ts";
import { fakeClock } from "../support/clock.ts";
import { routeStatus } from "../support/fake-admin.ts";

t.test("a point each five seconds, in columns, and no more than an hour of them", async (t) => {
  const clock = fakeClock();
  let requests = 0;
  const arms = (): RouteStatus["arms"] => {
    const { stable, canary } = routeStatus().arms;
    return {
      stable: { ...stable, requests: ++requests, p95Ms: 31.23456 },
      canary: { ...canary, p50Ms: null },
    };
  };
  const history = keepHistory({ routes: () => [routeStatus({ arms: arms() })] }, clock);
  t.equal(history.of("app"), undefined, "nothing yet");
  const begun = clock.wall();
  await clock.advance(2 * EVERY_MS);
  const first = history.of("app");
  t.same(first?.atMs, [begun + EVERY_MS, begun + 2 * EVERY_MS]);
  t.same(first?.weight, [25, 25]);
  t.same(first?.stable.requests, [1, 2]);
  t.same(first?.stable.p95Ms, [31.23, 31.23]);
  t.same(first?.canary.p50Ms, [null, null]);
  await clock.advance(POINTS * EVERY_MS);
  const last = history.of("app");
  t.equal(last?.atMs.length, POINTS);
  t.equal(last?.canary.p99Ms.length, POINTS);
  t.equal(last?.stable.requests[0], 3, "the oldest are gone");
  history.close();
  t.equal(clock.timers, 0);
});

t.test("a route that is gone is forgotten", async (t) => {
  const clock = fakeClock();
  let routes = [routeStatus(), routeStatus({ name: "api" })];
  const history = keepHistory({ routes: () => routes }, clock);
  await clock.advance(EVERY_MS);
  t.equal(history.of("api")?.atMs.length, 1);
  routes = routes.slice(0, 1);
  await clock.advance(EVERY_MS);
  t.equal(history.of("api"), undefined);
  t.equal(history.of("app")?.atMs.length, 2);
  history.close();
});
