/** This program's own lines: see `AccessLine`. */

import type { AccessLine } from "../domain/access-line.ts";
import { REASON_INDEX } from "../domain/outcome.ts";
import type { Line } from "./line.ts";
import { isStatus, reasonOf } from "./line.ts";

type Unsure = Partial<Record<keyof AccessLine, unknown>>;

/** Reads one line. */
export function readJson(bytes: Buffer, from: number, to: number, line: Line): string {
  let read: unknown;
  try {
    read = JSON.parse(bytes.toString("utf8", from, to));
  } catch {
    return "it is not JSON";
  }
  if (typeof read !== "object" || read === null || Array.isArray(read)) return "it is not a JSON object";
  return take(read, line);
}

function take(read: Unsure, line: Line): string {
  const at = timeOf(read.time);
  const wrong = at === undefined ? "`time` is not a date" : wrongIn(read);
  if (wrong !== "" || at === undefined) return wrong;
  // Looked at just now.
  const { status, arm, ms, reason, forced } = read as Pick<
    AccessLine,
    "status" | "arm" | "ms" | "reason" | "forced"
  >;
  line.at = at;
  line.status = status;
  line.arm = arm ?? "";
  line.latencyUs = typeof ms === "number" ? ms * 1000 : -1;
  line.reason = reason ?? reasonOf(status);
  line.route = textOf(read.route);
  line.key = textOf(read.key);
  line.forced = forced === true;
  if (line.reason === "ok") return "";
  line.method = textOf(read.method);
  line.target = textOf(read.path);
  line.traceId = textOf(read.traceId);
  return "";
}

function timeOf(time: unknown): number | undefined {
  const at = typeof time === "string" ? Date.parse(time) : time;
  return typeof at === "number" && Number.isFinite(at) ? at : undefined;
}

/** What is wrong with the fields that count; empty when nothing is. */
function wrongIn({ status, arm, ms, reason }: Unsure): string {
  if (typeof status !== "number" || (status !== 0 && !isStatus(status)))
    return "`status` is not 0 or a number from 100 to 599";
  if (arm !== undefined && arm !== "stable" && arm !== "canary") return "`arm` is not stable or canary";
  const isUnknown = ms === undefined || ms === null;
  if (!isUnknown && !(typeof ms === "number" && ms >= 0)) return "`ms` is not a number, 0 or more";
  if (reason === undefined) return status === 0 ? "`status` is 0, and no `reason` says why" : "";
  const isOne = typeof reason === "string" && Object.hasOwn(REASON_INDEX, reason);
  return isOne ? "" : "`reason` is not a known one";
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}
