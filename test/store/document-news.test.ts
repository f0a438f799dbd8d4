/** What others are told of a save: what has changed since the document before it. */

import fc from "fast-check";
import t from "tap";
import { NO_ALERTS } from "../../src/domain/alert.ts";
import { EMPTY_BOOK } from "../../src/domain/bulletin.ts";
import { millis, ppm } from "../../src/domain/units.ts";
import type { RecordedState, StateDocument } from "../../src/engine/ports.ts";
import { decodeFollowed, encodeShared } from "../../src/store/document.ts";
import { decodeNews, encodeNews } from "../../src/store/document-news.ts";
import { NOTICE, documentOf, rollout } from "./documents.ts";

const EVIDENCE = {
  rules: "r",
  snapshot: { layout: 1, hard: [1, 2.5], rest: [], latency: [0, 7] },
  upTo: "5-1",
};

/** What may be recorded of a route, from a few values that are often the same twice. */
const recorded: fc.Arbitrary<RecordedState> = fc
  .record(
    {
      reason: fc.constantFrom("first", "second"),
      weight: fc.constantFrom(ppm(0), ppm(50_000)),
      step: fc.constantFrom(0, 1),
      heldMs: fc.constantFrom(millis(0), millis(12.25)),
      clocks: fc.constantFrom({}, { "p95>1": millis(5) }),
      standsFor: fc.constantFrom(null, "person" as const),
      evidence: fc.constantFrom(EVIDENCE, { ...EVIDENCE, rules: "s" }),
      notices: fc.constantFrom([], [NOTICE], [NOTICE, { ...NOTICE, atMs: 6 }]),
      bulletins: fc.constantFrom(EMPTY_BOOK, { ...EMPTY_BOOK, rollout: "r-1" }),
      alerts: fc.constantFrom(NO_ALERTS, { ...NO_ALERTS, next: 4 }),
    },
    { requiredKeys: ["reason", "weight", "step", "heldMs", "clocks", "standsFor"] },
  )
  .map((some) => ({ ...rollout("as told"), ...some }));

const document = fc
  .record(
    {
      savedAt: fc.constantFrom("2026-01-05T09:00:00.000Z", "2026-01-05T09:00:01.000Z"),
      epoch: fc.constantFrom(1, 2),
      safety: fc.constantFrom(
        { all: {}, routes: {} },
        { all: { maintenance: { since: "", by: "ada", reason: "" } }, routes: {} },
      ),
      routes: fc.dictionary(fc.constantFrom("app", "shop", "leading"), recorded),
    },
    { requiredKeys: ["savedAt", "routes"] },
  )
  .map((some): StateDocument => ({ ...documentOf(7), ...some }));

/** As another replica has it that was told all of it. */
function readBack(of: StateDocument): StateDocument {
  const encoded = encodeShared(of, "shared");
  const decoded = decodeFollowed(encoded.ok ? encoded.text : encoded.detail);
  if (!decoded.ok) throw new Error(decoded.detail);
  return decoded.document;
}

/** With everything unpacked. */
function plain(of: StateDocument | undefined): unknown {
  return of === undefined ? undefined : JSON.parse(JSON.stringify(of));
}

function newsOf(after: StateDocument, before: StateDocument): string {
  const news = encodeNews(after, before);
  if (news === undefined) throw new Error("only the whole of it can be told");
  return news;
}

t.test(
  "whoever knows the document before has the new one by what has changed, and hands on the same",
  (t) => {
    fc.assert(
      fc.property(document, document, document, (first, second, third) => {
        const [one, two, three] = [first, second, third].map((each, nth) => ({ ...each, version: 7 + nth }));
        if (one === undefined || two === undefined || three === undefined) return;
        // Written by whoever saves; read, and changed twice, by whoever follows.
        const known = readBack(one);
        readBack(two);
        readBack(three);
        const next = decodeNews(newsOf(two, one), known);
        t.same(plain(next), plain(two));
        const last = next === undefined ? undefined : decodeNews(newsOf(three, two), next);
        t.same(plain(last), plain(three));
        t.same(last === undefined ? undefined : plain(readBack(last)), plain(three));
        t.same(plain(known), plain(one), "what was known before is as it was");
      }),
      { numRuns: 150 },
    );
    t.end();
  },
);

t.test("a weight is told in a few words, however much a document holds", (t) => {
  const app = {
    ...rollout("first"),
    evidence: EVIDENCE,
    notices: [NOTICE],
    alerts: { ...NO_ALERTS, next: 4 },
  };
  const before = { ...documentOf(7), routes: { app, shop: app } };
  const after = {
    ...before,
    version: 8,
    routes: { app: { ...app, weight: ppm(60_000), revision: 4 }, shop: app },
  };
  readBack(before);
  readBack(after);
  t.same(JSON.parse(newsOf(after, before)), {
    set: { version: 8 },
    routes: { app: { set: { weight: 60_000, revision: 4 } } },
  });
  t.end();
});

t.test("a change that comes to no document, or to one of a kind that nobody knows, is none", (t) => {
  const known = readBack(documentOf(7));
  const good = { set: { version: 8 }, routes: { app: { set: { weight: 60_000 } } } };
  t.match(decodeNews(JSON.stringify(good), known), { version: 8, routes: { app: { weight: 60_000 } } });
  const later = {
    set: { version: 8, later: 1 },
    routes: { app: { set: { weight: 1, later: [] }, unset: ["earlier"] } },
  };
  t.match(
    decodeNews(JSON.stringify(later), known),
    { version: 8, routes: { app: { weight: 1 } } },
    "what a later version has is left out",
  );
  for (const bad of [
    "",
    "{",
    "[]",
    "{}",
    { ...good, set: { version: 0 } },
    { ...good, set: { format: 2 } },
    { ...good, unset: ["version"] },
    { ...good, routes: { app: { set: { weight: 1.5 } } } },
    { ...good, routes: { app: { set: { step: 2 } } } },
    { ...good, routes: { app: { set: { notices: 5 } } } },
    { ...good, routes: { app: { set: [] } } },
    { ...good, routes: { app: { set: {}, unset: ["weight"] } } },
    { ...good, routes: { shop: { set: { weight: 1 } } } },
  ])
    t.equal(
      decodeNews(typeof bad === "string" ? bad : JSON.stringify(bad), known),
      undefined,
      JSON.stringify(bad),
    );
  t.end();
});

t.test("of a document that was neither read nor written nobody can say what has changed", (t) => {
  const written = documentOf(8);
  readBack(written);
  t.equal(encodeNews(written, documentOf(7)), undefined);
  t.equal(encodeNews(documentOf(8), written), undefined);
  t.equal(decodeNews('{"set":{},"routes":{}}', documentOf(7)), undefined);
  t.end();
});
