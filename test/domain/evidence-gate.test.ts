import { readFileSync } from "node:fs";
import fc from "fast-check";
import t from "tap";
import { notWorseNats } from "../../src/domain/evidence/formulas.ts";
import {
  commitGate,
  DEFAULT_MARGIN,
  GATE_WORDS,
  gateReading,
  startGate,
} from "../../src/domain/evidence/gate.ts";
import { CARRY_S } from "../../src/domain/evidence/guard.ts";
import {
  COMPARATIVE_BLOCK_S,
  effortToDetect,
  effortToProve,
  GATE_NATS,
  harmGrowth,
  smallestRise,
} from "../../src/domain/evidence/planning.ts";

interface Planned {
  readonly rps: number;
  readonly weight: number;
  readonly p0: number;
}
interface Golden {
  readonly doctor: readonly (Planned & {
    readonly delta: number;
    readonly gNatsPerReq: number;
    readonly new50: number;
    readonly new90: number;
    readonly T50s: number;
    readonly T90s: number;
  })[];
  readonly doctor_mde: readonly (Planned & { readonly hours: number; readonly minDetectableRise: number })[];
  readonly bake: readonly (Planned & {
    readonly d: number;
    readonly E: number;
    readonly new50: number;
    readonly T50s: number;
    readonly T90s: number;
  })[];
}
// Our own committed file: its shape is known.
const golden = JSON.parse(
  readFileSync(new URL("../golden/statistics.json", import.meta.url), "utf8"),
) as Golden;
const assumedOf = ({ rps, weight, p0 }: Planned) => ({ perSecond: rps, weight, baseline: p0 });

t.test("the time to find a fault is the known answer", async (t) => {
  for (const row of golden.doctor) {
    const assumed = assumedOf(row);
    const growth = harmGrowth(row.weight, row.p0 + row.delta, row.p0);
    t.ok(Math.abs(growth.mean / row.gNatsPerReq - 1) < 1e-9, String(growth.mean));
    const effort = effortToDetect(assumed, row.delta, "start");
    t.same(
      [effort?.canary50, effort?.canary90, effort?.seconds50, effort?.seconds90].map((x) =>
        Math.round(x ?? 0),
      ),
      [row.new50, row.new90, row.T50s, row.T90s],
    );
  }
});

t.test("the smallest rise that a step can find is the known answer", async (t) => {
  for (const row of golden.doctor_mde) {
    const rise = smallestRise(assumedOf(row), row.hours * 3600);
    // The vectors have eight decimals.
    t.equal(rise?.toFixed(8), row.minDetectableRise.toFixed(8));
  }
});

t.test("the time to show that there is no fault is the known answer", async (t) => {
  for (const row of golden.bake) {
    t.equal(GATE_NATS, Math.log(row.E));
    const effort = effortToProve(assumedOf(row), row.d, 0);
    t.same(
      [effort?.canary50, effort?.seconds50, effort?.seconds90].map((x) => Math.round(x ?? 0)),
      [row.new50, row.T50s, row.T90s],
    );
    t.equal(effortToProve(assumedOf(row), row.d, 1e6)?.seconds90, 1e6, "and no less than the least time");
  }
});

const assumed = fc.record({
  perSecond: fc.double({ min: 0.1, max: 10_000, noNaN: true }),
  weight: fc.double({ min: 0.001, max: 0.9, noNaN: true }),
  baseline: fc.double({ min: 0.0005, max: 0.2, noNaN: true }),
});

t.test("a larger rise is found sooner, a later one later, and none before the cap allows", async () => {
  fc.assert(
    fc.property(assumed, fc.double({ min: 0.001, max: 0.3, noNaN: true }), (plan, rise) => {
      const small = effortToDetect(plan, rise, "start");
      const large = effortToDetect(plan, rise * 1.5, "start");
      const later = effortToDetect(plan, rise, "later");
      if (small === null) return later === null;
      return (
        (large?.seconds50 ?? Infinity) <= small.seconds50 &&
        (later?.seconds50 ?? 0) >= small.seconds50 &&
        small.seconds90 >= small.seconds50 &&
        small.seconds50 >= 3 * COMPARATIVE_BLOCK_S
      );
    }),
  );
});

t.test("the smallest rise is found in the time, and a slightly smaller one is not", async () => {
  fc.assert(
    fc.property(assumed, fc.double({ min: 60, max: 1e6, noNaN: true }), (plan, seconds) => {
      const rise = smallestRise(plan, seconds);
      const found = (by: number): boolean =>
        (effortToDetect(plan, by, "start")?.seconds90 ?? Infinity) <= seconds;
      return rise === null ? !found((1 - plan.baseline) * 0.99) : found(rise) && !found(rise * 0.999);
    }),
  );
});

t.test("what cannot be found is said to be never found", async (t) => {
  const plan = { perSecond: 20, weight: 0.05, baseline: 0.01 };
  t.equal(effortToDetect(plan, 0.0005, "start"), null, "too small a rise to bet on");
  t.equal(effortToDetect(plan, 0.99, "start"), null, "no share above 1");
  t.equal(smallestRise(plan, 20), null, "too short a step");
});

