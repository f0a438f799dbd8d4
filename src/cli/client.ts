/**
 * The admin API as the command line calls it: over TCP, TLS or a unix socket, with a token, in bounded time. Every way in which a call can fail
 * ends as an AppError whose code decides the exit code.
 *
 * Over TLS the other end is always verified, by the platform's trust or by the authorities that were named, whatever the environment says
 * (`NODE_TLS_REJECT_UNAUTHORIZED`): a token is not shown to whoever answers.
 *
 * `node:http` and not `fetch`, which cannot reach a unix socket. A call is never repeated by itself: a command that may or may not have
 * arrived is for a person to look at.
 */

import { request, type IncomingMessage } from "node:http";
import { request as requestTls } from "node:https";
import type { InputOf, OutputOf } from "../admin/routes.ts";
import { LONGEST_DRILL_MS } from "../config/drill.ts";
import { LONGEST_PREFLIGHT_MS } from "../config/preflight.ts";
import { isLocalAddress } from "../config/reach.ts";
import { AppError, CODES, causeOf, type ErrorCode } from "../domain/errors.ts";
import { bareHost } from "../domain/host.ts";
import type { IncidentRecord } from "../domain/incident.ts";
import { isRecord } from "../domain/record.ts";
import type { Switch } from "../domain/safety.ts";
import type { BackupInfo, JournalLine } from "../engine/ports.ts";
import type { AlertStatus, ReplicaStatus, RouteStatus, SilenceStatus } from "../engine/status.ts";

const JSON_TYPE = "application/json";

/** Where the admin API is. */
export interface AdminAddress {
  /** As a person would write it, for messages. */
  readonly text: string;
  /** What is sent as Host. */
  readonly host: string;
  readonly isTls: boolean;
  /** Whether what is sent can be read on the way: plain HTTP to another machine. */
  readonly isExposed: boolean;
  readonly target: { readonly socketPath: string } | { readonly host: string; readonly port: number };
}

/** What a rollout is started with. */
export type StartRequest = InputOf<"start">;
/** What a rollout would be started with, and what is to be expected. */
export type DryRunRequest = InputOf<"plan">;
/** The checks before a rollout. */
export type PreflightReport = OutputOf<"preflight">;
/** What a reload did. */
export type ReloadReport = OutputOf<"reload">;

/** What goes with a verb. */
export type VerbBody = InputOf<
  "promote" | "rollback" | "approve" | "reject" | "extend" | "stepBack" | "retry"
>;

/** The admin API as functions. Each throws AppError with the API's code, or SPLIT_UNREACHABLE. */
export interface AdminClient {
  routes(): Promise<readonly RouteStatus[]>;
  route(name: string): Promise<RouteStatus>;
  setWeight(route: string, body: InputOf<"setWeight">): Promise<RouteStatus>;
  start(route: string, body: StartRequest): Promise<RouteStatus>;
  /** What a rollout would come to; nothing is started. */
  plan(route: string, body: DryRunRequest): Promise<OutputOf<"plan">>;
  /** Checks what must hold before a rollout; nothing is started. */
  preflight(route: string, body: InputOf<"preflight">): Promise<PreflightReport>;
  /** Makes a drill; the answer comes when it has ended. */
  drill(route: string, body: InputOf<"drill">): Promise<OutputOf<"drill">>;
  /** The newest reports of drills, newest first. */
  drills(options: { readonly limit: number; readonly route: string }): Promise<OutputOf<"drills">["drills"]>;
  verb(
    route: string,
    verb:
      "pause" | "resume" | "promote" | "rollback" | "approve" | "reject" | "extend" | "step-back" | "retry",
    body: VerbBody,
  ): Promise<RouteStatus>;
  /** The replicas that share the state. */
  replicas(): Promise<readonly ReplicaStatus[]>;
  journal(options: { readonly limit: number; readonly route?: string }): Promise<readonly JournalLine[]>;
  /** The newest reports of rollouts, newest first. */
  reports(options: {
    readonly limit: number;
    readonly route: string | undefined;
  }): Promise<OutputOf<"reports">["reports"]>;
  /** The text of one report, in this form. */
  report(id: string, type: "application/json" | "text/markdown"): Promise<string>;
  backups(): Promise<readonly BackupInfo[]>;
  backup(body: InputOf<"backup">): Promise<BackupInfo>;
  restore(body: InputOf<"restore">): Promise<OutputOf<"restore">>;
  incidents(): Promise<readonly IncidentRecord[]>;
  resolveIncident(id: string, body: InputOf<"resolveIncident">): Promise<IncidentRecord>;
  /** Every check of the running program. */
  health(): Promise<OutputOf<"health">>;
  /** Throws a safety switch, or takes it back. */
  turn(which: Switch, body: InputOf<"emergency">): Promise<OutputOf<"emergency">>;
  flags(): Promise<OutputOf<"flags">>;
  flag(key: string): Promise<OutputOf<"flag">>;
  setFlag(key: string, body: InputOf<"setFlag">): Promise<OutputOf<"setFlag">>;
  /** Alerts that are open; of one route when named. */
  alerts(route: string | undefined): Promise<readonly AlertStatus[]>;
  answerAlert(
    id: string,
    answer: "acknowledge" | "resolve",
    body: InputOf<"acknowledgeAlert">,
  ): Promise<void>;
  silences(route: string | undefined): Promise<readonly SilenceStatus[]>;
  silence(body: InputOf<"silence">): Promise<SilenceStatus>;
  unsilence(id: string): Promise<SilenceStatus>;
  reload(): Promise<ReloadReport>;
  /** The running program's environment, e.g. `production`; undefined when the API does not say. */
  environment(): Promise<string | undefined>;
}

