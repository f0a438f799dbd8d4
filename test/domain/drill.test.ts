/** What a drill comes to: proved only when everything is. */

import fc from "fast-check";
import t from "tap";
import {
  DRILL_CHECKS,
  asDrill,
  drillLines,
  drillNotice,
  drillReport,
  isDrill,
} from "../../src/domain/drill.ts";

const ABOUT = {
  environment: "production",
  route: "app",
  startedAt: "2026-01-05T09:00:00.000Z",
  endedAt: "2026-01-05T09:00:20.000Z",
  startedBy: "ann",
  reason: "weekly",
};
const FIGURES = { requests: 60, failed: 11, failedToClients: 0, offAfterMs: 1200, rolledBackAfterMs: 12_300 };
const ALL = DRILL_CHECKS.map((name) => ({ name, ok: true, detail: `${name} holds` }));

t.test("a drill has passed when each check holds, and there is at least one", (t) => {
  fc.assert(
    fc.property(fc.array(fc.boolean(), { maxLength: 10 }), (oks) => {
      const checks = oks.map((ok, n) => ({ name: `c${n}`, ok, detail: "" }));
      return drillReport(ABOUT, checks, FIGURES).passed === (oks.length > 0 && oks.every(Boolean));
    }),
  );
  t.equal(
    drillReport(ABOUT, ALL, FIGURES).sentence,
    "drill passed: 8/8 proved, off after 11 failures and 1s200ms",
  );
  t.equal(drillReport(ABOUT, ALL, { ...FIGURES, offAfterMs: null }).sentence, "drill passed: 8/8 proved");
  const [first, ...others] = ALL;
  t.equal(
    drillReport(ABOUT, [{ ...first!, ok: false }, ...others], FIGURES).sentence,
    "drill failed: both arms",
  );
  t.equal(drillReport(ABOUT, [], FIGURES).sentence, "drill failed: nothing was proved");
  t.end();
});

t.test("each check has its line, aligned, and the sentence comes last", (t) => {
  const checks = [ALL[0]!, { name: "journal", ok: false, detail: "no line" }];
  t.same(drillLines(drillReport(ABOUT, checks, FIGURES)), [
    "ok   both arms  both arms holds",
    "FAIL journal    no line",
    "drill failed: journal",
  ]);
  t.same(drillLines({ checks: [], sentence: "s" }), ["s"]);
  t.end();
});

t.test("what is told of a drill says that it is one", (t) => {
  t.equal(isDrill("app.drill"), true);
  t.equal(isDrill("app"), false);
  const summary = "app.drill: ROLLBACK_DONE";
  const notice = { severity: "emergency", summary, lines: [summary, "more"], details: { to: 0 } };
  t.same(asDrill(notice), {
    severity: "emergency",
    summary: "DRILL, nothing has to be done: app.drill: ROLLBACK_DONE",
    lines: ["DRILL, nothing has to be done: app.drill: ROLLBACK_DONE", "more"],
    details: { to: 0, drill: true },
  });
  t.match(drillNotice("id", "app", true, "drill passed"), { severity: "info", event: "drill_passed" });
  t.match(drillNotice("id", "app", false, "drill failed"), { severity: "critical", event: "drill_failed" });
  t.end();
});
