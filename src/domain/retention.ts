/** Which backups stay: the last few, and one a day for some time. Pure. */

/** A backup and when it was made, ms since the epoch. */
export interface Dated {
  readonly name: string;
  readonly at: number;
}

/** How many stay. */
export interface Retention {
  /** The last so many. */
  readonly keep: number;
  /** And the last of each day (UTC), for so many days. */
  readonly days: number;
}

const DAY_MS = 86_400_000;

/** The names that stay at `now`, ms since the epoch; the newest is always one of them. */
export function retained(all: readonly Dated[], { keep, days }: Retention, now: number): ReadonlySet<string> {
  const newestFirst = [...all].sort((a, b) => b.at - a.at || (b.name < a.name ? -1 : 1));
  const kept = new Set(newestFirst.slice(0, Math.max(1, keep)).map(({ name }) => name));
  const seen = new Set<number>();
  for (const { name, at } of newestFirst) {
    const day = Math.floor(at / DAY_MS);
    if (!seen.has(day) && now - at < days * DAY_MS) kept.add(name);
    seen.add(day);
  }
  return kept;
}
