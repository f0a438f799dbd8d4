import { readFileSync } from "node:fs";
import fc from "fast-check";
import t from "tap";
import {
  alternativesOf,
  commitHard,
  freshHard,
  HARD_LIMITS,
  HARD_WORDS,
  hardGuards,
  hardReadings,
  hasControl,
  peekHard,
  resetHard,
  startHard,
  type HardLimits,
  type HardReading,
} from "../../src/domain/evidence/catastrophic.ts";
import {
  ARMED,
  confirmed,
  PROBE_MS,
  PROBE_RESPONSES,
  TRIP_MS,
  TRIPS_PER_DAY,
  type Confirmation,
  type ConfirmEvent,
  type ConfirmOutcome,
} from "../../src/domain/evidence/confirm.ts";
import {
  cappedBad,
  enoughKeys,
  MIN_FAILED_KEYS,
  type ArmCounts,
} from "../../src/domain/evidence/counting.ts";
import { CARRY_S, CROSSING } from "../../src/domain/evidence/guard.ts";
import { LONGEST_MINUTES, sustained, type Minute } from "../../src/domain/evidence/sustained.ts";

interface Golden {
  readonly engine_hard_100pct: readonly { aE: number; rE: number }[];
  readonly engine_hard_shared_outage: readonly { aE: number; rE: number }[];
  readonly window: Readonly<Record<string, { decision: string; atSec: number; holds: number }>>;
}
// Our own committed file: its shape is known.
const golden = JSON.parse(
  readFileSync(new URL("../golden/statistics.json", import.meta.url), "utf8"),
) as Golden;

const isClose = (got: number, want: number): boolean => Math.abs(got - want) <= 1e-9 * Math.abs(want);
const arm = (n: number, e = 0, s = 0, v = 0): ArmCounts => ({ n, e, s, v, c4: 0 });

/** A tier whose first step has started. */
function tier(limits: HardLimits = HARD_LIMITS, concurrent = true) {
  const guards = hardGuards(limits);
  const state = new Float64Array(HARD_WORDS + 3);
  const at = 3;
  freshHard(state, at);
  startHard(guards, state, at, concurrent);
  return {
    state,
    commit: (canary: ArmCounts, stable: ArmCounts, seconds = 1) =>
      commitHard(guards, state, at, { canary, stable }, seconds),
    peek: (canary: ArmCounts, stable: ArmCounts, seconds = 1) =>
      peekHard(guards, state, at, { canary, stable }, seconds),
    reset: () => resetHard(guards, state, at),
    start: (isConcurrent: boolean) => startHard(guards, state, at, isConcurrent),
    hasControl: () => hasControl(state, at),
    readings: () => hardReadings(guards, state, at),
    errors: (): HardReading => {
      const [first] = hardReadings(guards, state, at);
      if (first === undefined) throw new Error("no rule");
      return first;
    },
  };
}

t.test("a canary that fails everything gives the known answers and fires", async (t) => {
  const under = tier();
  for (const { aE, rE } of golden.engine_hard_100pct) {
    t.equal(under.peek(arm(5, 5), arm(45)), "errors");
    under.commit(arm(5, 5), arm(45));
    t.ok(isClose(under.errors().absolute, aE));
    t.ok(isClose(under.errors().relative, rE));
  }
  t.equal(under.errors().kind, "fires");
});

t.test("an outage of both arms gives the known answers, never fires, and is called shared", async (t) => {
  const under = tier();
  for (const { aE, rE } of golden.engine_hard_shared_outage) {
    t.equal(under.peek(arm(5, 3), arm(45, 27)), null);
    under.commit(arm(5, 3), arm(45, 27));
    t.ok(isClose(under.errors().absolute, aE));
    t.ok(isClose(under.errors().relative, rE));
  }
  t.equal(under.errors().kind, "shared_cause");
  t.equal(under.errors().control, true);
});

const armCounts = fc
  .integer({ min: 0, max: 60 })
  .chain((n) => fc.tuple(fc.constant(n), fc.nat({ max: n }), fc.nat({ max: n }), fc.nat({ max: n })))
  .map(([n, e, s, v]) => arm(n, e, s, v));

t.test("with stable there, nothing fires unless both guards of a pair have crossed", async () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(armCounts, armCounts), { minLength: 1, maxLength: 15 }), (blocks) => {
      const under = tier();
      return blocks.every(([canary, stable]) => {
        const fired = under.peek(canary, stable);
        under.commit(canary, stable);
        const readings = under.readings();
        const both = readings.filter(
          ({ absolute, relative }) => absolute >= CROSSING && relative >= CROSSING,
        );
        const said = readings.filter(({ kind }) => kind === "fires");
        return (both[0]?.rule ?? null) === fired && both.length === said.length;
      });
    }),
  );
});

