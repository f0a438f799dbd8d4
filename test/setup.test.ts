/** What is around the program: how it starts on a machine that is not the author's, what CI runs, the gates and the benchmark's arithmetic. */

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { accessSync, chmodSync, constants, copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import t, { type Test } from "tap";
import { parse } from "yaml";
import { z } from "zod";
import { firstLineOf } from "../bench/load/children.ts";
import { goalRowsOf } from "../bench/load/goals.ts";
import { lineOf } from "../bench/load/load.ts";
import type { Figures } from "../bench/load/measure.ts";
import { median, rowsOf, warningsOf, type Result, type Rounds } from "../bench/load/result.ts";
import { goalTableOf, tableOf } from "../bench/load/table.ts";
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
    private: z.boolean().optional(),
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
        dev: z.boolean().optional(),
        hasInstallScript: z.boolean().optional(),
        engines: z.unknown().optional(),
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

t.test(
  "a Node with known security holes is outside the engines, and is told so (reliability 46)",
  async (t) => {
    const entry = pathToFileURL(join(ROOT, "src/sluice.js")).href;
    const said = (version: string): string => {
      const faked = `Object.defineProperty(process.versions, "node", { value: "${version}" }); process.argv.push("sluice", "--help"); await import(${JSON.stringify(entry)});`;
      const done = spawnSync(process.execPath, ["--input-type=module", "--eval", faked], {
        encoding: "utf8",
        timeout: 20_000,
      });
      t.equal(done.status, 0, version);
      t.match(done.stdout, /^Usage: sluice/);
      return done.stderr.replaceAll(/^\(.*\n|^.*ExperimentalWarning.*\n/gm, "");
    };
    const newest = [
      [22, 23, 2],
      [24, 18, 1],
      [26, 5, 1],
    ] as const;
    const ranges = newest.map((parts) => `${parts[0] === 26 ? ">=" : "^"}${parts.join(".")}`);
    t.equal(manifest.engines.node, ranges.join(" || "));
    t.same(lock.packages[""]?.engines, manifest.engines, "the lockfile says the same");
    for (const old of ["22.23.1", "24.18.0", "25.9.9", "26.5.0"])
      t.match(
        said(old),
        new RegExp(`^sluice: Node ${old} has known security holes; run it on 22\\.23\\.2, .*\n$`),
      );
    for (const safe of ["22.23.2", "24.19.0", "26.5.1", "28.0.0"]) t.equal(said(safe), "", safe);
    // The one that the project brings is well above.
    t.ok(Number(manifest.devDependencies["node"]?.split(".")[1]) >= 18);
  },
);

t.test(
  "every package is named by its exact version, and the project brings its own Node (reliability 46)",
  async (t) => {
    const all = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
    t.ok(all.length >= 15, `looked at ${String(all.length)} packages`);
    for (const [name, version] of all) t.match(version, /^(?:npm:[\w@/-]+@)?\d+\.\d+\.\d+$/, name);
    // Beside the eight of traffic and control: flags (2), traces (4), the shared store, e-mail, the console's charts.
    t.ok(Object.keys(manifest.dependencies).length <= 17, "few at run time");
    t.match(manifest.devDependencies["node"], /^24\./);
    t.equal(manifest.private, true, "not published: there is nothing yet that could be signed");
  },
);

t.test(
  "no package runs anything when it is installed, but the one that brings Node for development (reliability 46)",
  async (t) => {
    const withScripts = Object.entries(lock.packages).filter(([, each]) => each.hasInstallScript === true);
    t.same(
      withScripts.filter(([, { dev }]) => dev !== true),
      [],
      "none in production",
    );
    const allowed = Object.entries(manifest.allowScripts);
    t.same(
      allowed.filter(([, isAllowed]) => isAllowed),
      [["node", true]],
      "its install script fetches the binary",
    );
    for (const [path] of withScripts)
      t.ok(
        path.replace("node_modules/", "") in manifest.allowScripts,
        `${path} is allowed or refused by name`,
      );
    t.match(read("docker/Dockerfile"), /npm ci --omit=dev --ignore-scripts/, "and none runs in the image");
    for (const name of ["preinstall", "install", "postinstall", "prepare", "prepublish"])
      t.equal(manifest.scripts[name], undefined, `nor does ${name} of our own`);
  },
);

/** Packages of the lockfile that run in production, by name. */
const runtime = Object.entries(lock.packages)
  .filter(([path, { dev }]) => path !== "" && dev !== true)
  .map(([path, { version = "" }]) => [path.replace(/^.*node_modules\//, ""), version] as const);

t.test(
  "SECURITY.md answers for every package that runs in production, at the version that runs (reliability 46)",
  async (t) => {
    // Eight of them come with the exporter of traces, four with flagd's evaluator, five with ioredis.
    t.ok(runtime.length >= 10 && runtime.length <= 42, `looked at ${String(runtime.length)} packages`);
    const [, section = ""] = read("SECURITY.md").split("## Advisories of what it is built on");
    const rows = [...section.matchAll(/^\| `([^`]+)` +\| ([\d.]+) +\|/gm)].map(
      ([, name, version]) => `${name} ${version}`,
    );
    const node = `node ${manifest.devDependencies["node"]}`;
    t.same(rows.toSorted(), [...runtime.map((each) => each.join(" ")), node].toSorted());
  },
);

t.test(
  "the lockfile holds no addresses, and every platform's variant of a package (reliability 46)",
  async (t) => {
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
  },
);

t.test(
  "npm test checks types twice, then lint, form, unused code, coverage and all tests, and stops at the first failure",
  async (t) => {
    t.equal(
      manifest.scripts["test"],
      "npm run -s types && npm run -s lint && npm run -s format && npm run -s unused && npm run -s coverage && NODE_COMPILE_CACHE=\"$PWD/node_modules/.cache/compile\" tap --disable-coverage --jobs=3 --exclude='test/{domain,engine,fast}/**'",
    );
    // What the coverage has run is not run again, and nothing else is left out.
    t.match(
      manifest.scripts["coverage"],
      /^tap test\/domain\/\*\.test\.ts test\/engine\/\*\.test\.ts test\/fast\/\*\.test\.ts && /,
    );
    t.match(manifest.scripts["types"], /typescript\/bin\/tsc .* && .*typescript7\/bin\/tsc /);
    for (const [name, script] of Object.entries(manifest.scripts))
      t.notMatch(script, /npx|\bsudo\b|https?:/, name);
  },
);

/** CI's own script, with an npm in its way that is as `stub` says last. */
function scriptOfCi(t: Test) {
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
  return { stub, ci };
}

t.test(
  "CI ends with the count of passed and failed tests and keeps the test command's exit code",
  async (t) => {
    const { stub, ci } = scriptOfCi(t);
    stub(0, "ok 1\\n# { total: 327, pass: 327 }\\n# time=1ms\\n", 0);
    t.match(ci(), { code: 0, last: "327 passed, 0 failed" });
    stub(0, "# { total: 327, pass: 327 }\\n# { total: 12, pass: 11, fail: 1 }\\n", 1);
    t.match(ci(), { code: 1, last: "338 passed, 1 failed" }, "of both runs");
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

t.test("CI says at its end what failed, however long the log is", async (t) => {
  const { stub, ci } = scriptOfCi(t);
  const failing = (name: string, lines: number): readonly string[] => [
    `# Subtest: test/${name}.test.ts`,
    "    # Subtest: outer",
    "        ok 1 - well",
    `        not ok 2 - ${name} is so`,
    "          ---",
    ...Array.from({ length: lines }, (_, at) => `          ${name} line ${String(at)}`),
    "          not ok 3 - quoted",
    ...(name === "killed" ? [] : ["          ..."]),
    "        not ok 4 - later # TODO",
    "    not ok 1 - outer # time=1ms",
    `not ok 1 - test/${name}.test.ts # time=1ms`,
    "  ---",
    "  exitCode: 1",
    "  ...",
  ];
  const told = (said: readonly string[]): readonly string[] => {
    const text = [...said, `# { total: 9, pass: 1, fail: 2 }`].map((line) => `${line}\\n`).join("");
    stub(0, text, 1);
    const { all, last } = ci();
    t.equal(last, "1 passed, 2 failed");
    return (
      all
        .slice(0, all.lastIndexOf(`${last}\n`))
        .split(`fail: 2 }\n`)[1]
        ?.trimEnd()
        .split("\n") ?? []
    );
  };
  const gone = ["not ok 3 - test/gone.test.ts", "  ---", "  signal: SIGSEGV", "  ...", "not ok 4 - x # SKIP"];
  t.same(told([...failing("a", 1), ...failing("killed", 1), "ok 2 - test/b.test.ts", ...gone]), [
    "FAILED test/a.test.ts > outer > a is so",
    "          a line 0",
    "          not ok 3 - quoted",
    "FAILED test/killed.test.ts > outer > killed is so",
    "          killed line 0",
    "          not ok 3 - quoted",
    "FAILED test/gone.test.ts",
    "  signal: SIGSEGV",
  ]);
  const many = told(Array.from({ length: 9 }, (_, at) => failing(`n${String(at)}`, 90)).flat());
  t.equal(many.length, 150);
  t.equal(many.indexOf("FAILED test/n1.test.ts > outer > n1 is so"), 26, "of each so much");
  t.equal(many.at(-1), "FAILED test/n8.test.ts > outer > n8 is so", "a name costs no other its own");
  const most = told(Array.from({ length: 200 }, (_, at) => `not ok ${String(at + 1)} - t${String(at)}`));
  t.equal(most.length, 150);
  t.equal(most.at(-1), "FAILED and 51 more");
});

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
  const scanners = ["scan", "chunked", "names", "wheel"].map((name) => `src/proxy/fast/${name}.ts`);
  t.same([...HELD], ["src/domain", "src/engine", ...scanners]);
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
  cpuMsPerMb: 1,
  p50Us: 100,
  p99Us: 300,
  p999Us: 500,
  rssMib: 10,
  idleKib: null,
  errors: 0,
  proxyCore: 1,
  generatorCore: 0.3,
  upstreamCore: 0.2,
  othersCore: 0,
  lateUs: null,
  ...some,
});
const target = (label: string, kind: Rounds["kind"], ...rounds: readonly Partial<Figures>[]): Rounds => ({
  label,
  kind,
  rounds: rounds.map(figures),
});
const main = (...targets: readonly Rounds[]): Result => ({
  name: "main",
  about: "the main work",
  key: "cpuUs",
  isOwn: false,
  targets,
});
const compared = main(
  target("direct", "direct", { cpuUs: null, proxyCore: null }),
  target("sluice", "self", { cpuUs: 60 }, { cpuUs: 10 }, { cpuUs: 30 }),
  target("nginx", "native", { cpuUs: 20 }, { cpuUs: 10 }, { cpuUs: 20 }),
  target("a", "node", { cpuUs: 120 }, { cpuUs: 120 }, { cpuUs: 120 }),
  target("b", "node", { cpuUs: 60 }, { cpuUs: 40 }, { cpuUs: 60 }),
);

t.test("the benchmark compares round by round with nginx and with the best Node library", async (t) => {
  t.equal(median([3, 1, 2]), 2);
  t.equal(median([4, 1, 2, 3]), 2.5);
  t.ok(Number.isNaN(median([])));
  const rows = rowsOf(compared);
  t.match(rows[1], {
    label: "sluice",
    cpuUs: 30,
    timesNginx: { value: 1.5, low: 1, high: 3 },
    timesBestNode: { value: 0.5, low: 0.25, high: 1 },
  });
  t.match(rows[0], { cpuUs: null, timesNginx: null });
  t.match(tableOf(compared).split("\n")[4], /^\| sluice \| +30\.00 \| +1\.50 \| +0\.50 \| +1000 \|/);
});

t.test("the benchmark says which goal is met, and which cannot be told", async (t) => {
  const machine = { sharesCore: true, hasTwoFreeCores: false };
  const goals = goalRowsOf([compared], machine);
  const about = goals.filter(({ text }) => text.startsWith("1 KiB GET"));
  t.match(about, [
    { against: "nginx", goal: "≤ 1", measured: { value: 1.5 }, isMet: false },
    { against: "b", goal: "≤ 0.27", measured: { value: 0.5 }, isMet: false },
  ]);
  t.match(
    goals.find(({ text }) => text.startsWith("10,000 routes")),
    { measured: null, isMet: null, note: "not measured" },
  );
  const idle = main(target("sluice", "self", { proxyCore: 0.5 }), target("nginx", "native", {}));
  t.match(
    goalRowsOf([idle], machine).find(
      ({ text, against }) => text.includes("requests/s") && against === "nginx",
    ),
    { measured: { value: 1 }, isMet: null, note: /^void: its core only 50 %/ },
  );
  t.match(goalTableOf(goals), /\| +NO \|/);
});

t.test("the benchmark warns of what not to believe", async (t) => {
  const warn = (some: Partial<Figures>, sharesCore: boolean): readonly string[] =>
    warningsOf([main(target("nginx", "native", some))], sharesCore);
  t.same(warn({}, true), []);
  t.same(
    warn({ generatorCore: 0.6, upstreamCore: 0.38 }, true),
    [],
    "its own core is full: that is the limit",
  );
  const slack = { proxyCore: 0.7, generatorCore: 0.6, upstreamCore: 0.38 };
  t.match(warn(slack, true), [/^main: requests\/s is void.*nginx \(load 60 % and upstream 38 %/]);
  t.match(warn(slack, false), [/nginx \(its core only 70 % used\)/]);
  t.match(warn({ othersCore: 0.5 }, true), [/doubtful: nginx \(others used 50 %/]);
  t.match(warn({ errors: 3 }, true), [/requests failed: nginx \(3\)/]);
});

t.test("what a load generator prints is one line of JSON among others", async (t) => {
  t.match(lineOf('Running 2s test\n  50%    1.21ms\n\n{"requests":5,"errors":0}\n'), {
    requests: 5,
    errors: 0,
  });
  t.throws(() => lineOf("unable to connect"), /the load generator said: unable/);
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
        .parse(lineOf(done.stdout));
      t.ok(load.requests > 0, `${String(load.requests)} requests`);
      t.equal(load.errors, 0);
      t.ok(load.p50Us > 0 && load.p50Us <= load.p99Us);
      if (rate === "500")
        t.equal(load.requests, 250, "as many as it was told to send, whatever the answers did");
    }
    const gone = once(backend, "exit");
    backend.stdin.end();
    await gone;
  },
);
