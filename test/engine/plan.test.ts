/** Plans with people, windows and a calendar, through the engine with the clock moved by hand. Hours of the plan are minutes here. */

import t from "tap";
import { planNamed } from "../../src/config/presets.ts";
import { planOf } from "../../src/config/plan.ts";
import { millis, type Millis } from "../../src/domain/units.ts";
import type { Config } from "../../src/config/schema.ts";
import type { Actor, Command } from "../../src/domain/rollout-types.ts";
import { fakeClock, type FakeClock } from "../support/clock.ts";
import { bench, benchConfig, statusOf, type Bench } from "../support/engine.ts";

/** An hour of the plan, in seconds. */
const HOUR = 60;
const DAY = 24 * HOUR;
const LEAD: Actor = { name: "ada", roles: ["deployment-lead"] };
const ON_CALL: Actor = { name: "bob", roles: ["on-call"] };
const QUIET = { onAny: [{ metric: "health_failures", atLeast: 5 }] };
const BREACH = { onAny: [{ metric: "error_rate", above: "1%", for: "1m" }] };
const WRITTEN = planOf(planNamed({}, "safe")!);
const shorter = (ms: number): Millis => millis(ms / 60);
const SAFE = {
  ...WRITTEN,
  noticeMs: shorter(WRITTEN.noticeMs),
  steps: WRITTEN.steps.map(({ weight, bake, gate, preflight, holdMs, checkpointMs = millis(0) }) => ({
    weight,
    bake,
    ...(gate === undefined ? {} : { gate }),
    ...(preflight === undefined ? {} : { preflight }),
    holdMs: shorter(holdMs),
    checkpointMs: shorter(checkpointMs),
  })),
};
/** Monday. */
const MONDAY = Date.parse("2026-01-05T09:00:00Z");

function clockAt(wall: number): FakeClock {
  const clock = fakeClock();
  clock.jumpWall(wall - clock.wall());
  return clock;
}

type Ask = (command: Command, actor?: Actor) => ReturnType<Bench["controller"]["command"]>;
const asking =
  (b: Bench): Ask =>
  (command, actor = LEAD) =>
    b.controller.command("app", command, actor);
const eventsOf = (b: Bench) => b.journal.entries.map(({ event }) => event);

async function safe(
  config: Config,
  more: Partial<Extract<Command, { type: "start" }>> = {},
  wall = MONDAY,
): Promise<Bench> {
  const b = await bench(config, { clock: clockAt(wall) });
  const announce = { noticeMs: SAFE.noticeMs, waiver: "rehearsed" };
  const { steps, windows } = SAFE;
  const start = {
    type: "start",
    steps,
    windows,
    announce,
    version: "4",
    force: false,
    reason: "4.0",
  } as const;
  const done = await asking(b)({ ...start, ...more });
  t.ok(done.ok, done.ok ? "begun" : done.message);
  return b;
}

/** Both arms do well; sparse, so that days pass in seconds. */
function well(b: Bench): () => void {
  let second = 0;
  return () => {
    if (second++ % 20 !== 0) return;
    const { weight } = statusOf(b);
    const canary = Math.round(200 * (weight / 100));
    if (canary < 200) b.plane.serve("app", "stable", { ok: 200 - canary });
    if (canary > 0) b.plane.serve("app", "canary", { ok: canary });
  };
}

/** Everybody who is asked at the present step signs, and ticks everything. */
async function signAll(b: Bench): Promise<void> {
  const { gate, step } = statusOf(b);
  if (gate === null || gate.granted) return;
  const { roles, acknowledge, items } = gate.missing;
  for (const role of [...roles, ...acknowledge]) {
    const actor = [LEAD, ON_CALL].find((each) => each.roles?.includes(role));
    const signed = await asking(b)({ type: "approve", step, role, items, reason: "go" }, actor);
    t.ok(signed.ok, signed.ok ? role : signed.message);
  }
}

