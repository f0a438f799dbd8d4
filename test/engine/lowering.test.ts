/** Lowering that meets something newer, and documents that pass each other by. */

import fc from "fast-check";
import t from "tap";
import { NO_ALERTS, openEvent } from "../../src/domain/alert.ts";
import { EMPTY_BOOK, noted, withIncident } from "../../src/domain/bulletin.ts";
import { openIncident, resolveIncident } from "../../src/domain/incident.ts";
import { lowersOrStops, loweredAgain, takesAway } from "../../src/domain/lowering.ts";
import { IDLE, NO_PROGRESS, ZERO } from "../../src/domain/rollout-move.ts";
import type { RolloutState } from "../../src/domain/rollout-types.ts";
import { NONE, millis, ppm } from "../../src/domain/units.ts";
import { adopted, isAfter, isNewer, isSameDecision, longestClocks } from "../../src/engine/adopting.ts";
import { FleetNotices } from "../../src/engine/fleet-notices.ts";
import type { Claim, Notice, Notifier, RecordedState, SharedStore } from "../../src/engine/ports.ts";
import { step } from "../support/engine.ts";
import { quietLog } from "../support/silence.ts";

const STEPS = [step(0, 0), step(5, 60), step(20, 60), step(50, 60)];
const climbing = (at: number, change: Partial<RolloutState> = {}): RolloutState => ({
  ...IDLE,
  id: "r",
  phase: "progressing",
  steps: STEPS,
  step: at,
  weight: STEPS[at]!.weight,
  revision: 10 + at,
  ...change,
});
const trip = (state: RolloutState, servedMs = 1000): RolloutState => ({
  ...state,
  weight: NONE,
  trippedFrom: state.weight,
  servedMs: millis(servedMs),
  confirmation: { phase: "tripped", untilMs: servedMs + 10_000, trips: [servedMs] },
  reason: "Tripped: errors",
  revision: state.revision + 1,
});
const back = (state: RolloutState, weight = NONE): RolloutState => ({
  ...state,
  phase: "rolled_back",
  weight,
  trippedFrom: NONE,
  cooldownLeftMs: millis(5000),
  reason: "Rolled back: errors",
  revision: state.revision + 1,
});
const byHand = (state: RolloutState, weight: number): RolloutState => ({
  ...state,
  phase: "paused",
  weight: ppm(weight * 10_000),
  trippedFrom: NONE,
  standsFor: "manual_weight",
  reason: "Paused (manual weight)",
});
const paused = (state: RolloutState): RolloutState => ({ ...state, phase: "paused", reason: "Paused" });

t.test("each way to lower is applied to what is newer", async (t) => {
  t.match(loweredAgain(climbing(3), back(climbing(2))), { phase: "rolled_back", weight: 0, revision: 14 });
  t.match(loweredAgain(climbing(3), back(climbing(2), STEPS[1]!.weight)), { weight: STEPS[1]!.weight });
  t.match(loweredAgain(climbing(3), { ...back(climbing(2)), id: "other" }), null);
  t.equal(loweredAgain(back(climbing(3)), back(climbing(2))), null, "it is rolled back already");
  t.match(loweredAgain(back(climbing(3), STEPS[1]!.weight), back(climbing(2))), { weight: 0 });
  t.equal(loweredAgain(back(climbing(3), STEPS[1]!.weight), trip(climbing(2))), null);
  t.match(loweredAgain(climbing(3, { servedMs: millis(4000) }), trip(climbing(2))), {
    weight: 0,
    trippedFrom: STEPS[3]!.weight,
    confirmation: { phase: "tripped", untilMs: 14_000 },
    phase: "progressing",
  });
  t.equal(loweredAgain(trip(climbing(3)), trip(climbing(2))), null, "both saw the same");
  t.match(loweredAgain(climbing(3), paused(trip(climbing(2)))), { phase: "paused", weight: 0 });
  t.match(loweredAgain(trip(climbing(3)), paused(trip(climbing(2)))), { phase: "paused", weight: 0 });
  t.match(loweredAgain(climbing(3), paused(climbing(2))), { phase: "paused", weight: STEPS[3]!.weight });
  t.equal(loweredAgain(paused(climbing(3)), paused(climbing(2))), null);
  t.match(loweredAgain(climbing(3), byHand(climbing(2), 10)), { phase: "paused", weight: 100_000 });
  t.match(loweredAgain(climbing(1), byHand(climbing(2), 10)), { phase: "paused", weight: 50_000 });
  t.match(loweredAgain(trip(climbing(3)), byHand(climbing(2), 10)), { weight: 0, trippedFrom: 0 });
  t.equal(loweredAgain(byHand(climbing(3), 2), byHand(climbing(2), 10)), null);
  const stepBack = { ...climbing(1), revision: 13 };
  t.match(loweredAgain(climbing(3), stepBack), {
    step: 1,
    weight: 50_000,
    heldMs: ZERO,
    progress: NO_PROGRESS,
  });
  t.equal(loweredAgain(climbing(1), stepBack), null);
});

