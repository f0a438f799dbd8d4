/** One route as the operator writes it: what it matches, its two arms, who goes where, and what may happen. */

import { z } from "zod";
import { DRILL_SUFFIX, isDrill } from "../domain/drill.ts";
import { GRPC_STATUSES, DEFAULT_FAILING } from "../domain/grpc.ts";
import { alerting, alerts, DEFAULT_ALERTS, DEFAULT_TARGETS, targets } from "./alerts.ts";
import { arm, healthFields } from "./arm.ts";
import { drill } from "./drill.ts";
import { planSchema } from "./plan.ts";
import { confirm, preflight } from "./preflight.ts";
import { DEFAULT_RULES, rulesSchema } from "./rules.ts";
import { none, off, secret, section } from "./shape.ts";
import { anonymous, cidr, keySource, name } from "./texts.ts";
import { duration, positiveTimer, rate, size, timer } from "./units.ts";

const override = z
  .strictObject({
    header: z
      .string()
      .regex(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/, 'expected a header name like "x-sluice-arm"')
      .optional()
      .meta({ description: "header that forces an arm" }),
    cookie: z.string().min(1).optional().meta({ description: "cookie that forces an arm" }),
    query: z.string().min(1).optional().meta({ description: "query parameter that forces an arm" }),
    secret: secret.optional().meta({ description: "what must follow the arm and a colon: `canary:SECRET`" }),
    from: z
      .array(cidr)
      .default([])
      .meta({ description: "client networks that need no secret", examples: [["10.0.0.0/8"]] }),
    always: z
      .boolean()
      .default(false)
      .meta({ description: "may reach the canary even when the route is rolled back" }),
  })
  .refine((value) => value.header !== undefined || value.cookie !== undefined || value.query !== undefined, {
    message: "name at least one of header, cookie and query",
  })
  .refine((value) => value.secret !== undefined || value.from.length > 0, {
    message: "an override without a secret or a list of networks would let every client choose its arm",
  });

