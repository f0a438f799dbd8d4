/** The shapes of what is said of replicas. */

import { z } from "zod";
import type { FleetStatus, ReplicaRoute, ReplicaStatus } from "../engine/status.ts";

/** Several of them. */
export const names = z.array(z.string());

/** The replicas, exactly `FleetStatus`. */
export const fleetSchema: z.ZodType<FleetStatus> = z
  .strictObject({
    replica: z.string().meta({ description: "the replica that answers" }),
    leader: z.string().meta({ description: "who may raise; empty: nobody is known to" }),
    leads: z.boolean().meta({ description: "true: what is judged here is everybody's, else only its own" }),
    replicas: z.int().min(0).meta({ description: "how many are heard of" }),
    stale: names.readonly().meta({ description: "those that are not any more: they are not measured with" }),
    isStoreUp: z.boolean().meta({ description: "whether the shared store answers" }),
  })
  .meta({ id: "FleetStatus", description: "the replicas that share the state, as one of them sees them" });

const replicaRoute: z.ZodType<ReplicaRoute> = z
  .strictObject({
    weight: z.number().min(0).max(100).meta({ description: "percent" }),
    perSecond: z.number().min(0),
    share: z.number().min(0).max(1).nullable().meta({
      description: "of what all replicas that are heard of carry of the route; null when they carry nothing",
    }),
  })
  .meta({ id: "ReplicaRoute", description: "a route on one replica" });

const replica: z.ZodType<ReplicaStatus> = z
  .strictObject({
    replica: z.string(),
    isLeader: z.boolean(),
    isStale: z.boolean().meta({ description: "silent for so long that it is not measured with" }),
    silentMs: z.number().min(0).meta({ description: "since when it was not heard of" }),
    applied: z.int().min(0).meta({ description: "version of the state that is in force there" }),
    routes: z.record(z.string(), replicaRoute),
  })
  .meta({ id: "ReplicaStatus", description: "one replica, as another one sees it" });

/** Every replica. */
export const replicasSchema = z
  .strictObject({ replicas: z.array(replica).readonly() })
  .meta({ id: "Replicas", description: "the replicas that share the state; none where nobody does" });