t.test("whatever meets whatever, the canary has no more traffic than by either", async () => {
  const at = fc.nat(3).map((nth) => climbing(nth));
  const moved = fc
    .tuple(at, fc.nat(4), fc.nat(100))
    .map(
      ([from, kind, percent]) =>
        [back(from), trip(from), byHand(from, Math.min(percent, from.weight / 10_000)), paused(from), from][
          kind
        ]!,
    );
  fc.assert(
    fc.property(moved, moved, (theirs, mine) => {
      const result = loweredAgain(theirs, mine);
      const after = result ?? theirs;
      const lowers =
        mine.phase === "rolled_back" ||
        mine.confirmation.phase === "tripped" ||
        mine.standsFor === "manual_weight";
      if (result !== null && result.revision <= theirs.revision) return false;
      return after.weight <= theirs.weight && (!lowers || after.weight <= mine.weight);
    }),
  );
});

t.test("what a replica may do by itself takes away for certain", async (t) => {
  t.equal(takesAway(climbing(2), climbing(3)), false);
  t.equal(takesAway(climbing(2), climbing(1)), true);
  t.equal(takesAway(climbing(2), { ...climbing(1), id: "other" }), false);
  t.equal(takesAway(trip(climbing(2)), back(trip(climbing(2)))), true);
  t.equal(takesAway(climbing(2), paused(climbing(2))), false);
  t.equal(lowersOrStops(climbing(2), paused(climbing(2))), true);
  t.equal(lowersOrStops(climbing(2), climbing(1)), true);
  t.equal(lowersOrStops(paused(climbing(2)), climbing(2)), false);
});

t.test("which of two documents is the newer, and what becomes of what waits", async (t) => {
  t.ok(isNewer({ version: 1, epoch: 1 }, { version: 9 }));
  t.notOk(isNewer({ version: 9 }, { version: 1, epoch: 1 }));
  t.notOk(isNewer({ version: 9 }, { version: 9, epoch: 0 }));
  t.ok(isAfter("12-0", "9-5"));
  t.ok(isAfter("9-6", "9-5"));
  t.notOk(isAfter("9-5", "9-5"));
  t.notOk(isSameDecision(climbing(1), undefined));
  t.same(longestClocks({ a: millis(3), c: millis(2) }, { a: millis(5), b: millis(1) }), { a: 5, b: 1, c: 2 });
  const stopping = new Map([["app", "lowers" as const]]);
  t.match(
    adopted(
      { app: climbing(2) },
      { known: {}, leads: true, mine: { app: paused(climbing(2)) }, pending: stopping },
    ),
    { changed: { app: { phase: "paused" } } },
  );
  const held = { known: { app: climbing(2) }, leads: true };
  const time = new Map([["app", "time" as const]]);
  const mine = { app: climbing(2, { heldMs: millis(9000) }) };
  const waited = adopted({ app: climbing(2) }, { ...held, mine, pending: time });
  t.equal(waited.routes["app"]?.heldMs, 9000);
  t.same(waited.changed, {});
  t.match(adopted({ app: climbing(3) }, { ...held, mine, pending: time }), { changed: { app: { step: 3 } } });
  t.match(adopted({ app: climbing(2) }, { ...held, leads: false, mine, pending: time }), {
    routes: { app: { heldMs: 0 } },
  });
  const fresh = adopted(
    {},
    {
      known: {},
      leads: true,
      mine,
      pending: new Map([
        ["app", "raises"],
        ["gone", "time"],
      ]),
    },
  );
  t.same([...fresh.kept], [["app", "raises"]], "nobody else has recorded anything of it");
  const lost = adopted(
    { app: climbing(2) },
    { known: {}, leads: false, mine: { app: back(climbing(3)) }, pending: new Map() },
  );
  t.match(
    lost,
    { changed: { app: { phase: "rolled_back", revision: 14 } } },
    "a lowering that was lost is done again",
  );
  t.same([...lost.kept], [["app", "lowers"]]);
  const alerts = { ...NO_ALERTS, next: 2 };
  const alerted = adopted(
    { app: { ...climbing(2), alerts: NO_ALERTS } },
    { known: {}, leads: false, mine: { app: { ...back(climbing(3)), alerts } }, pending: new Map() },
  );
  t.match(alerted.routes, { app: { alerts: { next: 2 } } }, "with the alert that it is");
  const climbed = adopted(
    { app: climbing(2) },
    { known: {}, leads: false, mine: { app: climbing(3) }, pending: new Map() },
  );
  t.match(climbed, { changed: { app: { step: 2 } } }, "a raise that was lost is not");
  t.match(adopted({ other: climbing(1) }, { ...held, mine, pending: new Map() }), {
    changed: { other: { step: 1 } },
  });
});

