/** The judge's shared words: what several threads count is one sum, and any of them can tell that it was one bad response too many. */

import t from "tap";
import { HARD_WORDS, hardGuards } from "../../src/domain/evidence/catastrophic.ts";
import { RouteEvidence } from "../../src/domain/evidence/route.ts";
import { indexOfMicros } from "../../src/domain/hdr.ts";
import { millis, ppm } from "../../src/domain/units.ts";
import { Alarm } from "../../src/proxy/alarm.ts";
import { EvidenceBoard, EvidenceReader, evidencePort } from "../../src/proxy/evidence-board.ts";
import { LoopDelay } from "../../src/proxy/overload.ts";
import type { RequestView } from "../../src/proxy/request.ts";
import { SplitBoard, SplitReader } from "../../src/proxy/split-board.ts";

const LIMITS = { errors: 0.01, p95: null, p99: null };

/** A board with two threads on one route. */
function two() {
  const board = new EvidenceBoard(2);
  const readers = [new EvidenceReader(0), new EvidenceReader(1)];
  const chunk = board.grow(["app"]);
  for (const reader of readers) if (chunk !== undefined) reader.add(chunk);
  board.limit("app", {
    canary: [indexOfMicros(500_000), Infinity],
    stable: [indexOfMicros(400_000), Infinity],
  });
  const [first, second] = readers.map((reader) => reader.cell("app"));
  if (first === undefined || second === undefined) throw new Error("no cells");
  return { board, first, second };
}

/** Evidence with fresh mass, as the engine keeps it. */
function evidenceOf() {
  const hard = new Float64Array(HARD_WORDS);
  const evidence = new RouteEvidence(
    { limits: LIMITS, margin: 0.001, leastDifference: 0 },
    { state: hard, at: 0 },
  );
  evidence.fresh();
  evidence.stageStart(true);
  return hard;
}

t.test("what two threads count is one block, and what was committed is not counted again", async (t) => {
  const { board, first, second } = two();
  t.notOk(first.count("canary", false, 200, 500_000), "at the limit");
  t.ok(second.count("canary", false, 200, 600_000), "slow");
  t.ok(second.count("canary", true, 500, -1), "failed, after an unknown time");
  t.notOk(first.count("stable", false, 404, 1000));
  t.ok(first.count("stable", false, 200, 450_000), "stable is slow sooner");
  const wanted = {
    canary: { n: 3, e: 1, s: 1, v: 0, c4: 0 },
    stable: { n: 2, e: 0, s: 1, v: 0, c4: 1 },
  };
  t.strictSame(board.read("app"), wanted);
  board.commit("app", board.read("app"), undefined);
  second.count("stable", false, 200, 1000);
  t.match(board.read("app"), { canary: { n: 0, e: 0 }, stable: { n: 1, s: 0 } });
  t.equal(evidencePort(board, () => 7).read("app").lagMs, 7);
  t.throws(() => board.read("gone"), RangeError);
  t.throws(() => new EvidenceReader(0).cell("app"), RangeError);
  t.equal(board.grow(["app"]), undefined);
});

t.test("keys are told apart, up to five, whoever saw them", async (t) => {
  const { board, first, second } = two();
  for (const key of [3, 3, -7, 3]) first.failedKey(key);
  second.failedKey(-7);
  second.sawKey(1);
  t.strictSame(board.keys("app"), { failed: 2, seen: 1 });
  t.ok(first.wantsKeys);
  for (let key = 1; key < 9; key++) first.sawKey(key);
  t.notOk(second.wantsKeys);
  t.strictSame(board.keys("app"), { failed: 2, seen: 5 });
  board.forgetKeys("app");
  t.strictSame(board.keys("app"), { failed: 0, seen: 0 });
});

