import { readFileSync } from "node:fs";
import { build, decodeFromCompressedBase64 } from "hdr-histogram-js";
import fc from "fast-check";
import t from "tap";
import {
  COUNTS_LENGTH,
  HIGHEST_MICROS,
  addSparse,
  emptyCounts,
  encode,
  highestOf,
  indexOfMicros,
  percentilesOf,
  quantilesOf,
  type Counts,
} from "../../src/domain/latency.ts";
import {
  CODE_CLASSES,
  OUTCOMES,
  REASONS,
  REASON_INDEX,
  codeClassIndex,
  kindOf,
  badKindOf,
} from "../../src/domain/outcome.ts";
import {
  DURATION_BOUNDS,
  LiveSlice,
  SLICE_WORDS,
  SliceReader,
  ownPlace,
  ownRoom,
  settledIn,
  wordsOver,
  type Slice,
  type SlicePlace,
} from "../../src/domain/slice.ts";
import { millis } from "../../src/domain/units.ts";
import { ArmWindow, KEPT_MS, byOutcome, mergeSlices } from "../../src/domain/window.ts";

interface Golden {
  readonly hdr: readonly {
    digits: number;
    countsLength: number;
    index: { v: number; i: number; high: number }[];
  }[];
  readonly hdr_percentile2: { readonly p50: number; readonly p95: number; readonly p99: number };
}
// Our own committed file: its shape is known.
const golden = JSON.parse(readFileSync(new URL("../golden/hdr.json", import.meta.url), "utf8")) as Golden;

function of(values: readonly number[]): Counts {
  const counts = emptyCounts();
  for (const value of values) addSparse(counts, [indexOfMicros(value), 1]);
  return counts;
}

const micros = fc.oneof(
  fc.integer({ min: 0, max: 5000 }),
  fc.integer({ min: 0, max: HIGHEST_MICROS }),
  fc.double({ min: 0, max: 1e7, noNaN: true }),
);

t.test("the buckets are those of the known-answer data", async (t) => {
  const two = golden.hdr.find((layout) => layout.digits === 2);
  t.equal(two?.countsLength, COUNTS_LENGTH);
  for (const { v, i, high } of two?.index ?? []) {
    t.equal(indexOfMicros(v), i, `index of ${v}`);
    t.equal(highestOf(i), high, `highest of ${i}`);
  }
  t.ok((two?.index.length ?? 0) > 4);
  const { p50, p95, p99 } = golden.hdr_percentile2;
  t.same(quantilesOf(of(Array.from({ length: 1000 }, (_, i) => (i + 1) * 1000)), [0.5, 0.95, 0.99]), [
    p50,
    p95,
    p99,
  ]);
});

t.test("recording by hand and by hdr-histogram-js give the same quantiles", async () => {
  fc.assert(
    fc.property(fc.array(micros, { minLength: 1, maxLength: 200 }), (values) => {
      const library = build({
        lowestDiscernibleValue: 1,
        highestTrackableValue: HIGHEST_MICROS,
        numberOfSignificantValueDigits: 2,
      });
      for (const value of values) library.recordValue(Math.min(Math.floor(value), HIGHEST_MICROS));
      const ours = quantilesOf(of(values), [0.5, 0.95, 0.99]);
      return [50, 95, 99].every((p, index) => library.getValueAtPercentile(p) === ours[index]);
    }),
  );
});

t.test("every latency falls into a bucket whose highest value is at most one percent above it", async () => {
  fc.assert(
    fc.property(micros, (value) => {
      const high = highestOf(indexOfMicros(value));
      return high >= Math.floor(value) && high <= Math.floor(value) * 1.01 + 1;
    }),
  );
});

t.test("a latency that no clock should give is clamped, not thrown at the hot path", async (t) => {
  t.equal(indexOfMicros(-5), 0);
  t.equal(indexOfMicros(Number.NaN), 0);
  t.equal(indexOfMicros(Infinity), indexOfMicros(HIGHEST_MICROS));
  t.equal(indexOfMicros(HIGHEST_MICROS * 2), indexOfMicros(HIGHEST_MICROS));
});

t.test("an empty histogram has no quantiles, and a damaged slice adds nothing", async (t) => {
  const counts = emptyCounts();
  addSparse(counts, [-1, 5, COUNTS_LENGTH, 5, 3, 0, 4, Number.NaN, 7]);
  t.equal(counts.total, 0);
  t.same(quantilesOf(counts, [0.5, 0.99]), [null, null]);
});