/** What goes with a rollback of "r" at some second, where so much is on record. */
function toldOfRollback(recorded: RecordedState, at: number): RecordedState {
  const { alerts = NO_ALERTS, bulletins = EMPTY_BOOK } = recorded;
  const rules = [{ severity: "critical" as const, when: { event: "rolled_back" as const } }];
  const policy = { rules, clearMs: ZERO, repeatMs: null, levels: [], escalates: [] };
  const opened = openEvent(alerts, policy, "rolled_back", { wall: at * 1000, rollout: recorded.id })!;
  const incident = openIncident(
    {
      environment: "live",
      route: "app",
      rollout: recorded.id,
      version: "",
      openedAtMs: at * 1000,
      actor: "sluice",
      reason: "",
      fromWeight: 20,
      toWeight: 0,
      rules: [],
      figures: { stable: NO_FIGURES, canary: NO_FIGURES },
      requestsFailed: 0,
      requestsRescued: 0,
      distinctKeys: 0,
      keysCapped: false,
      breachMs: null,
      tookMs: 0,
      stableHealthy: true,
    },
    millis(1000),
  );
  const book = withIncident(noted(bulletins, { atMs: at * 1000, words: "rolled back" }), incident);
  return { ...back(recorded), alerts: opened.state, bulletins: book };
}
const NO_FIGURES = { requests: 0, failures: 0, errorRate: null, p95Ms: null };

t.test("a lowering that meets something newer takes back nothing of what was told there", async (t) => {
  const book = { ...EMPTY_BOOK, rollout: "r", isClosed: false };
  const paused = { atMs: 1000, words: "paused" };
  const earlier = toldOfRollback({ ...climbing(1), id: "r-0" }, 1);
  const known: RecordedState = {
    ...climbing(1),
    alerts: earlier.alerts,
    bulletins: { ...book, updates: [paused], incidents: earlier.bulletins!.incidents },
  };
  // The leader has ended what was open, said what was due, and been asked for silence.
  const [over] = known.bulletins!.incidents.map((each) =>
    resolveIncident(each, { atMs: 2000, by: "ada", how: "mended" }),
  );
  const silence = { id: "s-1", severity: null, metric: null, untilMs: 9e9, reason: "", by: "ada", atMs: 0 };
  const theirs: RecordedState = {
    ...climbing(2),
    alerts: { ...NO_ALERTS, next: 7, silences: [silence] },
    bulletins: { ...book, isAnnounced: true, digestAtMs: 5000, updates: [], incidents: [over!] },
  };
  const mine = toldOfRollback(known, 3);
  const pending = new Map([["app", "lowers" as const]]);
  const held = { known: { app: known }, mine: { app: mine }, pending, leads: false };
  const { alerts, bulletins } = adopted({ app: theirs }, held).routes["app"]!;
  t.match(alerts, { next: 7, silences: [{ id: "s-1" }], alerts: [{ subject: "rolled_back" }] });
  t.same(alerts!.incidents, mine.alerts!.incidents.slice(-1), "what is over stays over");
  t.equal(alerts!.alerts[0]!.incident, alerts!.incidents[0]!.id);
  t.match(bulletins, { isAnnounced: true, digestAtMs: 5000, updates: [{ words: "rolled back" }] });
  t.equal(bulletins!.updates.length, 1, "what was told is not told again");
  t.match(bulletins!.incidents, [
    { rollout: "r-0", status: "resolved" },
    { rollout: "r", status: "open" },
  ]);
  t.equal(bulletins!.incidents.length, 2);

  const both = adopted({ app: { ...toldOfRollback(theirs, 2), weight: ppm(10_000) } }, held).routes["app"]!;
  t.match(both, { weight: 0, phase: "rolled_back" });
  t.equal(both.alerts!.alerts.length, 1, "two who roll back the same open one alert");
  t.equal(both.bulletins!.incidents.length, 2, "and one incident");

  const { bulletins: _none, alerts: _neither, ...bare } = theirs;
  const alone = adopted({ app: bare }, held).routes["app"]!;
  t.match(alone, { bulletins: mine.bulletins!, alerts: { next: mine.alerts!.next } });
  const next: RecordedState = { ...theirs, bulletins: { ...EMPTY_BOOK, rollout: "r-2" } };
  t.same(adopted({ app: next }, held).routes["app"]!.bulletins!.updates, [], "of another rollout");
});

