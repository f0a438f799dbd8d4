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
import { DEADLINE_EXCEEDED, httpOfGrpc, isGrpcIn, NO_GRPC_STATUS } from "../domain/grpc.ts";
import type { Reason } from "../domain/outcome.ts";
import type { Arm } from "../domain/split.ts";
import type { Millis } from "../domain/units.ts";
import type { RouteSplit } from "../engine/routing.ts";
import type { Story } from "./accounts.ts";
import { choose, type Choice } from "./choice.ts";
import { NO_ANSWER } from "./endpoints.ts";
import { FAILURES, type Failure } from "./failure.ts";
import {
  INFORMATIONAL_MAX,
  type Attempt,
  type AttemptEvents,
  type Downstream,
  type ResponseHead,
} from "./lane.ts";
import type { Mirror, Original } from "./mirror.ts";
import type { ArmPool, Endpoint } from "./pool.ts";
import { IDEMPOTENT, type RequestView } from "./request.ts";
import { isRescuable, isRescued } from "./rescue.ts";
import type { Route, Surroundings } from "./route.ts";

/** Of the body of a method that may be sent twice so much is kept until the response begins. */
const RETRY_BYTES = 16 * 1024;
/** A client with a shorter deadline is not waiting for an answer, and could have any arm look late (reliability.md 33). */
const DEADLINE_MIN_MS = 100;
/** A client's clock starts with its request, which may take longer to come here than its end. */
const DEADLINE_SLACK_MS = 10;
const LEAVING = "this replica is going away";

/**
 * Counts what an exchange, or an upgrade, came to: for the arm of its choice, and of the canary for the alarm and for people. A known issue is counted
 * and no evidence. Plain arguments, for it is called once for every exchange.
 *
 * @param rescued stable is asked now
 * @param story   what is told of it one by one; undefined: nothing
 */
export function settle(
  { meter, knownIssues, alarm, identify }: Route,
  { arm, forced, key }: Choice,
  view: RequestView,
  came: Reason,
  status: number,
  latencyUs: number,
  startedAt: Millis,
  at: Millis,
  rescued: boolean,
  story: Story | undefined,
): void {
  const isKnown = came === "status" && knownIssues?.(status, view.target) === true;
  const reason = isKnown ? "known_issue" : came;
  story?.settled(reason, status, latencyUs, at, rescued);
  const isBad = meter.record(arm, forced, reason, status, latencyUs, (at - startedAt) * 1000);
  if (arm !== "canary" || forced) return;
  alarm?.settled(isBad, view, key !== undefined, at);
  const kind = meter.wanted(isBad, reason, status);
  if (kind !== undefined) meter.sample(kind, view, key ?? identify.keyOf(view), { reason, status, rescued });
}

