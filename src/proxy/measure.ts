/**
 * What the data path counts, written: slices of evidence and of forced traffic, samples of bad responses, rescues, refusals, the proxy's own time. Each
 * is an addition to a shared word (`counters.ts`) that `readings.ts` reads, in this thread or another; nothing is formatted before
 * someone reads it. Only samples are told as they come, for they are texts.
 */

import { ARM_EVENT_INDEX, PLANE_EVENT_INDEX, type ArmEvent, type PlaneEvent } from "../domain/event.ts";
import { murmur3 } from "../domain/hash.ts";
import {
  REASONS,
  REASON_INDEX,
  SAMPLES,
  badKindOf,
  kindOf,
  type BadKind,
  type Reason,
} from "../domain/outcome.ts";
import { foldedPath } from "../domain/path.ts";
import { LiveSlice, OVERHEAD_BOUNDS, wordsOver } from "../domain/slice.ts";
import type { Arm } from "../domain/split.ts";
import type { Sample } from "../engine/ports.ts";
import {
  DELAY_QUANTILES,
  PLANE,
  ROUTE,
  SharedRoom,
  eventsAt,
  gaugeAt,
  placesOf,
  slicePlace,
  type CounterBuffers,
  type RouteBlock,
  type RoutePlace,
} from "./counters.ts";
import type { EvidenceCell, EvidenceReader } from "./evidence-board.ts";
import type { RequestView } from "./request.ts";

// By reason, for every exchange: whether it is evidence, and whether it is a failure.
const IS_EVIDENCE = REASONS.map((reason) => kindOf(reason) !== "excluded");
const IS_FAILURE = REASONS.map((reason) => kindOf(reason) === "failure");

/** Who is told what does not lie in words. */
export interface Tidings {
  /** A bad response of the canary, unforced. At most a few hundred of a kind and a route between two drains. */
  sample(route: string, sample: Sample): void;
  /** More histograms have been made. */
  histograms(chunk: SharedArrayBuffer): void;
}

/** Counters of one arm of one route. */
export class ArmMeter {
  readonly #place: RoutePlace;
  readonly #arm: Arm;
  readonly #counts: Uint32Array;
  readonly #inFlightAt: number;
  readonly #longLivedAt: number;
  readonly #eventsAt: number;
  // Made with the first exchange.
  #evidence: LiveSlice | undefined = undefined;
  #forced: LiveSlice | undefined = undefined;

  constructor(place: RoutePlace, arm: Arm) {
    this.#place = place;
    this.#arm = arm;
    this.#counts = place.words.counts;
    this.#inFlightAt = gaugeAt(place, ROUTE.inFlight, arm);
    this.#longLivedAt = gaugeAt(place, ROUTE.longLived, arm);
    this.#eventsAt = eventsAt(place, arm);
  }

  get evidence(): LiveSlice {
    return (this.#evidence ??= new LiveSlice(slicePlace(this.#place, this.#arm, false)));
  }

  get forced(): LiveSlice {
    return (this.#forced ??= new LiveSlice(slicePlace(this.#place, this.#arm, true)));
  }

  /** Counts something that happened to this arm. */
  event(event: ArmEvent): void {
    this.#counts[this.#eventsAt + ARM_EVENT_INDEX[event]]! += 1;
    this.#counts[this.#place.at + ROUTE.eventsSeen]! += 1;
  }

  get inFlight(): number {
    return this.#counts[this.#inFlightAt]!;
  }

  set inFlight(count: number) {
    this.#counts[this.#inFlightAt] = count;
  }

  get longLived(): number {
    return this.#counts[this.#longLivedAt]!;
  }

  set longLived(count: number) {
    this.#counts[this.#longLivedAt] = count;
  }
}

/** Counts of rescues by how they ended. */
class RescueTally {
  readonly #counts: Uint32Array;
  readonly #at: number;

  constructor({ words, at }: RoutePlace) {
    this.#counts = words.counts;
    this.#at = at;
  }

  get answered(): number {
    return this.#counts[this.#at + ROUTE.answered]!;
  }

  set answered(count: number) {
    this.#counts[this.#at + ROUTE.answered] = count;
  }

  get failed(): number {
    return this.#counts[this.#at + ROUTE.failed]!;
  }

  set failed(count: number) {
    this.#counts[this.#at + ROUTE.failed] = count;
  }

  get refused(): number {
    return this.#counts[this.#at + ROUTE.refused]!;
  }

  set refused(count: number) {
    this.#counts[this.#at + ROUTE.refused] = count;
  }
}

/** What a route's meter is made of. */
export interface RouteMeterParts {
  readonly name: string;
  readonly place: RoutePlace;
  readonly plane: Uint32Array;
  readonly tidings: Tidings;
  readonly evidence: EvidenceCell;
}

/** Counters of one route. They outlive a reload of its configuration. */
export class RouteMeter {
  readonly name: string;
  readonly stable: ArmMeter;
  readonly canary: ArmMeter;
  readonly rescues: RescueTally;
  readonly evidence: EvidenceCell;
  readonly #plane: Uint32Array;
  readonly #tidings: Tidings;
  #samples: Record<BadKind, number> = { failure: 0, slow: 0, client_error: 0 };
  #drain = 0;

  constructor({ name, place, plane, tidings, evidence }: RouteMeterParts) {
    this.name = name;
    this.stable = new ArmMeter(place, "stable");
    this.canary = new ArmMeter(place, "canary");
    this.rescues = new RescueTally(place);
    this.evidence = evidence;
    this.#plane = plane;
    this.#tidings = tidings;
  }

  arm(arm: Arm): ArmMeter {
    return arm === "canary" ? this.canary : this.stable;
  }

  /**
   * Counts one exchange for its arm; microseconds, a negative latency is not known. Whether it is evidence against its arm: unforced, and failed or
   * slower than a rule of the fast tier allows.
   */
  record(
    arm: Arm,
    forced: boolean,
    reason: Reason,
    status: number,
    latencyUs: number,
    totalUs: number,
  ): boolean {
    const meter = this.arm(arm);
    const index = REASON_INDEX[reason];
    (forced ? meter.forced : meter.evidence).record(index, status, latencyUs, totalUs);
    if (forced || !IS_EVIDENCE[index]!) return false;
    return this.evidence.count(arm, IS_FAILURE[index]!, status, latencyUs);
  }

  /** What was bad about an unforced exchange of the canary, if a sample of it is wanted: there are not enough of its kind since the last drain. */
  wanted(isBad: boolean, reason: Reason, status: number): BadKind | undefined {
    const kind = badKindOf(isBad, reason, status);
    if (kind === undefined) return undefined;
    const drain = this.#plane[PLANE.drains]!;
    if (drain !== this.#drain) {
      this.#drain = drain;
      this.#samples = { failure: 0, slow: 0, client_error: 0 };
    }
    return this.#samples[kind]++ < SAMPLES[kind] ? kind : undefined;
  }

  /** Keeps a sample that is `wanted`. */
  sample(
    kind: BadKind,
    view: RequestView,
    key: string | undefined,
    { reason, status, rescued }: Pick<Sample, "status" | "rescued"> & { readonly reason: Reason },
  ): void {
    this.#tidings.sample(this.name, {
      kind,
      method: view.method.slice(0, 20),
      path: foldedPath(view.target),
      reason,
      status,
      keyHash: key === undefined ? "" : keyHashOf(key),
      traceId: traceIdOf(view.header("traceparent")),
      rescued,
    });
  }
}

