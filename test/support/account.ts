/** What the telemetry is told of an exchange. */

import type { Account } from "../../src/domain/account.ts";

/** An exchange that the canary did not take and stable answered; it is not in the log, and has no trace. */
export const RESCUED: Account = {
  route: "app",
  arm: "canary",
  why: "sticky",
  bucket: 7,
  keyHash: "0badcafe",
  method: "GET",
  path: "/a",
  reason: "connect",
  status: 0,
  latencyMs: -1,
  startedAt: 1_767_603_600_000.25,
  settledMs: 4,
  totalMs: 20,
  rescued: true,
  answered: 200,
  ended: "ok",
  isLogged: false,
  traceId: "",
  trace: undefined,
};