t.test("a distribution is told by rising points, as far as there are latencies to tell it by", async (t) => {
  t.same(percentilesOf(of([])), []);
  t.same(percentilesOf(of([20_000])), [{ percentile: 0, ms: 20.095 }], "of one there is no tail");
  const points = percentilesOf(of(Array.from({ length: 1000 }, (_, i) => (i + 1) * 1000)));
  t.same(
    points.map(({ percentile }) => percentile),
    [0, 10, 25, 50, 75, 90, 95, 97.5, 99, 99.5, 99.75, 99.9],
  );
  t.ok(Math.abs((points[3]?.ms ?? 0) - 500) < 4, `the median is ${points[3]?.ms}`);
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 1, max: 5_000_000 }), { maxLength: 300 }), (values) => {
      const told = percentilesOf(of(values));
      return told.every(
        ({ percentile, ms }, i) =>
          i === 0 || (percentile > told[i - 1]!.percentile && ms >= told[i - 1]!.ms && percentile < 100),
      );
    }),
  );
});

t.test("other tools read what is encoded", async (t) => {
  const text = encode(of([1000, 2000, 3000, 900_000]));
  const read = decodeFromCompressedBase64(text);
  t.equal(read.totalCount, 4);
  t.equal(read.getValueAtPercentile(100), highestOf(indexOfMicros(900_000)));
});

const exchange = fc.record({
  reason: fc.nat({ max: REASONS.length - 1 }),
  status: fc.constantFrom(0, 101, 200, 204, 302, 404, 500, 503, 999),
  latency: fc.oneof(fc.constant(-1), micros),
  total: micros,
});
type Exchange = typeof exchange extends fc.Arbitrary<infer T> ? T : never;

function sliceOf(exchanges: readonly Exchange[]): Slice | undefined {
  const live = new LiveSlice();
  for (const each of exchanges) live.record(each.reason, each.status, each.latency, each.total);
  return live.take();
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

t.test("every recorded exchange is counted once, by reason and by class", async () => {
  fc.assert(
    fc.property(fc.array(exchange, { minLength: 1 }), (exchanges) => {
      const slice = sliceOf(exchanges);
      if (slice === undefined) return false;
      const [successes, failures, excluded] = byOutcome(slice.byReason);
      const judged = exchanges.filter((each) => kindOf(REASONS[each.reason] ?? "ok") !== "excluded");
      return (
        sum(slice.byReason) === exchanges.length &&
        sum(slice.byClass) === exchanges.length &&
        successes + failures + excluded === exchanges.length &&
        sum(slice.durations) === judged.length &&
        sum([...slice.successes, ...slice.failures].filter((_, i) => i % 2 === 1)) ===
          judged.filter((each) => each.latency >= 0).length
      );
    }),
  );
});

t.test("taking a slice starts again from zero", async (t) => {
  const live = new LiveSlice();
  t.equal(live.take(), undefined);
  live.record(REASON_INDEX.ok, 200, 1000, 2000);
  live.record(REASON_INDEX.status, 500, 3000, 20e6);
  const slice = live.take();
  t.same(slice?.successes, [indexOfMicros(1000), 1]);
  t.same(slice?.failures, [indexOfMicros(3000), 1]);
  t.equal(slice?.durations[0], 1);
  t.equal(slice?.durations[DURATION_BOUNDS.length], 1);
  t.equal(live.take(), undefined);
  live.record(99, 200, 1, 1);
  t.equal(live.take()?.byClass[2 * CODE_CLASSES.length + 2], 1, "a reason of a newer version is no evidence");
});

/** A slice as people would tell it: sparse counts in one order, seconds to the microsecond. */
function told(slice: Slice | undefined): unknown {
  if (slice === undefined) return undefined;
  const counts = (sparse: readonly number[]): unknown => {
    const sums = new Map<number, number>();
    for (let at = 0; at < sparse.length; at += 2)
      sums.set(sparse[at] ?? -1, (sums.get(sparse[at] ?? -1) ?? 0) + (sparse[at + 1] ?? 0));
    return [...sums].sort(([a], [b]) => a - b);
  };
  return {
    ...slice,
    successes: counts(slice.successes),
    failures: counts(slice.failures),
    durationSeconds: Math.round(slice.durationSeconds * 1e6),
  };
}

const merged = (slices: readonly (Slice | undefined)[]): Slice | undefined =>
  slices.reduce((sum, slice) =>
    sum === undefined || slice === undefined ? (sum ?? slice) : mergeSlices(sum, slice),
  );

/** What is done to one slice: exchanges are recorded, one of two readers reads. */
const step = fc.oneof(
  { weight: 4, arbitrary: exchange },
  { weight: 1, arbitrary: fc.constantFrom("first", "second") },
);

t.test(
  "what readers take, at whatever moments, adds up to what was recorded, across a wrap of the counts",
  async () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), fc.nat({ max: 40 }), (script, short) => {
        const place = { ...ownPlace(), words: wordsOver(new SharedArrayBuffer(SLICE_WORDS * 4)) };
        const live = new LiveSlice(place);
        const readers = { first: new SliceReader(place), second: new SliceReader(place) };
        // Latencies have places now; then every count stands shortly before its wrap, and the readers know it.
        for (const reason of [REASON_INDEX.ok, REASON_INDEX.status]) live.record(reason, 200, 1, 1);
        const first = 2;
        const last =
          first + REASONS.length + OUTCOMES.length * CODE_CLASSES.length + DURATION_BOUNDS.length + 1;
        place.words.counts.fill(2 ** 32 - 1 - short, first, last);
        for (const number of [1, 2]) place.room.find(number)?.fill(2 ** 32 - 1 - short);
        for (const reader of Object.values(readers)) reader.take();
        const taken = { first: [] as (Slice | undefined)[], second: [] as (Slice | undefined)[] };
        const recorded: Exchange[] = [];
        for (const each of [...script, "first" as const, "second" as const]) {
          if (each === "first" || each === "second") taken[each].push(readers[each].take());
          else {
            live.record(each.reason, each.status, each.latency, each.total);
            recorded.push(each);
          }
        }
        const whole = JSON.stringify(told(sliceOf(recorded)));
        return (
          JSON.stringify(told(merged(taken.first))) === whole &&
          JSON.stringify(told(merged(taken.second))) === whole
        );
      }),
    );
  },
);

