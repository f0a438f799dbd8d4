/**
 * A line of the journal: how it is made, chained and checked. Pure.
 *
 * Each line carries the hash of the one before and its own, over its JSON without `hash`. Whoever changes, drops or inserts a line
 * must rewrite every line after it, and the last hash, once noted elsewhere, gives that away.
 */

import { createHash } from "node:crypto";
import { isRecord } from "../domain/record.ts";
import { percentOf } from "../domain/units.ts";
import type { JournalEntry, JournalLine, JournalPoint } from "../engine/ports.ts";

/** What stands in for the hash before the first line. */
export const FIRST_HASH = "0".repeat(64);

/** Where a chain stands: what the next line needs to know. */
export interface ChainEnd {
  readonly seq: number;
  readonly hash: string;
}

/** The line for `entry` after `end`, at the wall-clock time `wall`. Throws what JSON throws for details that are not JSON. */
export function nextLine(entry: JournalEntry, end: ChainEnd, wall: number): JournalLine {
  const body = {
    seq: end.seq + 1,
    at: new Date(wall).toISOString(),
    event: entry.event,
    route: entry.route,
    rollout: entry.rollout,
    actor: entry.actor,
    reason: entry.reason,
    before: inPercent(entry.before),
    after: inPercent(entry.after),
    ...(entry.details === undefined ? {} : { details: entry.details }),
    prev: end.hash,
  };
  return { ...body, hash: hashOf(body) };
}

function inPercent(point: JournalPoint): JournalLine["before"] {
  return { phase: point.phase, step: point.step, weight: percentOf(point.weight) };
}

function hashOf(body: object): string {
  return createHash("sha256").update(JSON.stringify(body)).digest("hex");
}

/**
 * The index of the first line that does not follow from the one before it or does not match its own hash; −1 when all hold. The lines may be the
 * end of a longer journal: only a line with `seq` 1 must say that nothing was before it.
 */
export function verifyJournal(lines: readonly JournalLine[]): number {
  return lines.findIndex((line, index) => troubleOf(line, lines[index - 1]) !== undefined);
}

/** What is wrong with a line that stands behind `before`, or, without it, first in what is looked at; undefined when nothing is. */
export function troubleOf(line: JournalLine, before: ChainEnd | undefined): string | undefined {
  const { hash, ...body } = line;
  if (hashOf(body) !== hash) return "it was changed: its hash is another one";
  if (before === undefined) {
    const isTorn = line.seq === 1 && line.prev !== FIRST_HASH;
    return isTorn ? "it is the first line, and names a line before it" : undefined;
  }
  if (line.seq !== before.seq + 1) return `line ${line.seq} of the journal comes after line ${before.seq}`;
  return line.prev === before.hash ? undefined : "it does not follow from the line before it";
}

/** The line in a text; undefined when the text is not one. Says nothing about its hash. */
export function parseLine(text: string): JournalLine | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isLine(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

const TEXTS = ["at", "event", "route", "rollout", "actor", "reason"] as const;

function isLine(value: unknown): value is JournalLine {
  if (!isRecord(value)) return false;
  return (
    Number.isSafeInteger(value["seq"]) &&
    TEXTS.every((name) => typeof value[name] === "string") &&
    isPoint(value["before"]) &&
    isPoint(value["after"]) &&
    isHash(value["prev"]) &&
    isHash(value["hash"])
  );
}

function isPoint(value: unknown): boolean {
  return (
    isRecord(value) &&
    typeof value["phase"] === "string" &&
    typeof value["step"] === "number" &&
    typeof value["weight"] === "number"
  );
}

function isHash(value: unknown): boolean {
  return typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
}
