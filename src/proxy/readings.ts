/**
 * What one thread's data path has counted, read: as differences against what was read last. The thread that counts is not asked and not
 * stopped, and may have died; nothing that it counted is lost or told twice.
 */

import { addEvents, ARM_EVENTS, PLANE_EVENTS } from "../domain/event.ts";
import { REASON_INDEX } from "../domain/outcome.ts";
import {
  LiveSlice,
  OVERHEAD_BOUNDS,
  SliceReader,
  settledIn,
  wordsOver,
  type Slice,
  type Words,
} from "../domain/slice.ts";
import { ARMS, type Arm } from "../domain/split.ts";
import type { Sample, PlaneGauges, PlaneMeasure, RescueCounts, RouteMeasure } from "../engine/ports.ts";
import {
  DELAY_QUANTILES,
  PLANE,
  ROUTE,
  SharedRoom,
  eventsAt,
  gaugeAt,
  placesOf,
  sliceAt,
  slicePlace,
  type CounterBuffers,
  type RouteBlock,
  type RoutePlace,
} from "./counters.ts";

/** Load of one route, by arm. */
export type RouteLoad = PlaneGauges["routes"][string];

const NO_RESCUES: RescueCounts = { answered: 0, failed: 0, refused: 0 };

/** Reads one thread's counters. */
export class Readings {
  readonly #plane: Words;
  readonly #room: SharedRoom;
  readonly #routes = new Map<string, RouteReading>();
  readonly #last: Uint32Array;
  #lastSeconds = 0;
  #samples = new Map<string, Sample[]>();

  /** How late the thread's event loop was at the worst within the last second or so, ms. */
  get lagMs(): number {
    return this.#plane.counts[PLANE.lag]!;
  }

  constructor(buffers: CounterBuffers) {
    this.#plane = wordsOver(buffers.plane);
    this.#last = new Uint32Array(this.#plane.counts.length);
    this.#room = new SharedRoom(buffers.histograms);
    for (const block of buffers.routes) this.add(block);
  }

