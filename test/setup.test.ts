/** What is around the program: how it starts on a machine that is not the author's, what CI runs, the gates and the benchmark's arithmetic. */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { accessSync, chmodSync, constants, copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import t from "tap";
import { parse } from "yaml";
import { z } from "zod";
import { firstLineOf } from "../bench/load/children.ts";
import { loadOfWrk, type Figures } from "../bench/load/measure.ts";
import { median, rowsOf, tableOf, warningsOf } from "../bench/load/table.ts";
import { cpuSecondsOf, rssMibOf } from "../bench/load/tree.ts";
import { configSchema } from "../src/config/schema.ts";
import { HELD, uncovered } from "./support/coverage-gate.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");
const versions = z.record(z.string(), z.string());
const manifest = z
  .object({
    type: z.literal("module"),
    engines: z.object({ node: z.string() }),
    scripts: versions,
    allowScripts: z.record(z.string(), z.boolean()),
    dependencies: versions,
    devDependencies: versions,
  })
  .parse(JSON.parse(read("package.json")));
const lock = z
  .object({
    packages: z.record(
      z.string(),
      z.looseObject({
        version: z.string().optional(),
        resolved: z.string().optional(),
        integrity: z.string().optional(),
        optionalDependencies: versions.optional(),
      }),
    ),
  })
  .parse(JSON.parse(read("package-lock.json")));

t.test("an older Node gets one line that names what is needed, and exit code 2", async (t) => {
  const entry = join(ROOT, "src/sluice.js");
  const faked = `Object.defineProperty(process.versions, "node", { value: "22.18.0" }); await import(${JSON.stringify(pathToFileURL(entry).href)});`;
  const run = (file: string, ...args: string[]) =>
    spawnSync(file, args, { encoding: "utf8", timeout: 20_000 });
  const said = run(process.execPath, "--input-type=module", "--eval", faked);
  t.equal(said.status, 2);
  t.equal(said.stderr, "sluice needs Node 22.19 or newer, this is 22.18.0\n");
  t.equal(said.stdout, "");
  // And with a real one, where the machine has it.
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const node = resolve(folder, "node");
    const version = /^v(1\d|20|21)\.\d+\.\d+\s*$/.exec(run(node, "--version").stdout ?? "");
    if (version === null) continue;
    const old = run(node, entry, "--help");
    t.equal(old.status, 2, node);
    t.match(old.stderr, /^sluice needs Node 22\.19 or newer, this is [\d.]+\n$/);
  }
});

t.test("every package is named by its exact version, and the project brings its own Node", async (t) => {
  const all = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
  t.ok(all.length >= 15, `looked at ${String(all.length)} packages`);
  for (const [name, version] of all) t.match(version, /^(?:npm:[\w@/-]+@)?\d+\.\d+\.\d+$/, name);
  t.equal(manifest.engines.node, ">=22.19");
  t.match(manifest.devDependencies["node"], /^24\./);
  t.equal(manifest.allowScripts["node"], true, "its install script fetches the binary");
});

t.test("the lockfile holds no addresses, and every platform's variant of a package", async (t) => {
  const packages = Object.entries(lock.packages).filter(([path]) => path !== "");
  t.ok(packages.length >= 200, `looked at ${String(packages.length)} packages`);
  t.same(
    packages.filter(([, each]) => each.resolved !== undefined).map(([path]) => path),
    [],
  );
  t.same(
    packages.filter(([, each]) => each.integrity === undefined).map(([path]) => path),
    [],
  );
  // npm ci refuses a lockfile that lacks even a variant for another system.
  const missing = packages.flatMap(([path, each]) =>
    Object.keys(each.optionalDependencies ?? {}).filter(
      (name) =>
        !Object.keys(lock.packages).some(
          (other) =>
            other === `node_modules/${name}` ||
            (other.startsWith(path) && other.endsWith(`/node_modules/${name}`)),
        ),
    ),
  );
  t.same(missing, []);
});

