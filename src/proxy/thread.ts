/**
 * One worker as the main thread sees it: its messages, its counters, its end. Whatever it was asked is answered, by it or by its death.
 */

import { Worker } from "node:worker_threads";
import type { Config } from "../config/schema.ts";
import type { Account } from "../domain/account.ts";
import type { HardRule } from "../domain/evidence/catastrophic.ts";
import { AppError } from "../domain/errors.ts";
import type { Millis } from "../domain/units.ts";
import type { FastLaneSteps, Log } from "../engine/ports.ts";
import { NO_HANDLES } from "./fast/handle.ts";
import type { Birth, Order, Report } from "./messages.ts";
import { Readings } from "./readings.ts";

/** A worker that has not closed by itself so long after it was told to is ended. */
const CLOSE_MS = 2000;

/** What a thread needs of its plane. */
export interface ThreadOptions {
  /** The file that a worker runs: `worker.ts`. */
  readonly entry: URL;
  readonly birth: Birth;
  readonly log: Log;
  /** It has ended, asked or not; what it had in flight is counted. */
  readonly onEnd: (thread: Thread) => void;
  readonly onCrossing: (route: string, rule: HardRule) => void;
  readonly told: (accounts: readonly Account[]) => void;
}

/** A running worker. */
export class Thread {
  readonly index: number;
  readonly readings: Readings;
  /** The bound addresses; rejects with SPLIT_LISTEN_FAILED, or when it dies before. */
  readonly serving: Promise<readonly string[]>;
  /** Exchanges that were in flight when it died. */
  lost = 0;
  isServing = false;
  hasEnded = false;
  readonly #worker: Worker;
  readonly #log: Log;
  readonly #onCrossing: ThreadOptions["onCrossing"];
  readonly #told: ThreadOptions["told"];
  readonly #ended: Promise<void>;
  readonly #configures: { readonly resolve: () => void; readonly reject: (error: Error) => void }[] = [];
  fastLane: FastLaneSteps = NO_HANDLES;
  #serve: (addresses: readonly string[]) => void = nothing;
  #fail: (error: AppError) => void = nothing;
  #retired: (cut: number) => void = nothing;
  #closed: () => void = nothing;

  constructor({ entry, birth, log, onEnd, onCrossing, told }: ThreadOptions) {
    this.index = birth.index;
    this.#log = log;
    this.#onCrossing = onCrossing;
    this.#told = told;
    this.readings = new Readings(birth.counters);
    this.serving = new Promise((resolve, reject) => {
      this.#serve = resolve;
      this.#fail = reject;
    });
    // Who waits for it sees it; it must not be fatal when nobody does.
    this.serving.catch(nothing);
    this.#worker = new Worker(entry, { workerData: birth, name: `sluice ${birth.index}` });
    this.#worker.on("message", (report: Report) => this.#take(report));
    this.#worker.on("error", (error) =>
      log.error("a worker failed", { worker: this.index, error, stack: stackOf(error) }),
    );
    this.#ended = new Promise((resolve) =>
      this.#worker.once("exit", () => {
        this.#end();
        resolve();
        onEnd(this);
      }),
    );
  }

  tell(order: Order): void {
    this.#worker.postMessage(order);
  }

  /** Resolves when the configuration is in force there, or the worker has ended; rejects with AppError when it could not be. */
  configure(
    order: {
      readonly config: Config;
    } & Omit<Extract<Order, { type: "configure" }>, "type">,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.hasEnded) return resolve();
      this.#configures.push({ resolve, reject });
      this.tell({ type: "configure", ...order });
    });
  }

  /** Lets what is in flight finish until the deadline; resolves how many were cut, those of a sudden death included. */
  retire(deadlineMs: Millis): Promise<number> {
    return new Promise((resolve) => {
      if (this.hasEnded) return resolve(this.lost);
      this.#retired = resolve;
      this.tell({ type: "retire", deadlineMs });
    });
  }

  /** Ends it, the polite way first. */
  async close(): Promise<void> {
    if (this.hasEnded) return;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => (timer = setTimeout(resolve, CLOSE_MS)));
    const closed = new Promise<void>((resolve) => (this.#closed = resolve));
    this.tell({ type: "close" });
    await Promise.race([closed, late]);
    clearTimeout(timer);
    await this.stop();
  }

  /** Ends it at once. */
  async stop(): Promise<void> {
    await this.#worker.terminate();
    await this.#ended;
  }

  #take(report: Report): void {
    switch (report.type) {
      case "serving":
        this.isServing = true;
        this.fastLane = report.fastLane;
        return this.#serve(report.addresses);
      case "failed":
        this.#fail(new AppError(report.code, report.message));
        return void this.stop();
      case "configured":
        return this.#configured(report.trouble);
      case "crossed":
        return this.#onCrossing(report.route, report.rule);
      case "samples":
        for (const [route, sample] of report.samples) this.readings.addSample(route, sample);
        return undefined;
      case "accounts":
        this.#told(report.accounts);
        return this.tell({ type: "took", accounts: report.accounts.length });
      case "histograms":
        return this.readings.addHistograms(report.chunk);
      case "log":
        return this.#log[report.level](report.message, report.fields);
      case "retired":
        return this.#retired(report.cut);
      case "closed":
        return this.#closed();
      default:
        return report satisfies never;
    }
  }

  #configured(trouble: string): void {
    const waiting = this.#configures.shift();
    if (trouble === "") waiting?.resolve();
    else waiting?.reject(new AppError("SPLIT_INTERNAL", `a worker refused the configuration: ${trouble}`));
  }

  #end(): void {
    this.hasEnded = true;
    this.isServing = false;
    this.lost = this.readings.bury();
    this.#fail(new AppError("SPLIT_INTERNAL", "a worker died before it served"));
    for (const { resolve } of this.#configures.splice(0)) resolve();
    this.#retired(this.lost);
    this.#closed();
  }
}

function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? "") : "";
}

function nothing(): void {
  // nobody waits
}