t.test("over the limit but not yet shown to be worse than a healthy stable is undecided", async (t) => {
  const under = tier();
  under.commit(arm(3, 3), arm(4));
  t.equal(under.errors().kind, "undecided");
});

t.test("without stable traffic the absolute guard decides alone, and the reading says so", async (t) => {
  const under = tier(HARD_LIMITS, false);
  t.equal(under.hasControl(), false);
  t.equal(under.peek(arm(5, 5), arm(0)), "errors");
  under.commit(arm(5, 5), arm(0));
  t.match(under.errors(), { kind: "fires", control: false });
});

t.test(
  "a stable that has not answered for five minutes is no control, and is one again when it answers",
  async (t) => {
    const under = tier();
    under.commit(arm(5), arm(0), CARRY_S - 1);
    t.equal(under.peek(arm(8, 8), arm(0)), null, "waits for stable");
    under.commit(arm(5), arm(0), 1);
    t.equal(under.peek(arm(8, 8), arm(0)), "errors");
    t.equal(under.peek(arm(8, 8), arm(8, 8)), null, "stable is back, and as bad");
    under.commit(arm(0), arm(1), 1);
    t.equal(under.hasControl(), true);
  },
);

t.test(
  "one pause of the canary is not a regression: latency needs five seconds, errors do not",
  async (t) => {
    for (const [canary, rule] of [
      [arm(1000, 0, 1000, 0), "p95"],
      [arm(1000, 0, 0, 1000), "p99"],
    ] as const) {
      const under = tier();
      let seconds = 1;
      while (under.peek(canary, arm(1000)) === null) {
        under.commit(canary, arm(1000));
        seconds++;
      }
      t.equal(under.peek(canary, arm(1000)), rule);
      t.ok(seconds >= 5 && seconds <= 7, `${seconds} s`);
    }
    t.equal(tier().peek(arm(1000, 1000), arm(1000)), "errors");
  },
);

t.test(
  "a trip starts the evidence again and keeps stable's rate; it then takes as much to fire as at first",
  async (t) => {
    const under = tier();
    for (let i = 0; i < 60; i++) under.commit(arm(5, 1), arm(45, 4));
    const rates = [...under.state];
    under.reset();
    t.ok(under.errors().absolute < 0);
    t.ok(Math.abs(under.errors().absolute - Math.log(0.5)) < 1e-9);
    const changed = rates.filter((value, index) => under.state[index] !== value).length;
    t.ok(changed <= 7 + 5 + 6 + 4 + 7 + 5, "only bets have changed");
  },
);

t.test("what waited for stable before a trip is not held against the canary after it", async (t) => {
  const under = tier();
  under.commit(arm(50, 50), arm(0));
  under.reset();
  under.commit(arm(0), arm(500));
  t.ok(Math.abs(under.errors().relative - Math.log(0.5)) < 0.001);
});

t.test("a rule without a limit is never judged and moves no other rule's state", async (t) => {
  const some = tier({ errors: null, p95: 0.05, p99: 0.01 });
  const all = tier();
  for (let i = 0; i < 8; i++) {
    some.commit(arm(50, 50, 10, 2), arm(50));
    all.commit(arm(50, 50, 10, 2), arm(50));
  }
  t.same(
    some.readings().map(({ rule }) => rule),
    ["p95", "p99"],
  );
  t.same(some.readings(), all.readings().slice(1));
});

t.test("alternatives lie above the limit, rise and stay below 1, whatever the limit", async (t) => {
  const given = [0.015, 0.02, 0.03, 0.05, 0.1, 0.3, 0.9];
  t.equal(alternativesOf(0.01, given, 0.01), given);
  fc.assert(
    fc.property(fc.double({ min: 1e-6, max: 0.95, noNaN: true }), (limit) => {
      const rising = [limit, ...alternativesOf(limit, given, 0.01), 1];
      return rising.length === 9 && rising.every((q, index) => index === 0 || q > rising[index - 1]!);
    }),
  );
});

/** Plays events one after another and returns what was to be done. */
function play(events: readonly Parameters<typeof confirmed>[1][], from: Confirmation = ARMED) {
  let state = from;
  const outcomes: ConfirmOutcome[] = [];
  for (const event of events) {
    const step = confirmed(state, event);
    ({ state } = step);
    outcomes.push(step.outcome);
  }
  return { state, outcomes, types: outcomes.map(({ type }) => type) };
}
const crossing = (nowMs: number, confirm = true) => ({ type: "crossing", nowMs, confirm }) as const;
const time = (nowMs: number) => ({ type: "time", nowMs }) as const;
const responses = (nowMs: number, count: number) => ({ type: "responses", nowMs, count }) as const;

