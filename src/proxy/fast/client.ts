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
import { bucketByText } from "../affinity.ts";
import { linesOf, ownAnswer, rawAnswer, statusLine } from "../answer.ts";
import type { Exchange } from "../exchange.ts";
import { originOf, type Origin } from "../forwarding.ts";
import type { Attempt, AttemptEvents, Downstream } from "../lane.ts";
import type { Limits, Reception } from "../listener.ts";
import type { Endpoint } from "../pool.ts";
import type { KeySource, RequestView } from "../request.ts";
import type { Route } from "../route.ts";
import type { FastAttempt, Request } from "./attempt.ts";
import { FastBody, type BodyOwner } from "./body.ts";
import { fieldOfText, fieldsOfText, type FastHead } from "./head.ts";
import type { Handles } from "./handle.ts";
import { Intake, type Taker } from "./intake.ts";
import { bucketOfScan } from "./key.ts";
import { outgoingHead, OwnLines } from "./outgoing.ts";
import { Response } from "./response.ts";
import { MORE, PLAIN, RequestScan, scanRequest } from "./scan.ts";
import { Timed, type Wheel } from "./wheel.ts";

/** Bytes of further requests that are held while one is answered. */
const AHEAD_BYTES = 64 * 1024;
/** After a refusal the client's bytes are still read for so long, or a reset would erase the answer before it is read. */
const LINGER_MS = 1000;
const DISCARD_MS = 2000;
const EMPTY = Buffer.alloc(0);
const NOTHING: Attempt = { abort: () => undefined, discard: () => undefined };
const NO_TIMEOUTS = { connect: millis(0), headers: millis(0), idle: millis(0) };

/** The one scan of this thread: a head is scanned, routed and sent within one turn. */
const SCAN = new RequestScan();

/** What the lane needs beside the reception. */
export interface FastLane {
  readonly reception: Reception;
  readonly wheel: Wheel;
  readonly handles: Handles;
  /** Takes the connection over for the rest of its life. */
  handOver(socket: Socket): void;
  /** A connection has closed (true), or is about to be handed over. */
  left(client: FastClient, isClosed: boolean): void;
}

/** `answered`: the answer is written, the request not read to its end. `deaf`: nothing more is heard. `handed`: somebody else's. */
type Phase = "head" | "exchange" | "answered" | "deaf" | "gone" | "handed";

