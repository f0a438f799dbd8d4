/**
 * What a row of the admin API is, and the two kinds that there are: a read, and a verb on a route, whose command goes through the engine's one
 * door.
 */

import { z } from "zod";
import type { Config } from "../config/schema.ts";
import { name } from "../config/texts.ts";
import type { ErrorCode } from "../domain/errors.ts";
import type { Refusal } from "../domain/refusal.ts";
import type { Actor, Command } from "../domain/rollout-types.ts";
import type { AlertResult } from "../engine/alerting.ts";
import type { Control, ReloadResult } from "../engine/control.ts";
import type { Clock, Preflight } from "../engine/ports.ts";
import type { RouteStatus } from "../engine/status.ts";
import type { ReportShelf } from "../telemetry/report-shelf.ts";
import type { Scope } from "./auth.ts";
import type { BackupSources } from "./backup-rows.ts";
import type { HistorySources } from "./console-rows.ts";
import type { DrillSources } from "./drill-rows.ts";
import type { FlagSources } from "./flag-rows.ts";
import type { HealthSources } from "./health-rows.ts";
import type { MessageSources } from "./message-rows.ts";
import { routeStatusSchema } from "./shapes.ts";

/** What the handlers work on. */
export interface AdminSources
  extends BackupSources, DrillSources, FlagSources, HealthSources, HistorySources, MessageSources {
  readonly control: Control;
  readonly config: () => Config;
  readonly preflight: Preflight;
  /** The exposition in the format that `accept` prefers. */
  readonly metrics: (accept: string) => Promise<{ readonly contentType: string; readonly body: string }>;
  readonly reports: ReportShelf;
  readonly reload: (actor: string) => Promise<ReloadResult>;
  readonly readiness: () => { readonly ready: boolean; readonly checks: Readonly<Record<string, string>> };
  readonly drain: () => void;
  readonly clock: Pick<Clock, "wall">;
  /** The OpenAPI document. */
  readonly document: () => unknown;
  /** The ids of all operations. */
  readonly operations: () => readonly string[];
}

/** One call, validated. */
export interface Call<I, Q> {
  readonly sources: AdminSources;
  readonly actor: Actor;
  /** What the caller may do. */
  readonly scopes: ReadonlySet<Scope>;
  /** `{route}` of the path; empty when it has none. */
  readonly route: string;
  /** `{id}` or `{key}` of the path; empty when it has none. */
  readonly id: string;
  readonly input: I;
  readonly query: Q;
  /** From If-Match. */
  readonly ifVersion: number | undefined;
  /** The If-None-Match field. */
  readonly ifNoneMatch: string;
  /** The Accept field. */
  readonly accept: string;
}

/** What a handler answers. */
export type Reply<O> =
  | { readonly kind: "json"; readonly status: number; readonly body: O; readonly version?: number }
  /** Answered with 304, and no body, to who has it already. */
  | { readonly kind: "tagged"; readonly etag: string; readonly body: O }
  | { readonly kind: "text"; readonly contentType: string; readonly body: string }
  /** The stream of server-sent events, of one route when named. */
  | { readonly kind: "events"; readonly only: string | undefined }
  | { readonly kind: "problem"; readonly code: ErrorCode; readonly message: string; readonly field?: string };

/** One row. `handle` is a method, so that rows of different inputs are rows of one kind. */
export interface Row<I extends z.ZodType = z.ZodType, Q extends z.ZodType = z.ZodType, O = unknown> {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  /** The right it takes; `none`: needs no token. */
  readonly scope: Scope | "none";
  /** A lesser right that is enough, too. */
  readonly orScope?: Scope;
  /** A POST that changes nothing: nothing of it is logged or told. */
  readonly isQuestion?: true;
  /** How this row tells that a body is none that it takes; left out: as a problem. */
  readonly refuse?: (id: string, kind: "syntax" | "input", message: string) => Reply<unknown>;
  readonly summary: string;
  /** The body; null for a read. */
  readonly input: I | null;
  readonly query: Q;
  /** The JSON that is answered, or the media type of what is. */
  readonly output: z.ZodType<O> | string;
  /** A media type in which the same is answered when Accept prefers it. */
  readonly text?: string;
  /** Statuses that carry the output. */
  readonly statuses: readonly number[];
  /** How long the answer may take: ms; left out: as long as the listener is silent. */
  readonly patienceMs?: number;
  handle(call: Call<z.output<I>, z.output<Q>>): Reply<O> | Promise<Reply<O>>;
}

