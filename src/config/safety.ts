/** The safety switches: what is answered while one is on. That one is on is said by people, through the API, and is no configuration. */

import { z } from "zod";
import { section } from "./shape.ts";
import { cidr } from "./texts.ts";
import { positiveDuration } from "./units.ts";

/** What frames a message or belongs to one connection is not the operator's to say (RFC 9110 §7.6.1, RFC 9112 §6). */
const OURS: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "date",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);
/** Statuses without content (RFC 9110 §15.3.5, §15.3.6, §15.4.5). */
const EMPTY: ReadonlySet<number> = new Set([204, 205, 304]);

const fieldName = z
  .string()
  .regex(/^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/, 'expected a header name like "retry-after"')
  .refine((name) => !OURS.has(name.toLowerCase()), "this field is the proxy's own to set");
const fieldValue = z
  .string()
  .regex(/^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/, "expected printable ASCII, without spaces around it");

const answer = z
  .strictObject({
    status: z
      .int()
      .min(200)
      .max(599)
      .refine((status) => !EMPTY.has(status), "an answer with this status has no body")
      .default(503)
      .meta({ description: "with 503 and no Retry-After among the headers: Retry-After: 60" }),
    headers: z
      .record(fieldName, fieldValue)
      .default({})
      .meta({
        description: "further fields; Content-Type is text/plain unless said here",
        examples: [{ "content-type": "text/html; charset=utf-8", "retry-after": "600" }],
      }),
    body: z.string().max(65_536).default("").meta({ description: "the page" }),
  })
  .meta({ description: "an answer in the route's place" });

/** What is answered in a route's place. */
export type SafetyAnswer = z.output<typeof answer>;

const pathPrefix = z.string().regex(/^\/[\x21-\x7e]*$/, 'expected a path like "/healthz"');

/** What is answered while a switch is on. */
export const safety = section(
  {
    emergency: section(
      {
        answer: z
          .union([z.literal("stable"), answer])
          .default("stable")
          .meta({
            description:
              "`stable`: everything goes to stable; else this is answered. Either way nothing rises, and overrides reach the canary only with `always`",
          }),
      },
      "while `emergency` is on",
    ),
    readOnly: section(
      {
        methods: z
          .array(z.string().regex(/^[A-Z]{1,20}$/, "expected a method like GET"))
          .min(1)
          .max(50)
          .default(["GET", "HEAD", "OPTIONS"])
          .meta({ description: "methods that pass; a WebSocket comes as a GET" }),
        retryAfter: positiveDuration
          .prefault("60s")
          .meta({ description: "Retry-After of the others' 503, in whole seconds" }),
      },
      "while `read-only` is on",
    ),
    maintenance: section(
      {
        answer: answer.optional().meta({ description: "left out: 503 as problem+json, Retry-After: 60" }),
        from: z
          .array(cidr)
          .default([])
          .meta({ description: "client networks that are served all the same", examples: [["10.0.0.0/8"]] }),
        paths: z
          .array(pathPrefix)
          .max(50)
          .default([])
          .meta({
            description: "paths that are served all the same, by whole segments",
            examples: [["/healthz"]],
          }),
      },
      "while `maintenance` is on",
    ),
  },
  "what is answered while a safety switch is on; switches are thrown by people, see `sluice emergency --help`",
);
