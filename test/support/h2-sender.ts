/** One request sent to an HTTP/2 pool without a client: what the attempt tells is remembered, and the body is taken when the test says so. */

import type { ArmConfig } from "../../src/config/schema.ts";
import { configSchema } from "../../src/config/schema.ts";
import { millis } from "../../src/domain/units.ts";
import type { Failure } from "../../src/proxy/failure.ts";
import type { Outgoing, Sender, StreamAttempt } from "../../src/proxy/general/sender.ts";
import type { FieldedHead } from "../../src/proxy/headers.ts";
import { Dialler, type DialMeans } from "../../src/proxy/dial.ts";
import { Http2Pool } from "../../src/proxy/h2/upstream.ts";
import { placeOf } from "../../src/proxy/h2/upstream-socket.ts";
import { Slots } from "../../src/proxy/slots.ts";

/** A clock that stands still: what is measured by it is no concern here. */
const CLOCK = { mono: () => millis(0), wall: () => 0, every: () => () => undefined };

/** An arm as configured, with defaults. */
function armOf(url: string, more: object = {}): ArmConfig {
  const arm = { endpoints: [url], ...more };
  const { routes } = configSchema.parse({
    listen: [{ address: ":1" }],
    routes: [{ name: "app", stable: arm, canary: arm }],
  });
  // The one route that was configured.
  return routes[0]!.stable;
}

/** A pool for an endpoint that is an address in the clear. */
export function poolFor(url: string, slots: Slots): Http2Pool {
  // No name and no certificate: nobody is asked for any.
  const means = {} as DialMeans;
  const deaf = { dnsFailed: () => undefined, dnsChanged: () => undefined, stale: () => undefined };
  const dialler = new Dialler(url, armOf(url), means, deaf);
  return new Http2Pool({ place: placeOf(dialler), slots, clock: CLOCK, http1: () => undefined });
}

/** What has come of a request. */
export interface Sent {
  readonly attempt: StreamAttempt;
  readonly head: FieldedHead | undefined;
  readonly trailers: readonly string[];
  readonly chunks: readonly Buffer[];
  readonly end: "" | "whole" | Failure;
  readonly grpcStatus: number;
  /** From now on takes `most` more pieces of the body before it says no; asks for more if it had said no. */
  take(most: number): void;
  /** Resolves when this holds, looked at whenever the attempt tells something; rejects after 5 s. */
  until(ready: () => boolean): Promise<void>;
}

const TIMES = { connect: millis(2000), headers: millis(2000), idle: millis(2000), stream: millis(2000) };

/** Sends a request; nothing of its body is refused unless `takes` says so. */
export function sendBy(sender: Sender, more: Partial<Outgoing> = {}, takes = Infinity): Sent {
  let look: () => void = () => undefined;
  let left = takes;
  const chunks: Buffer[] = [];
  const self: { -readonly [K in keyof Sent]: Sent[K] } = {
    // Set below; nothing of it is used before.
    attempt: { abort() {}, discard() {}, resume() {} },
    head: undefined,
    trailers: [],
    chunks,
    end: "",
    grpcStatus: -2,
    take(most) {
      const hadEnough = left <= 0;
      left = most;
      if (hadEnough) self.attempt.resume();
    },
    until: (ready) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(
          () =>
            reject(
              new Error(`never: ${JSON.stringify({ ...self, chunks: chunks.map(({ length }) => length) })}`),
            ),
          5000,
        );
        look = () => {
          if (!ready()) return;
          look = () => undefined;
          clearTimeout(timer);
          resolve();
        };
        look();
      }),
  };
  self.attempt = sender.send(
    {
      method: "GET",
      target: "/",
      scheme: "https",
      fields: ["host", "app.example"],
      body: undefined,
      retryable: true,
      isHttp2: true,
      timeouts: TIMES,
      sink: {
        write(chunk) {
          chunks.push(chunk);
          left--;
          look();
          return left > 0;
        },
        trailers: (fields) => void (self.trailers = fields),
      },
      ...more,
    },
    {
      mayRetry: () => true,
      onSent: () => look(),
      onInformational: () => look(),
      onHead(head) {
        self.head = head;
        look();
      },
      onEnd(status) {
        if (self.end !== "") throw new Error("ended twice");
        self.end = "whole";
        self.grpcStatus = status;
        look();
      },
      onFailed(failure) {
        if (self.end !== "") throw new Error("ended twice");
        self.end = failure;
        look();
      },
    },
  );
  look();
  return self;
}

/** Slots of an endpoint. */
export function slotsOf(more: object = {}): Slots {
  return new Slots(armOf("http://127.0.0.1:1", more));
}
