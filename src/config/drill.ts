/** Drills of a route, as the operator writes them. */

import { z } from "zod";
import { positiveTimer } from "./units.ts";
import { windows } from "./window.ts";

/** The longest `timeout`, with what comes before and after it: ms. */
export const LONGEST_DRILL_MS = 700_000;

/** How the way back is proved, and when without being asked. */
export const drill = z
  .strictObject({
    schedule: windows.optional().meta({
      description:
        "a drill is made each time that one of these opens, unless a rollout is under way; left out: only when it is asked for",
      examples: [{ from: "02:00", to: "03:00", weekdays: ["sun"] }],
    }),
    path: z
      .string()
      .regex(/^\/[\x21-\x7e]*$/, 'expected a path like "/healthz"')
      .optional()
      .meta({
        description:
          "what stable is asked for, by GET, marked `X-Sluice-Drill`; left out: its health path, or /",
      }),
    timeout: positiveTimer
      .refine((value) => value <= 600_000, "must be at most 10m")
      .prefault("5m")
      .meta({ description: "no rollback by then: the drill has failed" }),
  })
  .prefault({})
  .meta({
    description:
      "drills: synthetic requests to a route of their own whose canary fails on purpose, from the first failure to the message that people get",
  });
