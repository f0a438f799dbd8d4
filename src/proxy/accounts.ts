/**
 * What a thread tells of its exchanges one by one: which of them, decided when they begin, and what of each, put together when it is over. With traces
 * and access log off it is one comparison per exchange, and a trace that is not sampled is one throw of the dice.
 *
 * Accounts are collected and handed over a few times a second, so that no exchange pays for the way to the main thread; what waits is bounded, and
 * what finds no place is counted and forgotten.
 */

import type { AccessLogConfig, Config } from "../config/schema.ts";
import type { Account, Sending, TracedAccount, Why } from "../domain/account.ts";
import { kindOf, type Reason } from "../domain/outcome.ts";
import { bucketOf, type Arm } from "../domain/split.ts";
import {
  isSampled,
  spanIdFrom,
  traceIdFrom,
  traceParent,
  traceParentOf,
  type TraceParent,
} from "../domain/trace-context.ts";
import { FULL, NONE, type Millis, type Ppm } from "../domain/units.ts";
import type { Clock, Dice } from "../engine/ports.ts";
import type { Choice } from "./choice.ts";
import { keyHashOf } from "./measure.ts";
import { NO_KEY, type RequestView } from "./request.ts";
import type { Route } from "./route.ts";

/** Accounts that wait for the main thread at the most. */
const WAITING = 8192;
/** So many at a time, at the most. */
const BATCH = 256;
const BATCH_MS = 100;
/** What ended with a status of the upstream's own; that of any other is the proxy's. */
const BY_UPSTREAM: ReadonlySet<Reason> = new Set<Reason>(["ok", "status", "grpc", "known_issue", "cut"]);
/** Of a path so much is told. */
const LONGEST_PATH = 1024;
/** Of a host so much is told; a name has no more. */
const LONGEST_HOST = 255;
/** A `tracestate` that is longer is not told at all: half a one is none, and W3C Trace Context asks nobody to keep more. */
const LONGEST_STATE = 512;

/** A request, as far as its account asks. */
export interface Told {
  readonly view: RequestView;
  readonly host: string;
  readonly proto: "http" | "https";
  readonly version: "1.1" | "2";
  readonly startedAt: Millis;
  /** The client's `traceparent`; undefined: it sent none. Asked once, when the request begins. */
  readonly parent: string | undefined;
}

/** What this thread tells. */
export class Accounts {
  readonly #clock: Clock;
  readonly #dice: Dice;
  readonly #give: (account: Account) => void;
  #isOn = false;
  /** −1: there are no traces. */
  #ratio: Ppm | -1 = -1;
  #log: AccessLogConfig | undefined = undefined;

  constructor(means: { readonly clock: Clock; readonly dice: Dice }, give: (account: Account) => void) {
    this.#clock = means.clock;
    this.#dice = means.dice;
    this.#give = give;
  }

  configure({ tracing, accessLog }: Pick<Config, "tracing" | "accessLog">): void {
    this.#ratio = tracing === "off" ? -1 : tracing.sample;
    this.#log = accessLog === "off" ? undefined : accessLog;
    this.#isOn = tracing !== "off" || accessLog !== "off";
  }

