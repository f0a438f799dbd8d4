/** The safety switches as a state: each scope stands for itself, asked twice is done once, and nothing rises in an emergency. */

import fc from "fast-check";
import t from "tap";
import { isBelowAny } from "../../src/domain/path.ts";
import { IDLE } from "../../src/domain/rollout-move.ts";
import { decide } from "../../src/domain/rollout.ts";
import { passTime, waitOf } from "../../src/domain/rollout-tick.ts";
import type { RolloutEvent, RolloutState } from "../../src/domain/rollout-types.ts";
import {
  ALL_OFF,
  BARS,
  SWITCHES,
  barsOf,
  changesBetween,
  frozenBy,
  isAllOff,
  mergedSafety,
  safetyOf,
  switched,
  type SafetyState,
} from "../../src/domain/safety.ts";
import { newGate } from "../../src/domain/signatures.ts";
import { millis, ppm } from "../../src/domain/units.ts";

const THROWN = { since: "2026-01-05T09:00:00.000Z", by: "ada", reason: "a leak" };

function turned(
  state: SafetyState,
  which: (typeof SWITCHES)[number],
  on: boolean,
  route: string | null = null,
): SafetyState {
  const change = switched(state, { which, on, route, thrown: THROWN });
  if (!change.ok) throw new Error(change.message);
  return change.state;
}

const turn = fc.record({
  which: fc.constantFrom(...SWITCHES),
  on: fc.boolean(),
  route: fc.constantFrom(null, "app", "api"),
});

t.test(
  "whatever is switched in whatever order, a route is under what was thrown for it or for all",
  async () => {
    fc.assert(
      fc.property(fc.array(turn, { maxLength: 30 }), (script) => {
        let state = ALL_OFF;
        const on = new Set<string>();
        for (const { which, on: isOn, route } of script) {
          const change = switched(state, { which, on: isOn, route, thrown: THROWN });
          const key = `${which} ${route ?? "all"}`;
          if (!change.ok) {
            // Only off is refused, where it is on elsewhere.
            const elsewhere = route === null ? [`${which} app`, `${which} api`] : [`${which} all`];
            if (isOn || on.has(key) || !elsewhere.some((each) => on.has(each))) return false;
            continue;
          }
          if ((change.state === state) !== (on.has(key) === isOn)) return false;
          state = change.state;
          if (isOn) on.add(key);
          else on.delete(key);
        }
        const isRight = ["app", "api", "new"].every((route) =>
          SWITCHES.every(
            (which) =>
              (safetyOf(state, route)[which] !== undefined) ===
              (on.has(`${which} all`) || on.has(`${which} ${route}`)),
          ),
        );
        return isRight && isAllOff(state) === (on.size === 0);
      }),
    );
  },
);

t.test("who takes back what is on elsewhere is told where", async (t) => {
  const one = turned(ALL_OFF, "emergency", true, "app");
  t.match(switched(one, { which: "emergency", on: false, route: null, thrown: THROWN }), {
    ok: false,
    code: "SPLIT_PHASE_MISMATCH",
    message: "emergency is not on for all routes, but for app: name the route",
  });
  const all = turned(ALL_OFF, "read-only", true);
  t.match(switched(all, { which: "read-only", on: false, route: "app", thrown: THROWN }), {
    ok: false,
    message: /on for all routes: switch it off for all of them/,
  });
  t.equal(turned(one, "maintenance", false, "api"), one, "off is off");
  const both = turned(one, "maintenance", true, "app");
  t.strictSame(Object.keys(safetyOf(both, "app")).sort(), ["emergency", "maintenance"]);
  t.strictSame(turned(turned(both, "emergency", false, "app"), "maintenance", false, "app"), ALL_OFF);
});

