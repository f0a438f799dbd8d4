/**
 * statistics.md §6 in short, with the shipped code and seeded chance: what the tiers together do to healthy and to faulty canaries. The long
 * form is `npm run bench:judge`; here is something of each of its parts, and the promises that must not break unnoticed.
 */

import t from "tap";
import { CROSSINGS, runCrossing } from "../../bench/judge/crossing.ts";
import { COLUMNS, FAULTS, runFault } from "../../bench/judge/faults.ts";
import { quantileOf } from "../../bench/judge/figures.ts";
import { runGate } from "../../bench/judge/gates.ts";
import { lifeOf, type Life } from "../../bench/judge/life.ts";
import { LiteralWindow } from "../../bench/judge/others.ts";
import { runStep, runWeek, type End } from "../../bench/judge/replay.ts";
import { ForFiveMinutes, RobustSustained, SHIPPED, Tiers } from "../../bench/judge/shipped.ts";
import { ARMS, CALM, type Arm, type Trouble, type WorldSpec } from "../../bench/judge/world.ts";

const CANARY: readonly Arm[] = ["canary"];
const trouble = (arms: readonly Arm[], share: number, from: number, to: number): Trouble => ({
  arms,
  share,
  from,
  to,
});

interface Run {
  readonly tiers: Tiers;
  readonly end: End;
}

function runs(count: number, weight: number, world: Partial<WorldSpec>): readonly Run[] {
  return Array.from({ length: count }, (_, seed) => {
    const tiers = new Tiers();
    const spec = { ...CALM, seeds: [1000, seed], seconds: 1800, perSecond: 50, latencies: false, ...world };
    return { tiers, end: runStep(spec, weight, tiers) };
  });
}

const median = (values: readonly number[]): number => quantileOf(values, 0.5).value;
const most = (values: readonly number[]): number => quantileOf(values, 0.95).value;
const timesOf = (all: readonly Run[]): readonly number[] =>
  all.map(({ end }) => end.rollback?.at ?? Infinity);

t.test(
  "a canary that is like stable is left alone: neither trips nor rollbacks in a million responses",
  (t) => {
    const world = { errors: 0.003 };
    const all = [...runs(11, 0.1, world), ...runs(1, 0.1, { ...world, latencies: true })];
    t.same(
      all.map(({ end, tiers }) => [end.rollback, tiers.trips]),
      all.map(() => [null, 0]),
    );
    t.ok(all.length * 50 * 1800 >= 1_000_000);
    t.end();
  },
);

t.test(
  "a canary that fails everything is off after a handful of failures, and for good after the probe",
  (t) => {
    for (const [weight, limit] of [
      [0.1, 12],
      [0.5, 30],
    ] as const) {
      const all = runs(60, weight, { seconds: 60, troubles: [trouble(CANARY, 1, 0, 60)] });
      const first = all.map(({ tiers }) => tiers.firstTrip?.e ?? Infinity);
      t.comment(`weight ${weight}: off after ${median(first)}, 95 % ${most(first)} failures`);
      t.comment(
        `for good: ${median(all.map(({ end }) => end.served.e))} failures, ${median(timesOf(all))} s`,
      );
      t.ok(most(first) <= limit);
      t.ok(all.every(({ end }) => end.rollback?.why === "second_crossing"));
    }
    t.end();
  },
);

t.test("a canary that starts to fail after a healthy hour is off after at most 12 failures", (t) => {
  const late = CROSSINGS.find(({ weight, after }) => weight === 0.1 && after > 0)!;
  const first = Array.from({ length: 20 }, (_, seed) => runCrossing(late, [1500, seed]).failures);
  t.ok(most(first) <= 12);
  const troubles = [trouble(CANARY, 1, 3600, 3700)];
  const all = runs(10, 0.1, { perSecond: 20, seconds: 3700, troubles });
  t.ok(all.every(({ end }) => end.rollback?.why === "second_crossing" && end.rollback.at > 3600));
  t.end();
});

t.test("first crossings come after as many failures as the design has them", (t) => {
  for (const crossing of CROSSINGS) {
    const found = Array.from({ length: 25 }, (_, seed) => runCrossing(crossing, [2000, seed]));
    const failures = found.map((each) => each.failures);
    const responses = found.map((each) => each.responses);
    t.comment(`${crossing.name}: ${median(failures)} failures, 95 % ${most(failures)}`);
    t.ok(median(failures) <= crossing.failures[0] + 2);
    t.ok(most(failures) <= 1.4 * (crossing.failures[1] ?? 2 * crossing.failures[0]));
    if (crossing.responses !== null) t.ok(median(responses) <= 25);
  }
  t.end();
});

