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
  return { board, first, second, words: new Int32Array(chunk?.words ?? new SharedArrayBuffer(0)) };
}

/** Evidence with fresh mass, as the engine keeps it. */
function evidenceOf() {
  const hard = new Float64Array(HARD_WORDS);
  const evidence = new RouteEvidence({ limits: LIMITS, margin: 0.001 }, { state: hard, at: 0 });
  evidence.fresh();
  evidence.stageStart(true);
  return hard;
}

/** How many keys there are of each kind. */
function counted({ failed, seen }: { readonly failed: readonly number[]; readonly seen: readonly number[] }) {
  return { failed: failed.length, seen: seen.length };
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
  const { board, first, second, words } = two();
  for (const key of [3, 3, -7, 3]) first.failedKey(key);
  second.failedKey(-7);
  second.sawKey(1);
  t.strictSame(counted(board.keys("app")), { failed: 2, seen: 1 });
  t.ok(first.wantsKeys);
  for (let key = 1; key < 9; key++) first.sawKey(key);
  t.notOk(second.wantsKeys);
  t.strictSame(counted(board.keys("app")), { failed: 2, seen: 5 });
  t.ok(second.wantsFailed);
  for (const key of [10, 11, 12]) first.failedKey(key);
  t.notOk(second.wantsFailed);
  // A thread that notes a key while the places are emptied may take the last of them alone.
  words[words.indexOf(10)] = 0;
  t.ok(second.wantsFailed, "any place that is free is wanted");
  board.forgetKeys("app");
  t.ok(second.wantsFailed);
  t.strictSame(counted(board.keys("app")), { failed: 0, seen: 0 });
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

/** An alarm over a canary at 10 %, and how often it has asked who a request's user is. */
function alarmed(isLate: () => boolean) {
  const { board, first } = two();
  board.commit("app", board.read("app"), evidenceOf());
  const splits = new SplitBoard(() => undefined);
  const reader = new SplitReader();
  const chunk = splits.grow(["app"]);
  if (chunk !== undefined) reader.add(chunk);
  const routes = new Map([
    ["app", { route: "app", rollout: "", salt: "", weight: ppm(100_000), forcedCanary: true, bars: 0 }],
  ]);
  splits.apply({ generation: 1, routes });
  reader.learn(splits.state.salts);
  const split = reader.cell("app");
  const rang: string[] = [];
  const asked: string[] = [];
  const alarm = new Alarm({
    cell: first,
    guards: hardGuards(LIMITS),
    split,
    identify: {
      sources: [],
      anonymous: () => undefined,
      keyOf(view) {
        asked.push(view.client);
        return view.header("user");
      },
    },
    isLate,
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
  const serve = (user: string | undefined, client: string): void =>
    alarm.settled(false, view(user, client), false, millis(0));
  const fail = (user: string | undefined, client: string, isNew = false): void => {
    first.count("canary", true, 500, 1000);
    for (let ok = 0; ok < 9; ok++) first.count("stable", false, 200, 1000);
    alarm.settled(true, view(user, client), isNew, millis(0));
  };
  return { board, split, rang, asked, serve, fail };
}

t.test(
  "an alarm takes the weight away once, and not while its own loop is late; a client without a key is its address",
  async (t) => {
    let late = true;
    const { board, split, rang, serve, fail } = alarmed(() => late);
    for (let nth = 0; nth < 20; nth++) fail(`new ${nth}`, "10.0.0.1", true);
    t.equal(counted(board.keys("app")).failed, 1, "keys that were issued just now stand for nobody");
    for (let nth = 0; nth < 3; nth++) fail(undefined, `10.0.0.${2 + nth}`);
    fail("ada", "10.0.0.1");
    t.equal(counted(board.keys("app")).failed, 5);
    t.strictSame([rang, Number(split.read().weight)], [[], 100_000], "late");
    late = false;
    fail("ada", "10.0.0.1");
    t.strictSame([rang, Number(split.read().weight)], [["errors"], 0]);
    fail("ada", "10.0.0.1");
    t.equal(rang.length, 1);
    serve("bob", "10.0.0.1");
  },
);

t.test("nobody is asked for the key of a failed response once five keys have failed", async (t) => {
  const { board, asked, serve, fail } = alarmed(() => true);
  for (let nth = 0; nth < 5; nth++) fail(`user ${nth}`, `10.0.0.${nth}`);
  t.strictSame(counted(board.keys("app")), { failed: 5, seen: 5 });
  t.equal(asked.length, 5);
  for (let nth = 5; nth < 50; nth++) fail(`user ${nth}`, `10.0.0.${nth}`);
  serve("another", "10.0.1.1");
  t.equal(asked.length, 5);
  board.forgetKeys("app");
  fail("ada", "10.0.0.1");
  t.strictSame(counted(board.keys("app")), { failed: 1, seen: 1 });
  for (let nth = 0; nth < 5; nth++) serve(`user ${nth}`, "10.0.0.1");
  t.strictSame(counted(board.keys("app")), { failed: 1, seen: 5 });
  fail("bob", "10.0.0.2");
  t.equal(counted(board.keys("app")).failed, 2, "what failed is still wanted when enough were seen");
});

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
