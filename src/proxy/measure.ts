/**
 * What the data path counts, in plain fields that are drained at the tick: slices of evidence and of forced traffic, failure samples,
 * rescues, refusals, the proxy's own time. Nothing here is formatted before someone reads it.
 */

import { murmur3 } from "../domain/hash.ts";
import { REASON_INDEX, type Reason } from "../domain/outcome.ts";
import { LiveSlice, OVERHEAD_BOUNDS, type Slice } from "../domain/slice.ts";
import type { Arm } from "../domain/split.ts";
import type { FailureSample, PlaneMeasure, RouteMeasure } from "../engine/ports.ts";
import { RescueTally } from "./rescue.ts";
import { pathOf, type RequestView } from "./request.ts";

const SAMPLES_PER_DRAIN = 300;
const PATH_LENGTH = 80;

/** Counters of one arm of one route. */
export class ArmMeter {
  readonly evidence = new LiveSlice();
  readonly forced = new LiveSlice();
  inFlight = 0;
  longLived = 0;
}

/** Counters of one route. They outlive a reload of its configuration. */
export class RouteMeter {
  readonly name: string;
  readonly stable = new ArmMeter();
  readonly canary = new ArmMeter();
  readonly rescues = new RescueTally();
  #samples: FailureSample[] = [];

  constructor(name: string) {
    this.name = name;
  }

  arm(arm: Arm): ArmMeter {
    return arm === "canary" ? this.canary : this.stable;
  }

  /** Counts one exchange for its arm; microseconds, a negative latency is not known. */
  record(
    arm: Arm,
    forced: boolean,
    reason: Reason,
    status: number,
    latencyUs: number,
    totalUs: number,
  ): void {
    const meter = this.arm(arm);
    (forced ? meter.forced : meter.evidence).record(REASON_INDEX[reason], status, latencyUs, totalUs);
  }

  /** Keeps a failed canary exchange as evidence; false when there are enough. */
  get wantsSample(): boolean {
    return this.#samples.length < SAMPLES_PER_DRAIN;
  }

  sample(view: RequestView, key: string | undefined, reason: Reason, status: number, rescued: boolean): void {
    if (!this.wantsSample) return;
    this.#samples.push({
      method: view.method.slice(0, 20),
      path: foldedPath(view.target),
      reason,
      status,
      keyHash: key === undefined ? "" : murmur3(key, 0).toString(16).padStart(8, "0"),
      traceId: traceIdOf(view.header("traceparent")),
      rescued,
    });
  }

  take(): RouteMeasure {
    const failures = this.#samples;
    this.#samples = [];
    return {
      route: this.name,
      arms: slices(this.stable.evidence.take(), this.canary.evidence.take()),
      forced: slices(this.stable.forced.take(), this.canary.forced.take()),
      rescues: this.rescues.take(),
      failures,
    };
  }
}

function slices(stable: Slice | undefined, canary: Slice | undefined): Partial<Record<Arm, Slice>> {
  return { ...(stable === undefined ? {} : { stable }), ...(canary === undefined ? {} : { canary }) };
}

/** Counters of the whole data plane. */
export class PlaneMeter {
  readonly #routes = new Map<string, RouteMeter>();
  #refused = new Map<number, number>();
  #overhead = new Array<number>(OVERHEAD_BOUNDS.length + 1).fill(0);
  #overheadSeconds = 0;

  /** The meter of a route; made with the first question. */
  route(name: string): RouteMeter {
    let meter = this.#routes.get(name);
    if (meter === undefined) {
      meter = new RouteMeter(name);
      this.#routes.set(name, meter);
    }
    return meter;
  }

  /** Counts a request that was refused before it had a route, by the status sent. */
  refused(status: number): void {
    this.#refused.set(status, (this.#refused.get(status) ?? 0) + 1);
  }

  /** Counts the proxy's own time of one exchange, milliseconds. */
  overhead(ms: number): void {
    const seconds = ms > 0 ? ms / 1000 : 0;
    let bucket = 0;
    while (bucket < OVERHEAD_BOUNDS.length && seconds > (OVERHEAD_BOUNDS[bucket] ?? Infinity)) bucket++;
    this.#overhead[bucket] = (this.#overhead[bucket] ?? 0) + 1;
    this.#overheadSeconds += seconds;
  }

  /** Everything since the last call. */
  take(): PlaneMeasure {
    const measure: PlaneMeasure = {
      routes: [...this.#routes.values()].map((route) => route.take()),
      refused: Object.fromEntries(this.#refused),
      overhead: { counts: this.#overhead, seconds: this.#overheadSeconds },
    };
    this.#refused = new Map();
    this.#overhead = new Array<number>(OVERHEAD_BOUNDS.length + 1).fill(0);
    this.#overheadSeconds = 0;
    return measure;
  }
}

const VARIABLE = /^(?:\d+|[0-9a-fA-F]{16,}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$/;

/** The path with its variable parts folded: at most two segments, ids as `:id`, no query, printable, at most 80 characters. */
export function foldedPath(target: string): string {
  const segments = pathOf(target).split("/", 4).slice(1);
  const kept = segments.slice(0, 2).map((segment) => (VARIABLE.test(segment) ? ":id" : segment));
  const text = `/${kept.join("/")}${segments.length > 2 ? "/…" : ""}`;
  return text.replace(/[^\x21-\x7e…]/g, "?").slice(0, PATH_LENGTH);
}

function traceIdOf(traceparent: string | undefined): string {
  return /^[0-9a-f]{2}-([0-9a-f]{32})-/.exec(traceparent ?? "")?.[1] ?? "";
}