t.test(
  "outside its window a step that is satisfied waits, and a breach rolls back at once (acceptance 26)",
  async (t) => {
    const b = await safe(benchConfig({ rollback: BREACH }), {}, MONDAY + 54 * 60_000);
    await signAll(b);
    await b.run(10, well(b));
    t.equal(statusOf(b).weight, 5);
    await signAll(b);
    await b.run(10 * HOUR, well(b));
    t.match(statusOf(b), {
      weight: 5,
      phase: "progressing",
      waiting: { for: "window", words: "outside the window 09:00–10:00 UTC, opens Tue 2026-01-06 09:00 UTC" },
    });
    await b.run(90, () => {
      b.plane.serve("app", "stable", { ok: 95 });
      b.plane.serve("app", "canary", { ok: 0, failed: 5 });
    });
    t.match(statusOf(b), { weight: 0, phase: "rolled_back" });
  },
);

t.test(
  "a breach while a gate waits rolls back, and so does one at hour 30 of the bake (acceptance 5)",
  async (t) => {
    const fails = (b: Bench, share: number) => () => {
      b.plane.serve("app", "stable", { ok: 100 });
      b.plane.serve("app", "canary", { ok: 0, failed: Math.round(100 * share) });
    };
    const b = await safe(benchConfig({ rollback: BREACH }));
    await signAll(b);
    await b.run(10, well(b));
    await b.run(9 * HOUR, well(b));
    t.match(statusOf(b).waiting, { for: "gate", words: "waits for the signature of deployment-lead" });
    t.ok(eventsOf(b).includes("GATE_OPENED"));
    await b.run(90, fails(b, 0.3));
    t.match(statusOf(b), { weight: 0, phase: "rolled_back" });

    const baking = await safe(benchConfig({ rollback: BREACH }));
    await asking(baking)({ type: "promote", full: true, step: 0, force: true, reason: "drill" });
    t.match(statusOf(baking), { phase: "baking", weight: 100 });
    await baking.run(30 * HOUR, well(baking));
    t.match(statusOf(baking), { phase: "baking" });
    await baking.run(90, fails(baking, 1));
    t.match(statusOf(baking), { weight: 0, phase: "rolled_back" });
  },
);

t.test(
  "a late click signs nothing, a token without the role neither, and that is on record (acceptance 22)",
  async (t) => {
    const b = await safe(benchConfig({ rollback: QUIET }));
    const ask = asking(b);
    const sign = { type: "approve", step: 0, role: "deployment-lead", items: [], reason: "" } as const;
    t.match(await ask({ ...sign, step: 1 }), { ok: false, code: "SPLIT_PHASE_MISMATCH" });
    t.match(await ask(sign, ON_CALL), {
      ok: false,
      code: "SPLIT_FORBIDDEN",
      message: 'the token "bob" has not the role "deployment-lead"; it has on-call',
    });
    t.match(
      await ask(
        { ...sign, type: "reject", answer: { type: "hold" }, reason: "no" },
        { name: "x", roles: [] },
      ),
      {
        ok: false,
        code: "SPLIT_FORBIDDEN",
      },
    );
    await new Promise(setImmediate);
    t.match(b.journal.entries.at(-1), { event: "GATE_REFUSED", actor: "x", reason: /it has none$/ });
    await b.run(60, well(b));
    t.match(statusOf(b), { step: 0, weight: 0 });
    t.ok((await ask(sign)).ok);
    await b.run(60, well(b));
    t.match(statusOf(b).waiting, { for: "gate", words: /^waits for the checklist: / });
    t.match(await ask({ ...sign, items: ["dashboards-ready", "nonsense"] }), {
      ok: false,
      code: "SPLIT_INPUT_INVALID",
    });
    await signAll(b);
    const rest = statusOf(b).gate!.missing.items;
    t.ok((await ask({ ...sign, items: rest })).ok);
    await b.run(5, well(b));
    t.match(statusOf(b), { step: 1, weight: 5 });
    t.match(await ask(sign), { ok: false, code: "SPLIT_PHASE_MISMATCH" }, "the step that was seen is over");
  },
);

