/**
 * Where exchanges and decisions are told one by one: to a collector of traces, to the access log, as exemplars. What a reload changes is closed and
 * opened anew, and the rest is left alone. OpenTelemetry is loaded when there is a collector to tell.
 */

import { randomBytes } from "node:crypto";
import type { Config } from "../config/schema.ts";
import type { Secret, SecretSource } from "../config/secret.ts";
import type { Account } from "../domain/account.ts";
import { asAppError } from "../domain/errors.ts";
import type { Clock, Journal, Log, Notice } from "../engine/ports.ts";
import { openAccessLog, type AccessLog, type LineCounts, type Write } from "./access-log.ts";
import { Exemplars } from "./exemplars.ts";
import type { Collector, SpanCounts } from "./otlp.ts";
import { decisionOf, holdOf, spansOf, type Span } from "./spans.ts";

/** What the outlets need. */
export interface OutletOptions {
  readonly secretOf: (source: SecretSource) => Secret;
  /** Lines for the standard output. */
  readonly write: Write;
  readonly program: string;
  readonly clock: Pick<Clock, "wall">;
  readonly log: Log;
}

/** What became of spans and lines since start. */
export interface OutletCounts {
  readonly spans: SpanCounts;
  readonly lines: LineCounts;
}

/** An outlet, and the words of the configuration that it was made of. */
interface Made<T> {
  readonly from: string;
  readonly outlet: T;
}

const NO_SPANS: SpanCounts = { sent: 0, failed: 0, dropped: 0 };
const NO_LINES: LineCounts = { written: 0, dropped: 0 };

/** The outlets of a program. Nothing is open before `configure`. */
export class Outlets {
  readonly exemplars = new Exemplars();
  readonly #options: OutletOptions;
  #collector: Made<Collector> | undefined = undefined;
  #accessLog: Made<AccessLog> | undefined = undefined;
  // Of those that are closed.
  #spans = NO_SPANS;
  #lines = NO_LINES;

  constructor(options: OutletOptions) {
    this.#options = options;
  }

  /** Opens what a configuration asks for, closes what it does not. A file that stays is opened anew. */
  async configure(config: Config): Promise<void> {
    this.exemplars.keepOnly(config.routes.map(({ name }) => name));
    await this.#configureLog(config);
    await this.#configureTraces(config);
  }

  /** Takes exchanges. Never throws, never waits. */
  take(accounts: readonly Account[]): void {
    for (const account of accounts) {
      if (account.isLogged) this.#accessLog?.outlet.take(account);
      if (account.trace === undefined) continue;
      this.exemplars.take(account);
      this.#tell(spansOf(account));
    }
  }

  /** The journal, with every decision that is appended told as a span too. */
  watched(journal: Journal): Journal {
    return {
      read: (options) => journal.read(options),
      append: (entry) => {
        if (this.#collector !== undefined) this.#decided((id, at) => decisionOf(entry, id, at));
        return journal.append(entry);
      },
    };
  }

  /** Takes a message to people: some are decisions. */
  noticed(notice: Notice): void {
    if (this.#collector !== undefined) this.#decided((id, at) => holdOf(notice, id, at));
  }

  get counts(): OutletCounts {
    const spans = this.#collector?.outlet.counts ?? NO_SPANS;
    const lines = this.#accessLog?.outlet.counts ?? NO_LINES;
    return { spans: summed(this.#spans, spans), lines: summed(this.#lines, lines) };
  }

  /** Sends and writes what waits, within a bound. */
  async close(): Promise<void> {
    await Promise.all([this.#closeTraces(), this.#closeLog()]);
  }

  #tell(spans: readonly Span[]): void {
    for (const span of spans) this.#collector?.outlet.take(span);
  }

  #decided(make: (spanId: string, at: number) => Span | undefined): void {
    try {
      const span = make(randomBytes(8).toString("hex"), this.#options.clock.wall());
      if (span !== undefined) this.#tell([span]);
    } catch (error) {
      // What is told of a decision must never be in its way.
      this.#options.log.error("a decision has no span", { error });
    }
  }

  async #configureLog({ accessLog }: Config): Promise<void> {
    const from = JSON.stringify(accessLog);
    if (this.#accessLog?.from === from) {
      this.#accessLog.outlet.reopen();
      return;
    }
    await this.#closeLog();
    if (accessLog === "off") return;
    const { write, log } = this.#options;
    this.#accessLog = { from, outlet: openAccessLog(accessLog, write, log) };
  }

  async #configureTraces({ tracing, environment }: Config): Promise<void> {
    const { secretOf, program, log } = this.#options;
    const headers = Object.fromEntries(
      Object.entries(tracing === "off" ? {} : tracing.headers).map(([name, source]) => [
        name,
        secretOf(source).reveal(),
      ]),
    );
    const from = JSON.stringify([tracing, headers]);
    if (this.#collector?.from === from) return;
    await this.#closeTraces();
    if (tracing === "off") return;
    try {
      const { openCollector } = await import("./otlp.ts");
      this.#collector = { from, outlet: openCollector({ ...tracing, headers, environment, program, log }) };
    } catch (error) {
      // Traffic does not depend on it.
      log.error("there are no traces", { detail: asAppError(error).message });
    }
  }

  async #closeTraces(): Promise<void> {
    const outlet = this.#collector?.outlet;
    this.#collector = undefined;
    await outlet?.close();
    if (outlet !== undefined) this.#spans = summed(this.#spans, outlet.counts);
  }

  async #closeLog(): Promise<void> {
    const outlet = this.#accessLog?.outlet;
    this.#accessLog = undefined;
    await outlet?.close();
    if (outlet !== undefined) this.#lines = summed(this.#lines, outlet.counts);
  }
}

/** The configuration without traces where the environment turns OpenTelemetry off. */
export function allowed(config: Config, env: Readonly<Record<string, string | undefined>>): Config {
  const isDisabled = env["OTEL_SDK_DISABLED"]?.trim().toLowerCase() === "true";
  return isDisabled ? { ...config, tracing: "off" } : config;
}

function summed<T extends { readonly [K in keyof T]: number }>(a: T, b: T): T {
  const entries = Object.entries<number>(a).map(([name, count]) => [name, count + b[name as keyof T]]);
  // The entries are those of the one.
  return Object.fromEntries(entries) as T;
}
