/**
 * The texts of the configuration that carry a unit, as codecs between text and branded number.
 *
 * Codecs and not transforms: both directions have a schema, so the effective configuration can be printed as it could have
 * been written, and the JSON Schema for editors comes from the same place.
 */

import { z } from "zod";
import {
  formatDuration,
  formatRate,
  formatSize,
  parseDuration,
  parseRate,
  parseSize,
  type Bytes,
  type Millis,
  type Ppm,
} from "../domain/units.ts";

function withUnit<T extends number>(
  pattern: RegExp,
  parse: (text: string) => T | undefined,
  format: (value: T) => string,
  expected: string,
) {
  return z.codec(
    z.string({ error: `expected ${expected}` }).regex(pattern, `expected ${expected}`),
    z.custom<T>(),
    {
      decode: (text, context) => {
        const value = parse(text);
        if (value !== undefined) return value;
        context.issues.push({ code: "custom", message: `expected ${expected}`, input: text });
        return z.NEVER;
      },
      encode: (value) => format(value),
    },
  );
}

/** `"0.1%"` ↔ ppm. */
export const rate = withUnit<Ppm>(
  /^\d{1,3}(\.\d+)?\s?%$/,
  parseRate,
  formatRate,
  'a rate from 0% to 100% with its percent sign, in steps of 0.0001%, like "0.1%"',
);

/** `"8h"` ↔ milliseconds. */
export const duration = withUnit<Millis>(
  /^(\d+(\.\d+)?(ms|[dhms]))+$/,
  parseDuration,
  formatDuration,
  'a duration with its unit (d, h, m, s, ms), like "8h" or "1h30m"',
);

/** A duration above zero. */
export const positiveDuration = duration.refine((value) => value > 0, "must be more than zero");

/** The platform's timers go no further than 2^31 - 1 ms, and take what is longer for 1 ms. */
const TIMER_MAX_MS = 24 * 86_400_000;
const TIMER_BOUND = "must be at most 24d";

/** A duration that a timer waits for. What is only compared with the time that has passed has no such bound. */
export const timer = duration.refine((value) => value <= TIMER_MAX_MS, TIMER_BOUND);

/** The same, above zero. */
export const positiveTimer = positiveDuration.refine((value) => value <= TIMER_MAX_MS, TIMER_BOUND);

/** `"64KiB"` ↔ bytes. */
export const size = withUnit<Bytes>(
  /^\d+(B|KiB|MiB|GiB)$/,
  parseSize,
  formatSize,
  'a size with its unit (B, KiB, MiB, GiB), like "64KiB"',
);
