/** Silences: which messages of a route nobody wants to have for a while, who said so and why. They mute messages and nothing else. Pure. */

import type { AlertSeverity } from "./alert-rule.ts";
import { refused, type Refusal } from "./refusal.ts";
import type { Severity } from "./rollout-types.ts";

/** One silence. What it leaves open (null), it takes for any. */
export interface Silence {
  readonly id: string;
  readonly severity: AlertSeverity | null;
  /** A metric or an event. */
  readonly metric: string | null;
  /** Wall-clock milliseconds. */
  readonly untilMs: number;
  readonly reason: string;
  readonly by: string;
  readonly atMs: number;
}

/** More than anybody keeps an eye on. */
const MOST_SILENCES = 50;
/** Longer is no silence any more: then a rule is wrong. */
export const LONGEST_SILENCE_MS = 30 * 86_400_000;

/** Whether one of the silences mutes what has this severity, and is about this, if about anything that has a name. */
export function isMuted(
  silences: readonly Silence[],
  about: { readonly severity: Severity; readonly metric: string | null },
  wall: number,
): boolean {
  return silences.some(
    ({ severity, metric, untilMs }) =>
      untilMs > wall &&
      (severity === null || severity === about.severity) &&
      (metric === null || metric === about.metric),
  );
}

/** The silences with one more, or why there cannot be one. */
export function withSilence(
  silences: readonly Silence[],
  silence: Silence,
): { readonly ok: true; readonly silences: readonly Silence[] } | Refusal {
  if (silence.untilMs <= silence.atMs) return refused("SPLIT_INPUT_INVALID", "a silence ends later than now");
  if (silence.untilMs > silence.atMs + LONGEST_SILENCE_MS)
    return refused("SPLIT_INPUT_INVALID", "a silence lasts 30d at the most");
  if (silences.length >= MOST_SILENCES)
    return refused("SPLIT_INPUT_INVALID", `there are ${MOST_SILENCES} silences of this route already`);
  return { ok: true, silences: [...silences, silence] };
}
