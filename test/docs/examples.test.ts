/** The examples for delivery controllers and pipelines: parsed, held to the admin API's table, and the scripts run against the program. */

import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import t from "tap";
import { parse, parseAllDocuments } from "yaml";
import { z } from "zod";
import { findRow } from "../../src/admin/find.ts";
import { failing, program, watched, type Program } from "../support/program.ts";

t.setTimeout(110_000);

const EXAMPLES = fileURLToPath(new URL("../../docker/examples/", import.meta.url));
const ENTRY = fileURLToPath(new URL("../../src/sluice.js", import.meta.url));
const read = (name: string): string => readFileSync(EXAMPLES + name, "utf8");
const USERS: readonly string[] = Array.from({ length: 60 }, (_, i) => `user-${i}`);

/** So long a script may take. */
const MOST_MS = 40_000;

/** A route whose one rule knows after a few responses, and whose plan climbs by time. */
const ROUTE = {
  health: { interval: "1s" },
  rollback: {
    onAny: [{ metric: "error_rate", above: "10%", for: "2s", minRequests: 5 }],
  },
  plan: {
    promotion: "off",
    steps: [
      { setWeight: "50%", hold: "2s" },
      { setWeight: "100%", hold: "2s" },
    ],
  },
};

/**
 * Runs a script against `p` with its environment, while users ask and the clock goes on; the canary breaks when it has this weight. Resolves its exit
 * code and what it said.
 */
async function script(
  p: Program,
  name: string,
  args: readonly string[],
  breakAt?: number,
): Promise<{ readonly code: number | null; readonly said: string }> {
  const child = spawn("sh", [EXAMPLES + name, ...args], {
    env: {
      PATH: process.env["PATH"] ?? "",
      SLUICE: `${process.execPath} ${ENTRY}`,
      SLUICE_ADMIN: `http://${p.running.adminAddress}`,
      SLUICE_TOKEN: p.running.token,
      INTERVAL: "0.1",
      NODE_COMPILE_CACHE: fileURLToPath(new URL("../../node_modules/.cache/compiled", import.meta.url)),
      NO_COLOR: "1",
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const { output, ended } = watched(child);
  const over = { is: false };
  void ended.then(() => (over.is = true));
  // One that never ends by itself has no exit code, which is what the tests look at.
  const late = setTimeout(() => child.kill("SIGKILL"), MOST_MS);
  try {
    while (!over.is) {
      await second(p);
      if (breakAt !== undefined && (await p.status()).weight === breakAt) p.canary.answer = failing;
    }
  } finally {
    clearTimeout(late);
  }
  return { code: await ended, said: output() };
}

/** Everybody asks once, and a second passes. */
async function second(p: Program): Promise<void> {
  await Promise.all(USERS.map((user) => p.get(user)));
  await p.clock.advance("1s");
}

t.test(
  "the pipeline's script ends with the rollout: 0 when it has succeeded, 1 when it was rolled back",
  async (t) => {
    const p = await program(ROUTE);
    t.teardown(() => p.close());
    const good = await script(p, "deploy.sh", ["app", "4.0.0", "60s"]);
    t.equal(good.code, 0, good.said);
    t.match(await p.status(), { phase: "succeeded", weight: 100 });
    const bad = await script(p, "deploy.sh", ["app", "4.0.1", "60s"], 50);
    t.equal(bad.code, 1, bad.said);
    t.match(bad.said, /rolled back; the report:\n# .*app/);
  },
);

t.test(
  "the script that drives from outside goes on while the analysis is successful, and not beyond",
  async (t) => {
    const p = await program(ROUTE);
    t.teardown(() => p.close());
    const good = await script(p, "drive.sh", ["app", "20", "60"]);
    t.equal(good.code, 0, good.said);
    const left = await p.status();
    t.match(left, { phase: "paused", weight: 60 });
    t.same(left.steps, []);
    p.canary.answer = failing;
    for (let nth = 0; nth < 120 && (await p.status()).phase !== "rolled_back"; nth++) await second(p);
    t.equal((await p.status()).phase, "rolled_back");
    const bad = await script(p, "drive.sh", ["app", "0"]);
    t.equal(bad.code, 1, bad.said);
    t.match(bad.said, /"result":"Failed"/);
    t.match(await p.status(), { phase: "rolled_back", weight: 0 });
    const again = await script(p, "drive.sh", ["app", "5"]);
    t.equal(again.code, 1, again.said);
    t.match(again.said, /SPLIT_COOLDOWN/);
  },
);

t.test("every address in an example is one of the admin API's, with a method that it takes", (t) => {
  const found = ["drive.sh", "argo-rollouts-job.yaml", "flagger-canary.yaml"].flatMap((name) =>
    [
      ...read(name)
        .replaceAll(/\{\{args\.\w+\}\}/g, "app")
        .matchAll(/\/v1\/[a-z]+\/app[a-z/-]*/g),
    ].map(([path]) => path),
  );
  t.ok(found.length >= 10, `looked at ${found.length}`);
  for (const path of found)
    t.equal(findRow(path.endsWith("analysis") ? "GET" : "POST", path).kind, "row", path);
  t.end();
});

t.test("Flagger's example has every kind of webhook, each at the address of its kind", (t) => {
  const [canary] = parseAllDocuments(read("flagger-canary.yaml")).map((each): unknown => each.toJS());
  const hook = z.object({ type: z.string(), url: z.string() });
  const shape = z.object({ spec: z.object({ analysis: z.object({ webhooks: z.array(hook) }) }) });
  const { webhooks } = shape.parse(canary).spec.analysis;
  t.same(webhooks.map(({ type }) => type).toSorted(), [
    "confirm-promotion",
    "confirm-rollout",
    "confirm-traffic-increase",
    "event",
    "post-rollout",
    "pre-rollout",
    "rollback",
    "rollout",
  ]);
  for (const { type, url } of webhooks) t.ok(url.endsWith(`/v1/rollouts/app/hooks/${type}`), url);
  t.end();
});

t.test("Argo's example is whole, its template of a measurement included", (t) => {
  const documents = parseAllDocuments(read("argo-rollouts-job.yaml"));
  t.same(
    documents.flatMap(({ errors }) => errors),
    [],
  );
  const kinds = documents.map((each) => z.object({ kind: z.string() }).parse(each.toJS()).kind);
  t.same(kinds, ["AnalysisTemplate", "AnalysisTemplate", "Rollout"]);
  const named = new Set(
    [...read("argo-rollouts-job.yaml").matchAll(/templateName: ([\w-]+)/g)].map(([, n]) => n),
  );
  for (const name of named) t.match(read("argo-rollouts-job.yaml"), `metadata: { name: ${name} }`);
  t.end();
});

t.test("the scripts of GitHub's example are shell, and the token is nowhere but in the environment", (t) => {
  const step = z.object({ name: z.string(), run: z.string() });
  const shape = z.object({ jobs: z.object({ rollout: z.object({ steps: z.array(step) }) }) });
  const { steps } = shape.parse(parse(read("github-action.yml"))).jobs.rollout;
  t.equal(steps.length, 2);
  for (const { run } of steps) {
    t.equal(spawnSync("sh", ["-n"], { input: run }).status, 0, run);
    t.notMatch(run, /token|\$\{\{/i);
  }
  t.end();
});
