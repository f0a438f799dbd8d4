/**
 * The whole program, told in its own words: real listeners, real files, two upstreams, and a clock moved by hand. It is the engine's clock:
 * the workers that carry the traffic have the real one, and nothing that is asserted here hangs on how long an exchange took.
 *
 * `command` is the program as an operator has it: a process started through its own entry, spoken to by the command line.
 */

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { Agent, createServer, request, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { configSchema } from "../../src/config/schema.ts";
import { Secret } from "../../src/config/secret.ts";
import type { Notice } from "../../src/engine/ports.ts";
import type { RouteStatus } from "../../src/engine/status.ts";
import { start, type Running } from "../../src/start.ts";
import { fakeClock, type FakeClock } from "./clock.ts";
import { fakeDice } from "./dice.ts";

/** A server that can be told to fail. */
export interface Service {
  readonly url: string;
  /** Requests seen, probes left out. */
  readonly requests: number;
  /** Distinct values of `x-user-id` seen. */
  readonly users: Set<string>;
  /** Answers in place of the usual 200; undefined: the usual. */
  answer: ((request: IncomingMessage, response: ServerResponse) => void) | undefined;
  close(): Promise<void>;
}

/** A service that answers its name. */
export async function service(name: string): Promise<Service> {
  const self = { url: "", requests: 0, users: new Set<string>(), answer: undefined as Service["answer"] };
  const server = createServer((incoming, response) => {
    incoming.resume();
    if (incoming.url === "/healthz") return void response.end("ok");
    self.requests++;
    self.users.add(String(incoming.headers["x-user-id"] ?? ""));
    if (self.answer !== undefined) return void self.answer(incoming, response);
    response.setHeader("x-arm", name);
    response.end(name);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A TCP server has an address of this form.
  self.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return Object.assign(self, {
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  });
}

/** Answers 500 at once. */
export function failing(_request: IncomingMessage, response: ServerResponse): void {
  response.statusCode = 500;
  response.end("broken");
}

/** One answer, read to its end. */
export interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: IncomingMessage["headers"];
}

/** A request on loopback; rejects when the connection breaks. */
export function ask(
  origin: string,
  options: {
    readonly path?: string;
    readonly method?: string;
    readonly headers?: Record<string, string>;
    readonly body?: string;
    readonly agent?: Agent;
  } = {},
): Promise<Answer> {
  const { path = "/", method = "GET", headers = {}, body, agent } = options;
  return new Promise((resolve, reject) => {
    const sent = request(new URL(path, origin), {
      method,
      headers,
      ...(agent === undefined ? {} : { agent }),
    });
    sent.on("error", reject);
    sent.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          body: Buffer.concat(chunks).toString("utf8"),
          headers: response.headers,
        }),
      );
    });
    sent.end(body);
  });
}

/** The program and its world. */
export interface Program {
  readonly running: Running;
  readonly clock: FakeClock;
  readonly stable: Service;
  readonly canary: Service;
  readonly origin: string;
  readonly folder: string;
  readonly notices: readonly Notice[];
  /** One request as a user. */
  get(user: string, options?: Parameters<typeof ask>[1]): Promise<Answer>;
  /** One admin call; the body's JSON. `token`: left out, the one beside the state, which may do all. */
  api(
    path: string,
    body?: unknown,
    token?: string,
  ): Promise<{ readonly status: number; readonly body: unknown }>;
  status(): Promise<RouteStatus>;
  setWeight(percent: number): Promise<void>;
  /** Stops the program; the folder and the services stay. */
  stop(): Promise<void>;
  /** Starts it again on the same folder. */
  restart(): Promise<Program>;
  close(): Promise<void>;
}

interface Kept {
  readonly stable: Service;
  readonly canary: Service;
  readonly folder: string;
}

