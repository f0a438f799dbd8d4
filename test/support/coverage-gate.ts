/**
 * The one threshold on coverage: every line and every branch of `src/domain`, `src/engine` and the pure files of the fast lane, by their own tests. It reads the JSON
 * report that tap leaves in `.tap/report` after running those (`npm run coverage`). Not after all tests: merged over forty processes
 * the platform's block counts come out wrong, and a gate must be believed. What the rest of the program has, `npx tap` shows.
 *
 * tap can only hold all files to one figure, hence this file. A file that no test loads is missing from the report, so the folders
 * are listed too: silence about a file with code in it is a failure, not a pass.
 */

import { readdirSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { z } from "zod";

/** The folders and files held to 100 %, from the top of the project. */
export const HELD = [
  "src/domain",
  "src/engine",
  "src/proxy/fast/scan.ts",
  "src/proxy/fast/chunked.ts",
  "src/proxy/fast/names.ts",
  "src/proxy/fast/wheel.ts",
] as const;

const span = z.object({ start: z.object({ line: z.number() }) });
const report = z.record(
  z.string(),
  z.object({
    statementMap: z.record(z.string(), span),
    s: z.record(z.string(), z.number()),
    branchMap: z.record(z.string(), z.object({ loc: span })),
    b: z.record(z.string(), z.array(z.number())),
  }),
);

/** A file to be covered: its path from the top of the project, and its text. */
export interface HeldFile {
  readonly path: string;
  readonly text: string;
}

/**
 * One line per shortcoming, `path:line what` or `path:first-last what`; none when all is covered.
 *
 * @param raw   an istanbul coverage map, as parsed from `coverage-final.json`; its statements are V8's lines
 * @param files the files held to it
 * @param root  absolute path that the report's file names start with
 * @throws ZodError when `raw` is no such map
 */
export function uncovered(raw: unknown, files: readonly HeldFile[], root: string): readonly string[] {
  const map = report.parse(raw);
  return files.flatMap(({ path, text }) => {
    const entry = map[join(root, path)];
    if (entry === undefined) return hasCode(text) ? [`${path}:1 no test loads it`] : [];
    const missed = Object.entries(entry.s)
      .filter(([, count]) => count === 0)
      .map(([id]) => entry.statementMap[id]?.start.line ?? 0);
    const lines = runsOf(missed).map((run) => `${path}:${run} never run`);
    const branches = Object.entries(entry.b)
      .filter(([, counts]) => counts.includes(0))
      .map(([id]) => `${path}:${String(entry.branchMap[id]?.loc.start.line)} branch never taken`);
    return [...lines, ...branches];
  });
}

/** Lines as ranges, `3` or `5-9`, in order. */
function runsOf(lines: readonly number[]): readonly string[] {
  const sorted = lines.toSorted((a, b) => a - b);
  const starts = sorted.filter((line, at) => sorted[at - 1] !== line - 1);
  const ends = sorted.filter((line, at) => sorted[at + 1] !== line + 1);
  return starts.map((first, at) =>
    first === ends[at] ? String(first) : `${String(first)}-${String(ends[at])}`,
  );
}

/** Whether anything is left of a file without its types and comments: interfaces alone are never loaded and cannot be covered. */
function hasCode(text: string): boolean {
  const bare = stripTypeScriptTypes(text).replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gmu, "");
  return bare.replaceAll(/export \{\s*\};?/gu, "").trim() !== "";
}

/** Every TypeScript file held. */
function heldFiles(root: string): readonly HeldFile[] {
  return HELD.flatMap((held) => {
    if (held.endsWith(".ts")) return [{ path: held, text: readFileSync(join(root, held), "utf8") }];
    return readdirSync(join(root, held), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
      .map((entry) => {
        const full = join(entry.parentPath, entry.name);
        return { path: relative(root, full), text: readFileSync(full, "utf8") };
      });
  });
}

/** What the command does: prints the shortcomings, returns the exit code. */
function gate(): number {
  const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
  const files = heldFiles(root);
  const found = uncovered(
    JSON.parse(readFileSync(join(root, ".tap/report/coverage-final.json"), "utf8")),
    files,
    root,
  );
  for (const line of found) process.stderr.write(`${line}\n`);
  const verdict = found.length === 0 ? "all of it covered" : `${String(found.length)} gaps`;
  process.stdout.write(`# coverage of ${HELD.join(" and ")}: ${String(files.length)} files, ${verdict}\n`);
  return found.length === 0 && files.length > 0 ? 0 : 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) process.exitCode = gate();
