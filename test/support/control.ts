/** The admin API over an engine that is only pretended: it remembers what was asked of it and answers as it was told to. */

import { request, type IncomingHttpHeaders } from "node:http";
import type { Test } from "tap";
import { createAdmin, type Admin, type AdminOptions } from "../../src/admin/server.ts";
import { configSchema, type Config } from "../../src/config/schema.ts";
import { drillReport } from "../../src/domain/drill.ts";
import { openIncident, resolveIncident } from "../../src/domain/incident.ts";
import { healthReport, type HealthFacts } from "../../src/domain/health-report.ts";
import { beginReport, reportJson } from "../../src/domain/report.ts";
import { refused } from "../../src/domain/refusal.ts";
import type { Command } from "../../src/domain/rollout-types.ts";
import { millis } from "../../src/domain/units.ts";
import type { Alerting } from "../../src/engine/alerting.ts";
import type { CommandResult, Control, Totals } from "../../src/engine/control.ts";
import type { BackupShelf, JournalLine, Notice } from "../../src/engine/ports.ts";
import type { TurnOrder, TurnResult } from "../../src/engine/safety.ts";
import type { RouteStatus } from "../../src/engine/status.ts";
import type { ReportEntry } from "../../src/telemetry/report-shelf.ts";
import { fakeClock, type FakeClock } from "./clock.ts";
import { fakeDice } from "./dice.ts";
import { ALERT, SILENCE, routeStatus } from "./fake-admin.ts";
import { quietLog } from "./silence.ts";

/** One command as it reached the engine. */
export interface Asked {
  readonly route: string;
  readonly command: Command;
  readonly actor: string;
  readonly ifVersion: number | undefined;
}

/** A safety switch as it was turned. */
export type TurnAsked = Omit<TurnOrder, "actor"> & { readonly actor: string };

/** An engine that does what it is told and nothing else. */
export interface FakeControl extends Control {
  readonly asked: readonly Asked[];
  readonly switches: readonly TurnAsked[];
  /** What the next turns of a switch come to; undefined: done. */
  turned: TurnResult | undefined;
  /** What the next commands come to; undefined: done, with one more version. */
  answer: ((asked: Asked) => CommandResult | Promise<CommandResult>) | undefined;
  /** Changes the one route, with one more version. */
  change(change: Partial<RouteStatus>): void;
}

const JOURNAL_LINE: JournalLine = {
  seq: 1,
  at: "2026-01-05T09:00:00.000Z",
  event: "started",
  route: "app",
  rollout: "r-1",
  actor: "ann",
  reason: "4.0 is ready",
  before: { phase: "idle", step: 0, weight: 0 },
  after: { phase: "progressing", step: 0, weight: 5 },
  prev: "0".repeat(64),
  hash: "a".repeat(64),
};

const DRILLED = {
  environment: "production",
  startedAt: "2026-01-05T09:00:00.000Z",
  endedAt: "2026-01-05T09:00:20.000Z",
};
const NO_FIGURES = { requests: 0, failed: 0, failedToClients: 0, offAfterMs: null, rolledBackAfterMs: null };

/** The one report that there is. */
export const REPORT_ENTRY: ReportEntry = {
  id: "deployment_production_20260105T090000Z",
  file: "deployment_production_20260105T090000Z.json",
  route: "app",
  rollout: "r-1",
  version: "",
  status: "RUNNING",
  startedAt: "2026-01-05T09:00:00.000Z",
  endedAt: null,
};
const REPORT = {
  json: reportJson(beginReport(JOURNAL_LINE, "production")),
  md: "# Rollout of app: RUNNING\n",
};

const FIGURES = { requests: 100, failures: 7, errorRate: 0.07, p95Ms: 240 };

/** A rollback that is not over. */
export const INCIDENT = openIncident(
  {
    environment: "production",
    route: "app",
    rollout: "r-1",
    version: "4",
    openedAtMs: Date.UTC(2026, 0, 5, 9),
    actor: "sluice",
    reason: "Rolled back: error_rate>1%",
    fromWeight: 25,
    toWeight: 0,
    rules: ["error_rate>1%: 7.00 % of 100"],
    figures: { stable: { ...FIGURES, failures: 0, errorRate: 0 }, canary: FIGURES },
    requestsFailed: 7,
    requestsRescued: 3,
    distinctKeys: 6,
    keysCapped: false,
    breachMs: 300_000,
    tookMs: 1,
    stableHealthy: true,
  },
  millis(900_000),
);

