/** The configuration's section about backups. */

import { z } from "zod";
import { off, section } from "./shape.ts";
import { path } from "./texts.ts";

const kept = section(
  {
    folder: path.default("./backups").meta({
      description: "where they are; on another disk than the state, they survive that one, too",
    }),
    keep: z.int().min(1).max(1000).default(20).meta({ description: "the last so many stay" }),
    days: z
      .int()
      .min(0)
      .max(3650)
      .default(30)
      .meta({ description: "and the last one of each day, for so many days" }),
    daily: z.boolean().default(true).meta({
      description:
        "whether one is made every day, beside those before each start of a rollout (of a scheduled one when it is scheduled)",
    }),
  },
  "copies of the state, the configuration file and the journal's end",
);

/** Backups, or none. */
export const backups = z.union([off, kept]).prefault({}).meta({
  description:
    "copies of the state, the configuration file and the journal's end; `off`: none. There are none of `state: memory:`",
});