t.test(
  "npm test checks types twice, then lint, form, unused code, coverage and all tests, and stops at the first failure",
  async (t) => {
    t.equal(
      manifest.scripts["test"],
      "npm run -s types && npm run -s lint && npm run -s format && npm run -s unused && npm run -s coverage && tap --disable-coverage",
    );
    t.match(manifest.scripts["types"], /typescript\/bin\/tsc .* && .*typescript7\/bin\/tsc /);
    for (const [name, script] of Object.entries(manifest.scripts))
      t.notMatch(script, /npx|\bsudo\b|https?:/, name);
  },
);

t.test(
  "CI ends with the count of passed and failed tests and keeps the test command's exit code",
  async (t) => {
    accessSync(join(ROOT, ".ci/run"), constants.X_OK);
    const folder = t.testdir({ ".ci": {}, bin: {} });
    copyFileSync(join(ROOT, ".ci/run"), join(folder, ".ci/run"));
    const stub = (ci: number, said: string, exit: number): void => {
      const file = join(folder, "bin/npm");
      writeFileSync(
        file,
        `#!/bin/sh\n[ "$1" = ci ] && exit ${String(ci)}\nread -r line && echo "has input"\nprintf '${said}'\nexit ${String(exit)}\n`,
      );
      chmodSync(file, 0o755);
    };
    const ci = (): { code: number | null; last: string; all: string } => {
      const path = `${join(folder, "bin")}${delimiter}${process.env["PATH"] ?? ""}`;
      const done = spawnSync(join(folder, ".ci/run"), {
        encoding: "utf8",
        env: { PATH: path },
        input: "text\n",
      });
      return { code: done.status, last: done.stdout.trimEnd().split("\n").at(-1) ?? "", all: done.stdout };
    };
    stub(0, "ok 1\\n# { total: 327, pass: 327 }\\n# time=1ms\\n", 0);
    t.match(ci(), { code: 0, last: "327 passed, 0 failed" });
    t.notMatch(ci().all, /has input/);
    stub(0, "# { total: 12, pass: 9, fail: 2, skip: 1 }\\n", 1);
    t.match(ci(), { code: 1, last: "9 passed, 2 failed" });
    stub(0, "src/a.ts(1,1): error TS2322\\n", 2);
    t.match(ci(), { code: 2, last: "0 passed, 1 failed" }, "stopped before tap");
    stub(0, "# { total: 3, pass: 3 }\\ngap\\n", 1);
    t.match(ci(), { code: 1, last: "3 passed, 1 failed" }, "the coverage gate failed");
    stub(1, "", 0);
    t.match(ci(), { code: 1, last: "0 passed, 1 failed" }, "the installation failed");
  },
);

t.test("the coverage gate fails on a line, on a branch, and on a file that no test loads", async (t) => {
  const at = (line: number) => ({ start: { line, column: 0 }, end: { line, column: 1 } });
  const entry = (s: number, b: number) => ({
    statementMap: { "0": at(1), "1": at(2) },
    s: { "0": 1, "1": s },
    branchMap: { "0": { loc: at(3), type: "branch" } },
    b: { "0": [b] },
  });
  const file = { path: "src/domain/a.ts", text: "export const a = 1;\n" };
  const judge = (map: unknown, text = file.text) => uncovered(map, [{ ...file, text }], "/root");
  t.same(judge({ "/root/src/domain/a.ts": entry(1, 1) }), []);
  t.same(judge({ "/root/src/domain/a.ts": entry(0, 1) }), ["src/domain/a.ts:2 never run"]);
  const three = { statementMap: { "0": at(4), "1": at(5), "2": at(9) }, s: { "0": 0, "1": 0, "2": 0 } };
  t.same(judge({ "/root/src/domain/a.ts": { ...three, branchMap: {}, b: {} } }), [
    "src/domain/a.ts:4-5 never run",
    "src/domain/a.ts:9 never run",
  ]);
  t.same(judge({ "/root/src/domain/a.ts": entry(1, 0) }), ["src/domain/a.ts:3 branch never taken"]);
  t.same(judge({}), ["src/domain/a.ts:1 no test loads it"]);
  t.same(
    judge({}, '/** Types. */\nimport type { B } from "./b.ts";\nexport interface A {\n  readonly b: B;\n}\n'),
    [],
  );
  t.throws(() => judge({ "/root/src/domain/a.ts": {} }), { name: "ZodError" });
  t.same([...HELD], ["src/domain", "src/engine"]);
});