/** What people were told of it. */
const NOTICE: Notice = {
  id: "app:r-1:4:ROLLBACK_DONE",
  severity: "emergency",
  event: "ROLLBACK_DONE",
  route: "app",
  rollout: "r-1",
  summary: "app: ROLLED BACK from 25%, every user is on stable: error_rate>1%",
  lines: ["app: ROLLED BACK from 25%, every user is on stable: error_rate>1%"],
  details: {},
  incident: { key: INCIDENT.key, action: "trigger" },
  audience: "operators",
};

/** A program of which all is well but the store. */
const UNWELL: HealthFacts = {
  routes: [],
  storeTrouble: "the disk is full",
  journals: true,
  notifiers: { count: 1, failing: [] },
  reloadTrouble: "",
  folders: [{ name: "state folder", folder: "./state", free: 2 ** 30, trouble: "" }],
  loopLagMs: 0,
  loopLagMaxMs: 500,
  workers: 1,
  workersWanted: 1,
};

/** Nothing measured, of no route. */
const NO_TOTALS: Totals = {
  routes: [],
  refused: {},
  events: [],
  overhead: { counts: [], seconds: 0 },
  storeErrors: 0,
  journalErrors: 0,
};

/** One alert and one silence, both of `app`, under any id but `gone`. */
const isThere = (id: string): boolean => id !== "gone";

function fakeAlerting(): Alerting {
  const done = <T>(value: T) => Promise.resolve({ ok: true, value } as const);
  const missing = Promise.resolve({
    ok: false,
    code: "SPLIT_NOT_FOUND",
    message: "no alert of this id is open",
  } as const);
  const of = <T>(route: string | undefined, one: T): readonly T[] =>
    (route ?? "app") === "app" ? [one] : [];
  return {
    open: (route) => of(route, ALERT),
    acknowledge: (id) => (isThere(id) ? done([ALERT]) : missing),
    resolve: (id) => (isThere(id) ? done([]) : missing),
    silences: (route) => of(route, SILENCE),
    silence: ({ route, severity, metric, reason }, by) =>
      done({ ...SILENCE, route, severity, metric, reason, by }),
    unsilence: (id) => (isThere(id) ? done(SILENCE) : missing),
  };
}

/** An engine with the routes `app` and `api`, at version 7. */
function fakeControl(): FakeControl {
  const asked: Asked[] = [];
  const turned: TurnAsked[] = [];
  let status = routeStatus();
  const other = routeStatus({ name: "api", weight: 0, phase: "idle" });
  const histograms = { all: "SElTVA==", successes: "SElTVA==", failures: "SElTVA==", percentiles: [] };
  const control: FakeControl = {
    asked,
    switches: turned,
    turned: undefined,
    answer: undefined,
    change(change) {
      status = { ...status, ...change, version: status.version + 1 };
    },
    routes: () => [status, other],
    route: (name) => [status, other].find((each) => each.name === name),
    histograms: (name) =>
      name === "app" || name === "api" ? { stable: histograms, canary: histograms } : undefined,
    command(route, command, actor, ifVersion) {
      const each = { route, command, actor: actor.name, ifVersion };
      asked.push(each);
      if (control.answer !== undefined) return Promise.resolve(control.answer(each));
      if (ifVersion !== undefined && ifVersion !== status.version) {
        return Promise.resolve({ ok: false, code: "SPLIT_STATE_CONFLICT", message: "it has moved on" });
      }
      control.change({});
      return Promise.resolve({ ok: true, status });
    },
    journal: ({ limit, route }) =>
      Promise.resolve(limit > 0 && (route ?? "app") === "app" ? [JOURNAL_LINE] : []),
    incidents: () => [INCIDENT],
    resolveIncident: (id, { name: by }, how) => {
      const isThere = id === INCIDENT.id && INCIDENT.status === "open";
      const end = { atMs: INCIDENT.openedAtMs + 60_000, by, how };
      if (isThere) return Promise.resolve({ ok: true, value: resolveIncident(INCIDENT, end) });
      return Promise.resolve(refused("SPLIT_NOT_FOUND", "there is no incident of this id"));
    },
    replicas: () => Promise.resolve([]),
    totals: () => NO_TOTALS,
    safety: {
      state: {
        all: { maintenance: { since: "2026-01-05T09:00:00.000Z", by: "mia", reason: "moving" } },
        routes: {},
      },
      turn(order) {
        const { actor, ...said } = order;
        turned.push({ ...said, actor: actor.name });
        return Promise.resolve(control.turned ?? { ok: true, state: control.safety.state, recorded: true });
      },
    },
    alerting: fakeAlerting(),
    get version() {
      return status.version;
    },
  };
  return control;
}