t.test("who says no says what is to happen: hold, extend, step back, or roll back", async (t) => {
  const at5 = async (): Promise<Bench> => {
    const b = await safe(benchConfig({ rollback: QUIET }));
    await signAll(b);
    await b.run(10, well(b));
    await b.run(8 * HOUR, well(b));
    t.match(statusOf(b), { step: 1, weight: 5, waiting: { for: "gate" } });
    return b;
  };
  const no = { type: "reject", step: 1, role: "deployment-lead", reason: "slow" } as const;
  const held = await at5();
  t.ok((await asking(held)({ ...no, answer: { type: "hold" } })).ok);
  t.match(statusOf(held), {
    phase: "paused",
    weight: 5,
    reason: "Held: rejected by ada (deployment-lead): slow",
  });
  t.ok((await asking(held)({ type: "resume", reason: "" })).ok);
  t.match(statusOf(held).gate, { granted: false, missing: { roles: ["deployment-lead"] } }, "asked anew");

  const longer = await at5();
  t.ok((await asking(longer)({ ...no, answer: { type: "extend", byMs: (DAY * 1000) as never } })).ok);
  await signAll(longer);
  t.match(statusOf(longer), {
    phase: "progressing",
    waiting: { for: "hold", words: "24m of its hold are left" },
  });
  await longer.run(DAY + 5, well(longer));
  t.match(statusOf(longer), { step: 2, weight: 10 });

  const back = await at5();
  t.ok((await asking(back)({ ...no, answer: { type: "stepBack" } })).ok);
  t.match(statusOf(back), { step: 0, weight: 0, phase: "progressing", gate: { granted: false } });

  const over = await at5();
  t.ok((await asking(over)({ ...no, answer: { type: "rollback" } })).ok);
  t.match(statusOf(over), { weight: 0, phase: "rolled_back" });
  t.ok(eventsOf(over).includes("ROLLBACK_DONE"));
});

t.test(
  "a step can be given more time, gone back from, and a rollback be tried again after its cooldown",
  async (t) => {
    const steps = planOf(planNamed({}, "fast")!).steps;
    const b = await safe(benchConfig({ rollback: { ...QUIET, cooldown: "10m" } }), { steps, windows: [] });
    const ask = asking(b);
    t.match(await ask({ type: "step_back", reason: "" }), { ok: false, code: "SPLIT_PHASE_MISMATCH" });
    await b.run(5, well(b));
    t.match(statusOf(b), { step: 1, weight: 25, waiting: { for: "hold" } });
    t.ok((await ask({ type: "extend", byMs: (HOUR * 1000) as never, reason: "more data" })).ok);
    t.ok(statusOf(b).holdLeftMs > 85 * 1000, String(statusOf(b).holdLeftMs));
    t.ok((await ask({ type: "step_back", reason: "odd" })).ok);
    t.match(statusOf(b), { step: 0, weight: 0, reason: "odd" });
    t.match(await ask({ type: "retry", force: false, reason: "" }), {
      ok: false,
      code: "SPLIT_PHASE_MISMATCH",
    });
    const { rollout } = statusOf(b);
    await ask({ type: "rollback", reason: "enough" });
    t.match(await ask({ type: "step_back", reason: "" }), { ok: false });
    t.match(await ask({ type: "extend", byMs: 1000 as never, reason: "" }), { ok: false });
    t.match(await ask({ type: "retry", force: false, reason: "" }), { ok: false, code: "SPLIT_COOLDOWN" });
    await b.run(601, well(b));
    t.ok((await ask({ type: "retry", force: false, reason: "fixed" })).ok);
    t.match(statusOf(b), { step: 0, phase: "progressing" });
    t.not(statusOf(b).rollout, rollout, "with a new shuffle");
  },
);

