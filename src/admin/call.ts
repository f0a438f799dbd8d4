/**
 * What one call of the admin API is answered.
 *
 * The checks stand in one order: head, Host and origin, path and method, token, scope, media type, body, schema. The first that fails
 * answers. Nothing of a caller's is looked up, parsed or logged before the checks that come before it have passed.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { TLSSocket } from "node:tls";
import type { ErrorCode } from "../domain/errors.ts";
import type { Actor } from "../domain/rollout-types.ts";
import type { Log } from "../engine/ports.ts";
import {
  jsonAnswer,
  problemAnswer,
  taggedAnswer,
  textAnswer,
  unchangedAnswer,
  type Answer,
} from "./answer.ts";
import type { Auth, Scope } from "./auth.ts";
import { MAX_BODY, checkInput, parseJson, parseQuery, readBody } from "./body.ts";
import type { Events } from "./events.ts";
import { findRow } from "./find.ts";
import { isIdempotencyKey, type Answers } from "./idempotency.ts";
import type { Caller, OriginRefusal } from "./origin.ts";
import type { AdminSources, Call, Reply, Row } from "./row.ts";

/** Files for a browser, beside the table: they hold no data and take no token. */
export interface ServedPages {
  has(path: string): boolean;
  answer(asked: {
    readonly path: string;
    readonly acceptEncoding: string | undefined;
    readonly ifNoneMatch: string | undefined;
  }): Promise<Omit<Answer, "close">>;
}

/** What answering takes. */
export interface CallParts {
  readonly sources: AdminSources;
  readonly checkOrigin: (caller: Caller) => OriginRefusal | undefined;
  readonly auth: Pick<Auth, "authenticate">;
  /** Told of a connection on which somebody has shown a token that is known. */
  readonly onKnown: (request: IncomingMessage) => void;
  readonly answers: Answers;
  readonly events: Events;
  /** Undefined: there are none. */
  readonly pages: ServedPages | undefined;
  readonly log: Log;
  /** Told of each caller that is not let in. */
  readonly onRefused: (caller: { readonly code: ErrorCode; readonly address: string }) => void;
  readonly maxFields: number;
}

/** Answers calls. */
export interface Calls {
  /** The answer; undefined when the response is taken care of (a stream) or nobody is there any more. Rejects on a bug. */
  answer(request: IncomingMessage, response: ServerResponse): Promise<Answer | undefined>;
}

const MAX_URL = 4096;

/** A call whose caller may make it. */
interface Admitted {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly row: Row;
  readonly route: string;
  readonly id: string;
  readonly query: string;
  readonly actor: Actor;
  readonly scopes: ReadonlySet<Scope>;
}

/** A function's value, or the answer that ends the call. */
type Step<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly answer: Answer };

function stop(...problem: Parameters<typeof problemAnswer>): { ok: false; answer: Answer } {
  return { ok: false, answer: problemAnswer(...problem) };
}

function invalid(field: string, message: string, status?: number): { ok: false; answer: Answer } {
  return stop("SPLIT_INPUT_INVALID", field === "" ? message : `${field}: ${message}`, {
    field,
    ...(status === undefined ? {} : { status }),
  });
}

/** Answers calls with `parts`. */
export function createCalls(parts: CallParts): Calls {
  return {
    async answer(request, response) {
      const trouble = headTrouble(parts, request);
      if (trouble !== undefined) return trouble;
      if (parts.pages?.has(pathOf(request)) === true) return showing(parts.pages, request);
      const admitted = admit(parts, request, response);
      if (!admitted.ok) return admitted.answer;
      return admitted.value.row.method === "GET"
        ? reading(parts, admitted.value)
        : writing(parts, admitted.value);
    },
  };
}

/** Every value of a field, in order; `request.headers` drops or joins repeated ones. */
function fieldsOf(request: IncomingMessage, name: string): readonly string[] {
  const found: string[] = [];
  for (let i = 0; i + 1 < request.rawHeaders.length; i += 2) {
    if (request.rawHeaders[i]?.toLowerCase() === name) found.push(request.rawHeaders[i + 1] ?? "");
  }
  return found;
}

