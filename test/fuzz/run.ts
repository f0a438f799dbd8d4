/**
 * `npm run fuzz -- --minutes N [--seed S]`: the differential tests and the two lanes with fresh seeds for so long. Stops at the first
 * disagreement with the bytes and the seed, and exits with 1; `--seed` with that seed and `--minutes 0` begins with that very case.
 */

import { randomInt } from "node:crypto";
import { parseArgs } from "node:util";
import t from "tap";
import { CORPUS, caseOf, differ, differNode, type Finding } from "./differ.ts";
import { LANE_CORPUS, laneCaseOf, LanePool } from "./lanes.ts";

/** Cases of one round, by kind: about a second of each. */
const ROUND = { llhttp: 100_000, node: 10_000, lanes: 400 };
const WIDTH = 16;
const SEEDS = 2 ** 31;

// The planes of the tests bring tap with them, which would end this after half a minute.
t.setTimeout(0);

const { values } = parseArgs({ options: { minutes: { type: "string" }, seed: { type: "string" } } });
const minutes = Number(values.minutes ?? 1);
const first = Number(values.seed ?? randomInt(SEEDS));
if (!(minutes >= 0) || !Number.isSafeInteger(first)) throw new RangeError("usage: --minutes N [--seed S]");

const done = { llhttp: 0, plain: 0, node: 0, lanes: 0 };
let trouble = "";

function see(kind: "llhttp" | "node", finding: Finding, what: string): void {
  done[kind]++;
  if (finding === "plain") done.plain++;
  else if (finding !== "apart") trouble ||= `${kind}, ${what}: ${finding.trouble}`;
}

async function round(seed: number): Promise<void> {
  for (let nth = 0; nth < ROUND.llhttp && trouble === ""; nth++)
    see("llhttp", differ(caseOf(seed + nth)), `seed ${seed + nth}`);
  for (let nth = 0; nth < ROUND.node && trouble === ""; nth++)
    see("node", await differNode(caseOf(seed + nth)), `seed ${seed + nth}`);
  if (trouble === "") await lanesFrom(seed, ROUND.lanes);
}

async function lanesFrom(seed: number, count: number): Promise<void> {
  const cases = Array.from({ length: count }, (_, nth) => laneCaseOf(seed + nth));
  done.lanes += await pool.run(cases.values(), (found, given) => {
    trouble ||= `lanes, seed ${seed + cases.indexOf(given)}: ${found}`;
    return false;
  });
}

async function corpus(): Promise<void> {
  for (const each of CORPUS) {
    see("llhttp", differ(each), "corpus");
    see("node", await differNode(each), "corpus");
  }
  done.lanes += await pool.run(LANE_CORPUS.values(), (found) => {
    trouble ||= `lanes, corpus: ${found}`;
    return false;
  });
}

const pool = await new LanePool().start(WIDTH);
const begun = process.hrtime.bigint();
const seconds = (): number => Number(process.hrtime.bigint() - begun) / 1e9;

process.stdout.write(`first seed ${first}\n`);
await corpus();
await rounds();
await pool.close();
if (trouble !== "") {
  process.stdout.write(`they disagree: ${trouble}\n`);
  process.exitCode = 1;
}

async function rounds(): Promise<void> {
  for (let nth = 1, seed = first; ; nth++, seed = (seed + ROUND.llhttp) % SEEDS) {
    if (trouble !== "") return;
    await round(seed);
    const isLast = seconds() >= minutes * 60;
    if (nth % 10 === 0 || isLast) report(seed);
    if (isLast) return;
  }
}

function report(seed: number): void {
  const { llhttp, plain, node, lanes } = done;
  const all = llhttp + node + lanes;
  const per = Math.round(all / seconds());
  process.stdout.write(
    `${Math.round(seconds())} s, seed ${seed}: ${llhttp} against llhttp, ${node} against node:http, of both ${plain} plain, ` +
      `${lanes} through both lanes; ${per} cases per second\n`,
  );
}
