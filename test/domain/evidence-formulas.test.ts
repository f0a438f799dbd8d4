import { readFileSync } from "node:fs";
import fc from "fast-check";
import t from "tap";
import {
  absoluteNats,
  nearestNull,
  nearestWorse,
  notWorseNats,
  relativeNats,
  timesOdds,
} from "../../src/domain/evidence/formulas.ts";
import {
  betaShare,
  differenceInterval,
  isShownBelow,
  shareInterval,
  upperBound,
} from "../../src/domain/evidence/proportion.ts";

interface Relative {
  readonly n1: number;
  readonly x1: number;
  readonly n0: number;
  readonly x0: number;
  readonly th1: number;
  readonly th0: number;
  readonly R: number;
  readonly logE: number;
}
interface Golden {
  readonly abs: readonly { n: number; x: number; pStar: number; q: number; logE: number }[];
  readonly ripr: readonly { n1: number; n0: number; th1: number; th0: number; R: number; t0: number }[];
  readonly rel: readonly Relative[];
  readonly ni: readonly {
    n1: number;
    x1: number;
    n0: number;
    x0: number;
    th: number;
    d: number;
    t0: number;
    logE: number;
  }[];
}
// Our own committed file: its shape is known.
const golden = JSON.parse(
  readFileSync(new URL("../golden/statistics.json", import.meta.url), "utf8"),
) as Golden;

/** Within 1e-9 of the known answer, relative; absolute below 0.01, where the answers have fewer digits. */
const isClose = (got: number, want: number): boolean =>
  Math.abs(got - want) <= 1e-9 * Math.max(Math.abs(want), 0.01);

/** ln C(n, x), by addition. */
function logChoose(n: number, x: number): number {
  let sum = 0;
  for (let i = 1; i <= x; i++) sum += Math.log((n - x + i) / i);
  return sum;
}
const binomial = (n: number, x: number, p: number): number =>
  Math.exp(logChoose(n, x) + x * Math.log(p) + (n - x) * Math.log1p(-p));

const share = fc.double({ min: 0.001, max: 0.95, noNaN: true });
const small = fc.integer({ min: 1, max: 8 });

t.test("the formulas give the known answers", async (t) => {
  for (const { n, x, pStar, q, logE } of golden.abs) t.ok(isClose(absoluteNats(n, x, q, pStar), logE), "abs");
  for (const { n1, n0, th1, th0, R, t0 } of golden.ripr)
    t.ok(isClose(nearestNull(n1, n0, th1, th0, R), t0), "ripr");
  for (const { n1, x1, n0, x0, th1, th0, R, logE } of golden.rel)
    t.ok(isClose(relativeNats(n1, x1, n0, x0, th1, th0, R), logE), `rel ${logE}`);
  for (const { n1, x1, n0, x0, th, d, t0, logE } of golden.ni) {
    t.ok(isClose(nearestWorse(n1, n0, th, d), t0), "ni t0");
    t.ok(isClose(notWorseNats(n1, x1, n0, x0, th, d), logE), "ni");
  }
  t.ok(golden.abs.length + golden.ripr.length + golden.rel.length + golden.ni.length >= 20);
});

t.test("evidence against a limit grows by 1 on average at the limit, and by less below it", async () => {
  fc.assert(
    fc.property(small, share, share, fc.double({ min: 0.1, max: 1, noNaN: true }), (n, a, b, less) => {
      fc.pre(Math.abs(a - b) > 1e-3);
      const [limit, alternative] = a < b ? [a, b] : [b, a];
      const mean = (p: number): number => {
        let sum = 0;
        for (let x = 0; x <= n; x++)
          sum += binomial(n, x, p) * Math.exp(absoluteNats(n, x, alternative, limit));
        return sum;
      };
      return Math.abs(mean(limit) - 1) < 1e-9 && mean(limit * less) <= 1 + 1e-9;
    }),
  );
});

t.test("evidence against stable is expected to be at most 1, whatever stable's true rate is", async () => {
  fc.assert(
    fc.property(
      small,
      small,
      share,
      share,
      fc.constantFrom(1, 1.1, 1.25),
      share,
      fc.double({ min: 0, max: 1, noNaN: true }),
      (n1, n0, theta1, theta0, ratio, p0, better) => {
        fc.pre(ratio * p0 < 0.999);
        const p1 = Math.max(1e-9, ratio * p0 * better);
        let mean = 0;
        for (let x1 = 0; x1 <= n1; x1++)
          for (let x0 = 0; x0 <= n0; x0++)
            mean +=
              binomial(n1, x1, p1) *
              binomial(n0, x0, p0) *
              Math.exp(relativeNats(n1, x1, n0, x0, theta1, theta0, ratio));
        return mean <= 1 + 1e-9;
      },
    ),
  );
});

