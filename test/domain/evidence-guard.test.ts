import { readFileSync } from "node:fs";
import fc from "fast-check";
import t from "tap";
import { absoluteNats, relativeNats, timesOdds } from "../../src/domain/evidence/formulas.ts";
import {
  absoluteGuard,
  addMass,
  CARRY_S,
  commitAbsolute,
  commitRelative,
  CROSSING,
  evidenceAt,
  MASS_PER_STEP,
  massOf,
  peekAbsolute,
  peekRelative,
  relativeGuard,
  stableRate,
  type AbsoluteGuard,
  type RelativeGuard,
  type RelativeSpec,
} from "../../src/domain/evidence/guard.ts";
import { addAbove, countOf, CUT_WORDS, moveCuts } from "../../src/domain/evidence/cuts.ts";
import { ERRORS, learnRate, rateAt, type RateSpec } from "../../src/domain/evidence/rates.ts";
import { addSparse, emptyCounts, highestOf, indexOfMicros } from "../../src/domain/latency.ts";

interface AbsoluteBlock {
  readonly n: number;
  readonly x: number;
  readonly dt: number;
}
interface RelativeBlock {
  readonly n1: number;
  readonly x1: number;
  readonly n0: number;
  readonly x0: number;
  readonly th0: number;
  readonly dt: number;
  readonly logE: number;
  readonly cross: boolean;
}
interface Golden {
  readonly sr_one_component: {
    readonly pStar: number;
    readonly q: number;
    readonly seq: readonly (AbsoluteBlock & { logM: number })[];
  };
  readonly abs_guard_err: {
    readonly q: readonly number[];
    readonly seq: readonly (AbsoluteBlock & { logE: number; cross: boolean })[];
  };
  readonly rel_guard_hard_err: {
    readonly theta1: readonly number[];
    readonly R: number;
    readonly seq: readonly RelativeBlock[];
  };
  readonly rel_guard_regress_err: {
    readonly theta1: readonly number[];
    readonly psi: readonly number[];
    readonly R: number;
    readonly capPerBlock: number;
    readonly seq: readonly RelativeBlock[];
  };
  readonly merge: {
    readonly abs: { a: number; b: number; sumOfCounts: number };
    readonly rel_stratified: { a: number; b: number; total: number; pooled_wrong: number };
  };
}
// Our own committed file: its shape is known.
const golden = JSON.parse(
  readFileSync(new URL("../golden/statistics.json", import.meta.url), "utf8"),
) as Golden;

const isClose = (got: number, want: number): boolean =>
  Math.abs(got - want) <= 1e-9 * Math.max(1, Math.abs(want));

function started(guard: AbsoluteGuard | RelativeGuard): Float64Array {
  const state = new Float64Array("words" in guard ? guard.words : guard.size);
  addMass(state, 0, guard.size, MASS_PER_STEP);
  return state;
}

/** A rate that the test sets: it learns nothing. */
const fixed = (prior: number): RateSpec => ({ prior, priorN: 1e15, tauS: 600 });
const spec = (over: Partial<RelativeSpec>): RelativeGuard =>
  relativeGuard({
    ratio: 1.25,
    shares: [0.015, 0.03, 0.08, 0.3, 0.9],
    odds: [],
    rate: ERRORS,
    capPerBlock: Infinity,
    capPerSecond: Infinity,
    ...over,
  });

t.test("one bet restarted all the time gives the known answers", async (t) => {
  const { pStar, q, seq } = golden.sr_one_component;
  const guard = absoluteGuard(pStar, [q], Infinity);
  const state = started(guard);
  for (const { n, x, dt, logM } of seq) {
    commitAbsolute(guard, state, 0, n, x, dt);
    t.ok(isClose(evidenceAt(state, 0, 1), logM), String(logM));
  }
});

t.test("a guard on a limit gives the known answers, and crosses where they do", async (t) => {
  const guard = absoluteGuard(0.01, golden.abs_guard_err.q, Infinity);
  const state = started(guard);
  for (const { n, x, dt, logE, cross } of golden.abs_guard_err.seq) {
    commitAbsolute(guard, state, 0, n, x, dt);
    const evidence = evidenceAt(state, 0, guard.size);
    t.ok(isClose(evidence, logE), String(logE));
    t.equal(evidence >= CROSSING, cross);
  }
});