t.test("a first crossing trips for ten seconds, a second one while probing is final", async (t) => {
  const { outcomes } = play([
    crossing(1000),
    crossing(1500),
    responses(2000, 50),
    time(10_999),
    time(11_000),
    crossing(12_000),
  ]);
  t.same(
    outcomes.map(({ type }) => type),
    ["trip", "none", "none", "none", "resume", "rollback"],
  );
  t.match(outcomes.at(-1), { reason: "second_crossing" });
});

t.test("a probe is over after 60 s and 100 responses, whichever is later", async (t) => {
  const probing = [crossing(0), time(TRIP_MS)];
  const late = TRIP_MS + PROBE_MS;
  t.same(play([...probing, responses(20_000, PROBE_RESPONSES - 1), time(late)]).types.at(-1), "none");
  t.same(play([...probing, responses(late - 1, PROBE_RESPONSES)]).types.at(-1), "none");
  t.same(play([...probing, responses(late, PROBE_RESPONSES)]).types.at(-1), "rearmed");
  t.same(play([...probing, responses(20_000, PROBE_RESPONSES), time(late)]).types.at(-1), "rearmed");
  t.same(play([...probing, responses(20_000, 100), crossing(late)]).types.at(-1), "trip", "a new fault");
});

t.test("an event that nobody defined comes back as it is, and moves nothing", async (t) => {
  const invented = { type: "invented", nowMs: 0 } as never;
  t.equal(confirmed(ARMED, invented), invented);
});

t.test("without confirmation the first crossing is final", async (t) => {
  t.same(play([crossing(5, false)]).outcomes, [{ type: "rollback", reason: "confirm_off" }]);
});

t.test("the eighth trip in a day is final, eight in a longer time are not", async (t) => {
  const trips = (apartMs: number) =>
    play(
      Array.from({ length: TRIPS_PER_DAY }, (_, i) => i * apartMs).flatMap((at) => [
        crossing(at),
        time(at + TRIP_MS),
        responses(at + TRIP_MS + PROBE_MS, PROBE_RESPONSES),
      ]),
    );
  t.ok(trips(600_000).outcomes.some((o) => o.type === "rollback" && o.reason === "too_many_trips"));
  t.same(trips(600_000).types.filter((type) => type === "trip").length, TRIPS_PER_DAY - 1);
  const slow = trips(12_400_000);
  t.notOk(slow.types.includes("rollback"));
  t.ok(slow.state.trips.length < TRIPS_PER_DAY, "forgets what is older than a day");
});

/** What is wrong with one transition; undefined when nothing is. `off`: a trip has taken the traffic away and no resume has given it back. */
function wrongWith(before: Confirmation, event: ConfirmEvent, type: ConfirmOutcome["type"], off: boolean) {
  switch (type) {
    case "rollback":
      return event.type !== "crossing" || off;
    case "trip":
      return off || before.phase === "tripped";
    case "resume":
      return !off || before.phase !== "tripped" || event.nowMs < before.untilMs;
    case "rearmed":
      return off || before.phase !== "probing";
    case "none":
      return false;
    default:
      return type satisfies never;
  }
}

t.test("traffic comes back after a trip by a resume alone, and only a crossing rolls back", async () => {
  const step = fc.record({
    kind: fc.constantFrom("crossing", "time", "responses"),
    later: fc.integer({ min: 0, max: 30_000 }),
    count: fc.nat({ max: 80 }),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      let now = 0;
      let state: Confirmation = ARMED;
      let off = false;
      for (const { kind, later, count } of steps) {
        now += later;
        const event =
          kind === "crossing" ? crossing(now) : kind === "time" ? time(now) : responses(now, count);
        const { state: next, outcome } = confirmed(state, event);
        if (wrongWith(state, event, outcome.type, off)) return false;
        if (outcome.type === "rollback") return true;
        off = outcome.type === "trip" || (off && outcome.type !== "resume");
        if ((next.phase === "tripped") !== off) return false;
        // Plain data: what comes back from a document is the same.
        state = JSON.parse(JSON.stringify(next)) as Confirmation;
      }
      return true;
    }),
  );
});

/** Minute by minute: when the sustained rule on 1 % fires, and how often it begins to hold. */
function overTime(minutes: readonly Minute[]): { decision: string; atSec: number; holds: number } {
  let holds = 0;
  let holding = false;
  for (let count = 1; count <= minutes.length; count++) {
    const { kind } = sustained(minutes.slice(0, count), 0.01);
    if (kind === "breach") return { decision: "err", atSec: count * 60, holds };
    if (kind === "shared_cause" && !holding) holds++;
    holding = kind === "shared_cause";
  }
  return { decision: "none", atSec: -1, holds };
}
const minute = (n1: number, x1: number, n0 = 2700, x0 = 3): Minute => ({ n1, x1, n0, x0 });
const steady = (one: Minute, count = 40): readonly Minute[] => Array.from({ length: count }, () => one);