t.test(
  "evidence for promotion is expected to be at most 1 when the canary is worse by the margin",
  async () => {
    fc.assert(
      fc.property(
        small,
        small,
        fc.double({ min: 0.001, max: 0.6, noNaN: true }),
        fc.constantFrom(0.001, 0.01, 0.1),
        fc.double({ min: 0.0001, max: 0.6, noNaN: true }),
        fc.double({ min: 0, max: 0.2, noNaN: true }),
        (n1, n0, theta, margin, p0, more) => {
          let mean = 0;
          for (let x1 = 0; x1 <= n1; x1++)
            for (let x0 = 0; x0 <= n0; x0++)
              mean +=
                binomial(n1, x1, p0 + margin + more) *
                binomial(n0, x0, p0) *
                Math.exp(notWorseNats(n1, x1, n0, x0, theta, margin));
          return mean <= 1 + 1e-9;
        },
      ),
    );
  },
);

t.test("an empty arm is no evidence either way", async (t) => {
  t.equal(notWorseNats(0, 0, 5, 1, 0.01, 0.001), 0);
  t.equal(notWorseNats(5, 0, 0, 0, 0.01, 0.001), 0);
});

t.test("the odds are multiplied, so a share never leaves its range", async () => {
  fc.assert(
    fc.property(share, fc.double({ min: 1, max: 100, noNaN: true }), (p, multiple) => {
      const q = timesOdds(p, multiple);
      return q >= p && q < 1 && Math.abs(q / (1 - q) / (p / (1 - p)) - multiple) < 1e-6 * multiple;
    }),
  );
});

const sample = fc.integer({ min: 1, max: 400 }).chain((n) => fc.tuple(fc.nat({ max: n }), fc.constant(n)));

t.test("the incomplete beta function is the binomial's tail", async () => {
  fc.assert(
    fc.property(sample, share, ([x, n], p) => {
      fc.pre(x < n);
      let below = 0;
      for (let i = 0; i <= x; i++) below += binomial(n, i, p);
      return Math.abs(1 - betaShare(p, x + 1, n - x) - below) < 1e-9;
    }),
  );
});

t.test("the incomplete beta function ends at 0 and 1", async (t) => {
  t.equal(betaShare(0, 2, 3), 0);
  t.equal(betaShare(1, 2, 3), 1);
});

t.test("a bound or an interval holds what was observed", async () => {
  fc.assert(
    fc.property(sample, sample, ([x1, n1], [x0, n0]) => {
      const one = shareInterval(x1, n1);
      const both = differenceInterval(x1, n1, x0, n0);
      const p = x1 / n1;
      const difference = p - x0 / n0;
      return (
        one.low <= p + 1e-12 &&
        p <= one.high + 1e-12 &&
        upperBound(x1, n1) >= p &&
        both.low <= difference &&
        difference <= both.high
      );
    }),
  );
});

t.test("the exact bound is too low in at most one of twenty samples, whatever the share", async () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 60 }), share, (n, p) => {
      let missed = 0;
      for (let x = 0; x <= n; x++) if (upperBound(x, n) < p) missed += binomial(n, x, p);
      return missed <= 0.05 + 1e-9;
    }),
    { numRuns: 40 },
  );
});

t.test("without a bad response, 0.1 % is shown from 2,995 responses on", async (t) => {
  t.equal(isShownBelow(0, 2994, 0.001), false);
  t.equal(isShownBelow(0, 2995, 0.001), true);
  t.ok(upperBound(0, 2995) < 0.001);
  t.ok(upperBound(0, 2994) > 0.001);
});

t.test("intervals are those of the papers", async (t) => {
  // Newcombe 1998, table II: 56/70 and 48/80.
  const { low, high } = differenceInterval(56, 70, 48, 80);
  t.match([low.toFixed(4), high.toFixed(4)], ["0.0524", "0.3339"]);
  // Newcombe 1998, statistics in medicine 17, 857–872, table I: 81/263.
  const wilson = shareInterval(81, 263);
  t.match([wilson.low.toFixed(4), wilson.high.toFixed(4)], ["0.2553", "0.3662"]);
});

t.test("without responses nothing is known", async (t) => {
  t.same(shareInterval(0, 0), { low: 0, high: 1 });
  t.same(differenceInterval(0, 0, 1, 5), { low: -1, high: 1 });
  t.same(differenceInterval(1, 5, 0, 0), { low: -1, high: 1 });
  t.equal(upperBound(0, 0), 1);
  t.equal(upperBound(3, 3), 1);
});
