/** The configuration's section about the access log. */

import { z } from "zod";
import { off } from "./shape.ts";
import { path } from "./texts.ts";
import { rate, size } from "./units.ts";

const written = z
  .strictObject({
    sample: rate.prefault("1%").meta({ description: "share of the exchanges that have a line" }),
    failures: z.enum(["always", "sampled"]).default("always").meta({
      description: "`always`: each exchange that failed, or was rescued, has a line whatever the sample",
    }),
    to: z
      .union(
        [z.literal("stdout"), z.strictObject({ file: path.meta({ description: "path of the file" }) })],
        {
          error: "expected stdout or { file: PATH }",
        },
      )
      .default("stdout")
      .meta({ description: "where the lines go: `stdout`, or `{ file: PATH }`" }),
    size: size.prefault("100MiB").meta({
      description:
        "a file as long as this is renamed to `NAME.1`, that one to `NAME.2` and so on, and a new one is begun; `0B`: never",
    }),
    keep: z.int().min(1).max(1000).default(10).meta({ description: "renamed files that stay" }),
  })
  .meta({ description: "a JSON line for each exchange of a sample, and for each that failed" });

/** An access log, or none. */
export const accessLog = z.union([off, written]).prefault("off").meta({
  description:
    "one JSON line per exchange, which `sluice backtest` reads; no key, no query, no field of a request; `off`: none",
});
