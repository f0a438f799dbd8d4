import t from "tap";
import fc from "fast-check";
import { Secret } from "../../src/config/secret.ts";
import { AppError } from "../../src/domain/errors.ts";
import { createLog, LOG_LEVELS, type LogLevel } from "../../src/telemetry/log.ts";
import { fakeClock } from "../support/clock.ts";

function logTo(lines: string[], level: LogLevel = "debug") {
  return createLog((line) => void lines.push(line), fakeClock(), level);
}

/** What one line says. */
function said(fields: Record<string, unknown>, message = "message"): Record<string, unknown> {
  const lines: string[] = [];
  logTo(lines).info(message, fields);
  return JSON.parse(lines[0] ?? "");
}

t.test("a line has pino's fields: level as a number, time in ms, msg", async (t) => {
  const lines: string[] = [];
  const log = logTo(lines);
  log.debug("one");
  log.info("two", { route: "app", weight: 5 });
  log.warn("three");
  log.error("four");
  const time = Date.UTC(2026, 0, 5, 9);
  t.same(
    lines.map((line) => JSON.parse(line)),
    [
      { level: 20, time, msg: "one" },
      { level: 30, time, route: "app", weight: 5, msg: "two" },
      { level: 40, time, msg: "three" },
      { level: 50, time, msg: "four" },
    ],
  );
  t.ok(lines.every((line) => line.endsWith("}\n")));
});

t.test("what is below the level is not written", async (t) => {
  t.same(
    LOG_LEVELS.map((level) => {
      const lines: string[] = [];
      const log = logTo(lines, level);
      for (const name of ["debug", "info", "warn", "error"] as const) log[name]("x");
      return lines.length;
    }),
    [4, 3, 2, 1, 0],
  );
});

t.test("no text breaks out of its line or reaches a terminal as a command (reliability 45)", async (t) => {
  const lines: string[] = [];
  const log = logTo(lines);
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.string({ unit: "binary" }), (message, value) => {
      lines.length = 0;
      log.info(message, { value, [`key ${value}`]: [value] });
      const line = lines[0] ?? "";
      return lines.length === 1 && !/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202e]/.test(line.slice(0, -1)); // oxlint-disable-line no-control-regex
    }),
  );
  t.match(lines.join(""), /^[^\n]+\n$/);
  const evil = "a\r\nb\u001b[31m\u009b\u2028\u202e\u007f";
  log.info(evil, { evil });
  t.match(lines.at(-1), /^[\x20-\x7e]+\n$/, "as it is written");
  t.same(said({ evil }, evil), { ...said({}), evil, msg: evil }, "and is still the same text when parsed");
});

t.test("nothing that is logged makes logging fail", async (t) => {
  const cycle: Record<string, unknown> = { name: "cycle" };
  cycle["self"] = cycle;
  const trap = {
    get boom(): never {
      throw new Error("getter");
    },
  };
  const evilJson = { toJSON: () => { throw new Error("toJSON"); } }; // prettier-ignore
  let deep: unknown = "bottom";
  for (let n = 0; n < 100; n += 1) deep = { deep };
  const line = said({
    big: 12n,
    cycle,
    trap,
    evilJson,
    deep,
    nothing: undefined,
    none: null,
    not: Number.NaN,
    fn: () => 1,
    symbol: Symbol("s"),
    map: new Map<unknown, unknown>([["a", 1n]]),
    set: new Set([1, "b"]),
    bytes: new Uint8Array(5),
    date: new Date(0),
    twice: [cycle["name"], cycle["name"]],
  });
  t.match(line, {
    big: "12",
    cycle: { name: "cycle", self: "[circular]" },
    trap: "[unreadable]",
    evilJson: "[unreadable]",
    none: null,
    not: "NaN",
    fn: "[function]",
    symbol: "[symbol]",
    map: { a: "1" },
    set: [1, "b"],
    bytes: "[5 bytes]",
    date: "1970-01-01T00:00:00.000Z",
    twice: ["cycle", "cycle"],
  });
  t.match(JSON.stringify(line["deep"]), /too deep/);
  fc.assert(
    fc.property(
      fc.anything({ withBigInt: true, withMap: true, withNullPrototype: true }),
      (value) => said({ value })["level"] === 30,
    ),
  );
});

t.test(
  "an error is its type, message and code; a secret is redacted; a reserved name gives way (reliability 42)",
  async (t) => {
    const error = new AppError("SPLIT_STATE_UNWRITABLE", "no room");
    const plain = new TypeError("x");
    const line = said({
      error,
      plain,
      inner: { error },
      secret: new Secret("hunter2", { env: "S" }),
      level: 1,
      msg: "m",
      time: 2,
    });
    t.match(line, {
      level: 30,
      msg: "message",
      level_: 1,
      msg_: "m",
      time_: 2,
      error: { type: "AppError", message: "no room", code: "SPLIT_STATE_UNWRITABLE" },
      plain: { type: "TypeError", message: "x" },
      inner: { error: { code: "SPLIT_STATE_UNWRITABLE" } },
      secret: "[redacted]",
    });
    t.notMatch(JSON.stringify(line), /hunter2|stack/);
  },
);

t.test("a line has an end, whatever is put in", async (t) => {
  const line = JSON.stringify(
    said({ long: "x".repeat(1e6), many: Array.from({ length: 1e5 }, () => 1) }, "y".repeat(1e6)),
  );
  t.ok(line.length < 50_000, `${line.length} characters`);
});

t.test("a log that can no longer be written stops nobody", async (t) => {
  const log = createLog(
    () => {
      throw new Error("EPIPE");
    },
    fakeClock(),
    "debug",
  );
  t.doesNotThrow(() => log.error("nobody hears this"));
});
