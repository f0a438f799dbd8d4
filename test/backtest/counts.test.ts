import fc from "fast-check";
import t from "tap";
import { ReplayCounts } from "../../src/backtest/counts.ts";
import { hardGuards, HARD_WORDS, type HardRule } from "../../src/domain/evidence/catastrophic.ts";
import { RouteEvidence } from "../../src/domain/evidence/route.ts";
import { hardLimitsOf, slowFromOf } from "../../src/domain/tiers.ts";
import { EvidenceBoard, EvidenceReader } from "../../src/proxy/evidence-board.ts";
import { benchConfig } from "../support/engine.ts";

const { rollback } = benchConfig({
  rollback: {
    onAny: [
      { metric: "error_rate", above: "1%", test: "sequential" },
      { metric: "p95", above: "500ms", test: "sequential" },
      { metric: "p99", above: "1000ms", test: "sequential" },
    ],
  },
}).routes[0]!;
const RULES = rollback.onAny;

const common = {
  key: fc.integer({ min: 1, max: 9 }),
  isLast: fc.integer({ min: 0, max: 19 }).map((drawn) => drawn === 0),
};
/** Stable is well, and the canary is not: the relative evidence has to cross, too. */
const exchange = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      arm: fc.constant("stable" as const),
      status: fc.constantFrom(200, 404),
      us: fc.constantFrom(-1, 20_000, 450_000),
      ...common,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      arm: fc.constant("canary" as const),
      status: fc.constantFrom(200, 404, 500, 500),
      us: fc.constantFrom(-1, 20_000, 500_000, 600_000, 1_000_000, 2_000_000),
      ...common,
    }),
  },
);

t.test("a replay counts, and rings, as the data path does", async (t) => {
  let rung = 0;
  fc.assert(
    fc.property(fc.array(exchange, { minLength: 200, maxLength: 400 }), (exchanges) => {
      const board = new EvidenceBoard(1);
      const reader = new EvidenceReader(0);
      reader.add(board.grow(["app"])!);
      board.limit("app", slowFromOf(RULES));
      const cell = reader.cell("app");
      const guards = hardGuards(hardLimitsOf(RULES));
      const replay = new ReplayCounts(RULES);
      const hard = new Float64Array(HARD_WORDS);
      const evidence = new RouteEvidence(
        { limits: hardLimitsOf(RULES), margin: 0.001 },
        { state: hard, at: 0 },
      );
      evidence.fresh();
      evidence.stageStart(true);
      const isSame = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);
      for (const { arm, status, us, key, isLast } of exchanges) {
        const bad = cell.count(arm, status === 500, status, us);
        if (replay.count(arm, status === 500, status, us) !== bad) return false;
        if (cell.wantsKeys !== replay.wantsKeys) return false;
        if (arm === "canary") {
          for (const each of [cell, replay]) {
            each.sawKey(key);
            if (bad) each.failedKey(key);
          }
          const rule: HardRule | null = cell.crossed(guards);
          if (rule !== null) rung++;
          if (rule !== replay.crossed()) return false;
        }
        if (!isSame(board.read("app"), replay.read().block) || !isSame(board.keys("app"), replay.keys()))
          return false;
        if (!isLast) continue;
        const block = board.read("app");
        evidence.commit({ ...block, canaryLatency: [], stableLatency: [] }, 1);
        board.commit("app", block, hard);
        replay.commit("app", block, hard);
      }
      return true;
    }),
    { numRuns: 60, seed: 7 },
  );
  t.ok(rung > 100, `rang ${rung} times`);
});

t.test(
  "a replay that is not armed never rings, and forgets keys when the evidence begins anew",
  async (t) => {
    const replay = new ReplayCounts(RULES);
    for (let key = 1; key < 100; key++) {
      replay.count("canary", true, 500, 10);
      replay.sawKey(key);
      replay.failedKey(key);
    }
    t.equal(replay.crossed(), null);
    t.same(replay.keys(), { failed: [1, 2, 3, 4, 5], seen: [1, 2, 3, 4, 5] });
    replay.forgetKeys();
    t.same(replay.keys(), { failed: [], seen: [] });
  },
);