/** Silence of the API for longer is taken as unreachable, ms. A command waits for the disk, not for traffic. */
const TIMEOUT_MS = 15_000;
/** Checks may take as long as the longest `preflight.timeout`, and the answer has to come. */
const PREFLIGHT_MS = LONGEST_PREFLIGHT_MS + TIMEOUT_MS;
/** An answer longer than this is not the admin API's, bytes. */
const MAX_ANSWER = 32 * 1024 * 1024;

/**
 * The address in `text`: `http://host:port`, `https://host:port`, `host:port` or `unix:PATH`. An address to listen on everywhere (`0.0.0.0`, `[::]`, none)
 * is called on loopback. `scheme`: of an address that names none. Throws SPLIT_USAGE for anything else.
 */
export function adminAddressOf(text: string, scheme: "http" | "https" = "http"): AdminAddress {
  if (text.startsWith("unix:") && text.length > 5) {
    return { text, host: "localhost", isTls: false, isExposed: false, target: { socketPath: text.slice(5) } };
  }
  const url = URL.parse(text.includes("://") ? text : `${scheme}://${text.replace(/^:/, "127.0.0.1:")}`);
  const isTls = url?.protocol === "https:";
  if (url === null || (!isTls && url.protocol !== "http:") || url.pathname !== "/" || url.search !== "") {
    throw new AppError(
      "SPLIT_USAGE",
      `--admin takes http://HOST:PORT, https://HOST:PORT or unix:PATH, not ${text}`,
    );
  }
  const loopback: Readonly<Record<string, string>> = { "0.0.0.0": "127.0.0.1", "[::]": "[::1]" };
  const hostname = loopback[url.hostname] ?? url.hostname;
  const port = url.port === "" ? (isTls ? 443 : 80) : Number(url.port);
  return {
    text: `${url.protocol}//${hostname}:${port}`,
    host: `${hostname}:${port}`,
    isTls,
    isExposed: !isTls && !isLocalAddress(hostname),
    target: { host: bareHost(hostname), port },
  };
}

/** What a client is made of. */
export interface ClientOptions {
  readonly address: AdminAddress;
  /** Sent as bearer; undefined sends none. */
  readonly token: string | undefined;
  /** Added to the API's refusal of a call without a token. */
  readonly noTokenHint: string;
  /** Certificates to trust over TLS, PEM; undefined: the platform's. */
  readonly ca: () => Promise<readonly string[] | undefined>;
}

