/**
 * What the safety switches answer in a route's place, put together once for each configuration. Whether a switch is on stands in the word of the split
 * (`split-board.ts`): an exchange that reads 0 there, as nearly all do, never comes here.
 *
 * What is answered here is refused by the proxy itself: it has no arm, and is counted beside exchanges under a name of its own.
 */

import type { BlockList } from "node:net";
import { networksOf } from "../config/networks.ts";
import type { SafetyAnswer } from "../config/safety.ts";
import type { Config } from "../config/schema.ts";
import type { ErrorCode } from "../domain/errors.ts";
import type { PlaneEvent } from "../domain/event.ts";
import { isBelowAny } from "../domain/path.ts";
import { BARS } from "../domain/safety.ts";
import { ownAnswer, type OwnAnswer } from "./answer.ts";
import { isIn } from "./forwarding.ts";

/** What of a request a switch looks at. */
export interface Asked {
  readonly method: string;
  readonly target: string;
  /** Its client's address. */
  readonly client: string;
}

/** An answer in a route's place, and as what it is counted. */
export interface Barred {
  readonly status: number;
  readonly own: OwnAnswer;
  readonly event: PlaneEvent;
}

const UNAVAILABLE = 503;
const RETRY_AFTER_S = 60;
const MAINTENANCE = "there is maintenance, come again later";
const READ_ONLY = "nothing is written for now, only read";

/** The answers of one configuration. */
export class Bars {
  /** Undefined: an emergency leads to stable, by the weight that is in the same word. */
  readonly #emergency: Barred | undefined;
  readonly #maintenance: Barred;
  readonly #readOnly: Barred;
  readonly #methods: ReadonlySet<string>;
  readonly #networks: BlockList;
  readonly #paths: readonly string[];

  constructor({ emergency, maintenance, readOnly }: Config["safety"]) {
    this.#emergency =
      emergency.answer === "stable"
        ? undefined
        : pageOf("safety_emergency", emergency.answer, "there is an emergency");
    this.#maintenance =
      maintenance.answer === undefined
        ? refusal("safety_maintenance", "SPLIT_MAINTENANCE", MAINTENANCE, RETRY_AFTER_S)
        : pageOf("safety_maintenance", maintenance.answer, MAINTENANCE);
    const seconds = Math.ceil(readOnly.retryAfter / 1000);
    this.#readOnly = refusal("safety_read_only", "SPLIT_READ_ONLY", READ_ONLY, seconds);
    this.#methods = new Set(readOnly.methods);
    this.#networks = networksOf(maintenance.from);
    this.#paths = maintenance.paths;
  }

  /** What is answered to a request; undefined: it goes its way. @param bars `RouteSplit.bars`, not 0 */
  answerTo(bars: number, { method, target, client }: Asked): Barred | undefined {
    if ((bars & BARS.emergency) !== 0 && this.#emergency !== undefined) return this.#emergency;
    const isClosed = (bars & BARS.maintenance) !== 0;
    if (isClosed && !isBelowAny(this.#paths, target) && !isIn(this.#networks, client))
      return this.#maintenance;
    return (bars & BARS["read-only"]) !== 0 && !this.#methods.has(method) ? this.#readOnly : undefined;
  }
}

function refusal(event: PlaneEvent, code: ErrorCode, detail: string, retryAfterS: number): Barred {
  return { status: UNAVAILABLE, own: ownAnswer(UNAVAILABLE, code, detail, "", retryAfterS), event };
}

function pageOf(event: PlaneEvent, { status, headers, body: text }: SafetyAnswer, detail: string): Barred {
  const body = Buffer.from(text);
  const named = new Map(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]));
  const defaults: readonly (readonly [string, string])[] = [
    ["content-type", "text/plain; charset=utf-8"],
    ["cache-control", "no-store"],
    ...(status === UNAVAILABLE ? [["retry-after", String(RETRY_AFTER_S)] as const] : []),
  ];
  const fields = [...new Map([...defaults, ...named])].flat();
  const own = { fields: [...fields, "content-length", String(body.length)], body, detail };
  return { status, own, event };
}
