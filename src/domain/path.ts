/** Paths as people and rules speak of them. Pure. */

const LONGEST = 80;
const VARIABLE = /^(?:\d+|[0-9a-fA-F]{16,}|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$/;

/** The path of a target: what stands before the query. */
function pathOf(target: string): string {
  const query = target.indexOf("?");
  return query < 0 ? target : target.slice(0, query);
}

/** The path with its variable parts folded: at most two segments, ids as `:id`, no query, printable, at most 80 characters. */
export function foldedPath(target: string): string {
  const segments = pathOf(target).split("/", 4).slice(1);
  const kept = segments.slice(0, 2).map((segment) => (VARIABLE.test(segment) ? ":id" : segment));
  const text = `/${kept.join("/")}${segments.length > 2 ? "/…" : ""}`;
  return text.replace(/[^\x21-\x7e…]/g, "?").slice(0, LONGEST);
}

/** A failure that everybody knows of: a status, on this path and below it. */
export interface KnownIssue {
  readonly path: string;
  readonly status: number;
}

/**
 * Whether an answer with this status to this target says nothing new about its arm: such failures are counted and shown, and are no evidence
 * (statistics.md §7).
 */
export function isKnownIssue(issues: readonly KnownIssue[], status: number, target: string): boolean {
  if (issues.length === 0) return false;
  const path = pathOf(target);
  return issues.some((issue) => issue.status === status && isBelow(path, issue.path));
}

/** Whether a target's path is one of these, or below it. */
export function isBelowAny(prefixes: readonly string[], target: string): boolean {
  const path = pathOf(target);
  return prefixes.some((prefix) => isBelow(path, prefix));
}

/** Whether a path begins with another one by whole segments. */
function isBelow(path: string, prefix: string): boolean {
  if (!path.startsWith(prefix)) return false;
  return prefix.endsWith("/") || path.length === prefix.length || path[prefix.length] === "/";
}
