import fc from "fast-check";
import t from "tap";
import {
  AppError,
  CODES,
  UNREAD,
  asAppError,
  causeOf,
  codeOf,
  isExhaustion,
} from "../../src/domain/errors.ts";
import { turns } from "../../src/domain/turns.ts";
import { bareHost } from "../../src/domain/host.ts";
import { isRecord } from "../../src/domain/record.ts";
import {
  bytes,
  formatDuration,
  formatRate,
  formatSize,
  latencyText,
  microsOf,
  millis,
  parseDuration,
  parseRate,
  parseSize,
  percentOf,
  percentText,
  ppm,
  ppmOfPercent,
  shareText,
} from "../../src/domain/units.ts";

t.test("what is formatted reads back as the same number", async () => {
  fc.assert(fc.property(fc.integer({ min: 0, max: 1_000_000 }), (n) => parseRate(formatRate(ppm(n))) === n));
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e12 }), (n) => parseDuration(formatDuration(millis(n))) === n),
  );
  fc.assert(fc.property(fc.integer({ min: 0, max: 1e12 }), (n) => parseSize(formatSize(bytes(n))) === n));
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1_000_000 }), (n) => ppmOfPercent(percentOf(ppm(n))) === n),
  );
});

t.test("a number without its unit is refused (acceptance 33)", async (t) => {
  for (const text of ["0.001", "5", "", "%", "-1%", "101%", "0.00001%", "1e1%", "5 percent"]) {
    t.equal(parseRate(text), undefined, text);
  }
  for (const text of ["300", "5", "", "s", "-5s", "5s1h", "5s5s", "5 s", "1e3s", "99999999999999d"]) {
    t.equal(parseDuration(text), undefined, text);
  }
  for (const text of ["64", "64KB", "1.5KiB", "-1B", "99999999999GiB"])
    t.equal(parseSize(text), undefined, text);
  t.equal(parseRate("0.1%"), 1000);
  t.equal(parseRate("100 %"), 1_000_000);
  t.equal(parseDuration("1h30m"), 5_400_000);
  t.equal(parseDuration("1.5s"), 1500);
  t.equal(parseDuration("250ms"), 250);
  t.equal(formatDuration(millis(0)), "0s");
  t.equal(formatDuration(millis(0.5)), "0.5ms");
  t.equal(formatSize(bytes(65_536)), "64KiB");
});

t.test("a number out of its range is a bug and throws", async (t) => {
  for (const bad of [-1, 1.5, 1_000_001, Number.NaN]) t.throws(() => ppm(bad), RangeError);
  for (const bad of [-1, Infinity, Number.NaN]) t.throws(() => millis(bad), RangeError);
  for (const bad of [-1, 1.5, Number.NaN]) t.throws(() => bytes(bad), RangeError);
  for (const bad of [-1, 100.1, Number.NaN, 0.00001]) t.equal(ppmOfPercent(bad), undefined);
  t.equal(microsOf(millis(1.5)), 1500);
});

t.test("an error keeps its code, and anything else becomes an internal one", async (t) => {
  const known = new AppError("SPLIT_COOLDOWN", "wait", { details: { leftMs: 5 }, cause: new Error("why") });
  t.equal(asAppError(known), known);
  t.match(known, { code: "SPLIT_COOLDOWN", details: { leftMs: 5 }, cause: { message: "why" } });
  t.match(asAppError(new Error("odd")), { code: "SPLIT_INTERNAL", message: "odd" });
  t.notOk("cause" in new AppError("SPLIT_COOLDOWN", "wait"));
  t.match(asAppError("odd"), { code: "SPLIT_INTERNAL", message: "odd" });
  t.same(asAppError("odd").details, {});
  for (const [code, row] of Object.entries(CODES)) {
    t.match(code, /^SPLIT_[A-Z_]+$/);
    t.ok(row.status >= 400 && row.status < 600 && row.remedy.endsWith("."), code);
    t.ok([1, 2, 4, 5, 124].includes(row.exit), code);
  }
});

t.test(
  "a socket takes an IPv6 address without its brackets, and a record is neither a list nor null",
  async (t) => {
    t.same(["[::1]", "::1", "a.example", "127.0.0.1", ""].map(bareHost), [
      "::1",
      "::1",
      "a.example",
      "127.0.0.1",
      "",
    ]);
    t.same([{}, { a: 1 }, [], null, "{}", undefined].map(isRecord), [true, true, false, false, false, false]);
  },
);

t.test("what the platform calls an error is told of errors of the platform alone", async (t) => {
  t.equal(codeOf(Object.assign(new Error("gone"), { code: "ENOENT" })), "ENOENT");
  for (const other of [new Error("odd"), Object.assign(new Error("odd"), { code: 7 }), { code: "ENOENT" }])
    t.equal(codeOf(other), "");
});

t.test("having no file or port left is told from nobody being there (reliability 28, 33)", async (t) => {
  for (const code of ["EMFILE", "ENFILE", "EADDRNOTAVAIL", "ENOBUFS", "ENOMEM"])
    t.ok(isExhaustion(code), code);
  for (const code of ["ECONNREFUSED", "ETIMEDOUT", "no EMFILE", ""]) t.notOk(isExhaustion(code), code);
});

t.test("weights, shares and latencies are put for people, and what is not there is a dash", async (t) => {
  t.same([percentText(5), percentText(12.34567)], ["5 %", "12.3457 %"]);
  t.same([shareText(0.001), shareText(0), shareText(null)], ["0.10 %", "0.00 %", "-"]);
  t.same([latencyText(9.44), latencyText(120.4), latencyText(null)], ["9.4 ms", "120 ms", "-"]);
});

t.test("a cause is told in known words, else in the system's own", async (t) => {
  const error = (message: string, code?: string) =>
    Object.assign(new Error(message), code === undefined ? {} : { code });
  t.equal(causeOf(error("ENOENT: no such file, open 'x'", "ENOENT"), UNREAD), "there is no such file");
  t.equal(causeOf(error("EMFILE: too many", "EMFILE"), UNREAD), "EMFILE: too many");
  t.equal(causeOf(error("", "ECONNREFUSED"), UNREAD), "ECONNREFUSED");
  t.equal(causeOf("text", UNREAD), "text");
});

t.test("turns are taken one after the other, and one that fails holds up nobody", async (t) => {
  const inTurn = turns();
  const seen: string[] = [];
  let free: () => void = () => {};
  const first = inTurn(async () => {
    await new Promise<void>((resolve) => (free = resolve));
    seen.push("first");
    throw new Error("no");
  });
  const second = inTurn(async () => seen.push("second"));
  await Promise.resolve();
  t.same(seen, []);
  free();
  await t.rejects(first, /no/);
  t.equal(await second, 2);
  t.same(seen, ["first", "second"]);
});
