/** Traces as an operator has them: what is loaded and when, what the environment says, and a real Prometheus that reads exemplars. */

import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { collector } from "../support/collector.ts";
import { ask, command, configFile, foldersIn, program, service } from "../support/program.ts";
import { freePort, missing, serve } from "../support/servers.ts";
import { until } from "../support/until.ts";

t.setTimeout(110_000);

const PARENT = { traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01" };

/** Files of OpenTelemetry that this process has loaded. */
function loaded(): number {
  const { cache } = createRequire(import.meta.url);
  return Object.keys(cache).filter((path) => path.includes("/@opentelemetry/sdk-trace")).length;
}

t.test("a program without traces loads nothing of OpenTelemetry; one with traces does", async (t) => {
  const c = await collector();
  t.teardown(() => c.close());
  const before = loaded();
  for (const more of [{}, { accessLog: { sample: "100%" } }]) {
    const p = await program({}, more);
    t.equal((await p.get("u", { headers: PARENT })).status, 200);
    await p.close();
  }
  t.equal(before, 0);
  t.equal(loaded(), 0);
  const p = await program({}, { tracing: { otlp: c.url } });
  await p.close();
  t.ok(loaded() > 0);
});

t.test("the environment names the collector and the service, and turns all of it off", async (t) => {
  const c = await collector();
  const stable = await service("stable");
  const folder = await mkdtemp(join(tmpdir(), "sluice-traces-"));
  t.teardown(async () => {
    await c.close();
    await stable.close();
    await rm(folder, { recursive: true, force: true });
  });
  const arm = { endpoints: [stable.url] };
  const config = await configFile(folder, {
    listen: [{ address: "127.0.0.1:0" }],
    admin: { address: `unix:${join(folder, "admin.sock")}` },
    ...foldersIn(folder),
    tracing: { sample: "100%" },
    accessLog: { sample: "100%" },
    routes: [{ name: "app", stable: arm, canary: arm }],
  });
  const run = async (env: Readonly<Record<string, string>>): Promise<string> => {
    const each = command(["run", "-c", config], { OTEL_EXPORTER_OTLP_ENDPOINT: c.url, ...env });
    t.teardown(() => each.child.kill("SIGKILL"));
    const [, address = ""] = await each.says(/"listen":\["([^"]+)"\]/);
    t.equal((await ask(`http://${address}`, { path: "/a?secret" })).status, 200);
    each.child.kill("SIGTERM");
    t.equal(await each.ended, 0);
    return each.output();
  };
  const output = await run({ OTEL_SDK_DISABLED: "true" });
  t.equal(c.requests, 0);
  t.match(
    output,
    /\n\{"time":"[^"]+","route":"app","arm":"stable","status":200,/,
    "its line is on the output",
  );
  await run({ OTEL_SERVICE_NAME: "edge", OTEL_RESOURCE_ATTRIBUTES: "region=here" });
  t.match(c.resource, { "service.name": "edge", region: "here", "service.version": String });
  t.equal(c.spans.length, 2, "what waited was sent before the end");
});

t.test(
  "a real Prometheus reads the exemplars of the duration histogram",
  { skip: missing("prometheus") },
  async (t) => {
    const c = await collector();
    const folder = await mkdtemp(join(tmpdir(), "sluice-exemplars-"));
    const p = await program({}, { tracing: { otlp: c.url } });
    t.teardown(async () => {
      await p.close();
      await c.close();
      await rm(folder, { recursive: true, force: true });
    });
    await p.get("u", { headers: PARENT });
    await c.until((spans) => spans.length >= 2);
    // Counted by the next tick; what was counted is in a bucket then.
    await p.clock.advance("1s");
    const port = await freePort();
    const scrape = { job_name: "sluice", static_configs: [{ targets: [p.running.adminAddress] }] };
    const config = { global: { scrape_interval: "1s", scrape_timeout: "1s" }, scrape_configs: [scrape] };
    await writeFile(join(folder, "prometheus.yml"), JSON.stringify(config));
    const server = serve("prometheus", [
      "--enable-feature=exemplar-storage",
      `--config.file=${join(folder, "prometheus.yml")}`,
      `--storage.tsdb.path=${join(folder, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ]);
    t.teardown(() => server.close());
    const asked = new URLSearchParams({
      query: "sluice_request_duration_seconds_bucket",
      start: String(new Date().getTime() / 1000 - 3600),
      end: String(new Date().getTime() / 1000 + 3600),
    });
    const look = async (): Promise<readonly { readonly labels: object }[]> => {
      const answer = await fetch(`http://127.0.0.1:${port}/api/v1/query_exemplars?${asked.toString()}`);
      const { data } = (await answer.json()) as { data: { exemplars: { labels: object }[] }[] };
      return data.flatMap(({ exemplars }) => exemplars);
    };
    let found: Awaited<ReturnType<typeof look>> = [];
    await until(
      "Prometheus has an exemplar",
      // At first it does not even answer.
      async () => (found = await look().catch(() => [])).length > 0,
      60_000,
    );
    t.match(found[0]?.labels, { trace_id: "4bf92f3577b34da6a3ce929d0e0e4736" });
  },
);
