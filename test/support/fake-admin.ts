/** A tiny admin API for the command line's tests: answers from a table, remembers what was asked. */

import { createServer, type IncomingHttpHeaders } from "node:http";
import { once } from "node:events";
import type { AlertStatus, ArmStatus, RouteStatus, SilenceStatus } from "../../src/engine/status.ts";

/** One call as it came in. */
export interface AdminCall {
  readonly method: string;
  readonly path: string;
  readonly body: unknown;
  readonly headers: IncomingHttpHeaders;
}

/** Status and body of an answer. */
export type AdminAnswer = readonly [status: number, body: unknown];

/** The API, listening. */
export interface FakeAdmin {
  /** What `--admin` takes. */
  readonly address: string;
  readonly calls: readonly AdminCall[];
  close(): Promise<void>;
}

/** Listens on a free port of loopback, or on `socketPath`. `answer` is asked for each call. */
export async function fakeAdmin(
  answer: (call: AdminCall) => AdminAnswer,
  socketPath?: string,
): Promise<FakeAdmin> {
  const calls: AdminCall[] = [];
  const server = createServer((incoming, outgoing) => {
    let text = "";
    incoming.setEncoding("utf8");
    incoming.on("data", (part: string) => (text += part));
    incoming.on("end", () => {
      const { method = "", url: path = "", headers } = incoming;
      const call = { method, path, body: text === "" ? undefined : (JSON.parse(text) as unknown), headers };
      calls.push(call);
      const [status, body] = answer(call);
      outgoing.writeHead(status, { "content-type": "application/json" });
      outgoing.end(typeof body === "string" ? body : JSON.stringify(body));
    });
  });
  if (socketPath === undefined) server.listen(0, "127.0.0.1");
  else server.listen(socketPath);
  await once(server, "listening");
  const bound = server.address();
  return {
    address: typeof bound === "object" && bound !== null ? `http://127.0.0.1:${bound.port}` : `unix:${bound}`,
    calls,
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

const ARM: ArmStatus = {
  version: "3.9",
  requests: 1200,
  failures: 0,
  excluded: 0,
  errorRate: 0,
  p50Ms: 12.4,
  p95Ms: 31,
  p99Ms: 52,
  windowRequests: 600,
  windowFailures: 0,
  perSecond: 20,
  byReason: {},
  forced: { requests: 0, failures: 0 },
  inFlight: 1,
  longLived: 0,
  endpoints: [{ url: "http://10.0.0.1:8080", healthy: true, failures: 0, detail: "" }],
};

/** An alert that is open. */
export const ALERT: AlertStatus = {
  id: "error_rate-critical-r-1-1",
  route: "app",
  rollout: "r-1",
  severity: "critical",
  metric: "error_rate",
  rule: "error_rate above 1%",
  value: 0.075,
  openedAt: "2026-01-05T09:00:00.000Z",
  openMs: 180_000,
  level: 0,
  muted: null,
  acknowledged: null,
};

/** A silence. */
export const SILENCE: SilenceStatus = {
  id: "s-1",
  route: "app",
  severity: "warning",
  metric: null,
  until: "2026-01-05T11:00:00.000Z",
  reason: "known",
  by: "ann",
  at: "2026-01-05T09:00:00.000Z",
};

/** A route at 25 % of a plan 5 > 25 > 100 > bake, with what `change` says otherwise. */
export function routeStatus(change: Partial<RouteStatus> = {}): RouteStatus {
  return {
    name: "app",
    weight: 25,
    safety: {},
    phase: "progressing",
    reason: "",
    step: 1,
    steps: [
      { weight: 5, holdMs: 60_000, bake: false, critical: false, gate: null },
      { weight: 25, holdMs: 60_000, bake: false, critical: false, gate: null },
      { weight: 100, holdMs: 60_000, bake: false, critical: false, gate: null },
      { weight: 100, holdMs: 3_600_000, bake: true, critical: false, gate: null },
    ],
    heldMs: 12_000,
    holdLeftMs: 48_000,
    cooldownLeftMs: 0,
    waiting: null,
    gate: null,
    startsAt: null,
    rollout: "r-1",
    startedAt: "2026-01-05T09:00:00.000Z",
    version: 7,
    recorded: true,
    verdict: "inconclusive",
    checks: [
      {
        rule: "error_rate above 1% for 5m",
        tier: "sustained",
        verdict: "inconclusive",
        action: "rollback",
        observed: null,
        limit: 0.01,
        unit: "fraction",
        have: 12,
        need: 20,
        breachMs: null,
        forMs: 300_000,
        detail: "8 more exchanges are needed",
        advice: "",
      },
    ],
    evidenceRatio: null,
    evidenceEtaMs: null,
    alerts: [],
    targets: [],
    rescues: { answered: 0, failed: 0, refused: 0 },
    rollbacks: 0,
    lastRollback: null,
    fleet: null,
    arms: {
      stable: ARM,
      canary: {
        ...ARM,
        version: "4.0",
        requests: 40,
        failures: 3,
        errorRate: 0.075,
        p50Ms: null,
        p95Ms: null,
        p99Ms: null,
        perSecond: 0.4,
        endpoints: [{ url: "http://10.0.0.2:8080", healthy: false, failures: 4, detail: "refused" }],
      },
    },
    ...change,
  };
}