t.test(
  "the bars of a route say what is answered; an emergency that leads to stable answers nothing",
  async (t) => {
    const throws = { emergency: THROWN, "read-only": THROWN };
    t.equal(barsOf(throws, true), BARS.emergency | BARS["read-only"]);
    t.equal(barsOf(throws, false), BARS["read-only"]);
    t.equal(barsOf({ maintenance: THROWN }, false), BARS.maintenance);
    t.equal(barsOf({}, true), 0);
    t.equal(frozenBy({ maintenance: THROWN }), null);
    t.equal(frozenBy(throws), "emergency is on since 2026-01-05T09:00:00.000Z, by ada: a leak");
    t.equal(
      frozenBy({ emergency: { ...THROWN, reason: "" } }),
      "emergency is on since 2026-01-05T09:00:00.000Z, by ada",
    );
  },
);

t.test("a path is below another one by whole segments, whatever its query", async (t) => {
  t.ok(isBelowAny(["/x", "/healthz"], "/healthz?deep=1"));
  t.ok(isBelowAny(["/healthz"], "/healthz/deep"));
  t.notOk(isBelowAny(["/healthz"], "/healthzz"));
  t.notOk(isBelowAny([], "/"));
});

const POLICY = {
  to: ppm(0),
  cooldownMs: millis(3_600_000),
  verifyMs: millis(60_000),
  whenStableUnhealthy: "rollback",
  confirm: true,
} as const;
const WELL = { healthy: true, worseThanCanary: false };
const FROZEN = { wall: 0, freezes: [], frozen: "emergency is on" };
const OPEN = { wall: 0, freezes: [] };
const STEPS = [10, 50].map((percent) => ({
  weight: ppm(percent * 10_000),
  holdMs: millis(60_000),
  bake: false,
  gate: {
    roles: [],
    acknowledge: [],
    checklist: [],
    expiresMs: null,
    samePerson: false,
    health: true as const,
  },
}));
const CLIMBING: RolloutState = {
  ...IDLE,
  id: "r",
  phase: "progressing",
  steps: STEPS,
  weight: ppm(100_000),
  progress: { ...IDLE.progress, gate: newGate(0) },
};
const asked = (command: object): RolloutEvent =>
  ({ reason: "", actor: { name: "ada" }, rolloutId: "n", at: "", force: true, ...command }) as RolloutEvent;
const tick = (kind: "successful" | "failed", checks: readonly object[] = []) =>
  ({ type: "tick", verdict: { kind, checks, clocks: {} }, elapsedMs: millis(60_000), responses: 0 }) as never;

t.test("in an emergency nothing that raises is done, force or not; what lowers or stops is", async (t) => {
  const paused: RolloutState = { ...CLIMBING, phase: "paused" };
  const raising: readonly (readonly [RolloutState, object])[] = [
    [IDLE, { type: "start", steps: STEPS, version: "" }],
    [{ ...CLIMBING, phase: "rolled_back", weight: ppm(0) }, { type: "retry" }],
    [paused, { type: "resume" }],
    [CLIMBING, { type: "promote", full: false, step: null }],
    [CLIMBING, { type: "set_weight", weight: ppm(200_000) }],
  ];
  for (const [state, command] of raising) {
    t.match(decide(state, asked(command), POLICY, WELL, FROZEN), {
      ok: false,
      code: "SPLIT_PHASE_MISMATCH",
      message: "emergency is on: nothing rises until it is off",
    });
    t.equal(decide(state, asked(command), POLICY, WELL, OPEN).ok, true);
  }
  for (const command of [
    { type: "pause" },
    { type: "rollback" },
    { type: "extend", byMs: millis(1) },
    { type: "set_weight", weight: ppm(50_000) },
  ])
    t.equal(decide(CLIMBING, asked(command), POLICY, WELL, FROZEN).ok, true);
  t.match(decide(IDLE, asked({ type: "resume" }), POLICY, WELL, FROZEN), {
    ok: false,
    message: /cannot be resumed/,
  });
});

