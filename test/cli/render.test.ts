import fc from "fast-check";
import t from "tap";
import { stripVTControlCharacters } from "node:util";
import { bar, clip, durationText, routeLine, routesTable, routeText } from "../../src/cli/render.ts";
import { routeStatus } from "../support/fake-admin.ts";

const WIDE = { color: false, columns: Number.POSITIVE_INFINITY };

t.test("a route shows where it is, why, both arms and what each rule still lacks", async (t) => {
  t.equal(
    routeText(routeStatus({ reason: "waiting for traffic" }), WIDE),
    [
      "app  progressing  step 2 of 4 (index 1)  held 12s, 48s left  rollout r-1",
      "  waiting for traffic",
      "  weight  ████████░░░░░░░░░░░░░░░░░░░░░░ 25 %",
      "  plan    5 % > [25 %] > 100 % > bake",
      "",
      "  arm     version  req/s  requests  failures  errors    P50    P95    P99  open  endpoints",
      "  stable      3.9   20.0      1200         0  0.00 %  12 ms  31 ms  52 ms     1  1/1 up",
      "  canary      4.0    0.4        40         3  7.50 %      -      -      -     1  0/1 up",
      "  canary http://10.0.0.2:8080 is unhealthy, 4 failed probes: refused",
      "",
      "  verdict inconclusive",
      "  rule                        action    verdict       observed   limit  evidence  breach  detail",
      "  error_rate above 1% for 5m  rollback  inconclusive         -  1.00 %  12/20          -  8 more exchanges are needed",
    ].join("\n"),
  );
});

t.test("what is unusual is said: cooldown, an unrecorded weight, rescues, the last rollback", async (t) => {
  const { arms, checks } = routeStatus();
  const text = routeText(
    routeStatus({
      phase: "rolled_back",
      weight: 0,
      steps: [],
      cooldownLeftMs: 3_540_000,
      recorded: false,
      rescues: { answered: 3, failed: 1, refused: 0 },
      lastRollback: {
        route: "app",
        rollout: "r-1",
        environment: "production",
        at: "2026-01-05T09:10:00.000Z",
        actor: "sluice",
        reason: "error_rate above 1% for 5m",
        step: 1,
        fromWeight: 25,
        toWeight: 0,
        failed: checks,
        checks,
        arms,
        worstPaths: [],
        worstMethods: [],
        byReason: [],
        distinctKeys: 4,
        keysCapped: false,
        traceIds: [],
        explanation: ["The weight went from 25 % to 0 % by itself.", "Look in the canary's log."],
        requestsFailed: 9,
        requestsRescued: 8,
        breachMs: 300_000,
        tookMs: 1.2,
        stableHealthy: true,
      },
      checks: checks.map((each) => ({
        ...each,
        verdict: "failed",
        observed: 0.075,
        breachMs: 2500,
        have: 40,
      })),
    }),
    WIDE,
  );
  t.match(text, /\n\n {2}The weight went from 25 % to 0 % by itself\.\n {2}Look in the canary's log\.$/);
  t.match(text, "no new rollout for 59m (cooldown)");
  t.match(text, "is not on record yet");
  t.match(text, "rescues: 3 answered, 1 failed, 0 refused");
  t.match(
    text,
    "last rollback 2026-01-05T09:10:00.000Z at 25 %: error_rate above 1% for 5m; 9 failed, 8 of them rescued, in force after 1.2 ms",
  );
  t.match(text, /failed +7\.50 % +1\.00 % +40\/20 +2\.5s of 5m/);
  t.notMatch(text, "plan  ");
});

t.test("many routes are a table of one line each, one route for a log is one line", async (t) => {
  const lines = routesTable([routeStatus(), routeStatus({ name: "other", weight: 0.0001 })], WIDE).split(
    "\n",
  );
  t.equal(lines.length, 3);
  t.match(lines[2], /^other {2}0\.0001 % {2}progressing {2}2 of 4 /);
  t.equal(
    routeLine(routeStatus()),
    "app  25 %  progressing  |  stable 20.0/s 0.00 % p50 12 ms p95 31 ms p99 52 ms  |  canary 0.4/s 7.50 % p50 - p95 - p99 -",
  );
});

t.test("colour changes no text, and no line is wider than the terminal", async () => {
  const plain = routeText(routeStatus(), WIDE);
  fc.assert(
    fc.property(
      fc.integer({ min: 20, max: 200 }),
      fc.string({ unit: "binary", maxLength: 200 }),
      (columns, reason) => {
        const text = routeText(routeStatus({ reason }), { color: true, columns });
        const lines = stripVTControlCharacters(text).split("\n");
        return lines.every((line) => line.length <= columns);
      },
    ),
  );
  t.equal(stripVTControlCharacters(routeText(routeStatus(), { ...WIDE, color: true })), plain);
  t.not(routeText(routeStatus(), { ...WIDE, color: true }), plain);
});

t.test("a bar is as long as it should be, and shows anything above nothing", async () => {
  fc.assert(
    fc.property(
      fc.double({ min: 0, max: 100, noNaN: true }),
      fc.integer({ min: 1, max: 60 }),
      (weight, width) => {
        const drawn = bar(weight, width);
        return drawn.length === width && drawn.includes("█") === weight > 0;
      },
    ),
  );
});

t.test("a line is cut with its colours closed", async (t) => {
  t.equal(clip("short", 10), "short");
  t.equal(clip("\u001b[31mabcdef\u001b[39m", 4), "\u001b[31mabc\u001b[39m…");
});

t.test("durations are rounded for people", async (t) => {
  const table: readonly (readonly [number, string])[] = [
    [0, "0s"],
    [40, "0s"],
    [2512, "2.5s"],
    [9999, "10s"],
    [61_400, "1m1s"],
    [3_540_000, "59m"],
  ];
  for (const [ms, text] of table) t.equal(durationText(ms), text, String(ms));
});
