/** Faults that are put into the canary's responses: errors, slowness, or both, for some time. */

import { REASON_INDEX, kindOf } from "../domain/outcome.ts";
import { FULL, parseDuration, parseRate, type Millis, type Ppm } from "../domain/units.ts";
import { uniform } from "./chance.ts";
import { emptyLine, type Line } from "./line.ts";

/** One fault. Times count from the first line. */
export interface Fault {
  /** Share of the responses that fail with 500. */
  readonly errors: Ppm;
  /** Times as slow. */
  readonly slower: number;
  readonly delay: Millis;
  readonly from: Millis;
  /** Infinity: until the end. */
  readonly lasts: number;
}

/** The fault in a text like `errors=20% slower=2x delay=100ms from=1h for=10m`; a text instead says what is wrong with it. */
export function parseFault(text: string): Fault | string {
  const fault: { -readonly [K in keyof Fault]: number } = {
    errors: 0,
    slower: 1,
    delay: 0,
    from: 0,
    lasts: Infinity,
  };
  for (const part of text.trim().split(/[\s,]+/)) {
    const [name = "", value = ""] = part.split("=", 2);
    const set = PARTS[name];
    if (set === undefined) return `a fault has errors, slower, delay, from and for, not "${part}"`;
    const [field, parse, expected] = set;
    const read = parse(value);
    if (read === undefined) return `${name} of a fault takes ${expected}, not "${value}"`;
    fault[field] = read;
  }
  if (fault.errors === 0 && fault.slower === 1 && fault.delay === 0)
    return `a fault needs errors, slower or delay: "${text}"`;
  // Every number has been parsed as what it is.
  return fault as Fault;
}

type Part = readonly [keyof Fault, (text: string) => number | undefined, string];
const factor = (text: string): number | undefined => {
  const read = /^(\d+(?:\.\d+)?)x$/.exec(text)?.[1];
  return read === undefined ? undefined : Number(read);
};
const PARTS: Readonly<Record<string, Part>> = {
  errors: ["errors", parseRate, "a share like 20%"],
  slower: ["slower", factor, "a factor like 2x"],
  delay: ["delay", parseDuration, "a duration like 100ms"],
  from: ["from", parseDuration, "a duration like 1h"],
  for: ["lasts", parseDuration, "a duration like 10m"],
};

const IS_EVIDENCE = Object.fromEntries(
  Object.keys(REASON_INDEX).map((reason) => [reason, kindOf(reason as Line["reason"]) !== "excluded"]),
);

/** What faults make of the canary's responses. */
export class Faults {
  readonly #faults: readonly Fault[];
  readonly #seed: number;
  readonly #timeoutUs: number;
  readonly #told = emptyLine();

  /** @param timeout no response head by then is a failure */
  constructor(faults: readonly Fault[], seed: number, timeout: Millis) {
    this.#faults = faults;
    this.#seed = seed;
    this.#timeoutUs = timeout * 1000;
  }

  /** Whether there are any. */
  get isNone(): boolean {
    return this.#faults.length === 0;
  }

  /** When the first begins, from the first line on; undefined without faults. */
  get from(): Millis | undefined {
    return this.#faults.map(({ from }) => from).toSorted((a, b) => a - b)[0];
  }

  /**
   * The line as it would have been on the canary: itself, or one that is written over with the next call.
   *
   * @param ms since the first line @param nth number of the line, by which the dice fall
   */
  on(line: Line, ms: number, nth: number): Line {
    if (IS_EVIDENCE[line.reason] !== true) return line;
    let told = line;
    for (let index = 0; index < this.#faults.length; index++) {
      const { errors, slower, delay, from, lasts } = this.#faults[index]!;
      if (ms < from || ms >= from + lasts) continue;
      if (told === line) told = this.#copy(line);
      if (told.latencyUs >= 0) told.latencyUs = told.latencyUs * slower + delay * 1000;
      if (told.reason === "ok" && uniform(this.#seed + index, nth) * FULL < errors) fail(told, "status", 500);
      if (told.reason === "ok" && told.latencyUs > this.#timeoutUs) {
        told.latencyUs = this.#timeoutUs;
        fail(told, "timeout", 504);
      }
    }
    return told;
  }

  #copy(line: Line): Line {
    const told = this.#told;
    told.at = line.at;
    told.reason = line.reason;
    told.status = line.status;
    told.latencyUs = line.latencyUs;
    told.key = line.key;
    told.forced = line.forced;
    // What was no failure was not read that far.
    told.method = line.reason === "ok" ? "" : line.method;
    told.target = line.reason === "ok" ? "" : line.target;
    told.traceId = line.reason === "ok" ? "" : line.traceId;
    return told;
  }
}

function fail(line: Line, reason: Line["reason"], status: number): void {
  line.reason = reason;
  line.status = status;
}
