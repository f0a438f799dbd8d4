/** Results as text: one table per work, one for the goals. Pure. */

import { aligned } from "../aligned.ts";
import type { GoalRow } from "./goals.ts";
import { percent, rowsOf, type Ratio, type Result, type Row } from "./result.ts";

interface Column {
  readonly head: string;
  cell(row: Row): string;
}

const NONE = "–";
const figure = (value: number | null, digits: number): string =>
  value === null || Number.isNaN(value) ? NONE : value.toFixed(digits);
const ms = (us: number | null): string => figure(us === null ? null : us / 1000, 2);
const times = (ratio: Ratio | null): string => figure(ratio?.value ?? null, 2);

const COLUMNS: Readonly<Record<string, Column>> = {
  rate: { head: "req/s", cell: (row) => figure(row.requestsPerSecond, 0) },
  cpuUs: { head: "CPU µs/req", cell: (row) => figure(row.cpuUs, 2) },
  cpuMsPerMb: { head: "CPU ms/MB", cell: (row) => figure(row.cpuMsPerMb, 3) },
  p50: { head: "P50 ms", cell: (row) => ms(row.p50Us) },
  p99: { head: "P99 ms", cell: (row) => ms(row.p99Us) },
  p999: { head: "P99.9 ms", cell: (row) => ms(row.p999Us) },
  rss: { head: "RSS MiB", cell: (row) => figure(row.rssMib, 0) },
  idle: { head: "KiB/conn", cell: (row) => figure(row.idleKib, 1) },
  core: { head: "core", cell: (row) => percent(row.proxyCore) },
  nginx: { head: "× nginx", cell: (row) => times(row.timesNginx) },
  bestNode: { head: "× best Node", cell: (row) => times(row.timesBestNode) },
  base: { head: "× first", cell: (row) => times(row.timesBase) },
};

/** The columns of a work: what it is compared by and the ratios of that first. */
function columnsOf({ key, isOwn }: Result): readonly Column[] {
  const ratios = isOwn ? ["base"] : ["nginx", "bestNode"];
  const rest = ["rate", "p50", "p99", "p999", "rss", "core"];
  const byKey: Readonly<Record<Result["key"], readonly string[]>> = {
    cpuUs: ["cpuUs", ...ratios, ...rest],
    cpuMsPerMb: ["cpuMsPerMb", ...ratios, ...rest],
    p99Us: ["p99", ...ratios, "p50", "p999", "cpuUs", "rate", "rss"],
    rssMib: ["rss", ...ratios, "idle"],
    requestsPerSecond: ["rate", ...ratios, "cpuUs", "p50", "p99", "p999", "rss", "core"],
  };
  return byKey[key].map((name) => COLUMNS[name]).filter((each) => each !== undefined);
}

/** One work as a table under its name. */
export function tableOf(result: Result): string {
  const columns = columnsOf(result);
  const rows = rowsOf(result).map((row) => [row.label, ...columns.map((column) => column.cell(row))]);
  return `${result.name}: ${result.about}\n${aligned(["", ...columns.map(({ head }) => head)], rows)}`;
}

/** The goals as a table. */
export function goalTableOf(goals: readonly GoalRow[]): string {
  const spread = ({ low, high }: Ratio): string =>
    low === high ? "" : `${figure(low, 2)} – ${figure(high, 2)}`;
  const rows = goals.map(({ text, against, goal, measured, isMet, note }) => [
    text,
    against,
    goal,
    times(measured),
    measured === null ? "" : spread(measured),
    isMet === null ? NONE : isMet ? "yes" : "NO",
    note,
  ]);
  return `goals\n${aligned(["", "against", "goal", "measured", "over the rounds", "met", ""], rows)}`;
}
