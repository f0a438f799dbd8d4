/** Spans, made of what exchanges and decisions are told as, in the words of OpenTelemetry's conventions for HTTP (1.4x). Pure but for the ids of decisions. */

import { createHash } from "node:crypto";
import type { Account, Sending, TracedAccount } from "../domain/account.ts";
import { kindOf } from "../domain/outcome.ts";
import { isRecord } from "../domain/record.ts";
import type { JournalEntry, Notice } from "../engine/ports.ts";
import { percentOf } from "../domain/units.ts";

/** A value of an attribute. */
type Value = string | number | boolean;

/** One span, in no library's form. */
export interface Span {
  readonly name: string;
  readonly kind: "server" | "client" | "internal";
  readonly traceId: string;
  readonly spanId: string;
  /** Empty: it has none. */
  readonly parentId: string;
  /** Whether the parent is another program's. */
  readonly isRemote: boolean;
  readonly state: string;
  /** Milliseconds since the epoch, with a fraction. */
  readonly from: number;
  readonly to: number;
  readonly attributes: Readonly<Record<string, Value>>;
  readonly events: readonly { readonly name: string; readonly attributes: Readonly<Record<string, Value>> }[];
  /** Empty: it went well, or that is not for us to say. */
  readonly error: string;
}

const METHODS: ReadonlySet<string> = new Set(
  "CONNECT DELETE GET HEAD OPTIONS PATCH POST PUT TRACE QUERY".split(" "),
);
/** What the journal has beside decisions. */
const NO_DECISIONS: ReadonlySet<string> = new Set(["CHECKPOINT", "BACKUP_CREATED"]);
/** Notices that are decisions to leave the weight where it is. */
const HOLDS: ReadonlySet<string> = new Set(["shared_cause", "one_client"]);
const MOST_ATTRIBUTES = 100;
const MOST_CHECKS = 32;
const LONGEST = 1024;

/** The spans of an exchange: its own, and one for each sending. */
export function spansOf(account: Account): readonly Span[] {
  const { trace } = account;
  if (trace === undefined) return [];
  return [serverSpan(account, trace), ...trace.sendings.map((each) => clientSpan(account, trace, each))];
}

function serverSpan(account: Account, trace: TracedAccount): Span {
  const { answered, ended, arm, why, rescued } = account;
  const error = answered >= 500 ? String(answered) : kindOf(ended) === "failure" ? ended : "";
  const isGrpc = ended === "grpc";
  return {
    name: `${methodOf(account)} ${account.route}`,
    kind: "server",
    traceId: account.traceId,
    spanId: trace.spanId,
    parentId: trace.parentId,
    isRemote: true,
    state: trace.state,
    from: account.startedAt,
    to: account.startedAt + account.totalMs,
    attributes: {
      ...common(account),
      "url.scheme": trace.scheme,
      "url.path": account.path,
      "network.protocol.version": trace.version,
      ...placeOf(trace.host),
      ...(answered >= 100 ? { "http.response.status_code": answered } : {}),
      ...(error === "" ? {} : { "error.type": error }),
      "sluice.route": account.route,
      "sluice.arm": arm,
      "sluice.why": why,
      ...bucketOf(account),
      "sluice.reason": account.reason,
      "sluice.rescued": rescued,
    },
    events: [],
    error: error === "" ? "" : isGrpc ? "a gRPC status that counts as failing" : ended,
  };
}

function clientSpan(account: Account, trace: TracedAccount, sending: Sending): Span {
  const { endpoint, status, reason, resends, arm, why } = sending;
  const error = status >= 400 ? String(status) : kindOf(reason) === "success" ? "" : reason;
  return {
    name: methodOf(account),
    kind: "client",
    traceId: account.traceId,
    spanId: sending.spanId,
    parentId: trace.spanId,
    isRemote: false,
    state: trace.state,
    from: account.startedAt + sending.fromMs,
    to: account.startedAt + sending.toMs,
    attributes: {
      ...common(account),
      "url.full": `${endpoint}${account.path}`,
      ...placeOf(endpoint.slice(endpoint.indexOf("//") + 2)),
      ...(status >= 100 ? { "http.response.status_code": status } : {}),
      ...(error === "" ? {} : { "error.type": error }),
      ...(resends > 0 ? { "http.request.resend_count": resends } : {}),
      "sluice.route": account.route,
      "sluice.arm": arm,
      "sluice.why": why,
      ...bucketOf(account),
      "sluice.retry": resends > 0,
      "sluice.rescue": why === "rescue",
    },
    events: [],
    error: error === "" ? "" : reason,
  };
}