t.test("two threads' slices, merged, are one thread's: it does not matter who measured", async () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(exchange, fc.boolean())), (shared) => {
      const of = (mine: boolean): Slice | undefined =>
        sliceOf(shared.filter(([, first]) => first === mine).map(([each]) => each));
      const all = told(sliceOf(shared.map(([each]) => each)));
      return JSON.stringify(told(merged([of(true), of(false)]))) === JSON.stringify(all);
    }),
  );
});

t.test("a slice shares no word with its neighbours", async (t) => {
  const words = wordsOver(new SharedArrayBuffer(3 * SLICE_WORDS * 4));
  const places = [0, 1, 2].map((index): SlicePlace => ({ words, at: index * SLICE_WORDS, room: ownRoom() }));
  const [before, live, behind] = places.map((place) => new LiveSlice(place));
  for (const reason of REASONS) live?.record(REASON_INDEX[reason], 599, HIGHEST_MICROS, HIGHEST_MICROS);
  t.equal(settledIn(words.counts, SLICE_WORDS), REASONS.length);
  t.equal(before?.take(), undefined);
  t.equal(behind?.take(), undefined);
  t.equal(sum(live?.take()?.byReason ?? []), REASONS.length);
});

t.test("a reader that does not know a histogram yet gets its counts later, all of them", async (t) => {
  const room = ownRoom();
  const place = { ...ownPlace(), room };
  let isKnown = false;
  const reader = new SliceReader({
    ...place,
    room: { open: () => 0, find: (number) => (isKnown ? room.find(number) : undefined) },
  });
  const live = new LiveSlice(place);
  live.record(REASON_INDEX.ok, 200, 1000, 2000);
  t.same(reader.take()?.successes, []);
  live.record(REASON_INDEX.status, 500, 1000, 2000);
  const early = reader.take();
  t.same([early?.successes, early?.failures], [[], []]);
  isKnown = true;
  const late = reader.take();
  t.same(
    [late?.successes, late?.failures],
    [
      [indexOfMicros(1000), 1],
      [indexOfMicros(1000), 1],
    ],
  );
  t.equal(sum(late?.byReason ?? [1]), 0, "the exchanges themselves were told before");
  t.equal(reader.take(), undefined);
});

t.test("code classes and outcomes are closed sets", async (t) => {
  t.same([0, 99, 100, 204, 599, 600].map(codeClassIndex), [0, 0, 1, 2, 5, 0]);
  t.same(new Set(REASONS.map(kindOf)), new Set(OUTCOMES));
  // What an older program sees of a newer one's reason: no outcome, hence no silent success.
  t.notOk(OUTCOMES.includes(kindOf("invented" as never)));
});

