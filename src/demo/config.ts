/** The demonstration's configuration: a rollout of days in half a minute, with the same rules, only quicker. */

import { configSchema, type Config } from "../config/schema.ts";

/** What the demonstration found on this machine. */
export interface DemoPlace {
  /** `ADDRESS:PORT`; port 0 takes a free one. */
  readonly listen: string;
  readonly admin: string;
  /** Folder for state and evidence. */
  readonly folder: string;
  readonly stable: string;
  readonly canary: string;
}

/** The name of the one route. */
export const DEMO_ROUTE = "app";

/** The configuration for `place`. Windows and least counts are small, so that a verdict over seconds rests on what was measured. */
export function demoConfig({ listen, admin, folder, stable, canary }: DemoPlace): Config {
  const quick = { for: "2s", window: "10s", minRequests: 10 };
  return configSchema.parse({
    listen: [{ address: listen }],
    admin: { address: admin },
    state: `file:${folder}/state`,
    reports: `${folder}/reports`,
    backups: { folder: `${folder}/backups` },
    environment: "demo",
    drain: { timeout: "5s" },
    routes: [
      {
        name: DEMO_ROUTE,
        stable: { endpoints: [stable], version: "3.9" },
        canary: { endpoints: [canary], version: "4.0" },
        key: ["header:x-user-id"],
        health: { path: "/healthz", interval: "1s", timeout: "1s", unhealthyAfter: 3 },
        rollback: {
          onAny: [
            { metric: "error_rate", above: "1%", ...quick },
            { metric: "p95", above: "500ms", ...quick },
            { metric: "p99", above: "1000ms", ...quick },
            { metric: "health_failures", atLeast: 5 },
          ],
          cooldown: "1m",
          verify: "1m",
        },
        plan: {
          // Seconds are no time for evidence that a canary is as good as stable.
          promotion: "off",
          steps: [
            { setWeight: "0%", hold: "2s" },
            { setWeight: "5%", hold: "5s" },
            { setWeight: "25%", hold: "6s" },
            { setWeight: "50%", hold: "5s" },
            { setWeight: "100%", hold: "4s" },
          ],
        },
      },
    ],
  });
}
