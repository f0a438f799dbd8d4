/**
 * The memory in which one thread counts, and its layout: shared words, so that another thread reads them without asking, at any moment, and
 * after the death of the one that wrote.
 *
 * The reader's side allocates: it must know every word of a thread that dies. What is rare is made by the writer when it is first needed: the
 * histograms beyond the first few. The platform gives out shared memory as pages that take no room until they are touched, so a
 * place for each route that might have traffic is cheap, and ten thousand quiet routes are 8 MB of addresses.
 */

import { ARM_EVENTS, PLANE_EVENTS } from "../domain/event.ts";
import { COUNTS_LENGTH } from "../domain/hdr.ts";
import {
  OVERHEAD_BOUNDS,
  SLICE_WORDS,
  wordsOver,
  type HistogramRoom,
  type SlicePlace,
  type Words,
} from "../domain/slice.ts";
import { ARMS, type Arm } from "../domain/split.ts";

/** Histograms that are made at a time: 850 KB of addresses. */
const CHUNK = 64;

/** Quantiles of a thread's event-loop delay that are told; 1 is the maximum. */
export const DELAY_QUANTILES = [0.5, 0.99, 1] as const;

const STATUSES = 600;
const OVERHEAD = 2;
const REFUSED = OVERHEAD + OVERHEAD_BOUNDS.length + 1;
const DELAYS = REFUSED + STATUSES;
const LAG = DELAYS + DELAY_QUANTILES.length;
const EVENTS = LAG + 1;
// Counted up by the reader, so on a cache line of its own.
const DRAINS = Math.ceil((EVENTS + PLANE_EVENTS.length) / 16) * 16;
const PLANE_WORDS = DRAINS + 16;

/** Words of a plane by name. The sum of seconds of the proxy's own time comes first and takes two. */
export const PLANE = {
  /** The proxy's own time, by `OVERHEAD_BOUNDS`. */
  overhead: OVERHEAD,
  /** Refused requests, by status below `statuses`. */
  refused: REFUSED,
  statuses: STATUSES,
  /** How late the event loop was, µs, by `DELAY_QUANTILES`. */
  delays: DELAYS,
  /** How late it was at the worst within the last second or so, ms. */
  lag: LAG,
  /** By `PLANE_EVENTS`. */
  events: EVENTS,
  /** How often the plane was drained: the writer sees by it that its samples were taken. */
  drains: DRAINS,
} as const;

/** Words of a route by name, from its first one. Behind these come four slices. */
export const ROUTE = {
  inFlight: 0,
  longLived: 2,
  answered: 4,
  failed: 5,
  refused: 6,
  /** Events of both arms in all: whoever reads need not look at each when this has not changed. */
  eventsSeen: 7,
  /** By arm, then by `ARM_EVENTS`. */
  events: 8,
} as const;
const ROUTE_HEAD = Math.ceil((ROUTE.events + ARMS.length * ARM_EVENTS.length) / 16) * 16;
const ROUTE_WORDS = ROUTE_HEAD + 2 * ARMS.length * SLICE_WORDS;

/** Routes whose counters lie in one buffer, in that order. */
export interface RouteBlock {
  readonly names: readonly string[];
  readonly buffer: SharedArrayBuffer;
}

/** Everything one thread counts in; may be posted to it. */
export interface CounterBuffers {
  readonly plane: SharedArrayBuffer;
  readonly histograms: SharedArrayBuffer;
  readonly routes: readonly RouteBlock[];
}

/** Memory for a thread with these routes, all zero. */
export function counterBuffers(names: readonly string[]): CounterBuffers {
  return {
    plane: new SharedArrayBuffer(PLANE_WORDS * 4),
    histograms: histogramChunk(),
    routes: [routeBlock(names)],
  };
}

/** Memory for more routes, all zero. */
export function routeBlock(names: readonly string[]): RouteBlock {
  return { names, buffer: new SharedArrayBuffer(names.length * ROUTE_WORDS * 4) };
}

function histogramChunk(): SharedArrayBuffer {
  return new SharedArrayBuffer(CHUNK * COUNTS_LENGTH * 4);
}

/** The histograms of one thread, in chunks. The writer opens, and hands each new chunk to `tell`; a reader is told by `add`. */
export class SharedRoom implements HistogramRoom {
  readonly #chunks: SharedArrayBuffer[];
  readonly #tell: (chunk: SharedArrayBuffer) => void;
  #opened = 0;

  constructor(first: SharedArrayBuffer, tell: (chunk: SharedArrayBuffer) => void = () => undefined) {
    this.#chunks = [first];
    this.#tell = tell;
  }

  /** Takes in the next chunk that the writer has made. */
  add(chunk: SharedArrayBuffer): void {
    this.#chunks.push(chunk);
  }

  open(): number {
    const number = ++this.#opened;
    if (number > this.#chunks.length * CHUNK) {
      const chunk = histogramChunk();
      this.add(chunk);
      this.#tell(chunk);
    }
    return number;
  }

  find(number: number): Uint32Array | undefined {
    const chunk = this.#chunks[Math.floor((number - 1) / CHUNK)];
    if (chunk === undefined) return undefined;
    return new Uint32Array(chunk, ((number - 1) % CHUNK) * COUNTS_LENGTH * 4, COUNTS_LENGTH);
  }
}

/** Where the counters of one route lie. */
export interface RoutePlace {
  readonly words: Words;
  readonly at: number;
  readonly room: HistogramRoom;
}

/** The places of a block's routes, by name. */
export function placesOf(block: RouteBlock, room: HistogramRoom): readonly (readonly [string, RoutePlace])[] {
  const words = wordsOver(block.buffer);
  return block.names.map((name, index) => [name, { words, at: index * ROUTE_WORDS, room }]);
}

/** Index of the first word of one of a route's slices. */
export function sliceAt({ at }: RoutePlace, arm: Arm, forced: boolean): number {
  return at + ROUTE_HEAD + (indexOf(arm) * 2 + (forced ? 1 : 0)) * SLICE_WORDS;
}

/** Where one of a route's slices lies. */
export function slicePlace(place: RoutePlace, arm: Arm, forced: boolean): SlicePlace {
  return { words: place.words, at: sliceAt(place, arm, forced), room: place.room };
}

/** Index of a gauge of an arm, `ROUTE.inFlight` or `ROUTE.longLived`. */
export function gaugeAt({ at }: RoutePlace, gauge: number, arm: Arm): number {
  return at + gauge + indexOf(arm);
}

/** Index of the first of an arm's events. */
export function eventsAt({ at }: RoutePlace, arm: Arm): number {
  return at + ROUTE.events + indexOf(arm) * ARM_EVENTS.length;
}

function indexOf(arm: Arm): number {
  return arm === "canary" ? 1 : 0;
}
