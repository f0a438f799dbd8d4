/** What may be said on the command line of the benchmark. */

import { parseArgs } from "node:util";
import type { Proxy } from "./place.ts";
import { PROXIES } from "./proxies.ts";
import { WORKS, type Work } from "./works.ts";

/** Which Node libraries take part: all, the one that was cheapest in `main`, none, or as each work says. */
export type Peers = "all" | "best" | "none" | "as the work says";

/** A run, as asked for. */
export interface Options {
  readonly works: readonly Work[];
  readonly proxies: readonly Proxy[];
  readonly peers: Peers;
  /** Whether HAProxy and Caddy take part beyond `main`. */
  readonly allNatives: boolean;
  readonly seconds: number;
  readonly rounds: number;
  readonly json: boolean;
}

/** How it is called. */
export const USAGE = `npm run bench -- [--quick] [--json] [--work NAME,…] [--only PROXY,…] [--peers all|best|none] [--seconds N] [--rounds N]
works:
${WORKS.map(({ name, about, inQuick }) => `  ${name.padEnd(10)} ${inQuick ? " " : "*"} ${about}`).join("\n")}
  (* not with --quick, unless named)
proxies: ${PROXIES.map(({ name }) => name).join(", ")}\n`;

/** A whole number within its bounds. */
function count(text: string, name: string, low: number, high: number): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < low || value > high)
    throw new Error(`--${name} is a whole number from ${String(low)} to ${String(high)}`);
  return value;
}

/** Those of `all` that are named; every one when none is. */
function named<T extends { readonly name: string }>(
  all: readonly T[],
  text: string | undefined,
  what: string,
) {
  if (text === undefined) return undefined;
  const names = text.split(",");
  const unknown = names.filter((name) => !all.some((each) => each.name === name));
  if (unknown.length > 0) throw new Error(`no such ${what}: ${unknown.join(", ")}`);
  return all.filter(({ name }) => names.includes(name));
}

/** A work without its slow variants. */
function shortened(each: Work): Work {
  const { variants, ...rest } = each;
  return variants === undefined
    ? each
    : { ...rest, variants: variants.filter(({ isSlow }) => isSlow !== true) };
}

function peersOf(text: string | undefined, isQuick: boolean): Peers {
  if (text === undefined) return isQuick ? "best" : "as the work says";
  if (text === "all" || text === "best" || text === "none") return text;
  throw new Error("--peers is all, best or none");
}

/** The options; throws with what is wrong with them. */
export function optionsOf(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      work: { type: "string" },
      only: { type: "string" },
      peers: { type: "string" },
      seconds: { type: "string" },
      rounds: { type: "string" },
    },
  });
  const { quick } = values;
  return {
    works: (named(WORKS, values.work, "work") ?? WORKS.filter(({ inQuick }) => inQuick || !quick)).map(
      (each) => (quick ? shortened(each) : each),
    ),
    proxies: named(PROXIES, values.only, "proxy") ?? PROXIES,
    peers: peersOf(values.peers, quick),
    allNatives: !quick || values.only !== undefined,
    seconds: count(values.seconds ?? (quick ? "1" : "3"), "seconds", 1, 60),
    rounds: count(values.rounds ?? (quick ? "1" : "5"), "rounds", 1, 50),
    json: values.json,
  };
}
