/** What opens an alert and closes it, what people are told of it and how often. */

import fc from "fast-check";
import t from "tap";
import { actionOf, alertMessage, incidentKey, zoneWords } from "../../src/domain/alert-message.ts";
import {
  alertRules,
  alertWords,
  checkAlerts,
  isAtLeast,
  subjectOf,
  valueText,
  type AlertRule,
  type AlertSeverity,
} from "../../src/domain/alert-rule.ts";
import { LONGEST_SILENCE_MS, isMuted, withSilence, type Silence } from "../../src/domain/alert-silence.ts";
import {
  NO_ALERTS,
  acknowledge,
  openEvent,
  openMetrics,
  passAlerts,
  resolve,
  type Alert,
  type AlertNews,
  type AlertPolicy,
  type AlertSight,
  type AlertState,
} from "../../src/domain/alert.ts";
import { millis, ppm } from "../../src/domain/units.ts";

const MINUTE = millis(60_000);
const limit = { for: millis(0), window: MINUTE, minRequests: 20 };
const rate = (severity: AlertSeverity, percent: number): AlertRule => ({
  severity,
  when: { metric: "error_rate", above: ppm(percent * 10_000), ...limit },
});
const slow = (severity: AlertSeverity, ms: number): AlertRule => ({
  severity,
  when: { metric: "p95", above: millis(ms), ...limit },
});
const RULES: readonly AlertRule[] = [
  rate("warning", 0.5),
  rate("critical", 1),
  slow("warning", 200),
  slow("critical", 500),
  { severity: "emergency", when: { event: "rolled_back" } },
];
const POLICY: AlertPolicy = {
  rules: RULES,
  clearMs: millis(120_000),
  repeatMs: millis(3_600_000),
  levels: [
    { afterMs: millis(900_000), to: "on-call" },
    { afterMs: millis(1_800_000), to: "deployment-lead" },
  ],
  escalates: ["critical", "emergency"],
};

/** What every rule about a metric sees at these values; undefined: nothing. */
function sights(
  values: { readonly errors?: number; readonly p95?: number },
  shared = false,
): readonly AlertSight[] {
  return RULES.flatMap(({ severity, when }) => {
    if (!("above" in when)) return [];
    const value = when.metric === "error_rate" ? values.errors : values.p95;
    const above = when.metric === "error_rate" ? when.above / 1_000_000 : when.above;
    const is = value === undefined ? "unknown" : value > above ? "over" : "within";
    const sight = { subject: when.metric, severity, words: alertWords(when), forMs: when.for };
    return [{ ...sight, is, value: value ?? null, isShared: shared && is === "over" }];
  });
}

/** A route's alerts, a minute at a time. */
class Told {
  state: AlertState = NO_ALERTS;
  readonly news: AlertNews[] = [];
  readonly events: string[] = [];
  wall = 1_000_000;
  over: (alert: Alert) => string | undefined = () => undefined;

  pass(
    minutes: number,
    values: Parameters<typeof sights>[0] = {},
    policy = POLICY,
    shared = false,
  ): readonly string[] {
    const from = this.news.length;
    for (let i = 0; i < minutes; i++) {
      this.wall += MINUTE;
      const moment = { elapsedMs: MINUTE, wall: this.wall, rollout: "r1", counts: true };
      // As after a restart, each time.
      const before = JSON.parse(JSON.stringify(this.state)) as AlertState;
      const step = passAlerts(before, policy, sights(values, shared), this.over, moment);
      this.state = step.state;
      this.news.push(...step.news);
      this.events.push(...step.entries.map(({ event }) => event));
    }
    return this.news.slice(from).map(said);
  }
}
const said = ({ kind, incident, alerts }: AlertNews): string =>
  `${kind} ${incident.severity}: ${alerts.map(({ words }) => words).join(", ")}`;
const BAD = { errors: 0.02, p95: 10 };
const POOR = { errors: 0.007, p95: 10 };
const GOOD = { errors: 0, p95: 10 };

