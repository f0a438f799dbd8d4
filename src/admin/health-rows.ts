/** The row of the admin API about the program's own health, and the shape of what it answers. */

import { z } from "zod";
import type { HealthCheck, HealthReport } from "../domain/health-report.ts";
import { read, type Reply } from "./row.ts";
import { count, endpoint } from "./shapes.ts";

/** What this row works on. */
export interface HealthSources {
  /** Looks now; bounded in time. */
  readonly health: () => Promise<HealthReport>;
}

const check: z.ZodType<HealthCheck> = z
  .strictObject({ name: z.string(), ok: z.boolean(), detail: z.string() })
  .meta({ id: "HealthCheck", description: "one check, with a sentence" });

const healthSchema = z
  .strictObject({
    healthy: z.boolean().meta({ description: "whether every check passes" }),
    passed: count,
    total: count,
    sentence: z.string().meta({ examples: ["health checks 5/5"], description: "for people" }),
    checks: z.array(check).readonly(),
    routes: z
      .array(
        z.strictObject({
          name: z.string(),
          stable: z.array(endpoint).readonly(),
          canary: z.array(endpoint).readonly(),
        }),
      )
      .readonly(),
  })
  .meta({ id: "Health", description: "every check of the program, and the endpoints of every route" });

/** The row, by operation id. */
export const HEALTH_ROWS = {
  health: read({
    path: "/v1/health",
    summary:
      "Whether the program is well: endpoints, state, journal, notifiers, configuration, disk, threads",
    output: healthSchema,
    async handle({ sources }): Promise<Reply<z.output<typeof healthSchema>>> {
      const report = await sources.health();
      const routes = sources.control.routes().map(({ name: route, arms }) => ({
        name: route,
        stable: arms.stable.endpoints,
        canary: arms.canary.endpoints,
      }));
      return { kind: "json", status: 200, body: { ...report, routes } };
    },
  }),
} as const;