t.test("the sustained rule decides as the known answers do", async (t) => {
  const scenes: Readonly<Record<string, readonly Minute[]>> = {
    one_error_of_15: [minute(15, 1, 135, 0)],
    five_pct: steady(minute(300, 15)),
    spike_20s_only: [...steady(minute(300, 0), 3), minute(300, 100), ...steady(minute(300, 0), 36)],
    both_bad: steady(minute(300, 15, 2700, 135)),
    no_traffic: steady(minute(0, 0, 0, 0)),
  };
  for (const [name, want] of Object.entries(golden.window)) t.same(overTime(scenes[name] ?? []), want, name);
  t.same(Object.keys(scenes), Object.keys(golden.window));
});

t.test("little traffic is looked at over a longer window, and over thirty minutes at most", async (t) => {
  t.match(sustained(steady(minute(12, 1)), 0.01), { kind: "breach", minutes: 10, n: 120, bad: 10 });
  t.match(sustained(steady(minute(3, 0)), 0.01), { kind: "inconclusive", minutes: 30, n: 90 });
  t.match(sustained([], 0.01), { kind: "inconclusive", observed: null, n: 0 });
  t.match(sustained(steady(minute(300, 4), 4), 0.01), { kind: "inconclusive", minutes: 4 });
});

t.test("before five minutes a canary may be well so far, and is never over the limit", async (t) => {
  t.match(sustained([minute(100, 1)], 0.01), { kind: "within", minutes: 1 });
  t.match(sustained([minute(99, 0)], 0.01), { kind: "inconclusive" });
  t.match(sustained(steady(minute(300, 300), 4), 0.01), { kind: "inconclusive", partsOver: 4 });
});

t.test("too few bad responses are looked at over a longer window, too", async (t) => {
  t.match(sustained(steady(minute(25, 1)), 0.01), { kind: "breach", minutes: 10, n: 250, bad: 10 });
});

t.test("three bad minutes of five are within the limit, four are a breach", async (t) => {
  const bad = steady(minute(300, 30), 5);
  const good = steady(minute(300, 0), 5);
  t.match(sustained([...good.slice(0, 2), ...bad.slice(0, 3)], 0.01), { kind: "within", partsOver: 3 });
  t.match(sustained([...good.slice(0, 1), ...bad.slice(0, 4)], 0.01), { kind: "breach", partsOver: 4 });
});

t.test("a stable with too few responses vetoes nothing; a worse canary is not vetoed", async (t) => {
  t.equal(sustained(steady(minute(300, 30, 10, 5)), 0.01).kind, "breach");
  t.equal(sustained(steady(minute(300, 30, 2700, 100)), 0.01).kind, "breach");
  t.equal(sustained(steady(minute(60, 4, 60, 3)), 0.01).kind, "shared_cause", "not clear: z below 4");
});

t.test("a breach is over the limit, on enough responses, in four of five parts", async () => {
  const any = fc
    .tuple(fc.nat({ max: 200 }), fc.nat({ max: 200 }), fc.double({ min: 0, max: 0.1, noNaN: true }))
    .map(([n1, n0, p]) => minute(n1, Math.round(n1 * p), n0, Math.round(n0 * p * 0.3)));
  fc.assert(
    fc.property(fc.array(any, { maxLength: 40 }), (minutes) => {
      const { kind, n, bad, partsOver, observed, minutes: length } = sustained(minutes, 0.02);
      if (kind === "breach" || kind === "shared_cause")
        return n >= 100 && bad >= 10 && partsOver >= 4 && Number(observed) > 0.02 && length % 5 === 0;
      if (kind === "within") return n >= 100;
      return length <= LONGEST_MINUTES;
    }),
    { numRuns: 300 },
  );
});

t.test("one key's bad responses count as a fifth of all at most, or as one", async (t) => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 50 }), { maxLength: 30 }), (bad) => {
      const all = bad.reduce((sum, each) => sum + each, 0);
      const counted = cappedBad(bad);
      const failed = bad.filter((each) => each > 0).length;
      const most = Math.max(1, Math.floor(all / 5));
      return counted <= all && counted <= failed * most && counted >= Math.min(all, failed);
    }),
  );
  t.equal(cappedBad([30]), 6);
  t.equal(cappedBad([3]), 1);
  t.equal(cappedBad(Array.from({ length: 30 }, () => 1)), 30);
});

t.test("five keys must have failed, unless fewer were seen at all", async (t) => {
  t.equal(enoughKeys(MIN_FAILED_KEYS, 100), true);
  t.equal(enoughKeys(MIN_FAILED_KEYS - 1, 100), false);
  t.equal(enoughKeys(1, MIN_FAILED_KEYS - 1), true);
});