t.test(
  "a critical alert silences its warning, which is not said again when it closes, unless it has lasted (acceptance 29)",
  async (t) => {
    const told = new Told();
    t.same(told.pass(1, POOR), ["opened warning: error_rate above 0.5%"]);
    t.same(told.pass(1, BAD), ["opened critical: error_rate above 1%"]);
    t.same(
      told.pass(200, BAD).filter((each) => each.includes("warning")),
      [],
      "however long it lasts",
    );
    t.same(told.pass(2, POOR), [], "the critical one is within its limit, not for long enough");
    t.same(told.pass(1, POOR), ["resolved critical: error_rate above 1%"]);
    t.equal(told.state.alerts.length, 1, "the warning is still open, and known");
    t.same(told.pass(1, POOR), ["repeated warning: error_rate above 0.5%"], "it has lasted");
    const [first, , last] = [told.news[0], 0, told.news.at(-1)];
    t.equal(first?.incident.id, last?.incident.id, "under the same id");
    t.same(told.pass(3, GOOD), ["resolved warning: error_rate above 0.5%"]);
    t.equal(told.state.alerts.length + told.state.incidents.length, 0);
  },
);

t.test(
  "a warning that opens together with its critical alert is never said, and neither is its end",
  async (t) => {
    const told = new Told();
    t.same(told.pass(1, BAD), ["opened critical: error_rate above 1%"]);
    t.same(told.pass(3, GOOD), ["resolved critical: error_rate above 1%"]);
    t.same(told.events.filter((event) => event === "ALERT_OPENED").length, 2, "both are in the journal");
    t.same(told.events.filter((event) => event === "ALERT_RESOLVED").length, 2);
  },
);

t.test(
  "what opens in the same moment is one message, and one incident until the last of it has closed",
  async (t) => {
    const told = new Told();
    t.same(told.pass(1, { errors: 0.02, p95: 900 }), [
      "opened critical: error_rate above 1%, p95 above 500ms",
    ]);
    t.same(told.pass(9, { errors: 0, p95: 900 }), []);
    t.same(told.pass(3, GOOD), ["resolved critical: p95 above 500ms"]);
  },
);

t.test("where nothing is wrong, a look leaves the very same state, and nothing to be recorded", async (t) => {
  const moment = { elapsedMs: MINUTE, wall: 1_000_000, rollout: "r1", counts: true };
  const { state, entries, news } = passAlerts(NO_ALERTS, POLICY, sights(GOOD), () => undefined, moment);
  t.equal(state, NO_ALERTS);
  t.same([entries, news], [[], []]);
});

t.test("an alert needs its time, closes after its time, and without data nothing changes", async (t) => {
  const lasting = { ...POLICY, rules: RULES };
  const told = new Told();
  const slowly = (is: AlertSight["is"]) => [{ ...sights(BAD)[0]!, is, forMs: millis(180_000) }];
  const pass = (is: AlertSight["is"]): string[] => {
    const step = passAlerts(told.state, lasting, slowly(is), () => undefined, {
      elapsedMs: MINUTE,
      wall: 0,
      rollout: "",
      counts: true,
    });
    told.state = step.state;
    return step.entries.map(({ event }) => event);
  };
  t.same(
    [pass("over"), pass("over"), pass("unknown"), pass("over")].flat(),
    [],
    "two minutes, whatever came between",
  );
  t.same(pass("within"), [], "back at the start");
  t.same([pass("over"), pass("over"), pass("over"), pass("over")].flat(), ["ALERT_OPENED"]);
  t.same(
    [pass("within"), pass("within"), pass("over"), pass("within"), pass("unknown"), pass("within")].flat(),
    [],
  );
  t.same(pass("within"), ["ALERT_RESOLVED"], "two minutes within, without a break");
  t.equal(told.state.alerts.length, 0);
});

