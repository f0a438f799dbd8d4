/** What comes back from a backup, and which backups stay: laws over everything that may have been recorded. */

import fc from "fast-check";
import t from "tap";
import { asRestored, holdsTraffic, restored } from "../../src/domain/restore.ts";
import { retained, type Dated } from "../../src/domain/retention.ts";
import { IDLE, NO_PROGRESS } from "../../src/domain/rollout-move.ts";
import { passTime } from "../../src/domain/rollout-tick.ts";
import {
  PHASES,
  STANDS_FOR,
  type RollbackPolicy,
  type RolloutState,
} from "../../src/domain/rollout-types.ts";
import { newGate } from "../../src/domain/signatures.ts";
import { millis, ppm } from "../../src/domain/units.ts";

const weights = fc.constantFrom(0, 10_000, 50_000, 250_000, 1_000_000).map(ppm);
const times = fc.constantFrom(0, 1000, 600_000).map(millis);
const STEPS = [0, 50_000, 250_000, 1_000_000].map((weight) => ({
  weight: ppm(weight),
  holdMs: millis(60_000),
  bake: false,
}));
const trips = fc.array(fc.nat({ max: 100_000 }), { maxLength: 3 });
const states: fc.Arbitrary<RolloutState> = fc.record({
  id: fc.constantFrom("", "r-1", "r-2"),
  phase: fc.constantFrom(...PHASES),
  step: fc.nat({ max: 3 }),
  steps: fc.constant(STEPS),
  weight: weights,
  heldMs: times,
  progress: fc.record({
    gate: fc.constantFrom(null, newGate(1)),
    isGateOpen: fc.boolean(),
    extendedMs: times,
    checkpointInMs: fc.constantFrom(null, millis(0), millis(1000)),
    preflight: fc.constantFrom(null, { passed: true, words: "" }, { passed: false, words: "no" }),
    isResumed: fc.boolean(),
    isConfirmed: fc.boolean(),
  }),
  windows: fc.constant([]),
  startsAtMs: fc.constantFrom(0, 1000, 10_000_000),
  scheduled: fc.constantFrom(null, { by: "ada", reason: "release 4" }),
  clocks: fc.constantFrom<RolloutState["clocks"]>({}, { "error_rate above 1% for 5m": millis(3000) }),
  cooldownLeftMs: times,
  verifyLeftMs: times,
  servedMs: times,
  confirmation: fc.oneof(
    trips.map((each) => ({ phase: "armed", trips: each }) as const),
    trips.map((each) => ({ phase: "tripped", untilMs: 700_000, trips: each }) as const),
    trips.map((each) => ({ phase: "probing", sinceMs: 0, responses: 5, trips: each }) as const),
  ),
  trippedFrom: weights,
  reason: fc.constantFrom("", "because"),
  standsFor: fc.constantFrom(null, ...STANDS_FOR),
  version: fc.constant("4.0"),
  revision: fc.nat({ max: 100 }),
  startedAt: fc.constant("2026-01-05T09:00:00.000Z"),
});
const POLICY: RollbackPolicy = {
  to: "previousStep",
  cooldownMs: millis(100_000),
  verifyMs: millis(50_000),
  whenStableUnhealthy: "rollback",
  confirm: true,
};
const WELL = { healthy: true, worseThanCanary: false };

t.test(
  "a restore raises nothing, and nothing that it brings back rises by itself, however well it goes (reliability 35)",
  (t) => {
    fc.assert(
      fc.property(states, states, (present, recorded) => {
        const decision = restored(present, recorded, { from: "b", why: "lost" });
        let { state } = decision;
        if (state.weight > present.weight || state.weight > recorded.weight) return false;
        // Set before it is recorded, as everything towards stable is.
        const order = decision.effects.map(({ type }) => type);
        const lowersFirst = !order.includes("set_weight") || order[0] === "set_weight";
        for (let tick = 0; tick < 20; tick += 1) {
          const verdict = { kind: "successful", checks: [], clocks: {} } as const;
          const event = { type: "tick", verdict, elapsedMs: millis(60_000), responses: 100 } as const;
          const next = passTime(state, event, POLICY, WELL, { wall: tick * 1_000_000, freezes: [] });
          if (next.state.weight > state.weight) return false;
          ({ state } = next);
        }
        return lowersFirst;
      }),
    );
    t.end();
  },
);

t.test("a restore shortens no cooldown, no watch over stable, and forgets what was measured then", (t) => {
  fc.assert(
    fc.property(states, states, (present, recorded) => {
      const state = asRestored(present, recorded, "restored");
      return (
        state.cooldownLeftMs >= present.cooldownLeftMs &&
        state.verifyLeftMs >= present.verifyLeftMs &&
        state.heldMs === 0 &&
        Object.keys(state.clocks).length === 0 &&
        state.confirmation.phase === "armed" &&
        state.trippedFrom === 0 &&
        state.startsAtMs === 0 &&
        state.scheduled === null &&
        JSON.stringify(state.progress) === JSON.stringify(NO_PROGRESS) &&
        state.confirmation.trips === recorded.confirmation.trips &&
        restored(present, recorded, { from: "b", why: "" }).state.revision === present.revision + 1
      );
    }),
  );
  t.end();
});

