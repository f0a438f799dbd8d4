/** The plan of seven days, whole, through the engine with the clock moved by hand, killed and resumed on the way. */

import t from "tap";
import { planNamed } from "../../src/config/presets.ts";
import { planOf } from "../../src/config/plan.ts";
import type { Config } from "../../src/config/schema.ts";
import type { Actor, Command } from "../../src/domain/rollout-types.ts";
import type { Notice, StateDocument, Store } from "../../src/engine/ports.ts";
import { decodeState, encodeState } from "../../src/store/document.ts";
import { fakeClock } from "../support/clock.ts";
import { fakeDice } from "../support/dice.ts";
import { bench, benchConfig, statusOf, type Bench } from "../support/engine.ts";

const HOUR = 3600;
const DAY = 24 * HOUR;
const ROLES = ["deployment-lead", "on-call", "platform-lead", "stakeholders"];
const QUIET = { onAny: [{ metric: "health_failures", atLeast: 5 }] };
const SAFE = planOf(planNamed({}, "safe")!);
/** Monday. */
const MONDAY = Date.parse("2026-01-05T09:00:00Z");

/** A store that takes what it is given: half a million saves in a minute. What is read from it after a kill went through its text. */
class QuickStore implements Store {
  document: StateDocument | undefined = undefined;

  load() {
    if (this.document === undefined) return Promise.resolve({ kind: "none" as const });
    const encoded = encodeState(this.document, "quick");
    const decoded = decodeState(encoded.ok ? encoded.text : encoded.detail);
    if (!decoded.ok) throw new Error(decoded.detail);
    return Promise.resolve({ kind: "found" as const, document: decoded.document });
  }

  save(document: StateDocument) {
    this.document = document;
    return Promise.resolve({ ok: true as const });
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

const ask = (b: Bench, command: Command, actor: Actor = { name: "ada" }) =>
  b.controller.command("app", command, actor);

async function begun(config: Config): Promise<Bench> {
  const clock = fakeClock();
  clock.jumpWall(MONDAY - 30 * HOUR * 1000 - clock.wall());
  const b = await bench(config, { clock, store: new QuickStore() });
  const announce = { noticeMs: SAFE.noticeMs, waiver: null };
  const { steps, windows } = SAFE;
  const done = await ask(b, {
    type: "start",
    steps,
    windows,
    announce,
    startsAtMs: MONDAY,
    version: "4",
    force: false,
    reason: "4.0",
  });
  t.ok(done.ok, done.ok ? "begun" : done.message);
  return b;
}

/** Time passes, two seconds at a tick, and both arms do well. */
async function pass(b: Bench, seconds: number): Promise<void> {
  for (let left = seconds; left > 0; left -= 20) {
    const { weight } = statusOf(b);
    const canary = Math.round(200 * (weight / 100));
    if (canary < 200) b.plane.serve("app", "stable", { ok: 200 - canary });
    if (canary > 0) b.plane.serve("app", "canary", { ok: canary });
    await b.clock.advance(Math.min(left, 20) * 1000, "2s");
  }
}

/** Everybody who is asked at the present step signs, and ticks everything. */
async function signAll(b: Bench): Promise<void> {
  const { gate, step } = statusOf(b);
  if (gate === null || gate.granted) return;
  const { roles, acknowledge, items } = gate.missing;
  for (const role of [...roles, ...acknowledge]) {
    const actor = { name: `${role}'s`, roles: ROLES.filter((each) => each === role) };
    const signed = await ask(b, { type: "approve", step, role, items, reason: "go" }, actor);
    t.ok(signed.ok, signed.ok ? role : signed.message);
  }
}

t.test(
  "the plan of seven days runs whole, killed and resumed a dozen times, and succeeds exactly once (acceptance 11, 27)",
  async (t) => {
    const config = benchConfig({ rollback: QUIET });
    let b = await begun(config);
    const dice = fakeDice(11);
    const weights: string[] = [];
    /** By id, in the order in which they were told first; what a restart tells again is the same. */
    const told = new Map<string, Notice>();
    const look = (): void => {
      for (const notice of b.notices.splice(0)) {
        t.same(told.get(notice.id) ?? notice, notice, "one id, one message");
        told.set(notice.id, notice);
      }
    };
    let kills = 0;
    for (let hour = 0; hour < 24 * 14 && statusOf(b).phase !== "succeeded"; hour++) {
      const before = statusOf(b).weight;
      const seconds = 600 + Math.floor(dice.random() * 3000);
      await pass(b, seconds);
      if (kills < 12 && dice.random() < 0.1) {
        const { heldMs, step, gate } = statusOf(b);
        look();
        b.kill();
        const { store, journal, clock } = b;
        b = await bench(config, { store, journal, clock });
        kills++;
        t.match(statusOf(b), { step }, "it goes on where it was");
        t.ok(Math.abs(statusOf(b).heldMs - heldMs) <= 1000, "with the hold that was left");
        t.same(statusOf(b).gate, gate, "and with what was signed");
      }
      await pass(b, HOUR - seconds);
      await signAll(b);
      look();
      const { weight } = statusOf(b);
      if (weight !== before) weights.push(`${new Date(b.clock.wall()).toISOString().slice(0, 13)} ${weight}`);
    }
    t.equal(kills, 12);
    t.same(weights, [
      "2026-01-05T10 5",
      "2026-01-06T09 10",
      "2026-01-07T09 25",
      "2026-01-08T09 50",
      "2026-01-09T09 75",
      "2026-01-10T09 100",
    ]);
    t.match(statusOf(b), { phase: "succeeded", weight: 100 });
    // The final report comes behind the line of the success that it tells of.
    await pass(b, 2);
    look();
    const events = b.journal.entries.map(({ event }) => event);
    t.equal(events.filter((each) => each === "DEPLOY_SUCCESS").length, 1);
    t.equal(events.filter((each) => each === "STEP_STARTED").length, 7);
    t.equal(events.filter((each) => each === "VALIDATION_COMPLETE").length, 1);
    t.ok(events.filter((each) => each === "CHECKPOINT").length >= 20);
    const stakeholders = [...told.values()].filter(({ audience }) => audience === "stakeholders");
    const digests = stakeholders.filter(({ event }) => event === "digest");
    t.equal(stakeholders[0]?.event, "announced");
    t.match(stakeholders[0]?.summary, "version 4 in production begins Mon 2026-01-05 09:00 UTC");
    t.same(
      digests.map(({ id }) => id.slice(-24, -14)),
      ["06", "07", "08", "09", "10", "11", "12"].map((day) => `2026-01-${day}`),
      "one a day",
    );
    t.match(stakeholders.at(-1), {
      event: "final_report",
      details: { status: "SUCCEEDED", rolloutPercent: 100 },
    });
    t.equal(stakeholders.length, digests.length + 2);
    const days = (b.clock.wall() - MONDAY) / (DAY * 1000);
    t.ok(days > 7.9 && days < 9.2, `${days} days`);
    const again = { type: "start", steps: SAFE.steps, version: "5", force: false, reason: "5.0" } as const;
    t.ok((await ask(b, again)).ok);
    t.match(statusOf(b), { step: 0, weight: 0 }, "a new one starts at step 0 (acceptance 23)");
  },
);