t.test("nobody answers: it climbs level by level, until somebody has seen it", async (t) => {
  const told = new Told();
  told.pass(1, BAD);
  t.same(told.pass(14, BAD), []);
  t.same(told.pass(1, BAD), ["escalated critical: error_rate above 1%"]);
  t.match(told.news.at(-1), { to: "on-call", incident: { level: 1 } });
  t.same(told.pass(14, BAD), []);
  t.same(told.pass(1, BAD), ["escalated critical: error_rate above 1%"]);
  t.match(told.news.at(-1), { to: "deployment-lead", incident: { level: 2 } });
  t.same(
    told.pass(60, BAD),
    ["repeated critical: error_rate above 1%"],
    "the last level is said again, and no more",
  );
  t.same(told.events.filter((event) => event === "ALERT_ESCALATED").length, 2);
  const [incident] = told.state.incidents;
  const step = acknowledge(told.state, incident!, { by: "ada", comment: "on it", wall: told.wall });
  t.match(step.news, [{ kind: "acknowledged", actor: "ada" }]);
  t.match(step.entries, [{ event: "ALERT_ACKNOWLEDGED", actor: "ada", reason: "on it" }]);
  told.state = step.state;
  t.same(acknowledge(told.state, told.state.incidents[0]!, { by: "bob", comment: "", wall: 0 }).news, []);
  t.same(told.pass(600, BAD), [], "seen is seen");
  t.same(told.pass(3, GOOD), ["resolved critical: error_rate above 1%"]);
});

t.test("a warning is repeated and does not climb", async (t) => {
  const told = new Told();
  told.pass(1, POOR);
  t.same(told.pass(120, POOR), [
    "repeated warning: error_rate above 0.5%",
    "repeated warning: error_rate above 0.5%",
  ]);
  t.same(told.pass(120, POOR, { ...POLICY, repeatMs: null }), []);
});

const silence = (change: Partial<Silence> = {}): Silence => ({
  id: "s-1",
  severity: null,
  metric: null,
  untilMs: 1_000_000 + 30 * MINUTE,
  reason: "known",
  by: "ada",
  atMs: 1_000_000,
  ...change,
});

t.test("a silence mutes until it ends; then what is still open is said", async (t) => {
  const told = new Told();
  told.state = { ...NO_ALERTS, silences: [silence()] };
  t.same(told.pass(29, BAD), []);
  t.same(told.state.alerts.length, 2, "open all the same");
  t.same(told.pass(1, BAD), ["opened critical: error_rate above 1%"]);
  t.ok(told.events.includes("SILENCE_EXPIRED"));
  told.state = { ...told.state, silences: [silence({ untilMs: Infinity, severity: "critical" })] };
  const step = passAlerts(told.state, POLICY, sights(GOOD), () => undefined, {
    elapsedMs: MINUTE,
    wall: 0,
    rollout: "r1",
    counts: true,
  });
  told.state = step.state;
  t.equal(step.news.length, 0);
  for (let i = 0; i < 2; i++) {
    const next = passAlerts(told.state, POLICY, sights(GOOD), () => undefined, {
      elapsedMs: MINUTE,
      wall: 0,
      rollout: "r1",
      counts: true,
    });
    told.state = next.state;
    told.news.push(...next.news);
  }
  t.equal(told.news.at(-1)?.kind, "resolved", "what a pager has open is closed, silence or not");
});

t.test("silences match what they name, and are bounded", async (t) => {
  const about = { severity: "warning", metric: "p95" } as const;
  const muted = (change: Partial<Silence>, wall = 1_000_000): boolean =>
    isMuted([silence(change)], about, wall);
  t.ok(muted({}) && muted({ severity: "warning" }) && muted({ metric: "p95" }));
  t.notOk(muted({ severity: "critical" }) || muted({ metric: "p99" }) || muted({}, silence().untilMs));
  t.match(withSilence([], silence()), { ok: true, silences: [{ id: "s-1" }] });
  t.match(withSilence([], silence({ untilMs: 0 })), { ok: false });
  t.match(withSilence([], silence({ untilMs: 1_000_001 + LONGEST_SILENCE_MS })), { ok: false });
  t.match(withSilence(new Array<Silence>(50).fill(silence()), silence()), { ok: false });
});