t.test("what rests and fits comes back as it was; what would climb or rise comes back paused", (t) => {
  const at = (phase: RolloutState["phase"], weight: number): RolloutState => ({
    ...IDLE,
    id: "r-1",
    steps: STEPS,
    step: 2,
    phase,
    weight: ppm(weight),
    reason: "as it was",
    standsFor: "person",
  });
  const table: readonly (readonly [RolloutState, RolloutState, string, number])[] = [
    [at("succeeded", 1_000_000), at("succeeded", 1_000_000), "succeeded", 1_000_000],
    [at("progressing", 250_000), IDLE, "idle", 0],
    [at("succeeded", 1_000_000), at("paused", 50_000), "paused", 50_000],
    [at("succeeded", 1_000_000), at("progressing", 50_000), "paused", 50_000],
    [at("paused", 250_000), at("baking", 250_000), "paused", 250_000],
    [at("rolled_back", 0), at("succeeded", 1_000_000), "paused", 0],
    [at("rolled_back", 0), at("rolled_back", 50_000), "rolled_back", 0],
    [IDLE, at("progressing", 50_000), "paused", 0],
    [IDLE, at("scheduled", 0), "paused", 0],
  ];
  for (const [present, recorded, phase, weight] of table) {
    const name = `${recorded.phase} ${recorded.weight} over ${present.phase} ${present.weight}`;
    const decision = restored(present, recorded, { from: "b", why: "the disk was lost" });
    t.match(decision, { reason: "restored from b: the disk was lost", state: { phase, weight } }, name);
    const isAsBefore = recorded.phase === phase;
    t.equal(decision.state.reason, isAsBefore ? recorded.reason : "Paused: restored from b", name);
    t.equal(decision.state.standsFor, isAsBefore ? recorded.standsFor : null, name);
  }
  t.end();
});

t.test("who has signed at a gate signs anew, and what has no step asks nobody", (t) => {
  const gate = { roles: ["on-call"], acknowledge: [], checklist: [], expiresMs: null, samePerson: false };
  const steps = STEPS.map((step) => ({ ...step, gate }));
  const signature = { role: "on-call", by: "ada", atMs: 0, comment: "" };
  const signed = { ...newGate(2), signatures: [signature] };
  const progress = { ...NO_PROGRESS, gate: signed, isGateOpen: true };
  const state: RolloutState = { ...IDLE, id: "r-1", phase: "paused", steps, step: 2, progress };
  t.same(asRestored(IDLE, state, "x").progress, { ...NO_PROGRESS, gate: newGate(2) });
  t.same(asRestored(IDLE, { ...state, step: 4 }, "x").progress, NO_PROGRESS);
  t.end();
});

t.test("a rollout is under way while its canary has traffic, or is to have it back after an alarm", (t) => {
  const paused: RolloutState = { ...IDLE, phase: "paused", weight: ppm(50_000) };
  t.ok(holdsTraffic(paused));
  t.ok(holdsTraffic({ ...paused, weight: ppm(0), trippedFrom: ppm(50_000) }));
  t.notOk(holdsTraffic({ ...paused, weight: ppm(0) }));
  t.ok(holdsTraffic({ ...paused, phase: "progressing" }));
  t.ok(holdsTraffic({ ...paused, phase: "baking" }));
  for (const phase of ["idle", "succeeded", "rolled_back"] as const)
    t.notOk(holdsTraffic({ ...paused, phase }));
  t.end();
});

const DAY = 86_400_000;

t.test("any sequence of backups and prunes keeps the newest, the last few, and one a day", (t) => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: -2 * DAY, max: 3 * DAY }), { minLength: 1, maxLength: 60 }),
      fc.integer({ min: 1, max: 8 }),
      fc.nat({ max: 10 }),
      (gaps, keep, days) => {
        let all: readonly Dated[] = [];
        let now = 1000 * DAY;
        for (const [index, gap] of gaps.entries()) {
          now += gap;
          all = [...all, { name: `b${String(index).padStart(3, "0")}`, at: now }];
          const kept = retained(all, { keep, days }, now);
          const left = all.filter(({ name }) => kept.has(name));
          const newest = all.reduce((a, b) => (b.at >= a.at ? b : a));
          if (!kept.has(newest.name) || left.length < Math.min(keep, all.length)) return false;
          const daysOf = (some: readonly Dated[]) =>
            new Set(some.filter(({ at }) => now - at < days * DAY).map(({ at }) => Math.floor(at / DAY)));
          if (daysOf(left).size !== daysOf(all).size) return false;
          // Bounded, whatever comes.
          const future = left.filter(({ at }) => at > now).length;
          if (left.length > keep + days + 1 + future) return false;
          all = left;
        }
        return true;
      },
    ),
  );
  t.end();
});

t.test("of a day the last backup stays, and what is older than the days that are kept goes", (t) => {
  const now = 100 * DAY + 1000;
  const all = [0, 1, 2, 30, 31].flatMap((age) =>
    [0, 1].map((n) => ({ name: `${age}-${n}`, at: 100 * DAY - age * DAY + n })),
  );
  t.same([...retained(all, { keep: 1, days: 31 }, now)].toSorted(), ["0-1", "1-1", "2-1", "30-1"]);
  t.same([...retained(all, { keep: 3, days: 0 }, now)].toSorted(), ["0-0", "0-1", "1-1"]);
  for (const names of [
    ["a", "b", "c"],
    ["c", "b", "a"],
  ]) {
    const same = names.map((name) => ({ name, at: now }));
    t.same([...retained(same, { keep: 1, days: 1 }, now)], ["c"], "of one moment, the last by name");
  }
  t.same([...retained([], { keep: 3, days: 9 }, now)], []);
  t.same([...retained(all, { keep: 0, days: 0 }, now)], ["0-1"], "the newest, whatever is asked");
  t.end();
});