  /** Reads these routes too from now on. */
  add(block: RouteBlock): void {
    for (const [name, place] of placesOf(block, this.#room))
      this.#routes.set(name, new RouteReading(name, place));
  }

  /** The thread has made more histograms. */
  addHistograms(chunk: SharedArrayBuffer): void {
    this.#room.add(chunk);
  }

  /** The thread has told of a bad response: failed, slow or a 4xx. */
  addSample(route: string, sample: Sample): void {
    const known = this.#samples.get(route);
    if (known === undefined) this.#samples.set(route, [sample]);
    else known.push(sample);
  }

  /** Everything since the last call; routes of which there is nothing are left out. */
  take(): PlaneMeasure {
    const samples = this.#samples;
    this.#samples = new Map();
    const routes: RouteMeasure[] = [];
    for (const reading of this.#routes.values()) {
      const measure = reading.take(samples.get(reading.name) ?? []);
      if (measure !== undefined) routes.push(measure);
    }
    const refused: Record<string, number> = {};
    for (let status = 0; status < PLANE.statuses; status++) {
      const count = this.#taken(PLANE.refused + status);
      if (count > 0) refused[status] = count;
    }
    const counts = Array.from({ length: OVERHEAD_BOUNDS.length + 1 }, (_, bucket) =>
      this.#taken(PLANE.overhead + bucket),
    );
    const events = PLANE_EVENTS.map((_, index) => this.#taken(PLANE.events + index));
    const total = this.#plane.sums[0]!;
    const seconds = total - this.#lastSeconds;
    this.#lastSeconds = total;
    this.#plane.counts[PLANE.drains]! += 1;
    return { routes, refused, overhead: { counts, seconds }, events };
  }

  /** Load of a route now; undefined when it is not counted here. */
  load(route: string): RouteLoad | undefined {
    return this.#routes.get(route)?.load;
  }

  /** How late the thread's event loop was at a quantile, seconds; at one that is not told, the maximum. */
  loopDelay(quantile: number): number {
    const index = DELAY_QUANTILES.findIndex((each) => each >= quantile);
    return this.#plane.counts[PLANE.delays + index]! / 1e6;
  }

  /**
   * The thread is dead: what it had in flight is counted as `unavailable`, which is no evidence about an arm, and nothing is in flight any
   * more. Returns how many those were.
   */
  bury(): number {
    let lost = 0;
    for (const reading of this.#routes.values()) lost += reading.bury();
    return lost;
  }

  #taken(index: number): number {
    const count = this.#plane.counts[index]!;
    const difference = (count - this.#last[index]!) >>> 0;
    this.#last[index] = count;
    return difference;
  }
}

/** Reads one route's counters. */
class RouteReading {
  readonly name: string;
  readonly #place: RoutePlace;
  // By arm and kind; made when there is something to read.
  #slices: (SliceReader | undefined)[] | undefined = undefined;
  #rescues = NO_RESCUES;
  #eventsSeen = 0;
  #events: Partial<Record<Arm, readonly number[]>> = {};

  constructor(name: string, place: RoutePlace) {
    this.name = name;
    this.#place = place;
  }

  take(samples: readonly Sample[]): RouteMeasure | undefined {
    const arms = this.#taken(false);
    const forced = this.#taken(true);
    const rescues = this.#takenRescues();
    const events = this.#takenEvents();
    const isQuiet =
      arms === undefined && forced === undefined && rescues === undefined && events === undefined;
    if (isQuiet && samples.length === 0) return undefined;
    return {
      route: this.name,
      arms: arms ?? {},
      forced: forced ?? {},
      rescues: rescues ?? NO_RESCUES,
      events: events ?? {},
      samples,
    };
  }

  get load(): RouteLoad {
    const of = (arm: Arm) => ({
      inFlight: this.#gauge(ROUTE.inFlight, arm),
      longLived: this.#gauge(ROUTE.longLived, arm),
    });
    return { stable: of("stable"), canary: of("canary") };
  }

  bury(): number {
    let lost = 0;
    const { counts } = this.#place.words;
    for (const arm of ARMS) {
      // A count below zero would be a bug of the one that died; it must not become another.
      const count = Math.max(0, this.#gauge(ROUTE.inFlight, arm) | 0);
      if (count === 0) continue;
      lost += count;
      // The one who wrote here is gone, so there is still only one who writes.
      const slice = new LiveSlice(slicePlace(this.#place, arm, false));
      for (let each = 0; each < count; each++) slice.record(REASON_INDEX.unavailable, 0, -1, 0);
    }
    for (const gauge of [ROUTE.inFlight, ROUTE.longLived])
      for (const arm of ARMS) counts[gaugeAt(this.#place, gauge, arm)] = 0;
    return lost;
  }

  #gauge(gauge: number, arm: Arm): number {
    return this.#place.words.counts[gaugeAt(this.#place, gauge, arm)]!;
  }

  #taken(forced: boolean): Partial<Record<Arm, Slice>> | undefined {
    let slices: Partial<Record<Arm, Slice>> | undefined;
    for (const arm of ARMS) {
      const slice = this.#slice(arm, forced);
      if (slice !== undefined) slices = { ...slices, [arm]: slice };
    }
    return slices;
  }

  #slice(arm: Arm, forced: boolean): Slice | undefined {
    const index = (arm === "canary" ? 2 : 0) + (forced ? 1 : 0);
    const known = this.#slices?.[index];
    if (known !== undefined) return known.take();
    // Ten thousand quiet routes come by here once a second.
    if (settledIn(this.#place.words.counts, sliceAt(this.#place, arm, forced)) === 0) return undefined;
    const reader = new SliceReader(slicePlace(this.#place, arm, forced));
    (this.#slices ??= [])[index] = reader;
    return reader.take();
  }

  #takenEvents(): Partial<Record<Arm, readonly number[]>> | undefined {
    const { counts } = this.#place.words;
    const seen = counts[this.#place.at + ROUTE.eventsSeen]!;
    if (seen === this.#eventsSeen) return undefined;
    this.#eventsSeen = seen;
    const taken: Partial<Record<Arm, readonly number[]>> = {};
    for (const arm of ARMS) {
      const from = eventsAt(this.#place, arm);
      const now = Array.from(counts.subarray(from, from + ARM_EVENTS.length));
      const before = this.#events[arm];
      taken[arm] = now.map((count, index) => (count - (before?.[index] ?? 0)) >>> 0);
      this.#events[arm] = now;
    }
    return taken;
  }

  #takenRescues(): RescueCounts | undefined {
    const { words, at } = this.#place;
    const answered = words.counts[at + ROUTE.answered]!;
    const failed = words.counts[at + ROUTE.failed]!;
    const refused = words.counts[at + ROUTE.refused]!;
    const before = this.#rescues;
    if (answered === before.answered && failed === before.failed && refused === before.refused)
      return undefined;
    this.#rescues = { answered, failed, refused };
    return {
      answered: (answered - before.answered) >>> 0,
      failed: (failed - before.failed) >>> 0,
      refused: (refused - before.refused) >>> 0,
    };
  }
}

/** What several threads measured, as one. Routes may come more than once: a measure is added, not set. */
export function joined(measures: readonly PlaneMeasure[]): PlaneMeasure {
  const refused: Record<string, number> = {};
  const counts = new Array<number>(OVERHEAD_BOUNDS.length + 1).fill(0);
  let seconds = 0;
  let events: readonly number[] = PLANE_EVENTS.map(() => 0);
  for (const measure of measures) {
    events = addEvents(events, measure.events);
    for (const [status, count] of Object.entries(measure.refused))
      refused[status] = (refused[status] ?? 0) + count;
    measure.overhead.counts.forEach((count, bucket) => (counts[bucket]! += count));
    seconds += measure.overhead.seconds;
  }
  const routes = measures.flatMap((measure) => measure.routes);
  return { routes, refused, overhead: { counts, seconds }, events };
}