t.test(
  "an event is told by whoever decided it, and closes when it is over, or a person says so",
  async (t) => {
    const told = new Told();
    const moment = { wall: 5, rollout: "r1" };
    const opened = openEvent(told.state, POLICY, "rolled_back", moment);
    t.match(opened, { entry: { event: "ALERT_OPENED" }, incident: { isRollback: true, told: 1 } });
    told.state = opened!.state;
    t.equal(openEvent(told.state, POLICY, "rolled_back", moment), undefined, "open already");
    t.equal(openEvent(told.state, POLICY, "paused", moment), undefined, "no rule asks");
    t.same(told.pass(14, GOOD), [], "no second message");
    t.same(told.pass(1, GOOD), ["escalated emergency: rolled_back"]);
    const place = { environment: "production", route: "app", weight: 0, targets: [] };
    const { incident } = told.news.at(-1)!;
    t.equal(incidentKey(place, incident), "sluice/production/app/r1/rollback");
    const byHand = resolve(told.state, told.state.incidents[0]!, { by: "ada", comment: "fixed", wall: 9 });
    t.match(byHand, {
      news: [{ kind: "resolved", comment: "fixed" }],
      entries: [{ event: "ALERT_RESOLVED", actor: "ada" }],
    });
    t.equal(byHand.state.alerts.length, 0);
    told.over = () => "it is over";
    t.same(told.pass(1, GOOD), ["resolved emergency: rolled_back"]);

    const quiet = openEvent(
      { ...NO_ALERTS, silences: [silence({ untilMs: 10 })] },
      POLICY,
      "rolled_back",
      moment,
    );
    t.equal(quiet?.incident.told, 0, "muted with the message of the decision");
    t.same(acknowledge(quiet!.state, quiet!.incident, { by: "ada", comment: "", wall: 6 }).news, []);
    t.same(resolve(quiet!.state, quiet!.incident, { by: "ada", comment: "", wall: 6 }).news, []);
    told.over = () => undefined;
    told.state = quiet!.state;
    t.same(told.pass(1, GOOD), ["opened emergency: rolled_back"], "said when it is muted no more");
  },
);

t.test("an alert whose rule is gone closes", async (t) => {
  const told = new Told();
  told.pass(1, BAD);
  const step = passAlerts(told.state, { ...POLICY, rules: [] }, [], () => undefined, {
    elapsedMs: MINUTE,
    wall: 0,
    rollout: "r1",
    counts: true,
  });
  t.match(step.news, [{ kind: "resolved" }]);
  t.match(step.entries, [{ reason: /there is no such rule any more/ }, {}]);
});

t.test("the canary's own trouble adds up without a break, and what stable has too does not", async (t) => {
  const told = new Told();
  told.pass(4, POOR);
  t.equal(told.state.warnedMs, 4 * MINUTE);
  told.pass(3, POOR, POLICY, true);
  t.equal(told.state.warnedMs, 4 * MINUTE);
  t.equal(openMetrics(told.state).length, 1);
  told.pass(3, GOOD);
  t.equal(told.state.warnedMs, 0);
});

