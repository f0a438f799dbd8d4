/**
 * `npm run bench`: this proxy beside nginx, HAProxy and three Node libraries, in front of the same upstream, on loopback.
 *
 * Rounds are interleaved (every target once, then every target again), so that a neighbour's noise hits all of them, and medians over
 * rounds are what is compared. Each target runs alone: its process starts, is warmed up, measured and stopped. All is bounded in
 * connections, seconds and rounds. See bench/README.md for how to read the figures.
 */

import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import type { ChildProcess } from "node:child_process";
import { firstLineOf, freePorts, isPinned, listening, start, stop, stopAll } from "./children.ts";
import { LOAD_TOOL, measure, type Figures, type Plan } from "./measure.ts";
import { isInstalled, PROXIES, type Proxy } from "./proxies.ts";
import { rowsOf, tableOf, warningsOf, type Rounds } from "./table.ts";

const USAGE = `npm run bench -- [--quick] [--json] [--seconds N] [--rounds N] [--connections N] [--rate N] [--only NAME,…]
names: ${PROXIES.map(({ name }) => name).join(", ")}\n`;

interface Options {
  readonly plan: Plan;
  readonly rounds: number;
  readonly json: boolean;
  readonly proxies: readonly Proxy[];
}

/** A whole number within its bounds. */
function count(text: string, name: string, low: number, high: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < low || value > high)
    throw new Error(`--${name} is a whole number from ${String(low)} to ${String(high)}`);
  return value;
}

function optionsOf(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      seconds: { type: "string" },
      rounds: { type: "string" },
      connections: { type: "string", default: "64" },
      rate: { type: "string", default: "2000" },
      only: { type: "string" },
    },
  });
  const only = values.only?.split(",");
  const unknown = only?.filter((name) => !PROXIES.some((each) => each.name === name)) ?? [];
  if (unknown.length > 0) throw new Error(`no such proxy: ${unknown.join(", ")}`);
  return {
    plan: {
      connections: count(values.connections, "connections", 1, 1000),
      seconds: count(values.seconds ?? (values.quick ? "1" : "5"), "seconds", 1, 60),
      rate: count(values.rate, "rate", 1, 100_000),
    },
    rounds: count(values.rounds ?? (values.quick ? "1" : "5"), "rounds", 1, 20),
    json: values.json,
    proxies: PROXIES.filter(({ name }) => only === undefined || only.includes(name)),
  };
}

const say = (line: string): void => void process.stderr.write(`${line}\n`);

/** Starts one proxy in a folder of its own, measures it, stops it. */
async function measureProxy(
  proxy: Proxy,
  folder: string,
  upstreamPort: number,
  backend: ChildProcess,
  plan: Plan,
): Promise<Figures> {
  mkdirSync(folder, { recursive: true });
  const [port = 0, adminPort = 0] = await freePorts(2);
  const place = { folder, port, adminPort, upstreamPort };
  const child = start(proxy.command(place), 0);
  try {
    await listening(child, port);
    proxy.prepare?.(place);
    return await measure(port, child, backend, plan);
  } finally {
    await stop(child);
  }
}

/** The proxies of a run that are there; the others are named, and with them what they need. */
function present(proxies: readonly Proxy[]): readonly Proxy[] {
  return proxies.filter(({ name, needs }) => {
    if (needs === undefined || isInstalled(needs)) return true;
    say(`skipped: ${name} (${needs} is not installed)`);
    return false;
  });
}

async function bench(options: Options, folder: string): Promise<readonly Rounds[]> {
  const proxies = present(options.proxies);
  const backend = start([process.execPath, join(import.meta.dirname, "backend.ts")], 1);
  const upstreamPort = Number(await firstLineOf(backend));
  const figures = new Map<string, Figures[]>();
  const add = (name: string, each: Figures): void =>
    void figures.set(name, [...(figures.get(name) ?? []), each]);
  for (let round = 1; round <= options.rounds; round += 1) {
    say(`round ${String(round)} of ${String(options.rounds)}`);
    add("direct", await measure(upstreamPort, undefined, backend, options.plan));
    for (const [index, proxy] of proxies.entries()) {
      const own = join(folder, `${String(round)}-${String(index)}`);
      add(proxy.name, await measureProxy(proxy, own, upstreamPort, backend, options.plan));
    }
  }
  await stop(backend);
  return [
    { name: "direct", kind: "direct", rounds: figures.get("direct") ?? [] },
    ...proxies.map(({ name, kind }) => ({ name, kind, rounds: figures.get(name) ?? [] })),
  ];
}

/** What a reader of the figures must know about how they came about. */
function circumstances(options: Options): Readonly<Record<string, unknown>> {
  return {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
    node: process.version,
    load: LOAD_TOOL,
    pinned: isPinned,
    rounds: options.rounds,
    ...options.plan,
  };
}

function print(options: Options, targets: readonly Rounds[]): void {
  const facts = circumstances(options);
  const rows = rowsOf(targets);
  const warnings = warningsOf(targets, isPinned);
  if (options.json) {
    process.stdout.write(`${JSON.stringify({ ...facts, rows, warnings, targets }, undefined, 2)}\n`);
    return;
  }
  const said = Object.entries(facts).map(([name, value]) => `${name} ${String(value)}`);
  process.stdout.write(`${said.join(", ")}\n\n${tableOf(rows)}\n`);
  for (const warning of warnings) process.stdout.write(`\nwarning: ${warning}`);
  if (warnings.length > 0) process.stdout.write("\n");
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = optionsOf(process.argv.slice(2));
  } catch (error) {
    say(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
    return 2;
  }
  const folder = mkdtempSync(join(tmpdir(), "sluice-bench-"));
  const interrupted = (): void => void stopAll().then(() => process.exit(130));
  process.once("SIGINT", interrupted).once("SIGTERM", interrupted);
  try {
    print(options, await bench(options, folder));
    return 0;
  } catch (error) {
    say(error instanceof Error ? error.message : String(error));
    return 1;
  } finally {
    await stopAll();
    rmSync(folder, { recursive: true, force: true });
  }
}

process.exitCode = await main();
