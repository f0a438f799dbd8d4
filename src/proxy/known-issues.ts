/** The known issues of a route, compiled: failures that are counted and shown, of both arms, and are no evidence. Pure. */

import type { RouteConfig } from "../config/schema.ts";
import { isKnownIssue } from "../domain/path.ts";

/** Whether an answer with this status to this target is a known issue. */
export type KnownIssues = (status: number, target: string) => boolean;

/** The known issues of a route, compiled; undefined: there are none. */
export function knownIssuesOf({ rollback }: RouteConfig): KnownIssues | undefined {
  const issues = rollback.knownIssues;
  return issues.length === 0 ? undefined : (status, target) => isKnownIssue(issues, status, target);
}