/** Counters of one thread's data path. */
export class PlaneMeter {
  readonly #routes = new Map<string, RouteMeter>();
  readonly #room: SharedRoom;
  readonly #counts: Uint32Array;
  readonly #sums: Float64Array;
  readonly #tidings: Tidings;
  readonly #evidence: EvidenceReader;

  /** @param evidence has room for every route that is added */
  constructor(buffers: CounterBuffers, tidings: Tidings, evidence: EvidenceReader) {
    const words = wordsOver(buffers.plane);
    this.#counts = words.counts;
    this.#sums = words.sums;
    this.#tidings = tidings;
    this.#evidence = evidence;
    this.#room = new SharedRoom(buffers.histograms, (chunk) => tidings.histograms(chunk));
    for (const block of buffers.routes) this.add(block);
  }

  /** Takes in the memory of more routes. */
  add(block: RouteBlock): void {
    const plane = this.#counts;
    const tidings = this.#tidings;
    for (const [name, place] of placesOf(block, this.#room))
      this.#routes.set(name, this.made({ name, place, plane, tidings, evidence: this.#evidence.cell(name) }));
  }

  /** The meter of a route; throws when there is no memory for it. */
  route(name: string): RouteMeter {
    const meter = this.#routes.get(name);
    if (meter === undefined) throw new RangeError(`there are no counters for the route "${name}"`);
    return meter;
  }

  /** Counts a request that was refused before it had a route, by the status sent. */
  refused(status: number): void {
    this.#counts[PLANE.refused + (status < PLANE.statuses ? status : 0)]! += 1;
  }

  /** Counts something that happened to this thread. */
  event(event: PlaneEvent): void {
    this.#counts[PLANE.events + PLANE_EVENT_INDEX[event]]! += 1;
  }

  /** Counts the proxy's own time of one exchange, milliseconds. */
  overhead(ms: number): void {
    const seconds = ms > 0 ? ms / 1000 : 0;
    let bucket = 0;
    while (bucket < OVERHEAD_BOUNDS.length && seconds > OVERHEAD_BOUNDS[bucket]!) bucket++;
    this.#counts[PLANE.overhead + bucket]! += 1;
    this.#sums[0]! += seconds;
  }

  /** Tells how late this thread's event loop was. @param secondsAt the delay at a quantile, seconds */
  loopDelay(secondsAt: (quantile: number) => number): void {
    DELAY_QUANTILES.forEach((quantile, index) => {
      this.#counts[PLANE.delays + index] = Math.round(secondsAt(quantile) * 1e6);
    });
  }

  /** Tells how late this thread's event loop was at the worst of late, ms. */
  lag(worstMs: number): void {
    this.#counts[PLANE.lag] = Math.ceil(worstMs);
  }

  protected made(parts: RouteMeterParts): RouteMeter {
    return new RouteMeter(parts);
  }
}

/** What stands for a key wherever people read: no raw key leaves the data path. */
export function keyHashOf(key: string): string {
  return murmur3(key, 0).toString(16).padStart(8, "0");
}

function traceIdOf(traceparent: string | undefined): string {
  return /^[0-9a-f]{2}-([0-9a-f]{32})-/.exec(traceparent ?? "")?.[1] ?? "";
}
