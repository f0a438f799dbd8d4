/** What several replicas have measured, judged as one. */

import fc from "fast-check";
import t from "tap";
import { compactSparse } from "../../src/domain/latency.ts";
import { meetingOf, publishingOf, recordingOf } from "../../src/domain/publishing.ts";
import { indexOfMicros } from "../../src/domain/hdr.ts";
import { IDLE } from "../../src/domain/rollout-move.ts";
import { millis } from "../../src/domain/units.ts";
import { EvidenceKeeper } from "../../src/engine/evidence.ts";
import { LiveSlice, type Slice } from "../../src/domain/slice.ts";
import { REASON_INDEX } from "../../src/domain/outcome.ts";
import type { RouteShare } from "../../src/engine/ports.ts";
import {
  addShares,
  decodeShares,
  encodeShares,
  mergeEncoded,
  mergeShares,
  noShare,
} from "../../src/engine/shares.ts";
import { RouteEvidence } from "../../src/domain/evidence/route.ts";
import { HARD_LIMITS } from "../../src/domain/evidence/catastrophic.ts";
import { DEFAULT_MARGIN } from "../../src/domain/evidence/gate.ts";
import { ADA, benchConfig, rollback, startOf, statusOf, step, weightOf } from "../support/engine.ts";
import { fleet } from "../support/fleet.ts";

const MANY_NEEDED = benchConfig({
  rollback: { onAny: [{ metric: "error_rate", above: "5%", for: "3s", minRequests: 150 }] },
});

t.test(
  "a failure that only the sum shows rolls back; with one half cut off it does not (acceptance 30)",
  async (t) => {
    for (const isCut of [false, true]) {
      const { object, replicas } = await fleet(2, MANY_NEEDED);
      const [a, b] = replicas;
      await a.controller.command("app", startOf([step(50, 6000)]), ADA);
      b.store.isCut = isCut;
      // On each of them alone there are too few for the rule.
      const serve = (): void => {
        for (const each of [a, b]) {
          each.plane.serve("app", "canary", { ok: 1, failed: 1 });
          each.plane.serve("app", "stable", { ok: 2 });
        }
      };
      await a.run(55, serve);
      t.same([weightOf(a), weightOf(b)], isCut ? [50, 50] : [0, 0], isCut ? "cut off" : "together");
      if (!isCut) t.match(object.document?.routes["app"], { phase: "rolled_back" });
      if (isCut) t.match(statusOf(a).fleet, { stale: ["replica-1"], replicas: 1 });
    }
  },
);

t.test("what could not be handed on is handed on later, and what is too old is not", async (t) => {
  const { object, replicas } = await fleet(2, MANY_NEEDED);
  const [a, b] = replicas;
  await a.controller.command("app", startOf([step(50, 6000)]), ADA);
  const entriesOf = () => object.entries.flatMap(({ measure }) => decodeShares(measure));
  const served = () => entriesOf().reduce((sum, share) => sum + share.block.canary.n, 0);
  object.entries = [];
  b.store.isCut = true;
  await a.run(5, () => b.plane.serve("app", "canary", { ok: 10 }));
  b.store.isCut = false;
  await a.run(3);
  t.equal(served(), 50);
  t.equal(statusOf(a).arms.canary.windowRequests, 50, "it is judged with the others'");
  t.equal(statusOf(a).arms.canary.requests, 0, "and none of the leader's own totals");
  object.entries = [];
  b.store.isCut = true;
  await a.run(40, () => b.plane.serve("app", "canary", { ok: 10 }));
  b.store.isCut = false;
  await a.run(2);
  t.ok(served() > 0 && served() < 310, String(served()));
});

t.test("what was measured in another rollout, or before an alarm, is no evidence", async (t) => {
  const { clock, object, replicas } = await fleet(2, MANY_NEEDED);
  const [a, b] = replicas;
  await a.controller.command("app", startOf([step(50, 6000)]), ADA);
  const { id } = object.document!.routes["app"]!;
  const share = (of: string): RouteShare => ({
    ...noShare("app", of),
    block: { ...noShare("app", of).block, canary: { n: 100, e: 100, s: 0, v: 0, c4: 0 } },
    arms: { canary: sliceOf(0, 100) },
  });
  await b.store.publish(encodeShares([share("another/0"), share(`${id}/1`)], { digits: 2, samples: 5 }));
  await b.store.publish(new TextEncoder().encode("damaged"));
  await b.store.publish(new TextEncoder().encode('{"v":2,"routes":[]}'));
  await clock.advance("3s");
  t.equal(statusOf(a).arms.canary.windowRequests, 0);
  await b.store.publish(
    encodeShares([share(`${id}/0`), { ...share("x"), route: "gone" }], { digits: 2, samples: 5 }),
  );
  await clock.advance("3s");
  t.equal(statusOf(a).arms.canary.windowRequests, 100);
});

