/**
 * `npm run bench:fleet`: what it costs to be many. One real redis-server, one real leader, and simulated replicas with the shipped store: how soon a weight is everywhere, and
 * what leader and Redis pay while all measure. Fails when what the leader has merged is not what was measured. See bench/README.md for how to read it.
 */

import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { wordsOf } from "../../src/domain/errors.ts";
import { withFolder } from "../load/children.ts";
import { isInstalled } from "../load/installed.ts";
import { optionsOf, USAGE, type Options } from "./options.ts";
import { inputsOf, paperOf } from "./paper.ts";
import { noiseOf, paperTableOf, propagationTableOf, remarksOf, steadyTableOf } from "./table.ts";
import { trial, type Trial } from "./trial.ts";

const say = (line: string): void => void process.stderr.write(`${line}\n`);

interface Outcome {
  readonly trials: readonly Trial[];
  readonly hasFailed: boolean;
}

/** The leader alone, and then each size; one that cannot be measured is named, and the others go on. */
async function bench(options: Options, folder: string): Promise<Outcome> {
  const trials: Trial[] = [];
  let hasFailed = false;
  for (const [nth, replicas] of [1, ...options.sizes].entries()) {
    say(replicas === 1 ? "the leader alone" : `${String(replicas)} replicas`);
    const fail = (why: string): void => {
      hasFailed = true;
      say(`failed: ${String(replicas)} replicas: ${why}`);
    };
    try {
      const done = await trial(join(folder, String(nth)), replicas, options);
      done.failures.forEach(fail);
      trials.push(done);
    } catch (error) {
      fail(wordsOf(error));
    }
  }
  return { trials, hasFailed };
}

function print(trials: readonly Trial[], { json, seconds }: Options): void {
  const inputs = inputsOf(trials);
  const facts = { cpu: cpus()[0]?.model ?? "unknown", cores: cpus().length, node: process.version, seconds };
  const parts = [
    steadyTableOf(trials),
    propagationTableOf(trials),
    ...(inputs === undefined ? [] : [paperTableOf(inputs)]),
    [
      Object.entries(facts)
        .map(([name, value]) => `${name} ${String(value)}`)
        .join(", "),
      ...remarksOf(trials),
    ].join("\n"),
  ];
  process.stdout.write(`${parts.join("\n\n")}\n`);
  if (json === undefined) return;
  const result = {
    ...facts,
    trials: trials.map((each) => ({ ...each, noise: noiseOf(each) })),
    paper: inputs === undefined ? null : { inputs, lines: paperOf(inputs) },
  };
  writeFileSync(json, `${JSON.stringify(result, undefined, 2)}\n`);
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = optionsOf(process.argv.slice(2));
  } catch (error) {
    say(`${wordsOf(error)}\n${USAGE}`);
    return 2;
  }
  if (!isInstalled("redis-server")) {
    say("there is no redis-server");
    return 1;
  }
  return withFolder("sluice-fleet-", async (folder) => {
    const { trials, hasFailed } = await bench(options, folder);
    print(trials, options);
    return !hasFailed;
  });
}

process.exitCode = await main();
