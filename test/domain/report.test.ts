/** The report of a rollout: every line of the journal once and in order, whatever is in it. */

import fc from "fast-check";
import t from "tap";
import { PHASES } from "../../src/domain/rollout-types.ts";
import {
  REPORT_STATUSES,
  beginReport,
  extendReport,
  hasStarted,
  isBeforeStart,
  isFirst,
  parseReportHead,
  reportJson,
  reportOf,
  stampOf,
  type Report,
  type ReportLine,
} from "../../src/domain/report.ts";
import { reportMarkdown } from "../../src/domain/report-markdown.ts";

const at = (phase: ReportLine["after"]["phase"], step = 0, weight = 5) => ({ phase, step, weight });

/** A line; its time is a minute later for each number. */
function line(seq: number, event: string, more: Partial<ReportLine> = {}): ReportLine {
  return {
    seq,
    at: `2026-01-05T09:${String(seq % 60).padStart(2, "0")}:00.000Z`,
    event,
    route: "app",
    rollout: "r-1",
    actor: "sluice",
    reason: "",
    before: at("progressing"),
    after: at("progressing"),
    ...more,
  };
}

const arms = (failures: number) => ({
  stable: { requests: 1000, failures: 1, errorRate: 0.001, p50Ms: 9.5, p95Ms: 120.4, p99Ms: 300 },
  canary: { requests: 50, failures, errorRate: failures / 50, p50Ms: null, p95Ms: null, p99Ms: null },
});

const STEPS = [
  { weight: 5, holdMs: 60_000, bake: false, critical: false },
  { weight: 100, holdMs: 3_600_000, bake: true, critical: true },
];

/** A rollout of two steps that goes well. */
const WELL: readonly ReportLine[] = [
  line(1, "DEPLOY_START", {
    actor: "ada",
    reason: "4.1 is | ready",
    before: at("idle", 0, 0),
    details: { steps: STEPS, version: "4.1", arms: arms(9) },
  }),
  line(2, "CHECKPOINT", { details: { arms: arms(0) } }),
  line(3, "GATE_SIGNED", { actor: "grace", details: { role: "lead", checks: [] } }),
  line(4, "STEP_STARTED", { after: at("baking", 1, 100), details: { checks: [], arms: arms(1) } }),
  line(5, "DEPLOY_SUCCESS", {
    before: at("baking", 1, 100),
    after: at("succeeded", 1, 100),
    details: { arms: arms(2) },
  }),
];

const made = (lines: readonly ReportLine[], rollout = "r-1"): Report => {
  const report = reportOf(lines, rollout, "production");
  if (report === undefined) throw new Error("no report");
  return report;
};

t.test("a rollout that goes well is told from its start to its success", async (t) => {
  const report = made(WELL);
  t.match(report, {
    format: 1,
    environment: "production",
    route: "app",
    rollout: "r-1",
    version: "4.1",
    status: "SUCCEEDED",
    startedAt: "2026-01-05T09:01:00.000Z",
    endedAt: "2026-01-05T09:05:00.000Z",
    startedBy: "ada",
    reason: "4.1 is | ready",
    omitted: 0,
    steps: STEPS,
  });
  t.same(
    report.events.map(({ type }) => type),
    WELL.map(({ event }) => event),
  );
  t.same(report.events[2], {
    type: "GATE_SIGNED",
    timestamp: "2026-01-05T09:03:00.000Z",
    seq: 3,
    route: "app",
    rollout: "r-1",
    actor: "grace",
    reason: "",
    before: at("progressing"),
    after: at("progressing"),
    role: "lead",
    checks: [],
  });
});