t.test("a trouble that both arms have rolls nothing back, and is seen to be shared", (t) => {
  const all = runs(20, 0.1, { seconds: 600, troubles: [trouble(ARMS, 0.6, 60, 300)] });
  t.ok(all.every(({ end, tiers }) => end.rollback === null && tiers.trips === 0));
  t.ok(all.every(({ tiers }) => tiers.sharedSeconds >= 200));
  t.end();
});

t.test("two bad seconds of the canary alone are a trip and no rollback", (t) => {
  const world = { perSecond: 100, seconds: 700, troubles: [trouble(CANARY, 1, 300, 302)] };
  const all = runs(30, 0.1, world);
  t.same(
    all.map(({ end, tiers }) => [end.rollback, tiers.trips]),
    all.map(() => [null, 1]),
  );
  t.end();
});

t.test("a pause of the canary alone is not even a trip", (t) => {
  const pauses = [{ arm: "canary", from: 900.5, to: 903.5 }] as const;
  const all = runs(10, 0.1, { perSecond: 500, pauses });
  t.same(
    all.map(({ end, tiers }) => [end.rollback, tiers.trips]),
    all.map(() => [null, 0]),
  );
  t.end();
});

t.test("what stays below every limit is found by comparison", (t) => {
  for (const [name, times, seconds, why] of [
    ["0.6 % errors", 6, 1500, /^errors$/],
    ["2 × P95", 6, 400, /^latency/],
    ["latency × 1.3", 3, 1500, /^latency$/],
  ] as const) {
    const fault = FAULTS.find((each) => each.name.startsWith(name))!;
    const column = COLUMNS.find((each) => each.name === "sluice, 50/s")!;
    const ends = Array.from({ length: times }, (_, seed) => runFault(fault, column, [3000, seed]));
    t.comment(`${name}: ${ends.map(({ rollback }) => rollback?.at).join(", ")} s`);
    t.ok(median(ends.map(({ rollback }) => rollback?.at ?? Infinity)) <= seconds);
    t.ok(ends.every(({ rollback }) => why.test(rollback?.why ?? "")));
  }
  t.end();
});

t.test("what is above a limit is found by the fast tier long before the sustained rules", (t) => {
  const fault = FAULTS.find(({ name }) => name === "5 % errors")!;
  const secondsOf = (judge: () => Tiers | ForFiveMinutes | RobustSustained): number =>
    median(
      Array.from({ length: 15 }, (_, seed) => {
        const column = { perSecond: 50, judge, latencies: true };
        return runFault(fault, column, [4000, seed]).rollback?.at ?? Infinity;
      }),
    );
  t.ok(secondsOf(() => new Tiers()) <= 60);
  t.ok(secondsOf(() => new Tiers({ ...SHIPPED, confirm: false })) <= 60);
  const literal = secondsOf(() => new ForFiveMinutes());
  t.ok(literal >= 300 && literal <= 310);
  t.equal(
    secondsOf(() => new RobustSustained()),
    300,
  );
  t.end();
});

t.test("a healthy canary survives weeks of real life that end it by the plan's literal window", (t) => {
  for (const [life, week] of [
    ["real life", 0],
    ["shared troubles only", 1],
  ] as const satisfies readonly (readonly [Life, number])[]) {
    const tiers = new Tiers();
    const literal = new LiteralWindow();
    const ends = runWeek(lifeOf(life, 5, 5000, week), [tiers, literal]);
    t.same([ends.get(tiers), ends.get(literal)?.why], [null, "window"]);
  }
  t.end();
});

t.test("the gate opens for a canary like stable within hours, and stays shut for a worse one", (t) => {
  const runsOf = (canary: number, count: number): readonly number[] =>
    Array.from({ length: count }, (_, seed) => runGate(canary, [6000, seed]));
  const hours = median(runsOf(0.001, 100)) / 3600;
  t.ok(hours > 0.3 && hours < 0.6);
  const passed = (canary: number, count: number): number =>
    runsOf(canary, count).filter(Number.isFinite).length;
  t.ok(passed(0.002, 150) <= 15);
  t.equal(passed(0.003, 60), 0);
  t.end();
});
