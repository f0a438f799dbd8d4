/** gRPC statuses, and the names of what happens beside exchanges: closed sets that are counted and shown. */

import fc from "fast-check";
import t from "tap";
import {
  addEvents,
  ARM_EVENT_INDEX,
  ARM_EVENTS,
  PLANE_EVENT_INDEX,
  PLANE_EVENTS,
} from "../../src/domain/event.ts";
import {
  DEFAULT_FAILING,
  GRPC_STATUSES,
  grpcMask,
  grpcOfHttp,
  grpcStatusOf,
  grpcTimeoutOf,
  httpOfGrpc,
  isGrpcIn,
  NO_GRPC_STATUS,
} from "../../src/domain/grpc.ts";
import { kindOf } from "../../src/domain/outcome.ts";

t.test(
  "a grpc-status is its number, none is none, and what is no status is UNKNOWN as for every client",
  async (t) => {
    GRPC_STATUSES.forEach((_, code) => t.equal(grpcStatusOf(String(code)), code));
    t.equal(grpcStatusOf(undefined), NO_GRPC_STATUS);
    for (const odd of ["", "17", "99", "-1", "1.0", "0x1", "100", "OK", " 0"])
      t.equal(grpcStatusOf(odd), 2, odd);
  },
);

t.test(
  "a grpc-timeout is its milliseconds, and one that is none waits for ever (reliability 50)",
  async (t) => {
    const table: Readonly<Record<string, number>> = {
      "1H": 3_600_000,
      "2M": 120_000,
      "3S": 3000,
      "00000250m": 250,
      "99999999u": 99_999.999,
      "1000000n": 1,
    };
    for (const [value, ms] of Object.entries(table)) t.equal(grpcTimeoutOf(value), ms, value);
    for (const odd of [undefined, "", "m", "1", "1s", "1 S", "-1S", "123456789m", "1.5S", "0S", "1Sx"])
      t.equal(grpcTimeoutOf(odd), Infinity, String(odd));
  },
);

t.test("a status fails its arm exactly when it is one of those that do", async () => {
  fc.assert(
    fc.property(
      fc.subarray([...GRPC_STATUSES]),
      fc.integer({ min: NO_GRPC_STATUS, max: 16 }),
      (failing, code) => {
        const name = GRPC_STATUSES[code];
        return isGrpcIn(grpcMask(failing), code) === (name !== undefined && failing.includes(name));
      },
    ),
  );
});

t.test("the default failures are those of the design, and a failed call is a failure", async (t) => {
  const failing = grpcMask(DEFAULT_FAILING);
  const names = GRPC_STATUSES.filter((_, code) => isGrpcIn(failing, code));
  t.strictSame(names, [
    "UNKNOWN",
    "DEADLINE_EXCEEDED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
  ]);
  t.equal(kindOf("grpc"), "failure");
});

t.test("an answer of this proxy's own has the status that gRPC gives to its HTTP status", async (t) => {
  const table: Readonly<Record<number, string>> = {
    400: "INTERNAL",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    431: "INTERNAL",
    500: "UNKNOWN",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
  };
  for (const [http, name] of Object.entries(table))
    t.equal(GRPC_STATUSES[grpcOfHttp(Number(http))], name, http);
});

t.test("every event has a place of its own, and counts are added by it", async (t) => {
  PLANE_EVENTS.forEach((event, index) => t.equal(PLANE_EVENT_INDEX[event], index));
  ARM_EVENTS.forEach((event, index) => t.equal(ARM_EVENT_INDEX[event], index));
  t.strictSame(addEvents([1, 2, 3], [10, 0, 1]), [11, 2, 4]);
  t.strictSame(addEvents([1, 2], [1]), [2, 2], "who tells less has not seen the rest");
});

t.test(
  "a failure's gRPC status says of an endpoint what HTTP would say: late, not there, broken",
  async (t) => {
    t.equal(httpOfGrpc(4), 504);
    t.equal(httpOfGrpc(14), 503);
    for (const code of [2, 8, 10, 12, 13, 15]) t.equal(httpOfGrpc(code), 500, String(code));
    for (const status of [502, 503, 504])
      t.ok(httpOfGrpc(grpcOfHttp(status)) >= 502, "a gateway's failure stays one");
  },
);