const JSON_VALUE = fc.jsonValue({ maxDepth: 2 });
const DETAILS = fc.option(
  fc.dictionary(fc.oneof(fc.string(), fc.constantFrom("type", "marks", "arms", "steps")), JSON_VALUE),
  { nil: undefined },
);
const POINT = fc.record({
  phase: fc.constantFrom(...PHASES),
  step: fc.nat(9),
  weight: fc.double({ min: 0, max: 100, noNaN: true }),
});
const TEXT = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom("a|b", "\u001b[31m", "x\n# y", "\u202e"),
);
/** Journal lines of two routes and three rollouts, in any order that a journal may have. */
const JOURNAL = fc
  .array(
    fc.record({
      at: fc.oneof(TEXT, fc.constant("2026-01-05T09:00:00.000Z")),
      event: fc.oneof(
        TEXT,
        fc.constantFrom("DEPLOY_START", "VALIDATION_COMPLETE", "DEPLOY_SUCCESS", "GATE_SIGNED", "ALERT_X"),
      ),
      route: fc.constantFrom("app", "api"),
      rollout: fc.constantFrom("r-1", "r-2", "r-3"),
      actor: TEXT,
      reason: TEXT,
      before: POINT,
      after: POINT,
      details: DETAILS,
    }),
    { maxLength: 30 },
  )
  .map((lines) =>
    lines.map(({ details, ...each }, index): ReportLine => {
      const whole = { ...each, seq: index + 1 };
      return details === undefined ? whole : { ...whole, details };
    }),
  );
const OWNERS = ["r-1", "r-2", "r-3"].flatMap((rollout) =>
  ["app", "api"].map((route) => ({ rollout, route })),
);

t.test(
  "every line of a rollout is an event exactly once and in order, whatever else is told of",
  async (t) => {
    fc.assert(
      fc.property(JOURNAL, (lines) => {
        for (const { rollout, route } of OWNERS) {
          const ofRoute = lines.filter((each) => each.route === route);
          const own = ofRoute.filter((each) => each.rollout === rollout);
          const report = reportOf(ofRoute, rollout, "test");
          t.equal(report === undefined, own.length === 0);
          if (report === undefined) continue;
          const told = report.events.map(({ seq, type }) => [seq, type]);
          if (JSON.stringify(told) !== JSON.stringify(own.map(({ seq, event }) => [seq, event])))
            throw new Error(JSON.stringify(told));
        }
      }),
    );
  },
);

t.test("lines that come one by one, or twice, or among those of others, make the same report", async (t) => {
  fc.assert(
    fc.property(JOURNAL, (lines) => {
      for (const { rollout, route } of OWNERS) {
        const first = lines.findIndex((each) => each.rollout === rollout && each.route === route);
        const begin = lines[first];
        if (begin === undefined) continue;
        const all = lines.slice(first);
        // A route's report is handed every line there is, and those before a certain one again.
        const grown = [...all, ...all].reduce(extendReport, beginReport(begin, "test"));
        const ofRoute = lines.filter((each) => each.route === route);
        t.equal(reportJson(grown), reportJson(reportOf(ofRoute, rollout, "test")!));
      }
    }),
    { numRuns: 50 },
  );
});

t.test(
  "JSON and head read back as they were, and the Markdown drives no terminal and breaks no table",
  async (t) => {
    fc.assert(
      fc.property(JOURNAL, (lines) => {
        for (const { rollout, route } of OWNERS) {
          const report = reportOf(
            lines.filter((each) => each.route === route),
            rollout,
            "test",
          );
          if (report === undefined) continue;
          const json = reportJson(report);
          const { steps: _steps, events, ...head } = report;
          t.same(parseReportHead(json), JSON.parse(JSON.stringify(head)));
          const back = JSON.parse(json) as Report;
          t.equal(back.events.length, events.length);
          t.equal(
            JSON.stringify(back),
            JSON.stringify(JSON.parse(JSON.stringify({ ...head, steps: report.steps, events }))),
          );
          const markdown = reportMarkdown(report);
          for (const each of markdown.split("\n")) {
            if (/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u.test(each)) throw new Error(JSON.stringify(each));
            // Within a table every row has as many cells as its head.
            if (each.startsWith("|")) t.ok(/^\|.*\|$/.test(each), each);
          }
          t.equal(rowsOf(markdown, "Timeline"), events.length, "a line for each event");
        }
      }),
      { numRuns: 50 },
    );
  },
);

/** Rows of the table under a heading. */
function rowsOf(markdown: string, title: string): number {
  return Math.max(
    0,
    section(markdown, title)
      .split("\n")
      .filter((each) => each.startsWith("|")).length - 2,
  );
}

function section(markdown: string, title: string): string {
  return markdown.split(`\n## ${title}\n`)[1]?.split("\n## ")[0]?.trim() ?? "";
}