t.test(
  "whatever happens: an incident opens once, is closed at most once, and its messages are numbered without a gap",
  async (t) => {
    const value = fc.record({
      errors: fc.option(fc.constantFrom(0, 0.004, 0.007, 0.02), { nil: undefined }),
      p95: fc.option(fc.constantFrom(10, 300, 900), { nil: undefined }),
      minutes: fc.integer({ min: 1, max: 20 }),
      silenced: fc.boolean(),
      answers: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(value, { maxLength: 40 }), (course) => {
        const told = new Told();
        for (const { minutes, silenced, answers, errors, p95 } of course) {
          const silences = silenced ? [silence({ untilMs: told.wall + minutes * MINUTE })] : [];
          told.state = { ...told.state, silences };
          const values = {
            ...(errors === undefined ? {} : { errors }),
            ...(p95 === undefined ? {} : { p95 }),
          };
          const news = told.pass(minutes - 1, values);
          if (silenced && news.some((each) => !each.startsWith("resolved"))) return false;
          told.pass(1, values);
          const [first] = told.state.incidents;
          if (!answers || first === undefined) continue;
          const step = acknowledge(told.state, first, { by: "ada", comment: "", wall: told.wall });
          told.state = step.state;
          told.news.push(...step.news);
        }
        return [...new Set(told.news.map(({ incident }) => incident.id))].every((id) => {
          const all = told.news.filter(({ incident }) => incident.id === id);
          const kinds = all.map(({ kind }) => kind);
          const seen = kinds.indexOf("acknowledged");
          return (
            kinds[0] === "opened" &&
            kinds.lastIndexOf("opened") === 0 &&
            [-1, kinds.length - 1].includes(kinds.indexOf("resolved")) &&
            (seen === -1 || kinds.slice(seen + 1).every((kind) => kind === "resolved")) &&
            all.every(({ incident }, index) => incident.told === index + 1)
          );
        });
      }),
      { numRuns: 300 },
    );
    t.pass();
  },
);

t.test("while a worse alert of the same metric is open, a milder one says nothing but its end", async (t) => {
  const errors = fc.constantFrom(undefined, 0, 0.004, 0.007, 0.02);
  fc.assert(
    fc.property(fc.array(errors, { maxLength: 80 }), (course) => {
      const told = new Told();
      return course.every((each) => {
        const before = told.news.length;
        told.pass(1, each === undefined ? {} : { errors: each });
        const isWorse = told.state.alerts.some(
          ({ severity, status }) => severity === "critical" && status === "open",
        );
        const fresh = told.news.slice(before);
        return (
          !isWorse ||
          fresh.every(({ kind, incident }) => kind === "resolved" || incident.severity !== "warning")
        );
      });
    }),
  );
  t.pass();
});

t.test("levels that contradict each other are found", async (t) => {
  t.same(checkAlerts(RULES), []);
  t.match(checkAlerts([rate("warning", 2), rate("critical", 1)]), [{ rule: 1, message: /must come before/ }]);
  t.match(checkAlerts([rate("critical", 1), rate("warning", 1)]), [
    { rule: 1, message: /warning "error_rate above 1%" must come before critical/ },
  ]);
  t.match(checkAlerts([rate("critical", 1), rate("critical", 2)]), [
    { rule: 1, message: "there is another critical for error_rate" },
  ]);
  const health = (severity: AlertSeverity, atLeast: number): AlertRule => ({
    severity,
    when: { metric: "health_failures", atLeast, for: millis(0) },
  });
  t.match(checkAlerts([health("warning", 5), health("critical", 3)]), [{ rule: 1 }]);
  const event = (severity: AlertSeverity): AlertRule => ({ severity, when: { event: "paused" } });
  t.match(
    checkAlerts([event("warning"), event("critical")]),
    [{ message: /another/ }],
    "an event is one alert",
  );
});