const counts = (n1: number, x1: number, n0: number, x0: number) => ({ n1, x1, n0, x0 });
const state = (): Float64Array => {
  const fresh = new Float64Array(GATE_WORDS + 2);
  startGate(fresh, 2);
  return fresh;
};

t.test("the gate adds up the formula's evidence, on the pooled rate from before each block", async () => {
  const arm = fc.integer({ min: 1, max: 2000 }).chain((n) => fc.tuple(fc.constant(n), fc.nat({ max: n })));
  fc.assert(
    fc.property(fc.array(fc.tuple(arm, arm), { minLength: 1, maxLength: 20 }), (blocks) => {
      const gate = state();
      let [n, x, sum] = [0, 0, 0];
      for (const [[n1, x1], [n0, x0]] of blocks) {
        commitGate(gate, 2, 0.002, counts(n1, x1, n0, x0), 10);
        sum += notWorseNats(n1, x1, n0, x0, Math.min(0.8, (x + 1) / (n + 1000)), 0.002);
        n += n1 + n0;
        x += x1 + x0;
      }
      const { have, seconds } = gateReading(gate, 2, 0.002);
      return Math.abs(have - sum) <= 1e-9 * Math.max(1, Math.abs(sum)) && seconds === blocks.length * 10;
    }),
  );
});

t.test("the gate does not pass before fifteen minutes, nor on silence", async (t) => {
  const gate = state();
  for (let i = 0; i < 89; i++) commitGate(gate, 2, DEFAULT_MARGIN, counts(5000, 5, 45_000, 45), 10);
  t.match(gateReading(gate, 2, DEFAULT_MARGIN), { passes: false, etaS: 10 });
  commitGate(gate, 2, DEFAULT_MARGIN, counts(5000, 5, 45_000, 45), 10);
  const passed = gateReading(gate, 2, DEFAULT_MARGIN);
  t.match(passed, { passes: true, ratio: 1, etaS: 0, needSeconds: 900 });
  t.ok(passed.have >= passed.need);
  const silent = state();
  for (let i = 0; i < 500; i++) commitGate(silent, 2, DEFAULT_MARGIN, counts(0, 0, 500, 1), 10);
  t.match(gateReading(silent, 2, DEFAULT_MARGIN), {
    passes: false,
    have: 0,
    ratio: 0,
    etaS: null,
    seconds: 0,
  });
});

t.test("a canary that is worse by more than the margin has evidence against it", async (t) => {
  const gate = state();
  for (let i = 0; i < 100; i++) commitGate(gate, 2, DEFAULT_MARGIN, counts(500, 5, 4500, 5), 10);
  const { have, ratio, etaS } = gateReading(gate, 2, DEFAULT_MARGIN);
  t.ok(have < 0);
  t.equal(ratio, 0);
  t.ok(Number(etaS) > 0);
});

t.test("a block with an empty arm is carried over by the gate, for five minutes", async (t) => {
  const [parts, whole] = [state(), state()];
  commitGate(parts, 2, DEFAULT_MARGIN, counts(0, 0, 900, 1), 10);
  t.equal(gateReading(parts, 2, DEFAULT_MARGIN).have, 0);
  commitGate(parts, 2, DEFAULT_MARGIN, counts(100, 0, 0, 0), 10);
  commitGate(whole, 2, DEFAULT_MARGIN, counts(100, 0, 900, 1), 20);
  t.same(gateReading(parts, 2, DEFAULT_MARGIN), gateReading(whole, 2, DEFAULT_MARGIN));
  const late = state();
  commitGate(late, 2, DEFAULT_MARGIN, counts(0, 0, 900, 1), CARRY_S);
  commitGate(late, 2, DEFAULT_MARGIN, counts(100, 0, 0, 0), 10);
  t.equal(gateReading(late, 2, DEFAULT_MARGIN).have, 0, "no concurrent control");
});

t.test("a new step needs new evidence, and remembers what a usual rate is", async (t) => {
  const gate = state();
  for (let i = 0; i < 100; i++) commitGate(gate, 2, DEFAULT_MARGIN, counts(500, 1, 4500, 5), 10);
  const pooled = [gate[2], gate[3]];
  startGate(gate, 2);
  t.match(gateReading(gate, 2, DEFAULT_MARGIN), { have: 0, seconds: 0, passes: false });
  t.same([gate[2], gate[3]], pooled);
});

t.test("a gate with another least time waits for that", async (t) => {
  const gate = state();
  for (let i = 0; i < 12; i++) commitGate(gate, 2, DEFAULT_MARGIN, counts(50_000, 50, 450_000, 450), 10);
  t.match(gateReading(gate, 2, DEFAULT_MARGIN, 120), { passes: true, needSeconds: 120 });
  t.match(gateReading(gate, 2, DEFAULT_MARGIN, 121), { passes: false, etaS: 1 });
});
