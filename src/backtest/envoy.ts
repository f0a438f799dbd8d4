/** Envoy's access log in its default format. A line is of the moment at which the exchange ended: its start and its duration. */

import type { Reason } from "../domain/outcome.ts";
import type { Line, Reader } from "./line.ts";
import { isStatus, reasonOf } from "./line.ts";
import { isoTime } from "./dates.ts";
import { compile, decimal, endOfFirst, isNothing, locate, type Template } from "./template.ts";

const FORMAT =
  '[$start] "$method $path $protocol" $status $flags $received $sent $duration $service ' +
  '"$forwarded" "$agent" "$id" "$authority" "$upstream"';
const WANTED = [
  "start",
  "method",
  "path",
  "status",
  "flags",
  "duration",
  "service",
  "forwarded",
  "id",
  "upstream",
] as const;
const [START, METHOD, PATH, STATUS, FLAGS, DURATION, SERVICE, FORWARDED, ID, UPSTREAM] = WANTED.map(
  (_, index) => 2 * index,
) as [number, number, number, number, number, number, number, number, number, number];

/** Why an exchange ended, by response flag. What is not here says nothing beside the status. */
const BY_FLAG: Readonly<Record<string, Reason>> = {
  DC: "client_gone",
  UF: "connect",
  UH: "connect",
  UT: "timeout",
  UMSDR: "timeout",
  SI: "timeout",
  UC: "reset",
  UR: "reset",
  LR: "reset",
  UPE: "malformed",
  DPE: "refused",
  RL: "refused",
  UAEX: "refused",
  IH: "refused",
  NR: "refused",
  FI: "refused",
  DI: "refused",
  UO: "unavailable",
  NC: "unavailable",
  OM: "unavailable",
  DO: "unavailable",
};

/** A reader for lines in the default format. */
export function envoyReader(canaries: ReadonlySet<string>): Reader {
  // The text above is a layout.
  const template = compile(FORMAT, WANTED) as Template;
  const found = new Int32Array(2 * WANTED.length);
  let bytes: Buffer = Buffer.alloc(0);
  const isThere = (field: number): boolean => !isNothing(bytes, found[field]!, found[field + 1]!);
  const textOf = (field: number): string =>
    isThere(field) ? bytes.toString("latin1", found[field], found[field + 1]) : "";
  const numberOf = (field: number): number => decimal(bytes, found[field]!, found[field + 1]!);

  const keyOf = (): string => {
    if (!isThere(FORWARDED)) return textOf(ID);
    const from = found[FORWARDED]!;
    return bytes.toString("latin1", from, endOfFirst(bytes, from, found[FORWARDED + 1]!));
  };

  const reasonIn = (line: Line): Reason => {
    if (!isThere(FLAGS)) return line.status === 0 ? "client_gone" : reasonOf(line.status);
    for (const flag of textOf(FLAGS).split(",")) {
      const reason = BY_FLAG[flag];
      if (reason === undefined) continue;
      // The head had come, and was no failure: it was the body that broke off.
      return reason === "reset" && line.status >= 100 && line.status < 500 ? "cut" : reason;
    }
    return line.status === 0 ? "reset" : reasonOf(line.status);
  };

  return (raw, from, to, line) => {
    bytes = raw;
    if (!locate(template, raw, from, to, found)) return "it is not laid out like Envoy's default format";
    const duration = numberOf(DURATION);
    if (Number.isNaN(duration)) return "its duration is not a number";
    line.at = isoTime(raw, found[START]!, found[START + 1]!) + duration;
    if (Number.isNaN(line.at)) return "its time cannot be read";
    line.status = numberOf(STATUS);
    if (line.status !== 0 && !isStatus(line.status)) return "its status is not a number from 100 to 599";
    const service = isThere(SERVICE) ? numberOf(SERVICE) : Number.NaN;
    line.latencyUs = (Number.isNaN(service) ? duration : service) * 1000;
    line.arm = isThere(UPSTREAM) ? (canaries.has(textOf(UPSTREAM)) ? "canary" : "stable") : "";
    line.key = keyOf();
    line.reason = reasonIn(line);
    if (line.reason === "ok") return "";
    line.method = textOf(METHOD);
    line.target = textOf(PATH);
    return "";
  };
}
