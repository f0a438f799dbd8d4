/**
 * What the operator may say: the one source of truth for the configuration. Types, defaults, the JSON Schema for editors
 * and `config/reference.md` all come from here.
 *
 * Pure: text in, values out. Secrets stay sources here (`{ env }`, `{ file }`); `load.ts` reads them. Every object is strict,
 * every field has a description, every number has its unit.
 */

import { z } from "zod";
import { duration, positiveDuration, rate, size } from "./units.ts";
import { address, anonymous, cidr, keySource, name, path, endpoint } from "./texts.ts";
import { planSchema } from "./plan.ts";
import { DEFAULT_RULES, ruleSchema } from "./rules.ts";

/** Zod's way of saying "the default is what the empty object parses to". */
function section<T extends z.ZodRawShape>(shape: T, description: string) {
  const schema = z.strictObject(shape);
  return schema.prefault({} as z.input<typeof schema>).meta({ description });
}

const secret = z
  .union(
    [
      z.strictObject({ env: z.string().min(1).meta({ description: "name of the environment variable" }) }),
      z.strictObject({ file: path.meta({ description: "path of the file that holds it" }) }),
    ],
    { error: "expected where the secret is, { env: NAME } or { file: PATH }, never the secret itself" },
  )
  .meta({ description: "where the secret is: { env: NAME } or { file: PATH }; never the secret itself" });

const none = z.literal("none");

const healthFields = {
  path: z
    .string()
    .regex(/^\/[\x21-\x7e]*$/, 'expected a path like "/healthz"')
    .optional()
    .meta({
      description: "GET this path, healthy from 200 to 399; left out: a TCP connect",
      examples: ["/healthz"],
    }),
  interval: positiveDuration.prefault("10s").meta({ description: "time between two probes of one endpoint" }),
  timeout: positiveDuration
    .prefault("5s")
    .meta({ description: "a probe without an answer by then has failed" }),
  unhealthyAfter: z
    .int()
    .min(1)
    .max(1000)
    .default(5)
    .meta({ description: "failures in a row until unhealthy" }),
  healthyAfter: z
    .int()
    .min(1)
    .max(1000)
    .default(2)
    .meta({ description: "successes in a row until healthy again" }),
};
const health = z.strictObject(healthFields);

const arm = z.strictObject({
  endpoints: z
    .array(endpoint)
    .min(1)
    .meta({
      description: "the servers of this arm; each exchange takes the less loaded of two",
      examples: [["http://10.0.0.1:8080"]],
    }),
  version: z
    .string()
    .min(1)
    .max(100)
    .optional()
    .meta({ description: "what runs there, for people", examples: ["4.0.0"] }),
  connections: z
    .int()
    .min(1)
    .max(100_000)
    .default(256)
    .meta({ description: "connections to one endpoint at the most; divided among `workers`" }),
  queue: z.int().min(0).max(1_000_000).default(1024).meta({
    description: "exchanges that may wait for a connection; above it: 503; divided among `workers`",
  }),
  health: health.optional().meta({ description: "the probes of this arm; left out: the route's" }),
});

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
  onAny: z
    .array(ruleSchema)
    .min(1)
    .prefault(DEFAULT_RULES)
    .meta({ description: "one rule that fails is enough" }),
  to: z
    .union([z.literal("previousStep"), rate])
    .prefault("0%")
    .meta({ description: "the weight after a rollback; if it fails there too, 0%" }),
  cooldown: duration
    .prefault("60m")
    .meta({ description: "after a rollback no new rollout for so long, unless forced with a reason" }),
  verify: duration.prefault("60m").meta({ description: "stable is watched for so long after a rollback" }),
  whenStableUnhealthy: z
    .enum(["rollback", "hold", "lessBad"])
    .default("rollback")
    .meta({ description: "what a rollback does when stable is sick too; it pages in every case" }),
});

const route = z.strictObject({
  name: name.meta({ description: "the route's name, in paths, metrics and reports", examples: ["app"] }),
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
      connect: positiveDuration.prefault("2s").meta({ description: "no connection by then: 504" }),
      headers: positiveDuration
        .prefault("30s")
        .meta({ description: "request sent, no response head by then: 504" }),
      idle: positiveDuration
        .prefault("60s")
        .meta({ description: "no byte of a response body for so long: cut" }),
      total: z
        .union([none, positiveDuration])
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
    .union([z.literal("off"), rescue])
    .prefault({})
    .meta({ description: "a request that failed on the canary is answered by stable" }),
  longLived: section(
    {
      onRollback: z
        .enum(["drain", "close"])
        .default("drain")
        .meta({ description: "WebSockets and event streams on the canary after a rollback" }),
      deadline: duration.prefault("30s").meta({ description: "drained ones are closed after so long" }),
    },
    "connections that outlive a weight change",
  ),
  rollback: rollback.prefault({}).meta({ description: "what moves the weight back to stable" }),
  plan: z
    .union([name, planSchema])
    .optional()
    .meta({ description: "the name of a plan under `plans`, or a plan" }),
});

const token = z.strictObject({
  name: name.meta({ description: "who it is; goes into the journal" }),
  token: secret,
  scopes: z
    .array(z.enum(["read", "operate", "approve", "admin"]))
    .min(1)
    .meta({ description: "what it may do" }),
});