function methodOf({ method }: Account): string {
  return METHODS.has(method) ? method : "HTTP";
}

function common({ method }: Account): Record<string, Value> {
  return METHODS.has(method)
    ? { "http.request.method": method }
    : { "http.request.method": "_OTHER", "http.request.method_original": method };
}

function bucketOf({ bucket }: Account): Record<string, Value> {
  return bucket < 0 ? {} : { "sluice.bucket": bucket };
}

/** Host and port of an authority. */
function placeOf(authority: string): Record<string, Value> {
  const [, host = "", port] = /^(.*?)(?::(\d+))?$/.exec(authority) ?? [];
  if (host === "") return {};
  return { "server.address": host, ...(port === undefined ? {} : { "server.port": Number(port) }) };
}

/** A decision as a span; undefined: the entry is none. All of a rollout's are in one trace, whose id is made of the rollout's. */
export function decisionOf(entry: JournalEntry, spanId: string, at: number): Span | undefined {
  const { event, route, rollout, actor, reason, before, after, details } = entry;
  if (rollout === "" || NO_DECISIONS.has(event)) return undefined;
  const checks = listOf(details?.["checks"]);
  return {
    ...ofRollout(event, route, rollout, spanId, at),
    attributes: bounded({
      ...named(event, route, rollout, reason),
      "sluice.actor": actor,
      "sluice.phase.before": before.phase,
      "sluice.phase.after": after.phase,
      "sluice.step": after.step,
      "sluice.weight.before": percentOf(before.weight),
      "sluice.weight.after": percentOf(after.weight),
      ...ruleOf(checks.find((each) => each["verdict"] === "failed")),
      ...flat("sluice.arms", details?.["arms"]),
    }),
    events: checks
      .slice(0, MOST_CHECKS)
      .map((each) => ({ name: "check", attributes: flat("sluice.rule", each) })),
  };
}

/** What was held although a rule was over its limit; undefined: the notice is of something else. */
export function holdOf(notice: Notice, spanId: string, at: number): Span | undefined {
  const { event, route, rollout, summary, details } = notice;
  if (!HOLDS.has(event)) return undefined;
  const { check } = details;
  return {
    ...ofRollout(event, route, rollout, spanId, at),
    attributes: bounded({
      ...named(event, route, rollout, summary),
      ...ruleOf(isRecord(check) ? check : undefined),
    }),
    events: [],
  };
}

function ofRollout(event: string, route: string, rollout: string, spanId: string, at: number) {
  return {
    name: `decision ${event}`,
    kind: "internal",
    traceId: createHash("sha256").update(`${route}\n${rollout}`).digest("hex").slice(0, 32),
    spanId,
    parentId: "",
    isRemote: false,
    state: "",
    from: at,
    to: at,
    error: "",
  } as const;
}

function named(event: string, route: string, rollout: string, reason: string): Record<string, Value> {
  return {
    "sluice.decision": event,
    "sluice.route": route,
    "sluice.rollout.id": rollout,
    "sluice.because": reason,
  };
}

/** The rule that decided, with its figures. */
function ruleOf(check: Readonly<Record<string, unknown>> | undefined): Record<string, Value> {
  if (check === undefined) return {};
  const { rule, ...figures } = check;
  return { ...(typeof rule === "string" ? { "sluice.rule": rule } : {}), ...flat("sluice.rule", figures) };
}

function listOf(value: unknown): readonly Readonly<Record<string, unknown>>[] {
  return Array.isArray(value) ? value.filter(isRecord) : [];
}

/** Every text, number and truth in `value` under its path. */
function flat(prefix: string, value: unknown): Record<string, Value> {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean")
    return { [prefix]: value };
  if (!isRecord(value)) return {};
  return Object.assign({}, ...Object.entries(value).map(([name, each]) => flat(`${prefix}.${name}`, each)));
}

function bounded(attributes: Readonly<Record<string, Value>>): Readonly<Record<string, Value>> {
  const entries = Object.entries(attributes).slice(0, MOST_ATTRIBUTES);
  return Object.fromEntries(
    entries.map(([name, value]) => [name, typeof value === "string" ? value.slice(0, LONGEST) : value]),
  );
}