t.test("a start is announced, or says why not, and begins when its time has come", async (t) => {
  const b = await bench(benchConfig({ rollback: QUIET }), { clock: clockAt(MONDAY) });
  const ask = asking(b);
  const { steps, windows, noticeMs } = SAFE;
  const start = { type: "start", steps, windows, version: "", force: false, reason: "" } as const;
  const announce = { noticeMs, waiver: null };
  t.match(await ask({ ...start, announce }), {
    ok: false,
    code: "SPLIT_INPUT_INVALID",
    message: /24m of notice|24m/,
  });
  const startsAtMs = MONDAY + DAY * 1000;
  t.ok((await ask({ ...start, announce, startsAtMs, reason: "release 4" })).ok);
  t.match(statusOf(b), {
    phase: "scheduled",
    weight: 0,
    reason: "scheduled for Mon 2026-01-05 09:24 UTC: release 4",
    startsAt: "2026-01-05T09:24:00.000Z",
    waiting: { for: "start", words: "begins in 24m" },
  });
  t.match(b.notices.at(-1), { event: "ROLLOUT_SCHEDULED" });
  b.kill();
  const { store, journal, clock } = b;
  const again = await bench(benchConfig({ rollback: QUIET }), { store, journal, clock });
  await again.run(DAY - 5, well(again));
  t.equal(statusOf(again).phase, "scheduled");
  await again.run(6, well(again));
  t.match(statusOf(again), { phase: "progressing", step: 0, startsAt: null });
  const started = again.journal.entries.filter(({ event }) => event === "DEPLOY_START");
  t.match(started, [{ actor: "ada", reason: "release 4 (the time that it was scheduled for has come)" }]);
  t.equal(started.length, 1);

  const cancelled = await bench(benchConfig({ rollback: QUIET }), { clock: clockAt(MONDAY) });
  await asking(cancelled)({ ...start, announce, startsAtMs });
  t.ok((await asking(cancelled)({ type: "rollback", reason: "not today" })).ok);
  t.match(statusOf(cancelled), { phase: "idle", cooldownLeftMs: 0 });
});

t.test(
  "nobody raises by hand through a window, a freeze or a gate, except with force and a reason",
  async (t) => {
    const night = clockAt(MONDAY + 15 * 3_600_000);
    const freezes = [{ from: "2026-01-06T00:00:00Z", to: "2026-01-07T00:00:00Z", reason: "inventory" }];
    const b = await bench(benchConfig({ rollback: QUIET }, { freezes }), { clock: night });
    const ask = asking(b);
    const raise = { type: "set_weight", weight: 50_000 as never, force: false, reason: "" } as const;
    t.match(await ask(raise), {
      ok: false,
      code: "SPLIT_PHASE_MISMATCH",
      message: "frozen (inventory), opens Wed 2026-01-07 00:00 UTC: wait, or force with a reason",
    });
    t.ok((await ask({ ...raise, force: true, reason: "incident" })).ok);
    t.ok((await ask({ ...raise, weight: 10_000 as never })).ok, "lowering asks nobody");

    const gated = await safe(benchConfig({ rollback: QUIET }));
    await gated.run(5, well(gated));
    const promote = { type: "promote", full: false, step: 0, reason: "" } as const;
    t.match(await asking(gated)(promote), {
      ok: false,
      message: /^waits for the signature of deployment-lead/,
    });
    t.match(await asking(gated)({ ...promote, full: true }), {
      ok: false,
      message: /^there are gates or checks on the way/,
    });
    t.ok((await asking(gated)({ ...promote, force: true, reason: "incident" })).ok);
    t.equal(statusOf(gated).weight, 5);
    await gated.run(9 * HOUR, well(gated));
    gated.clock.jumpWall(3_600_000);
    await signAll(gated);
    t.match(await asking(gated)({ ...promote, step: 1 }), {
      ok: false,
      message: /^outside the window 09:00–10:00 UTC/,
    });
  },
);

t.test("a plan that pauses waits for a person at the end of the step, as Argo's does", async (t) => {
  const plan = planNamed({ argo: undefined as never }, "fast");
  t.ok(plan);
  const steps = [
    { weight: 100_000 as never, holdMs: 5000 as never, bake: false, pause: true as const },
    { weight: 200_000 as never, holdMs: 0 as never, bake: false },
  ];
  const b = await safe(benchConfig({ rollback: QUIET }), { steps, windows: [] });
  await b.run(4, well(b));
  t.match(statusOf(b), { phase: "progressing", waiting: { for: "hold" } });
  await b.run(2, well(b));
  t.match(statusOf(b), { phase: "paused", weight: 10, reason: "Paused: the plan waits here for a person" });
  await b.run(100, well(b));
  t.equal(statusOf(b).weight, 10);
  t.ok((await asking(b)({ type: "resume", reason: "" })).ok);
  await b.run(2, well(b));
  t.match(statusOf(b), { weight: 20, phase: "succeeded" });
});