const rescue = z.strictObject({
  methods: z
    .array(z.enum(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"]))
    .default(["GET", "HEAD", "OPTIONS"])
    .meta({ description: "methods that may be sent again; others only with an Idempotency-Key" }),
  on: z
    .array(z.enum(["connect", "timeout", "reset", "5xx"]))
    .default(["connect", "timeout", "reset", "5xx"])
    .meta({ description: "canary failures that are rescued" }),
  budget: rate.prefault("100%").meta({
    description: "share of the route's exchanges of the last 10 s that may be rescued (10 always may)",
  }),
  concurrency: z.int().min(1).max(100_000).default(64).meta({
    description: "rescues in flight at the most; stable is not loaded beyond it; divided among `workers`",
  }),
  maxBody: size.prefault("64KiB").meta({ description: "a longer request body is not held for a rescue" }),
});

const rollback = z.strictObject({
  onAny: rulesSchema.prefault(DEFAULT_RULES).meta({ description: "one rule that fails is enough" }),
  to: z
    .union([z.literal("previousStep"), rate])
    .prefault("0%")
    .meta({ description: "the weight after a rollback; if it fails there too, 0%" }),
  cooldown: duration
    .prefault("60m")
    .meta({ description: "after a rollback no new rollout for so long, unless forced with a reason" }),
  verify: duration.prefault("60m").meta({ description: "stable is watched for so long after a rollback" }),
  confirm: z.boolean().default(true).meta({
    description:
      "an alarm of a sequential rule takes the canary away for 10 s and is final when it comes again; false: final at once",
  }),
  loopLag: positiveTimer.prefault("200ms").meta({
    description: "what was measured while the proxy's own event loop was later than this is no evidence",
  }),
  sharedCause: z.enum(["hold", "rollback"]).default("hold").meta({
    description:
      "what a rule does that stable breaks as well: hold the weight and page, or roll back all the same",
  }),
  knownIssues: z
    .array(
      z.strictObject({
        path: z
          .string()
          .regex(/^\/[\x21-\x7e]*$/, 'expected a path like "/api"')
          .default("/")
          .meta({ description: "path prefix, matched by whole segments" }),
        status: z
          .int()
          .min(500)
          .max(599)
          .meta({ description: "the status that is known to come", examples: [503] }),
      }),
    )
    .max(100)
    .default([])
    .meta({ description: "failures that are shown and are no evidence" }),
  whenStableUnhealthy: z
    .enum(["rollback", "hold", "lessBad"])
    .default("rollback")
    .meta({ description: "what a rollback does when stable is sick too; it pages in every case" }),
});

const mirror = z.strictObject({
  share: rate.meta({ description: "share of the requests that are copied", examples: ["10%"] }),
  methods: z
    .array(z.enum(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "POST", "PATCH"]))
    .min(1)
    .default(["GET", "HEAD"])
    .meta({
      description: "methods that are copied; a copy is carried out, so mind what has an effect",
    }),
  maxBody: size.prefault("64KiB").meta({ description: "a request with a longer body is not copied" }),
  concurrency: z.int().min(1).max(100_000).default(32).meta({
    description: "copies in flight at the most; what is above is not copied; divided among `workers`",
  }),
  timeout: positiveTimer
    .prefault("10s")
    .meta({ description: "a copy without a whole answer by then is given up" }),
  compare: z
    .array(z.string().regex(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/, 'expected a header name like "content-type"'))
    .default(["content-type", "content-encoding", "location", "cache-control"])
    .meta({
      description: "response fields that should be the same as stable's; differences are counted",
    }),
});

/** One route. */
export const route = z.strictObject({
  name: name
    .refine((text) => !isDrill(text), `names that end in "${DRILL_SUFFIX}" are those of drills`)
    .meta({ description: "the route's name, in paths, metrics and reports", examples: ["app"] }),
  match: section(
    {
      host: z
        .string()
        .regex(
          /^(\*\.)?[a-zA-Z0-9._-]+$|^\[[0-9a-fA-F:.]+\]$/,
          'expected a host name like "app.example" or "*.app.example"',
        )
        .optional()
        .meta({
          description: "host name without port; `*.` matches one or more labels; left out: every host",
        }),
      path: z
        .string()
        .regex(/^\/[\x21-\x7e]*$/, 'expected a path like "/api"')
        .default("/")
        .meta({ description: "path prefix, matched by whole segments; the longest wins" }),
    },
    "which requests are this route's; left out: all",
  ),
  stable: arm.meta({ description: "the version that runs today" }),
  canary: arm.meta({ description: "the version that should run tomorrow" }),
  timeouts: section(
    {
      connect: positiveTimer.prefault("2s").meta({ description: "no connection by then: 504" }),
      headers: positiveTimer
        .prefault("30s")
        .meta({ description: "request sent, no response head by then: 504" }),
      idle: positiveTimer
        .prefault("60s")
        .meta({ description: "no byte of a response body for so long: cut" }),
      total: z
        .union([none, positiveTimer])
        .prefault("none")
        .meta({ description: "whole exchange; `none`: a response that makes progress is not cut" }),
    },
    "how long the upstream may take",
  ),
  health: section(healthFields, "active probes of every endpoint, at every weight"),
  key: z
    .array(keySource)
    .default([])
    .meta({
      description: "where a user's sticky key is; the first that is present wins",
      examples: [["header:x-user-id", "cookie:sid"]],
    }),
  anonymous: anonymous
    .default("cookie")
    .meta({ description: "a request without a key: gets a signed cookie, chance, or stable" }),
  salt: z
    .string()
    .min(1)
    .max(200)
    .optional()
    .meta({ description: "pins the shuffle of keys into buckets; left out: the rollout's id" }),
  override: override.optional().meta({ description: "who may force an arm, and how" }),
  rescue: z
    .union([off, rescue])
    .prefault({})
    .meta({ description: "a request that failed on the canary is answered by stable" }),
  retry: section(
    {
      budget: rate.prefault("20%").meta({
        description:
          "share of the route's exchanges of the last 10 s that may be sent again because a connection was lost or did not open (10 always may)",
      }),
    },
    "idempotent requests whose kept connection turns out to be closed, and all for which no connection opens, are sent once more, to the same arm",
  ),
  mirror: z.union([off, mirror]).prefault("off").meta({
    description:
      "while the weight is 0 and no rollback shuts the canary: copies of requests, marked `X-Sluice-Mirror: 1`, go to it; the answers come from stable",
  }),
  grpc: section(
    {
      failing: z
        .array(z.enum(GRPC_STATUSES))
        .default([...DEFAULT_FAILING])
        .meta({
          description: "statuses that count as failures",
        }),
    },
    "gRPC on this route",
  ),
  longLived: section(
    {
      idle: positiveTimer.prefault("5m").meta({
        description:
          "no byte in either direction for so long: closed; WebSockets, event streams and gRPC streams",
      }),
      lifetime: z.union([none, positiveTimer]).prefault("none").meta({
        description: "a WebSocket is closed after so long, whatever it does",
      }),
      connections: z.int().min(1).max(1_000_000).default(10_000).meta({
        description:
          "WebSockets to one arm at the most, opening ones included; above it: 503; divided among `workers`",
      }),
      onRollback: z
        .enum(["drain", "close"])
        .default("drain")
        .meta({ description: "WebSockets and event streams on the canary after a rollback" }),
      deadline: timer.prefault("30s").meta({ description: "drained ones are closed after so long" }),
    },
    "connections that outlive a weight change",
  ),
  rollback: rollback.prefault({}).meta({ description: "what moves the weight back to stable" }),
  alerts: alerts.prefault(DEFAULT_ALERTS).meta({ description: "what people are told of, and how loudly" }),
  targets: targets
    .prefault(DEFAULT_TARGETS)
    .meta({ description: "what should be: shown as met or not, and never an alert" }),
  alerting,
  preflight,
  confirm: confirm.optional(),
  drill,
  plan: z
    .union([name, planSchema])
    .optional()
    .meta({ description: "the name of a plan under `plans`, or a plan" }),
});

/** One route as validated. */
export type RouteConfig = z.output<typeof route>;
/** A rescue policy that is on. */
export type RescueConfig = Exclude<RouteConfig["rescue"], "off">;
/** A mirroring that is on. */
export type MirrorConfig = Exclude<RouteConfig["mirror"], "off">;