t.test("rules and values in their own words", async (t) => {
  t.same(RULES.map(({ when }) => alertWords(when)).slice(-2), ["p95 above 500ms", "rolled_back"]);
  t.equal(
    alertWords({ metric: "health_failures", atLeast: 5, for: millis(0) }),
    "health_failures at least 5",
  );
  t.same(
    [
      valueText("error_rate", 0.02),
      valueText("p95", 210),
      valueText("health_failures", 6),
      valueText("paused", null),
    ],
    ["2.00 %", "210 ms", "6 failed probes in a row", ""],
  );
  t.ok(isAtLeast("critical", "warning") && !isAtLeast("warning", "critical"));
  t.same(subjectOf({ event: "paused" }), "paused");
  const written = [
    {
      severity: "warning",
      for: millis(7),
      when: [{ metric: "p95", above: millis(1), window: MINUTE, minRequests: 1 }, { event: "paused" }],
    },
  ] as const;
  t.match(alertRules(written), [{ when: { for: 7 } }, { when: { event: "paused" } }]);
  t.match(alertRules([{ severity: "warning", when: written[0].when }]), [{ when: { for: 120_000 } }, {}]);
  t.equal(
    zoneWords(RULES, { metric: "error_rate", below: ppm(1000) }, 0.003),
    "0.30 % of late: neither good nor an alert",
  );
  t.equal(
    zoneWords(RULES, { metric: "error_rate", below: ppm(1000) }, 0.007),
    "0.70 % of late: warning (error_rate above 0.5%)",
  );
  t.equal(
    zoneWords(RULES, { metric: "p95", below: millis(200) }, 900),
    "900 ms of late: critical (p95 above 500ms)",
  );
  t.match(zoneWords(RULES.toReversed(), { metric: "p95", below: millis(200) }, 900), /critical/);
  t.equal(zoneWords(RULES, { metric: "p95", below: millis(200) }, 100), "");
  t.equal(zoneWords(RULES, { metric: "p95", below: millis(200) }, null), "");
});

t.test("a message says what, how bad, where, and what to do, in thirty lines at the most", async (t) => {
  const told = new Told();
  told.pass(1, { errors: 0.02, p95: 900 });
  const place = {
    environment: "production",
    route: "app",
    weight: 5,
    targets: [
      { metric: "p95", target: "p95 below 100ms", met: false },
      { metric: "error_rate", target: "error_rate below 0.1%", met: true },
    ],
  } as const;
  const [opened] = told.news;
  t.match(alertMessage(opened!, place), {
    severity: "critical",
    event: "ALERT_OPENED",
    summary: "app: CRITICAL: error_rate above 1%; p95 above 500ms",
    lines: [
      /CRITICAL/,
      "error_rate above 1%: 2.00 %, for 0s",
      "p95 above 500ms: 900 ms, for 0s",
      "The canary has 5 % of the traffic in production.",
      "Not met: the target of p95 below 100ms.",
      "Seen: sluice acknowledge error_rate-critical-r1-1",
    ],
  });
  const of = (kind: AlertNews["kind"], more: Partial<AlertNews> = {}) => {
    const news = { ...opened!, kind, ...more };
    return `${actionOf(news)} ${alertMessage(news, place).summary}`;
  };
  t.match(of("repeated"), "trigger app: CRITICAL, still open: error_rate above 1%");
  t.match(
    of("escalated", { to: "on-call" }),
    /^trigger app: CRITICAL, unanswered for 0s, to on-call \(level 0\)/,
  );
  t.match(
    of("acknowledged", { actor: "ada", comment: "on it" }),
    /^acknowledge app: CRITICAL, seen by ada \(on it\)/,
  );
  t.match(of("acknowledged", { actor: "ada" }), /seen by ada: /);
  t.match(of("resolved", { comment: "fixed" }), /^resolve app: CRITICAL is over: .*\(fixed\)$/);
  t.match(of("resolved"), /500ms$/);
  const acknowledged = { by: "ada", atMs: 0, comment: "" };
  const seen = { ...opened!, incident: { ...opened!.incident, acknowledged } };
  t.ok(alertMessage(seen, place).lines.includes("Seen by ada."));
  const many = {
    ...opened!,
    alerts: Array.from({ length: 40 }, () => ({ ...opened!.alerts[0]!, isShared: true })),
  };
  const { lines, summary } = alertMessage(many, place);
  t.ok(lines.length <= 30 && summary.endsWith("32 more"));
  t.ok(lines.some((line) => line.endsWith("; stable is over it, too")));
});
