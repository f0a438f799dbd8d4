/**
 * Failures that everybody knows of, and that say nothing new about the canary: by path and status. They are counted and shown, of both arms, and are no
 * evidence (statistics.md §7). Pure.
 */

import type { RouteConfig } from "../config/schema.ts";
import { pathOf } from "./request.ts";

/** Whether an answer with this status to this target is a known issue. */
export type KnownIssues = (status: number, target: string) => boolean;

/** The known issues of a route, compiled; undefined: there are none. */
export function knownIssuesOf({ rollback }: RouteConfig): KnownIssues | undefined {
  const issues = rollback.knownIssues;
  if (issues.length === 0) return undefined;
  return (status, target) => {
    const path = pathOf(target);
    return issues.some((issue) => issue.status === status && isBelow(path, issue.path));
  };
}

/** Whether a path begins with another one by whole segments. */
function isBelow(path: string, prefix: string): boolean {
  if (!path.startsWith(prefix)) return false;
  return prefix.endsWith("/") || path.length === prefix.length || path[prefix.length] === "/";
}
