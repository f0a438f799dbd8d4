/**
 * What both client sides of the general lane have in common, be it a `node:http` request (`client.ts`) or a stream of HTTP/2 (`../h2/stream.ts`): the
 * request as policy sees it, its sending, and its copy. The answer is each one's own.
 */

import type { Millis } from "../../domain/units.ts";
import type { Dice } from "../../engine/ports.ts";
import { bucketByText } from "../affinity.ts";
import type { Exchange } from "../exchange.ts";
import { retrace, type Origin, type TraceFields } from "../forwarding.ts";
import type { FieldedHead, RequestHead } from "../headers.ts";
import type { Attempt, AttemptEvents, Copied } from "../lane.ts";
import type { Endpoint } from "../pool.ts";
import { fieldOf, type KeySource, type RequestView } from "../request.ts";
import type { Route } from "../route.ts";
import type { ClientBody } from "./body.ts";
import { outgoingFields } from "./outgoing.ts";
import type { BodySink, Outgoing, StreamAttempt } from "./sender.ts";

/** What is known of a request when its turn comes. */
export interface RequestParts {
  readonly method: string;
  readonly head: RequestHead;
  /** The field list as received. */
  readonly fields: readonly string[];
  readonly origin: Origin;
  /** Of the client's certificate. */
  readonly subject: string;
  readonly body: ClientBody | undefined;
  readonly startedAt: Millis;
  readonly proto: "http" | "https";
  readonly version: "1.1" | "2";
  readonly dice: Dice;
}

/** One request, which is its own `RequestView`. */
export abstract class RequestSide implements RequestView, BodySink {
  readonly method: string;
  readonly head: RequestHead;
  readonly fields: readonly string[];
  readonly origin: Origin;
  readonly subject: string;
  readonly body: ClientBody | undefined;
  readonly startedAt: Millis;
  readonly proto: "http" | "https";
  readonly version: "1.1" | "2";
  exchange: Exchange<FieldedHead> | undefined = undefined;
  protected attempt: StreamAttempt | undefined = undefined;
  readonly #dice: Dice;
  #outgoing: (Outgoing & { readonly fields: string[] }) | undefined = undefined;
  #trace: TraceFields | undefined = undefined;
  #sends = 0;

  constructor(parts: RequestParts) {
    this.method = parts.method;
    this.head = parts.head;
    this.fields = parts.fields;
    this.origin = parts.origin;
    this.subject = parts.subject;
    this.body = parts.body;
    this.startedAt = parts.startedAt;
    this.proto = parts.proto;
    this.version = parts.version;
    this.#dice = parts.dice;
  }

  get view(): RequestView {
    return this;
  }

  get host(): string {
    return this.head.host;
  }

  get target(): string {
    return this.head.target;
  }

  get client(): string {
    return this.origin.client;
  }

  /** A head is with the platform as soon as it is told. */
  takeBack(): boolean {
    return false;
  }

  /** There is no other lane. */
  leaveLane(): boolean {
    return false;
  }

  header(name: string): string | undefined {
    return fieldOf(this.fields, name);
  }

  get parent(): string | undefined {
    return this.header("traceparent");
  }

  trace(parent: string, keepsState: boolean): void {
    this.#trace = { parent, keepsState };
    if (this.#outgoing !== undefined) retrace(this.#outgoing.fields, this.#trace);
  }

  bucketOf(sources: readonly KeySource[], salt: string): number {
    return bucketByText(this, sources, salt);
  }

  send(route: Route, endpoint: Endpoint, retryable: boolean, events: AttemptEvents<FieldedHead>): Attempt {
    const isHttp2 = this.version === "2";
    const outgoing = (this.#outgoing ??= {
      method: this.method,
      target: this.head.target,
      scheme: this.proto,
      fields: outgoingFields(this, route.override.header, this.#dice, this.#trace),
      body: this.body,
      retryable,
      isHttp2,
      timeouts: route.timeouts,
      sink: this,
    });
    const nth = ++this.#sends;
    const attempt = endpoint.general(isHttp2).send(outgoing, events);
    // It may have failed, and been rescued, before `send` returned: the rescue is the present attempt then.
    if (nth === this.#sends) this.attempt = attempt;
    return attempt;
  }

  fieldsOf({ fields }: FieldedHead): readonly string[] {
    return fields;
  }

  copy(): Copied | undefined {
    const { body } = this;
    const whole = body?.copy();
    if (this.#outgoing === undefined || (body !== undefined && whole === undefined)) return undefined;
    const { method, target, scheme, fields, isHttp2 } = this.#outgoing;
    return { method, target, scheme, fields, body: whole, isHttp2 };
  }

  abstract write(chunk: Buffer): boolean;
  abstract trailers(fields: readonly string[]): void;
}