/** Starts the program with one route `app`; `route` adds to its configuration, `more` to the whole. */
export async function program(route: object = {}, more: object = {}, kept?: Kept): Promise<Program> {
  const stable = kept?.stable ?? (await service("stable"));
  const canary = kept?.canary ?? (await service("canary"));
  const folder = kept?.folder ?? (await mkdtemp(join(tmpdir(), "sluice-story-")));
  const clock = fakeClock();
  const notices: Notice[] = [];
  const config = configSchema.parse({
    listen: [{ address: "127.0.0.1:0" }],
    admin: { address: "127.0.0.1:0" },
    ...foldersIn(folder),
    routes: [
      {
        name: "app",
        stable: { endpoints: [stable.url] },
        canary: { endpoints: [canary.url] },
        key: ["header:x-user-id"],
        // The services show the real time, the program is told another.
        preflight: { skip: ["clock"] },
        ...route,
      },
    ],
    ...more,
  });
  const running = await start({
    config,
    // A story's secret is the name of where it would be.
    secretOf: (source) => new Secret("env" in source ? source.env : source.file, source),
    clock,
    dice: fakeDice(11),
    log: { debug() {}, info() {}, warn() {}, error() {} },
    onNotice: (notice) => void notices.push(notice),
  });
  const origin = `http://${running.addresses[0]}`;
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  const stop = async (): Promise<void> => {
    agent.destroy();
    await running.stop();
  };
  async function api(
    path: string,
    body?: unknown,
    token: string = running.token,
  ): Promise<{ readonly status: number; readonly body: unknown }> {
    const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
    const answer = await ask(`http://${running.adminAddress}`, {
      path,
      headers,
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    });
    const parsed: unknown = answer.body === "" ? null : JSON.parse(answer.body);
    return { status: answer.status, body: parsed };
  }
  return {
    running,
    clock,
    stable,
    canary,
    origin,
    folder,
    notices,
    get: (user, options = {}) =>
      ask(origin, { agent, ...options, headers: { "x-user-id": user, ...options.headers } }),
    api,
    async status() {
      // The admin API's own contract.
      return (await api("/v1/routes/app")).body as RouteStatus;
    },
    async setWeight(percent) {
      const answer = await api("/v1/routes/app/weight", { weight: percent, reason: "story" });
      if (answer.status !== 200) throw new Error(JSON.stringify(answer));
    },
    stop,
    restart: () => program(route, more, { stable, canary, folder }),
    async close() {
      await stop();
      await stable.close();
      await canary.close();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

const ENTRY = fileURLToPath(new URL("../../src/sluice.js", import.meta.url));

/** A process of the program: its output so far, and its end. */
export interface Process {
  readonly child: ChildProcess;
  readonly output: () => string;
  /** Resolves when the output matches; rejects when the process ends before. */
  says(pattern: RegExp): Promise<RegExpExecArray>;
  readonly ended: Promise<number | null>;
}

/** Hundreds of processes are started from the same sources, and reading them anew each time is half of what such a start costs. */
const COMPILED = fileURLToPath(new URL("../../node_modules/.cache/compiled", import.meta.url));

/** Starts `sluice ARGS` as a process of its own. */
export function command(args: readonly string[], env: Readonly<Record<string, string>> = {}): Process {
  const child = spawn(process.execPath, [ENTRY, ...args], {
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: process.env["HOME"] ?? "",
      NO_COLOR: "1",
      NODE_COMPILE_CACHE: COMPILED,
      ...env,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  return { child, ...watched(child) };
}

/** What a program says on both its outputs, and its end. */
export function watched(
  child: ChildProcess & { readonly stdout: Readable; readonly stderr: Readable },
): Omit<Process, "child"> {
  let output = "";
  const waiting = new Set<() => void>();
  const take = (chunk: Buffer): void => {
    output += chunk.toString("utf8");
    for (const look of waiting) look();
  };
  child.stdout.on("data", take);
  child.stderr.on("data", take);
  const ended = new Promise<number | null>((resolve) => child.on("close", resolve));
  return {
    output: () => output,
    ended,
    says: (pattern) =>
      new Promise((resolve, reject) => {
        const look = (): void => {
          const found = pattern.exec(output);
          if (found === null) return;
          waiting.delete(look);
          resolve(found);
        };
        waiting.add(look);
        look();
        void ended.then((code) =>
          reject(new Error(`ended with ${code} before it said ${pattern}: ${output}`)),
        );
      }),
  };
}

/** Writes a configuration file beside its own state and resolves its path; JSON is YAML. */
export async function configFile(folder: string, config: object): Promise<string> {
  const path = join(folder, "sluice.yaml");
  await writeFile(path, JSON.stringify(config, null, 2));
  return path;
}

/** The part of a configuration that has everything the program keeps in `folder`. */
export function foldersIn(folder: string): object {
  return {
    state: `file:${join(folder, "state")}`,
    reports: join(folder, "reports"),
    backups: { folder: join(folder, "backups") },
  };
}
