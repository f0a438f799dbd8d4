/** A data plane for tests: configuration as an object, a hand-moved clock, even dice, and a split that can be set. */

import { configSchema } from "../../src/config/schema.ts";
import { Secret } from "../../src/config/secret.ts";
import { ARM_EVENTS, PLANE_EVENTS } from "../../src/domain/event.ts";
import { REASON_INDEX, REASONS } from "../../src/domain/outcome.ts";
import type { Slice } from "../../src/domain/slice.ts";
import type { Arm } from "../../src/domain/split.ts";
import { millis, ppmOfPercent } from "../../src/domain/units.ts";
import type { PlaneMeasure, RouteMeasure } from "../../src/engine/ports.ts";
import { clock } from "../../src/platform.ts";
import { isDocumentedOnly, laneConfig } from "./lanes.ts";
import { PemWatch } from "../../src/proxy/pem-watch.ts";
import { createPlane } from "../../src/proxy/local-plane.ts";
import type { Plane, PlaneOptions } from "../../src/proxy/plane.ts";

/** A running plane with one route `app`. */
export interface TestPlane {
  readonly plane: Plane;
  /** `host:port` of the first listener. */
  readonly address: string;
  /** Puts a weight in percent in force. */
  weight(percent: number, forcedCanary?: boolean, bars?: number): void;
  /** Moves the clock. */
  advance(ms: number): void;
  /** Which endpoints are unhealthy, by URL. */
  readonly sick: Set<string>;
  /** Everything measured since the start. */
  measured(): Totals;
  /** Resolves when the measures satisfy `ready`; rejects after 5 s. */
  settled(ready: (totals: Totals) => boolean): Promise<Totals>;
  /** Puts other settings of the route, and of the configuration, in the place of those before. */
  reconfigure(config: object, top?: object): void;
}

/** Sums over all drains. */
export interface Totals {
  /** `stable ok` → count; forced ones as `forced canary ok`. */
  readonly counts: Readonly<Record<string, number>>;
  readonly settled: number;
  readonly rescues: { readonly answered: number; readonly failed: number; readonly refused: number };
  readonly refused: Readonly<Record<string, number>>;
  readonly failures: RouteMeasure["samples"];
  /** Latencies recorded, by arm and histogram. */
  readonly latencies: Readonly<Record<string, number>>;
  /** What happened beside exchanges, by name; that of an arm as `canary retried`. */
  readonly events: Readonly<Record<string, number>>;
}

/** Starts one on 127.0.0.1. `route` and `top` are merged into the configuration. */
export async function startPlane(
  arms: { readonly stable: string | readonly string[]; readonly canary: string | readonly string[] },
  route: object = {},
  top: object = {},
  options: Partial<PlaneOptions> = {},
): Promise<TestPlane> {
  const list = (each: string | readonly string[]): readonly string[] =>
    typeof each === "string" ? [each] : each;
  const configOf = (more: object, above: object = {}) =>
    configSchema.parse({
      listen: [{ address: "127.0.0.1:0" }],
      ...laneConfig(),
      ...top,
      ...above,
      routes: [
        {
          name: "app",
          key: ["header:x-user"],
          anonymous: "stable",
          stable: { endpoints: list(arms.stable) },
          canary: { endpoints: list(arms.canary) },
          ...more,
        },
      ],
    });
  const sick = new Set<string>();
  let now = 1000;
  let seed = 7;
  let tokens = 0;
  const random = (): number => {
    seed = (seed * 48_271) % 2_147_483_647;
    return seed / 2_147_483_647;
  };
  const config = configOf(route);
  const pems = new PemWatch({
    clock: { mono: () => millis(now), wall: () => clock.wall(), every: () => () => undefined },
    dice: { random, token: () => "a ticket key" },
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  });
  await pems.open(config);
  const plane = createPlane({
    config,
    pems: pems.shelf,
    clock: { mono: () => millis(now), wall: () => now, every: () => () => undefined },
    dice: { random, token: (bytes) => `token-${tokens++}`.padEnd(bytes, "x") },
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    cookieSecret: "a cookie secret",
    secretOf: (source) => new Secret("open sesame", source),
    healthy: (_route: string, _arm: Arm, endpoint: string) => !sick.has(endpoint),
    documentedOnly: isDocumentedOnly(),
    ...options,
  });
  const [address = ""] = await plane.listen();
  let generation = 0;
  const totals = emptyTotals();
  const measured = (): Totals => {
    add(totals, plane.drain());
    return totals;
  };
  const self: TestPlane = {
    plane,
    address,
    sick,
    weight(percent, forcedCanary = true, bars = 0) {
      const weight = ppmOfPercent(percent);
      if (weight === undefined) throw new RangeError("not a percentage");
      const entry = { route: "app", rollout: "r", salt: "salt", weight, forcedCanary, bars };
      plane.apply({ generation: ++generation, routes: new Map([["app", entry]]) });
    },
    advance: (ms) => void (now += ms),
    measured,
    async settled(ready) {
      for (let tries = 0; tries < 2000; tries++) {
        if (ready(measured())) return totals;
        // A turn of the loop per try: there is no event for "was counted".
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
      throw new Error(`never settled: ${JSON.stringify(totals)}`);
    },
    reconfigure: (more, above = {}) => void plane.reconfigure(configOf(more, above)),
  };
  return self;
}

/** Totals before anything was measured. */
function emptyTotals() {
  const counts: Record<string, number> = {};
  const refused: Record<string, number> = {};
  const latencies: Record<string, number> = {};
  const events: Record<string, number> = {};
  const failures: RouteMeasure["samples"][number][] = [];
  return {
    counts,
    refused,
    latencies,
    events,
    failures,
    settled: 0,
    rescues: { answered: 0, failed: 0, refused: 0 },
  };
}

function add(totals: ReturnType<typeof emptyTotals>, measure: PlaneMeasure): void {
  for (const [status, count] of Object.entries(measure.refused)) bump(totals.refused, status, count);
  addEvents(totals.events, "", PLANE_EVENTS, measure.events);
  for (const route of measure.routes) {
    for (const arm of ["stable", "canary"] as const) {
      addSlice(totals, arm, route.arms[arm]);
      addSlice(totals, `forced ${arm}`, route.forced[arm]);
      addEvents(totals.events, `${arm} `, ARM_EVENTS, route.events[arm] ?? []);
    }
    totals.rescues.answered += route.rescues.answered;
    totals.rescues.failed += route.rescues.failed;
    totals.rescues.refused += route.rescues.refused;
    totals.failures.push(...route.samples.filter(({ kind }) => kind === "failure"));
  }
}

function addSlice(totals: ReturnType<typeof emptyTotals>, name: string, slice: Slice | undefined): void {
  if (slice === undefined) return;
  for (const reason of REASONS) {
    const count = slice.byReason[REASON_INDEX[reason]] ?? 0;
    if (count > 0) bump(totals.counts, `${name} ${reason}`, count);
    totals.settled += count;
  }
  for (const kind of ["successes", "failures"] as const)
    for (let at = 1; at < slice[kind].length; at += 2)
      bump(totals.latencies, `${name} ${kind}`, slice[kind][at] ?? 0);
}

function addEvents(
  totals: Record<string, number>,
  prefix: string,
  names: readonly string[],
  counts: readonly number[],
): void {
  names.forEach((name, index) => {
    const count = counts[index] ?? 0;
    if (count > 0) bump(totals, `${prefix}${name}`, count);
  });
}

function bump(counts: Record<string, number>, name: string, by: number): void {
  counts[name] = (counts[name] ?? 0) + by;
}

function quiet(): void {
  // tests look at what is measured, not at the log
}