t.test(
  "a frozen rollout serves no hold, climbs no step and verifies nothing, and rolls back all the same",
  async (t) => {
    const due: RolloutState = { ...CLIMBING, heldMs: millis(60_000) };
    const frozen = passTime(due, tick("successful"), POLICY, WELL, FROZEN);
    t.strictSame(frozen.effects, []);
    t.match(frozen.state, { weight: 100_000, heldMs: 60_000, servedMs: 0 });
    t.match(waitOf(due, "successful", FROZEN), { for: "emergency", words: "emergency is on" });
    t.equal(passTime(due, tick("successful"), POLICY, WELL, OPEN).state.weight, 500_000);
    const verifying: RolloutState = {
      ...CLIMBING,
      phase: "rolled_back",
      weight: ppm(0),
      verifyLeftMs: millis(1),
    };
    t.equal(passTime(verifying, tick("successful"), POLICY, WELL, FROZEN).state.verifyLeftMs, 1);
    const scheduled: RolloutState = { ...IDLE, id: "r", phase: "scheduled", steps: STEPS, startsAtMs: 0 };
    t.equal(passTime(scheduled, tick("successful"), POLICY, WELL, FROZEN).state.phase, "scheduled");
    t.equal(passTime(scheduled, tick("successful"), POLICY, WELL, OPEN).state.phase, "progressing");
    const failed = { kind: "failed", tier: "health", action: "rollback", rule: "health_failures" };
    t.equal(passTime(due, tick("failed", [failed]), POLICY, WELL, FROZEN).state.phase, "rolled_back");
  },
);

t.test("a gate that asks for health holds the step while a check fails, and says which", async (t) => {
  const due: RolloutState = { ...CLIMBING, heldMs: millis(60_000) };
  const unwell = { ...OPEN, unwell: "store: the disk is full" };
  t.match(waitOf(due, "successful", unwell), {
    for: "health",
    words: "waits for the health checks: store: the disk is full",
  });
  t.equal(passTime(due, tick("successful"), POLICY, WELL, unwell).state.weight, 100_000);
  const promote = asked({ type: "promote", full: false, step: null, force: false });
  t.match(decide(due, promote, POLICY, WELL, unwell), { ok: false, message: /store: the disk is full/ });
  t.equal(decide(due, promote, POLICY, WELL, OPEN).ok, true);
  t.equal(waitOf(due, "successful", OPEN), null);
});

t.test("what two replicas have switched at once is both, and where they differ it is on", async (t) => {
  const again = { ...THROWN, since: "2026-01-05T10:00:00.000Z" };
  const read = turned(ALL_OFF, "read-only", true, "app");
  const both = turned(read, "maintenance", true);
  t.same(mergedSafety(ALL_OFF, read, turned(ALL_OFF, "maintenance", true)), both);
  t.same(mergedSafety(read, ALL_OFF, read), ALL_OFF, "taken back here");
  t.same(mergedSafety(read, read, ALL_OFF), ALL_OFF, "or there");
  t.same(mergedSafety(read, ALL_OFF, ALL_OFF), ALL_OFF);
  const anew = { all: {}, routes: { app: { "read-only": again } } };
  t.same(mergedSafety(read, ALL_OFF, anew), anew, "thrown there again since");
  t.same(mergedSafety(read, anew, ALL_OFF), anew);
});

t.test("how the switches get from one state to another leads there", async () => {
  fc.assert(
    fc.property(fc.array(turn, { maxLength: 12 }), fc.array(turn, { maxLength: 12 }), (one, other) => {
      const [from, to] = [one, other].map((script) =>
        script.reduce<SafetyState>((state, order) => {
          const change = switched(state, { ...order, thrown: THROWN });
          return change.ok ? change.state : state;
        }, ALL_OFF),
      ) as [SafetyState, SafetyState];
      const after = mergedSafety(from, from, to);
      const changes = changesBetween(from, to);
      const isSame = JSON.stringify(from) === JSON.stringify(to);
      return changesBetween(after, to).length === 0 && (!isSame || changes.length === 0);
    }),
  );
});