/** No parameters. */
export const nothing = z.strictObject({});
/** The query that names a route. */
export const oneRoute = name.optional().meta({ description: "of this route only" });

/** So many of what is listed, unless said otherwise. */
const LISTED = 100;

/** How many are listed, as it is typed. */
function limitOf(what: string) {
  return z
    .string()
    .regex(/^[1-9]\d{0,3}$/, "expected a whole number from 1 to 9999")
    .optional()
    .meta({ description: `${what} at the most; left out: ${LISTED}` });
}

/** The query of a list: of which route, and how many. */
export function listQuery(what: string) {
  return z.strictObject({ route: oneRoute, limit: limitOf(what) });
}

/** What a list is asked for. */
export function listedBy({ route, limit }: z.output<ReturnType<typeof listQuery>>) {
  return { limit: Number(limit ?? LISTED), ...(route === undefined ? {} : { route }) };
}

/** A row as it is, with its types. */
export function row<I extends z.ZodType, Q extends z.ZodType, O>(each: Row<I, Q, O>): Row<I, Q, O> {
  return each;
}

type ReadParts<Q extends z.ZodType, O> = Omit<
  Row<z.ZodNever, Q, O>,
  "method" | "input" | "scope" | "statuses" | "query"
> & {
  readonly scope?: Scope | "none";
  readonly statuses?: readonly number[];
  readonly query?: Q;
};

/** A GET; scope `read` and status 200 unless said otherwise. */
export function read<O, Q extends z.ZodType = typeof nothing>(parts: ReadParts<Q, O>) {
  // Without a query schema Q is `typeof nothing`, by its default.
  const query = (parts.query ?? nothing) as Q;
  return row<z.ZodNever, Q, O>({
    scope: "read",
    statuses: [200],
    ...parts,
    method: "GET",
    input: null,
    query,
  });
}

type CommandOf<I> = (
  input: I,
  call: Call<I, unknown>,
) => Command | { readonly field: string; readonly message: string };

/** A verb on a route: its command goes through the engine's one door, its answer is the route as it is then. */
export function verb<I extends z.ZodType>(
  path: string,
  summary: string,
  input: I,
  commandOf: CommandOf<z.output<I>>,
  scope: Scope = "operate",
) {
  return row<I, typeof nothing, RouteStatus>({
    method: "POST",
    path,
    scope,
    summary,
    input,
    query: nothing,
    output: routeStatusSchema,
    statuses: [200],
    async handle(call) {
      const { sources, actor, route, ifVersion } = call;
      if (sources.control.route(route) === undefined) return noRoute();
      const command = commandOf(call.input, call);
      if (!("type" in command)) return { kind: "problem", code: "SPLIT_INPUT_INVALID", ...command };
      const result = await sources.control.command(route, command, actor, ifVersion);
      if (!result.ok) return problemOf(result);
      return { kind: "json", status: 200, body: result.status, version: result.status.version };
    },
  });
}

/** The answer about a route that there is not. */
export function noRoute(): Reply<never> {
  return { kind: "problem", code: "SPLIT_NOT_FOUND", message: "there is no route of this name" };
}

/** The answer that something was refused, and why. */
export function problemOf({ code, message }: Refusal): Reply<never> {
  return { kind: "problem", code, message };
}

/** The answer with what came of something, or why nothing did. */
export function replyOf<T, O>(result: AlertResult<T>, body: (value: T) => O): Reply<O> {
  if (result.ok) return { kind: "json", status: 200, body: body(result.value) };
  return problemOf(result);
}
