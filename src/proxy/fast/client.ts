/**
 * One client connection in the fast lane, and the exchange whose turn it is: `Downstream`, request and view in one object, made once per
 * connection, so that an exchange in steady state allocates next to nothing.
 *
 * One exchange at a time; what a client sends ahead is held within a bound. The moment a head is not strictly plain, the connection and
 * its unread bytes go to the general lane for the rest of its life. A client that closes its side while it waits has left, as with nginx:
 * a close and a half-close look the same.
 */

import type { Socket } from "node:net";
import type { ErrorCode } from "../../domain/errors.ts";
import { millis, type Millis } from "../../domain/units.ts";
import { CLOSES, ownAnswer, rawAnswer, wholeAnswer, type OwnAnswer } from "../answer.ts";
import type { Exchange } from "../exchange.ts";
import type { Peer, TraceFields } from "../forwarding.ts";
import { RETIRE_IDLE_MS, type Attempt, type AttemptEvents, type Copied, type Downstream } from "../lane.ts";
import type { Limits } from "../listener.ts";
import { Pace } from "../pace.ts";
import type { Endpoint } from "../pool.ts";
import type { Route } from "../route.ts";
import type { FastAttempt, Request } from "./attempt.ts";
import { isEnough, kept } from "./ahead.ts";
import { FastBody, type BodyOwner } from "./body.ts";
import { dateLineAt, fieldsOfHead, fieldsOfText, type FastHead } from "./head.ts";
import { isForeign } from "./foreign.ts";
import { Intake, type Taker } from "./intake.ts";
import type { FastLane } from "./lane.ts";
import { outgoingHead, OwnLines } from "./outgoing.ts";
import { EMPTY, PlainRequest, SCAN } from "./request.ts";
import { Response } from "./response.ts";
import { MORE, PLAIN, scanRequest } from "./scan.ts";

/** After a refusal the client's bytes are still read for so long, or a reset would erase the answer before it is read. */
const LINGER_MS = 1000;
const DISCARD_MS = 2000;
const NOTHING: Attempt = { abort: () => undefined, discard: () => undefined };
const NO_TIMEOUTS = { connect: millis(0), headers: millis(0), idle: millis(0), stream: millis(0) };

/** `answered`: the answer is written, the request not read to its end. `deaf`: nothing more is heard. `handed`: somebody else's. */
type Phase = "head" | "exchange" | "answered" | "deaf" | "gone" | "handed";

/** One connection. */
export class FastClient extends PlainRequest implements Downstream<FastHead>, Request, BodyOwner, Taker {
  readonly #lane: FastLane;
  readonly #intake: Intake;
  readonly socket: Socket;
  readonly proto: "http" | "https";
  readonly version = "1.1";
  exchange: Exchange<FastHead> | undefined = undefined;
  isRetiring = false;
  #phase: Phase = "head";
  /** Bytes that nobody has looked at yet. */
  #rest: Buffer | undefined = undefined;
  #isRunning = false;
  #isPaused = false;
  #isFresh = true;
  /** Requests begun here. */
  #served = 0;

  // The request whose turn it is.
  startedAt: Millis = millis(0);
  body: FastBody | undefined = undefined;
  text = "";
  retryable = false;
  timeouts: Request["timeouts"] = NO_TIMEOUTS;
  #to = 0;
  #bodyFrom = 0;
  #bodyTo = 0;
  #isOwn = false;
  #closes = false;
  #fault: readonly [number, string] | undefined = undefined;
  #attempt: FastAttempt | undefined = undefined;
  /** Of a sampled trace. */
  #trace: TraceFields | undefined = undefined;
  #sends = 0;

  readonly #response: Response;
  readonly #own = new OwnLines();

