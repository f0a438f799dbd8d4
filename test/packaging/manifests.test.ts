/**
 * What cannot be run here, read for what it must contain: Kubernetes manifests and a unit of systemd. Configurations in them are validated as the program
 * does it, probes that are commands are run, and systemd's own tool looks at the unit where it is installed.
 */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { parseConfig } from "../../src/config/load.ts";
import { configSchema, type Config } from "../../src/config/schema.ts";
import { secretSourcesOf } from "../../src/config/secret.ts";
import { folderOfState, stateOf } from "../../src/config/state.ts";
import { temporaryFolder } from "../support/disk.ts";
import { program, service } from "../support/program.ts";
import { freePort, missing, programOf } from "../support/servers.ts";

const DOCKER = fileURLToPath(new URL("../../docker/", import.meta.url));
const read = (path: string): string => readFileSync(join(DOCKER, path), "utf8");

const labels = z.record(z.string(), z.string());
const probe = z.strictObject({
  exec: z.strictObject({ command: z.array(z.string()) }).optional(),
  httpGet: z
    .strictObject({ path: z.string(), port: z.string(), scheme: z.enum(["HTTP", "HTTPS"]) })
    .optional(),
  periodSeconds: z.int(),
  timeoutSeconds: z.int().optional(),
  failureThreshold: z.int(),
});
const container = z.strictObject({
  name: z.string(),
  image: z.string().regex(/:\d+\.\d+\.\d+$/),
  restartPolicy: z.literal("Always").optional(),
  env: z.array(z.strictObject({ name: z.string(), value: z.string() })).default([]),
  ports: z.array(z.strictObject({ name: z.string(), containerPort: z.int() })).default([]),
  securityContext: z.strictObject({
    allowPrivilegeEscalation: z.literal(false),
    readOnlyRootFilesystem: z.literal(true),
    capabilities: z.strictObject({ drop: z.tuple([z.literal("ALL")]) }),
  }),
  resources: z.strictObject({
    requests: z.strictObject({ cpu: z.string(), memory: z.string() }),
    limits: z.strictObject({ memory: z.string() }),
  }),
  startupProbe: probe.optional(),
  livenessProbe: probe.optional(),
  readinessProbe: probe.optional(),
  lifecycle: z
    .strictObject({
      preStop: z.strictObject({ sleep: z.strictObject({ seconds: z.int().min(1) }) }),
    })
    .optional(),
  volumeMounts: z
    .array(z.strictObject({ name: z.string(), mountPath: z.string(), readOnly: z.boolean().default(false) }))
    .default([]),
});
const deployment = z.looseObject({
  spec: z.looseObject({
    replicas: z.int().min(2),
    selector: z.strictObject({ matchLabels: labels }),
    template: z.strictObject({
      metadata: z.strictObject({ labels }),
      spec: z.looseObject({
        automountServiceAccountToken: z.literal(false),
        terminationGracePeriodSeconds: z.int(),
        securityContext: z.strictObject({
          runAsNonRoot: z.literal(true),
          runAsUser: z.int().min(1),
          runAsGroup: z.int().min(1),
          fsGroup: z.int().min(1),
          seccompProfile: z.strictObject({ type: z.literal("RuntimeDefault") }),
        }),
        initContainers: z.array(container).default([]),
        containers: z.array(container),
        volumes: z.array(z.looseObject({ name: z.string() })),
      }),
    }),
  }),
});
const port = z.strictObject({ name: z.string(), port: z.int(), targetPort: z.string() });
const serviceKind = z.looseObject({
  metadata: z.looseObject({ labels }),
  spec: z.looseObject({ selector: labels, ports: z.array(port) }),
});
const monitor = z.looseObject({
  spec: z.looseObject({
    selector: z.strictObject({ matchLabels: labels }),
    endpoints: z.array(z.looseObject({ port: z.string(), path: z.literal("/metrics"), scheme: z.string() })),
  }),
});
const document = z.looseObject({
  apiVersion: z.string(),
  kind: z.string(),
  metadata: z.looseObject({ name: z.string() }),
});

/** Which group each kind is of. */
const GROUPS: Readonly<Record<string, string>> = {
  ConfigMap: "v1",
  Service: "v1",
  Deployment: "apps/v1",
  PodDisruptionBudget: "policy/v1",
  NetworkPolicy: "networking.k8s.io/v1",
  ServiceMonitor: "monitoring.coreos.com/v1",
};

/** A manifest's documents, and the parts that everything here looks at. */
function manifest(file: string) {
  const documents = parseAllDocuments(read(file)).map((each) => {
    if (each.errors.length > 0) throw each.errors[0];
    return document.parse(each.toJS());
  });
  const of = (kind: string) => documents.filter((each) => each.kind === kind);
  const [map] = of("ConfigMap");
  const { data } = z.looseObject({ data: z.object({ "sluice.yaml": z.string() }) }).parse(map);
  const parsed = parseConfig(data["sluice.yaml"], file);
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.problems));
  const pod = deployment.parse(of("Deployment")[0]);
  const { spec } = pod.spec.template;
  const all = [...spec.initContainers, ...spec.containers];
  const sluice = container.parse(all.find(({ name }) => name === "sluice"));
  return { documents, of, config: parsed.config, pod, spec, all, sluice };
}

