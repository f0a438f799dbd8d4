/** The simulated replicas as the benchmark has them: a few processes, asked one thing at a time. */

import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { begun, start, stop } from "../load/children.ts";
import { addTold, NOTHING_TOLD } from "./replica.ts";
import type { Counted, Looked, Order, Part, Received } from "./words.ts";

/** A process has no more of them: one processor is theirs, and they wait for each other, but several such processes would wait for more than that. */
const EACH = 1000;
/** Hundreds of replicas in one heap leave hundreds of times the garbage behind: collected seldom enough, it is garbage by then. MiB. */
const YOUNG = 64;
/** So many have a process of their own, as replicas do: what they receive waits for no other. */
const LONE = 4;
/** An order is answered at once; a process that is busy for so long hangs. */
const ANSWER_MS = 60_000;

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
    const lone = Math.min(LONE, Math.floor(count / 2));
    const first = Math.ceil(lone / 2);
    const started: Process[] = [];
    const crowd = new Crowd(started);
    const connected = async (): Promise<Crowd> => {
      // Redis tells subscribers in their order: some of those that are alone are among the first, some among the last.
      for (const group of [
        ones(0, first),
        shared(first, count - lone),
        ones(count - lone + first, lone - first),
      ]) {
        const processes = group.map((part) => processOf({ redis, ...part }));
        started.push(...processes);
        await Promise.all(processes.map((each) => answerOf(each)));
      }
      return crowd;
    };
    return begun(connected, () => crowd.stop());
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
    return (await this.#each<Counted>({ do: "count" })).reduce(addTold, NOTHING_TOLD);
  }

  async receive(): Promise<Received> {
    const all = await this.#each<Received>({ do: "receive" });
    return {
      receipts: all.flatMap(({ receipts }) => receipts),
      alone: all.flatMap(({ alone }) => alone),
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
        return (await answerOf(each, AbortSignal.timeout(ANSWER_MS))) as T;
      }),
    );
  }
}

type Numbered = Pick<Part, "first" | "count">;

function ones(first: number, count: number): readonly Numbered[] {
  return Array.from({ length: count }, (_, nth) => ({ first: first + nth, count: 1 }));
}

function shared(first: number, count: number): readonly Numbered[] {
  const processes = Math.ceil(count / EACH);
  const until = (nth: number): number => Math.floor((nth * count) / processes);
  return Array.from({ length: processes }, (_, nth) => ({
    first: first + until(nth),
    count: until(nth + 1) - until(nth),
  }));
}

function processOf(part: Part): Process {
  const script = join(import.meta.dirname, "simulate.ts");
  const child = start(
    [process.execPath, `--max-semi-space-size=${String(YOUNG)}`, script, JSON.stringify(part)],
    "free",
  );
  child.stderr?.on("data", (chunk: Buffer) => process.stderr.write(chunk));
  const gone = once(child, "exit").then(() => {
    throw new Error("a process with simulated replicas has ended");
  });
  // At the end of a run it is meant to.
  gone.catch(() => {});
  // Every child here has a standard output.
  return { child, lines: createInterface(child.stdout!), gone };
}

async function answerOf({ lines, gone }: Process, signal?: AbortSignal): Promise<unknown> {
  // One line for each order.
  const line = once(lines, "line", signal === undefined ? {} : { signal });
  const [text] = (await Promise.race([line, gone])) as [string];
  return JSON.parse(text);
}
