/** The simulated replicas as the benchmark has them: a few processes, asked one thing at a time. */

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { start, stop } from "../load/children.ts";
import { addSums, NO_SUMS } from "./measures.ts";
import type { Counted, Looked, Order, Part, Received } from "./words.ts";

/** A process has no more of them. */
const EACH = 250;

interface Process {
  readonly child: ChildProcess;
  readonly lines: Interface;
  /** Rejects when it ends. */
  readonly gone: Promise<never>;
}

/** The crowd. */
export class Crowd {
  readonly #processes: readonly Process[];

  private constructor(processes: readonly Process[]) {
    this.#processes = processes;
  }

  /** So many; resolves when all of them have been connected. */
  static async start(redis: string, count: number): Promise<Crowd> {
    const processes = Math.ceil(count / EACH);
    const started = Array.from({ length: processes }, (_, nth) => {
      const first = Math.floor((nth * count) / processes);
      const part: Part = { redis, first, count: Math.floor(((nth + 1) * count) / processes) - first };
      const script = join(import.meta.dirname, "simulate.ts");
      const child = start([process.execPath, script, JSON.stringify(part)], "free");
      child.stderr?.on("data", (chunk: Buffer) => process.stderr.write(chunk));
      const gone = once(child, "exit").then(() => {
        throw new Error("a process with simulated replicas has ended");
      });
      // At the end of a run it is meant to.
      gone.catch(() => {});
      // Every child here has a standard output.
      return { child, lines: createInterface(child.stdout!), gone };
    });
    await Promise.all(started.map(answerOf));
    return new Crowd(started);
  }

  get pids(): readonly number[] {
    return this.#processes.flatMap(({ child }) => child.pid ?? []);
  }

  async look(): Promise<Looked> {
    const all = await this.#each<Looked>({ do: "look" });
    const every: Record<string, number> = {};
    for (const each of all)
      for (const [ms, count] of Object.entries(each.every)) every[ms] = (every[ms] ?? 0) + count;
    return {
      ready: all.reduce((sum, { ready }) => sum + ready, 0),
      led: all.reduce((sum, { led }) => sum + led, 0),
      every,
      complaints: all.flatMap(({ complaints }) => complaints),
    };
  }

  async measure(on: boolean): Promise<void> {
    await this.#each({ do: "measure", on });
  }

  async count(): Promise<Counted> {
    const none: Counted = { sums: NO_SUMS, published: 0, publishedBytes: 0 };
    return (await this.#each<Counted>({ do: "count" })).reduce(
      (a, b) => ({
        sums: addSums(a.sums, b.sums),
        published: a.published + b.published,
        publishedBytes: a.publishedBytes + b.publishedBytes,
      }),
      none,
    );
  }

  async receive(): Promise<Received> {
    const all = await this.#each<Received>({ do: "receive" });
    return {
      receipts: all.flatMap(({ receipts }) => receipts),
      lateMs: Math.max(0, ...all.map(({ lateMs }) => lateMs)),
    };
  }

  async stop(): Promise<void> {
    await Promise.all(this.#processes.map(({ child }) => stop(child)));
  }

  #each<T>(order: Order): Promise<readonly T[]> {
    return Promise.all(
      this.#processes.map(async (each) => {
        each.child.stdin?.write(`${JSON.stringify(order)}\n`);
        // As `simulate.ts` answers this order.
        return (await answerOf(each)) as T;
      }),
    );
  }
}

async function answerOf({ lines, gone }: Process): Promise<unknown> {
  // One line for each order.
  const [line] = (await Promise.race([once(lines, "line"), gone])) as [string];
  return JSON.parse(line);
}
