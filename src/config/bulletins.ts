/** The configuration's section about what people are told by the clock: notice, digest, final report, incidents. */

import { z } from "zod";
import { isTimeZone } from "../domain/civil.ts";
import { off, section } from "./shape.ts";
import { duration, positiveDuration } from "./units.ts";
import { clockTime } from "./window.ts";

const digest = section(
  {
    at: clockTime.prefault("09:00").meta({ description: "the time of day", examples: ["09:00"] }),
    timezone: z
      .string()
      .refine(isTimeZone, "expected a zone of the IANA database, like Europe/Berlin")
      .default("UTC")
      .meta({ description: "a zone of the IANA database", examples: ["Europe/Berlin"] }),
  },
  "when the day's digest of a running rollout is told",
);

/** What stakeholders are told, and when. */
export const bulletins = section(
  {
    lead: z
      .string()
      .min(1)
      .max(100)
      .optional()
      .meta({ description: "the deployment lead; left out: who started the rollout" }),
    notice: duration
      .prefault("24h")
      .meta({ description: "so long before a scheduled start the stakeholders are told of it" }),
    digest: z
      .union([off, digest])
      .prefault({})
      .meta({ description: "the day's digest of a running rollout; `off`: none" }),
    incident: section(
      {
        after: positiveDuration.prefault("15m").meta({
          description: "so long after a rollback the stakeholders are told, unless it is resolved by then",
        }),
        every: positiveDuration
          .prefault("1h")
          .meta({ description: "and then so often until it is resolved" }),
      },
      "when stakeholders are told of an incident",
    ),
  },
  "what stakeholders are told by the clock",
);
