/** From the rounds of a benchmark to what is printed: medians, ratios, warnings. Pure. */

import type { Figures } from "./measure.ts";

/** All rounds of one target. */
export interface Rounds {
  readonly name: string;
  readonly kind: "direct" | "self" | "native" | "node";
  readonly rounds: readonly Figures[];
}

/** One line of the result: medians over the rounds, and what they are beside the others'. */
export interface Row {
  readonly name: string;
  readonly requestsPerSecond: number;
  readonly cpuUs: number | null;
  /** CPU per request ÷ nginx's, and ÷ that of the best Node proxy which is not this one; null without one of the two. */
  readonly timesNginx: number | null;
  readonly timesBestNode: number | null;
  /** Beyond the direct way, at the fixed rate. */
  readonly addedP50Us: number | null;
  readonly addedP99Us: number | null;
  readonly rssMib: number | null;
  readonly errors: number;
}

/** The middle value; of an even number of values the mean of the two in the middle. NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const low = sorted[Math.ceil(middle) - 1] ?? Number.NaN;
  const high = sorted[Math.floor(middle)] ?? Number.NaN;
  return (low + high) / 2;
}

const numbers = (values: readonly (number | null)[]): readonly number[] =>
  values.filter((each) => each !== null);
function medianOf(target: Rounds | undefined, pick: (figures: Figures) => number | null): number | null {
  const values = numbers((target?.rounds ?? []).map(pick));
  return values.length === 0 ? null : median(values);
}
const over = (value: number | null, base: number | null): number | null =>
  value === null || base === null || base === 0 ? null : value / base;
const beyond = (value: number | null, base: number | null): number | null =>
  value === null || base === null ? null : value - base;

/** One row per target, in their order. */
export function rowsOf(targets: readonly Rounds[]): readonly Row[] {
  const cpu = (target: Rounds | undefined): number | null => medianOf(target, (each) => each.cpuUs);
  const nginx = cpu(targets.find(({ name }) => name === "nginx"));
  const nodes = numbers(targets.filter(({ kind }) => kind === "node").map(cpu));
  const bestNode = nodes.length === 0 ? null : Math.min(...nodes);
  const direct = targets.find(({ kind }) => kind === "direct");
  return targets.map((target) => ({
    name: target.name,
    requestsPerSecond: medianOf(target, (each) => each.requestsPerSecond) ?? 0,
    cpuUs: cpu(target),
    timesNginx: over(cpu(target), nginx),
    timesBestNode: over(cpu(target), bestNode),
    addedP50Us: beyond(
      medianOf(target, (each) => each.p50Us),
      medianOf(direct, (each) => each.p50Us),
    ),
    addedP99Us: beyond(
      medianOf(target, (each) => each.p99Us),
      medianOf(direct, (each) => each.p99Us),
    ),
    rssMib: medianOf(target, (each) => each.rssMib),
    errors: target.rounds.reduce((sum, each) => sum + each.errors, 0),
  }));
}

/** What makes a figure doubtful, one sentence each. On one core, load and backend share its 95 %. */
export function warningsOf(targets: readonly Rounds[], sharesCore: boolean): readonly string[] {
  return targets.flatMap(({ name, kind, rounds }) => {
    const generator = median(rounds.map((each) => each.generatorCore));
    const backend = median(rounds.map((each) => each.backendCore));
    const found: string[] = [];
    const busiest = sharesCore ? generator + backend : Math.max(generator, backend);
    if (kind !== "direct" && busiest > 0.95)
      found.push(
        `${name}: load generator ${percent(generator)} and backend ${percent(backend)} of a core: requests/s is void, CPU per request still counts`,
      );
    const errors = rounds.reduce((sum, each) => sum + each.errors, 0);
    if (errors > 0) found.push(`${name}: ${String(errors)} requests failed`);
    return found;
  });
}

const percent = (share: number): string => `${(share * 100).toFixed(0)} %`;
const figure = (value: number | null, digits: number): string =>
  value === null ? "–" : value.toFixed(digits);

/** The rows as a table of fixed columns. */
export function tableOf(rows: readonly Row[]): string {
  const head = ["", "req/s", "CPU µs/req", "× nginx", "× best Node", "P50 +µs", "P99 +µs", "RSS MiB"];
  const body = rows.map((row) => [
    row.name,
    figure(row.requestsPerSecond, 0),
    figure(row.cpuUs, 1),
    figure(row.timesNginx, 2),
    figure(row.timesBestNode, 2),
    figure(row.addedP50Us, 0),
    figure(row.addedP99Us, 0),
    figure(row.rssMib, 0),
  ]);
  const lines = [head, ...body];
  const widths = head.map((_, column) => Math.max(...lines.map((line) => line[column]?.length ?? 0)));
  const cell = (text: string, column: number): string =>
    column === 0 ? text.padEnd(widths[0] ?? 0) : text.padStart(widths[column] ?? 0);
  return lines.map((line) => line.map(cell).join("  ")).join("\n");
}