const NOTICE: Notice = {
  id: "app:r:1:e",
  severity: "emergency",
  event: "e",
  route: "app",
  rollout: "r",
  summary: "",
  lines: [],
  details: {},
  audience: "operators",
};

t.test("what cannot be claimed is told late, where somebody has to get up for it", async (t) => {
  const told: string[] = [];
  let answer: Claim | undefined = undefined;
  let now = millis(0);
  const store = {
    replica: "a",
    lease: () => ({ isLeader: false, leader: "b", fence: 0 }),
    claim: () => Promise.resolve(answer),
    done: () => Promise.resolve(true),
  } as unknown as SharedStore;
  const notices = new FleetNotices(store, { notify: ({ id }) => void told.push(id) }, () => now, quietLog());
  const notice = (id: string, severity: Notice["severity"]): Notice => ({ ...NOTICE, id, severity });
  notices.notify(notice("random", "emergency"));
  for (let nth = 0; nth < 110; nth++) notices.notify(notice(`app:r:${nth}:x`, "info"));
  notices.notify(notice("app:r:1:e", "emergency"));
  // Each was tried at once.
  await new Promise((resolve) => setImmediate(resolve));
  await notices.retry(now);
  t.same(told, []);
  now = millis(31_000);
  await notices.retry(now);
  t.same(told, ["app:r:1:e"]);
  answer = "done";
  await notices.retry(now);
  await notices.retry(now);
  t.same(told, ["app:r:1:e"], "what others have told is not told");
});

t.test("what a replica had claimed that is gone is told by another, as what may have arrived", async (t) => {
  const told: string[] = [];
  const said: string[] = [];
  let [answer, isUp, now] = ["theirs" as Claim, false, millis(0)];
  let end: () => void = () => {};
  const store = {
    claim: (_id: string, takesOver: boolean) =>
      Promise.resolve(takesOver && answer === "gone" ? "ours" : answer),
    done: (id: string) => {
      if (isUp) said.push(id);
      return Promise.resolve(isUp);
    },
  } as unknown as SharedStore;
  const inner: Notifier = {
    notify({ id }, handing) {
      told.push(`${id} ${handing?.mayHaveArrived}`);
      end = handing!.done;
    },
  };
  const notices = new FleetNotices(store, inner, () => now, quietLog());
  const at = async (ms: number, claim: Claim): Promise<void> => {
    now = millis(ms);
    answer = claim;
    await notices.retry(now);
  };
  notices.notify(NOTICE);
  await at(1000, "theirs");
  await at(2000, "gone");
  await at(3000, "theirs");
  await at(4000, "gone");
  await at(6900, "gone");
  t.same(told, [], "who comes back within three seconds tells it");
  await at(7000, "gone");
  t.same(told, [`${NOTICE.id} true`]);
  end();
  await at(8000, "ours");
  t.same(said, [], "the store is away");
  isUp = true;
  await at(9000, "ours");
  await at(10_000, "ours");
  t.same(said, [NOTICE.id]);
  t.equal(told.length, 1);
});
