/** The rules of outlier ejection, with a time that is moved by hand; names and numbers are Envoy's. */

import fc from "fast-check";
import { test, type Test } from "tap";
import { configSchema } from "../../src/config/schema.ts";
import { millis } from "../../src/domain/units.ts";
import { Outliers, Standing, type OutlierConfig } from "../../src/proxy/outlier.ts";

/** Rules as configured, with defaults. */
function rules(more: object = {}): OutlierConfig {
  const arm = { endpoints: ["http://127.0.0.1:1"], outlier: more };
  const { routes } = configSchema.parse({
    listen: [{ address: ":1" }],
    routes: [{ name: "app", stable: arm, canary: arm }],
  });
  const outlier = routes[0]?.stable.outlier ?? "off";
  if (outlier === "off") throw new RangeError("switched off");
  return outlier;
}

function arm(count: number, more: object = {}) {
  const heard: string[] = [];
  const members = Array.from({ length: count }, () => new Standing());
  const config = rules(more);
  const outliers = new Outliers(config, millis(0), (event, one, _now, ms) =>
    heard.push(`${event} ${members.indexOf(one)} ${ms}`),
  );
  outliers.configure(config, members, millis(0));
  const self = {
    outliers,
    members,
    heard,
    now: 0,
    /** Moves on, as a pick would see it. */
    wait(ms: number): void {
      self.now += ms;
      if (self.now >= outliers.due) outliers.advance(millis(self.now));
    },
    fail(nth: number, times = 1, isGateway = false): void {
      for (let time = 0; time < times; time++)
        outliers.fail(members[nth] ?? new Standing(), isGateway, millis(self.now));
    },
    succeed(nth: number, times = 1): void {
      for (let time = 0; time < times; time++) outliers.succeed(members[nth] ?? new Standing());
    },
    out: (): number[] => members.flatMap((one, nth) => (one.isOut ? [nth] : [])),
  };
  return self;
}

const isSound = (t: Test, one: ReturnType<typeof arm>): void => {
  t.equal(one.out().length, one.outliers.out);
};

void test("five failures in a row eject for thirty seconds, and a success between them begins the row anew", async (t) => {
  const a = arm(3);
  a.fail(0, 4);
  a.succeed(0);
  a.fail(0, 4);
  t.strictSame(a.out(), []);
  a.fail(0);
  t.strictSame(a.heard, ["ejected_consecutive 0 30000"]);
  t.strictSame(a.out(), [0]);
  a.wait(29_999);
  t.strictSame(a.out(), [0]);
  a.wait(1);
  t.strictSame(a.out(), []);
  t.strictSame(a.heard.at(-1), "returned 0 0");
  a.fail(0, 4);
  t.strictSame(a.out(), [], "what came before is forgotten");
  isSound(t, a);
});

void test("gateway failures have a row of their own, which another failure ends", async (t) => {
  const a = arm(2, { consecutiveGateway: 2, consecutive5xx: 10 });
  a.fail(0, 1, true);
  a.fail(0, 1, false);
  a.fail(0, 1, true);
  t.strictSame(a.out(), []);
  a.fail(0, 1, true);
  t.strictSame(a.out(), [0]);
  const b = arm(2, { consecutive5xx: 3 });
  b.fail(1, 3, true);
  t.strictSame(b.out(), [1], "they count for the other row too");
});

void test("an endpoint that is alone is never ejected, and nothing is refused to it", async (t) => {
  const a = arm(1, { consecutive5xx: 1, maxEjected: "100%" });
  a.fail(0, 100, true);
  a.wait(60_000);
  t.strictSame([a.out(), a.heard], [[], []]);
});

void test("each ejection lasts as many times longer, never longer than the cap, and is forgotten by an interval of being in", async (t) => {
  const a = arm(2, { consecutive5xx: 1, baseEjection: "30s", maxEjection: "70s", interval: "10s" });
  const lengths = [30_000, 60_000, 70_000, 70_000];
  for (const length of lengths) {
    a.fail(0);
    t.equal(a.heard.at(-1), `ejected_consecutive 0 ${length}`);
    a.wait(length);
    t.strictSame(a.out(), []);
  }
  // Three base ejections are remembered; two intervals in take two of them.
  a.wait(10_000);
  a.wait(10_000);
  a.fail(0);
  t.equal(a.heard.at(-1), "ejected_consecutive 0 60000");
  a.wait(60_000);
  a.wait(500_000);
  a.fail(0);
  t.equal(a.heard.at(-1), "ejected_consecutive 0 30000", "looked at late, all of it is forgotten");
});

void test("at most a tenth are out, but one always may be, and more are refused", async (t) => {
  const few = arm(5, { consecutive5xx: 1 });
  for (let nth = 0; nth < 5; nth++) few.fail(nth);
  t.strictSame(few.out(), [0]);
  t.strictSame(
    few.heard.slice(1),
    [1, 2, 3, 4].map((nth) => `ejection_refused ${nth} 0`),
  );
  const many = arm(29, { consecutive5xx: 1 });
  for (let nth = 0; nth < 29; nth++) many.fail(nth);
  t.equal(many.out().length, 2);
  const all = arm(3, { consecutive5xx: 1, maxEjected: "100%" });
  for (let nth = 0; nth < 3; nth++) all.fail(nth);
  t.equal(all.out().length, 3, "it is the panic threshold that helps then");
  const none = arm(3, { consecutive5xx: 1, maxEjected: "0%" });
  none.fail(1);
  t.strictSame(none.out(), [1], "one may");
});

void test("a place among those that are out is free as soon as a time is over", async (t) => {
  const a = arm(2, { consecutive5xx: 1 });
  a.fail(0);
  a.now += 30_000;
  a.fail(1);
  t.strictSame(a.out(), [1]);
});