const CHECKED = [
  { weight: 0 as never, holdMs: millis(0), bake: false, preflight: true as const },
  { weight: 100_000 as never, holdMs: millis(0), bake: false },
];
const START = { type: "start", steps: CHECKED, version: "4", force: false, reason: "" } as const;

t.test("checks that fail hold the first step until they are run again and pass", async (t) => {
  let isWell = false;
  let runs = 0;
  const preflight = {
    run: (_route: string, _version: string) => {
      runs++;
      return Promise.resolve([
        { name: "arms", ok: true, required: true, detail: "4/4", tookMs: 1 },
        { name: "smoke", ok: isWell, required: true, detail: "GET / was answered 500", tookMs: 2 },
        { name: "staging", ok: false, required: false, detail: "no report", tookMs: 0 },
      ]);
    },
  };
  const b = await bench(benchConfig({ rollback: QUIET }), { preflight });
  t.ok((await asking(b)(START)).ok);
  await b.run(3, well(b));
  // Recording goes on beside the ticks.
  await new Promise(setImmediate);
  t.equal(runs, 1, "once, and not at every tick");
  t.match(statusOf(b), {
    phase: "paused",
    weight: 0,
    reason: "Paused: 1 of 2 failed: smoke; without staging; smoke: GET / was answered 500",
  });
  t.match(b.journal.entries.at(-1), {
    event: "VALIDATION_FAILED",
    details: { results: [{ name: "arms" }, { name: "smoke", ok: false }, { name: "staging" }] },
  });
  isWell = true;
  t.ok((await asking(b)({ type: "retry", force: false, reason: "fixed" })).ok);
  await b.run(3, well(b));
  await new Promise(setImmediate);
  await b.run(1, well(b));
  t.equal(runs, 2);
  t.match(statusOf(b), { weight: 10 });
  t.ok(eventsOf(b).includes("VALIDATION_COMPLETE"));
});

t.test("checks that end when their step is over mean nothing", async (t) => {
  let end: () => void = () => {};
  const preflight = { run: () => new Promise<never[]>((resolve) => (end = () => resolve([]))) };
  const b = await bench(benchConfig({ rollback: QUIET }), { preflight });
  await asking(b)(START);
  await b.run(2, well(b));
  t.match(statusOf(b), {
    weight: 0,
    waiting: { for: "preflight", words: "everything is checked before it is left" },
  });
  await asking(b)({ type: "promote", full: false, step: 0, force: true, reason: "x" });
  end();
  await b.run(1, well(b));
  t.notOk(eventsOf(b).includes("VALIDATION_COMPLETE"));
  await asking(b)({ type: "rollback", reason: "x" });
  const other = await bench(benchConfig({ rollback: QUIET }), { preflight });
  await asking(other)(START);
  await other.run(1, well(other));
  await asking(other)({ ...START, force: true, reason: "again" });
  end();
  await other.run(1, well(other));
  t.notOk(eventsOf(other).includes("VALIDATION_COMPLETE"), "another rollout is under way");
});

t.test("there is a backup before a start, or no start but with force", async (t) => {
  let disk = true;
  const made: string[] = [];
  const backups = {
    create: (reason: string) => {
      made.push(reason);
      const name = "20260105T090000Z_before_start";
      return Promise.resolve(
        disk ? ({ ok: true, name } as const) : ({ ok: false, detail: "disk full" } as const),
      );
    },
  };
  const b = await bench(benchConfig({ rollback: QUIET }), { backups });
  disk = false;
  t.match(await asking(b)(START), {
    ok: false,
    code: "SPLIT_STATE_UNWRITABLE",
    message: "no backup could be made, so nothing was started: disk full",
  });
  t.match(statusOf(b), { phase: "idle" });
  t.ok((await asking(b)({ ...START, force: true, reason: "urgent" })).ok);
  disk = true;
  await asking(b)({ type: "rollback", reason: "x" });
  t.ok((await asking(b)({ type: "retry", force: true, reason: "x" })).ok);
  t.same(made, ["before_start", "before_start", "before_start"]);
  await new Promise(setImmediate);
  t.match(
    b.journal.entries.at(-1),
    { event: "BACKUP_CREATED", rollout: statusOf(b).rollout },
    "of the new rollout",
  );
  await asking(b)({ type: "rollback", reason: "x" });
  t.match(await asking(b)(START), { ok: false, code: "SPLIT_COOLDOWN" });
  t.equal(made.length, 3, "what may not start is not backed up for");
});

