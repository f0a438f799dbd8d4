/** Prometheus' own tools over what is shipped for it: rules, their tests, the configuration, the metrics; and Alertmanager's over the example. */

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import t from "tap";
import { parse } from "yaml";
import { METRICS } from "../../src/telemetry/metric-table.ts";
import { program } from "../support/program.ts";
import { missing, programOf } from "../support/servers.ts";

const DOCKER = fileURLToPath(new URL("../../docker/", import.meta.url));
const skip = missing("promtool", "amtool");

function run(tool: string, args: readonly string[], input?: string) {
  const done = spawnSync(programOf(tool) ?? tool, args, { encoding: "utf8", input, timeout: 60_000 });
  return { status: done.status, said: `${done.stdout}${done.stderr}` };
}

t.test("promtool finds nothing wrong with rules, tests and configuration", { skip }, (t) => {
  for (const args of [
    ["check", "rules", `${DOCKER}prometheus/rules.yml`],
    ["test", "rules", `${DOCKER}prometheus/rules.test.yml`],
    // The certificate is where the containers have it; test/packaging/compose.test.ts starts a Prometheus with one.
    ["check", "config", "--syntax-only", `${DOCKER}prometheus/prometheus.yml`],
  ]) {
    const { status, said } = run("promtool", args);
    t.equal(status, 0, `${args.join(" ")}: ${said}`);
  }
  t.end();
});

t.test("amtool takes the example for Alertmanager", { skip }, (t) => {
  const { status, said } = run("amtool", ["check-config", `${DOCKER}alertmanager/alertmanager.yml`]);
  t.equal(status, 0, said);
  t.end();
});

t.test("promtool finds nothing wrong with what the program exposes", { skip }, async (t) => {
  const p = await program();
  t.teardown(() => p.close());
  await p.get("ada");
  const answer = await fetch(`http://${p.running.adminAddress}/metrics`);
  const { status, said } = run("promtool", ["check", "metrics"], await answer.text());
  t.equal(status, 0, said);
});

interface Rules {
  readonly groups: readonly {
    readonly rules: readonly {
      readonly alert?: string;
      readonly expr: string;
      readonly labels?: { readonly severity?: string };
      readonly annotations?: Readonly<Record<string, string>>;
    }[];
  }[];
}

t.test("every rule is over metrics that there are, and each alert is tested and says what to do", (t) => {
  const rules = (parse(readFileSync(`${DOCKER}prometheus/rules.yml`, "utf8")) as Rules).groups.flatMap(
    (group) => group.rules,
  );
  const tests = readFileSync(`${DOCKER}prometheus/rules.test.yml`, "utf8");
  const known = METRICS.map(({ name }) => name);
  t.ok(rules.length > 10);
  for (const { alert, expr, labels, annotations } of rules) {
    for (const [name] of expr.matchAll(/(?<!:)\bsluice_\w+/g)) {
      const metric = name.replace(/_bucket$/, "");
      t.ok(known.includes(metric) || expr.includes(`:${name}`), `${name} in ${expr}`);
    }
    if (alert === undefined) continue;
    t.match(tests, new RegExp(`\\b${alert}\\b`), `${alert} is tested`);
    t.match(labels?.severity, /^(?:warning|critical)$/, alert);
    t.match(annotations, { summary: String, description: String, action: String }, alert);
  }
  t.end();
});