/** A client of the API. */
export function adminClient({ address, token, noTokenHint, ca }: ClientOptions): AdminClient {
  /** The text of an answer that is no refusal. */
  async function textOf(
    method: Method,
    path: string,
    accept: string,
    body: unknown,
    timeoutMs: number,
  ): Promise<string> {
    const trusted = address.isTls ? await ca() : undefined;
    const answer = await exchange({ address, method, path, accept, token, ca: trusted, body, timeoutMs });
    if (answer.status >= 200 && answer.status < 300) return answer.text;
    const error = problemOf(answer.status, parsed(answer.text, address), address);
    if (error.code !== "SPLIT_UNAUTHORIZED" || token !== undefined) throw error;
    throw new AppError(error.code, `${error.message}; ${noTokenHint}`);
  }
  async function call(
    method: Method,
    path: string,
    body?: unknown,
    timeoutMs = TIMEOUT_MS,
  ): Promise<unknown> {
    return parsed(await textOf(method, path, JSON_TYPE, body, timeoutMs), address);
  }
  const at = (route: string): string => encodeURIComponent(route);

  return {
    async routes() {
      return listOf(await call("GET", "/v1/routes"), "routes", address).map((each) =>
        statusOf(each, address),
      );
    },
    async route(name) {
      return statusOf(await call("GET", `/v1/routes/${at(name)}`), address);
    },
    async setWeight(route, body) {
      return statusOf(await call("POST", `/v1/routes/${at(route)}/weight`, body), address);
    },
    async start(route, body) {
      return statusOf(await call("POST", `/v1/rollouts/${at(route)}/start`, body), address);
    },
    async plan(route, body) {
      const found = recordOf(await call("POST", `/v1/rollouts/${at(route)}/plan`, body), address);
      if (typeof found["knows"] !== "boolean") throw strange(address);
      listOf(found, "steps", address);
      // Its marks are there; the rest is the shape that the API's own table describes.
      return found as unknown as OutputOf<"plan">;
    },
    async drill(route, body) {
      const found = await call("POST", `/v1/routes/${at(route)}/drill`, body, LONGEST_DRILL_MS + TIMEOUT_MS);
      listOf(found, "checks", address);
      // Its marks are there; the rest is the shape that the API's own table describes.
      return found as OutputOf<"drill">;
    },
    async drills({ limit, route }) {
      const found = await call("GET", `/v1/drills?${queryOf(limit, route)}`);
      // As above.
      return listOf(found, "drills", address) as OutputOf<"drills">["drills"];
    },
    async preflight(route, body) {
      const path = `/v1/rollouts/${at(route)}/preflight`;
      const found = recordOf(await call("POST", path, body, PREFLIGHT_MS), address);
      if (typeof found["passed"] !== "boolean") throw strange(address);
      listOf(found, "results", address);
      // As above.
      return found as unknown as PreflightReport;
    },
    async verb(route, verb, body) {
      return statusOf(await call("POST", `/v1/rollouts/${at(route)}/${verb}`, body), address);
    },
    async journal({ limit, route }) {
      // Our own API's shape; what is printed of it is made text field by field.
      return listOf(
        await call("GET", `/v1/journal?${queryOf(limit, route)}`),
        "lines",
        address,
      ) as JournalLine[];
    },
    async reports({ limit, route }) {
      const found = listOf(await call("GET", `/v1/reports?${queryOf(limit, route)}`), "reports", address);
      if (!found.every((each) => isRecord(each) && typeof each["id"] === "string")) throw strange(address);
      // Their marks are there; the rest is the shape that the API's own table describes.
      return found as OutputOf<"reports">["reports"];
    },
    report: (id, type) => textOf("GET", `/v1/reports/${at(id)}`, type, undefined, TIMEOUT_MS),
    // As with the journal.
    replicas: async () => listOf(await call("GET", "/v1/replicas"), "replicas", address) as ReplicaStatus[],
    backups: async () => listOf(await call("GET", "/v1/backups"), "backups", address) as BackupInfo[],
    async backup(body) {
      const found = recordOf(await call("POST", "/v1/backup", body), address);
      if (typeof found["name"] !== "string") throw strange(address);
      return found as unknown as BackupInfo;
    },
    async restore(body) {
      const found = await call("POST", "/v1/restore", body);
      listOf(found, "routes", address);
      listOf(found, "missing", address);
      return found as OutputOf<"restore">;
    },
    async incidents() {
      // As with the journal.
      return listOf(await call("GET", "/v1/incidents"), "incidents", address) as IncidentRecord[];
    },
    async resolveIncident(id, body) {
      const found = recordOf(await call("POST", `/v1/incidents/${at(id)}/resolve`, body), address);
      if (found["status"] !== "resolved") throw strange(address);
      return found as unknown as IncidentRecord;
    },
    async flags() {
      const found = recordOf(await call("GET", "/v1/flags"), address);
      listOf(found, "flags", address);
      // As with a plan.
      return found as unknown as OutputOf<"flags">;
    },
    async flag(key) {
      return flagOf(await call("GET", `/v1/flags/${at(key)}`), address);
    },
    async setFlag(key, body) {
      return flagOf(await call("POST", `/v1/flags/${at(key)}`, body), address);
    },
    async alerts(route) {
      // As with the journal.
      return listOf(await call("GET", `/v1/alerts${ofRoute(route)}`), "alerts", address) as AlertStatus[];
    },
    async answerAlert(id, answer, body) {
      listOf(await call("POST", `/v1/alerts/${at(id)}/${answer}`, body), "alerts", address);
    },
    async silences(route) {
      return listOf(
        await call("GET", `/v1/silences${ofRoute(route)}`),
        "silences",
        address,
      ) as SilenceStatus[];
    },
    async silence(body) {
      return silenceOf(await call("POST", "/v1/silences", body), address);
    },
    async unsilence(id) {
      return silenceOf(await call("DELETE", `/v1/silences/${at(id)}`), address);
    },
    async health() {
      const found = recordOf(await call("GET", "/v1/health"), address);
      if (typeof found["healthy"] !== "boolean") throw strange(address);
      listOf(found, "checks", address);
      // Its marks are there; the rest is the shape that the API's own table describes.
      return found as unknown as OutputOf<"health">;
    },
    async turn(which, body) {
      const found = recordOf(await call("POST", `/v1/safety/${which}`, body), address);
      if (!isRecord(found["safety"])) throw strange(address);
      // As above.
      return found as unknown as OutputOf<"emergency">;
    },
    async reload() {
      const found = await call("POST", "/v1/config/reload", {});
      listOf(found, "changed", address);
      listOf(found, "needsRestart", address);
      // As above.
      return found as ReloadReport;
    },
    async environment() {
      const { environment } = recordOf(await call("GET", "/v1/config"), address);
      return typeof environment === "string" ? environment : undefined;
    },
  };
}

