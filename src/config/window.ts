/** When a weight may rise: deployment windows of a plan, and freezes of the whole configuration. */

import { z } from "zod";
import { checkFreeze, checkWindow, type DeploymentWindow } from "../domain/calendar.ts";
import { WEEKDAYS, formatClockTime, parseClockTime } from "../domain/civil.ts";

/** A time of day, in minutes since midnight. */
export const clockTime = z.codec(
  z
    .string({ error: 'expected a time of day like "09:00"' })
    .regex(/^\d{2}:\d{2}$/, 'expected a time of day like "09:00"'),
  z.number(),
  {
    decode: (text, context) => {
      const minutes = parseClockTime(text);
      if (minutes !== undefined) return minutes;
      context.issues.push({ code: "custom", message: 'expected a time of day like "09:00"', input: text });
      return z.NEVER;
    },
    encode: (minutes) => formatClockTime(minutes),
  },
);

const window = z
  .strictObject({
    from: clockTime.meta({ description: "when it opens", examples: ["09:00"] }),
    to: clockTime.meta({
      description: "when it closes; before `from` it is of the next day",
      examples: ["10:00"],
    }),
    weekdays: z
      .array(z.enum(WEEKDAYS))
      .min(1)
      .default([...WEEKDAYS])
      .meta({ description: "the days on which it opens", examples: [["mon", "tue", "wed", "thu"]] }),
    timezone: z
      .string()
      .default("UTC")
      .meta({ description: "a zone of the IANA database", examples: ["Europe/Berlin"] }),
  })
  .check((context) => {
    for (const message of checkWindow(context.value))
      context.issues.push({ code: "custom", message, path: [], input: context.value });
  });

/** One window, or several. */
export const windows = z.union([window, z.array(window).max(20)]);

/** The windows as a list. */
export function windowsOf(written: z.output<typeof windows>): readonly DeploymentWindow[] {
  return "from" in written ? [written] : written;
}

const instant = z.codec(
  z.iso.datetime({ offset: true, error: 'expected an instant like "2026-12-24T00:00:00Z"' }),
  z.number(),
  {
    decode: (text) => Date.parse(text),
    encode: (wall) => new Date(wall).toISOString(),
  },
);

/** Times in which no weight rises. */
export const freezes = z
  .array(
    z
      .strictObject({
        from: instant.meta({ description: "from then on", examples: ["2026-12-24T00:00:00Z"] }),
        to: instant.meta({ description: "until then", examples: ["2026-12-27T00:00:00Z"] }),
        reason: z
          .string()
          .min(1)
          .max(200)
          .meta({ description: "why, for people", examples: ["holidays"] }),
      })
      .check((context) => {
        for (const message of checkFreeze(context.value))
          context.issues.push({ code: "custom", message, path: [], input: context.value });
      }),
  )
  .max(200)
  .default([])
  .meta({ description: "no weight rises in these times, whatever a plan's windows say" });
