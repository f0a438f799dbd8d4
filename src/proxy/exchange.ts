/**
 * THE MAIN PATH: one exchange, from routed to settled.
 *
 *     identify ─ route ─ prepare ─ send ─ answer ─ stream ─ settle
 *
 * It promises: exactly one outcome, whatever breaks and in whatever order; the first byte towards the client fixes the fate (from
 * there a failure is a cut, never another answer); an abort on either side ends the other in the same turn; the arm was chosen
 * from one reading of the split. It knows nothing of sockets: a lane gives it a `Downstream` and endpoints to send to.
 */

import type { RescueConfig } from "../config/schema.ts";
import type { Reason } from "../domain/outcome.ts";
import { BUCKETS, armOf, type Arm } from "../domain/split.ts";
import type { Millis } from "../domain/units.ts";
import type { RouteSplit } from "../engine/routing.ts";
import { pick } from "./endpoints.ts";
import { FAILURES, type Failure } from "./failure.ts";
import type { Attempt, AttemptEvents, Downstream, ResponseHead } from "./lane.ts";
import { NO_KEY, type RequestView } from "./request.ts";
import { isRescuable, isRescued } from "./rescue.ts";
import type { Route, Surroundings } from "./route.ts";

/** More informational responses than this are an attack or a bug. */
const INFORMATIONAL_MAX = 16;
/** Of the body of a method that may be sent twice so much is kept until the response begins. */
const RETRY_BYTES = 16 * 1024;
/** Methods that may be sent twice by themselves (RFC 9110 §9.2.2). */
const IDEMPOTENT: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"]);

/** Where one request goes, and as what it counts. */
export interface Choice {
  readonly arm: Arm;
  readonly forced: boolean;
  /** The key of a new anonymous client; undefined: ask the request again, should anybody want to know. */
  readonly key: string | undefined;
  /** Set-Cookie value for a new anonymous key; empty: none. */
  readonly cookie: string;
}

// Nearly every exchange is one of these, so they are made once.
const BY_KEY: Readonly<Record<Arm, Choice>> = {
  stable: { arm: "stable", forced: false, key: undefined, cookie: "" },
  canary: { arm: "canary", forced: false, key: undefined, cookie: "" },
};
const BY_FORCE: Readonly<Record<Arm, Choice>> = {
  stable: { ...BY_KEY.stable, forced: true },
  canary: { ...BY_KEY.canary, forced: true },
};

function byKey(arm: Arm): Choice {
  return arm === "canary" ? BY_KEY.canary : BY_KEY.stable;
}

/** The arm of a request: an override if there is a valid one, else its key's bucket against the weight. */
export function choose(route: Route, split: RouteSplit, view: RequestView, around: Surroundings): Choice {
  const forced = route.override.armOf(view, split.forcedCanary);
  if (forced !== undefined) return BY_FORCE[forced];
  const bucket = view.bucketOf(route.identify.sources, split.salt);
  if (bucket !== NO_KEY) return byKey(armOf(bucket, split.weight));
  const anonymous = route.identify.anonymous(view, split.salt);
  if (anonymous === undefined) return BY_KEY[armOf(Math.floor(around.dice.random() * BUCKETS), split.weight)];
  const arm = armOf(anonymous.bucket, split.weight);
  return anonymous.cookie === ""
    ? byKey(arm)
    : { arm, forced: false, key: anonymous.key, cookie: anonymous.cookie };
}

/** Begins the exchange of an accepted request; `split` is its one reading of the split. */
export function begin<R extends ResponseHead>(
  route: Route,
  split: RouteSplit,
  side: Downstream<R> & { exchange: Exchange<R> | undefined },
  around: Surroundings,
): void {
  const exchange = new Exchange(route, choose(route, split, side.view, around), side, around);
  side.exchange = exchange;
  exchange.start();
}

type State = "sending" | "responding" | "ended";

/** One exchange on its way. Made by `begin`; the lane calls `onDownstream…`, the attempt calls `on…`. */
export class Exchange<R extends ResponseHead> implements AttemptEvents<R> {
  readonly #route: Route;
  readonly #around: Surroundings;
  readonly #downstream: Downstream<R>;
  readonly #choice: Choice;
  readonly #retryable: boolean;
  #state: State = "sending";
  #attempt: Attempt | undefined = undefined;
  #arm: Arm;
  #settled = false;
  #rescuing = false;
  #sentAt = -1;
  #attemptAt: Millis;
  #latencyUs = -1;
  #status = 0;
  #ownMs = 0;
  #informational = 0;
  #longLived = false;
  readonly #epoch: number;
  #total: NodeJS.Timeout | undefined = undefined;

