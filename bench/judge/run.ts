/**
 * `npm run bench:judge`: what the judge does to healthy and to faulty canaries, by simulation with the shipped code; statistics.md §6. The same seed gives
 * the same table. See bench/README.md for the worlds and for how to read it.
 */

import { aligned } from "../aligned.ts";
import { optionsOf, USAGE, type Options, type Part } from "./options.ts";
import { crossings, falseAlarms, faults, gates, type Cell, type Tell } from "./parts.ts";

const RUN: Readonly<Record<Part, (options: Options, tell: Tell) => readonly Cell[]>> = {
  "false-alarms": falseAlarms,
  faults,
  crossing: crossings,
  gate: gates,
};

/** The least share that is told from none. */
const SMALL = 1e-6;

function text(value: number): string {
  if (value === Infinity) return "never";
  if (value < SMALL) return "0";
  return value >= 100 || Number.isInteger(value) ? value.toFixed(0) : value.toPrecision(3);
}

/** A table: what was measured, where the true figure lies, what the design says. Figures of one row and column share a line. */
function tableOf(cells: readonly Cell[]): string {
  const lines = new Map<string, Cell[]>();
  for (const cell of cells) {
    const name = `${cell.row}\n${cell.column}`;
    lines.set(name, [...(lines.get(name) ?? []), cell]);
  }
  return aligned(
    ["", "", "", "runs", "measured", "95 %", "design", "the same"],
    [...lines.values()].map((line) => {
      const joined = (of: (cell: Cell) => string): string => line.map(of).join(" / ");
      return [
        line[0]?.row ?? "",
        line[0]?.column ?? "",
        joined(({ what }) => what),
        String(line[0]?.runs),
        joined(({ measured }) => text(measured.value)),
        joined(({ measured: { low, high } }) => `${text(low)}–${text(high)}`),
        joined(({ design }) => (design === null ? "–" : text(design))),
        joined(({ mark }) => mark),
      ];
    }),
  );
}

function main(args: readonly string[]): void {
  const options = optionsOf(args);
  const tell: Tell = (told) => process.stderr.write(`${told}\n`);
  const results: Partial<Record<Part, readonly Cell[]>> = {};
  for (const part of options.parts) {
    tell(part);
    const cells = RUN[part](options, tell);
    results[part] = cells;
    if (!options.json) process.stdout.write(`\n${part}\n${tableOf(cells)}\n`);
  }
  if (options.json) process.stdout.write(`${JSON.stringify({ options, results }, null, 2)}\n`);
}

try {
  main(process.argv.slice(2));
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`);
  process.exitCode = 1;
}