/** Whether what is labelled so is selected. */
const selects = (selector: z.output<typeof labels>, labelled: z.output<typeof labels>): boolean =>
  Object.entries(selector).length > 0 &&
  Object.entries(selector).every(([key, value]) => labelled[key] === value);

/** Every path that a configuration writes to. */
const written = ({ state, reports, backups }: Config): readonly string[] => [
  folderOfState(state) ?? "nowhere",
  reports,
  ...(backups === "off" ? [] : [backups.folder]),
];

/** What each file has, so that nothing below goes over an empty list unseen. */
const FILES = {
  "kubernetes/gateway.yaml": [
    "ConfigMap",
    "Deployment",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Service",
    "Service",
    "ServiceMonitor",
  ],
  "kubernetes/sidecar.yaml": ["ConfigMap", "Deployment", "Service"],
};

for (const [file, kinds] of Object.entries(FILES)) {
  t.test(`${file}: selectors match labels, names lead somewhere, and each kind is of its group`, (t) => {
    const { documents, of, pod, spec, all } = manifest(file);
    t.same(documents.map(({ kind }) => kind).toSorted(), kinds);
    for (const { kind, apiVersion } of documents) t.equal(apiVersion, GROUPS[kind], kind);
    const labelled = pod.spec.template.metadata.labels;
    t.ok(selects(pod.spec.selector.matchLabels, labelled), "the Deployment");
    const ports = all.flatMap((each) => each.ports.map(({ name }) => name));
    const services = of("Service").map((each) => serviceKind.parse(each));
    for (const { spec: of } of services) {
      t.ok(selects(of.selector, labelled), "a Service");
      for (const { targetPort } of of.ports) t.ok(ports.includes(targetPort), targetPort);
    }
    for (const each of of("PodDisruptionBudget")) {
      const budget = z.looseObject({ spec: z.looseObject({ selector: z.object({ matchLabels: labels }) }) });
      t.ok(selects(budget.parse(each).spec.selector.matchLabels, labelled), "the PodDisruptionBudget");
    }
    for (const each of of("NetworkPolicy")) {
      const policy = z.looseObject({
        spec: z.looseObject({ podSelector: z.object({ matchLabels: labels }) }),
      });
      t.ok(selects(policy.parse(each).spec.podSelector.matchLabels, labelled), "the NetworkPolicy");
    }
    for (const each of of("ServiceMonitor")) {
      const { selector, endpoints } = monitor.parse(each).spec;
      const seen = services.filter(({ metadata }) => selects(selector.matchLabels, metadata.labels));
      t.equal(seen.length, 1, "the ServiceMonitor sees one Service");
      t.ok(seen[0]?.spec.ports.some(({ name }) => name === endpoints[0]?.port));
    }
    const volumes = spec.volumes.map(({ name }) => name);
    for (const { name, volumeMounts } of all)
      for (const mount of volumeMounts) t.ok(volumes.includes(mount.name), `${name} mounts ${mount.name}`);
    t.end();
  });

  t.test(`${file}: what the configuration names is mounted, and what it writes to is writable`, (t) => {
    const { config, sluice } = manifest(file);
    const mountOf = (path: string) =>
      sluice.volumeMounts.find(({ mountPath }) => path === mountPath || path.startsWith(`${mountPath}/`));
    for (const path of written(config)) t.equal(mountOf(path)?.readOnly, false, path);
    const { tls } = config.admin;
    const secrets = secretSourcesOf(config).flatMap(({ source }) => ("file" in source ? [source.file] : []));
    for (const path of [...secrets, ...(tls === undefined ? [] : [tls.cert, tls.key])])
      t.equal(mountOf(path)?.readOnly, true, path);
    t.equal(mountOf("/etc/sluice/sluice.yaml")?.readOnly, true, "where the image looks for it");
    t.equal(config.admin.insecure, false);
    t.match(stateOf(config.state), { kind: "redis", tls: true }, "its replicas have one state");
    t.end();
  });

  t.test(`${file}: the probes ask the admin listener, and the pod has time to drain`, (t) => {
    const { config, spec, sluice } = manifest(file);
    const adminPort = config.admin.address.split(":").at(-1);
    const asks = { startupProbe: "/livez", livenessProbe: "/livez", readinessProbe: "/readyz" } as const;
    for (const name of ["startupProbe", "livenessProbe", "readinessProbe"] as const) {
      const { httpGet, exec } = probe.parse(sluice[name]);
      if (httpGet !== undefined) {
        const named = sluice.ports.find(({ name }) => name === httpGet.port);
        t.equal(String(named?.containerPort), adminPort, name);
        t.match(httpGet, { path: asks[name], scheme: config.admin.tls === undefined ? "HTTP" : "HTTPS" });
      } else t.match(exec?.command.at(-1), `http://127.0.0.1:${adminPort}${asks[name]}"`, name);
    }
    const sleep = sluice.lifecycle?.preStop.sleep.seconds ?? 0;
    const drain = (config.drain.delay + config.drain.timeout) / 1000;
    t.ok(spec.terminationGracePeriodSeconds > sleep + drain, `${sleep} s and ${drain} s`);
    t.end();
  });
}