t.test("a new leader goes on with what the old one had heard, and counts nothing twice", async (t) => {
  const { object, replicas, clock } = await fleet(3, MANY_NEEDED);
  const [a, b, c] = replicas;
  await a.controller.command("app", startOf([step(50, 6000)]), ADA);
  const serve = (): void => replicas.forEach((each) => each.plane.serve("app", "canary", { ok: 5 }));
  await a.run(20, serve);
  const { evidence } = object.document!.routes["app"]!;
  t.match(evidence?.upTo, /^\d+-0$/);
  a.kill();
  await a.store.close();
  await b.run(6, serve);
  const leader = object.holder === "replica-1" ? b : c;
  t.equal(statusOf(leader).fleet?.leads, true);
  await b.run(10, serve);
  t.ok(statusOf(leader).arms.canary.windowRequests > 150);
  t.match(await leader.controller.command("app", rollback, ADA), { ok: true });
  await clock.advance("1s");
});

const SEQUENTIAL = benchConfig({
  rollback: { onAny: [{ metric: "error_rate", above: "1%", test: "sequential" }] },
});

t.test("late blocks of one's own leave the others' in", async (t) => {
  const { replicas } = await fleet(2, SEQUENTIAL);
  const [a, b] = replicas;
  await a.controller.command("app", startOf([step(50, 6000)]), ADA);
  a.plane.lagMs = 10_000;
  const failing = (): void => {
    for (let key = 1; key <= 6; key++) b.plane.key("app", key, true);
    b.plane.serve("app", "canary", { failed: 5 });
    a.plane.serve("app", "stable", { ok: 20 });
    b.plane.serve("app", "stable", { ok: 20 });
  };
  await a.run(40, failing);
  t.equal(weightOf(b), 0);
});

t.test("how often and how finely is published follows from how many there are", async (t) => {
  t.match(publishingOf(0), { everyMs: 1000, digits: 2, samples: 50 });
  t.match(publishingOf(300), { everyMs: 1000, digits: 2, samples: 6 });
  t.match(publishingOf(301), { everyMs: 2000, digits: 2 });
  t.match(publishingOf(5000), { everyMs: 5000, digits: 1, samples: 2 });
});

function sliceOf(ok: number, failed: number, ms = 10): Slice {
  const live = new LiveSlice();
  for (let nth = 0; nth < ok; nth++) live.record(REASON_INDEX.ok, 200, ms * 1000, ms * 1000);
  for (let nth = 0; nth < failed; nth++) live.record(REASON_INDEX.status, 500, ms * 1000, ms * 1000);
  return live.take()!;
}

const counts = fc.record({
  n: fc.nat(200),
  e: fc.nat(40),
  s: fc.nat(40),
  v: fc.nat(40),
  c4: fc.nat(40),
});
const latencies = fc.array(fc.integer({ min: 1, max: 60_000_000 }), { maxLength: 30 });
const half = fc.record({ canary: counts, stable: counts, ok: latencies, bad: latencies });

function shareOf({
  canary,
  stable,
  ok,
  bad,
}: typeof half extends fc.Arbitrary<infer H> ? H : never): RouteShare {
  const live = new LiveSlice();
  for (const us of ok) live.record(REASON_INDEX.ok, 200, us, us);
  for (const us of bad) live.record(REASON_INDEX.status, 500, us, us);
  const slice = live.take();
  const arms = slice === undefined ? {} : { canary: slice, stable: slice };
  return { ...noShare("app", "r/0"), block: { canary, stable }, arms };
}

t.test("the verdict over two halves is the verdict over the whole", async () => {
  const rules = { limits: HARD_LIMITS, margin: DEFAULT_MARGIN };
  const sane = ({ n, e, s, v, c4 }: RouteShare["block"]["canary"]) => {
    const all = n + e + s + v + c4;
    return { n: all, e, s, v, c4 };
  };
  fc.assert(
    fc.property(fc.array(fc.tuple(half, half), { minLength: 1, maxLength: 30 }), (seconds) => {
      const merged = new RouteEvidence(rules);
      const whole = new RouteEvidence(rules);
      for (const evidence of [merged, whole]) {
        evidence.fresh();
        evidence.stageStart(true, undefined);
      }
      for (const [one, other] of seconds) {
        const [a, b] = [shareOf(one), shareOf(other)];
        const encoded = [a, b].map((share) => encodeShares([share], { digits: 2, samples: 0 }));
        const [sum] = mergeEncoded(encoded);
        const direct = addShares(a, b);
        for (const [evidence, share] of [
          [merged, sum!],
          [whole, direct],
        ] as const) {
          const slice = share.arms.canary;
          const sparse = slice === undefined ? [] : compactSparse([...slice.successes, ...slice.failures]);
          const { canary, stable } = share.block;
          const block = { canary: sane(canary), stable: sane(stable) };
          evidence.commit({ ...block, canaryLatency: sparse, stableLatency: sparse }, 1);
        }
      }
      return JSON.stringify(merged.snapshot()) === JSON.stringify(whole.snapshot());
    }),
    { numRuns: 40 },
  );
});

