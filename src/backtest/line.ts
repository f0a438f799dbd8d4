/** What a reader of logs gives: one exchange, whichever form its line had. */

import type { Reason } from "../domain/outcome.ts";
import type { Arm } from "../domain/split.ts";

/**
 * One exchange as it was recorded. Mutable, one object per file that is written over with each line: ten million of them would be work for
 * the collector alone.
 */
export interface Line {
  /** When it settled, milliseconds since the epoch. */
  at: number;
  /** Empty when the line does not say. */
  route: string;
  /** Empty when the line does not say. */
  arm: Arm | "";
  reason: Reason;
  /** 0 for none. */
  status: number;
  /** Request sent → response head, or as near to it as the log comes; negative: not known. */
  latencyUs: number;
  /** What stands for the user; empty: nobody in particular. */
  key: string;
  forced: boolean;
  /** Of a failure alone; empty otherwise. */
  method: string;
  target: string;
  traceId: string;
}

/** A line in which nothing is said. */
export function emptyLine(): Line {
  return {
    at: 0,
    route: "",
    arm: "",
    reason: "ok",
    status: 0,
    latencyUs: -1,
    key: "",
    forced: false,
    method: "",
    target: "",
    traceId: "",
  };
}

/** Reads the bytes of one line, without its end, into `line`; returns what is wrong with it, or an empty text. */
export type Reader = (bytes: Buffer, from: number, to: number, line: Line) => string;

/** A status is a whole number of three digits. */
export function isStatus(status: number): boolean {
  return Number.isInteger(status) && status >= 100 && status <= 599;
}

/** What a status comes to where nothing else is said. 499 is how proxies log a client that left. */
export function reasonOf(status: number): Reason {
  if (status === 499) return "client_gone";
  return status >= 500 ? "status" : "ok";
}
