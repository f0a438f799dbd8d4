/** A message as text for people, as every channel that people read shows it. Pure. */

import type { Notice } from "../engine/ports.ts";

/** Lines of a message; more are never shown. */
const MOST_LINES = 30;
const MOST_LINE = 500;

/** `[production] CRITICAL app: rolled back …`: the one line that is seen first. */
export function headOf({ severity, summary }: Notice, environment: string): string {
  return lineOf(`[${environment}] ${severity.toUpperCase()} ${summary}`);
}

/** The lines below the head, which do not repeat it. */
export function bodyOf({ lines, summary }: Notice): readonly string[] {
  const rest = lines[0] === summary ? lines.slice(1) : lines;
  return rest.slice(0, MOST_LINES).map(lineOf);
}

/** A text as one line that drives no terminal, no header and no mark-up. */
export function lineOf(text: string): string {
  const line = text.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]+/gu, " ").trim();
  return line.length > MOST_LINE ? `${line.slice(0, MOST_LINE - 1)}…` : line;
}