/** The tokens of the tests: `name` of a right is the token that has it; `root` has all. */
const TOKENS: AdminOptions["tokens"] = [
  { name: "reader", token: "read-token-0123456789abcdef", scopes: ["read"] },
  { name: "operator", token: "operate-token-0123456789abcdef", scopes: ["read", "operate"] },
  { name: "root", token: "root-token-0123456789abcdef", scopes: ["read", "operate", "approve", "admin"] },
];
/** The header fields of the token called `name`. */
export function bearer(name: "reader" | "operator" | "root"): Readonly<Record<string, string>> {
  return { authorization: `Bearer ${TOKENS.find((each) => each.name === name)?.token ?? ""}` };
}

/** A configuration with the routes `app` (which has a plan and an override) and `api` (which has no plan). */
export function adminConfig(admin: object = {}, more: object = {}): Config {
  const arms = {
    stable: { endpoints: ["http://10.0.0.1:8080"] },
    canary: { endpoints: ["http://10.0.0.2:8080"], version: "4.0.0" },
  };
  const secret = { env: "OVERRIDE_SECRET" };
  return configSchema.parse({
    admin,
    plans: { quick: { steps: [{ setWeight: "10%", hold: "1m" }, { setWeight: "100%" }, { bake: "2m" }] } },
    routes: [
      { name: "app", ...arms, plan: "quick", override: { header: "x-arm", secret } },
      { name: "api", match: { path: "/api" }, ...arms },
    ],
    ...more,
  });
}

/** One backup, of nothing. */
function fakeShelf(): BackupShelf {
  const info = {
    name: "20260105T090000.000Z_manual",
    at: "2026-01-05T09:00:00.000Z",
    reason: "manual",
    program: "0.1.0",
    version: 7,
    routes: { app: { phase: "progressing", weight: 25, rollout: "r-1" } },
  } as const;
  const head = { seq: 1, hash: "a".repeat(64) };
  return {
    create: () => Promise.resolve({ ok: true, name: info.name, info }),
    list: () => Promise.resolve([info]),
    load: (name) =>
      Promise.resolve(
        name === info.name
          ? { ok: true, info, document: undefined, head }
          : { ok: false, kind: "missing", detail: `there is no backup ${name}` },
      ),
  };
}

/** The path of a row, with a route, a report or an incident, and a flag that there are. */
export function pathOf({ path }: { readonly path: string }): string {
  const id = path.startsWith("/v1/incidents") ? INCIDENT.id : REPORT_ENTRY.id;
  return path.replace("{route}", "app").replace("{id}", id).replace("{key}", "beta");
}

/** One flag, for everybody, and one that nobody gets without a key. */
function fakeFlags(): AdminOptions["flags"] {
  const status = {
    key: "beta",
    type: "boolean",
    enabled: true,
    strategy: "static",
    percentage: null,
    phase: null,
    variants: { on: true, off: false },
    defaultVariant: "on",
    follows: null,
    opensAfter: null,
    open: true,
    critical: false,
    override: null,
    metadata: {},
  } as const;
  const evaluate: AdminOptions["flags"]["evaluate"] = (key, { targetingKey }) => {
    if (key === "beta")
      return { ok: true, key, value: true, variant: "on", reason: "STATIC", metadata: { team: "a" } };
    if (key !== "keyed") return { ok: false, key, code: "FLAG_NOT_FOUND", detail: "there is no such flag" };
    return targetingKey === undefined
      ? { ok: false, key, code: "TARGETING_KEY_MISSING", detail: "it needs a key" }
      : { ok: true, key, value: "b", variant: "b", reason: "SPLIT", metadata: {} };
  };
  return {
    evaluate,
    evaluateAll: (context) => [evaluate("beta", context), evaluate("keyed", context)],
    list: () => ({
      file: "flags.json",
      loadedAt: "2026-01-05T09:00:00.000Z",
      ok: true,
      detail: "",
      flags: [status],
    }),
    get: (key) => (key === "beta" ? status : undefined),
    set: (key, { state }) =>
      Promise.resolve(
        key === "beta"
          ? { ok: true, status: { ...status, enabled: state !== "off" } }
          : { ok: false, code: "SPLIT_NOT_FOUND", message: `there is no flag "${key}"` },
      ),
  };
}

