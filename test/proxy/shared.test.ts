/** What the main thread and the workers share as words: the split, what is counted, health, connections. No threads here: two sides of the same memory. */

import fc from "fast-check";
import t from "tap";
import { configSchema, type Config } from "../../src/config/schema.ts";
import { REASON_INDEX } from "../../src/domain/outcome.ts";
import { ppm } from "../../src/domain/units.ts";
import type { Sample, PlaneMeasure } from "../../src/engine/ports.ts";
import type { RouteSplit } from "../../src/engine/routing.ts";
import { Connections, connectionWords } from "../../src/proxy/connections.ts";
import { counterBuffers, routeBlock } from "../../src/proxy/counters.ts";
import { EvidenceBoard, EvidenceReader } from "../../src/proxy/evidence-board.ts";
import { HealthBoard, HealthReader } from "../../src/proxy/health-board.ts";
import { PlaneMeter } from "../../src/proxy/measure.ts";
import { Readings, joined } from "../../src/proxy/readings.ts";
import { SplitBoard, SplitReader, packed, unpacked, type SaltNote } from "../../src/proxy/split-board.ts";

const split = (route: string, weight: number, salt: string, forcedCanary = true, bars = 0): RouteSplit => ({
  route,
  rollout: `rollout of ${salt}`,
  salt,
  weight: ppm(weight),
  forcedCanary,
  bars,
});

t.test(
  "a word holds a weight, a shut door, the bars and a number of a salt, and gives them back",
  async (t) => {
    const words = fc.record({
      weight: fc.integer({ min: 0, max: 1_000_000 }),
      isShut: fc.boolean(),
      bars: fc.integer({ min: 0, max: 7 }),
      salt: fc.integer({ min: 0, max: 255 }),
    });
    fc.assert(
      fc.property(words, (word) => {
        const number = packed(word);
        // What an Int32Array holds.
        return number === (number | 0) && JSON.stringify(unpacked(number)) === JSON.stringify(word);
      }),
    );
    t.strictSame(unpacked(0), { weight: 0, isShut: false, bars: 0, salt: 0 });
  },
);

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(`not so: ${what}`);
}

/** What happens to one route, in any order: a split is applied, one waiting message arrives, somebody reads. */
const event = fc.oneof(
  fc.record({
    type: fc.constant("apply" as const),
    weight: fc.constantFrom(0, 1, 50_000, 500_000, 1_000_000),
    salt: fc.constantFrom("a", "b", "c"),
    forcedCanary: fc.boolean(),
    bars: fc.integer({ min: 0, max: 7 }),
  }),
  fc.constant({ type: "message" as const }),
  fc.constant({ type: "read" as const }),
);

t.test(
  "however stores and messages mix, no reader sees more weight than was applied, nor a wrong salt",
  async () => {
    fc.assert(
      fc.property(fc.array(event, { maxLength: 40 }), (script) => {
        const messages: (readonly SaltNote[])[] = [];
        const board = new SplitBoard((notes) => void messages.push(notes));
        const reader = new SplitReader();
        const chunk = board.grow(["app", "other"]);
        if (chunk !== undefined) reader.add(chunk);
        const cell = reader.cell("app");
        let applied = split("app", 0, "");
        let generation = 0;
        const look = (): void => {
          const seen = cell.read();
          must(seen.forcedCanary === applied.forcedCanary, "the next read sees the store");
          must(seen.bars === applied.bars, "and the bars");
          const isWhole = seen.weight === applied.weight && seen.salt === applied.salt;
          must(seen.weight === 0 || isWhole, "never more than was applied, and never by another salt");
          must(cell.read() === seen, "the same object while nothing changes");
          must(messages.length > 0 || isWhole, "with every message there it is what was applied");
        };
        for (const each of script) {
          if (each.type === "apply") {
            applied = split("app", each.weight, each.salt, each.forcedCanary, each.bars);
            board.apply({ generation: ++generation, routes: new Map([["app", applied]]) });
            must(reader.generation === generation, "so is its number");
          } else if (each.type === "message") reader.learn(messages.shift() ?? []);
          look();
        }
        must(reader.cell("other").read().weight === 0, "another route is as it was");
      }),
      { numRuns: 500 },
    );
  },
);

t.test(
  "a salt's number begins anew after two hundred, and a route that is left out is on stable",
  async (t) => {
    const reader = new SplitReader();
    const board = new SplitBoard((notes) => reader.learn(notes));
    const chunk = board.grow(["app"]);
    if (chunk !== undefined) reader.add(chunk);
    const cell = reader.cell("app");
    for (let round = 0; round < 5000; round++) {
      const now = split("app", 500_000, `salt ${round}`);
      board.apply({ generation: round, routes: new Map([["app", now]]) });
      must(JSON.stringify(cell.read()) === JSON.stringify(now), `salt ${round}`);
    }
    board.apply({ generation: 5000, routes: new Map() });
    t.match(cell.read(), { weight: 0, forcedCanary: true });
    t.throws(() => reader.cell("unheard of"), /no word for the route/);
  },
);

