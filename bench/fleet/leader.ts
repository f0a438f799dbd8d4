/** The one real replica: `sluice run`, in front of an upstream that only answers probes. It leads, and is told over its API what to do. */

import type { ChildProcess } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer, type Server as HttpServer } from "node:http";
import { once } from "node:events";
import { join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { monotonicMicros } from "../clock.ts";
import { begun, freePorts, listening, start, stop } from "../load/children.ts";
import { cpuSecondsOf, rssMibOf, threadSecondsOf } from "../load/tree.ts";
import type { RouteStatus } from "../../src/engine/status.ts";
import { ROUTE } from "./measures.ts";

const PROGRAM = resolve(import.meta.dirname, "../../src/sluice.js");
const START_SECONDS = 30;
const LEADS_MS = 10_000;
/** It begins here, and no hold ends within a run. */
const STEPS = [5, 50];
const HOLD = "1h";

/** A change of the weight, as it was asked for. */
export interface Change {
  /** Of the route's state with it. */
  readonly revision: number;
  /** When it was asked for, by the monotonic clock. */
  readonly micros: number;
  /** Until the API answered that it is in force and recorded. */
  readonly answeredMs: number;
}

/** The leader. */
export class Leader {
  readonly #child: ChildProcess;
  readonly #upstream: HttpServer;
  readonly #origin: string;
  readonly #token: string;

  private constructor(child: ChildProcess, upstream: HttpServer, origin: string, token: string) {
    this.#child = child;
    this.#upstream = upstream;
    this.#origin = origin;
    this.#token = token;
  }

  /** Starts it and a rollout; resolves when it leads. */
  static async start(folder: string, redis: string): Promise<Leader> {
    const upstream = createServer((_request, response) => void response.end("ok"));
    const [port = 0, admin = 0, behind = 0] = await freePorts(3);
    upstream.listen(behind, "127.0.0.1");
    await once(upstream, "listening");
    const state = join(folder, "state");
    mkdirSync(state);
    const arm = { endpoints: [`http://127.0.0.1:${String(behind)}`] };
    const config = {
      listen: [{ address: `127.0.0.1:${String(port)}` }],
      admin: { address: `127.0.0.1:${String(admin)}` },
      state: { redis, folder: state, replica: "leader" },
      reports: join(folder, "reports"),
      backups: "off",
      environment: "bench",
      routes: [{ name: ROUTE, stable: arm, canary: arm, key: ["cookie:sid"] }],
    };
    const file = join(folder, "sluice.yaml");
    writeFileSync(file, JSON.stringify(config));
    const child = start([process.execPath, PROGRAM, "run", "-c", file], "free", { SLUICE_LOG_LEVEL: "warn" });
    const leading = async (): Promise<Leader> => {
      await listening(child, admin, START_SECONDS);
      const token = readFileSync(join(state, "admin.token"), "utf8").trim();
      const leader = new Leader(child, upstream, `http://127.0.0.1:${String(admin)}`, token);
      for (const end = performance.now() + LEADS_MS; !(await leader.status()).fleet?.leads;) {
        if (performance.now() > end) throw new Error("the leader does not lead");
        await wait(50);
      }
      await leader.#call(`/v1/rollouts/${ROUTE}/start`, { steps: STEPS, hold: HOLD, version: "2" });
      return leader;
    };
    return begun(leading, () => ended(child, upstream));
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get cpuSeconds(): number {
    return cpuSecondsOf(this.pid);
  }

  /** CPU seconds of the thread that adds up. */
  get mergeSeconds(): number {
    return threadSecondsOf(this.pid, "sluice merge");
  }

  get rssMib(): number {
    return rssMibOf(this.pid);
  }

  async status(): Promise<RouteStatus> {
    return this.#call(`/v1/routes/${ROUTE}`);
  }

  async setWeight(weight: number): Promise<Change> {
    const micros = monotonicMicros();
    const body = { weight, reason: "benchmark", force: true };
    const { version: revision } = await this.#call(`/v1/routes/${ROUTE}/weight`, body);
    return { revision, micros, answeredMs: (monotonicMicros() - micros) / 1000 };
  }

  async stop(): Promise<void> {
    await ended(this.#child, this.#upstream);
  }

  async #call(path: string, body?: unknown): Promise<RouteStatus> {
    const answer = await fetch(`${this.#origin}${path}`, {
      headers: { authorization: `Bearer ${this.#token}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    });
    const text = await answer.text();
    if (answer.status !== 200) throw new Error(String((JSON.parse(text) as { detail?: string }).detail));
    // The admin API's own contract.
    return JSON.parse(text) as RouteStatus;
  }
}

async function ended(child: ChildProcess, upstream: HttpServer): Promise<void> {
  upstream.close();
  upstream.closeAllConnections();
  await stop(child);
}
