import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import t from "tap";
import { parseFault, type Fault } from "../../src/backtest/fault.ts";
import { backtest, type BacktestOptions } from "../../src/backtest/run.ts";
import type { BacktestReport } from "../../src/backtest/report.ts";
import { WholeService } from "../../src/backtest/whole.ts";
import { armOf, bucketOf } from "../../src/domain/split.ts";
import { millis, ppm } from "../../src/domain/units.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-replay-"));
const START = Date.UTC(2026, 0, 5, 9);

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

const plan = (name: string, ...steps: readonly string[]): string =>
  file(`${name}.yaml`, `promotion: off\nsteps:\n${steps.map((step) => `  - { ${step} }\n`).join("")}`);
const FIVE = plan("five", "setWeight: 5%, hold: 30d");
const CLIMB = plan(
  "climb",
  "setWeight: 5%, hold: 5m",
  "setWeight: 50%, hold: 5m",
  "setWeight: 100%, hold: 5m",
);

const fault = (text: string): Fault => {
  const read = parseFault(text);
  if (typeof read === "string") throw new Error(read);
  return read;
};

const climate = { rps: 100, duration: millis(1_200_000), errors: ppm(0), latency: millis(40) };
const run = (changed: Partial<BacktestOptions>): Promise<BacktestReport> =>
  backtest({
    plan: CLIMB,
    config: undefined,
    route: undefined,
    logs: [],
    format: undefined,
    layout: undefined,
    canaries: [],
    arms: undefined,
    faults: [],
    climate,
    seed: 1,
    salts: 0,
    stdin: Readable.from([]),
    ...changed,
  });

interface Made {
  readonly seconds: number;
  readonly rps: number;
  readonly from?: number;
  /** More fields of the line, by its number. */
  readonly with?: (nth: number, second: number) => object;
}

/** A log in the own format, evenly paced. */
function log(name: string, ...parts: readonly Made[]): string {
  const lines: string[] = [];
  for (const { seconds, rps, from = 0, with: more } of parts)
    for (let nth = 0; nth < seconds * rps; nth++) {
      const second = from + nth / rps;
      const base = {
        time: START + Math.round(second * 1000),
        route: "app",
        status: 200,
        ms: 20,
        key: `u${nth % 4999}`,
      };
      lines.push(JSON.stringify({ ...base, ...more?.(nth, second) }));
    }
  return file(name, `${lines.join("\n")}\n`);
}

const named = (report: BacktestReport): readonly string[] => report.events.map(({ event }) => event);

t.test(
  "at 5 % of the traffic and 20 % canary errors the whole service fails at 1.0 %: a rule over it stays silent, the arm's own fires (acceptance 36)",
  async (t) => {
    const arm = (nth: number) => (nth % 20 === 19 ? "canary" : "stable");
    const recorded = log("36.log", {
      seconds: 1800,
      rps: 100,
      with: (nth) => ({ arm: arm(nth), status: nth % 100 === 99 ? 500 : 200 }),
    });
    const report = await run({ logs: [recorded], plan: FIVE });
    t.equal(report.wholeService.above, 0.01);
    t.equal(report.wholeService.highest, 0.01, "one of a hundred");
    t.equal(report.wholeService.firedMs, null);
    t.equal(report.outcome, "rolled_back");
    t.same(named(report), ["DEPLOY_START", "TRIPPED", "TRIP_PROBED", "ROLLBACK_DONE"]);
    t.match(report.rollback?.reason, /error_rate above 1% on every response/);
    // Failures are 990 ms behind each tick.
    for (const nth of [1, 3])
      t.equal(Number(report.events[nth]?.ms) % 1000, 990, "by a response, not by a tick");
    t.ok(Number(report.rollback?.ms) < 120_000, `${report.rollback?.ms} ms`);
    t.ok(Number(report.rollback?.canary.failures) < 60, "few users had to fail for it");
    t.equal(report.log.arms, "both");

    const made = await run({ plan: FIVE, faults: [fault("errors=20%")] });
    t.equal(made.outcome, "rolled_back", "and in a world that is made up");
    t.equal(made.wholeService.firedMs, null);
    t.ok(Number(made.wholeService.highest) < 0.02);
  },
);