t.test("a rollback is verified: stable is well, and nobody is on the canary any more", async (t) => {
  const quick = { ...QUIET, verify: "2m" };
  const b = await bench(benchConfig({ rollback: quick }));
  const set = { type: "set_weight", weight: 100_000 as never, force: false, reason: "" } as const;
  await asking(b)(set);
  await asking(b)({ type: "rollback", reason: "x" });
  await b.run(121, () => b.plane.serve("app", "stable", { ok: 10 }));
  t.match(b.journal.entries.at(-1), {
    event: "ROLLBACK_VERIFIED",
    reason: "stable is healthy after the rollback, and the canary had no request",
  });
  const odd = await bench(benchConfig({ rollback: quick }));
  await asking(odd)(set);
  await asking(odd)({ type: "rollback", reason: "x" });
  await odd.run(121, () => odd.plane.serve("app", "canary", { ok: 1 }));
  t.match(odd.notices.at(-1), { event: "ROLLBACK_VERIFIED", severity: "emergency" });
  t.match(odd.journal.entries.at(-1)?.reason, /and the canary still had 60 requests in the last minute$/);
  const partial = await bench(benchConfig({ rollback: { ...quick, to: "1%", onAny: BREACH.onAny } }));
  await asking(partial)(set);
  const failing = () => partial.plane.serve("app", "canary", { ok: 5, failed: 5 });
  await partial.run(62, failing);
  await partial.run(121, () => partial.plane.serve("app", "canary", { ok: 1 }));
  t.match(partial.journal.entries.at(-1)?.reason, "stable is healthy after the rollback");
});

t.test("another program is asked when all else is there, again and again until it says go", async (t) => {
  const asked: unknown[] = [];
  let go = false;
  const confirm = {
    ask: (route: string, hook: object, about: object) => {
      asked.push({ route, hook, about });
      return Promise.resolve({ go, detail: go ? "200" : "403 not on a Friday" });
    },
  };
  const config = benchConfig({
    rollback: QUIET,
    confirm: { url: "https://change.example/ask", interval: "30s" },
  });
  const b = await bench(config, { confirm });
  const steps = [
    { weight: 50_000 as never, holdMs: millis(5000), bake: false },
    { weight: 100_000 as never, holdMs: millis(5000), bake: false },
  ];
  await asking(b)({ ...START, steps });
  await b.run(4, well(b));
  t.equal(asked.length, 0, "not before the rest is there");
  await b.run(2, well(b));
  t.match(asked, [
    { route: "app", about: { step: 0, from: 5, to: 10 }, hook: { url: "https://change.example/ask" } },
  ]);
  t.match(statusOf(b).waiting, { for: "webhook", words: "the confirm webhook has not said go" });
  t.match(await asking(b)({ type: "promote", full: false, step: 0, reason: "" }), { ok: false });
  await b.run(60, well(b));
  t.equal(asked.length, 3, "every thirty seconds");
  t.equal(statusOf(b).weight, 5);
  go = true;
  await b.run(31, well(b));
  t.match(statusOf(b), { weight: 10, step: 1 });
  t.ok(eventsOf(b).includes("RAISE_CONFIRMED"));
  go = false;
  await b.run(60, well(b));
  t.match(statusOf(b).waiting, { for: "webhook" }, "each step is asked about");
  let answer: (said: { go: boolean; detail: string }) => void = () => {};
  const slow = { ask: () => new Promise<{ go: boolean; detail: string }>((resolve) => (answer = resolve)) };
  const late = await bench(config, { confirm: slow });
  await asking(late)({ ...START, steps });
  await late.run(100, well(late));
  await asking(late)({ type: "rollback", reason: "x" });
  answer({ go: true, detail: "200" });
  await late.run(1, well(late));
  t.match(statusOf(late), { weight: 0, phase: "rolled_back" }, "a late go raises nothing");
  t.notOk(eventsOf(late).includes("RAISE_CONFIRMED"));
});
