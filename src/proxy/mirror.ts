/**
 * Copies of requests for the canary, before the first step: stable answers, and what the canary would have answered is compared with it.
 *
 * A copy is sent when stable's answer has ended, by the general lane, with a budget and a time-out of its own. So it costs a client nothing:
 * nobody waits for it, its answer is read and dropped, and a canary that hangs holds up a bounded number of copies and no request. What
 * it comes to is counted as events of the canary and is never evidence: no slice, no health, no ejection, no rescue. The
 * copy says `X-Sluice-Mirror: 1`; cookies and credentials go along as they are, for the canary must see what stable saw.
 */

import { Readable } from "node:stream";
import type { MirrorConfig } from "../config/schema.ts";
import { isGrpcIn } from "../domain/grpc.ts";
import { BUCKETS, type Arm } from "../domain/split.ts";
import type { Dice } from "../engine/ports.ts";
import type { RouteSplit } from "../engine/routing.ts";
import type { BodySink, Outgoing, StreamAttempt, StreamBody } from "./general/sender.ts";
import type { FieldedHead } from "./headers.ts";
import { INFORMATIONAL_MAX, type AttemptEvents, type Copied } from "./lane.ts";
import type { ArmMeter } from "./measure.ts";
import { IDEMPOTENT } from "./request.ts";
import type { Route, Surroundings } from "./route.ts";

/** Name and value of the field by which a copy is known. */
const MARK = "x-sluice-mirror";
/** Written anew for the copy, whose body is whole. */
const REPLACED: ReadonlySet<string> = new Set([MARK, "content-length", "transfer-encoding", "connection"]);
/** Of a copy's answer so much is read; behind it the connection is given up. */
const ANSWER_BYTES = 1024 * 1024;

/** The copying of one route. What is in flight is handed on over reloads. */
export class Mirror {
  readonly config: MirrorConfig;
  readonly #load: { inFlight: number };
  readonly #methods: ReadonlySet<string>;
  readonly #names: readonly string[];

  constructor(config: MirrorConfig, before: Mirror | undefined) {
    this.config = config;
    this.#load = before === undefined ? { inFlight: 0 } : before.#load;
    this.#methods = new Set(config.methods);
    this.#names = config.compare.map((name) => name.toLowerCase());
  }

  /** Copies in flight. */
  get inFlight(): number {
    return this.#load.inFlight;
  }

  /** Whether this request is to be copied, as far as that is known when it begins. */
  wants(
    split: RouteSplit,
    choice: { readonly arm: Arm; readonly forced: boolean },
    method: string,
    dice: Dice,
  ): boolean {
    return (
      split.weight === 0 &&
      split.forcedCanary &&
      choice.arm === "stable" &&
      !choice.forced &&
      this.#methods.has(method) &&
      dice.random() * BUCKETS < this.config.share
    );
  }

  /** What is to be copied when it has been answered. */
  begin(): Original {
    return new Original(this);
  }