  /** @param isUntouched nothing was read from the socket */
  constructor(accepted: Socket, peer: Peer, proto: "http" | "https", lane: FastLane, isUntouched: boolean) {
    super(peer);
    this.#lane = lane;
    this.proto = proto;
    this.#intake = new Intake(accepted, lane.handles.reads && isUntouched, this);
    const { socket } = this.#intake;
    this.socket = socket;
    this.#response = new Response(socket, lane.handles.writes, proto === "https", () =>
      this.#attempt?.resume(),
    );
    socket.on("error", ignore);
    socket.on("end", () => this.#ended());
    socket.on("close", () => this.#closed());
    socket.on("timeout", () => {
      if (this.#phase !== "handed") this.#response.waited(this.#limits.body.idleMs);
    });
    lane.wheel.set(this, this.#limits.headTimeMs);
    socket.resume();
  }

  get #limits(): Limits {
    return this.#lane.reception.limits();
  }

  // ── Bytes in ──

  onBytes(bytes: Buffer, from: number, to: number, isOwn: boolean): void {
    switch (this.#phase) {
      case "head":
        if (this.#rest === undefined) this.#run(bytes, from, to, isOwn, true);
        else this.#runRest(Buffer.concat([this.#rest, bytes.subarray(from, to)]), false);
        break;
      case "exchange":
      case "answered":
        if (this.body === undefined || this.body.isComplete) this.#ahead(bytes, from, to);
        else this.#takeBody(bytes, from, to, isOwn);
        break;
      default:
    }
  }

  #runRest(rest: Buffer, begins: boolean): void {
    this.#rest = undefined;
    this.#run(rest, 0, rest.length, true, begins);
  }

  /** Serves what is whole of these bytes, one exchange after the other. @param begins whether a head begins with them, so that its clock does */
  #run(bytes: Buffer, from: number, to: number, isOwn: boolean, begins: boolean): void {
    this.#isRunning = true;
    let next = this.#serve(bytes, from, to, isOwn, begins);
    // An exchange that was answered at once leaves its successor in `#rest`.
    while (next && this.#phase === "head" && this.#rest !== undefined) {
      const rest: Buffer = this.#rest;
      this.#rest = undefined;
      next = this.#serve(rest, 0, rest.length, true, true);
    }
    this.#isRunning = false;
  }

  /** Scans one head and begins its exchange. False: there is nothing to go on with. */
  #serve(bytes: Buffer, from: number, to: number, isOwn: boolean, begins: boolean): boolean {
    const limits = this.#limits;
    const verdict = scanRequest(bytes, from, to, limits.head, SCAN);
    if (verdict === PLAIN) {
      this.#begin(bytes, from, to, isOwn, limits);
      return true;
    }
    if (verdict === MORE) {
      // Once a head, whatever arrives of it later. The first one's clock runs since the connection came.
      if (begins && (!this.#isFresh || this.isRetiring)) this.#lane.wheel.set(this, limits.headTimeMs);
      this.#rest = Buffer.from(bytes.subarray(from, to));
      return false;
    }
    if (isForeign(bytes, from, to)) this.#refuseHead(400, "the request is not HTTP");
    else this.#handOver(bytes, from, to);
    return false;
  }

  #refuseHead(status: number, detail: string): void {
    // That the request before was a HEAD says nothing about this one.
    this.isHead = false;
    this.#lane.reception.meter.refused(status);
    this.refuse(status, "SPLIT_REQUEST_REFUSED", detail);
  }

  #handOver(bytes: Buffer, from: number, to: number): void {
    this.#phase = "handed";
    this.#lane.wheel.remove(this);
    const first = Buffer.from(bytes.subarray(from, to));
    const socket = this.#intake.release(bytes, from, to);
    this.#lane.left(this, false);
    this.#lane.handOver(socket, this.peer, first, this.#served);
  }

  /** What was read of the present request, and all behind it, goes along; nothing of it was sent yet. */
  leaveLane(): boolean {
    this.body = undefined;
    this.#rest = undefined;
    this.#served--;
    this.#handOver(this.bytes, this.from, this.#to);
    return true;
  }

  #begin(bytes: Buffer, from: number, to: number, isOwn: boolean, limits: Limits): void {
    const { reception } = this.#lane;
    this.startedAt = reception.clock.mono();
    this.#phase = "exchange";
    this.#isFresh = false;
    this.#lane.wheel.clear(this);
    this.#to = to;
    this.#isOwn = isOwn;
    this.#closes = SCAN.closes || ++this.#served >= limits.requests;
    this.scanned(bytes, from, limits);
    this.text = "";
    this.#trace = undefined;
    const { end } = SCAN;
    if (SCAN.chunked || SCAN.length > 0) {
      this.body = new FastBody(this, SCAN.chunked ? -1 : SCAN.length, limits.body.max, limits.head.head);
      this.#bodyFrom = end;
      this.#bodyTo = to;
    } else {
      this.body = undefined;
      if (end < to) this.#ahead(bytes, end, to);
    }
    reception.exchange(this);
    this.bytes = EMPTY;
    // A body that nobody asked for was answered without it.
    this.#bodyTo = 0;
    if (this.#fault === undefined) return;
    const [status, detail] = this.#fault;
    this.#fault = undefined;
    this.exchange?.onDownstreamFault(status, detail);
  }