/** The checks that need to know nothing of what is asked; the first that fails. */
function headTrouble(parts: CallParts, request: IncomingMessage): Answer | undefined {
  const refuse = (...problem: Parameters<typeof problemAnswer>): Answer => problemAnswer(...problem);
  const { maxFields, checkOrigin } = parts;
  if (request.rawHeaders.length > 2 * maxFields) {
    return refuse("SPLIT_TOO_LARGE", `more than ${maxFields} header fields`, { status: 431, close: true });
  }
  if ((request.url ?? "").length > MAX_URL)
    return refuse("SPLIT_TOO_LARGE", "the target is too long", { status: 414, close: true });
  // The parser lets 0.9 and 2.0 through as if they were 1.1.
  if (request.httpVersion !== "1.1" && request.httpVersion !== "1.0")
    return refuse("SPLIT_REQUEST_REFUSED", "only HTTP/1.1 and 1.0 are spoken", { close: true });
  const hosts = fieldsOf(request, "host");
  if (hosts.length === 0 && request.httpVersion === "1.1")
    return refuse("SPLIT_REQUEST_REFUSED", "a request names the Host that it is for", { close: true });
  const refused = checkOrigin({
    hosts,
    origins: fieldsOf(request, "origin"),
    // A link in a chat may lead to the console: the page holds no data, and following a link does nothing.
    fetchSite: isFollowed(parts, request) ? [] : fieldsOf(request, "sec-fetch-site"),
    isWrite: request.method !== "GET" && request.method !== "HEAD",
    isEncrypted: request.socket instanceof TLSSocket,
    localAddress: request.socket.localAddress,
  });
  if (refused !== undefined) return refuse(refused.code, refused.message);
  // An expectation that is not known is not to be guessed at (RFC 9110 §10.1.1).
  if (/^(?:100-continue)?$/i.test(request.headers.expect ?? "")) return undefined;
  return refuse("SPLIT_INPUT_INVALID", "Expect: only 100-continue is known", { status: 417, close: true });
}

/** Whether a person has followed a link to a page. */
function isFollowed({ pages }: CallParts, request: IncomingMessage): boolean {
  const { "sec-fetch-mode": mode, "sec-fetch-dest": to } = request.headers;
  const isPage = request.method === "GET" && pages?.has(pathOf(request)) === true;
  return isPage && mode === "navigate" && to === "document";
}

/** The target without its query. */
function pathOf({ url = "" }: IncomingMessage): string {
  const mark = url.indexOf("?");
  return mark < 0 ? url : url.slice(0, mark);
}

async function showing(pages: ServedPages, request: IncomingMessage): Promise<Answer> {
  const { method, headers } = request;
  if (method !== "GET" && method !== "HEAD") return refusedMethod(["GET", "HEAD"], hasBody(request)).answer;
  if (hasBody(request)) return bodyRefused();
  const asked = {
    path: pathOf(request),
    acceptEncoding: headers["accept-encoding"]?.toString(),
    ifNoneMatch: headers["if-none-match"],
  };
  return { ...(await pages.answer(asked)), close: false };
}

function refusedMethod(methods: readonly string[], close = false): { ok: false; answer: Answer } {
  const allow = methods.join(", ");
  return stop("SPLIT_METHOD_NOT_ALLOWED", `this path takes ${allow}`, { headers: { allow }, close });
}

function hasBody({ headers }: IncomingMessage): boolean {
  return Number(headers["content-length"] ?? 0) > 0 || headers["transfer-encoding"] !== undefined;
}

function bodyRefused(): Answer {
  return problemAnswer("SPLIT_INPUT_INVALID", "a read takes no body", { close: true });
}

