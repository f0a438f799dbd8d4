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
import { BUCKETS, armOf, bucketOf, type Arm } from "../domain/split.ts";
import type { Millis } from "../domain/units.ts";
import type { RouteSplit } from "../engine/routing.ts";
import { pick } from "./endpoints.ts";
import { FAILURES, type Failure } from "./failure.ts";
import { addForwarding } from "./forwarding.ts";
import { cleanTrailers, copyRequestFields, readResponseHead } from "./headers.ts";
import type { Attempt, AttemptEvents, Downstream, Outgoing } from "./lane.ts";
import type { RequestView } from "./request.ts";
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
  readonly key: string | undefined;
  /** Set-Cookie value for a new anonymous key; empty: none. */
  readonly cookie: string;
}

/** The arm of a request: an override if there is a valid one, else its key's bucket against the weight. */
export function choose(route: Route, split: RouteSplit, view: RequestView, around: Surroundings): Choice {
  const forced = route.override.armOf(view, split.forcedCanary);
  const identity = route.identify(view);
  const { key, cookie } = identity;
  if (forced !== undefined) return { arm: forced, forced: true, key, cookie };
  if (key !== undefined)
    return { arm: armOf(bucketOf(key, split.salt), split.weight), forced: false, key, cookie };
  const bucket = identity.chance ? Math.floor(around.dice.random() * BUCKETS) : BUCKETS;
  return { arm: armOf(bucket, split.weight), forced: false, key, cookie };
}

/** The outgoing field list of a request, built in one pass; `host` empty leaves Host to the endpoint. */
export function outgoingFields(
  route: Route,
  downstream: Pick<Downstream, "head" | "fields" | "origin" | "proto">,
  around: Surroundings,
): string[] {
  const { head, fields } = downstream;
  const out: string[] = [];
  if (head.host !== "") out.push("host", head.host);
  const hasId = copyRequestFields(out, fields, head.connection, route.override.header);
  addForwarding(out, downstream.origin, fields, head.host, downstream.proto);
  out.push("via", "1.1 sluice");
  if (!hasId) out.push("x-request-id", around.dice.token(12));
  if (head.framing === "length") out.push("content-length", String(head.length));
  return out;
}

type State = "sending" | "responding" | "ended";

/** One exchange on its way. Made by `start`; the lane calls `onDownstream…`, the attempt calls `on…`. */
export class Exchange implements AttemptEvents {
  readonly #route: Route;
  readonly #around: Surroundings;
  readonly #downstream: Downstream;
  readonly #choice: Choice;
  readonly #outgoing: Outgoing;
  #state: State = "sending";
  #attempt: Attempt | undefined;
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
  #total: NodeJS.Timeout | undefined;

  constructor(route: Route, choice: Choice, downstream: Downstream, around: Surroundings) {
    this.#route = route;
    this.#around = around;
    this.#downstream = downstream;
    this.#choice = choice;
    this.#arm = choice.arm;
    this.#epoch = route.longLived.epoch;
    this.#attemptAt = downstream.startedAt;
    const method = downstream.view.method;
    this.#outgoing = {
      method,
      target: downstream.head.target,
      fields: outgoingFields(route, downstream, around),
      body: downstream.body,
      retryable: IDEMPOTENT.has(method),
      timeouts: route.config.timeouts,
    };
    const rescue = this.#rescueConfig();
    // A method that may be sent twice keeps a small body for it: a kept connection may turn out to be dead (reliability.md B13).
    if (rescue !== undefined) downstream.body?.hold(rescue.maxBody);
    else if (this.#outgoing.retryable) downstream.body?.hold(RETRY_BYTES);
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
    const server = pick(
      arm === "canary" ? this.#route.canary : this.#route.stable,
      (each) => this.#around.healthy(name, arm, each.url),
      this.#around.dice,
    );
    this.#sentAt = -1;
    this.#attemptAt = this.#around.clock.mono();
    if (!this.#rescuing) this.#ownMs = this.#attemptAt - this.#downstream.startedAt;
    const attempt = server.send(this.#outgoing, this);
    // It may have failed, and been rescued, before `send` returned: the rescue is the present attempt then.
    if (this.#arm !== arm) return;
    this.#attempt = attempt;
    if (this.#isEnded) attempt.abort();
  }

  onSent(at: Millis): void {
    this.#sentAt = at;
  }

  onInformational(status: number, fields: readonly string[]): void {
    if (++this.#informational > INFORMATIONAL_MAX || status === 101) {
      this.#attempt?.abort();
      this.onFailed(FAILURES.malformed, this.#around.clock.mono());
    } else if (status === 102 || status === 103) this.#downstream.informational(status, fields);
  }

  onHead(status: number, reason: string, fields: readonly string[], at: Millis): void {
    const head = readResponseHead(status, fields);
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
    if (this.#choice.cookie !== "") head.fields.push("set-cookie", this.#choice.cookie);
    if (!this.#downstream.respond(status, reason, head.fields)) {
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
    this.#ownMs += this.#around.clock.mono() - at;
  }

  onData(chunk: Buffer): boolean {
    return this.#downstream.write(chunk);
  }

  onEnd(trailers: readonly string[]): void {
    if (this.#isEnded) return;
    const status = this.#status;
    this.#finish(status >= 500 ? "status" : "ok", status);
    this.#downstream.body?.discard();
    this.#downstream.end(cleanTrailers(trailers));
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

  /** The client takes more. */
  onDownstreamDrain(): void {
    this.#attempt?.resume();
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
    const { arm, forced, key } = this.#choice;
    const meter = this.#route.meter;
    meter.record(arm, forced, reason, status, this.#latencyUs, (at - this.#downstream.startedAt) * 1000);
    if (arm === "canary" && !forced && isFailure(reason))
      meter.sample(this.#downstream.view, key, reason, status, rescued);
  }
}

function onTotal(exchange: Exchange): void {
  exchange.onTotal();
}

function isFailure(reason: Reason): boolean {
  return reason !== "ok" && reason !== "client_gone" && reason !== "refused" && reason !== "unavailable";
}