/** One connection. */
export class FastClient
  extends Timed
  implements Downstream<FastHead>, RequestView, Request, BodyOwner, Taker
{
  readonly #lane: FastLane;
  readonly #intake: Intake;
  readonly socket: Socket;
  readonly #peer: string;
  readonly proto: "http" | "https";
  exchange: Exchange<FastHead> | undefined = undefined;
  isRetiring = false;
  #phase: Phase = "head";
  /** Bytes that nobody has looked at yet. */
  #rest: Buffer | undefined = undefined;
  #isRunning = false;
  #isPaused = false;
  #isFresh = true;

  // The request whose turn it is.
  method: string = "GET";
  target = "";
  host = "";
  startedAt: Millis = millis(0);
  body: FastBody | undefined = undefined;
  text = "";
  isHead = false;
  retryable = false;
  timeouts: Request["timeouts"] = NO_TIMEOUTS;
  origin: Origin;
  #head = "";
  #bytes: Buffer = EMPTY;
  #from = 0;
  #bodyFrom = 0;
  #bodyTo = 0;
  #isOwn = false;
  #closes = false;
  #fault: readonly [number, string] | undefined = undefined;
  #attempt: FastAttempt | undefined = undefined;
  #sends = 0;

  readonly #response: Response;
  readonly #own = new OwnLines();

  constructor(accepted: Socket, peer: string, proto: "http" | "https", lane: FastLane) {
    super();
    this.#lane = lane;
    this.#peer = peer;
    this.proto = proto;
    this.origin = { peer, trusted: false, client: peer };
    this.#intake = new Intake(accepted, lane.handles.reads && proto === "http", this);
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

  // ── RequestView ──

  get view(): RequestView {
    return this;
  }

  get client(): string {
    return this.origin.client;
  }

  header(name: string): string | undefined {
    return fieldOfText(this.#head, name);
  }

  bucketOf(sources: readonly KeySource[], salt: string): number {
    const quick = bucketOfScan(SCAN, this.#bytes, sources, salt);
    return quick === undefined ? bucketByText(this, sources, salt) : quick;
  }

  // ── Bytes in ──

  onBytes(bytes: Buffer, from: number, to: number, isOwn: boolean): void {
    switch (this.#phase) {
      case "head":
        if (this.#rest === undefined) this.#run(bytes, from, to, isOwn);
        else this.#runRest(Buffer.concat([this.#rest, bytes.subarray(from, to)]));
        break;
      case "exchange":
      case "answered":
        if (this.body === undefined || this.body.isComplete) this.#ahead(bytes, from, to);
        else this.#takeBody(bytes, from, to, isOwn);
        break;
      default:
    }
  }

  #runRest(rest: Buffer): void {
    this.#rest = undefined;
    this.#run(rest, 0, rest.length, true);
  }

  /** Serves what is whole of these bytes, one exchange after the other. */
  #run(bytes: Buffer, from: number, to: number, isOwn: boolean): void {
    this.#isRunning = true;
    let next = this.#serve(bytes, from, to, isOwn);
    // An exchange that was answered at once leaves its successor in `#rest`.
    while (next && this.#phase === "head" && this.#rest !== undefined) {
      const rest: Buffer = this.#rest;
      this.#rest = undefined;
      next = this.#serve(rest, 0, rest.length, true);
    }
    this.#isRunning = false;
  }

  /** Scans one head and begins its exchange. False: there is nothing to go on with. */
  #serve(bytes: Buffer, from: number, to: number, isOwn: boolean): boolean {
    const limits = this.#limits;
    const verdict = scanRequest(bytes, from, to, limits.head, SCAN);
    if (verdict === PLAIN) {
      this.#begin(bytes, from, to, isOwn, limits);
      return true;
    }
    if (verdict === MORE) {
      if (this.#rest === undefined && from < to) this.#lane.wheel.set(this, limits.headTimeMs);
      this.#rest = Buffer.from(bytes.subarray(from, to));
      return false;
    }
    this.#phase = "handed";
    this.#lane.wheel.remove(this);
    const socket = this.#intake.release(bytes, from, to);
    this.#lane.left(this, false);
    this.#lane.handOver(socket);
    return false;
  }

  #begin(bytes: Buffer, from: number, to: number, isOwn: boolean, limits: Limits): void {
    const { reception } = this.#lane;
    this.startedAt = reception.clock.mono();
    this.#phase = "exchange";
    this.#isFresh = false;
    this.#lane.wheel.clear(this);
    this.#bytes = bytes;
    this.#from = from;
    this.#isOwn = isOwn;
    this.#closes = SCAN.closes;
    this.#head = bytes.toString("latin1", from, SCAN.end);
    this.method = SCAN.method;
    this.isHead = SCAN.method === "HEAD";
    this.target = this.#head.slice(SCAN.targetFrom - from, SCAN.targetTo - from);
    this.host = hostAt(bytes, SCAN.hostFrom, SCAN.hostTo, this.host);
    this.text = "";
    this.#response.reset();
    if (limits.anyTrusted) this.origin = originOf(this.#peer, fieldsOfText(this.#head), limits.trusted, true);
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
    this.#bytes = EMPTY;
    // A body that nobody asked for was answered without it.
    this.#bodyTo = 0;
    if (this.#fault === undefined) return;
    const [status, detail] = this.#fault;
    this.#fault = undefined;
    this.exchange?.onDownstreamFault(status, detail);
  }

  /** Holds what came before its turn. */
  #ahead(bytes: Buffer, from: number, to: number): void {
    const more = bytes.subarray(from, to);
    this.#rest = this.#rest === undefined ? Buffer.from(more) : Buffer.concat([this.#rest, more]);
    if (this.#rest.length > AHEAD_BYTES) this.#pause(true);
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
    if (end < to) this.#ahead(bytes, end, to);
    if (this.#phase === "answered") this.#next();
  }

  bodyFault(status: number, detail: string): void {
    if (this.exchange === undefined || this.#bodyTo > 0) this.#fault = [status, detail];
    else if (this.#phase === "exchange") this.exchange.onDownstreamFault(status, detail);
    else this.socket.destroy();
  }

  readBody(wanted: boolean): void {
    this.#pause(!wanted);
    if (this.body?.isDiscarding === true) this.#lane.wheel.set(this, DISCARD_MS);
    else if (wanted) this.#lane.wheel.set(this, this.#limits.body.idleMs);
    else this.#lane.wheel.clear(this);
  }

  // ── Sending ──

  send(route: Route, endpoint: Endpoint, retryable: boolean, events: AttemptEvents<FastHead>): Attempt {
    if (this.text === "") {
      const { host, origin, proto } = this;
      const own = this.#own.of(origin, host, proto, this.#head);
      const { dice } = this.#lane.reception;
      const drop = route.override.header;
      this.text = outgoingHead(SCAN, this.#bytes, this.#from, this.#head, host, drop, own, dice);
      this.retryable = retryable;
      this.timeouts = route.config.timeouts;
      if (this.#bodyTo > 0) {
        const to = this.#bodyTo;
        this.#takeBody(this.#bytes, this.#bodyFrom, to, this.#isOwn);
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
    if (this.isRetiring) this.#closes = true;
    this.#response.head(head, cookie, this.#closes, this.#lane.reception.clock.wall());
    return true;
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

  cut(): void {
    this.#phase = "gone";
    this.socket.destroy();
  }

  answer(status: number, code: ErrorCode, detail: string, cookie: string): void {
    if (this.#response.hasHead) {
      this.cut();
      return;
    }
    if (this.body?.isComplete === false) {
      this.refuse(status, code, detail);
      return;
    }
    const { fields, body } = ownAnswer(status, code, detail, cookie);
    fields.push("date", new Date(this.#lane.reception.clock.wall()).toUTCString());
    if (this.isRetiring) this.#closes = true;
    if (this.#closes) fields.push("connection", "close");
    const head = Buffer.from(`${statusLine(status)}${linesOf(fields)}\r\n`, "latin1");
    this.#response.append(this.isHead ? head : Buffer.concat([head, body]));
    this.#over();
  }

  refuse(status: number, code: ErrorCode, detail: string): void {
    if (this.#response.hasHead || !this.socket.writable) this.cut();
    else {
      this.exchange = undefined;
      this.#attempt = undefined;
      this.#rest = undefined;
      this.#deafen(rawAnswer(status, code, detail, !this.isHead));
    }
  }

  // ── Ends ──

  /** The process is going away: the present answer is the last. */
  retire(): void {
    this.isRetiring = true;
    if (this.#phase === "head") this.socket.destroySoon();
  }

  /** Whether an answer is pending. */
  get isBusy(): boolean {
    return this.#phase === "exchange" || this.#phase === "answered";
  }

  onDue(): void {
    if (this.#phase === "head" && (this.#isFresh || this.#rest !== undefined)) {
      this.#lane.reception.meter.refused(408);
      this.refuse(408, "SPLIT_REQUEST_REFUSED", "the request head took too long");
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
    this.#lane.wheel.set(this, this.#limits.keepAliveMs);
    this.#pause(false);
    if (this.#rest === undefined || this.#isRunning) return;
    this.#runRest(this.#rest);
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
        else {
          this.#lane.reception.meter.refused(400);
          this.refuse(400, "SPLIT_REQUEST_REFUSED", "the request is not HTTP");
        }
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

/** The text at `from`…`to`: `before`, when it is the same, so that a client's usual host is one string. */
function hostAt(bytes: Buffer, from: number, to: number, before: string): string {
  if (before.length !== to - from) return bytes.toString("latin1", from, to);
  for (let at = 0; at < before.length; at++)
    if (bytes[from + at] !== before.charCodeAt(at)) return bytes.toString("latin1", from, to);
  return before;
}

function ignore(): void {
  // what follows from it is told by `close`
}