  /** Holds what came before its turn. */
  #ahead(bytes: Buffer, from: number, to: number): void {
    const rest = kept(this.#rest, bytes.subarray(from, to));
    this.#rest = rest;
    if (isEnough(rest, this.#limits.pipeline)) this.#pause(true);
  }

  #pause(wanted: boolean): void {
    if (wanted === this.#isPaused) return;
    this.#isPaused = wanted;
    if (wanted) this.socket.pause();
    else this.socket.resume();
  }

  // ── The request's body ──

  #takeBody(bytes: Buffer, from: number, to: number, isOwn: boolean): void {
    const { body } = this;
    if (body === undefined) return;
    const end = body.take(bytes, from, to, isOwn);
    if (!body.isComplete) {
      if (body.isWaiting && !body.isDiscarding) this.#lane.wheel.set(this, this.#limits.body.idleMs);
      return;
    }
    this.#intake.share(this.#attempt?.isUploading !== true);
    this.#lane.wheel.clear(this);
    // Nobody waits for more of it: what is read from here on is the next request, or that the client has left.
    this.#pause(false);
    if (end < to) this.#ahead(bytes, end, to);
    if (this.#phase === "answered") this.#next();
  }

  /** Nobody asked for the body: as much of it as came with the head is dropped, and with all of it the connection can be kept. */
  #dropBody(): void {
    const to = this.#bodyTo;
    this.#bodyTo = 0;
    this.body?.discard();
    this.#takeBody(this.bytes, this.#bodyFrom, to, this.#isOwn);
  }

  bodyFault(status: number, detail: string): void {
    if (this.exchange === undefined || this.#bodyTo > 0) this.#fault = [status, detail];
    else if (this.#phase === "exchange") this.exchange.onDownstreamFault(status, detail);
    else this.socket.destroy();
  }

  pace(): Pace | undefined {
    const { bodyRate } = this.#limits;
    return bodyRate > 0 ? new Pace(this.#lane.reception.clock, bodyRate) : undefined;
  }

  readBody(wanted: boolean): void {
    this.#pause(!wanted);
    if (this.body?.isDiscarding === true) this.#lane.wheel.set(this, DISCARD_MS);
    else if (wanted) this.#lane.wheel.set(this, this.#limits.body.idleMs);
    else this.#lane.wheel.clear(this);
  }

  // ── Sending ──

  get parent(): string | undefined {
    return SCAN.find(this.bytes, "traceparent") < 0 ? undefined : this.header("traceparent");
  }

  trace(parent: string, keepsState: boolean): void {
    // Sent before: of the text only this differs, and no client knows it.
    if (this.#trace !== undefined) this.text = this.text.replace(this.#trace.parent, parent);
    this.#trace = { parent, keepsState };
  }

  send(route: Route, endpoint: Endpoint, retryable: boolean, events: AttemptEvents<FastHead>): Attempt {
    if (this.text === "") {
      const { host, origin, proto } = this;
      const own = this.#own.of(origin, host, proto, this.head);
      const { dice } = this.#lane.reception;
      const drop = route.override.header;
      const { trusted } = origin;
      const { bytes, from, head } = this;
      this.text = outgoingHead(SCAN, bytes, from, head, host, drop, own, trusted, dice, this.#trace);
      this.retryable = retryable;
      this.timeouts = route.timeouts;
      if (this.#bodyTo > 0) {
        const to = this.#bodyTo;
        this.#takeBody(this.bytes, this.#bodyFrom, to, this.#isOwn);
        this.#bodyTo = 0;
        if (this.#fault !== undefined) return NOTHING;
        if (this.body?.isComplete === false) this.#intake.own();
      }
    }
    const nth = ++this.#sends;
    const attempt = endpoint.fast.send(this, events);
    // It may have failed, and been rescued, before `send` returned: the rescue is the present attempt then.
    if (nth === this.#sends) this.#attempt = attempt;
    return attempt;
  }

  // ── Downstream ──

  informational(head: FastHead): void {
    this.#response.informational(head);
    this.flush();
  }

  respond(head: FastHead, cookie: string): boolean {
    if (this.#isLast) this.#closes = true;
    this.#response.head(head, cookie, this.#closes, this.#lane.reception.clock.wall());
    return true;
  }

  takeBack(): boolean {
    return this.#response.takeBack();
  }

  write(bytes: Buffer, from: number, to: number): void {
    this.#response.write(bytes, from, to);
  }

  flush(): boolean {
    return this.#response.flush(this.#limits.body.idleMs);
  }

  get isStalled(): boolean {
    return this.#response.isPending;
  }

  end(): void {
    this.#response.end();
    this.#over();
  }

  fieldsOf(head: FastHead): readonly string[] {
    return fieldsOfHead(head);
  }

  /** The very text that went upstream; the view's own head is still that of this request. */
  copy(): Copied | undefined {
    const { method, target, proto, body, text } = this;
    const whole = body?.copy();
    if (body !== undefined && whole === undefined) return undefined;
    return { method, target, scheme: proto, fields: fieldsOfText(text), body: whole, isHttp2: false };
  }

  cut(): void {
    this.#phase = "gone";
    this.socket.destroy();
  }

  answer(status: number, code: ErrorCode, detail: string, cookie: string): void {
    this.give(status, ownAnswer(status, code, detail, cookie));
  }

  give(status: number, own: OwnAnswer): void {
    if (this.#response.hasHead) {
      this.cut();
      return;
    }
    if (this.#bodyTo > 0) this.#dropBody();
    if (this.body?.isComplete === false) {
      this.#end(status, own);
      return;
    }
    if (this.#isLast) this.#closes = true;
    const more = `${dateLineAt(this.#lane.reception.clock.wall())}${this.#closes ? CLOSES : ""}`;
    this.#response.append(wholeAnswer(own, status, more, !this.isHead));
    this.#over();
  }

  refuse(status: number, code: ErrorCode, detail: string): void {
    this.#end(status, ownAnswer(status, code, detail, ""));
  }

  /** Answers, and ends the connection. */
  #end(status: number, own: OwnAnswer): void {
    if (this.#response.hasHead || !this.socket.writable) this.cut();
    else {
      this.exchange = undefined;
      this.#attempt = undefined;
      this.#rest = undefined;
      this.#deafen(rawAnswer(status, own, !this.isHead));
    }
  }

  // ── Ends ──

  /** Nothing more is served behind the present answer: the process is going away, and no request was sent ahead. */
  get #isLast(): boolean {
    return this.isRetiring && this.#rest === undefined;
  }

  /** The process is going away: what was sent until now is served, and no more. */
  retire(): void {
    this.isRetiring = true;
    if (this.#phase === "head" && this.#rest === undefined) this.#lane.wheel.set(this, RETIRE_IDLE_MS);
  }

  /** Whether an answer is pending. */
  get isBusy(): boolean {
    return this.#phase === "exchange" || this.#phase === "answered";
  }

  onDue(): void {
    if (this.#phase === "head" && this.isRetiring && this.#rest === undefined) this.socket.destroySoon();
    else if (this.#phase === "head" && (this.#isFresh || this.#rest !== undefined)) {
      this.#refuseHead(408, "the request head took too long");
    } else if (this.#phase === "exchange" && this.body?.isWaiting === true && !this.body.isDiscarding)
      this.exchange?.onDownstreamFault(408, "the request body stopped");
    else this.socket.destroy();
  }

  /** The answer is written; goes on with the next request when the present one is read to its end. */
  #over(): void {
    this.exchange = undefined;
    this.#attempt = undefined;
    this.flush();
    if (this.body?.isComplete === false) this.#phase = "answered";
    else this.#next();
  }

  #next(): void {
    this.body = undefined;
    if (this.#closes) {
      this.#rest = undefined;
      this.#deafen(EMPTY);
      return;
    }
    this.#phase = "head";
    this.#response.reset();
    // An answer whose head went out before the process began to go away did not say that it was the last.
    this.#lane.wheel.set(this, this.isRetiring ? RETIRE_IDLE_MS : this.#limits.keepAliveMs);
    this.#pause(false);
    if (this.#rest === undefined || this.#isRunning) return;
    this.#runRest(this.#rest, true);
  }

  /** Ends this side, and reads and drops what still comes, for a short time after the client has taken the answer. */
  #deafen(last: Buffer): void {
    this.#phase = "deaf";
    this.#intake.share(false);
    this.#pause(false);
    this.#lane.wheel.clear(this);
    // A client that takes its time is given it, as long as it takes anything.
    this.socket.setTimeout(this.#limits.body.idleMs);
    this.socket.once("finish", () => this.#linger());
    this.socket.end(last);
  }

  #linger(): void {
    if (this.#phase === "deaf") this.#lane.wheel.set(this, LINGER_MS);
  }

  #ended(): void {
    switch (this.#phase) {
      case "head":
        if (this.#rest === undefined) this.socket.end();
        else this.#refuseHead(400, "the request is not HTTP");
        break;
      case "exchange":
        this.exchange?.onDownstreamGone();
        break;
      case "answered":
        this.socket.end();
        break;
      case "handed":
        break;
      default:
        this.socket.destroy();
    }
  }

  #closed(): void {
    if (this.#phase === "handed") return;
    this.#lane.wheel.remove(this);
    this.#intake.share(false);
    this.#phase = "gone";
    this.exchange?.onDownstreamGone();
    this.exchange = undefined;
    this.#lane.left(this, true);
  }
}

function ignore(): void {
  // what follows from it is told by `close`
}
