/** How often and how finely a replica tells what it has measured, looks at the others, and records, so that all of them together stay within bounds. Pure. */

import { millis, type Millis } from "./units.ts";

/** How a replica publishes. */
export interface Publishing {
  readonly everyMs: Millis;
  /** Significant digits of histograms. Counts are always exact. */
  readonly digits: 1 | 2;
  /** Bad responses of a route that are told, at the most, for people and for the share of one client. */
  readonly samples: number;
}

const MANY = 300;
const VERY_MANY = 1000;
/** Samples of a route from all replicas together. */
const SAMPLES = 2000;

/** What is asked of each of so many replicas. */
export function publishingOf(replicas: number): Publishing {
  const samples = Math.max(2, Math.min(50, Math.floor(SAMPLES / Math.max(1, replicas))));
  if (replicas <= MANY) return { everyMs: millis(1000), digits: 2, samples };
  if (replicas <= VERY_MANY) return { everyMs: millis(2000), digits: 2, samples };
  return { everyMs: millis(5000), digits: 1, samples };
}

/** How a replica tells of itself, and looks who else is there. */
export interface Meeting {
  readonly tellMs: Millis;
  /** Of one that follows, at what the leader has counted: that counts every `COUNT_MS`. */
  readonly lookMs: Millis;
}

export const COUNT_MS = millis(2000);

/** What each of so many replicas does. */
export function meetingOf(replicas: number): Meeting {
  if (replicas <= MANY) return { tellMs: millis(1000), lookMs: COUNT_MS };
  return { tellMs: millis(2000), lookMs: millis(10_000) };
}

const RECORD_MS_EACH = 10;
const RECORD_MS_LEAST = 1000;
const RECORD_MS_MOST = 10_000;

/**
 * How often the leader of so many replicas records that time has passed, where nothing else is to be recorded: each of them is given what is. Less time
 * on record is time that a new leader serves again, and no more than that.
 */
export function recordingOf(replicas: number): Millis {
  return millis(Math.min(RECORD_MS_MOST, Math.max(RECORD_MS_LEAST, RECORD_MS_EACH * replicas)));
}

/** Half a tick. */
const EARLY_MS = 500;

/** Whether what is done every so often is to be done at this tick, which may come early: the next one would be late by all of a tick. */
export function isDue(last: number, every: Millis, now: Millis): boolean {
  return now - last >= every - EARLY_MS;
}