/** Begins the exchange of an accepted request; `split` is its one reading of the split. */
export function begin<R extends ResponseHead>(
  route: Route,
  split: RouteSplit,
  side: Downstream<R> & { exchange: Exchange<R> | undefined },
  around: Surroundings,
): void {
  const choice = choose(route, split, side.view, around);
  const story = around.accounts.begin(route, choice, split.salt, side);
  const exchange = new Exchange(route, choice, side, around, story);
  side.exchange = exchange;
  if (route.mirror?.wants(split, choice, side.view.method, around.dice) === true)
    exchange.copyTo(route.mirror);
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
  readonly #story: Story | undefined;
  #state: State = "sending";
  #attempt: Attempt | undefined = undefined;
  #arm: Arm;
  #settled = false;
  #rescuing = false;
  /** A kept connection was lost, and the request sent again. */
  #hasRetried = false;
  /** No connection was to be had, and another was tried. */
  #hasReconnected = false;
  #sends = 0;
  /** Set when a copy is to follow. */
  #original: Original | undefined = undefined;
  #sentAt = -1;
  #attemptAt: Millis;
  #endpoint: Endpoint | undefined = undefined;
  /** The present endpoint was told what became of the attempt on it. */
  #isTold = false;
  #grpcStatus = NO_GRPC_STATUS;
  #latencyUs = -1;
  #status = 0;
  #ownMs = 0;
  #informational = 0;
  #longLived = false;
  readonly #epoch: number;
  #total: NodeJS.Timeout | undefined = undefined;

  constructor(
    route: Route,
    choice: Choice,
    downstream: Downstream<R>,
    around: Surroundings,
    story: Story | undefined,
  ) {
    this.#route = route;
    this.#story = story;
    this.#around = around;
    this.#downstream = downstream;
    this.#choice = choice;
    this.#arm = choice.arm;
    this.#epoch = route.longLived.epoch;
    this.#attemptAt = downstream.startedAt;
    this.#retryable = IDEMPOTENT.has(downstream.view.method);
    // A small body is kept: a kept connection may turn out to be dead, a new one may not open (reliability.md B13).
    downstream.body?.hold(this.#rescueConfig()?.maxBody ?? RETRY_BYTES);
  }

  /** A copy of the request goes to the canary when it has been answered. Only before `start`. */
  copyTo(mirror: Mirror): void {
    this.#original = mirror.begin();
    this.#downstream.body?.hold(Math.max(this.#original.maxBody, RETRY_BYTES));
  }

  /** Sends it. */
  start(): void {
    const total = this.#route.config.timeouts.total;
    if (total !== "none") this.#total = setTimeout(onTotal, total, this);
    this.#route.budget.count(this.#downstream.startedAt);
    const meter = this.#route.meter.arm(this.#arm);
    meter.inFlight++;
    this.#around.overload.inFlight++;
    if (meter.inFlight > this.#pool.concurrency) {
      meter.event("over_concurrency");
      this.onFailed(FAILURES.overloaded, this.#downstream.startedAt);
    } else this.#send(undefined);
  }

  /** @param tried the endpoint that was tried just now; another one is preferred */
  #send(tried: Endpoint | undefined): void {
    this.#attemptAt = this.#around.clock.mono();
    const endpoint = this.#pool.pick(this.#attemptAt, tried);
    this.#endpoint = endpoint;
    this.#isTold = false;
    this.#sentAt = -1;
    const nth = ++this.#sends;
    if (nth === 1) this.#ownMs = this.#attemptAt - this.#downstream.startedAt;
    if (this.#story !== undefined) this.#tell(this.#story, endpoint, this.#attemptAt);
    const attempt = this.#downstream.send(this.#route, endpoint, this.#retryable, this);
    // It may have failed, and been sent again, before `send` returned: that sending is the present attempt then.
    if (this.#sends !== nth) return;
    this.#attempt = attempt;
    if (this.#isEnded) attempt.abort();
  }

  onSent(at: Millis): void {
    this.#sentAt = at;
  }

  mayRetry(): boolean {
    if (this.#isEnded || !this.#takeRetry()) return false;
    this.#hasRetried = true;
    if (this.#story !== undefined && this.#endpoint !== undefined) {
      const at = this.#around.clock.mono();
      this.#story.became("reset", 0, at);
      this.#tell(this.#story, this.#endpoint, at);
    }
    return true;
  }

  #tell(story: Story, { url }: Endpoint, at: Millis): void {
    const parent = story.sends(this.#arm, url, at);
    if (parent !== "") this.#downstream.trace(parent, story.keepsState);
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
    const reason = this.#reasonOf(status, head.grpcStatus);
    // Of what is no failure yet the rest is waited for: the trailers of gRPC, and whether the body comes to its end.
    if (reason !== "ok") this.#tellEndpoint(reason, status, head.grpcStatus, at);
    if (reason !== "ok" && this.#mayRescue(reason)) {
      this.#attempt?.discard();
      this.#rescue(reason, status, at);
      return;
    }
    this.#original?.answered(status, this.#downstream.fieldsOf(head));
    if (!this.#downstream.respond(head, this.#choice.cookie)) {
      this.#attempt?.abort();
      this.onFailed(FAILURES.malformed, at);
      return;
    }
    this.#status = status;
    this.#grpcStatus = head.grpcStatus;
    this.#state = "responding";
    if (head.isStream) {
      this.#longLived = true;
      this.#route.longLived.add(this.#arm, this, this.#epoch);
      if (this.#isEnded) return;
    }
  }

  onEnd(grpcStatus: number): void {
    if (this.#isEnded) return;
    const status = this.#status;
    this.#grpcStatus = Math.max(grpcStatus, this.#grpcStatus);
    this.#finish(this.#reasonOf(status, this.#grpcStatus), status);
    const copied = this.#original === undefined ? undefined : this.#downstream.copy();
    this.#downstream.body?.discard();
    this.#downstream.end();
    // Now, so that it delays nothing.
    this.#original?.copy(copied, this.#route, this.#around);
  }

  onFailed(failure: Failure, at: Millis): void {
    if (this.#isEnded) return;
    this.#tellEndpoint(failure.reason, failure.status, NO_GRPC_STATUS, at);
    // What failed may have come with its head, of which the client has nothing yet.
    if (this.#state === "responding" && !this.#downstream.takeBack()) {
      this.#finish(failure.reason === "unavailable" ? failure.reason : "cut", this.#status);
      this.#downstream.cut();
      return;
    }
    if (failure.reason === "connect" && this.#mayReconnect(failure)) {
      this.#hasReconnected = true;
      this.#send(this.#endpoint);
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

  /**
   * The client left before its answer was complete.
   *
   * @param deadlineMs how long it had said it would wait; Infinity when it had not
   */
  onDownstreamGone(deadlineMs = Infinity): void {
    if (this.#isEnded) return;
    this.#attempt?.abort();
    const at = this.#around.clock.mono();
    const isLate = this.#isLate(deadlineMs, at);
    const isResponding = this.#state === "responding";
    if (isLate && !isResponding && !this.#rescuing) this.#latencyUs = (at - this.#sentAt) * 1000;
    this.#finish(isLate ? "timeout" : "client_gone", isResponding ? this.#status : isLate ? 504 : 499);
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
      this.#downstream.cut(LEAVING);
    } else {
      this.#finish("unavailable", 503);
      this.#downstream.answer(503, "SPLIT_DRAINING", LEAVING, "");
    }
  }

  /** The time for the whole exchange is over. */
  onTotal(): void {
    if (this.#isEnded) return;
    if (this.#downstream.body?.isComplete === false) {
      this.onDownstreamFault(408, "the request body took longer than the whole exchange may");
      return;
    }
    // The arm would have sent more long ago.
    if (this.#state === "responding" && this.#downstream.isStalled) {
      this.onDownstreamGone();
      return;
    }
    this.#attempt?.abort();
    this.onFailed(FAILURES.headTimeout, this.#around.clock.mono());
  }

  /** Whether the arm, which had the whole request, has let the client's deadline pass: what gRPC calls DEADLINE_EXCEEDED, whoever notices first. */
  #isLate(deadlineMs: number, at: Millis): boolean {
    if (deadlineMs < DEADLINE_MIN_MS || this.#sentAt < 0) return false;
    const waitedMs = at - this.#downstream.startedAt;
    return waitedMs + DEADLINE_SLACK_MS >= deadlineMs && isGrpcIn(this.#route.grpcFailing, DEADLINE_EXCEEDED);
  }

  /** Asked through a getter: a call into the lane can end the exchange behind the compiler's back. */
  get #isEnded(): boolean {
    return this.#state === "ended";
  }

  /** The present arm's endpoints. */
  get #pool(): ArmPool {
    return this.#arm === "canary" ? this.#route.canary : this.#route.stable;
  }

  /** Tells the endpoint, once for each attempt, what became of it: an answer, or none. What was the client's doing or ours says nothing. */
  #tellEndpoint(reason: Reason, status: number, grpcStatus: number, at: Millis): void {
    const endpoint = this.#endpoint;
    if (endpoint === undefined || this.#isTold) return;
    this.#isTold = true;
    this.#story?.became(reason, status, at);
    switch (reason) {
      case "client_gone":
      case "refused":
      case "unavailable":
        // It had answered, and well.
        if (this.#status !== 0) this.#pool.answered(endpoint, this.#status, at);
        return;
      case "ok":
      case "status":
        return this.#pool.answered(endpoint, status, at);
      case "grpc":
        return this.#pool.answered(endpoint, httpOfGrpc(grpcStatus), at);
      default:
        this.#pool.answered(endpoint, NO_ANSWER, at);
    }
  }

  #reasonOf(status: number, grpcStatus: number): Reason {
    if (status >= 500) return "status";
    return isGrpcIn(this.#route.grpcFailing, grpcStatus) ? "grpc" : "ok";
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
    const { stable } = this.#route.meter;
    if (stable.inFlight >= this.#route.stable.concurrency) stable.event("over_concurrency");
    else if (this.#route.budget.take(this.#around.clock.mono(), config.budget, config.concurrency))
      return true;
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
    this.#send(undefined);
  }

  /**
   * No connection was to be had: another endpoint of the arm is asked, or the only one once more. Whatever the method, since nothing was
   * sent. A time-out has cost its time already: it is not spent twice on the same endpoint, nor where a rescue would come sooner.
   */
  #mayReconnect(failure: Failure): boolean {
    if (this.#hasReconnected || this.#rescuing) return false;
    const others = this.#pool.all.length > 1;
    if (!others && (failure.timedOut || this.#hasRetried)) return false;
    if (failure.timedOut && this.#rescueConfig() !== undefined) return false;
    const { body } = this.#downstream;
    return (body === undefined || body.isHeld) && this.#takeRetry();
  }

  #takeRetry(): boolean {
    const { budget, meter, config } = this.#route;
    const may = budget.retry(this.#around.clock.mono(), config.retry.budget);
    meter.arm(this.#arm).event(may ? "retried" : "retry_refused");
    return may;
  }

  /** The one exit. */
  #finish(reason: Reason, status: number): void {
    const at = this.#around.clock.mono();
    this.#tellEndpoint(reason, status, this.#grpcStatus, at);
    this.#state = "ended";
    if (this.#total !== undefined) clearTimeout(this.#total);
    this.#route.meter.arm(this.#arm).inFlight--;
    this.#around.overload.inFlight--;
    if (this.#longLived) this.#route.longLived.remove(this.#arm, this);
    if (this.#rescuing) {
      this.#route.budget.release();
      if (reason === "ok") this.#route.meter.rescues.answered++;
      else if (reason !== "client_gone" && reason !== "refused") this.#route.meter.rescues.failed++;
    }
    this.#settle(reason, status, at, false);
    this.#story?.over(reason, status, at);
    this.#around.meter.overhead(this.#ownMs);
  }

  #settle(came: Reason, status: number, at: Millis, rescued: boolean): void {
    if (this.#settled) return;
    this.#settled = true;
    const { view, startedAt } = this.#downstream;
    settle(
      this.#route,
      this.#choice,
      view,
      came,
      status,
      this.#latencyUs,
      startedAt,
      at,
      rescued,
      this.#story,
    );
  }
}

function onTotal(exchange: { onTotal(): void }): void {
  exchange.onTotal();
}
