/** What every stage needs to watch and to judge. */

import type { Site } from "./site.ts";

/** Throws what was wrong unless it holds. */
export function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

/** Milliseconds of a clock that only goes on. */
export function now(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

/** Resolves after so many milliseconds. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** The middle one; 0 of none. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value below which so much of them lies; 0 of none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

/** By how many MiB the program was larger than before, at the most, while something ran. */
export async function growthDuring<T>(
  at: Site,
  run: () => Promise<T>,
): Promise<{ readonly result: T; readonly growth: number }> {
  const before = at.rss();
  let most = before;
  const timer = setInterval(() => (most = Math.max(most, at.rss())), 50);
  try {
    const result = await run();
    return { result, growth: most - before };
  } finally {
    clearInterval(timer);
  }
}

/** Files that are open beyond so many. Waits until there are none, as connections that are kept end by and by, but not longer than 15 s. */
export async function filesBeyond(at: Site, before: number): Promise<number> {
  const late = now() + 15_000;
  while (at.files() > before && now() < late) {
    at.quiet();
    await pause(100);
  }
  return at.files() - before;
}

/** A line of the log that no run may have; "" when there is none. */
export function trouble(at: Site): string {
  const noise = /^.*(?:unhandled|uncaught|[A-Za-z]Error: |"level":60|internal).*$/im.exec(
    at.process.output(),
  );
  return noise?.[0] ?? "";
}