t.test(
  "a route that comes by a reload finds the split that was applied before, and a new reader all of it",
  async (t) => {
    const board = new SplitBoard(() => undefined);
    board.grow(["app"]);
    const routes = new Map(["app", "new"].map((name) => [name, split(name, 250_000, "s", false)]));
    board.apply({ generation: 1, routes });
    board.grow(["app", "new"]);
    t.equal(board.grow(["app", "new"]), undefined, "nothing is missing any more");
    const reader = new SplitReader();
    for (const chunk of board.state.chunks) reader.add(chunk);
    t.equal(reader.cell("new").read().weight, 0, "not without the salt");
    reader.learn(board.state.salts);
    for (const [name, each] of routes) t.strictSame(reader.cell(name).read(), each);
  },
);

const sample = (reason: string): Sample => ({
  kind: "failure",
  method: "GET",
  path: "/",
  reason,
  status: 500,
  keyHash: "",
  traceId: "",
  rescued: false,
});

/** A meter and its reader over the same memory; what is told goes over at once unless `later` collects it. */
function pair(names: readonly string[], later: (() => void)[] = []) {
  const buffers = counterBuffers(names);
  const readings = new Readings(buffers);
  const board = new EvidenceBoard(1);
  const evidence = new EvidenceReader(0);
  const chunk = board.grow(names);
  if (chunk !== undefined) evidence.add(chunk);
  const tidings = {
    sample: (route: string, each: Sample) => readings.addSample(route, each),
    histograms: (more: SharedArrayBuffer) => void later.push(() => readings.addHistograms(more)),
  };
  const meter = new PlaneMeter(buffers, tidings, evidence);
  const grow = (more: readonly string[]): void => {
    const added = board.grow(more);
    if (added !== undefined) evidence.add(added);
  };
  return { meter, readings, grow };
}

const requests = (measure: PlaneMeasure): number =>
  measure.routes
    .flatMap(({ arms, forced }) => [arms.stable, arms.canary, forced.stable, forced.canary])
    .flatMap((slice) => slice?.byReason ?? [])
    .reduce((a, b) => a + b, 0);

t.test("everything that is counted on one side is read on the other, once", async (t) => {
  const { meter, readings } = pair(["app", "quiet"]);
  const route = meter.route("app");
  route.record("stable", false, "ok", 200, 1000, 2000);
  route.record("canary", true, "status", 500, 1000, 2000);
  route.arm("stable").inFlight++;
  route.arm("canary").inFlight += 2;
  route.arm("canary").inFlight--;
  route.arm("canary").longLived = 5;
  route.rescues.answered++;
  route.rescues.failed += 2;
  route.rescues.refused += 3;
  meter.refused(404);
  meter.refused(9999);
  meter.overhead(0.0625);
  t.strictSame(readings.load("app"), {
    stable: { inFlight: 1, longLived: 0 },
    canary: { inFlight: 1, longLived: 5 },
  });
  t.equal(readings.load("unheard of"), undefined);
  readings.addSample("app", sample("status"));
  const measure = readings.take();
  t.match(measure, {
    routes: [
      {
        route: "app",
        arms: { stable: { durationSeconds: 0.002 } },
        forced: { canary: { durationSeconds: 0.002 } },
        rescues: { answered: 1, failed: 2, refused: 3 },
        samples: [{ reason: "status" }],
      },
    ],
    refused: { 404: 1, 0: 1 },
    overhead: { seconds: 0.0000625 },
  });
  t.equal(measure.overhead.counts[1], 1);
  t.equal(measure.routes.length, 1, "quiet routes are left out");
  const { routes, refused, overhead } = readings.take();
  t.strictSame([routes, refused, overhead.seconds], [[], {}, 0], "nothing is taken twice");
  meter.loopDelay((quantile) => quantile / 100);
  t.same(
    [0.5, 0.9, 0.99, 1].map((quantile) => readings.loopDelay(quantile)),
    [0.005, 0.0099, 0.0099, 0.01],
  );
  t.throws(() => meter.route("unheard of"), /no counters for the route/);
});

t.test("samples are kept until there are enough of a kind, and again after the next drain", async (t) => {
  const { meter, readings } = pair(["app"]);
  const view = {
    method: "GET",
    target: "/a",
    subject: "",
    client: "",
    header: () => undefined,
    bucketOf: () => -1,
  };
  const fill = (): void => {
    const route = meter.route("app");
    const keep = (isBad: boolean, reason: "status" | "ok", status: number): void => {
      const kind = route.wanted(isBad, reason, status);
      if (kind !== undefined) route.sample(kind, view, "k", { reason, status, rescued: false });
    };
    for (let each = 0; each < 500; each++) {
      keep(true, "status", 500);
      keep(true, "ok", 200);
      keep(false, "ok", 404);
      keep(false, "ok", 200);
    }
  };
  for (let round = 0; round < 2; round++) {
    fill();
    t.equal(meter.route("app").wanted(true, "status", 500), undefined);
    const samples = readings.take().routes[0]?.samples ?? [];
    const count = (kind: string): number => samples.filter((each) => each.kind === kind).length;
    t.strictSame([count("failure"), count("slow"), count("client_error")], [300, 100, 50]);
  }
});

