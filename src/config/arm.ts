/** One arm of a route as the operator writes it: its endpoints, how they are reached, and what protects them. */

import { z } from "zod";
import { endpoint, path } from "./texts.ts";
import { none, off, section } from "./shape.ts";
import { positiveDuration, positiveTimer, rate } from "./units.ts";

/** The fields of a probe's configuration. */
export const healthFields = {
  path: z
    .string()
    .regex(/^\/[\x21-\x7e]*$/, 'expected a path like "/healthz"')
    .optional()
    .meta({
      description: "GET this path, healthy from 200 to 399; left out: a TCP connect",
      examples: ["/healthz"],
    }),
  interval: positiveTimer.prefault("10s").meta({ description: "time between two probes of one endpoint" }),
  timeout: positiveTimer.prefault("5s").meta({ description: "a probe without an answer by then has failed" }),
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

const outlier = z.strictObject({
  consecutive5xx: z.int().min(1).max(10_000).default(5).meta({
    description: "failures in a row (5xx, and no answer at all) that eject an endpoint",
  }),
  consecutiveGateway: z
    .union([none, z.int().min(1).max(10_000)])
    .default("none")
    .meta({
      description: "of 502, 503, 504 and no answer at all in a row; a tighter limit for those alone",
    }),
  interval: positiveTimer.prefault("10s").meta({
    description: "time between two looks at success rates and at who may come back",
  }),
  baseEjection: positiveDuration.prefault("30s").meta({
    description: "the first ejection lasts so long, the second twice as long, and so on",
  }),
  maxEjection: positiveDuration.prefault("5m").meta({ description: "no ejection lasts longer" }),
  maxEjected: rate.prefault("10%").meta({
    description:
      "share of an arm's endpoints that may be out at once; one always may, where there are several",
  }),
  successRate: z
    .union([
      off,
      z.strictObject({
        minimumHosts: z.int().min(2).max(10_000).default(5).meta({
          description: "judged only when so many endpoints had enough exchanges in the interval",
        }),
        requestVolume: z.int().min(1).max(1_000_000).default(100).meta({
          description: "exchanges of an endpoint in the interval that are enough",
        }),
        deviations: z.number().min(0.1).max(100).default(1.9).meta({
          description: "standard deviations below the mean of all that eject",
        }),
      }),
    ])
    .prefault({})
    .meta({ description: "ejects an endpoint that does worse than its siblings" }),
});

const armTls = z
  .strictObject({
    ca: path
      .optional()
      .meta({ description: "PEM file of the authorities to trust, instead of the platform's" }),
    cert: path.optional().meta({ description: "PEM file of the certificate to show (mTLS)" }),
    key: path.optional().meta({ description: "PEM file of its private key" }),
    serverName: z
      .string()
      .regex(/^[A-Za-z0-9._-]+$/, 'expected a host name like "app.internal"')
      .optional()
      .meta({
        description: "name to ask for (SNI) and to check the certificate for; left out: the endpoint's",
      }),
    verify: z.boolean().default(true).meta({
      description: "`false` takes any certificate: log and metrics say so as long as it lasts",
    }),
  })
  .refine((value) => (value.cert === undefined) === (value.key === undefined), {
    message: "a certificate needs its key, and a key its certificate",
  });

/** One arm. */
export const arm = z.strictObject({
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
  concurrency: z
    .union([none, z.int().min(1).max(1_000_000)])
    .default("none")
    .meta({
      description: "exchanges in flight on this arm at the most; above it: 503; divided among `workers`",
    }),
  protocol: z.enum(["auto", "http1", "http2"]).default("auto").meta({
    description:
      "HTTP version towards `http://` and `https://` endpoints; `auto`: HTTP/1.1, and over TLS HTTP/2 for clients that speak it, if the endpoint does",
  }),
  tls: armTls
    .optional()
    .meta({ description: "how `https://` endpoints are verified, and what is shown to them" }),
  outlier: z.union([off, outlier]).prefault({}).meta({
    description:
      "endpoints that fail are left out for a while; needs several, and is no verdict about the arm",
  }),
  slowStart: z.union([none, positiveDuration]).prefault("none").meta({
    description: "an endpoint that is new or back again gets its full share only after so long",
  }),
  panic: rate.prefault("50%").meta({
    description: "when fewer of the endpoints are healthy and not ejected, all are used",
  }),
  dns: section(
    {
      refresh: positiveTimer.prefault("30s").meta({
        description: "endpoints that are names are looked up again so often, and when a connection fails",
      }),
      local: z.boolean().default(false).meta({
        description: "names other than `localhost` may lead to loopback and link-local addresses",
      }),
    },
    "endpoints that are names",
  ),
  health: health.optional().meta({ description: "the probes of this arm; left out: the route's" }),
});
