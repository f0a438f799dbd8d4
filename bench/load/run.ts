/**
 * `npm run bench`: this proxy beside nginx, HAProxy, Caddy and three Node libraries, in front of the same upstream, on loopback, in works
 * that can be chosen by name.
 *
 * Rounds are interleaved (every target of a work once, then every target again, in the other direction), so that a neighbour's noise hits
 * all of them. Each target runs alone: its process starts, is warmed up, measured and stopped. All is bounded in connections, seconds
 * and rounds. A target that fails is named with its reason, the others go on, and the exit code is 1. See bench/README.md for how to read the figures.
 */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import type { ChildProcess } from "node:child_process";
import { wordsOf } from "../../src/domain/errors.ts";
import {
  firstLineOf,
  freePorts,
  hasTwoFreeCores,
  isPinned,
  listening,
  outputOf,
  sharesCore,
  start,
  stop,
  withFolder,
} from "./children.ts";
import { goalRowsOf } from "./goals.ts";
import { isInstalled } from "./installed.ts";
import { LOAD_TOOL, YOUNG } from "./load.ts";
import { measure, type Figures, type Task } from "./measure.ts";
import { optionsOf, USAGE, type Options } from "./options.ts";
import type { Certificate, Proxy, Setting } from "./place.ts";
import { bestNodeOf, rowsOf, warningsOf, type Result } from "./result.ts";
import { aimOf } from "./self.ts";
import { goalTableOf, tableOf } from "./table.ts";
import { targetsOf, type Target } from "./targets.ts";
import type { Work } from "./works.ts";

/** What a run has while it runs. */
interface Scene {
  readonly folder: string;
  readonly upstream: ChildProcess;
  readonly upstreamPort: number;
  readonly certificate: Certificate | undefined;
  readonly seconds: number;
}

/** A target that could not be measured. */
interface Failure {
  readonly work: string;
  readonly target: string;
  readonly reason: string;
}

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** Reading ten thousand routes takes longer than starting. */
const START_SECONDS = 90;