t.test("two rollouts that run at once on two routes stay apart", async (t) => {
  const other = WELL.map((each) => ({ ...each, route: "api", rollout: "r-2" }));
  const lines = WELL.flatMap((each, index) => [
    { ...each, seq: 2 * index + 1 },
    { ...other[index]!, seq: 2 * index + 2 },
  ]);
  for (const [route, rollout] of [
    ["app", "r-1"],
    ["api", "r-2"],
  ] as const) {
    const begin = lines.find((each) => each.route === route)!;
    const report = lines.reduce(extendReport, beginReport(begin, "production"));
    t.equal(report.events.length, WELL.length);
    t.ok(report.events.every((each) => each.route === route && each.rollout === rollout));
    t.equal(report.status, "SUCCEEDED");
  }
});

t.test(
  "a success is there once, a rollback ends it when it was, and what comes after ends it no later",
  async (t) => {
    const successes = made(WELL).events.filter(({ type }) => type === "DEPLOY_SUCCESS");
    t.equal(successes.length, 1);
    const back = made([
      ...WELL.slice(0, 2),
      line(3, "ROLLBACK_DONE", { after: at("rolled_back", 0, 0), reason: "Rolled back: p95" }),
      line(8, "ROLLBACK_VERIFIED", { before: at("rolled_back", 0, 0), after: at("rolled_back", 0, 0) }),
    ]);
    t.match(back, { status: "ROLLED BACK", endedAt: "2026-01-05T09:03:00.000Z" });
    t.match(made(WELL.slice(0, 3)), { status: "RUNNING", endedAt: null });
    const again = made([...WELL, line(9, "WEIGHT_SET", { actor: "ada", after: at("paused", 1, 50) })]);
    t.match(again, { status: "RUNNING", endedAt: null }, "a weight set by hand opens it again");
  },
);

t.test("a rollout over which another is started is replaced, and stays so", async (t) => {
  const next = line(7, "DEPLOY_START", { rollout: "r-2" });
  const late = line(8, "ROLLBACK_VERIFIED", { after: at("rolled_back") });
  const replaced = made([...WELL.slice(0, 3), next, late]);
  t.match(replaced, { status: "REPLACED", endedAt: "2026-01-05T09:07:00.000Z" });
  t.equal(replaced.events.length, 4);
  t.equal(made([...WELL, next]).status, "SUCCEEDED", "one that has ended is not");
  const unrelated = line(7, "CHECKPOINT", { rollout: "r-2" });
  t.equal(made([...WELL.slice(0, 3), unrelated]).status, "RUNNING");
  t.equal(reportOf([next], "r-9", "production"), undefined);
});

t.test(
  "a rollout that is scheduled has not started: what is before the start says nothing of how it stands",
  async (t) => {
    const before = { before: at("succeeded", 3, 100), after: at("succeeded", 3, 100) };
    const scheduled = line(2, "ROLLOUT_SCHEDULED", { ...before, after: at("scheduled", 0, 0), actor: "ada" });
    const waiting = made([line(1, "BACKUP_CREATED", before), scheduled]);
    t.match(waiting, { status: "RUNNING", startedAt: "", endedAt: null, startedBy: "sluice", version: "" });
    t.notOk(hasStarted(waiting));
    const start = { ...WELL[0]!, seq: 3, at: "2026-01-06T09:00:00.000Z", before: at("scheduled", 0, 0) };
    const started = extendReport(waiting, start);
    t.match(started, { status: "RUNNING", startedBy: "ada", version: "4.1", startedAt: start.at });
    t.equal(started.events.length, 3);
    t.ok(hasStarted(started));
    t.ok(
      ["ROLLOUT_SCHEDULED", "BACKUP_CREATED", "DEPLOY_START"].every(isBeforeStart) &&
        !isBeforeStart("TRIPPED"),
    );
    t.ok(isFirst(WELL[0]!));
    t.notOk(isFirst(start), "its announcement was before");
    t.notOk(isFirst(scheduled));
    const over = line(9, "ROLLOUT_SCHEDULED", { rollout: "r-2", after: at("scheduled", 0, 0) });
    t.equal(
      made([...WELL.slice(0, 3), over]).status,
      "REPLACED",
      "one that is scheduled over it takes its place",
    );
  },
);

