/** A line of an access log in this program's own form. Data only. */

import type { Why } from "./account.ts";
import type { Reason } from "./outcome.ts";
import type { Arm } from "./split.ts";

/**
 * What one exchange came to: one JSON object per line, in the order in which exchanges settled. It tells of the first attempt, the one that is
 * evidence about its arm: a request that stable answered after the canary had failed is the canary's failure.
 *
 * A reader needs `time` and `status`; it takes what is missing as not known, and leaves out fields that it does not know.
 */
export interface AccessLine {
  /** When it settled: ISO 8601 with its zone, or milliseconds since the epoch. */
  readonly time: string | number;
  readonly route: string;
  /** Missing: not said, as in a log from before there was a canary. */
  readonly arm?: Arm;
  /** As the arm answered; 0 when it did not, and then `reason` says why. */
  readonly status: number;
  /** Request sent → response head, milliseconds with a fraction; null or missing when there was no head. */
  readonly ms?: number | null;
  readonly method?: string;
  /** With or without its query. */
  readonly path?: string;
  /** What stands for the user, the same in every line of theirs: a hash of the sticky key, never the key itself. */
  readonly key?: string;
  /** Why it ended as it did. Missing: `ok` below status 500, `client_gone` at 499, else `status`. */
  readonly reason?: Reason;
  /** An override chose the arm: counted, and no evidence. */
  readonly forced?: boolean;
  /** W3C trace id. */
  readonly traceId?: string;
  /** Bucket of the key, below a million. Missing: there was no key. */
  readonly bucket?: number;
  /** Why this arm. */
  readonly why?: Exclude<Why, "rescue">;
  /** Stable was asked after the canary had failed; `answered` is what came of it. */
  readonly rescued?: boolean;
  /** The status that the client got. */
  readonly answered?: number;
  /** Request head read → exchange over, milliseconds with a fraction. */
  readonly totalMs?: number;
}