type Method = "GET" | "POST" | "DELETE";

function ofRoute(route: string | undefined): string {
  return route === undefined ? "" : `?route=${encodeURIComponent(route)}`;
}

function silenceOf(value: unknown, address: AdminAddress): SilenceStatus {
  const found = recordOf(value, address);
  if (typeof found["until"] !== "string") throw strange(address);
  // Its mark is there; the rest is the shape that the API's own table describes.
  return found as unknown as SilenceStatus;
}

function queryOf(limit: number, route: string | undefined): string {
  return new URLSearchParams({ limit: String(limit), ...(route === undefined ? {} : { route }) }).toString();
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

interface Exchange extends Omit<ClientOptions, "noTokenHint" | "ca"> {
  readonly ca: readonly string[] | undefined;
  readonly method: string;
  readonly path: string;
  readonly accept: string;
  readonly body: unknown;
  readonly timeoutMs: number;
}

/** One request and its whole answer. Throws SPLIT_UNREACHABLE. */
function exchange({ address, method, path, accept, token, ca, body, timeoutMs }: Exchange): Promise<Answer> {
  const content = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      reject(new AppError("SPLIT_UNREACHABLE", `cannot reach the admin API at ${address.text}: ${why}`));
    };
    const send = address.isTls ? requestTls : request;
    const outgoing = send(
      {
        ...address.target,
        ...(address.isTls ? verified(ca) : {}),
        method,
        path,
        agent: false,
        timeout: timeoutMs,
        headers: {
          host: address.host,
          accept,
          ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
          ...(content === undefined
            ? {}
            : { "content-type": JSON_TYPE, "content-length": Buffer.byteLength(content) }),
        },
      },
      (incoming) => collect(incoming, resolve, fail),
    );
    outgoing.on("timeout", () => outgoing.destroy(new Error(`no answer in ${timeoutMs / 1000} s`)));
    outgoing.on("error", (error) => fail(causeOf(error, WHY)));
    outgoing.end(content);
  });
}