t.test("the sidecar is a native one, and is reached by its pod alone", (t) => {
  const { config, spec, sluice } = manifest("kubernetes/sidecar.yaml");
  t.same(
    spec.initContainers.map(({ name, restartPolicy }) => [name, restartPolicy]),
    [["sluice", "Always"]],
  );
  for (const { address } of [...config.listen, config.admin]) t.match(address, /^127\.0\.0\.1:/);
  t.same(sluice.ports, []);
  t.match(spec.containers[0]?.env, [{ value: `http://${config.listen[0]?.address}` }]);
  t.end();
});

/** Runs a probe's command with another address in it; its exit code. */
async function exitOf(words: readonly string[], address: string, env: object = {}): Promise<number | null> {
  const [, ...args] = words.map((each) => each.replace("127.0.0.1:9900", address));
  const child = spawn(process.execPath, args, { stdio: "ignore", env: { ...process.env, ...env } });
  const [code] = (await once(child, "exit")) as [number | null];
  return code;
}

t.test(
  "the commands of probes and of the image's health check tell well from ill and from gone",
  async (t) => {
    const p = await program();
    t.teardown(() => p.close());
    const ill = await service("ill");
    t.teardown(() => ill.close());
    ill.answer = (_request, response) => void response.writeHead(503).end();
    const gone = `127.0.0.1:${await freePort()}`;
    const { sluice } = manifest("kubernetes/sidecar.yaml");
    const [, check = "[]"] = /HEALTHCHECK [^[]*CMD (\[.*\])/.exec(read("Dockerfile")) ?? [];
    const commands = [
      z.array(z.string()).parse(JSON.parse(check)),
      ...[sluice.startupProbe, sluice.livenessProbe, sluice.readinessProbe].map(
        (each) => each?.exec?.command ?? [],
      ),
    ];
    for (const words of commands) {
      t.equal(words[0], "node");
      t.equal(await exitOf(words, p.running.adminAddress), 0, "well");
      t.equal(await exitOf(words, new URL(ill.url).host), 1, "ill");
      t.equal(await exitOf(words, gone), 1, "gone");
    }
    const elsewhere = { SLUICE_LIVEZ: `http://${p.running.adminAddress}/livez` };
    t.equal(await exitOf(commands[0] ?? [], gone, elsewhere), 0, "the image's asks where it is told");
  },
);

const unit = read("systemd/sluice.service");
const set = (key: string): string => new RegExp(`^${key}=(.*)$`, "m").exec(unit)?.[1] ?? "";

t.test("the unit drains within its time, reloads by SIGHUP and keeps its files where it may write", (t) => {
  const { drain } = configSchema.parse({
    routes: [{ name: "a", stable: { endpoints: ["http://a:1"] }, canary: { endpoints: ["http://b:1"] } }],
  });
  t.ok(Number.parseInt(set("TimeoutStopSec"), 10) * 1000 > drain.delay + drain.timeout);
  t.equal(set("ExecReload"), "/bin/kill -HUP $MAINPID");
  t.equal(set("ExecStart"), "/usr/local/bin/sluice run -c /etc/sluice/sluice.yaml");
  t.equal(set("WorkingDirectory"), `/var/lib/${set("StateDirectory")}`);
  t.match(unit, /^DynamicUser=yes$[^]*^ProtectSystem=strict$/m);
  t.notMatch(unit, /^MemoryDenyWriteExecute=yes/m, "V8 compiles at run time");
  t.end();
});

t.test(
  "systemd's own tool finds nothing wrong with the unit, and little that it may do",
  { skip: missing("systemd-analyze") },
  async (t) => {
    const file = join(await temporaryFolder(t), "sluice.service");
    // The program is not installed on the machine of a test, and that alone is not looked at.
    writeFileSync(file, unit.replaceAll("/usr/local/bin/sluice", process.execPath));
    const analyze = (...args: readonly string[]) => {
      const { status, stdout, stderr } = spawnSync(programOf("systemd-analyze") ?? "", [...args, file], {
        encoding: "utf8",
      });
      return { status, said: `${stdout}${stderr}` };
    };
    t.match(analyze("verify", "--man=no"), { status: 0, said: "" });
    const { status, said } = analyze("security", "--offline=yes", "--no-pager", "--threshold=20");
    t.equal(status, 0, said);
  },
);
