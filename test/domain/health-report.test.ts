/** The health report: every check with its sentence, and what they add up to. */

import t from "tap";
import { healthReport, unwellOf, type HealthFacts } from "../../src/domain/health-report.ts";

const endpoint = (change: object = {}) => ({
  url: "http://a:1",
  healthy: true,
  failures: 0,
  detail: "",
  ...change,
});
const FACTS: HealthFacts = {
  routes: [{ name: "app", stable: [endpoint()], canary: [endpoint({ healthy: null })] }],
  storeTrouble: "",
  journals: true,
  notifiers: { count: 2, failing: [] },
  reloadTrouble: "",
  folders: [{ name: "state folder", folder: "./state", free: 2 ** 30, trouble: "" }],
  loopLagMs: 3.4,
  loopLagMaxMs: 500,
  workers: 2,
  workersWanted: 2,
};
const failing = (change: Partial<HealthFacts>): string | undefined =>
  unwellOf(healthReport({ ...FACTS, ...change }));

t.test("all is well: every check passes and says what it saw", async (t) => {
  const report = healthReport(FACTS);
  t.match(report, { healthy: true, passed: 9, total: 9, sentence: "health checks 9/9" });
  t.equal(unwellOf(report), undefined);
  t.strictSame(
    report.checks.map(({ name, detail }) => `${name}: ${detail}`),
    [
      "app stable: 1/1 endpoints: http://a:1 healthy",
      "app canary: 1/1 endpoints: http://a:1 not known yet",
      "store: the state can be recorded",
      "journal: every line is written",
      "notifiers: 2 of 2 took their last message",
      "configuration: the last one that was read is in force",
      "state folder: ./state: 1024 MiB free",
      "event loop: 3ms late of late, may be 500ms",
      "workers: 2/2 carry traffic",
    ],
  );
});

t.test("each trouble fails its own check, and the sentence says what it is", async (t) => {
  const sick = endpoint({ url: "http://b:1", healthy: false, failures: 3, detail: "refused" });
  const many = Array.from({ length: 6 }, (_, at) => endpoint({ url: `http://c${at}:1` }));
  const routes = [{ name: "app", stable: [...many, sick], canary: [] }];
  t.equal(
    failing({ routes }),
    "app stable: 6/7 endpoints: http://b:1 unhealthy (3 failed probes: refused), http://c0:1 healthy, http://c1:1 healthy, http://c2:1 healthy, http://c3:1 healthy, and 2 more",
  );
  t.equal(failing({ storeTrouble: "ENOSPC" }), "store: ENOSPC");
  t.equal(failing({ journals: false }), "journal: a line could not be written");
  t.equal(failing({ notifiers: { count: 1, failing: ["webhook: 500"] } }), "notifiers: webhook: 500");
  t.equal(failing({ reloadTrouble: "line 3" }), "configuration: line 3");
  const folder = { name: "reports folder", folder: "./reports", free: 1, trouble: "" };
  t.equal(failing({ folders: [folder] }), "reports folder: ./reports: 0 MiB free");
  t.equal(
    failing({ folders: [{ ...folder, free: null, trouble: "EIO" }] }),
    "reports folder: ./reports: EIO",
  );
  t.equal(failing({ folders: [{ ...folder, free: null }] }), undefined);
  t.equal(failing({ loopLagMs: 501 }), "event loop: 501ms late of late, may be 500ms");
  t.equal(
    failing({ workers: 1, loopLagMs: 900 }),
    "event loop: 900ms late of late, may be 500ms; workers: 1/2 carry traffic",
  );
  t.match(
    healthReport({ ...FACTS, notifiers: { count: 0, failing: [] } }).checks[4]?.detail,
    "none are set up",
  );
  t.match(healthReport({ ...FACTS, workers: 1, journals: false }).sentence, "health checks 7/9");
});
