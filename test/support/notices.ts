/** Messages for tests, and what a channel is told them with. */

import type { Incident, Notice, Outbox } from "../../src/engine/ports.ts";
import { createSender } from "../../src/notify/post.ts";
import { memoryOutbox } from "../../src/store/outbox.ts";
import { fakeClock, type FakeClock } from "./clock.ts";
import { quietLog } from "./silence.ts";

/** The incident of `noticeOf`. */
export const KEY = "sluice/production/app/r-1/rollback";

/** A message of the rollout `r-1` that opens an incident; `change` says what is different. */
export function noticeOf(change: Partial<Notice> = {}): Notice {
  return {
    id: "app:r-1:4:ROLLBACK_DONE",
    severity: "critical",
    event: "ROLLBACK_DONE",
    route: "app",
    rollout: "r-1",
    summary: "app: 5 % of requests failed, rolled back from 10 % to 0 %",
    lines: ["app: 5 % of requests failed, rolled back from 10 % to 0 %", "error_rate > 1 %: 41 of 820"],
    details: { from: 10, to: 0 },
    incident: { key: KEY, action: "trigger" },
    audience: "operators",
    ...change,
  };
}

/** The same incident, later. */
export function later(action: Incident["action"], id = `app:r-1:5:${action}`): Notice {
  return noticeOf({ id, severity: "info", event: `ROLLBACK_${action}`, incident: { key: KEY, action } });
}

/** What channels have in common. */
export interface Told {
  readonly environment: string;
  readonly console: string | undefined;
  readonly clock: FakeClock;
  readonly outbox: Outbox;
  readonly log: ReturnType<typeof quietLog>;
}

/** Everything that a channel is made of but its address. */
export function toldOf(clock: FakeClock = fakeClock()): Told {
  const log = quietLog();
  return { environment: "production", console: undefined, clock, outbox: memoryOutbox(clock, log), log };
}

/** A sender on loopback. */
export function senderOf(allowPrivate = false, leadsTo: readonly string[] = ["127.0.0.1"]) {
  return createSender({
    lookup: () => Promise.resolve(leadsTo),
    allowPrivate,
    wall: () => Date.UTC(2026, 0, 5, 9),
  });
}