/** How the other end of TLS is verified. Said in so many words, since the platform's default can be turned off from outside. */
function verified(ca: readonly string[] | undefined) {
  return {
    rejectUnauthorized: true,
    minVersion: "TLSv1.2" as const,
    // A certificate that was named is trusted as it is, whoever signed it.
    ...(ca === undefined ? {} : { ca: [...ca], allowPartialTrustChain: true }),
  };
}

function collect(
  incoming: IncomingMessage,
  resolve: (answer: Answer) => void,
  fail: (why: string) => void,
): void {
  const parts: Buffer[] = [];
  let length = 0;
  incoming.on("data", (part: Buffer) => {
    parts.push(part);
    length += part.length;
    if (length > MAX_ANSWER) incoming.destroy(new Error("the answer is too long"));
  });
  incoming.on("error", (error) => fail(causeOf(error, WHY)));
  incoming.on("end", () =>
    resolve({ status: incoming.statusCode ?? 0, text: Buffer.concat(parts).toString() }),
  );
}

const UNTRUSTED =
  "its certificate is signed by nobody who is trusted here; name the authority with --ca or SLUICE_CA";

function strange(address: AdminAddress): AppError {
  return new AppError("SPLIT_UNREACHABLE", `what answers at ${address.text} is not this program's admin API`);
}

function parsed(text: string, address: AdminAddress): unknown {
  try {
    return text === "" ? {} : JSON.parse(text);
  } catch {
    throw strange(address);
  }
}

/** The API's refusal (RFC 9457) as the error that it was made of. */
function problemOf(status: number, value: unknown, address: AdminAddress): AppError {
  if (!isRecord(value) || typeof value["code"] !== "string") return strange(address);
  const code = isCode(value["code"]) ? value["code"] : codeOfStatus(status);
  const texts = [value["detail"], value["title"], value["code"]];
  const detail = texts.find((each): each is string => typeof each === "string" && each !== "") ?? "";
  const field = value["field"];
  const named = typeof field === "string" && field !== "" && !detail.includes(field);
  return new AppError(code, named ? `${field}: ${detail}` : detail);
}

/** For a code that a newer program may have: the nearest that this one knows. */
function codeOfStatus(status: number): ErrorCode {
  if (status === 409) return "SPLIT_PHASE_MISMATCH";
  if (status === 412) return "SPLIT_STATE_CONFLICT";
  return status >= 400 && status < 500 ? "SPLIT_INPUT_INVALID" : "SPLIT_INTERNAL";
}

function isCode(text: string): text is ErrorCode {
  return Object.hasOwn(CODES, text);
}

function recordOf(value: unknown, address: AdminAddress): Readonly<Record<string, unknown>> {
  if (!isRecord(value)) throw strange(address);
  return value;
}

function listOf(value: unknown, name: string, address: AdminAddress): readonly unknown[] {
  const list = isRecord(value) ? value[name] : undefined;
  if (!Array.isArray(list)) throw strange(address);
  return list;
}

function flagOf(value: unknown, address: AdminAddress): OutputOf<"flag"> {
  if (!isRecord(value) || typeof value["key"] !== "string" || !isRecord(value["variants"]))
    throw strange(address);
  // Its marks are there; the rest is the shape that the API's own table describes.
  return value as unknown as OutputOf<"flag">;
}

function statusOf(value: unknown, address: AdminAddress): RouteStatus {
  if (!isRecord(value) || typeof value["name"] !== "string" || !isRecord(value["arms"]))
    throw strange(address);
  // Its two marks are there; the rest of the shape is this program's own contract (engine/status.ts).
  return value as unknown as RouteStatus;
}

const WHY: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ENOENT: "there is no such socket",
  EACCES: "permission denied",
  ENOTFOUND: "unknown host",
  ECONNRESET: "connection reset",
  EHOSTUNREACH: "no route to the host",
  EPROTO: "what answers there does not speak TLS",
  ERR_SSL_WRONG_VERSION_NUMBER: "what answers there does not speak TLS",
  ERR_SSL_PACKET_LENGTH_TOO_LONG: "what answers there does not speak TLS",
  DEPTH_ZERO_SELF_SIGNED_CERT: UNTRUSTED,
  SELF_SIGNED_CERT_IN_CHAIN: UNTRUSTED,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT: UNTRUSTED,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: UNTRUSTED,
  CERT_HAS_EXPIRED: "its certificate has expired",
  ERR_TLS_CERT_ALTNAME_INVALID: "its certificate is for another name than this address",
};