  constructor(route: Route, choice: Choice, downstream: Downstream<R>, around: Surroundings) {
    this.#route = route;
    this.#around = around;
    this.#downstream = downstream;
    this.#choice = choice;
    this.#arm = choice.arm;
    this.#epoch = route.longLived.epoch;
    this.#attemptAt = downstream.startedAt;
    this.#retryable = IDEMPOTENT.has(downstream.view.method);
    if (downstream.body === undefined) return;
    const rescue = this.#rescueConfig();
    // A method that may be sent twice keeps a small body for it: a kept connection may turn out to be dead (reliability.md B13).
    if (rescue !== undefined) downstream.body.hold(rescue.maxBody);
    else if (this.#retryable) downstream.body.hold(RETRY_BYTES);
  }

  /** Sends it. */
  start(): void {
    const total = this.#route.config.timeouts.total;
    if (total !== "none") this.#total = setTimeout(onTotal, total, this);
    this.#route.budget.count(this.#downstream.startedAt);
    this.#route.meter.arm(this.#arm).inFlight++;
    this.#send();
  }

  #send(): void {
    const name = this.#route.config.name;
    const arm = this.#arm;
    const endpoint = pick(
      arm === "canary" ? this.#route.canary : this.#route.stable,
      name,
      arm,
      this.#around,
    );
    this.#sentAt = -1;
    this.#attemptAt = this.#around.clock.mono();
    if (!this.#rescuing) this.#ownMs = this.#attemptAt - this.#downstream.startedAt;
    const attempt = this.#downstream.send(this.#route, endpoint, this.#retryable, this);
    // It may have failed, and been rescued, before `send` returned: the rescue is the present attempt then.
    if (this.#arm !== arm) return;
    this.#attempt = attempt;
    if (this.#isEnded) attempt.abort();
  }

  onSent(at: Millis): void {
    this.#sentAt = at;
  }

  onInformational(head: R): void {
    if (++this.#informational > INFORMATIONAL_MAX || head.status === 101) {
      this.#attempt?.abort();
      this.onFailed(FAILURES.malformed, this.#around.clock.mono());
    } else if (head.status === 102 || head.status === 103) this.#downstream.informational(head);
  }

  onHead(head: R, at: Millis): void {
    const { status } = head;
    if (head.malformed !== "") {
      this.#attempt?.abort();
      this.onFailed(FAILURES.malformed, at);
      return;
    }
    // An answer that came before the whole request was sent says nothing about the arm's speed.
    if (!this.#rescuing) this.#latencyUs = this.#sentAt < 0 ? -1 : (at - this.#sentAt) * 1000;
    if (status >= 500 && this.#mayRescue("status")) {
      this.#attempt?.discard();
      this.#rescue("status", status, at);
      return;
    }
    if (!this.#downstream.respond(head, this.#choice.cookie)) {
      this.#attempt?.abort();
      this.onFailed(FAILURES.malformed, at);
      return;
    }
    this.#status = status;
    this.#state = "responding";
    if (head.eventStream) {
      this.#longLived = true;
      this.#route.longLived.add(this.#arm, this, this.#epoch);
      if (this.#isEnded) return;
    }
  }

  onEnd(): void {
    if (this.#isEnded) return;
    const status = this.#status;
    this.#finish(status >= 500 ? "status" : "ok", status);
    this.#downstream.body?.discard();
    this.#downstream.end();
  }

  onFailed(failure: Failure, at: Millis): void {
    if (this.#isEnded) return;
    if (this.#state === "responding") {
      this.#finish(failure.reason === "unavailable" ? failure.reason : "cut", this.#status);
      this.#downstream.cut();
      return;
    }
    if (!this.#rescuing && failure.timedOut) {
      const from = this.#sentAt < 0 ? this.#attemptAt : this.#sentAt;
      this.#latencyUs = (at - from) * 1000;
    }
    if (this.#mayRescue(failure.reason)) {
      this.#rescue(failure.reason, failure.status, at);
      return;
    }
    this.#finish(failure.reason, failure.status);
    this.#downstream.body?.discard();
    this.#downstream.answer(failure.status, failure.code, failure.detail, this.#choice.cookie);
  }

  /** The client left before its answer was complete. */
  onDownstreamGone(): void {
    if (this.#isEnded) return;
    this.#attempt?.abort();
    this.#finish("client_gone", this.#state === "responding" ? this.#status : 499);
    this.#downstream.cut();
  }

  /** The client's body is too slow, too large or broken: refused when nothing was answered yet, else cut. */
  onDownstreamFault(status: number, detail: string): void {
    if (this.#isEnded) return;
    this.#attempt?.abort();
    const responding = this.#state === "responding";
    this.#finish("refused", responding ? this.#status : status);
    if (responding) this.#downstream.cut();
    else this.#downstream.refuse(status, "SPLIT_REQUEST_REFUSED", detail);
  }

  /** Ends it where it is: the deadline of a drain, or a long-lived exchange on an arm that was left. */
  close(): void {
    if (this.#isEnded) return;
    this.#attempt?.abort();
    if (this.#state === "responding") {
      this.#finish("unavailable", this.#status);
      this.#downstream.cut();
    } else {
      this.#finish("unavailable", 503);
      this.#downstream.answer(503, "SPLIT_DRAINING", "this replica is going away", "");
    }
  }

  /** The time for the whole exchange is over. */
  onTotal(): void {
    if (this.#isEnded) return;
    if (this.#downstream.body?.isComplete === false) {
      this.onDownstreamFault(408, "the request body took longer than the whole exchange may");
      return;
    }
    this.#attempt?.abort();
    this.onFailed(FAILURES.headTimeout, this.#around.clock.mono());
  }

  /** Asked through a getter: a call into the lane can end the exchange behind the compiler's back. */
  get #isEnded(): boolean {
    return this.#state === "ended";
  }

  #rescueConfig(): RescueConfig | undefined {
    const config = this.#route.config.rescue;
    if (config === "off" || this.#choice.forced || this.#choice.arm !== "canary") return undefined;
    return isRescuable(config, this.#downstream.view) ? config : undefined;
  }

  #mayRescue(reason: Reason): boolean {
    if (this.#rescuing || this.#state !== "sending") return false;
    const config = this.#rescueConfig();
    if (config === undefined || !isRescued(config, reason)) return false;
    const body = this.#downstream.body;
    if (body !== undefined && !body.isHeld) return false;
    if (this.#route.budget.take(this.#around.clock.mono(), config.budget, config.concurrency)) return true;
    this.#route.meter.rescues.refused++;
    return false;
  }

  /** The canary's failure counts now; what stable makes of it is no evidence about anybody. */
  #rescue(reason: Reason, status: number, at: Millis): void {
    this.#settle(reason, status, at, true);
    this.#rescuing = true;
    this.#route.meter.arm("canary").inFlight--;
    this.#route.meter.arm("stable").inFlight++;
    this.#arm = "stable";
    this.#send();
  }

  /** The one exit. */
  #finish(reason: Reason, status: number): void {
    const at = this.#around.clock.mono();
    this.#state = "ended";
    if (this.#total !== undefined) clearTimeout(this.#total);
    this.#route.meter.arm(this.#arm).inFlight--;
    if (this.#longLived) this.#route.longLived.remove(this.#arm, this);
    if (this.#rescuing) {
      this.#route.budget.release();
      if (reason === "ok") this.#route.meter.rescues.answered++;
      else if (reason !== "client_gone" && reason !== "refused") this.#route.meter.rescues.failed++;
    }
    this.#settle(reason, status, at, false);
    this.#around.meter.overhead(this.#ownMs);
  }

  #settle(reason: Reason, status: number, at: Millis, rescued: boolean): void {
    if (this.#settled) return;
    this.#settled = true;
    const { arm, forced } = this.#choice;
    const meter = this.#route.meter;
    meter.record(arm, forced, reason, status, this.#latencyUs, (at - this.#downstream.startedAt) * 1000);
    if (arm !== "canary" || forced || !isFailure(reason)) return;
    const { view } = this.#downstream;
    const key = this.#choice.key ?? this.#route.identify.keyOf(view);
    meter.sample(view, key, reason, status, rescued);
  }
}

function onTotal(exchange: { onTotal(): void }): void {
  exchange.onTotal();
}

function isFailure(reason: Reason): boolean {
  return reason !== "ok" && reason !== "client_gone" && reason !== "refused" && reason !== "unavailable";
}
