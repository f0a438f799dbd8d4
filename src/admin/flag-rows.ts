/**
 * The rows of the admin API about feature flags: what people see and change, and their evaluation as OFREP 0.3.0 has it.
 *
 * OFREP has refusals of its own form, which its clients read; they are given for everything that the flag or the context is about. What is wrong with
 * the call itself (no token, no JSON type) is answered as everywhere here. Nothing of a context is kept or logged.
 */

import { createHash } from "node:crypto";
import { z } from "zod";
import { percent, reason, weightOf } from "../config/start.ts";
import type { FlagAnswer, Flags } from "../flags/open.ts";
import type { FlagList, FlagStatus } from "../flags/status.ts";
import { nothing, problemOf, read, row, type Call, type Reply } from "./row.ts";
import { wall } from "./shapes.ts";

/** What these rows work on. */
export interface FlagSources {
  readonly flags: Pick<Flags, "evaluate" | "evaluateAll" | "list" | "get" | "set">;
}

const scalar = z.union([z.string(), z.number(), z.boolean()]);
const metadata = z.record(z.string(), scalar).readonly();
const share = z.number().min(0).max(100);

const flagSchema: z.ZodType<FlagStatus> = z
  .strictObject({
    key: z.string(),
    type: z.enum(["boolean", "number", "string", "object"]),
    enabled: z.boolean(),
    strategy: z
      .enum(["follows", "percentage", "targeting", "static"])
      .meta({ description: "how it chooses a variant" }),
    percentage: share
      .nullable()
      .meta({ description: "share of the side that is on, in percent; null where that is no share" }),
    phase: z
      .enum(["not_started", "in_progress", "completed"])
      .nullable()
      .meta({ description: "where that share is on its way; null where there is none" }),
    variants: z.record(z.string(), z.unknown()).readonly(),
    defaultVariant: z.string().nullable(),
    follows: z.string().nullable().meta({ description: "route whose canary it is on for" }),
    opensAfter: z.string().nullable().meta({ description: "route whose rollout has to succeed first" }),
    open: z.boolean(),
    critical: z.boolean(),
    override: z
      .strictObject({
        state: z.enum(["on", "off"]).exactOptional(),
        variant: z.string().exactOptional(),
        percentage: share.exactOptional(),
        by: z.string(),
        at: wall,
        reason: z.string(),
      })
      .nullable()
      .meta({ description: "what was set over the file; null when nothing was" }),
    metadata,
  })
  .meta({ id: "Flag", description: "one feature flag" });

const listSchema: z.ZodType<FlagList> = z
  .strictObject({
    file: z.string(),
    loadedAt: wall.meta({ description: "when the file was last good" }),
    ok: z.boolean().meta({ description: "whether it still is; if not, the flags are those of before" }),
    detail: z.string().meta({ description: "what is wrong with it, a line per problem; else empty" }),
    flags: z.array(flagSchema).readonly(),
  })
  .meta({ id: "Flags", description: "every feature flag, in the order of the file" });

const changeInput = z
  .strictObject({
    state: z
      .enum(["on", "off"])
      .optional()
      .meta({ description: "`off`: nobody gets it; `on`: by its rules, and without any: everybody" }),
    variant: z.string().min(1).max(200).optional().meta({ description: "everybody gets this one" }),
    percentage: percent.optional(),
    reset: z.literal(true).optional().meta({ description: "as the file says, from now on" }),
    force: z.boolean().optional().meta({ description: "also to switch off a critical flag; needs a reason" }),
    reason: reason.optional(),
  })
  .refine(({ force, reason: why }) => force !== true || why !== undefined, {
    error: "to force needs a reason",
    path: ["reason"],
  })
  .meta({ id: "SetFlag", description: "a change of a flag, which stays until it is reset" });

const evaluateInput = z
  .looseObject({
    context: z
      .record(z.string(), z.unknown())
      .optional()
      .meta({ description: "attributes of whoever it is for; `targetingKey` is the sticky key" }),
  })
  .refine(({ context }) => ["undefined", "string"].includes(typeof context?.["targetingKey"]), {
    error: "expected a text",
    path: ["context", "targetingKey"],
  })
  .meta({ id: "FlagEvaluation", description: "for whom to evaluate (OFREP)" });

/** OFREP's two answers about one flag. */
type Ofrep =
  | {
      readonly key: string;
      readonly reason: string;
      readonly value?: unknown;
      readonly variant?: string;
      readonly metadata: Readonly<Record<string, string | number | boolean>>;
    }
  | { readonly key?: string; readonly errorCode: string; readonly errorDetails: string };

const success = z
  .strictObject({
    key: z.string(),
    reason: z.string().meta({ description: "STATIC, TARGETING_MATCH, SPLIT, DISABLED or DEFAULT" }),
    value: z.unknown().exactOptional().meta({ description: "left out: the code's own default" }),
    variant: z.string().exactOptional(),
    metadata,
  })
  .meta({ id: "FlagEvaluated", description: "what a flag is (OFREP)" });
