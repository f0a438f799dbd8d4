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

/** `"64KiB"` ↔ bytes. */
export const size = withUnit<Bytes>(
  /^\d+(B|KiB|MiB|GiB)$/,
  parseSize,
  formatSize,
  'a size with its unit (B, KiB, MiB, GiB), like "64KiB"',
);
