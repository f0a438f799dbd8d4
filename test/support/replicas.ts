/** Real processes of the program that share one state, behind the clients of a test. */

import { mkdir, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Test } from "tap";
import type { JournalLine } from "../../src/engine/ports.ts";
import { operatorOf, type Operator } from "./operator.ts";
import { ask, command, configFile, service, type Process, type Service } from "./program.ts";
import { until } from "./until.ts";

/** One of them. */
export interface Replica {
  readonly name: string;
  readonly process: Process;
  readonly origin: string;
  /** Its admin API. */
  readonly operate: Operator;
  sluice(...args: readonly string[]): Promise<{ readonly code: number | null; readonly output: string }>;
  /** The route as this replica sees it. */
  status(): Promise<Status>;
  /** What it has written into its journal, also while it is dead. */
  journal(): Promise<readonly JournalLine[]>;
  /** kill -9; resolves when it is gone. */
  kill(): Promise<void>;
  /** Stands still (SIGSTOP), and goes on (SIGCONT). */
  halt(): void;
  goOn(): void;
  /** Starts it again on what it has on its disk. */
  revive(): Promise<void>;
}

/** What of a route's status matters here. */
export interface Status {
  readonly weight: number;
  readonly phase: string;
  readonly step: number;
  readonly rollout: string;
  readonly version: number;
  readonly fleet: {
    readonly leader: string;
    readonly leads: boolean;
    readonly replicas: number;
    readonly isStoreUp: boolean;
  };
}

/** All of them, with the two arms of their route. */
export interface Fleet {
  readonly stable: Service;
  readonly canary: Service;
  readonly replicas: readonly Replica[];
  /** So many requests to each replica, each of another user; resolves with the status of each. */
  serve(count: number, replicas?: readonly Replica[]): Promise<readonly number[]>;
  /** Who leads, and the others. */
  roles(
    among?: readonly Replica[],
  ): Promise<{ readonly leader: Replica; readonly others: readonly Replica[] }>;
}

/** The machine may be busy with other things: nobody is turned away for that. */
export const BUSY = { loopDelay: "none" };

/** What they are started with. */
export interface FleetOptions {
  /** `state` of the configuration of a replica, but for its folder and its name. */
  readonly state: (name: string) => object;
  /** More of the route's configuration. */
  readonly route?: object;
  /** More of everything else's. */
  readonly more?: object;
  readonly env?: Readonly<Record<string, string>>;
}

/** Three replicas of which one leads; they end with the test. */
export async function fleet(t: Test, options: FleetOptions): Promise<Fleet> {
  const [stable, canary] = [await service("stable"), await service("canary")];
  const folder = await mkdtemp(join(tmpdir(), "sluice-fleet-"));
  const processes: Process[] = [];
  t.teardown(async () => {
    for (const each of processes) each.child.kill("SIGKILL");
    await Promise.all(processes.map((each) => each.ended));
    await stable.close();
    await canary.close();
    await rm(folder, { recursive: true, force: true });
  });
  const start = async (name: string): Promise<Replica> => {
    const home = join(folder, name);
    const state = join(home, "state");
    const admin = `unix:${join(home, "admin.sock")}`;
    await mkdir(home);
    const config = await configFile(home, {
      listen: [{ address: "127.0.0.1:0" }],
      admin: { address: admin },
      state: { ...options.state(name), folder: state, replica: name },
      reports: join(home, "reports"),
      backups: "off",
      workers: 1,
      environment: "test",
      routes: [
        {
          name: "app",
          stable: { endpoints: [stable.url] },
          canary: { endpoints: [canary.url] },
          key: ["header:x-user-id"],
          ...options.route,
        },
      ],
      ...options.more,
    });
    const run = async (): Promise<{ readonly process: Process; readonly origin: string }> => {
      const process = command(["run", "-c", config], options.env);
      processes.push(process);
      const [, address = ""] = await process.says(/"listen":\["([^"]+)"\]/);
      return { process, origin: `http://${address}` };
    };
    const operate = operatorOf(home);
    const sluice = async (...args: readonly string[]) => {
      const called = command([...args, "--admin", admin, "--state", state]);
      return { code: await called.ended, output: called.output() };
    };
    let running = await run();
    return {
      name,
      operate,
      sluice,
      get process() {
        return running.process;
      },
      get origin() {
        return running.origin;
      },
      status: async () => JSON.parse((await operate("/v1/routes/app")).text) as Status,
      async journal() {
        const text = await readFile(join(state, "journal.jsonl"), "utf8");
        const whole = text
          .slice(0, text.lastIndexOf("\n") + 1)
          .split("\n")
          .slice(0, -1);
        return whole.map((line) => JSON.parse(line) as JournalLine);
      },
      async kill() {
        running.process.child.kill("SIGKILL");
        await running.process.ended;
      },
      halt: () => void running.process.child.kill("SIGSTOP"),
      goOn: () => void running.process.child.kill("SIGCONT"),
      async revive() {
        running = await run();
      },
    };
  };
  const replicas = await Promise.all(["edge-a", "edge-b", "edge-c"].map(start));
  let user = 0;
  const self: Fleet = {
    stable,
    canary,
    replicas,
    async serve(count, among = replicas) {
      const statuses: number[] = [];
      for (let nth = 0; nth < count; nth++) {
        const answers = await Promise.all(
          among.map(({ origin }) => ask(origin, { headers: { "x-user-id": `user-${user++}` } })),
        );
        statuses.push(...answers.map(({ status }) => status));
      }
      return statuses;
    },
    async roles(among = replicas) {
      let found: Replica | undefined;
      await until("one leads", async () => {
        for (const each of among) if ((await each.status()).fleet.leads) found = each;
        return found !== undefined;
      });
      return { leader: found!, others: among.filter((each) => each !== found) };
    },
  };
  await self.roles();
  return self;
}

/** The route's weight at each of them. */
export function weightsOf(replicas: readonly Replica[]): Promise<readonly number[]> {
  return Promise.all(replicas.map(async (each) => (await each.status()).weight));
}

/** Resolves when the route has this weight at all of them. */
export function everywhere(replicas: readonly Replica[], weight: number, ms?: number): Promise<void> {
  return until(
    `${weight} % everywhere`,
    async () => (await weightsOf(replicas)).every((each) => each === weight),
    ms,
  );
}