  /** Takes a place among the copies in flight; false when there is none. */
  take(): boolean {
    if (this.#load.inFlight >= this.config.concurrency) return false;
    this.#load.inFlight++;
    return true;
  }

  /** What these fields say of those that are compared, by name. */
  comparable(fields: readonly string[]): readonly string[] {
    return valuesOf(fields, this.#names);
  }

  /** A copy has ended. */
  release(): void {
    this.#load.inFlight--;
  }
}

/** A request on its way to stable, of which a copy is to follow. */
export class Original {
  readonly #mirror: Mirror;
  #status = 0;
  #values: readonly string[] = [];

  constructor(mirror: Mirror) {
    this.#mirror = mirror;
  }

  /** How much of a body has to be held. */
  get maxBody(): number {
    return this.#mirror.config.maxBody;
  }

  /** What stable answered. @param fields the raw field list of its response */
  answered(status: number, fields: readonly string[]): void {
    this.#status = status;
    this.#values = this.#mirror.comparable(fields);
  }

  /** Sends the copy, now that nobody waits for the original any more. */
  copy(copied: Copied | undefined, route: Route, around: Surroundings): void {
    if (copied === undefined || (copied.body?.length ?? 0) > this.maxBody) return;
    const meter = route.meter.canary;
    if (!this.#mirror.take()) {
      meter.event("mirror_skipped");
      return;
    }
    meter.event("mirror_sent");
    new Copy(this.#mirror, this, route, meter).send(copied, around);
  }

  /** How a copy's answer compares with stable's. */
  compare({ status, fields }: FieldedHead, meter: ArmMeter): void {
    if (status !== this.#status) meter.event("mirror_status_differs");
    const values = this.#mirror.comparable(fields);
    if (values.some((value, index) => value !== this.#values[index])) meter.event("mirror_fields_differ");
  }
}

/** Everything that fields of these names say, by name; repeated ones joined. */
function valuesOf(fields: readonly string[], names: readonly string[]): string[] {
  const values = names.map(() => "");
  for (let at = 0; at < fields.length; at += 2) {
    const index = names.indexOf((fields[at] ?? "").toLowerCase());
    if (index < 0) continue;
    const before = values[index] ?? "";
    const value = fields[at + 1] ?? "";
    values[index] = before === "" ? value : `${before}, ${value}`;
  }
  return values;
}

/** One copy on its way; nobody's downstream. */
class Copy implements AttemptEvents<FieldedHead>, BodySink {
  readonly #mirror: Mirror;
  readonly #original: Original;
  readonly #route: Route;
  readonly #meter: ArmMeter;
  #attempt: StreamAttempt | undefined = undefined;
  #timer: NodeJS.Timeout | undefined = undefined;
  #head: FieldedHead | undefined = undefined;
  #informational = 0;
  #bytes = 0;
  #hasEnded = false;

  constructor(mirror: Mirror, original: Original, route: Route, meter: ArmMeter) {
    this.#mirror = mirror;
    this.#original = original;
    this.#route = route;
    this.#meter = meter;
  }

  send(copied: Copied, around: Surroundings): void {
    const { method, target, scheme, body, isHttp2 } = copied;
    const outgoing: Outgoing = {
      method,
      target,
      scheme,
      fields: fieldsFor(copied),
      body: body === undefined || body.length === 0 ? undefined : new WholeBody(body),
      retryable: IDEMPOTENT.has(method),
      isHttp2,
      timeouts: this.#route.timeouts,
      sink: this,
    };
    const { timeout } = this.#mirror.config;
    this.#timer = setTimeout(onTimeout, timeout, this);
    this.#timer.unref();
    const endpoint = this.#route.canary.pick(around.clock.mono());
    this.#attempt = endpoint.general(isHttp2).send(outgoing, this);
  }

  // ── What comes back ──

  onSent(): void {
    // nobody's latency
  }

  /** A kept connection that was lost says nothing about the canary; an attempt asks once. */
  mayRetry(): boolean {
    return true;
  }

  onInformational(head: FieldedHead): void {
    if (++this.#informational > INFORMATIONAL_MAX || head.status === 101) this.#giveUp("mirror_failed");
  }

  onHead(head: FieldedHead): void {
    if (head.malformed !== "") {
      this.#giveUp("mirror_failed");
      return;
    }
    this.#head = head;
    this.#original.compare(head, this.#meter);
  }

  write(chunk: Buffer): boolean {
    this.#bytes += chunk.length;
    if (this.#bytes > ANSWER_BYTES) this.#giveUp(this.#verdict(-1));
    return true;
  }

  trailers(): void {
    // dropped
  }

  onEnd(grpcStatus: number): void {
    this.#end(this.#verdict(grpcStatus));
  }

  onFailed(): void {
    this.#end("mirror_failed");
  }

  /** The time is over. A stream that is still open by then was answered. */
  onTimeout(): void {
    this.#giveUp(this.#head?.isStream === true ? this.#verdict(-1) : "mirror_failed");
  }

  #verdict(grpcStatus: number): "mirror_answered" | "mirror_failed" {
    const head = this.#head;
    if (head === undefined || head.status >= 500) return "mirror_failed";
    const failed = isGrpcIn(this.#route.grpcFailing, Math.max(grpcStatus, head.grpcStatus));
    return failed ? "mirror_failed" : "mirror_answered";
  }

  #giveUp(verdict: "mirror_answered" | "mirror_failed"): void {
    if (this.#hasEnded) return;
    this.#end(verdict);
    // It may be in the middle of a call of its own.
    process.nextTick(abort, this);
  }

  /** Stops the attempt. */
  abort(): void {
    this.#attempt?.abort();
  }

  #end(verdict: "mirror_answered" | "mirror_failed"): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    clearTimeout(this.#timer);
    this.#mirror.release();
    this.#meter.event(verdict);
  }
}

function onTimeout(copy: Copy): void {
  copy.onTimeout();
}

function abort(copy: Copy): void {
  copy.abort();
}

/** What was sent to stable, with the mark and a length of its own. */
function fieldsFor({ fields, body }: Copied): string[] {
  const out: string[] = [];
  for (let at = 0; at < fields.length; at += 2) {
    const name = fields[at] ?? "";
    if (!REPLACED.has(name.toLowerCase())) out.push(name, fields[at + 1] ?? "");
  }
  out.push(MARK, "1");
  if (body !== undefined) out.push("content-length", String(body.length));
  return out;
}

/** A body that is all here. */
class WholeBody implements StreamBody {
  readonly #bytes: Buffer;
  readonly isHeld = true;
  readonly isWaiting = false;
  readonly trailers: readonly string[] = [];

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  open(): Readable {
    return Readable.from([this.#bytes]);
  }
}