t.test("guards against stable give the known answers, and cross where they do", async (t) => {
  const hard = golden.rel_guard_hard_err;
  const regress = golden.rel_guard_regress_err;
  for (const { seq, ...of } of [
    { seq: hard.seq, ratio: hard.R, shares: hard.theta1, odds: [], capPerBlock: Infinity },
    {
      seq: regress.seq,
      ratio: regress.R,
      shares: regress.theta1,
      odds: regress.psi,
      capPerBlock: regress.capPerBlock,
    },
  ]) {
    const guard = spec({ ...of, rate: fixed(seq[0]?.th0 ?? 0) });
    const state = started(guard);
    for (const { n1, x1, n0, x0, dt, logE, cross } of seq) {
      const before = peekRelative(guard, state, 0, n1, x1, n0, x0, dt);
      commitRelative(guard, state, 0, n1, x1, n0, x0, dt);
      const evidence = evidenceAt(state, 0, guard.size);
      t.ok(isClose(evidence, logE), `${logE} and ${evidence}`);
      t.ok(isClose(before, evidence), "peeked");
      t.equal(evidence >= CROSSING, cross);
    }
  }
});

t.test("counts of two replicas add up before the guard sees them", async (t) => {
  const { abs, rel_stratified: rel } = golden.merge;
  t.ok(isClose(abs.a + abs.b, abs.sumOfCounts));
  t.ok(isClose(rel.a + rel.b, rel.total));
  t.ok(Math.abs(rel.total - rel.pooled_wrong) > 0.1, "summing and stratifying are not the same");
  fc.assert(
    fc.property(
      fc.nat({ max: 500 }),
      fc.nat({ max: 500 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (a, b, f) => {
        const [x, y] = [Math.floor(a * f), Math.floor(b * f)];
        const sum = absoluteNats(a, x, 0.05, 0.01) + absoluteNats(b, y, 0.05, 0.01);
        return isClose(absoluteNats(a + b, x + y, 0.05, 0.01), sum);
      },
    ),
  );
});

// Empty arms are a case of their own, so they come often.
const counts = fc
  .oneof({ arbitrary: fc.constant(0), weight: 1 }, { arbitrary: fc.integer({ min: 0, max: 300 }), weight: 3 })
  .chain((n) => fc.tuple(fc.constant(n), fc.nat({ max: n })));
const seconds = fc.double({ min: 0, max: 20, noNaN: true });
const block = fc.tuple(counts, counts, seconds);

t.test("a peek is what a commit will say, and changes nothing", async () => {
  fc.assert(
    fc.property(
      fc.array(block, { minLength: 1, maxLength: 30 }),
      fc.constantFrom(Infinity, 4, 0.3),
      fc.constantFrom(Infinity, 2.4),
      (blocks, capPerBlock, capPerSecond) => {
        const relative = spec({ odds: [1.5, 5], capPerBlock, capPerSecond });
        const absolute = absoluteGuard(0.01, [0.02, 0.1, 0.9], capPerSecond);
        const [state, other] = [started(relative), started(absolute)];
        return blocks.every(([[n1, x1], [n0, x0], dt]) => {
          const kept = [...state, ...other];
          const will = peekRelative(relative, state, 0, n1, x1, n0, x0, dt);
          const willToo = peekAbsolute(absolute, other, 0, n1, x1, dt);
          const unchanged = [...state, ...other].every((value, index) => value === kept[index]);
          commitRelative(relative, state, 0, n1, x1, n0, x0, dt);
          commitAbsolute(absolute, other, 0, n1, x1, dt);
          return (
            unchanged &&
            isClose(will, evidenceAt(state, 0, relative.size)) &&
            isClose(willToo, evidenceAt(other, 0, absolute.size))
          );
        });
      },
    ),
  );
});

t.test("evidence is a finite number after whatever blocks, and survives JSON", async () => {
  const extreme = fc
    .integer({ min: 0, max: 1_000_000 })
    .chain((n) => fc.tuple(fc.constant(n), fc.constantFrom(0, Math.floor(n / 2), n)));
  fc.assert(
    fc.property(fc.array(fc.tuple(extreme, extreme, seconds), { maxLength: 20 }), (blocks) => {
      const guard = spec({});
      const state = started(guard);
      const absolute = absoluteGuard(0.01, [0.02, 0.9], Infinity);
      const other = started(absolute);
      for (const [[n1, x1], [n0, x0], dt] of blocks) {
        commitRelative(guard, state, 0, n1, x1, n0, x0, dt);
        commitAbsolute(absolute, other, 0, n1, x1, dt);
      }
      const evidence = [evidenceAt(state, 0, guard.size), evidenceAt(other, 0, absolute.size)];
      const numbers = [...state, ...other, ...evidence];
      return (
        evidence.every((nats) => nats >= -745 && nats <= 670) &&
        numbers.every(Number.isFinite) &&
        JSON.stringify(JSON.parse(JSON.stringify(numbers))) === JSON.stringify(numbers)
      );
    }),
  );
});

t.test("a block with an empty arm is carried over, so where blocks end does not matter to it", async () => {
  fc.assert(
    fc.property(counts, counts, fc.boolean(), ([n1, x1], [n0, x0], canaryFirst) => {
      fc.pre(n1 > 0 && n0 > 0);
      const guard = spec({});
      const [parts, whole] = [started(guard), started(guard)];
      const commitOne = (canary: boolean): void =>
        canary
          ? commitRelative(guard, parts, 0, n1, x1, 0, 0, 1)
          : commitRelative(guard, parts, 0, 0, 0, n0, x0, 1);
      commitOne(canaryFirst);
      const waiting = massOf(parts, 0, guard.size);
      commitOne(!canaryFirst);
      commitRelative(guard, whole, 0, n1, x1, n0, x0, 2);
      return (
        isClose(waiting, MASS_PER_STEP + 0.5 / 86_400) &&
        parts.every((value, index) => isClose(value, whole[index]!))
      );
    }),
  );
});

t.test(
  "what waited for more than five minutes is no concurrent control, but still tells stable's rate",
  async (t) => {
    const guard = spec({});
    const state = started(guard);
    commitRelative(guard, state, 0, 0, 0, 1000, 100, CARRY_S);
    t.ok(stableRate(guard, state, 0) > 0.05);
    const peeked = peekRelative(guard, state, 0, 5, 5, 0, 0, 1);
    t.ok(Math.abs(peeked - Math.log(MASS_PER_STEP)) < 0.01, "nothing to compare with is left");
  },
);

t.test("a cap bounds what a block says for the canary's being bad, never what it says against", async () => {
  fc.assert(
    fc.property(counts, counts, ([n1, x1], [n0, x0]) => {
      const [capped, free] = [spec({ capPerBlock: 4, capPerSecond: 2.4 }), spec({})];
      const [a, b] = [started(capped), started(free)];
      commitRelative(capped, a, 0, n1, x1, n0, x0, 1);
      commitRelative(free, b, 0, n1, x1, n0, x0, 1);
      const rise = evidenceAt(a, 0, capped.size) - Math.log(MASS_PER_STEP);
      return rise <= 2.4 + 1e-4 && a.slice(0, 5).every((mass, k) => mass <= b[k]! * (1 + 1e-12));
    }),
  );
});

t.test("seconds in which the canary was silent do not raise what its next second may say", async (t) => {
  const guard = spec({ capPerSecond: 2.4 });
  const state = started(guard);
  for (let i = 0; i < 100; i++) commitRelative(guard, state, 0, 0, 0, 50, 0, 1);
  commitRelative(guard, state, 0, 1000, 1000, 50, 0, 1);
  const rise = evidenceAt(state, 0, guard.size) - Math.log(MASS_PER_STEP);
  t.ok(rise > 2.3 && rise < 2.41, String(rise));
});

t.test("a bet is the formula's", async () => {
  fc.assert(
    fc.property(counts, counts, ([n1, x1], [n0, x0]) => {
      fc.pre(n1 > 0 && n0 > 0);
      const guard = spec({ shares: [], odds: [5], ratio: 1.1, rate: fixed(0.002) });
      const state = started(guard);
      commitRelative(guard, state, 0, n1, x1, n0, x0, 0);
      const nats = relativeNats(n1, x1, n0, x0, timesOdds(0.002, 5), 0.002, 1.1);
      const want = Math.max(Math.log(Number.MIN_VALUE), Math.log(MASS_PER_STEP) + nats);
      // Below e^−700 a double has few digits left.
      return want < -700 || want > 600 || isClose(evidenceAt(state, 0, 1), want);
    }),
  );
});

t.test("a running rate lies between its bounds and forgets with time", async (t) => {
  fc.assert(
    fc.property(fc.array(fc.tuple(counts, seconds), { maxLength: 30 }), (blocks) => {
      const state = new Float64Array(2);
      for (const [[n, x], dt] of blocks) learnRate(ERRORS, state, 0, n, x, dt);
      const rate = rateAt(ERRORS, state, 0);
      return rate >= 2e-4 && rate <= 0.8;
    }),
  );
  const state = new Float64Array(2);
  t.equal(rateAt(ERRORS, state, 0), 0.001);
  learnRate(ERRORS, state, 0, 100_000, 100_000, 1);
  t.equal(rateAt(ERRORS, state, 0), 0.8);
  learnRate(ERRORS, state, 0, 0, 0, 100_000);
  t.ok(Math.abs(rateAt(ERRORS, state, 0) - 0.001) < 1e-9);
  learnRate(ERRORS, state, 0, 1e9, 0, 1);
  t.equal(rateAt(ERRORS, state, 0), 2e-4);
});

function histogramOf(latencies: readonly number[]): ReturnType<typeof emptyCounts> {
  const histogram = emptyCounts();
  for (const us of latencies) addSparse(histogram, [indexOfMicros(us), 1]);
  return histogram;
}

t.test("cut points start at stable's quantiles and end there, however they were", async () => {
  const latencies = fc.array(fc.integer({ min: 0, max: 5_000_000 }), { minLength: 30, maxLength: 200 });
  fc.assert(
    fc.property(latencies, latencies, (first, then) => {
      const state = new Float64Array(CUT_WORDS);
      const quantiles = (of: readonly number[]): readonly number[] =>
        [0.5, 0.9, 0.99].map((q) => {
          const sorted = of.toSorted((a, b) => a - b);
          return Math.max(1, highestOf(indexOfMicros(sorted[Math.ceil(q * sorted.length) - 1] ?? 0)));
        });
      const histogram = histogramOf(first);
      const moved = moveCuts(state, 0, histogram, 10);
      const atStart = quantiles(first).every((value, index) => isClose(state[index]!, value));
      for (let i = 0; i < 400; i++) moveCuts(state, 0, histogramOf(then), 10);
      const atEnd = quantiles(then).every((value, index) => Math.abs(state[index]! / value - 1) < 1e-6);
      return moved && histogram.total === 0 && histogram.counts.every((n) => n === 0) && atStart && atEnd;
    }),
    { numRuns: 30 },
  );
});

t.test("too few answers move no cut point and are kept", async (t) => {
  const state = new Float64Array(CUT_WORDS);
  const histogram = histogramOf(Array.from({ length: 29 }, () => 1000));
  t.equal(moveCuts(state, 0, histogram, 10), false);
  t.same([...state], [0, 0, 0]);
  t.equal(histogram.total, 29);
});

t.test("what lies above a cut point is counted once per point", async () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat({ max: 3000 }), fc.integer({ min: 1, max: 9 })), { maxLength: 50 }),
      fc.constantFrom(1, 1.1, 1.5),
      (pairs, factor) => {
        const cuts = new Float64Array([100, 5000, 90_000]);
        const into = new Float64Array(3);
        const sparse = pairs.flat();
        addAbove(cuts, 0, factor, sparse, into, 0);
        const above = (cut: number): number =>
          pairs.reduce((sum, [index, n]) => sum + (index > indexOfMicros(cut * factor) ? n : 0), 0);
        return (
          [...cuts].every((cut, index) => into[index] === above(cut)) &&
          countOf(sparse) === pairs.reduce((sum, [, n]) => sum + n, 0)
        );
      },
    ),
  );
});