t.test(
  "routes of a reload are counted beside those before them; the histograms of a thousand busy routes too",
  async (t) => {
    const later: (() => void)[] = [];
    const { meter, readings, grow } = pair(["app"], later);
    const names = Array.from({ length: 1000 }, (_, index) => `new ${index}`);
    const block = routeBlock(names);
    grow(names);
    meter.add(block);
    readings.add(block);
    for (const name of ["app", ...names]) meter.route(name).record("canary", false, "ok", 200, 500, 500);
    const first = readings.take();
    t.equal(requests(first), 1001);
    for (const deliver of later) deliver();
    const latencies = [first, readings.take()]
      .flatMap(({ routes }) => routes)
      .reduce((sum, { arms }) => sum + (arms.canary?.successes[1] ?? 0), 0);
    t.equal(latencies, 1001, "those whose memory was not known yet came later");
    t.ok(later.length > 10);
  },
);

t.test(
  "a dead thread's exchanges in flight are counted as unavailable, once, and what it had counted stays",
  async (t) => {
    const { meter, readings } = pair(["app", "quiet"]);
    const route = meter.route("app");
    route.record("canary", false, "ok", 200, 1000, 2000);
    route.arm("canary").inFlight += 3;
    route.arm("stable").inFlight += 1;
    route.arm("stable").longLived = 2;
    t.equal(readings.bury(), 4);
    const { routes } = readings.take();
    t.equal(routes.length, 1);
    const counts = (arm: "stable" | "canary") => routes[0]?.arms[arm]?.byReason;
    t.equal(counts("canary")?.[REASON_INDEX.unavailable], 3);
    t.equal(counts("canary")?.[REASON_INDEX.ok], 1);
    t.equal(counts("stable")?.[REASON_INDEX.unavailable], 1);
    t.strictSame(readings.load("app"), {
      stable: { inFlight: 0, longLived: 0 },
      canary: { inFlight: 0, longLived: 0 },
    });
    t.equal(readings.bury(), 0);
    t.equal(requests(readings.take()), 0);
  },
);

t.test("measures of several threads are one by addition", async (t) => {
  const two = [pair(["app"]), pair(["app"])];
  two.forEach(({ meter }, index) => {
    meter.refused(400 + index);
    meter.refused(503);
    meter.overhead(1);
    meter.route("app").record("stable", false, "ok", 200, 1, 1);
  });
  const measure = joined(two.map(({ readings }) => readings.take()));
  t.strictSame(measure.refused, { 400: 1, 401: 1, 503: 2 });
  t.equal(
    measure.overhead.counts.reduce((a, b) => a + b),
    2,
  );
  t.equal(measure.overhead.seconds, 0.002);
  t.equal(requests(measure), 2);
  t.equal(joined([]).routes.length, 0);
});

function configOf(canary: readonly string[]): Config {
  return configSchema.parse({
    routes: [{ name: "app", stable: { endpoints: ["http://a:1"] }, canary: { endpoints: canary } }],
  });
}

t.test(
  "an endpoint that a probe has found unhealthy is so on the other side; one nobody knows may be sent to",
  async (t) => {
    const board = new HealthBoard();
    const reader = new HealthReader();
    const first = board.grow(configOf(["http://b:1"]));
    if (first !== undefined) reader.add(first);
    const seen = (url: string): boolean => reader.healthy("app", "canary", url);
    t.ok(seen("http://b:1"));
    board.set("app", "canary", "http://b:1", false);
    t.notOk(seen("http://b:1"));
    t.ok(
      reader.healthy("app", "stable", "http://b:1"),
      "the same address on the other arm is another endpoint",
    );
    const more = configOf(["http://b:1", "http://c:1"]);
    const second = board.grow(more);
    t.ok(seen("http://c:1"), "no word yet");
    if (second !== undefined) reader.add(second);
    board.refresh(more, (_route, _arm, url) => url === "http://b:1");
    t.strictSame(["http://b:1", "http://c:1"].map(seen), [true, false]);
    t.notOk(reader.healthy("app", "stable", "http://a:1"));
    board.set("app", "canary", "http://unheard.of:1", false);
    t.equal(board.grow(more), undefined);
    t.equal(board.chunks.length, 2);
  },
);

t.test("connections are counted over all threads, and a dead one's are taken out", async (t) => {
  const words = connectionWords(3);
  const [a, b, c] = [0, 1, 2].map((index) => new Connections(words, index));
  a?.enter();
  t.equal(b?.enter(), 2);
  t.equal(c?.enter(), 3);
  t.equal(c?.enter(), 4);
  a?.leave();
  t.equal(b?.total, 3);
  c?.clear();
  t.equal(a?.total, 1);
});