/** Starts one proxy in a folder of its own, measures it, stops it. */
async function measureTarget(scene: Scene, work: Work, target: Target, folder: string): Promise<Figures> {
  const { upstream, upstreamPort, certificate, seconds } = scene;
  const { proxy, setting } = target;
  if (proxy === undefined)
    return await measure({ port: upstreamPort, proxy: undefined, upstream }, work.task, seconds);
  mkdirSync(folder, { recursive: true });
  const [port = 0, adminPort = 0] = await freePorts(2);
  const place = { folder, port, adminPort, upstreamPort, certificate };
  const { command, env } = proxy.command(place, setting);
  const child = start(command, work.role, env);
  try {
    await listening(child, port, START_SECONDS);
    proxy.prepare?.(place, setting);
    return await measure({ port, proxy: child, upstream }, aimed(work.task, setting), seconds);
  } finally {
    await stop(child);
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The task, at the route that is meant. */
function aimed(task: Task, setting: Setting): Task {
  return { ...task, demand: { ...task.demand, ...aimOf(setting, task.demand.path) } };
}

/** All rounds of one work. */
async function runWork(
  scene: Scene,
  work: Work,
  targets: readonly Target[],
  rounds: number,
  failures: Failure[],
): Promise<Result> {
  const figures = new Map<string, Figures[]>(targets.map(({ label }) => [label, []]));
  const failed = new Set<string>();
  for (let round = 0; round < rounds; round += 1) {
    say(`${work.name}: round ${String(round + 1)} of ${String(rounds)}`);
    for (const [index, target] of (round % 2 === 0 ? targets : targets.toReversed()).entries()) {
      if (failed.has(target.label)) continue;
      const folder = join(scene.folder, `${work.name}-${String(round)}-${String(index)}`);
      try {
        figures.get(target.label)?.push(await measureTarget(scene, work, target, folder));
      } catch (error) {
        failed.add(target.label);
        const reason = wordsOf(error);
        failures.push({ work: work.name, target: target.label, reason });
        say(`failed: ${work.name}, ${target.label}: ${reason}`);
      }
    }
  }
  return {
    name: work.name,
    about: work.about,
    key: work.key,
    isOwn: work.variants !== undefined,
    targets: targets.map(({ label, kind }) => ({ label, kind, rounds: figures.get(label) ?? [] })),
  };
}

/** The proxies of a run that are there; the others are named, and with them what they need. */
function present(proxies: readonly Proxy[]): readonly Proxy[] {
  return proxies.filter(({ name, needs }) => {
    if (needs === undefined || isInstalled(needs)) return true;
    say(`skipped: ${name} (${needs} is not installed)`);
    return false;
  });
}

/** A certificate for this run; undefined, and said why, when it cannot be made. */
async function certificateIn(folder: string): Promise<Certificate | undefined> {
  const [cert, key, both] = [join(folder, "cert.pem"), join(folder, "key.pem"), join(folder, "both.pem")];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
  const names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"];
  try {
    await outputOf(
      start(["openssl", "req", "-x509", ...curve, ...names, "-keyout", key, "-out", cert], "load"),
    );
  } catch (error) {
    say(`no certificate: ${wordsOf(error)}`);
    return undefined;
  }
  writeFileSync(both, readFileSync(cert, "utf8") + readFileSync(key, "utf8"), { mode: 0o600 });
  return { cert, key, both };
}

interface Outcome {
  readonly results: readonly Result[];
  readonly failures: readonly Failure[];
}

/** Runs the works one after the other; prints each table as soon as it is there, unless it is all to be JSON. */
async function bench(options: Options, folder: string): Promise<Outcome> {
  const proxies = present(options.proxies);
  const upstream = start([process.execPath, ...YOUNG, join(import.meta.dirname, "backend.ts")], "upstream");
  const scene: Scene = {
    folder,
    upstream,
    upstreamPort: Number(await firstLineOf(upstream)),
    certificate: options.works.some(({ setting }) => setting.secure === true)
      ? await certificateIn(folder)
      : undefined,
    seconds: options.seconds,
  };
  const results: Result[] = [];
  const failures: Failure[] = [];
  for (const work of options.works) {
    const known = results.find(({ name }) => name === "main");
    const best = bestNodeOf(known?.targets ?? [], (each) => each.cpuUs, "least")?.label;
    const targets = targetsOf(work, proxies, options, best);
    const result = await runWork(scene, work, targets, options.rounds, failures);
    results.push(result);
    if (!options.json) process.stdout.write(`${tableOf(result)}\n\n`);
  }
  await stop(upstream);
  return { results, failures };
}

/** What a reader of the figures must know about how they came about. */
function circumstances({ seconds, rounds }: Options): Readonly<Record<string, unknown>> {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    node: process.version,
    load: LOAD_TOOL,
    pinned: isPinned,
    rounds,
    seconds,
  };
}

function print(options: Options, { results, failures }: Outcome): void {
  const facts = circumstances(options);
  const goals = goalRowsOf(results, { sharesCore, hasTwoFreeCores });
  const warnings = warningsOf(results, sharesCore);
  if (options.json) {
    const works = results.map((result) => ({ ...result, rows: rowsOf(result) }));
    process.stdout.write(`${JSON.stringify({ ...facts, works, goals, warnings, failures }, undefined, 2)}\n`);
    return;
  }
  const said = Object.entries(facts).map(([name, value]) => `${name} ${String(value)}`);
  const lines = [
    goalTableOf(goals),
    "",
    said.join(", "),
    ...warnings.map((warning) => `warning: ${warning}`),
    ...failures.map(({ work, target, reason }) => `failed: ${work}, ${target}: ${reason}`),
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = optionsOf(process.argv.slice(2));
  } catch (error) {
    say(`${wordsOf(error)}\n${USAGE}`);
    return 2;
  }
  return withFolder("sluice-bench-", async (folder) => {
    const outcome = await bench(options, folder);
    print(options, outcome);
    return outcome.failures.length === 0;
  });
}

process.exitCode = await main();