/** An admin API in service. */
export interface TestAdmin {
  readonly admin: Admin;
  /** `host:port`. */
  readonly address: string;
  readonly control: FakeControl;
  readonly clock: FakeClock;
  readonly log: ReturnType<typeof quietLog>;
  /** Names of who reloaded, and `drain`. */
  readonly done: readonly string[];
  readonly ask: (method: string, path: string, options?: AskOptions) => Promise<Answered>;
}
/** What else a call has. `as`: the token, `root` unless said otherwise. */
export interface AskOptions {
  readonly as?: "reader" | "operator" | "root" | "nobody";
  readonly headers?: Readonly<Record<string, string>>;
  /** JSON unless it is text or bytes. */
  readonly body?: unknown;
}
/** What came back. */
export interface Answered {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body as JSON; an empty object when it is none. */
  readonly json: Readonly<Record<string, unknown>>;
}

/** An admin API on a free port of loopback, closed when the test ends. */
export async function testAdmin(t: Test, options: Partial<AdminOptions> = {}): Promise<TestAdmin> {
  const control = fakeControl();
  const clock = fakeClock();
  const log = quietLog();
  const done: string[] = [];
  const config = adminConfig();
  const admin = await createAdmin({
    address: "127.0.0.1:0",
    hosts: ["admin.example"],
    control,
    config: () => config,
    preflight: {
      async run(route, version) {
        done.push(`preflight ${route} ${version}`);
        return [{ name: "arms", ok: true, required: true, detail: "2/2 endpoints healthy", tookMs: 1 }];
      },
    },
    tokens: TOKENS,
    metrics: (accept) => Promise.resolve({ contentType: "text/plain", body: `# ${accept}\n` }),
    reports: {
      list: ({ route }) => Promise.resolve((route ?? "app") === "app" ? [REPORT_ENTRY] : []),
      read: (id, form) => Promise.resolve(id === REPORT_ENTRY.id ? REPORT[form] : undefined),
    },
    messages: {
      last: ({ route }) =>
        (route ?? "app") === "app" ? [{ at: "2026-01-05T09:00:00.000Z", ...NOTICE }] : [],
    },
    reload(actor) {
      done.push(actor);
      return Promise.resolve({ ok: true, changed: ["routes"], needsRestart: [] });
    },
    readiness: () => ({ ready: true, checks: { listener: "ok" } }),
    drill: ({ route, actor, reason }) =>
      Promise.resolve({
        ok: true,
        report: drillReport(
          { ...DRILLED, route, startedBy: actor, reason },
          [{ name: "restored", ok: true, detail: "" }],
          NO_FIGURES,
        ),
      }),
    history: { of: () => undefined },
    drills: { list: () => Promise.resolve([]) },
    health: () => Promise.resolve(healthReport(UNWELL)),
    backups: fakeShelf(),
    restore: () => Promise.resolve({ ok: true, routes: [], missing: [] }),
    flags: fakeFlags(),
    drain: () => void done.push("drain"),
    clock,
    dice: fakeDice(1),
    log,
    ...options,
  });
  t.teardown(() => admin.close());
  const { address } = admin;
  return {
    admin,
    address,
    control,
    clock,
    log,
    done,
    ask: (method, path, more) => ask(address, method, path, more),
  };
}

/** One call on a connection of its own. */
export function ask(
  address: string,
  method: string,
  path: string,
  { as = "root", headers = {}, body }: AskOptions = {},
): Promise<Answered> {
  const isRaw = typeof body === "string" || Buffer.isBuffer(body);
  const content = body === undefined || isRaw ? body : JSON.stringify(body);
  const where = address.startsWith("unix:")
    ? { socketPath: address.slice(5) }
    : { host: "127.0.0.1", port: Number(address.slice(address.lastIndexOf(":") + 1)) };
  return new Promise((resolve, reject) => {
    const outgoing = request(
      {
        ...where,
        method,
        path,
        agent: false,
        headers: {
          ...(as === "nobody" ? {} : bearer(as)),
          ...(content === undefined
            ? {}
            : { "content-type": "application/json", "content-length": Buffer.byteLength(content) }),
          ...headers,
        },
      },
      (incoming) => {
        const parts: Buffer[] = [];
        incoming.on("data", (part: Buffer) => parts.push(part));
        incoming.on("error", reject);
        incoming.on("end", () => {
          const text = Buffer.concat(parts).toString();
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            text,
            json: jsonOf(incoming.headers["content-type"], text),
          });
        });
      },
    );
    outgoing.on("error", reject);
    outgoing.end(content);
  });
}

function jsonOf(type: string | undefined, text: string): Readonly<Record<string, unknown>> {
  if (type?.includes("json") !== true || text === "") return {};
  // Everything this API answers as JSON is an object.
  return JSON.parse(text) as Readonly<Record<string, unknown>>;
}
