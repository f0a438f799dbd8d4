/** The command line as a test runs it: its terminal is a few strings, its API answers for one route. */

import { Readable } from "node:stream";
import { runCli } from "../../src/cli/main.ts";
import { healthReport } from "../../src/domain/health-report.ts";
import type { RouteStatus } from "../../src/engine/status.ts";
import type { AdminAnswer, AdminCall } from "./fake-admin.ts";

/** What a run came to. */
export interface Run {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly asked: readonly string[];
}

/** The terminal, the environment, and what is typed when asked. */
export interface World {
  readonly env?: Readonly<Record<string, string>>;
  readonly isTTY?: boolean;
  readonly answer?: string;
  readonly stdin?: string;
}

/** What was handed on to the programs behind `run` and `demo`. */
export const ran: unknown[] = [];
const programs = {
  run: async (options: unknown) => ran.push(["run", options]) - ran.length + 1,
  demo: async (options: unknown) => ran.push(["demo", options]) - ran.length + 1,
};

/** Runs one command line in a folder without any state. */
export async function sluice(argv: readonly string[], world: World = {}): Promise<Run> {
  let out = "";
  let err = "";
  const asked: string[] = [];
  const code = await runCli(argv, programs, {
    stdout: (text) => void (out += text),
    stderr: (text) => void (err += text),
    stdin: Readable.from([Buffer.from(world.stdin ?? "")]),
    env: { SLUICE_TOKEN: "secret-token", ...world.env },
    isTTY: world.isTTY === true,
    columns: 120,
    now: () => Date.parse("2026-01-05T09:00:00Z"),
    ask: async (question) => {
      asked.push(question);
      return world.answer ?? "";
    },
  });
  return { code, out, err, asked };
}

/** Answers as the proxy does, with `status` for the one route and `environment` in its configuration. */
export function api(status: () => RouteStatus, environment = "production"): (call: AdminCall) => AdminAnswer {
  return ({ method, path }) => {
    if (path === "/v1/config") return [200, { environment }];
    if (path === "/v1/routes") return [200, { routes: [status()] }];
    if (path.startsWith("/v1/journal")) return [200, { lines: [LINE] }];
    if (path === "/v1/health") return [200, health(true)];
    if (path === "/v1/config/reload") return [200, { changed: ["app"], needsRestart: ["listen"] }];
    if (path === "/v1/routes/app" || (method === "POST" && path.includes("/app/"))) return [200, status()];
    return [404, problem("SPLIT_NOT_FOUND", 404, `there is no route at ${path}`)];
  };
}

/** What `/v1/health` answers with a canary that is well or not. */
export function health(canary: boolean): object {
  const stable = { url: "http://a:1", healthy: null, failures: 0, detail: "" };
  const other = {
    url: "http://b:1",
    healthy: canary,
    failures: canary ? 0 : 3,
    detail: canary ? "" : "refused",
  };
  const routes = [{ name: "app", stable: [stable], canary: [other] }];
  const report = healthReport({
    routes,
    storeTrouble: "",
    journals: true,
    notifiers: { count: 1, failing: [] },
    reloadTrouble: "",
    folders: [{ name: "state folder", folder: "./state", free: 2 ** 30, trouble: "" }],
    loopLagMs: 0,
    loopLagMaxMs: 500,
    workers: 1,
    workersWanted: 1,
  });
  return { ...report, routes };
}

/** A line of the journal whose reason tries to drive the terminal. */
export const LINE = {
  seq: 4,
  at: "2026-01-05T09:00:00.000Z",
  event: "climbed",
  route: "app",
  rollout: "r-1",
  actor: "sluice",
  reason: "the rules \u001b[31mare\u001b[0m met\u0007",
  before: { phase: "progressing", step: 0, weight: 5 },
  after: { phase: "progressing", step: 1, weight: 25 },
  prev: "0",
  hash: "1",
};

/** A refusal (RFC 9457). */
export function problem(code: string, status: number, detail: string): object {
  return { type: "about:blank", code, title: code, status, detail };
}
