/** What an operator may say about alerts, and what contradicts itself. */

import t from "tap";
import { effectiveYaml, parseConfig } from "../../src/config/load.ts";

const text = (route: string): string => `routes:
  - name: app
    stable: { endpoints: [http://127.0.0.1:1] }
    canary: { endpoints: [http://127.0.0.1:2] }
${route}`;
const problemsOf = (route: string): readonly string[] => {
  const parsed = parseConfig(text(route), "f");
  return parsed.ok ? [] : parsed.problems.map(({ line, column, message }) => `${line}:${column} ${message}`);
};

t.test("the plan's own levels are there when nothing is said", async (t) => {
  const parsed = parseConfig(text(""), "f");
  t.ok(parsed.ok);
  if (!parsed.ok) return;
  const [route] = parsed.config.routes;
  t.match(route?.alerts, [
    {
      severity: "warning",
      when: [
        { metric: "error_rate", above: 5000 },
        { metric: "p95", above: 200 },
      ],
    },
    {
      severity: "critical",
      when: [
        { metric: "error_rate", above: 10_000 },
        { metric: "p95", above: 500 },
      ],
    },
    { severity: "emergency", when: [{ metric: "health_failures", atLeast: 5 }, { event: "rolled_back" }] },
  ]);
  t.match(route?.alerting, {
    clearAfter: 120_000,
    repeat: 3_600_000,
    onWarning: { do: "nothing", after: 900_000 },
  });
  t.match(
    route?.alerting.escalation.map(({ to }) => to),
    ["on-call", "deployment-lead", "platform-lead", "executive"],
  );
  const again = parseConfig(effectiveYaml(parsed.config), "f");
  t.ok(again.ok);
  if (again.ok) t.same(again.config, parsed.config, "and can be written as it is");
});

t.test("thresholds that contradict each other are refused where they stand", async (t) => {
  t.same(
    problemsOf(`    alerts:
      - { severity: warning, when: [{ metric: error_rate, above: 2% }] }
      - severity: critical
        when:
          - { metric: error_rate, above: 1% }
`),
    ['9:13 warning "error_rate above 2%" must come before critical "error_rate above 1%"'],
  );
  t.match(problemsOf("    alerts: [{ severity: loud, when: [{ event: paused }] }]\n"), [/^5:26/]);
  t.match(problemsOf("    alerts: [{ severity: warning, when: [{ event: deployed }] }]\n"), [/^5:/]);
  t.match(problemsOf("    targets: [{ metric: p95, below: 1ms }, { metric: p95, below: 2ms }]\n"), [
    /one target/,
  ]);
  t.match(problemsOf("    alerting: { escalation: [{ after: 30m, to: a }, { after: 15m, to: b }] }\n"), [
    /each level comes later/,
  ]);
  t.match(
    problemsOf(
      "    plan: { success: [{ alerts: none }, { alerts: none, severity: warning }], steps: [{ setWeight: 100% }] }\n",
    ),
    [/one limit/],
  );
});