t.test(
  "where there are many, each tells of itself and looks at the others less often, but for the leader",
  async (t) => {
    const { clock, object, replicas } = await fleet(2, MANY_NEEDED);
    const about = { applied: 0, weights: {}, perSecond: {} };
    for (let nth = 0; nth < 398; nth++) object.told.set(`other-${nth}`, { about, at: clock.mono() });
    // All of them know by then.
    await clock.advance("4s");
    const counts = replicas.slice(0, 2).map(({ store }) => {
      const seen = { told: 0, looked: 0 };
      const [announce, look] = [store.announce.bind(store), store.headcount.bind(store)];
      store.announce = (of) => {
        seen.told++;
        return announce(of);
      };
      store.headcount = () => {
        seen.looked++;
        return look();
      };
      return seen;
    });
    await clock.advance("40s");
    t.same(counts, [
      { told: 20, looked: 20 },
      { told: 20, looked: 4 },
    ]);
    t.same(meetingOf(300), { tellMs: 1000, lookMs: 2000 });
    t.same(meetingOf(301), { tellMs: 2000, lookMs: 10_000 });
    t.same([1, 100, 101, 1000, 10_000].map(recordingOf), [1000, 1000, 1010, 10_000, 10_000]);
  },
);

t.test("many shares added up in one go are what they are two by two, each latency once", async (t) => {
  fc.assert(
    fc.property(fc.array(half, { minLength: 1, maxLength: 20 }), (halves) => {
      const shares = halves.map(shareOf);
      const elsewhere = { ...shares[0]!, of: "r/1" };
      const [sum, other] = mergeShares([...shares, elsewhere]);
      const pairwise = shares.reduce(addShares);
      t.same(sum, compactedShare(pairwise));
      t.same(other, compactedShare(elsewhere), "of another state, and by itself");
      return true;
    }),
    { numRuns: 20 },
  );
});

function compactedShare(share: RouteShare): RouteShare {
  const arms = Object.entries(share.arms).map(([arm, slice]) => [
    arm,
    { ...slice, successes: compactSparse(slice.successes), failures: compactSparse(slice.failures) },
  ]);
  return { ...share, arms: Object.fromEntries(arms) as RouteShare["arms"] };
}

t.test("histograms pass unchanged with two digits, and to a tenth with one", async (t) => {
  fc.assert(
    fc.property(latencies, (values) => {
      const share = shareOf({
        canary: noShare("", "").block.canary,
        stable: noShare("", "").block.stable,
        ok: values,
        bad: [],
      });
      const of = (digits: 1 | 2) =>
        decodeShares(encodeShares([share], { digits, samples: 0 }))[0]!.arms.canary;
      const exact = of(2)?.successes ?? [];
      t.same(exact, compactSparse(share.arms.canary?.successes ?? []));
      const coarse = of(1)?.successes ?? [];
      const total = (sparse: readonly number[]) =>
        sparse.filter((_, at) => at % 2 === 1).reduce((a, b) => a + b, 0);
      t.equal(total(coarse), values.length);
      const highest = Math.max(0, ...values);
      if (values.length > 0) t.ok(coarse.at(-2)! <= indexOfMicros(highest * 1.15 + 20));
      return true;
    }),
    { numRuns: 20 },
  );
});

t.test("what several others have counted since the last block is in the next one", async (t) => {
  const { replicas } = await fleet(1, MANY_NEEDED);
  const [a] = replicas;
  const keeper = new EvidenceKeeper("app", [], a.plane.evidence);
  const block = { ...noShare("app", "r/0").block, canary: { n: 7, e: 0, s: 0, v: 0, c4: 0 } };
  keeper.begin({ ...IDLE, id: "r", phase: "progressing", steps: [step(50, 60)] });
  keeper.takeOthers({ ...noShare("app", "r/0"), block });
  keeper.takeOthers({ ...noShare("app", "r/0"), block });
  keeper.commit(millis(1000), millis(1000));
  t.equal(keeper.responses, 14);
});
