/**
 * Where exchanges and decisions are told one by one: to a collector of traces, to the access log, as exemplars. What a reload changes is opened anew
 * before the old one is closed, and the rest is left alone. OpenTelemetry is loaded when there is a collector to tell.
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

/** What is told one by one. */
interface Outlet<C> {
  readonly counts: C;
  close(): Promise<void>;
}

type Counts<C> = { readonly [K in keyof C]: number };

/** Where one kind of outlet is, or none: what a reload puts in its place, and what all of them came to. */
class Place<T extends Outlet<C>, C extends Counts<C> & { readonly dropped: number }> {
  /** The words of the configuration that the outlet was made of. */
  #from = "";
  #outlet: T | undefined = undefined;
  /** Of those that are closed, and of what found none. */
  #counts: C;
  readonly #closing = new Set<T>();

  constructor(none: C) {
    this.#counts = none;
  }

  get outlet(): T | undefined {
    return this.#outlet;
  }

  get counts(): C {
    const open = this.#outlet === undefined ? [] : [this.#outlet];
    return [...open, ...this.#closing].reduce((sum, { counts }) => summed(sum, counts), this.#counts);
  }

  isFrom(from: string): boolean {
    return this.#from === from;
  }

  /** Counts what was to be told while there is no outlet. */
  missed(count: number): void {
    this.#counts = { ...this.#counts, dropped: this.#counts.dropped + count };
  }

  /** Tells the next outlet from now on; resolves when the one before has ended, which the next is told of too. */
  async replace(from: string, next: (closed: Promise<void>) => T | undefined): Promise<void> {
    const before = this.#outlet;
    const closed = before?.close() ?? Promise.resolve();
    this.#from = from;
    this.#outlet = next(closed);
    if (before === undefined) return;
    this.#closing.add(before);
    await closed;
    this.#closing.delete(before);
    this.#counts = summed(this.#counts, before.counts);
  }
}

/** The outlets of a program. Nothing is open before `configure`. */
export class Outlets {
  readonly exemplars = new Exemplars();
  readonly #options: OutletOptions;
  readonly #traces = new Place<Collector, SpanCounts>({ sent: 0, failed: 0, dropped: 0 });
  readonly #accessLog = new Place<AccessLog, LineCounts>({ written: 0, dropped: 0 });

  constructor(options: OutletOptions) {
    this.#options = options;
  }

  /** Opens what a configuration asks for, closes what it does not. A file that stays is opened anew. */
  async configure(config: Config): Promise<void> {
    this.exemplars.keepOnly(config.routes.map(({ name }) => name));
    await Promise.all([this.#configureLog(config), this.#configureTraces(config)]);
  }

  /** Takes exchanges. Never throws, never waits. */
  take(accounts: readonly Account[]): void {
    for (const account of accounts) {
      if (account.isLogged) this.#log(account);
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
        if (this.#traces.outlet !== undefined) this.#decided((id, at) => decisionOf(entry, id, at));
        return journal.append(entry);
      },
    };
  }

  /** Takes a message to people: some are decisions. */
  noticed(notice: Notice): void {
    if (this.#traces.outlet !== undefined) this.#decided((id, at) => holdOf(notice, id, at));
  }

  get counts(): OutletCounts {
    return { spans: this.#traces.counts, lines: this.#accessLog.counts };
  }

  /** Sends and writes what waits, within a bound. */
  async close(): Promise<void> {
    await Promise.all([this.#traces, this.#accessLog].map((each) => each.replace("", () => undefined)));
  }

  #log(account: Account): void {
    const { outlet } = this.#accessLog;
    if (outlet === undefined) this.#accessLog.missed(1);
    else outlet.take(account);
  }

  #tell(spans: readonly Span[]): void {
    const { outlet } = this.#traces;
    if (outlet === undefined) this.#traces.missed(spans.length);
    else for (const span of spans) outlet.take(span);
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
    const { write, log } = this.#options;
    const place = this.#accessLog;
    const from = JSON.stringify(accessLog);
    if (place.isFrom(from)) place.outlet?.reopen();
    else
      await place.replace(from, (closed) =>
        accessLog === "off" ? undefined : openAccessLog(accessLog, write, log, closed),
      );
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
    if (this.#traces.isFrom(from)) return;
    let next: Collector | undefined;
    try {
      if (tracing !== "off")
        next = (await import("./otlp.ts")).openCollector({ ...tracing, headers, environment, program, log });
    } catch (error) {
      // Traffic does not depend on it. The one before goes on, and the next reload tries again.
      log.error("the collector cannot be opened", { detail: asAppError(error).message });
      return;
    }
    await this.#traces.replace(from, () => next);
  }
}

/** The configuration without traces where the environment turns OpenTelemetry off. */
export function allowed(config: Config, env: Readonly<Record<string, string | undefined>>): Config {
  const isDisabled = env["OTEL_SDK_DISABLED"]?.trim().toLowerCase() === "true";
  return isDisabled ? { ...config, tracing: "off" } : config;
}

function summed<T extends Counts<T>>(a: T, b: T): T {
  const entries = Object.entries<number>(a).map(([name, count]) => [name, count + b[name as keyof T]]);
  // The entries are those of the one.
  return Object.fromEntries(entries) as T;
}