t.test("a plan goes through while all is well, and is watched on behind its end", async (t) => {
  const well = await run({});
  t.equal(well.outcome, "succeeded");
  t.same(
    well.events.map(({ event, weight, ms }) => [event, weight, ms]),
    [
      ["DEPLOY_START", 5, 0],
      ["STEP_STARTED", 50, 300_000],
      ["STEP_STARTED", 100, 600_000],
      ["DEPLOY_SUCCESS", 100, 900_000],
    ],
  );
  t.equal(well.all.responses, 120_000);
  t.equal(well.afterFaultMs, null);
  const late = await run({ faults: [fault("errors=30% from=16m")] });
  t.equal(late.outcome, "rolled_back");
  t.match(named(late).slice(-4), ["DEPLOY_SUCCESS", "TRIPPED", "TRIP_PROBED", "ROLLBACK_DONE"]);
  const short = await run({ climate: { ...climate, duration: millis(400_000) } });
  t.match(short, { outcome: "unfinished", phase: "progressing", weight: 50, rollback: null });
});

t.test("an event is as urgent as the message that people would have had", async (t) => {
  const config = file(
    "pauses.yaml",
    "routes:\n  - name: app\n    stable: { endpoints: [http://127.0.0.1:1] }\n    canary: { endpoints: [http://127.0.0.1:2] }\n" +
      "    rollback:\n      onAny:\n        - { metric: error_rate, above: 1%, test: sequential, action: pause }\n" +
      "        - { metric: error_rate, above: 20%, for: 5m }\n",
  );
  const report = await run({ config, faults: [fault("errors=30% from=1m")] });
  t.same(
    report.events.map(({ event, severity }) => [event, severity]),
    [
      ["DEPLOY_START", "info"],
      ["ROLLOUT_PAUSED", "warning"],
      ["ROLLBACK_DONE", "emergency"],
    ],
  );
  const [begun, ...moved] = report.events.map(({ failed }) => failed);
  t.same(begun, []);
  t.match(
    moved,
    [
      [{ rule: "error_rate above 1% on every response" }],
      [{ rule: "error_rate above 1% on every response" }, { rule: /^error_rate above 20%/, detail: /\d/ }],
    ],
    "with the rules that had failed, and their numbers",
  );
});

t.test("slow answers, delays and timeouts are faults too, and a fault ends when it is over", async (t) => {
  const slow = await run({ plan: FIVE, faults: [fault("delay=2s from=5m")] });
  t.match(slow.rollback?.reason, /p9[59] above .* on every response/);
  t.ok(Number(slow.afterFaultMs) < 60_000);
  const stuck = await run({ plan: FIVE, faults: [fault("slower=10000x")] });
  t.equal(
    stuck.rollback?.canary.failures,
    stuck.rollback?.canary.responses,
    "above the route's timeout it is a failure",
  );
  const brief = await run({ plan: FIVE, faults: [fault("errors=50% from=5m for=4s")] });
  t.equal(brief.outcome, "unfinished", "what is over when it is tried again is no reason to roll back");
  t.equal(brief.trips, 1);
  for (const [text, wrong] of [
    ["", /a fault has/],
    ["from=1m", /needs errors, slower or delay/],
    ["errors=20", /takes a share/],
    ["slower=2", /takes a factor/],
    ["delay=5", /takes a duration/],
    ["speed=5", /not "speed=5"/],
  ] as const)
    t.match(parseFault(text), wrong, text);
});

t.test(
  "the canary's lines are thinned to the weight in force, never more than there were, and it says when there were too few",
  async (t) => {
    const half = log("half.log", {
      seconds: 1000,
      rps: 50,
      with: (nth) => ({ arm: nth % 2 === 0 ? "canary" : "stable" }),
    });
    const thinned = await run({ logs: [half], plan: CLIMB });
    const [, second, third] = thinned.events;
    const at5 = Number(second?.canary.responses);
    t.ok(Math.abs(at5 / (300 * 50) - 0.05) < 0.01, `${at5} of 15,000 at 5 %`);
    t.ok(Math.abs((Number(third?.canary.responses) - at5) / (300 * 50) - 0.5) < 0.03, "half of them at 50 %");
    t.equal(thinned.outcome, "succeeded");
    t.ok(Number(thinned.log.canaryHad) < Number(thinned.log.canaryWanted), "at 100 % there were only half");
    t.ok(thinned.log.leftOut > 10_000);

    const pinned = file(
      "pinned.yaml",
      "routes:\n  - name: app\n    salt: pinned\n    stable: { endpoints: [http://10.0.0.1:80] }\n    canary: { endpoints: [http://10.0.0.9:80] }\n",
    );
    const own = log("own.log", {
      seconds: 400,
      rps: 50,
      with: (nth) => ({ arm: armOf(bucketOf(`u${nth % 4999}`, "pinned"), ppm(500_000)) }),
    });
    const again = await run({ logs: [own], plan: FIVE, config: pinned });
    const share = again.canary.responses / 20_000;
    t.ok(
      Math.abs(share - 0.05) < 0.01,
      `${share}: a log that was split by the very salt is thinned all the same`,
    );

    const broken = log("broken.log", {
      seconds: 600,
      rps: 50,
      with: (nth) => ({ arm: nth % 2 === 0 ? "canary" : "stable", status: nth % 4 === 0 ? 500 : 200 }),
    });
    const rolled = await run({ logs: [broken], plan: FIVE });
    t.equal(rolled.outcome, "rolled_back");
    t.equal(
      rolled.canary.responses,
      rolled.rollback?.canary.responses,
      "behind the rollback none is the canary's",
    );
  },
);

