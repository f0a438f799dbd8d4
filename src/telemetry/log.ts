/**
 * The log: one JSON object a line, with pino's field names (`level` as a number, `time`, `msg`), so that every tool that reads pino's
 * lines reads these.
 *
 * What is logged comes in part from clients, upstreams and broken disks. So no value can break out of its line (control characters, the
 * C1 range and direction marks are escaped), none can make the program fail (a cycle, a BigInt, a getter that throws), none is unbounded; and a
 * secret prints as its wrapper says, `[redacted]`.
 */

import type { Clock, Log, LogFields } from "../engine/ports.ts";

/** Pino's numbers. */
const LEVELS = { debug: 20, info: 30, warn: 40, error: 50, silent: 100 } as const;

/** The least level that is written; `silent` writes nothing. */
export type LogLevel = keyof typeof LEVELS;

/** Every level, from the chattiest. */
export const LOG_LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error", "silent"];

const LONGEST_TEXT = 8192;
const DEEPEST = 8;
const MOST_ENTRIES = 1000;
const RESERVED: ReadonlySet<string> = new Set(["level", "time", "msg"]);

/**
 * A log that hands each line, with its newline, to `write`. A field named `level`, `time` or `msg` gets an underscore behind its name.
 * An error of `write` is swallowed: there is nobody left to tell.
 */
export function createLog(write: (line: string) => void, clock: Clock, level: LogLevel): Log {
  const least = LEVELS[level];
  const at = (name: Exclude<LogLevel, "silent">) => (message: string, fields?: LogFields) => {
    if (LEVELS[name] < least) return;
    try {
      write(lineOf(LEVELS[name], clock.wall(), message, fields));
    } catch {
      // A closed pipe or a full disk must not stop what was being logged about.
    }
  };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

function lineOf(level: number, time: number, message: string, fields: LogFields | undefined): string {
  const line: [string, unknown][] = [
    ["level", level],
    ["time", Math.round(time)],
  ];
  for (const key of fields === undefined ? [] : Object.keys(fields)) {
    line.push([RESERVED.has(key) ? `${key}_` : key, plainField(fields, key)]);
  }
  line.push(["msg", cut(message)]);
  return `${escapeControls(JSON.stringify(Object.fromEntries(line)))}\n`;
}

function plainField(fields: LogFields | undefined, key: string): unknown {
  try {
    return plain(fields?.[key], []);
  } catch {
    return "[unreadable]";
  }
}

/** `value` as something JSON can say; `above` holds the objects it stands in, to see a cycle. */
function plain(value: unknown, above: readonly object[]): unknown {
  if (typeof value === "string") return cut(value);
  if (typeof value === "bigint") return value.toString();
  if (typeof value === "symbol" || typeof value === "function") return `[${typeof value}]`;
  if (typeof value === "number" && !Number.isFinite(value)) return String(value);
  if (typeof value !== "object" || value === null) return value;
  if (above.includes(value)) return "[circular]";
  if (above.length >= DEEPEST) return "[too deep]";
  if (value instanceof Error) return errorOf(value, above);
  if ("toJSON" in value && typeof value.toJSON === "function") {
    return plain(value.toJSON(""), [...above, value]);
  }
  return contentOf(value, [...above, value]);
}

function contentOf(value: object, above: readonly object[]): unknown {
  if (Array.isArray(value) || value instanceof Set) {
    return [...value].slice(0, MOST_ENTRIES).map((each) => plain(each, above));
  }
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  const entries: Iterable<readonly [unknown, unknown]> = value instanceof Map ? value : Object.entries(value);
  return Object.fromEntries(
    [...entries].slice(0, MOST_ENTRIES).map(([key, each]) => [cut(String(key)), plain(each, above)]),
  );
}

function errorOf(error: Error, above: readonly object[]): unknown {
  const code = "code" in error ? { code: plain(error.code, [...above, error]) } : {};
  return { type: error.name, message: cut(error.message), ...code };
}

function cut(text: string): string {
  return text.length <= LONGEST_TEXT ? text : `${text.slice(0, LONGEST_TEXT)}… (${text.length} characters)`;
}

/** JSON escapes what is below U+0020 itself; this adds DEL, C1, the line separators and the marks that turn the direction of text. */
function escapeControls(json: string): string {
  return json.replace(
    /[\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