/** The whole configuration file. */
export const configSchema = z
  .strictObject({
    listen: z
      .array(
        z.strictObject({
          address: address.meta({ description: "address and port", examples: ["0.0.0.0:8080"] }),
          tls: z
            .strictObject({
              cert: path.meta({ description: "PEM file of the certificate and its chain" }),
              key: path.meta({ description: "PEM file of the private key" }),
            })
            .optional()
            .meta({ description: "HTTPS on this address; read once, at start" }),
        }),
      )
      .min(1)
      .default([{ address: "127.0.0.1:8080" }])
      .meta({ description: "where requests come in" }),
    workers: z
      .union([z.literal("auto"), z.int().min(1).max(256)])
      .default(1)
      .meta({
        description:
          "threads that carry traffic, sharing the port; `auto`: one per core. A change needs a restart",
      }),
    lane: z
      .enum(["auto", "general"])
      .default("auto")
      .meta({ description: "`general` turns the fast lane for plain HTTP/1.1 off" }),
    limits: section(
      {
        headTime: positiveDuration
          .prefault("10s")
          .meta({ description: "a request head must be complete by then: 408" }),
        bodyIdle: positiveDuration
          .prefault("30s")
          .meta({ description: "no byte of a request body for so long: 408" }),
        keepAlive: positiveDuration
          .prefault("75s")
          .meta({ description: "an idle client connection is closed after so long" }),
        head: size.prefault("16KiB").meta({ description: "request head: 431" }),
        fields: z.int().min(1).max(2000).default(100).meta({ description: "fields of a request head: 431" }),
        url: size.prefault("16KiB").meta({ description: "request target: 414" }),
        body: z.union([none, size]).prefault("none").meta({ description: "request body: 413" }),
        connections: z
          .int()
          .min(1)
          .max(1_000_000)
          .default(10_000)
          .meta({ description: "client connections in all" }),
      },
      "what a client may ask for; each limit has its own answer",
    ),
    admin: section(
      {
        address: address
          .default("127.0.0.1:9900")
          .meta({ description: "admin listener: address and port, or unix:PATH" }),
        tokens: z
          .array(token)
          .default([])
          .meta({ description: "bearer tokens beside the one written to the state folder" }),
        hosts: z
          .array(z.string().min(1))
          .default([])
          .meta({ description: "further Host names by which the admin API may be called" }),
      },
      "the operators' listener",
    ),
    state: z
      .string()
      .regex(/^(file:.+|memory:)$/, 'expected "file:PATH" or "memory:"')
      .default("file:./state")
      .meta({ description: "where the rollouts' state is kept", examples: ["file:./state"] }),
    reports: path.default("./reports").meta({ description: "folder of evidence packs" }),
    environment: name.default("production").meta({ description: "named in reports and notifications" }),
    trustedProxies: z
      .array(cidr)
      .default([])
      .meta({ description: "networks whose X-Forwarded-* fields are believed" }),
    drain: section(
      {
        delay: duration
          .prefault("0s")
          .meta({ description: "on SIGTERM go on accepting for so long, not ready" }),
        timeout: positiveDuration
          .prefault("30s")
          .meta({ description: "what is in flight after so long is cut" }),
      },
      "how the process goes away",
    ),
    routes: z.array(route).min(1).meta({ description: "the services in front of which it stands" }),
    plans: z.record(name, planSchema).prefault({}).meta({ description: "plans by name" }),
    notify: section(
      {
        webhook: z
          .strictObject({
            url: z
              .url({ protocol: /^https?$/, error: 'expected a URL like "https://hooks.example/sluice"' })
              .meta({ description: "where to POST" }),
            secret: secret.optional().meta({ description: "signs the message (Standard Webhooks)" }),
          })
          .optional()
          .meta({ description: "one signed JSON POST per message" }),
      },
      "who is told",
    ),
  })
  .check((context) => {
    const seen = new Set<string>();
    const matches = new Map<string, string>();
    context.value.routes.forEach((each, index) => {
      if (seen.has(each.name)) {
        context.issues.push({
          code: "custom",
          message: `there is another route named "${each.name}"`,
          path: ["routes", index, "name"],
          input: each.name,
        });
      }
      seen.add(each.name);
      const match = `${each.match.host?.toLowerCase() ?? "*"} ${each.match.path}`;
      const other = matches.get(match);
      if (other !== undefined) {
        context.issues.push({
          code: "custom",
          message: `the route "${other}" matches the same host and path`,
          path: ["routes", index, "match"],
          input: each.match,
        });
      }
      matches.set(match, each.name);
      if (typeof each.plan === "string" && !Object.hasOwn(context.value.plans, each.plan)) {
        context.issues.push({
          code: "custom",
          message: `there is no plan "${each.plan}" under plans`,
          path: ["routes", index, "plan"],
          input: each.plan,
        });
      }
    });
  });

/** The configuration as validated, with every default in place. */
export type Config = z.output<typeof configSchema>;
/** One route of it. */
export type RouteConfig = Config["routes"][number];
/** One arm of a route. */
export type ArmConfig = RouteConfig["stable"];
/** A rescue policy that is on. */
export type RescueConfig = Exclude<RouteConfig["rescue"], "off">;
/** The probes of an arm. */
export type HealthConfig = RouteConfig["health"];
/** Where a secret is. */
export type SecretConfig = z.output<typeof secret>;