const failure = z
  .strictObject({
    key: z.string().exactOptional(),
    errorCode: z.string().meta({
      description: "FLAG_NOT_FOUND, TARGETING_KEY_MISSING, PARSE_ERROR, INVALID_CONTEXT or GENERAL",
    }),
    errorDetails: z.string(),
  })
  .meta({ id: "FlagNotEvaluated", description: "why a flag could not be evaluated (OFREP)" });
const ofrep: z.ZodType<Ofrep> = z.union([success, failure]);
const bulkSchema: z.ZodType<{ readonly flags: readonly Ofrep[] } | Ofrep> = z.union([
  z
    .strictObject({ flags: z.array(ofrep).readonly() })
    .meta({ id: "FlagsEvaluated", description: "what every flag is (OFREP)" }),
  failure,
]);

function ofrepOf(answer: FlagAnswer): Ofrep {
  if (!answer.ok) return { key: answer.key, errorCode: answer.code, errorDetails: answer.detail };
  const { ok: _, ...rest } = answer;
  return rest;
}

/** OFREP's refusal of a body. Repeats nothing of it: it may hold a key. */
function refuse(id: string, kind: "syntax" | "input"): Reply<Ofrep> {
  const errorDetails =
    kind === "syntax"
      ? "the body is not JSON of a form that is taken"
      : "expected { context: { targetingKey: text, … } }";
  const errorCode = kind === "syntax" ? "PARSE_ERROR" : "INVALID_CONTEXT";
  const body = { ...(id === "" ? {} : { key: id }), errorCode, errorDetails };
  return { kind: "json", status: 400, body };
}

function noFlag(): Reply<never> {
  return { kind: "problem", code: "SPLIT_NOT_FOUND", message: "there is no flag of this name" };
}

async function set({ sources, id, input, actor }: Call<z.output<typeof changeInput>, unknown>) {
  const { percentage, reason: why = "", ...rest } = input;
  const change = {
    ...rest,
    reason: why,
    percentage: percentage === undefined ? undefined : weightOf(percentage),
  };
  const result = await sources.flags.set(id, change, actor.name);
  if (result.ok) return { kind: "json", status: 200, body: result.status } as const;
  return problemOf(result);
}

const evaluation = {
  method: "POST",
  scope: "read",
  orScope: "flags",
  isQuestion: true,
  input: evaluateInput,
  query: nothing,
  refuse,
} as const;

/** The rows, by operation id. */
export const flagRows = {
  flags: read({
    path: "/v1/flags",
    summary: "Every feature flag, and how their file is",
    output: listSchema,
    handle({ sources }): Reply<FlagList> {
      const body = sources.flags.list();
      if (body !== undefined) return { kind: "json", status: 200, body };
      return {
        kind: "problem",
        code: "SPLIT_NOT_FOUND",
        message: "there are no flags: `flags` is not configured",
      };
    },
  }),
  flag: read({
    path: "/v1/flags/{key}",
    summary: "One feature flag",
    output: flagSchema,
    handle({ sources, id }): Reply<FlagStatus> {
      const body = sources.flags.get(id);
      return body === undefined ? noFlag() : { kind: "json", status: 200, body };
    },
  }),
  setFlag: row<typeof changeInput, typeof nothing, FlagStatus>({
    method: "POST",
    path: "/v1/flags/{key}",
    scope: "operate",
    summary: "Switch a flag on or off, give everybody a variant, or set its percentage",
    input: changeInput,
    query: nothing,
    output: flagSchema,
    statuses: [200],
    handle: set,
  }),
  evaluateFlag: row<typeof evaluateInput, typeof nothing, Ofrep>({
    ...evaluation,
    path: "/ofrep/v1/evaluate/flags/{key}",
    summary: "What a flag is for a context (OFREP)",
    output: ofrep,
    statuses: [200, 400, 404],
    handle({ sources, id, input }) {
      const answer = sources.flags.evaluate(id, input.context ?? {});
      const status = answer.ok ? 200 : answer.code === "FLAG_NOT_FOUND" ? 404 : 400;
      return { kind: "json", status, body: ofrepOf(answer) };
    },
  }),
  evaluateFlags: row<typeof evaluateInput, typeof nothing, { readonly flags: readonly Ofrep[] } | Ofrep>({
    ...evaluation,
    path: "/ofrep/v1/evaluate/flags",
    summary: "What every flag is for a context (OFREP); 304 to who has it already",
    output: bulkSchema,
    statuses: [200, 304, 400],
    handle({ sources, input }) {
      const body = { flags: sources.flags.evaluateAll(input.context ?? {}).map(ofrepOf) };
      const hash = createHash("sha256").update(JSON.stringify(body)).digest("base64url");
      return { kind: "tagged", etag: `"${hash.slice(0, 27)}"`, body };
    },
  }),
} as const;