t.test(
  "a thread sees the failures of the other, asks for enough keys, and decides nothing that it was not told to",
  async (t) => {
    const { board, first, second } = two();
    const guards = hardGuards(LIMITS);
    const fail = (): void => {
      for (let nth = 0; nth < 5; nth++) {
        (nth % 2 === 0 ? first : second).count("canary", true, 500, 1000);
        for (let ok = 0; ok < 9; ok++) second.count("stable", false, 200, 1000);
      }
    };
    fail();
    t.equal(first.crossed(guards), null, "not armed");
    board.commit("app", board.read("app"), evidenceOf());
    t.equal(first.crossed(guards), null, "what came before is committed");
    fail();
    for (let key = 1; key <= 5; key++) first.sawKey(key);
    first.failedKey(1);
    t.equal(first.crossed(guards), null, "one key");
    for (let key = 2; key <= 5; key++) second.failedKey(key);
    t.equal(first.crossed(guards), "errors");
    t.equal(second.crossed(guards), "errors");
    board.commit("app", board.read("app"), undefined);
    t.equal(first.crossed(guards), null, "disarmed");
  },
);

t.test(
  "an alarm takes the weight away once, and not while its own loop is late; a client without a key is its address",
  async (t) => {
    const { board, first } = two();
    board.commit("app", board.read("app"), evidenceOf());
    const splits = new SplitBoard(() => undefined);
    const reader = new SplitReader();
    const chunk = splits.grow(["app"]);
    if (chunk !== undefined) reader.add(chunk);
    const routes = new Map([
      ["app", { route: "app", rollout: "", salt: "", weight: ppm(100_000), forcedCanary: true }],
    ]);
    splits.apply({ generation: 1, routes });
    reader.learn(splits.state.salts);
    const split = reader.cell("app");
    const rang: string[] = [];
    let late = true;
    const alarm = new Alarm({
      cell: first,
      guards: hardGuards(LIMITS),
      split,
      identify: { sources: [], anonymous: () => undefined, keyOf: (view) => view.header("user") },
      isLate: () => late,
      rang: (rule) => void rang.push(rule),
    });
    const view = (user: string | undefined, client: string): RequestView => ({
      method: "GET",
      target: "/",
      client,
      subject: "",
      header: () => user,
      bucketOf: () => -1,
    });
    const fail = (user: string | undefined, client: string, isNew = false): void => {
      first.count("canary", true, 500, 1000);
      for (let ok = 0; ok < 9; ok++) first.count("stable", false, 200, 1000);
      alarm.settled(true, view(user, client), isNew, millis(0));
    };
    for (let nth = 0; nth < 20; nth++) fail(`new ${nth}`, "10.0.0.1", true);
    t.equal(board.keys("app").failed, 1, "keys that were issued just now stand for nobody");
    for (let nth = 0; nth < 3; nth++) fail(undefined, `10.0.0.${2 + nth}`);
    fail("ada", "10.0.0.1");
    t.equal(board.keys("app").failed, 5);
    t.strictSame([rang, Number(split.read().weight)], [[], 100_000], "late");
    late = false;
    fail("ada", "10.0.0.1");
    t.strictSame([rang, Number(split.read().weight)], [["errors"], 0]);
    fail("ada", "10.0.0.1");
    t.equal(rang.length, 1);
    alarm.settled(false, view("bob", "10.0.0.1"), false, millis(0));
  },
);

t.test("a late loop is told for a second after it, and then forgotten", async (t) => {
  let now = 0;
  let sample = (): void => undefined;
  const told: number[] = [];
  const clock = {
    mono: () => millis(now),
    wall: () => 0,
    every(_interval: number, run: () => void) {
      sample = run;
      return () => undefined;
    },
  };
  new LoopDelay(clock).start((worst) => void told.push(worst));
  const after = (ms: number): number => {
    now += ms;
    sample();
    return told.at(-1) ?? -1;
  };
  t.equal(after(100), 0);
  t.equal(after(2100), 2000);
  for (let nth = 0; nth < 11; nth++) t.equal(after(100), 2000, "what came in that second is known by it");
  t.equal(after(100), 0);
});
