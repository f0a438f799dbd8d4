/** The row of the replicas. */

import { replicasSchema } from "./fleet-shapes.ts";
import { read } from "./row.ts";

/** The list. */
export const FLEET_ROWS = {
  replicas: read({
    path: "/v1/replicas",
    summary: "The replicas that share the state, with what is in force on each and its share of the traffic",
    output: replicasSchema,
    handle: async ({ sources }) => ({
      kind: "json",
      status: 200,
      body: { replicas: await sources.control.replicas() },
    }),
  }),
} as const;