t.test("a window is the sum of its slices, however they were cut", async () => {
  fc.assert(
    fc.property(fc.array(fc.array(exchange, { minLength: 1 }), { minLength: 1, maxLength: 20 }), (parts) => {
      const cut = new ArmWindow();
      parts.forEach((part, index) => {
        const slice = sliceOf(part);
        if (slice !== undefined) cut.add(slice, millis(1000 + index * 137));
      });
      const whole = new ArmWindow();
      const all = sliceOf(parts.flat());
      if (all !== undefined) whole.add(all, millis(1000));
      const read = (window: ArmWindow) =>
        JSON.stringify(window.read(millis(60_000), millis(5000), millis(0)));
      return read(cut) === read(whole);
    }),
  );
});

t.test("a reading stays what it was when another is made", async (t) => {
  const windowOf = (latency: number, status: 200 | 500) => {
    const window = new ArmWindow();
    const reason = status === 200 ? REASON_INDEX.ok : REASON_INDEX.status;
    window.add(sliceOf([{ reason, status, latency, total: latency }])!, millis(1000));
    return window.read(millis(60_000), millis(1000), millis(0));
  };
  const slow = windowOf(200_000, 200);
  const failed = windowOf(1000, 500);
  t.match(slow, { requests: 1, all: { n: 1 }, successes: { n: 1 } });
  t.ok(slow.all.p50! > 150);
  t.match(failed, { failures: 1, all: { n: 1 }, successes: { n: 0, p50: null } });
  t.ok(failed.all.p50! < 2);
});

t.test("a window forgets what is older than it, and what was before the change of weight", async (t) => {
  const window = new ArmWindow();
  const one = sliceOf([{ reason: REASON_INDEX.ok, status: 200, latency: 1000, total: 1000 }]);
  if (one === undefined) throw new Error("no slice");
  for (let at = 1000; at <= 120_000; at += 1000) window.add(one, millis(at));
  t.equal(window.read(millis(60_000), millis(120_000), millis(0)).requests, 60);
  t.equal(window.read(millis(60_000), millis(150_000), millis(0)).requests, 30);
  t.equal(window.read(millis(60_000), millis(120_000), millis(110_000)).requests, 10);
  t.same(window.read(millis(60_000), millis(900_000), millis(0)), {
    requests: 0,
    failures: 0,
    excluded: 0,
    all: { n: 0, p50: null, p95: null, p99: null },
    successes: { n: 0, p50: null, p95: null, p99: null },
  });
  window.add(one, millis(120_000 + KEPT_MS));
  t.equal(
    window.read(millis(2 * KEPT_MS), millis(120_000 + KEPT_MS), millis(0)).requests,
    1,
    "five minutes are kept",
  );
});

t.test("what was measured in the same second before a change of weight is not judged after it", async (t) => {
  const window = new ArmWindow();
  const one = sliceOf([{ reason: REASON_INDEX.ok, status: 200, latency: 1000, total: 1000 }]);
  if (one === undefined) throw new Error("no slice");
  window.add(one, millis(1100));
  window.add(one, millis(1200));
  const since = millis(1200);
  window.add(one, millis(1300), since);
  window.add(one, millis(1400), since);
  t.equal(window.read(millis(60_000), millis(1500), since).requests, 2);
  t.equal(window.read(millis(60_000), millis(1500), millis(0)).requests, 4);
});

t.test("a reason of a newer program is counted and is no evidence", async (t) => {
  t.strictSame(byOutcome([...new Array<number>(REASONS.length).fill(0), 7]), [0, 0, 7]);
});

t.test("merging slices of different lengths counts a missing place as zero", async (t) => {
  const slice: Slice = {
    byReason: [1],
    byClass: [],
    successes: [1, 1],
    failures: [],
    durations: [],
    durationSeconds: 1,
  };
  const other: Slice = { ...slice, byReason: [1, 2], durations: [3] };
  t.same(mergeSlices(slice, other).byReason, [2, 2]);
  t.same(mergeSlices(other, slice).byReason, [2, 2]);
  t.equal(mergeSlices(slice, other).durationSeconds, 2);
});

t.test("a response is bad for one thing: it failed, was slow, or was a 4xx", async (t) => {
  t.equal(badKindOf(true, "status", 500), "failure");
  t.equal(badKindOf(false, "connect", 502), "failure");
  t.equal(badKindOf(true, "ok", 404), "slow");
  t.equal(badKindOf(false, "ok", 404), "client_error");
  t.equal(badKindOf(false, "ok", 399), undefined);
  t.equal(badKindOf(false, "client_gone", 499), undefined);
});