t.test(
  "a log of one arm is split by the product's buckets, and the canary's lines in it are left out",
  async (t) => {
    const one = log("one.log", {
      seconds: 320,
      rps: 50,
      with: (nth) => (nth % 100 === 50 ? { arm: "canary" } : {}),
    });
    const report = await run({ logs: [one], arms: "one", plan: FIVE });
    const share = report.canary.responses / report.all.responses;
    t.ok(Math.abs(share - 0.05) < 0.01, String(share));
    t.equal(report.log.strays, 160);
    const keyless = log("keyless.log", { seconds: 320, rps: 50, with: () => ({ key: "" }) });
    const random = await run({ logs: [keyless], plan: FIVE });
    t.ok(Math.abs(random.canary.responses / random.all.responses - 0.05) < 0.01, "without a key by chance");
  },
);

t.test("one client that fails again and again takes nobody's canary away", async (t) => {
  const config = file(
    "keys.yaml",
    "routes:\n  - name: app\n    stable: { endpoints: [http://10.0.0.1:80] }\n    canary: { endpoints: [http://10.0.0.9:80] }\n" +
      "    rollback: { onAny: [{ metric: error_rate, above: 1%, test: sequential }], knownIssues: [{ path: /old, status: 503 }] }\n",
  );
  const failing = (fields: (nth: number) => object) => ({
    seconds: 400,
    rps: 50,
    with: (nth: number) =>
      nth % 20 === 0 ? { arm: "canary", status: 503, path: "/new", ...fields(nth) } : { arm: "stable" },
  });
  const single = await run({
    logs: [
      log(
        "single.log",
        { seconds: 60, rps: 50, with: (nth) => ({ arm: nth % 20 === 0 ? "canary" : "stable" }) },
        { ...failing(() => ({ key: "one" })), from: 60 },
      ),
    ],
    config,
    plan: FIVE,
  });
  t.equal(single.outcome, "unfinished");
  t.ok(named(single).includes("one_client"), named(single).join());
  const known = await run({
    logs: [
      log(
        "known.log",
        failing(() => ({ path: "/old/x?y" })),
      ),
    ],
    config,
    plan: FIVE,
  });
  t.equal(known.outcome, "unfinished", "nor does a known issue");
  t.equal(known.canary.responses, 0);
  const several = await run({
    logs: [
      log(
        "several.log",
        failing(() => ({})),
      ),
    ],
    config,
    plan: FIVE,
  });
  t.equal(several.outcome, "rolled_back");
  const forced = await run({
    logs: [
      log(
        "forced.log",
        failing(() => ({ forced: true })),
      ),
    ],
    config,
    plan: FIVE,
    arms: "both",
  });
  t.equal(forced.outcome, "unfinished", "nor does forced traffic");
});

t.test(
  "silence holds and never climbs; a gap is passed second by second, and time does not run backwards",
  async (t) => {
    const gap = log("gap.log", { seconds: 120, rps: 20 }, { seconds: 700, rps: 20, from: 7320 });
    const report = await run({ logs: [gap] });
    const raised = report.events.filter(({ event }) => event === "STEP_STARTED");
    t.ok(Number(raised[0]?.ms) > 7_320_000, "the first step is left when there is traffic again");
    t.ok(
      Number(raised[0]?.ms) < 7_500_000,
      "its hold had passed meanwhile: it waited for a hundred responses",
    );
    t.match(report.log, { gaps: 1, late: 0 });
    t.ok(Math.abs(report.log.longestGapMs - 7_200_000) < 1000);

    const late = log("late.log", {
      seconds: 100,
      rps: 10,
      with: (nth, second) => (nth % 10 === 5 ? { time: START + second * 1000 - 30_000 } : {}),
    });
    const clamped = await run({ logs: [late], plan: FIVE });
    t.equal(clamped.log.late, 100);
    t.equal(clamped.log.latestMs, 29_900);
    t.equal(clamped.lengthMs, 99_900);

    const leap = log("leap.log", {
      seconds: 100,
      rps: 10,
      with: (nth) => (nth === 500 ? { time: "2099-01-01T00:00:00Z" } : {}),
    });
    const kept = await run({ logs: [leap], plan: FIVE });
    t.equal(kept.log.lines, 999);
    t.match(kept.log.bad, [/leap\.log:501: its time is more than 31 days after/]);
  },
);

