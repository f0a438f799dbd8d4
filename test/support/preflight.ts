/** The checks before a rollout over a world that is told how to be: probes, load, names and channels pretended, sockets, files and programs real. */

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Test } from "tap";
import { configSchema } from "../../src/config/schema.ts";
import { Secret } from "../../src/config/secret.ts";
import type { PreflightResult } from "../../src/domain/preflight.ts";
import { signatureFields } from "../../src/notify/signature.ts";
import { createPreflight, type PreflightParts, type RunningPreflight } from "../../src/preflight/run.ts";
import { fakeClock, type FakeClock } from "./clock.ts";
import { fakeDice } from "./dice.ts";
import { quietLog } from "./silence.ts";

/** The checks and their world. */
export interface TestPreflight {
  readonly preflight: RunningPreflight;
  readonly clock: FakeClock;
  readonly folder: string;
  readonly log: ReturnType<typeof quietLog>;
  /** Runs all, and gives the results by name. */
  readonly run: (version?: string) => Promise<Readonly<Record<string, PreflightResult>>>;
  /** Resolves when so many timers are running: what hangs has hung, and the rest is through. */
  readonly timers: (count: number) => Promise<void>;
}

/** Prepares the checks of the route `app`. `canary`: its endpoint; `preflight`: as in the configuration; `route` and `parts` replace others. */
export function testPreflight(
  t: Test,
  canary: string,
  preflight: object = {},
  parts: Partial<PreflightParts> = {},
  route: object = {},
): TestPreflight {
  const folder = mkdtempSync(join(tmpdir(), "sluice-preflight-"));
  const config = configSchema.parse({
    state: `file:${join(folder, "state")}`,
    reports: join(folder, "reports"),
    routes: [
      {
        name: "app",
        stable: { endpoints: ["http://10.0.0.1:8080"] },
        canary: { endpoints: [canary], version: "4.0" },
        preflight,
        ...route,
      },
    ],
  });
  const clock = fakeClock();
  const log = quietLog();
  const running = createPreflight({
    config: () => config,
    probes: {
      health: (_route, arm) =>
        config.routes.flatMap((each) =>
          each[arm].endpoints.map((url) => ({ url, healthy: true, failures: 0, detail: "" })),
        ),
    },
    loadOf: () => ({ perSecond: 100, p95Ms: 50 }),
    channels: [],
    pem: () => "",
    lookup: () => Promise.reject(new Error("nobody asks for names here")),
    sign: signatureFields,
    secretOf: (source) => new Secret("open sesame", source),
    env: process.env,
    freeOf: () => Promise.resolve(1024 ** 3),
    clock,
    dice: fakeDice(5),
    log,
    ...parts,
  });
  t.teardown(() => {
    running.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return {
    preflight: running,
    clock,
    folder,
    log,
    async run(version = "4.0") {
      const results = await running.run("app", version);
      return Object.fromEntries(results.map((each) => [each.name, each]));
    },
    timers: (count) => until(() => clock.timers === count),
  };
}

/** Resolves when it is so; a turn of the loop per try. */
export async function until(isSo: () => boolean): Promise<void> {
  for (let tries = 0; tries < 5000; tries++) {
    if (isSo()) return;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  throw new Error("it never came to that");
}

/** Answers with a Date field that agrees with a fake clock that has not been moved. */
export const ON_TIME = "Date: Mon, 05 Jan 2026 09:00:00 GMT\r\n";

/** The process id that a program has written into a file, when it has. */
export async function pidIn(file: string): Promise<number> {
  let pid = 0;
  await until(() => {
    try {
      pid = Number(readFileSync(file, "utf8"));
    } catch {
      // Not yet.
    }
    return pid > 0;
  });
  return pid;
}

/** Whether a process runs; one that has ended and that nobody has asked after does not. */
export function runs(pid: number): boolean {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}