t.test("the image runs as a number that is not root, reports its health, and stops on SIGTERM", async (t) => {
  const text = read("docker/Dockerfile").replaceAll(/\\\n\s*/g, " ");
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  const stages = lines.filter((line) => line.startsWith("FROM "));
  t.equal(stages.length, 3);
  for (const stage of stages) t.match(stage, /^FROM node:24-slim(?: AS \w+)?$/);
  const last = lines.slice(lines.lastIndexOf(stages.at(-1) ?? ""));
  const one = (word: string): string => {
    const found = last.filter((line) => line.startsWith(`${word} `));
    t.equal(found.length, 1, word);
    return found[0] ?? "";
  };
  t.match(one("USER"), /^USER [1-9]\d+:[1-9]\d+$/);
  t.equal(one("STOPSIGNAL"), "STOPSIGNAL SIGTERM");
  t.match(one("HEALTHCHECK"), /CMD \["node", .*\/livez/);
  t.match(one("LABEL"), /org\.opencontainers\.image\.licenses="Apache-2\.0"/);
  t.same(JSON.parse(one("ENTRYPOINT").slice("ENTRYPOINT ".length)), ["node", "/app/dist/sluice.js"]);
  t.same(JSON.parse(one("CMD").slice("CMD ".length)).slice(0, 2), ["run", "-c"]);
  // What is copied from the checkout is there, and is let through to the builder.
  const allowed = read(".dockerignore").split("\n");
  t.equal(allowed[0], "*");
  const copied = lines
    .filter((line) => /^COPY (?!--from)/.test(line))
    .flatMap((line) => line.split(" ").slice(1, -1));
  t.ok(copied.length >= 6);
  for (const name of copied) {
    accessSync(join(ROOT, name));
    t.ok(allowed.includes(`!${name}`), name);
  }
});

t.test("compose stands the proxy before two upstreams, with a configuration that is valid", async (t) => {
  const compose = z
    .looseObject({
      services: z.record(z.string(), z.looseObject({ ports: z.array(z.string()).optional() })),
      configs: z.object({ sluice: z.object({ content: z.string() }) }),
    })
    .parse(parse(read("docker/compose.yaml"), { merge: true }));
  t.same(Object.keys(compose.services), ["stable", "canary", "sluice"]);
  t.same(compose.services["sluice"]?.ports, ["127.0.0.1:8080:8080"], "the admin API is not published");
  const config = configSchema.parse(parse(compose.configs.sluice.content));
  t.equal(config.routes[0]?.canary.endpoints.length, 1);
});

t.test("the README's configuration is valid, and its commands exist", async (t) => {
  const text = read("README.md");
  const [, example = ""] = /```yaml\n([\s\S]*?)```/.exec(text) ?? [];
  t.equal(configSchema.parse(parse(example)).routes[0]?.name, "app");
  const scripts = [...text.matchAll(/npm (?:run -s )?(start|test|sluice)\b/g)].map(([, name]) => name ?? "");
  t.ok(scripts.length >= 5, `looked at ${String(scripts.length)}`);
  for (const name of scripts) t.ok(manifest.scripts[name] !== undefined, name);
});

const figures = (some: Partial<Figures>): Figures => ({
  requestsPerSecond: 1000,
  cpuUs: 50,
  p50Us: 100,
  p99Us: 300,
  rssMib: 10,
  errors: 0,
  generatorCore: 0.3,
  backendCore: 0.2,
  ...some,
});

t.test(
  "the benchmark compares medians of rounds with nginx and with the best other Node proxy",
  async (t) => {
    t.equal(median([3, 1, 2]), 2);
    t.equal(median([4, 1, 2, 3]), 2.5);
    t.ok(Number.isNaN(median([])));
    const rows = rowsOf([
      {
        name: "direct",
        kind: "direct",
        rounds: [figures({ cpuUs: null, rssMib: null, p50Us: 40, p99Us: 100 })],
      },
      { name: "sluice", kind: "self", rounds: [60, 10, 30].map((cpuUs) => figures({ cpuUs })) },
      { name: "nginx", kind: "native", rounds: [figures({ cpuUs: 20 })] },
      { name: "a", kind: "node", rounds: [figures({ cpuUs: 120 })] },
      { name: "b", kind: "node", rounds: [figures({ cpuUs: 60, errors: 2 })] },
    ]);
    const own = rows.find(({ name }) => name === "sluice");
    t.match(own, { cpuUs: 30, timesNginx: 1.5, timesBestNode: 0.5, addedP50Us: 60, addedP99Us: 200 });
    t.match(rows[0], { cpuUs: null, timesNginx: null, addedP50Us: 0 });
    t.match(tableOf(rows).split("\n")[2], /^sluice +1000 +30\.0 +1\.50 +0\.50 +60 +200 +10$/);
  },
);

t.test(
  "the benchmark warns when the load or the upstream was the bottleneck, and when requests failed",
  async (t) => {
    const warn = (some: Partial<Figures>, sharesCore: boolean): readonly string[] =>
      warningsOf([{ name: "nginx", kind: "native", rounds: [figures(some)] }], sharesCore);
    t.same(warn({}, true), []);
    t.match(warn({ generatorCore: 0.6, backendCore: 0.38 }, true), [/^nginx: load generator 60 %.*void/]);
    t.same(warn({ generatorCore: 0.6, backendCore: 0.38 }, false), []);
    t.match(warn({ backendCore: 0.97 }, false), [/backend 97 %/]);
    t.match(warn({ errors: 3 }, true), [/3 requests failed/]);
  },
);

t.test("what wrk prints is read to the request and the microsecond", async (t) => {
  const text = `Running 2s test @ http://127.0.0.1:1/bench
  1 threads and 64 connections
  Latency Distribution
     50%    1.21ms
     75%    1.50ms
     90%    2.00ms
     99%  898.00us
  50913 requests in 2.10s, 55.98MB read
  Socket errors: connect 0, read 1, write 0, timeout 2
  Non-2xx or 3xx responses: 4
Requests/sec:  24243.10
`;
  t.match(loadOfWrk(text, 1.5), {
    requests: 50_913,
    seconds: 2.1,
    p50Us: 1210,
    p99Us: 898,
    errors: 7,
    cpuSeconds: 1.5,
  });
  t.throws(() => loadOfWrk("unable to connect", 0), /wrk said/);
});

t.test(
  "the benchmark's own load generator and upstream count every request, and end by themselves",
  async (t) => {
    const script = (name: string): string => join(ROOT, "bench/load", name);
    const backend = spawn(process.execPath, [script("backend.ts")], { stdio: ["pipe", "pipe", "inherit"] });
    const port = await firstLineOf(backend);
    t.ok(cpuSecondsOf(process.pid) > 0);
    t.ok(rssMibOf(process.pid) > 10);
    for (const rate of ["0", "500"]) {
      const args = [
        script("generator.ts"),
        "--port",
        port,
        "--connections",
        "8",
        "--seconds",
        "0.5",
        "--rate",
        rate,
      ];
      const done = spawnSync(process.execPath, args, { encoding: "utf8", timeout: 20_000 });
      const load = z
        .object({
          requests: z.number(),
          errors: z.number(),
          seconds: z.number(),
          p50Us: z.number(),
          p99Us: z.number(),
        })
        .parse(JSON.parse(done.stdout));
      t.ok(load.requests > 0, `${String(load.requests)} requests`);
      t.equal(load.errors, 0);
      t.ok(load.p50Us > 0 && load.p50Us <= load.p99Us);
      if (rate === "500") t.ok(load.requests <= load.seconds * 500, "no more than it was told to send");
    }
    const gone = once(backend, "exit");
    backend.stdin.end();
    await gone;
  },
);