  /** Begins the account of an exchange; undefined: nothing will be told of it. */
  begin(route: Route, choice: Choice, salt: string, told: Told): Story | undefined {
    if (!this.#isOn) return undefined;
    const ratio = this.#ratio;
    const context = ratio < 0 ? undefined : this.#sampled(ratio as Ppm, told.parent);
    if (context === undefined && this.#log === undefined) return undefined;
    return new Story(this, route, choice, salt, told, context);
  }

  /** Takes a whole account. */
  give(account: Account): void {
    this.#give(account);
  }

  /** Whether the access log has an exchange that came to this. */
  isLogged(reason: Reason, rescued: boolean): boolean {
    const log = this.#log;
    if (log === undefined) return false;
    if (log.failures === "always" && (rescued || kindOf(reason) === "failure")) return true;
    return log.sample >= FULL || (log.sample > NONE && this.#dice.random() * FULL < log.sample);
  }

  newSpanId(): string {
    return spanIdFrom(() => this.#dice.random());
  }

  /** Milliseconds since the epoch, of a monotonic time that is not long ago. */
  wallOf(at: Millis): number {
    return this.#clock.wall() - (this.#clock.mono() - at);
  }

  /** The parent's flag is honoured; without a parent the dice decide. */
  #sampled(ratio: Ppm, text: string | undefined): Context | undefined {
    const parent = text === undefined ? undefined : traceParentOf(text);
    if (parent !== undefined)
      return parent.isSampled ? { traceId: parent.traceId, spanId: this.newSpanId(), parent } : undefined;
    const thrown = this.#dice.random();
    if (!isSampled(ratio, thrown)) return undefined;
    const traceId = traceIdFrom(thrown, () => this.#dice.random());
    return { traceId, spanId: this.newSpanId(), parent: undefined };
  }
}

interface Context {
  readonly traceId: string;
  readonly spanId: string;
  readonly parent: TraceParent | undefined;
}

/** What is told of one exchange, while it goes on. */
export class Story {
  readonly #accounts: Accounts;
  readonly #route: Route;
  readonly #choice: Choice;
  readonly #salt: string;
  readonly #told: Told;
  readonly #context: Context | undefined;
  readonly #sendings: Sending[] = [];
  #open: Omit<Sending, "toMs" | "reason" | "status"> | undefined = undefined;
  #reason: Reason = "unavailable";
  #status = 0;
  #latencyUs = -1;
  #settledAt: Millis;
  #rescued = false;

  constructor(
    accounts: Accounts,
    route: Route,
    choice: Choice,
    salt: string,
    told: Told,
    context: Context | undefined,
  ) {
    this.#accounts = accounts;
    this.#route = route;
    this.#choice = choice;
    this.#salt = salt;
    this.#told = told;
    this.#context = context;
    this.#settledAt = told.startedAt;
  }

  /** The request goes to an endpoint. @returns what it is to carry as `traceparent`; empty: what it came with */
  sends(arm: Arm, endpoint: string, at: Millis): string {
    const context = this.#context;
    if (context === undefined) return "";
    const spanId = this.#accounts.newSpanId();
    const why = this.#rescued ? "rescue" : this.#why(this.#key());
    const resends = this.#sendings.filter((each) => each.arm === arm).length;
    this.#open = { spanId, arm, why, endpoint, resends, fromMs: at - this.#told.startedAt };
    return traceParent(context.traceId, spanId);
  }

  /** Whether what goes upstream has the caller's `tracestate`: it belongs to the caller's trace. */
  get keepsState(): boolean {
    return this.#context?.parent !== undefined;
  }

  /** What the present sending came to. */
  became(reason: Reason, status: number, at: Millis): void {
    const open = this.#open;
    if (open === undefined) return;
    this.#open = undefined;
    const heard = BY_UPSTREAM.has(reason) ? status : 0;
    this.#sendings.push({ ...open, toMs: at - this.#told.startedAt, reason, status: heard });
  }

  /** It has counted for its arm. @param rescued stable is asked now */
  settled(reason: Reason, status: number, latencyUs: number, at: Millis, rescued: boolean): void {
    this.#reason = reason;
    this.#status = kindOf(reason) === "failure" && !BY_UPSTREAM.has(reason) ? 0 : status;
    this.#latencyUs = latencyUs;
    this.#settledAt = at;
    this.#rescued = rescued;
  }

  /** It is over. */
  over(ended: Reason, answered: number, at: Millis): void {
    const isLogged = this.#accounts.isLogged(this.#reason, this.#rescued);
    const context = this.#context;
    if (!isLogged && context === undefined) return;
    this.became(ended, answered, at);
    const { view, startedAt } = this.#told;
    const key = this.#key();
    this.#accounts.give({
      route: this.#route.config.name,
      arm: this.#choice.arm,
      why: this.#why(key),
      bucket: key === undefined ? NO_KEY : bucketOf(key, this.#salt),
      keyHash: key === undefined ? "" : keyHashOf(key),
      method: view.method.slice(0, 20),
      path: pathOf(view.target).slice(0, LONGEST_PATH),
      reason: this.#reason,
      status: this.#status,
      latencyMs: this.#latencyUs < 0 ? -1 : this.#latencyUs / 1000,
      startedAt: this.#accounts.wallOf(startedAt),
      settledMs: this.#settledAt - startedAt,
      totalMs: at - startedAt,
      rescued: this.#rescued,
      answered,
      ended,
      isLogged,
      traceId: context?.traceId ?? traceParentOf(view.header("traceparent") ?? "")?.traceId ?? "",
      trace: context === undefined ? undefined : this.#traced(context),
    });
  }

  #traced({ spanId, parent }: Context): TracedAccount {
    const { view, host, proto, version } = this.#told;
    const state = parent === undefined ? "" : (view.header("tracestate") ?? "");
    return {
      spanId,
      parentId: parent?.spanId ?? "",
      state: state.length <= LONGEST_STATE ? state : "",
      host: host.slice(0, LONGEST_HOST),
      scheme: proto,
      version,
      sendings: this.#sendings,
    };
  }

  #key(): string | undefined {
    return this.#choice.key ?? this.#route.identify.keyOf(this.#told.view);
  }

  #why(key: string | undefined): Why {
    if (this.#choice.forced) return "forced";
    return key === undefined || this.#choice.key !== undefined ? "anonymous" : "sticky";
  }
}

/** A target without its query. */
function pathOf(target: string): string {
  const query = target.indexOf("?");
  return query < 0 ? target : target.slice(0, query);
}

/** The way to the main thread: some at a time, and no more than may wait. */
export class AccountQueue {
  readonly #send: (accounts: readonly Account[]) => void;
  readonly #dropped: () => void;
  #batch: Account[] = [];
  #timer: NodeJS.Timeout | undefined = undefined;
  /** Given, and not yet taken over there. */
  #waiting = 0;

  constructor(send: (accounts: readonly Account[]) => void, dropped: () => void) {
    this.#send = send;
    this.#dropped = dropped;
  }

  give(account: Account): void {
    if (this.#waiting >= WAITING) {
      this.#dropped();
      return;
    }
    this.#waiting++;
    if (this.#batch.push(account) >= BATCH) this.flush();
    else this.#timer ??= setTimeout(flush, BATCH_MS, this).unref();
  }

  /** So many were taken. */
  took(count: number): void {
    this.#waiting -= count;
  }

  /** Sends what there is. */
  flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#batch.length === 0) return;
    const batch = this.#batch;
    this.#batch = [];
    this.#send(batch);
  }
}

function flush(queue: AccountQueue): void {
  queue.flush();
}