function admit(parts: CallParts, request: IncomingMessage, response: ServerResponse): Step<Admitted> {
  const path = pathOf(request);
  const found = findRow(request.method ?? "", path);
  if (found.kind === "none") {
    if (found.allow.length === 0) return stop("SPLIT_NOT_FOUND", "there is nothing at this path");
    return refusedMethod(found.allow);
  }
  const { row, route, id } = found;
  const admitted = { request, response, row, route, id, query: (request.url ?? "").slice(path.length + 1) };
  if (row.scope === "none")
    return { ok: true, value: { ...admitted, actor: { name: "anonymous" }, scopes: new Set() } };
  const address = request.socket.remoteAddress ?? "unix";
  const caller = parts.auth.authenticate(fieldsOf(request, "authorization"), address);
  if (!caller.ok) {
    parts.onRefused({ code: caller.code, address });
    return stop(caller.code, caller.message, { headers: caller.headers });
  }
  parts.onKnown(request);
  const isAllowed =
    caller.scopes.has(row.scope) || (row.orScope !== undefined && caller.scopes.has(row.orScope));
  if (!isAllowed) {
    return stop("SPLIT_FORBIDDEN", `this call needs the scope "${row.scope}"`, {
      headers: {
        "www-authenticate": `Bearer realm="sluice", error="insufficient_scope", scope="${row.scope}"`,
      },
    });
  }
  return { ok: true, value: { ...admitted, actor: caller.actor, scopes: caller.scopes } };
}

async function reading(parts: CallParts, admitted: Admitted): Promise<Answer | undefined> {
  const { request, response } = admitted;
  if (hasBody(request)) return bodyRefused();
  const call = callOf(parts, admitted, undefined, undefined);
  if (!call.ok) return call.answer;
  const reply = await admitted.row.handle(call.value);
  if (reply.kind !== "events") return answerOf(reply);
  if (request.method === "HEAD") return textAnswer("text/event-stream", "");
  if (parts.events.attach(response, reply.only)) return undefined;
  return problemAnswer("SPLIT_OVERLOADED", "too many listen to the events already", {
    headers: { "retry-after": "5" },
  });
}

async function writing(parts: CallParts, admitted: Admitted): Promise<Answer | undefined> {
  const { request, response, row, actor } = admitted;
  const body = await bodyOf(request, response);
  if (body === undefined) return undefined;
  if (!body.ok) return body.answer;
  const json = parseJson(body.value);
  if (!json.ok) {
    const refused = row.refuse?.(admitted.id, "syntax", json.message);
    return refused === undefined ? invalid(json.field, json.message).answer : answerOf(refused);
  }
  const { control } = parts.sources;
  const version = control.route(admitted.route)?.version ?? control.version;
  const match = ifVersionOf(fieldsOf(request, "if-match"), version);
  if (!match.ok) return match.answer;
  const call = callOf(parts, admitted, json.value, match.value);
  if (!call.ok) return call.answer;

  const run = async (): Promise<Answer> => {
    const { ifVersion } = call.value;
    // A verb on a route is compared by the engine, at the moment at which it acts.
    if (ifVersion !== undefined && call.value.route === "" && ifVersion !== control.version) {
      return problemAnswer("SPLIT_STATE_CONFLICT", "the state has moved on");
    }
    // The platform takes the listener's time again when it has been answered.
    if (row.patienceMs !== undefined) request.setTimeout(row.patienceMs);
    const answer = answerOf(await row.handle(call.value), call.value.ifNoneMatch);
    if (row.isQuestion === true) return answer;
    parts.log.info("admin call", {
      actor,
      path: row.path,
      route: call.value.route,
      status: answer.status,
    });
    if (answer.status < 300) parts.events.changed();
    return answer;
  };
  const keys = fieldsOf(request, "idempotency-key");
  const [key] = keys;
  if (key === undefined) return run();
  if (keys.length > 1 || !isIdempotencyKey(key)) {
    return invalid("Idempotency-Key", "expected one key of 1 to 255 visible ASCII characters").answer;
  }
  const identity = [
    row.path,
    call.value.route,
    body.value.toString("base64"),
    ...fieldsOf(request, "if-match"),
  ];
  const kept = await parts.answers.once(actor.name, key, identity, run);
  if (kept.kind === "answer") return kept.answer;
  return invalid("Idempotency-Key", "this key was used for another call", 422).answer;
}

