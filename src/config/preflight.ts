/** What must hold before a rollout of a route starts, and whom a gate asks, as the operator writes it. */

import { z } from "zod";
import { kindOfCheck, PREFLIGHT_KINDS } from "../domain/preflight.ts";
import { secret } from "./shape.ts";
import { name, path, webUrl } from "./texts.ts";
import { millis } from "../domain/units.ts";
import { positiveDuration, positiveTimer } from "./units.ts";

/** Whoever waits for the answer has to be told one day: ms. */
export const LONGEST_PREFLIGHT_MS = millis(600_000);
const patience = positiveTimer.refine((value) => value <= LONGEST_PREFLIGHT_MS, "must be at most 10m");

const required = z.boolean().default(true).meta({
  description: "`false`: what it says is shown, and stops nothing",
});

const hook = {
  url: webUrl.meta({ description: "where to POST; a 2xx means go", examples: ["https://ci.example/go"] }),
  secret: secret.optional().meta({ description: "signs the message (Standard Webhooks)" }),
  timeout: patience.prefault("10s").meta({ description: "no answer by then means no" }),
  allowPrivate: z.boolean().default(false).meta({
    description:
      "it may lead to link-local addresses and to those at which a cloud tells machines their credentials",
  }),
};

const smoke = z.strictObject({
  path: z
    .string()
    .regex(/^\/[\x21-\x7e]*$/, 'expected a path like "/healthz"')
    .meta({ description: "what to ask for, with its query", examples: ["/checkout?probe=1"] }),
  method: z.enum(["GET", "HEAD", "OPTIONS", "POST"]).default("GET").meta({ description: "without a body" }),
  status: z
    .int()
    .min(200)
    .max(599)
    .optional()
    .meta({ description: "the status that must come; left out: any from 200 to 399", examples: [204] }),
  body: z
    .string()
    .min(1)
    .max(1000)
    .optional()
    .meta({ description: "what must be in the first 64 KiB of the answer", examples: ["ready"] }),
});

const command = z.strictObject({
  name: name.meta({ description: "what it is called in results", examples: ["migrations"] }),
  run: z
    .array(z.string().regex(/^[^\0]*$/, "expected text without NUL"))
    .min(1)
    .max(100)
    .refine(([program]) => program !== "", "names no program")
    .meta({
      description:
        "program and arguments, started without a shell; exit code 0 means go. It gets `SLUICE_ROUTE`, `SLUICE_VERSION` and `SLUICE_ENVIRONMENT`",
      examples: [["./check-migrations", "--strict"]],
    }),
  env: z
    .array(z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, 'expected the name of a variable, like "KUBECONFIG"'))
    .max(100)
    .default([])
    .meta({ description: "further environment variables that it gets; else few harmless ones" }),
  timeout: patience
    .prefault("30s")
    .meta({ description: "still running by then: ended, with all that it has started" }),
  required,
});

const webhook = z.strictObject({
  name: name.meta({ description: "what it is called in results", examples: ["change-calendar"] }),
  ...hook,
  required,
});

/** Who is asked whether the weight may rise, when all else says so: again and again, until the answer is 2xx. */
export const confirm = z
  .strictObject({
    ...hook,
    interval: positiveTimer.prefault("10s").meta({ description: "time between two questions" }),
  })
  .meta({ description: "a webhook that must answer 2xx before the weight rises" });

/** What must hold before a rollout starts. */
export const preflight = z
  .strictObject({
    smoke: z.array(smoke).max(20).default([]).meta({
      description:
        "requests, marked `X-Sluice-Preflight: 1`, that each endpoint of the canary must answer; left out: one GET of its health path, or of /",
    }),
    commands: z.array(command).max(20).default([]).meta({ description: "programs that must exit with 0" }),
    webhooks: z
      .array(webhook)
      .max(20)
      .default([])
      .meta({ description: "URLs that must answer a POST with 2xx" }),
    staging: z
      .strictObject({
        report: path.meta({
          description: "a rollout's report, or a folder with `deployment_*.json`",
          examples: ["./reports/staging"],
        }),
        maxAge: positiveDuration.prefault("7d").meta({ description: "a success longer ago does not count" }),
      })
      .optional()
      .meta({ description: "the same version must have succeeded elsewhere before" }),
    skip: z
      .array(z.string())
      .default([])
      .meta({
        description:
          "checks to leave out, by name or kind: `configuration`, `arms`, `capacity`, `clock`, `state`, `reports`, `notifier`, `smoke`, `command`, `webhook`, `staging`, or one of them like `webhook change-calendar`",
        examples: [["capacity"]],
      }),
    timeout: patience
      .prefault("60s")
      .meta({ description: "all of it; what has not answered by then has failed" }),
  })
  .check((context) => {
    const { commands, webhooks, skip } = context.value;
    const refuse = (message: string, at: (string | number)[]): void => {
      context.issues.push({ code: "custom", message, path: at, input: context.value });
    };
    for (const [key, list] of Object.entries({ commands, webhooks })) {
      list.forEach((each, index) => {
        if (list.findIndex((other) => other.name === each.name) < index)
          refuse(`there is another one named "${each.name}"`, [key, index, "name"]);
      });
    }
    skip.forEach((text, index) => {
      if (!isCheck(text, commands, webhooks)) refuse(`there is no check "${text}"`, ["skip", index]);
    });
  })
  .prefault({})
  .meta({
    description:
      "what must hold before users are sent to the canary. `preflight ROUTE` looks at it at any time, a step with `preflight: true` before it is left; a start alone does not ask for it",
  });

type Named = readonly { readonly name: string }[];

function isCheck(text: string, commands: Named, webhooks: Named): boolean {
  const kind = kindOfCheck(text);
  const of = text.slice(kind.length + 1);
  if (kind === text) return PREFLIGHT_KINDS.some((each) => each === text);
  if (kind === "notifier") return true;
  const named = { command: commands, webhook: webhooks }[kind];
  return named?.some((each) => each.name === of) === true;
}
