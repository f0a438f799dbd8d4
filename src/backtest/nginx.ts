/**
 * NGINX's access log: the combined format with `$request_time $upstream_addr` behind it, or any other `log_format`.
 *
 * What NGINX tried again is told of its first attempt, as the product judges: that one is evidence about its arm, whatever the client got in
 * the end.
 */

import type { Line, Reader } from "./line.ts";
import { isStatus, reasonOf } from "./line.ts";
import { isoTime, localTime } from "./dates.ts";
import { compile, decimal, endOfFirst, isNothing, locate, type Template } from "./template.ts";

/** The layout that is taken when none is named; what stands from `$request_time` on may be missing from the end. */
export const NGINX_FORMAT =
  '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"' +
  " $request_time $upstream_addr $upstream_response_time $upstream_status";

const WANTED = [
  "time_local",
  "time_iso8601",
  "msec",
  "request",
  "request_method",
  "request_uri",
  "status",
  "request_time",
  "upstream_addr",
  "upstream_status",
  "upstream_response_time",
  "upstream_header_time",
  "remote_user",
  "http_x_forwarded_for",
  "remote_addr",
] as const;
type Field = (typeof WANTED)[number];

const AT = Object.fromEntries(WANTED.map((name, index) => [name, 2 * index])) as Record<Field, number>;

/** A reader for a `log_format`; undefined when lines of it cannot be read: no time, no status, or fields that nothing separates. */
export function nginxReader(format: string, canaries: ReadonlySet<string>): Reader | undefined {
  const template = compile(format, WANTED, format === NGINX_FORMAT ? "request_time" : "");
  if (template === undefined) return undefined;
  const has = (...names: Field[]): boolean => names.some((name) => template.has[AT[name] / 2] === true);
  if (!has("status", "upstream_status") || !has("time_local", "time_iso8601", "msec")) return undefined;
  return readerOf(template, canaries);
}

function readerOf(template: Template, canaries: ReadonlySet<string>): Reader {
  const found = new Int32Array(2 * WANTED.length);
  let bytes: Buffer = Buffer.alloc(0);
  const isThere = (field: number): boolean => !isNothing(bytes, found[field]!, found[field + 1]!);
  const textOf = (field: number): string =>
    isThere(field) ? bytes.toString("latin1", found[field], found[field + 1]) : "";
  /** The first value of a list as a number; −1 when there is none, NaN when it is no number. */
  const firstOf = (field: number): number => {
    const from = found[field]!;
    const to = from < 0 ? from : endOfFirst(bytes, from, found[field + 1]!);
    return isNothing(bytes, from, to) ? -1 : decimal(bytes, from, to);
  };

  const timeOf = (): number => {
    const local = found[AT.time_local]!;
    if (local >= 0) return localTime(bytes, local, found[AT.time_local + 1]!);
    const iso = found[AT.time_iso8601]!;
    if (iso >= 0) return isoTime(bytes, iso, found[AT.time_iso8601 + 1]!);
    return decimal(bytes, found[AT.msec]!, found[AT.msec + 1]!) * 1000;
  };

  const keyOf = (): string => {
    if (isThere(AT.remote_user)) return textOf(AT.remote_user);
    if (!isThere(AT.http_x_forwarded_for)) return textOf(AT.remote_addr);
    const from = found[AT.http_x_forwarded_for]!;
    return bytes.toString("latin1", from, endOfFirst(bytes, from, found[AT.http_x_forwarded_for + 1]!));
  };

  /** Whose line it is, and whether another attempt followed the first. */
  const addressOf = (line: Line): boolean => {
    const from = found[AT.upstream_addr]!;
    const to = found[AT.upstream_addr + 1]!;
    const end = endOfFirst(bytes, from, to);
    line.arm = canaries.has(bytes.toString("latin1", from, end)) ? "canary" : "stable";
    return end < to;
  };

  /** In seconds. The whole time is not the first attempt's when there was another one. */
  const latencyOf = (isRetried: boolean): number => {
    const whole = firstOf(AT.request_time);
    // What is no number here tells of another layout, so it is looked at even where it is not needed.
    if (Number.isNaN(whole)) return whole;
    const head = firstOf(AT.upstream_header_time);
    if (head !== -1) return head;
    const upstream = firstOf(AT.upstream_response_time);
    if (upstream !== -1) return upstream;
    return isRetried ? -1 : whole;
  };

  /** Takes in whose the line is and how it was answered; what is wrong with it, or an empty text. */
  const take = (line: Line, status: number, first: number): string => {
    const isOurs = template.has[AT.upstream_addr / 2] === true && found[AT.upstream_addr]! >= 0;
    line.arm = "";
    line.status = status;
    line.latencyUs = -1;
    if (isOurs && !isThere(AT.upstream_addr)) {
      // NGINX answered by itself: a redirect, a file, a limit. Of no arm, and no evidence.
      line.reason = status === 499 ? "client_gone" : "refused";
      return "";
    }
    const isRetried = isOurs && addressOf(line);
    const seconds = latencyOf(isRetried);
    if (Number.isNaN(seconds)) return "its times are not numbers";
    line.latencyUs = seconds < 0 ? -1 : seconds * 1e6;
    if (isRetried && !isStatus(first)) {
      // It went on to another one, so this one did not answer.
      line.status = 502;
      line.reason = "connect";
      return "";
    }
    if (isStatus(first) && status !== 499) line.status = first;
    line.reason = reasonOf(line.status);
    return "";
  };

  const takeRequest = (line: Line): void => {
    const [method = "", target = ""] = textOf(AT.request).split(" ", 2);
    line.method = textOf(AT.request_method) || method;
    line.target = textOf(AT.request_uri) || target;
  };

  return (raw, from, to, line) => {
    bytes = raw;
    if (!locate(template, raw, from, to, found)) return "it is not laid out like the log's format";
    line.at = timeOf();
    if (Number.isNaN(line.at)) return "its time cannot be read";
    const sent = firstOf(AT.status);
    const first = firstOf(AT.upstream_status);
    const status = sent === -1 ? first : sent;
    if (!isStatus(status) || Number.isNaN(first)) return "its status is not a number from 100 to 599";
    line.key = keyOf();
    const wrong = take(line, status, first);
    if (wrong === "" && line.reason !== "ok") takeRequest(line);
    return wrong;
  };
}
