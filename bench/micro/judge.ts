/** What the judge costs each response, and each bad one of the canary. `node bench/micro/judge.ts` */

import { HARD_WORDS, hardGuards } from "../../src/domain/evidence/catastrophic.ts";
import { RouteEvidence } from "../../src/domain/evidence/route.ts";
import { millis } from "../../src/domain/units.ts";
import { EvidenceBoard, EvidenceReader } from "../../src/proxy/evidence-board.ts";
import { time } from "./time.ts";

const LIMITS = { errors: 0.01, p95: 0.05, p99: 0.01 };
const board = new EvidenceBoard(2);
const reader = new EvidenceReader(0);
for (const chunk of [board.grow(["app"])]) if (chunk !== undefined) reader.add(chunk);
board.limit("app", { canary: [1652, 1780], stable: [1600, 1728] });
const cell = reader.cell("app");
const latency = (index: number): number => 200 + ((index * 48_271) % 49_800);

time("EvidenceCell.count, every response", (index) =>
  Number(cell.count(index % 10 === 0 ? "canary" : "stable", false, 200, latency(index))),
);

const hard = new Float64Array(HARD_WORDS);
const evidence = new RouteEvidence({ limits: LIMITS, margin: 0.001 }, { state: hard, at: 0 });
evidence.fresh();
evidence.stageStart(true);
board.commit("app", board.read("app"), hard);
for (let key = 1; key <= 5; key++) cell.failedKey(key);
const guards = hardGuards(LIMITS);
for (let index = 0; index < 1000; index++)
  cell.count(index % 10 === 0 ? "canary" : "stable", false, 200, 900);
time("EvidenceCell.crossed, every bad response of the canary", () => Number(cell.crossed(guards) === null));

const SECOND = 1;
const latencies = Array.from({ length: 400 }, (_, index) => (index % 2 === 0 ? 900 + index : 3));
time("RouteEvidence.commit, once a second", (index) => {
  const counts = { n: 50 + (index % 3), e: 0, s: 1, v: 0, c4: 0 };
  evidence.commit(
    { canary: counts, stable: counts, canaryLatency: latencies, stableLatency: latencies },
    SECOND,
  );
  return index;
});
time("RouteEvidence.readings, once a second", () => evidence.readings().catastrophic.length + millis(0));
