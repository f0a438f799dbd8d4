/** W3C Trace Context (level 1): the `traceparent` field, and ids of our own. Pure. */

import { FULL, type Ppm } from "./units.ts";

/** What a `traceparent` says. */
export interface TraceParent {
  /** 32 lower-case hexadecimal digits, not all zero. */
  readonly traceId: string;
  /** 16 of them: the span of whoever sent it. */
  readonly spanId: string;
  readonly isSampled: boolean;
}

const PARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const SAMPLED = 1;
const DIGITS = 0x1_0000_0000;
const NO_SPAN = "0000000000000000";
const NO_TRACE = NO_SPAN + NO_SPAN;

/** The context in a field's value; undefined: it is none, and who reads it begins a trace of their own. */
export function traceParentOf(text: string): TraceParent | undefined {
  const [, version, traceId, spanId, flags, more] = PARENT.exec(text) ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) return undefined;
  // A version to come may say more behind its flags; ours says nothing there.
  if (version === "ff" || (version === "00" && more !== undefined)) return undefined;
  if (traceId === NO_TRACE || spanId === NO_SPAN) return undefined;
  return { traceId, spanId, isSampled: (Number.parseInt(flags, 16) & SAMPLED) === SAMPLED };
}

/** The field's value for a span of a sampled trace. */
export function traceParent(traceId: string, spanId: string): string {
  return `00-${traceId}-${spanId}-01`;
}

/** Whether a trace is sampled for which this was thrown, from 0 to 1. */
export function isSampled(ratio: Ppm, thrown: number): boolean {
  return thrown * FULL < ratio;
}

/**
 * The id of a trace for which this was thrown. Its last digits say the same, as OpenTelemetry's consistent sampling has it: whoever samples at least as
 * many of the traces keeps each of those that are sampled here.
 *
 * @param random from 0 to 1, called a few times
 */
export function traceIdFrom(thrown: number, random: () => number): string {
  // The less was thrown, the higher the number, up to its 56 bits: 2^52 of them from here. Not 0, for an id of nothing but zeros is none.
  const high = Math.max(1, Math.min(Math.floor((1 - thrown) * 2 ** 52), 2 ** 52 - 1));
  const last = high.toString(16).padStart(13, "0");
  return `${hex(random())}${hex(random())}${hex(random()).slice(0, 2)}${last}${hex(random()).slice(0, 1)}`;
}

/** A span id: 16 digits, not all zero. */
export function spanIdFrom(random: () => number): string {
  return `${hex(random())}${(Math.floor(random() * (DIGITS - 1)) + 1).toString(16).padStart(8, "0")}`;
}

function hex(part: number): string {
  return Math.floor(part * DIGITS)
    .toString(16)
    .padStart(8, "0");
}
