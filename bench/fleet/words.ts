/** What the benchmark and the processes with simulated replicas say to each other: a line of JSON each, an answer for each order. */

import type { Receipt, Told } from "./replica.ts";

/** An order. */
export type Order =
  /** How the replicas stand. */
  | { readonly do: "look" }
  /** They measure from now on, or no more. */
  | { readonly do: "measure"; readonly on: boolean }
  /** What was measured and published so far. */
  | { readonly do: "count" }
  /** What was received since the last time this was asked. */
  | { readonly do: "receive" };

/** What a process is started with. */
export interface Part {
  readonly redis: string;
  /** Number of its first replica, and how many it has. */
  readonly first: number;
  readonly count: number;
}

/** Answer to `look`. */
export interface Looked {
  readonly ready: number;
  readonly led: number;
  /** Replicas by how often they publish, ms. */
  readonly every: Readonly<Record<string, number>>;
  /** What they complained of, the first few. */
  readonly complaints: readonly string[];
}

/** Answer to `count`: the sum over its replicas. */
export type Counted = Told;

/** Answer to `receive`. */
export interface Received {
  /** By replica. */
  readonly receipts: readonly (readonly Receipt[])[];
  /** Of those among them that have a process of their own. */
  readonly alone: readonly (readonly Receipt[])[];
  /** How late the process itself was meanwhile, ms: the P99 of its event loop's delay. */
  readonly lateMs: number;
}
