/** The listeners and what clients may do there, as the operator writes it. */

import { z } from "zod";
import { none, secret, section } from "./shape.ts";
import { address, name, path } from "./texts.ts";
import { positiveDuration, positiveTimer, size, timer } from "./units.ts";

const pair = {
  cert: path.meta({ description: "PEM file of the certificate and its chain" }),
  key: path.meta({ description: "PEM file of the private key" }),
};

const tls = z
  .strictObject({
    ...pair,
    sni: z
      .array(
        z.strictObject({
          names: z
            .array(
              z
                .string()
                .regex(
                  /^(\*\.)?[A-Za-z0-9._-]+$/,
                  'expected a host name like "app.example" or "*.app.example"',
                ),
            )
            .min(1)
            .meta({ description: "names that clients ask for; `*.` stands for one label" }),
          ...pair,
        }),
      )
      .default([])
      .meta({ description: "further certificates by the name that a client asks for (SNI)" }),
    minVersion: z
      .enum(["1.2", "1.3"])
      .default("1.2")
      .meta({ description: "the oldest TLS version that is spoken" }),
    clients: z.enum(["off", "request", "require"]).default("off").meta({
      description: "client certificates: none, verified when shown, or no connection without one",
    }),
    clientCa: path
      .optional()
      .meta({ description: "PEM file of the authorities that sign client certificates" }),
  })
  .refine((value) => value.clients === "off" || value.clientCa !== undefined, {
    message: "client certificates need the authorities that sign them, clientCa",
  });

/** Where requests come in. */
export const listen = z
  .array(
    z.strictObject({
      address: address.meta({ description: "address and port", examples: ["0.0.0.0:8080"] }),
      tls: tls.optional().meta({
        description: "HTTPS on this address, HTTP/2 and HTTP/1.1; the files are read again when they change",
      }),
      proxyProtocol: z.boolean().default(false).meta({
        description:
          "every connection begins with a PROXY protocol header (v1 or v2) that says who the client is; only behind a balancer that sends it",
      }),
    }),
  )
  .min(1)
  .prefault([{ address: "127.0.0.1:8080" }])
  .meta({ description: "where requests come in" });

/** What a client may ask for. */
export const limits = section(
  {
    headTime: positiveTimer.prefault("10s").meta({
      description:
        "a request head must be complete by then: 408; also a TLS handshake, and over HTTP/2 the first request of a connection (a later one that is not complete is cut by `keepAlive`)",
    }),
    bodyIdle: positiveTimer
      .prefault("30s")
      .meta({ description: "no byte of a request body for so long: 408" }),
    bodyRate: z.union([none, size]).prefault("240B").meta({
      description:
        "bytes a second that a request body must come with on the average, after its first 10 s, gRPC excepted: 408",
    }),
    keepAlive: positiveTimer
      .prefault("75s")
      .meta({ description: "an idle client connection is closed after so long" }),
    head: size.prefault("16KiB").meta({ description: "request head: 431" }),
    fields: z.int().min(1).max(2000).default(100).meta({ description: "fields of a request head: 431" }),
    url: size.prefault("16KiB").meta({ description: "request target: 414" }),
    body: z.union([none, size]).prefault("none").meta({ description: "request body: 413" }),
    connections: z.int().min(1).max(1_000_000).default(10_000).meta({
      description: "client connections in all: 503; fewer where the process may not open enough files",
    }),
    perAddress: z
      .union([none, z.int().min(1).max(1_000_000)])
      .default("none")
      .meta({
        description: "client connections from one address (of IPv6: from one /64): 429",
      }),
    requests: z
      .union([none, z.int().min(1)])
      .default("none")
      .meta({
        description: "requests on one connection; the last answer ends it",
      }),
    pipeline: z.int().min(1).max(1000).default(8).meta({
      description:
        "requests that a client may send ahead; then its connection is not read until one is answered",
    }),
    streams: z
      .int()
      .min(1)
      .max(10_000)
      .default(100)
      .meta({ description: "HTTP/2: requests at the same time on one connection" }),
    resets: z.int().min(1).max(1_000_000).default(200).meta({
      description: "HTTP/2: requests of one connection that its client may reset within 10 s: GOAWAY",
    }),
    frames: z.int().min(1).max(1_000_000).default(1000).meta({
      description:
        "HTTP/2: SETTINGS, PING and other frames without a request that a client may send within 10 s: GOAWAY",
    }),
  },
  "what a client may ask for; each limit has its own answer",
);

/** When load is shed. */
export const overload = section(
  {
    loopDelay: z.union([none, positiveDuration]).prefault("500ms").meta({
      description: "an event loop that is later than this sheds requests: 503 with Retry-After",
    }),
    concurrency: z
      .union([none, z.int().min(1).max(10_000_000)])
      .default("none")
      .meta({
        description: "requests in flight in all; above it: 503; divided among `workers`",
      }),
  },
  "shedding load before it hurts: the same for both arms, and never counted against one",
);

const token = z.strictObject({
  name: name.meta({ description: "who it is; goes into the journal" }),
  token: secret,
  scopes: z
    .array(z.enum(["read", "operate", "approve", "admin", "flags"]))
    .min(1)
    .meta({ description: "what it may do; `flags`: nothing but evaluate feature flags" }),
  roles: z
    .array(name)
    .default([])
    .meta({ description: "the roles that it may sign for at gates", examples: [["deployment-lead"]] }),
});

/** The operators' listener. */
export const admin = section(
  {
    address: address
      .default("127.0.0.1:9900")
      .meta({ description: "admin listener: address and port, or unix:PATH" }),
    tls: z
      .strictObject(pair)
      .optional()
      .meta({ description: "HTTPS for operators; needed where the address is not this machine's own" }),
    insecure: z.boolean().default(false).meta({
      description: "another address than this machine's own without `tls`: tokens travel in the clear",
    }),
    connections: z
      .int()
      .min(1)
      .max(100_000)
      .default(256)
      .meta({ description: "operators' connections in all" }),
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
);

/** How the process goes away. */
export const drain = section(
  {
    delay: timer.prefault("0s").meta({ description: "on SIGTERM go on accepting for so long, not ready" }),
    timeout: positiveTimer.prefault("30s").meta({ description: "what is in flight after so long is cut" }),
  },
  "how the process goes away",
);
