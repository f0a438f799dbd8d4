/**
 * Whether a rollout has succeeded elsewhere before: a report `deployment_<environment>_<timestamp>.json` of one that ended well and stayed so, of
 * another environment than this one, of the same version where one is named, and young enough.
 *
 * A report comes from elsewhere: what cannot be read as one is passed over, and of many only the latest by name are looked at.
 */

import { readFile, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { parseReportHead } from "../domain/report.ts";
import { formatDuration, millis, type Millis } from "../domain/units.ts";
import { fails, holds, plainOf, type Finding } from "./limit.ts";

/** What is looked for. */
export interface StagingSpec {
  /** A report, or a folder with reports. */
  readonly report: string;
  readonly maxAge: Millis;
}

/** For whom. */
export interface StagingContext {
  /** Empty: any. */
  readonly version: string;
  /** Ours. */
  readonly environment: string;
  /** Wall clock, ms. */
  readonly now: number;
}

/** A rollout that succeeded. */
interface Success {
  readonly at: number;
  readonly environment: string;
  readonly version: string;
}

const MOST_REPORTS = 200;
const MOST_BYTES = 16 * 1024 * 1024;
const REPORT = /^deployment_.*\.json$/;
/** Clocks differ by so much: ms. */
const AHEAD_MS = 60_000;
const MINUTE_MS = 60_000;

/** Looks for the latest success that counts. Rejects with the platform's error when there is no such file or folder. */
export async function checkStaging(spec: StagingSpec, context: StagingContext): Promise<Finding> {
  const files = await reportsAt(spec.report);
  const found: Success[] = [];
  for (const file of files) {
    const success = successOf(await textIn(file));
    if (success !== undefined) found.push(success);
  }
  return judge(found, spec, context);
}

function judge(
  found: readonly Success[],
  { report, maxAge }: StagingSpec,
  { version, environment, now }: StagingContext,
): Finding {
  const others = found.filter((each) => each.environment !== environment);
  if (others.length === 0) {
    return fails(
      found.length === 0
        ? `no report of a success in ${report}`
        : `all successes in ${report} are of ${environment} itself`,
    );
  }
  const same = others.filter((each) => version === "" || each.version === version);
  const of = version === "" ? "" : ` of ${plainOf(version)}`;
  if (same.length === 0) return fails(`no success${of} in ${report}`);
  const past = same.filter(({ at }) => at <= now + AHEAD_MS);
  if (past.length === 0) return fails(`the success${of} in ${report} is dated in the future`);
  const latest = past.reduce((best, each) => (each.at > best.at ? each : best));
  const age = millis(Math.max(0, now - latest.at));
  const told = `success${of} in ${plainOf(latest.environment)} ${ago(age)}`;
  return age <= maxAge ? holds(told) : fails(`${told}, more than ${formatDuration(maxAge)}`);
}

function ago(age: Millis): string {
  return `${formatDuration(millis(Math.floor(age / MINUTE_MS) * MINUTE_MS))} ago`;
}

async function reportsAt(path: string): Promise<readonly string[]> {
  if (!(await stat(path)).isDirectory()) return [path];
  const names = (await readdir(path)).filter((name) => REPORT.test(name));
  return names
    .sort()
    .slice(-MOST_REPORTS)
    .map((name) => join(path, name));
}

/** What a file holds; empty when it is far too long to be a report. */
async function textIn(file: string): Promise<string> {
  const { size } = await stat(file);
  return size > MOST_BYTES ? "" : readFile(file, "utf8");
}

/** The success that a report tells of; undefined when it is no report, or what it tells of did not stay one. */
function successOf(text: string): Success | undefined {
  const head = parseReportHead(text);
  if (head?.status !== "SUCCEEDED") return undefined;
  const at = Date.parse(head.endedAt ?? "");
  return Number.isNaN(at) ? undefined : { at, environment: head.environment, version: head.version };
}