t.test("marks, texts, steps and events have bounds, and a detail takes no field's place", async (t) => {
  const marks = { traceIds: Array.from({ length: 50 }, (_, i) => `t${i}`), distinctKeys: 7 };
  const report = made([
    line(1, "DEPLOY_START", {
      details: { steps: [...STEPS, { weight: "x" }, 7, null], version: 4, checks: [{ rule: "p95", marks }] },
    }),
    line(2, "TRIPPED", { reason: "x".repeat(5000), details: { marks, list: ["y".repeat(5000), null, 1] } }),
    line(3, "ODD", { details: { type: "mine", role: "lead" } }),
    line(4, "ODD", { details: { marks: ["not marks"] } }),
  ]);
  t.match(report, { version: "", steps: STEPS });
  t.equal(report.steps.length, 2);
  const [first, second, third, fourth] = report.events;
  t.match(first, { checks: [{ marks: { traceIds: { length: 30 }, distinctKeys: 7 } }] });
  t.match(second, { reason: /^x{2000}…$/, marks: { traceIds: { length: 30 } } });
  t.match(second, { list: [/^y{2000}…$/, null, 1] });
  t.match(third, { type: "ODD", details: { type: "mine", role: "lead" } });
  t.same(fourth?.["marks"], ["not marks"]);
  t.same(made([line(1, "DEPLOY_START", { details: { steps: "none" } })]).steps, []);

  const many = made(
    Array.from({ length: 2010 }, (_, i) => line(i + 1, i === 0 ? "DEPLOY_START" : "CHECKPOINT")),
  );
  t.equal(many.events.length, 2000);
  t.equal(many.omitted, 10);
  t.match(many.events[0], { type: "DEPLOY_START" });
  t.match(many.events.at(-1), { seq: 2010 });
  t.match(section(reportMarkdown(many), "Timeline"), /10 events are left out: there were too many\.$/);
});

