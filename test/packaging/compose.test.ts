/**
 * What docker/compose.yaml starts, started without Docker: its own configuration, keys, upstreams, traffic and Prometheus files, with the names of
 * hosts and the paths of containers replaced by ports and folders of this machine. What only an engine could tell is read in the file.
 */

import { spawn, spawnSync, type ChildProcess } from "node:child_process";
import { copyFileSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { parse } from "yaml";
import { z } from "zod";
import { parseConfig } from "../../src/config/load.ts";
import { temporaryFolder } from "../support/disk.ts";
import { ask, command } from "../support/program.ts";
import { freePort, missing, serve } from "../support/servers.ts";
import { until } from "../support/until.ts";

t.setTimeout(120_000);

const DOCKER = fileURLToPath(new URL("../../docker/", import.meta.url));
const read = (path: string): string => readFileSync(join(DOCKER, path), "utf8");
const service = z.looseObject({
  image: z.string().optional(),
  user: z.string().optional(),
  command: z.array(z.string()).default([]),
  ports: z.array(z.string()).default([]),
  volumes: z.array(z.string()).default([]),
  networks: z.array(z.string()).default(["default"]),
  environment: z.record(z.string(), z.string()).default({}),
  stop_grace_period: z.string().optional(),
  depends_on: z.union([z.array(z.string()), z.record(z.string(), z.unknown())]).default([]),
});
const compose = z
  .looseObject({
    services: z.record(z.string(), service),
    networks: z.record(z.string(), z.looseObject({ internal: z.boolean().optional() }).nullable()),
    volumes: z.record(z.string(), z.unknown()),
    configs: z.object({ sluice: z.object({ content: z.string() }) }),
  })
  .parse(parse(read("compose.yaml"), { merge: true }));
const configuration = compose.configs.sluice.content;
const named = (name: string): z.output<typeof service> => service.parse(compose.services[name]);
/** The image's own health check, in words. */
const HEALTHCHECK = z
  .array(z.string())
  .parse(JSON.parse(/HEALTHCHECK [^[]*CMD (\[.*\])/.exec(read("Dockerfile"))?.[1] ?? "[]"));
const REPLICAS = ["sluice-1", "sluice-2"];
/** A service and its port, or every address and a port. */
const ADDRESS = /\b(?:[a-z]+(?:-\d)?|0\.0\.0\.0):\d{4,5}\b/g;

t.test(
  "its configuration is valid as it stands, with an admin listener that needs a certificate and a token",
  (t) => {
    const parsed = parseConfig(configuration, "compose.yaml");
    if (!parsed.ok) return void t.fail(JSON.stringify(parsed.problems));
    const { admin, drain } = parsed.config;
    t.equal(admin.insecure, false);
    t.same(admin.hosts, REPLICAS, "by these names Prometheus asks");
    for (const name of REPLICAS) {
      const { stop_grace_period: grace = "" } = named(name);
      t.ok(Number.parseInt(grace, 10) * 1000 > drain.delay + drain.timeout, `${name} may drain`);
    }
    t.end();
  },
);

t.test(
  "every service is confined, what it mounts and waits for is there, and no admin port is published",
  (t) => {
    const volumes = Object.keys(compose.volumes);
    for (const [name, each] of Object.entries(compose.services)) {
      t.match(each, { read_only: true, cap_drop: ["ALL"], security_opt: ["no-new-privileges:true"] }, name);
      t.notMatch(each.image, /:latest$|^[^:]+$/, `${name} names a version`);
      for (const port of each.ports) t.match(port, /^127\.0\.0\.1:(?!9900)\d+:(?!9900)\d+$/, name);
      const waited = Array.isArray(each.depends_on) ? each.depends_on : Object.keys(each.depends_on);
      for (const other of waited) t.ok(other in compose.services, `${name} waits for ${other}`);
      for (const network of each.networks) t.ok(network in compose.networks, `${name} is on ${network}`);
      for (const volume of each.volumes) {
        const [source = "", , mode] = volume.split(":");
        if (!source.startsWith("./")) t.ok(volumes.includes(source), `${name} mounts ${source}`);
        else t.ok(statSync(join(DOCKER, source)).isDirectory() && mode === "ro", `${name} mounts ${source}`);
      }
    }
    const on = (network: string): readonly string[] =>
      Object.keys(compose.services).filter((name) => named(name).networks.includes(network));
    t.match(compose.networks, { admin: { internal: true }, state: { internal: true } });
    t.same(on("admin"), [...REPLICAS, "prometheus"], "nobody else sees the admin listeners");
    t.same(on("state").toSorted(), ["redis", ...REPLICAS], "nor Redis");
    const allowed = (text: string): readonly string[] =>
      text.match(/ \+[a-z]+\b/g)?.map((each) => each.trim()) ?? [];
    const [line = ""] = /^user sluice .*$/m.exec(read("../SECURITY.md")) ?? [];
    const script = named("keys").command.at(-1)?.replaceAll('"', " ") ?? "";
    t.ok(allowed(line).length > 20);
    t.same(
      allowed(script),
      allowed(line),
      "where the replicas' user may do what SECURITY.md says and no more",
    );
    t.end();
  },
);

/** A process of the demonstration, ended with the test. */
function child(t: Test, program: string, args: readonly string[], cwd?: string): ChildProcess {
  const started = spawn(program, args, { stdio: "ignore", cwd });
  t.teardown(() => void started.kill("SIGKILL"));
  return started;
}

/** Asks until it is answered, and `holds`. */
const answered = (what: string, holds: () => Promise<boolean>): Promise<void> =>
  until(what, () => holds().catch(() => false), 60_000);

/** An admin listener, asked by the name that Prometheus has for it. */
function askAdmin(port: number, host: string, path: string, ca: Buffer): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const sent = request({
      host: "127.0.0.1",
      port,
      path,
      ca,
      servername: host,
      headers: { host: `${host}:9900` },
    });
    sent.on("error", reject);
    sent.on("response", (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    sent.end();
  });
}

const skip = missing("prometheus", "openssl", "redis-server");

t.test(
  "both replicas serve its traffic and are scraped by the Prometheus that it configures",
  { skip },
  async (t) => {
    const folder = await temporaryFolder(t);
    const keys = join(folder, "keys");
    mkdirSync(keys);
    const ports = new Map<string, number>();
    const portOf = async (name: string): Promise<string> => {
      const port = ports.get(name) ?? (await freePort());
      ports.set(name, port);
      return `127.0.0.1:${port}`;
    };
    /** `text` with this machine's addresses and folders in place of the containers'. */
    const here = async (text: string, own: string): Promise<string> => {
      const addresses = new Map<string, string>();
      for (const [address] of text.matchAll(ADDRESS))
        addresses.set(address, await portOf(address.replace("0.0.0.0", own)));
      return text
        .replaceAll("/run/sluice", keys)
        .replaceAll("/var/lib/sluice", join(folder, own))
        .replaceAll(ADDRESS, (address) => addresses.get(address) ?? address);
    };

    // As the user that would own them; here that is who runs the test.
    const [shell = "", ...rest] = named("keys").command;
    const script = rest.map((each) =>
      each
        .replaceAll("/run/sluice", keys)
        .replaceAll("$$", () => "$")
        .replaceAll(/\b(?:65532:65532|999:999)\b/g, `${process.getuid?.()}:${process.getgid?.()}`),
    );
    for (const run of ["makes keys", "keeps them"]) {
      const done = spawnSync(shell, script, { encoding: "utf8" });
      t.equal(done.status, 0, `${run}: ${done.stderr}`);
    }
    t.equal(statSync(join(keys, "key.pem")).mode & 0o777, 0o600);
    t.equal(statSync(join(keys, "token")).mode & 0o777, 0o600);
    const ca = readFileSync(join(keys, "cert.pem"));

    const [redis = "", ...options] = named("redis").command;
    const store = serve(redis, [
      ...options.map((each) => each.replace("/run/sluice", keys).replace("/data", folder)),
      "--bind",
      "127.0.0.1",
      "--port",
      (await portOf("redis:6379")).split(":")[1] ?? "",
    ]);
    t.teardown(() => store.close());
    for (const name of ["stable", "canary"]) {
      const [, ...args] = named(name).command;
      const port = (await portOf(`${name}:8080`)).split(":")[1] ?? "";
      const source = args.map((each) =>
        each
          .replace("8080", `${port}, "127.0.0.1"`)
          .replace("process.env.VERSION", `"${named(name).environment["VERSION"]}"`),
      );
      child(t, process.execPath, source);
    }
    for (const name of REPLICAS) {
      const file = join(folder, `${name}.yaml`);
      writeFileSync(file, await here(configuration, name));
      const replica = command(["run", "-c", file]);
      t.teardown(async () => {
        replica.child.kill("SIGTERM");
        await replica.ended;
      });
      await replica.says(/"msg":"serving"/);
      const admin = ports.get(`${name}:9900`) ?? 0;
      for (const path of ["/livez", "/readyz", "/metrics"])
        t.equal(await askAdmin(admin, name, path, ca), 200, `${name}${path}`);
      t.equal(await askAdmin(admin, name, "/v1/routes", ca), 401, "more than that takes a token");
      const answer = await ask(`http://${await portOf(`${name}:8080`)}`, { headers: { "x-user-id": "ada" } });
      t.match(answer, { status: 200, body: "this is version 3.9\n" }, name);
      const env = Object.fromEntries(
        Object.entries(named(name).environment).map(([key, value]) => [
          key,
          value.replace("/run/sluice", keys).replace("9900", String(admin)),
        ]),
      );
      t.ok(HEALTHCHECK.length > 1, "the image has a health check");
      const health = spawnSync(process.execPath, HEALTHCHECK.slice(1), { env });
      t.equal(health.status, 0, `the image finds it well: ${health.stderr.toString()}`);
      const status = command(["status", "--json"], { ...env, SLUICE_STATE: join(folder, name, "state") });
      t.equal(await status.ended, 0, `the command line finds its way in: ${status.output()}`);
    }
    const [, ...traffic] = named("traffic").command;
    child(t, process.execPath, await Promise.all(traffic.map((each) => here(each, ""))));

    const prometheus = join(folder, "prometheus");
    mkdirSync(prometheus);
    writeFileSync(join(prometheus, "prometheus.yml"), await here(read("prometheus/prometheus.yml"), ""));
    copyFileSync(join(DOCKER, "prometheus/rules.yml"), join(prometheus, "rules.yml"));
    const origin = await portOf("prometheus:9090");
    const server = serve("prometheus", [
      ...named("prometheus").command.map((each) =>
        each.replace("/etc/prometheus", prometheus).replace("=/prometheus", `=${join(folder, "metrics")}`),
      ),
      `--web.listen-address=${origin}`,
    ]);
    t.teardown(() => server.close());
    const query = async (expr: string): Promise<readonly string[]> => {
      const answer = await ask(`http://${origin}`, {
        path: `/api/v1/query?query=${encodeURIComponent(expr)}`,
      });
      const body = JSON.parse(answer.body) as { data: { result: { metric: { instance: string } }[] } };
      return body.data.result.map(({ metric }) => metric.instance).toSorted();
    };
    const both = (await Promise.all(REPLICAS.map((name) => portOf(`${name}:9900`)))).toSorted();
    const serving = 'sum by (instance) (rate(sluice_requests_total{job="sluice",route="app"}[30s])) > 1';
    await answered(`both are scraped: ${server.output()}`, async () => {
      return JSON.stringify(await query(serving)) === JSON.stringify(both);
    });
    t.same(await query("up == 1"), both);
    await answered(`both have one state: ${store.output()}`, async () => {
      const isUp = JSON.stringify(await query("sluice_store_up == 1")) === JSON.stringify(both);
      return isUp && (await query("sluice_leader == 1")).length === 1;
    });
    const rules = await ask(`http://${origin}`, { path: "/api/v1/rules" });
    t.match(rules.body, /SluiceRolledBack/, "the rules are loaded");
  },
);

t.test("Grafana and Alertmanager find what is mounted for them", (t) => {
  const provider = z
    .object({ providers: z.tuple([z.looseObject({ options: z.object({ path: z.string() }) })]) })
    .parse(parse(read("grafana/provisioning/dashboards/sluice.yml")));
  const mounts = named("grafana").volumes;
  t.ok(mounts.includes(`./grafana/dashboards:${provider.providers[0].options.path}:ro`));
  t.ok(mounts.includes("./grafana/provisioning:/etc/grafana/provisioning:ro"));
  const sources = z
    .object({ datasources: z.array(z.looseObject({ url: z.string() })) })
    .parse(parse(read("grafana/provisioning/datasources/prometheus.yml")));
  t.same(
    sources.datasources.map(({ url }) => url),
    ["http://prometheus:9090"],
  );
  const [flag = ""] = named("alertmanager").command;
  t.match(flag, /=\/etc\/alertmanager\/alertmanager\.yml$/);
  statSync(join(DOCKER, "alertmanager/alertmanager.yml"));
  t.end();
});
