/** What one exchange is told as when it is over: access logs and traces are made of it. Data only, which passes between threads. */

import type { Reason } from "./outcome.ts";
import type { Arm } from "./split.ts";

/** Why a request went where it went: by its key, by a throw of the dice or a new key, by an override, or because the canary had failed. */
export type Why = "sticky" | "anonymous" | "forced" | "rescue";

/** One exchange. Nothing in it is a raw key, nor a query. */
export interface Account {
  readonly route: string;
  /** The arm that was chosen. */
  readonly arm: Arm;
  readonly why: Why;
  /** Bucket of its key; −1: it had none. */
  readonly bucket: number;
  /** Hash of its key; empty: it had none. */
  readonly keyHash: string;
  readonly method: string;
  /** Without its query. */
  readonly path: string;
  /** What the first arm made of it. */
  readonly reason: Reason;
  /** 0: it gave no answer. */
  readonly status: number;
  /** Request sent → response head, milliseconds; −1: there was no head. */
  readonly latencyMs: number;
  /** When its head was read: milliseconds since the epoch, with a fraction. */
  readonly startedAt: number;
  /** From there until it counted for its arm, milliseconds. */
  readonly settledMs: number;
  /** From there until it was over. */
  readonly totalMs: number;
  /** Stable was asked after the canary had failed. */
  readonly rescued: boolean;
  /** The status that the client got, or would have got. */
  readonly answered: number;
  /** How it ended for the client. */
  readonly ended: Reason;
  /** The access log has it. */
  readonly isLogged: boolean;
  /** W3C trace id, its own or the caller's; empty: none. */
  readonly traceId: string;
  /** Undefined: its trace is not sampled. */
  readonly trace: TracedAccount | undefined;
}

/** What a trace tells beside. */
export interface TracedAccount {
  readonly spanId: string;
  /** Span of whoever asked; empty: the trace begins here. */
  readonly parentId: string;
  /** The caller's `tracestate`; empty: none. */
  readonly state: string;
  readonly host: string;
  readonly scheme: "http" | "https";
  readonly version: "1.1" | "2";
  readonly sendings: readonly Sending[];
}

/** One sending of the request to an endpoint. */
export interface Sending {
  readonly spanId: string;
  readonly arm: Arm;
  readonly why: Why;
  /** The endpoint, as the configuration has it. */
  readonly endpoint: string;
  /** Sendings to this arm before. */
  readonly resends: number;
  /** Since the exchange began, milliseconds. */
  readonly fromMs: number;
  readonly toMs: number;
  readonly reason: Reason;
  /** 0: there was no answer. */
  readonly status: number;
}