t.test("a head is read out of the beginning of a file, and only out of a report's", async (t) => {
  const json = reportJson(made(WELL));
  const { steps: _steps, events: _events, ...head } = made(WELL);
  t.same(parseReportHead(json.slice(0, json.indexOf('"events"'))), head);
  for (const text of [
    "",
    "{}",
    json.slice(0, 40),
    json.replace('"format": 1', '"format": 2'),
    json.replace('"SUCCEEDED"', '"WELL"'),
    json.replace(/"omitted": \d+/, '"omitted": "x"'),
    json.replace(/"endedAt": "[^"]*"/, '"endedAt": 7'),
    json.replace('"route": "app"', '"route": null'),
    json.replace('"route"', "route"),
    json.replace(/^\{/, "[{"),
    `[1,\n  "steps": `,
    `7,\n  "steps": `,
  ])
    t.equal(parseReportHead(text), undefined, JSON.stringify(text.slice(0, 60)));
  const running = reportJson(made(WELL.slice(0, 2)));
  t.match(parseReportHead(running), { status: "RUNNING", endedAt: null });
  t.match(reportJson(made([line(1, "ODD")])), /"steps": \[\],\n/);
});

t.test("a file is named by the second in which the rollout began", async (t) => {
  t.equal(stampOf("2026-01-05T09:00:00.123Z"), "20260105T090000Z");
  t.equal(stampOf("../../etc"), "00000000T000000Z");
});

t.test(
  "the Markdown has headline, plan, timeline, figures per step, signatures, alerts and what is left",
  async (t) => {
    const markdown = reportMarkdown(made(WELL));
    t.match(
      markdown,
      /^# Rollout of app: SUCCEEDED\n\n- Status: SUCCEEDED\n- Environment: production\n- Version: 4\.1\n/,
    );
    t.match(markdown, "- Started: 2026-01-05 09:01:00 UTC by ada: 4.1 is \\| ready\n");
    t.match(markdown, "- Ended: 2026-01-05 09:05:00 UTC\n- Weight of the canary: 100 %\n");
    t.match(section(markdown, "Plan"), "| 1 | 5 % | 1m |\n| 2 | 100 % | 1h bake, critical |");
    t.match(
      section(markdown, "Timeline"),
      "| 2026-01-05 09:04:00 | STEP_STARTED | 2 | 5 % → 100 % | baking | sluice |  |\n",
    );
    t.same(section(markdown, "Figures per step").split("\n").slice(2), [
      "| 1 | 5 % | 2026-01-05 09:04:00 | stable | 1000 | 1 | 0.10 % | 9.5 ms | 120 ms | 300 ms |",
      "| 1 | 5 % | 2026-01-05 09:04:00 | canary | 50 | 1 | 2.00 % | - | - | - |",
      "| 2 | 100 % | 2026-01-05 09:05:00 | stable | 1000 | 1 | 0.10 % | 9.5 ms | 120 ms | 300 ms |",
      "| 2 | 100 % | 2026-01-05 09:05:00 | canary | 50 | 2 | 4.00 % | - | - | - |",
    ]);
    t.match(section(markdown, "Signatures"), "| GATE_SIGNED | 1 | grace |  | role: lead |");
    t.equal(section(markdown, "Alerts"), "None.");
    t.match(section(markdown, "After the rollout"), /^(- \[ \] (Day 7|Week 2|Month 1): .+\n?)+$/);
  },
);

t.test("what is not known is said to be so, and an end that is not there is not made up", async (t) => {
  const bare = made([line(1, "WEIGHT_SET", { details: { arms: null } })]);
  const markdown = reportMarkdown(bare);
  t.match(markdown, "- Version: not said\n");
  t.match(markdown, "by sluice\n- Ended: not yet\n");
  t.equal(section(markdown, "Plan"), "The journal does not tell the plan.");
  t.equal(section(markdown, "Figures per step"), "No figures yet.");
  t.equal(section(markdown, "Signatures"), "Nobody was asked to sign.");
  t.equal(section(markdown, "After the rollout"), "Follows when it has ended.");
  const none = reportMarkdown({ ...bare, events: [] });
  t.notMatch(none, "Weight of the canary");
  t.equal(section(none, "Timeline"), "Nothing yet.");
  const odd = made([
    line(1, "CHECKPOINT", { at: "some | day", details: { arms: { stable: 7 } } }),
    line(2, "CHECKPOINT", {
      before: at("progressing", 0, 10),
      details: { arms: { canary: { requests: "x" } } },
    }),
    line(3, "CHECKPOINT", { before: at("progressing", 1, 10), details: { arms: {} } }),
  ]);
  t.same(section(reportMarkdown(odd), "Figures per step").split("\n").slice(2, 4), [
    "| 1 | 5 % | some \\| day | stable | - | - | - | - | - | - |",
    "| 1 | 5 % | some \\| day | canary | - | - | - | - | - | - |",
  ]);
  t.equal(
    rowsOf(reportMarkdown(odd), "Figures per step"),
    6,
    "another weight, or another step, is another visit",
  );
  const steps = [
    { weight: 5, holdMs: Number.POSITIVE_INFINITY, bake: false, critical: false },
    { weight: 6, holdMs: -1, bake: false, critical: false },
  ];
  t.match(section(reportMarkdown({ ...bare, steps }), "Plan"), "| 1 | 5 % | - |\n| 2 | 6 % | - |");
});

t.test("what people are woken for stands under alerts, and every end has its own list", async (t) => {
  const back = made([
    ...WELL.slice(0, 1),
    line(2, "TRIPPED", { reason: "Tripped: p95" }),
    line(3, "ALERT_OPENED", { details: { severity: "critical", n: 3 } }),
    line(4, "ROLLBACK_DONE", { after: at("rolled_back", 0, 0) }),
  ]);
  const alerts = section(reportMarkdown(back), "Alerts");
  t.match(alerts, "| TRIPPED | 1 | sluice | Tripped: p95 |  |");
  t.match(alerts, "| ALERT_OPENED | 1 | sluice |  | severity: critical, n: 3 |");
  t.match(alerts, "| ROLLBACK_DONE |");
  for (const status of REPORT_STATUSES) {
    const list = section(reportMarkdown({ ...back, status }), "After the rollout");
    t.equal(list.startsWith("- [ ] "), status !== "RUNNING", status);
  }
});

t.test("what others wrote is text in the Markdown and nothing else, and not too much of it", async (t) => {
  const reason = "a|b `c` [d](e) <f> *g* \\h &amp; \u001b[31m\u202e\ud800 i\nj";
  const markdown = reportMarkdown(made([line(1, "DEPLOY_START", { reason })]));
  t.match(markdown, "a\\|b \\`c\\` \\[d\\](e) \\<f\\> \\*g\\* \\\\h \\&amp; \\[31m i j");
  const long = reportMarkdown(made([line(1, "DEPLOY_START", { reason: "\u{1f600}".repeat(400) })]));
  t.match(long, `${"\u{1f600}".repeat(300)}…`);
});
