/** This proxy, as it is compared: its configuration, and the weight that it is told once it runs. */

import { join, resolve } from "node:path";
import { spawnSync } from "node:child_process";
import { certificateOf, written, type Place, type Proxy, type Setting } from "./place.ts";

const PROGRAM = resolve(import.meta.dirname, "../../src/sluice.js");

/** The route that gets the requests, among `count`. */
const hit = (count: number): number => Math.floor(count / 2);

/** Path and Host of the requests, for the route in the middle. */
export function aimOf(setting: Setting, path: string): { readonly path: string; readonly host?: string } {
  const { routes } = setting;
  if (routes === undefined) return { path };
  const index = hit(routes.count);
  return routes.by === "host" ? { path, host: hostOf(index) } : { path: `${prefixOf(index)}${path}` };
}

const hostOf = (index: number): string => `r${String(index)}.example`;
const prefixOf = (index: number): string => `/p${String(index)}`;

function configOf(place: Place, setting: Setting): string {
  const { routes = { count: 1, by: "path" }, workers, lane, clients, told: to } = setting;
  const endpoints = `{ endpoints: ["http://127.0.0.1:${String(place.upstreamPort)}"] }`;
  const match = (index: number): string =>
    routes.by === "host" ? `{ host: ${hostOf(index)} }` : `{ path: ${prefixOf(index)} }`;
  // Twenty thousand probes every ten seconds would be part of what is measured.
  const health = routes.count > 1 ? ", health: { interval: 1h }" : "";
  const route = (index: number): string => {
    const name = index === hit(routes.count) ? "app" : `other-${String(index)}`;
    const matched = setting.routes === undefined ? "" : `, match: ${match(index)}`;
    return `  - { name: ${name}${matched}, stable: ${endpoints}, canary: ${endpoints}, key: [cookie:sid], anonymous: stable${health} }`;
  };
  const tls = (): string => {
    const { cert, key } = certificateOf(place);
    return `, tls: { cert: ${cert}, key: ${key} }`;
  };
  const lines = [
    `listen: [{ address: "127.0.0.1:${String(place.port)}"${setting.secure === true ? tls() : ""} }]`,
    `admin: { address: "127.0.0.1:${String(place.adminPort)}" }`,
    `state: file:${join(place.folder, "state")}`,
    `reports: ${join(place.folder, "reports")}`,
    `backups: { folder: "${join(place.folder, "backups")}" }`,
    "environment: bench",
    ...(workers === undefined ? [] : [`workers: ${String(workers)}`]),
    ...(lane === undefined ? [] : [`lane: ${lane}`]),
    ...(clients === undefined ? [] : [`limits: { connections: ${String(clients)} }`]),
    ...(to === "traces"
      ? [`tracing: { otlp: "http://127.0.0.1:${String(place.upstreamPort)}", sample: 1% }`]
      : []),
    ...(to === "log"
      ? [`accessLog: { sample: 1%, to: { file: "${join(place.folder, "access.log")}" } }`]
      : []),
    "routes:",
    ...Array.from({ length: routes.count }, (_, index) => route(index)),
  ];
  return `${lines.join("\n")}\n`;
}

/** The command line against the running proxy. */
function told(place: Place, ...args: readonly string[]): void {
  const admin = `http://127.0.0.1:${String(place.adminPort)}`;
  const command = [PROGRAM, ...args, "--admin", admin, "--state", join(place.folder, "state")];
  const done = spawnSync(process.execPath, command, {
    encoding: "utf8",
    timeout: 60_000,
    stdio: ["ignore", "pipe", "pipe"],
  });
  if (done.status !== 0) throw new Error(`${args.join(" ")}: ${done.stderr || done.stdout}`);
}

/** This proxy. */
export const SELF: Proxy = {
  name: "sluice",
  kind: "self",
  command: (place, setting) => ({
    command: [
      process.execPath,
      PROGRAM,
      "run",
      "-c",
      written(place, "sluice.yaml", configOf(place, setting)),
    ],
    env: {
      // A line per decision would be read by nobody.
      SLUICE_LOG_LEVEL: "warn",
      ...(setting.bypass === true ? { SLUICE_BENCH_BYPASS: "1" } : {}),
    },
  }),
  prepare(place, { weight = 50 }) {
    // It starts at 0.
    if (weight > 0) told(place, "set-weight", "app", `${String(weight)}%`, "--yes");
  },
};