void test("an endpoint that does worse than its siblings is ejected, when enough of them had enough exchanges", async (t) => {
  const often = { consecutive5xx: 10_000, maxEjected: "100%" };
  const play = (count: number, volume: number, more: object = {}): ReturnType<typeof arm> => {
    const a = arm(count, { ...often, ...more });
    for (let nth = 0; nth < count; nth++) a.succeed(nth, volume - 1);
    for (let nth = 1; nth < count; nth++) a.succeed(nth);
    a.fail(0);
    return a;
  };
  const a = play(5, 100);
  a.wait(9999);
  t.strictSame(a.out(), []);
  a.wait(1);
  // Rates are 0.99 and four times 1: a mean of 0.998, a deviation of 0.004, a limit of 0.9904.
  t.strictSame(a.heard, ["ejected_success_rate 0 30000"]);
  const few = play(4, 100);
  few.wait(10_000);
  t.strictSame(few.out(), [], "too few endpoints");
  const seldom = play(5, 99);
  seldom.wait(10_000);
  t.strictSame(seldom.out(), [], "too few exchanges");
  const lenient = play(5, 100, { successRate: { deviations: 2.1 } });
  lenient.wait(10_000);
  t.strictSame(lenient.out(), [], "not far enough below");
  const off = play(5, 100, { successRate: "off" });
  off.wait(10_000);
  t.strictSame(off.out(), []);
  const late = play(5, 100);
  late.wait(10_000);
  late.wait(30_000);
  for (let nth = 0; nth < 5; nth++) late.succeed(nth, 100);
  late.wait(10_000);
  t.strictSame(late.out(), [], "each interval is looked at for itself");
});

void test("a reload keeps who is out as far as so many may be, and takes nobody along who is gone", async (t) => {
  const a = arm(20, { consecutive5xx: 1 });
  a.fail(3);
  a.now = 5000;
  a.fail(7);
  t.strictSame(a.out(), [3, 7]);
  const [three, seven] = [a.members[3]!, a.members[7]!];
  const config = rules({ consecutive5xx: 1, maxEjection: "20s" });
  a.outliers.configure(config, a.members.slice(0, 8), millis(a.now));
  t.strictSame(
    [three.isOut, seven.isOut],
    [false, true],
    "the one whose time is over first comes back first",
  );
  t.equal(seven.until, 25_000, "by the new cap");
  a.outliers.configure(config, a.members.slice(0, 7), millis(a.now));
  t.strictSame([seven.isOut, a.outliers.out], [false, 0]);
  a.outliers.fail(seven, true, millis(a.now));
  t.strictSame([seven.isOut, a.outliers.out], [false, 0], "what it had in flight ejects nobody");
  a.outliers.fail(three, true, millis(a.now));
  t.equal(a.outliers.out, 1);
  a.outliers.dissolve(millis(a.now));
  t.strictSame([three.isOut, a.outliers.out], [false, 0]);
});

type Step =
  | { readonly kind: "succeed" | "fail" | "gateway"; readonly nth: number; readonly times: number }
  | { readonly kind: "wait"; readonly ms: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    kind: fc.constantFrom("succeed" as const, "fail" as const, "gateway" as const),
    nth: fc.nat(11),
    times: fc.integer({ min: 1, max: 30 }),
  }),
  fc.record({ kind: fc.constant("wait" as const), ms: fc.nat(120_000) }),
);

void test("whatever happens: no more are out than may be, no ejection is longer than the cap, and everybody comes back", async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 0, max: 100 }),
      fc.integer({ min: 1, max: 6 }),
      fc.array(step, { maxLength: 200 }),
      (count, percent, row, steps) => {
        const a = arm(count, {
          consecutive5xx: row,
          consecutiveGateway: row,
          maxEjected: `${percent}%`,
          maxEjection: "100s",
          successRate: { minimumHosts: 2, requestVolume: 10, deviations: 0.5 },
        });
        const allowed = count < 2 ? 0 : Math.max(1, Math.floor((count * percent) / 100));
        for (const each of steps) {
          if (each.kind === "wait") a.wait(each.ms);
          else if (each.kind === "succeed") a.succeed(each.nth % count, each.times);
          else a.fail(each.nth % count, each.times, each.kind === "gateway");
          if (a.out().length > allowed || a.out().length !== a.outliers.out) return false;
          if (a.members.some((one) => one.isOut && one.until > a.now + 100_000)) return false;
          // An exchange that has just succeeded is the end of every row.
          if (each.kind === "succeed" && a.members[each.nth % count]!.failed !== 0) return false;
        }
        for (const line of a.heard) {
          const [event = "", , ms] = line.split(" ");
          const isEjection = event.startsWith("ejected");
          if (isEjection !== Number(ms) > 0 || Number(ms) > 100_000) return false;
        }
        // The first look may still eject for what came before it.
        a.wait(100_000);
        a.wait(100_000);
        return a.out().length === 0;
      },
    ),
    { numRuns: 300 },
  );
  t.pass();
});

void test("before `due` there is nothing to do", async (t) => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
      const lazy = arm(6, { consecutive5xx: 2 });
      const eager = arm(6, { consecutive5xx: 2 });
      for (const each of steps) {
        for (const a of [lazy, eager]) {
          if (each.kind === "wait") a.wait(each.ms);
          else if (each.kind === "succeed") a.succeed(each.nth % 6, each.times);
          else a.fail(each.nth % 6, each.times, each.kind === "gateway");
        }
        if (eager.now < eager.outliers.due) eager.outliers.advance(millis(eager.now));
        if (String(lazy.out()) !== String(eager.out())) return false;
      }
      return String(lazy.heard) === String(eager.heard);
    }),
    { numRuns: 200 },
  );
  t.pass();
});