/** The body's bytes, once its media type is known to be right; undefined when the client has gone. */
async function bodyOf(request: IncomingMessage, response: ServerResponse): Promise<Step<Buffer> | undefined> {
  const { headers } = request;
  const types = fieldsOf(request, "content-type");
  const isJson =
    types.length === 1 && /^application\/json\s*(?:;\s*charset="?utf-8"?\s*)?$/i.test(types[0] ?? "");
  const close = hasBody(request);
  // Without a body there is nothing that a type could say; a verb that needs a field refuses the empty object by itself.
  if (!isJson && (close || types.length > 0)) {
    return stop("SPLIT_MEDIA_TYPE", "expected Content-Type: application/json", { close });
  }
  if (headers["content-encoding"] !== undefined) {
    return stop("SPLIT_MEDIA_TYPE", "expected a body without Content-Encoding", { close });
  }
  // Only now is a client that waits for it told to send.
  const isTooLong = Number(headers["content-length"] ?? 0) > MAX_BODY;
  if (!isTooLong && /^100-continue$/i.test(headers.expect ?? "")) response.writeContinue();
  const read = await readBody(request);
  if (read.kind === "gone") return undefined;
  if (read.kind === "read") return { ok: true, value: read.bytes };
  return stop("SPLIT_TOO_LARGE", `a body may have ${MAX_BODY} bytes`, { close: true });
}

/** The version in If-Match; undefined when there is none or it says "any". −1, which no state has, for a tag that is none of ours. */
function ifVersionOf(fields: readonly string[], current: number): Step<number | undefined> {
  if (fields.length === 0) return { ok: true, value: undefined };
  const text = fields.join(",").trim();
  if (text === "*") return { ok: true, value: undefined };
  const versions: number[] = [];
  for (const part of text.split(",")) {
    const tag = /^\s*(W\/)?"([\x21\x23-\x7e]*)"\s*$/.exec(part);
    if (tag === null) return invalid("If-Match", 'expected an ETag, like "12"');
    // A weak tag never matches (RFC 9110 §13.1.1).
    versions.push(tag[1] === undefined && /^\d{1,15}$/.test(tag[2] ?? "") ? Number(tag[2]) : -1);
  }
  return { ok: true, value: versions.includes(current) ? current : versions[0] };
}

function callOf(
  parts: CallParts,
  { request, row, route, id, query, actor, scopes }: Admitted,
  body: unknown,
  ifVersion: number | undefined,
): Step<Call<unknown, unknown>> {
  const parameters = parseQuery(query);
  if (!parameters.ok) return invalid(parameters.field, parameters.message);
  const asked = checkInput(row.query, parameters.value);
  if (!asked.ok) return invalid(asked.field, asked.message);
  const input = row.input === null ? { ok: true as const, value: undefined } : checkInput(row.input, body);
  if (!input.ok) {
    const refused = row.refuse?.(id, "input", `${input.field}: ${input.message}`);
    return refused === undefined
      ? invalid(input.field, input.message)
      : { ok: false, answer: answerOf(refused) };
  }
  return {
    ok: true,
    value: {
      sources: parts.sources,
      actor,
      scopes,
      route,
      id,
      input: input.value,
      query: asked.value,
      ifVersion,
      ifNoneMatch: request.headers["if-none-match"] ?? "",
      accept: request.headers.accept ?? "",
    },
  };
}

function answerOf(reply: Reply<unknown>, ifNoneMatch = ""): Answer {
  switch (reply.kind) {
    case "tagged": {
      const { etag } = reply;
      const hasIt = ifNoneMatch === "*" || ifNoneMatch.split(",").some((tag) => isSameTag(tag, etag));
      return hasIt ? unchangedAnswer(etag) : taggedAnswer(reply.body, etag);
    }
    case "json":
      return jsonAnswer(reply.status, reply.body, reply.version);
    case "text":
      return textAnswer(reply.contentType, reply.body);
    case "problem":
      if (reply.field === undefined) return problemAnswer(reply.code, reply.message);
      return problemAnswer(reply.code, `${reply.field}: ${reply.message}`, { field: reply.field });
    case "events":
      return textAnswer("text/event-stream", "");
    default:
      return reply satisfies never;
  }
}

/** Weakly compared, as If-None-Match asks for (RFC 9110 §13.1.2). */
function isSameTag(tag: string, etag: string): boolean {
  return tag.trim().replace(/^W\//, "") === etag;
}