t.test("false alarms are counted over shuffles of stable, the same ones for the same seed", async (t) => {
  const noisy = { ...climate, errors: ppm(2000) };
  const well = await run({ salts: 8, climate: noisy });
  t.match(well.falseAlarms, { runs: 8, rollbacks: 0, walked: 8 });
  // Some users always fail: by one shuffle or the other they are the canary's, and a hasty rule takes that for its doing.
  const config = file(
    "hasty.yaml",
    "routes:\n  - name: app\n    stable: { endpoints: [http://10.0.0.1:80] }\n    canary: { endpoints: [http://10.0.0.9:80] }\n" +
      "    rollback: { onAny: [{ metric: error_rate, above: 2%, window: 5s, minRequests: 5 }] }\n",
  );
  const unlucky = log("unlucky.log", {
    seconds: 600,
    rps: 50,
    with: (nth) => (nth % 4999 < 50 ? { status: 500 } : {}),
  });
  const asked = { salts: 6, logs: [unlucky], config, plan: CLIMB };
  const first = await run(asked);
  t.ok(first.falseAlarms.rollbacks > 0, "a hasty rule");
  t.ok(first.falseAlarms.first.length > 0);
  t.same(await run(asked), first, "the same seed, the same report");
  t.notSame((await run({ ...asked, seed: 2 })).falseAlarms.first, first.falseAlarms.first);
});

t.test("a rule over the whole service counts whole windows, for as long as it says", async (t) => {
  const whole = new WholeService({
    above: ppm(100_000),
    for: millis(3000),
    window: millis(2000),
    minRequests: 4,
  });
  const second = (at: number, ok: number, bad: number): void => {
    for (let nth = 0; nth < ok; nth++) whole.count(false);
    for (let nth = 0; nth < bad; nth++) whole.count(true);
    whole.tick(at * 1000);
  };
  second(1, 1, 3);
  t.equal(whole.highest, null, "half a window");
  second(2, 17, 3);
  t.match([whole.highest, whole.highestMs, whole.firedMs], [0.25, 2000, undefined]);
  second(3, 19, 1);
  t.equal(whole.firedMs, undefined, "not above the limit: the clock starts anew");
  for (const at of [4, 5, 6]) second(at, 10, 10);
  t.equal(whole.firedMs, undefined);
  second(7, 10, 10);
  t.equal(whole.firedMs, 7000);
  second(8, 1, 0);
  second(9, 0, 0);
  t.equal(whole.highest, 0.5);
});

t.test("what a plan asks of people, programs and the calendar does not hold a backtest up", async (t) => {
  const config = file(
    "asking.yaml",
    "freezes: [{ from: 2026-01-01T00:00:00Z, to: 2027-01-01T00:00:00Z, reason: none }]\n" +
      "routes:\n  - name: app\n    stable: { endpoints: [http://10.0.0.1:80] }\n    canary: { endpoints: [http://10.0.0.9:80] }\n" +
      "    confirm: { url: https://ci.example/go, secret: { env: HOOK_SECRET } }\n    plan: asking\n" +
      "plans:\n  asking:\n    promotion: off\n    window: { from: '22:00', to: '23:00' }\n    steps:\n" +
      "      - { setWeight: 0%, preflight: true, gate: { roles: [lead] } }\n" +
      "      - { setWeight: 50%, hold: 1m, gate: { roles: [lead] } }\n" +
      "      - pause: { duration: 1m }\n      - pause: {}\n      - { setWeight: 100%, hold: 1m }\n",
  );
  const report = await run({ plan: undefined, config });
  t.equal(report.outcome, "succeeded");
  t.same(
    report.events.map(({ event, weight, ms }) => [event, weight, ms]),
    [
      ["DEPLOY_START", 0, 0],
      ["STEP_STARTED", 50, 1000],
      ["STEP_STARTED", 100, 121_000],
      ["DEPLOY_SUCCESS", 100, 181_000],
    ],
    "a pause that ends is a hold",
  );
  t.same(report.omitted, { gates: 2, pauses: 1, preflights: 1, confirms: 1, windows: 1, freezes: 1 });
  const none = (await run({ climate: { ...climate, duration: millis(1000) } })).omitted;
  t.ok(
    Object.values(none).every((count) => count === 0),
    "nothing was left out where nobody is asked",
  );
});
