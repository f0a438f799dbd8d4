/**
 * Carries out a decision's effects, in the order given. That the order is right is the domain's business; that it is kept is this file's.
 *
 * Until the first save everything happens before this returns, so a weight that goes down is down when the caller goes on. A record
 * that fails stops what follows only while the weight is still to be set: then nothing has happened yet. Once it is set, recording is
 * retried behind (house.md §5) and the rest goes on.
 */

import type { Effect, Severity } from "../domain/rollout-types.ts";

/** What effects are carried out with. */
export interface Hands {
  /** False when the decision has been overtaken and must not be put in force. */
  setWeight(): boolean;
  resetWindows(): void;
  resetAlarm(): void;
  closeLongLived(): void;
  save(): Promise<boolean>;
  journal(event: string): Promise<boolean>;
  notify(severity: Severity, event: string): void;
  evidence(): void;
}

/** The same effects, recording before all others: the order of a raise. */
export function recordedFirst(effects: readonly Effect[]): readonly Effect[] {
  const isRecord = ({ type }: Effect): boolean => type === "save" || type === "journal";
  return [...effects.filter(isRecord), ...effects.filter((effect) => !isRecord(effect))];
}

/**
 * Carries out `effects`; resolves false when the decision did not come into force. Rejects only for a bug in a port.
 *
 * @param isRecordedFirst it comes into force by being recorded, although no weight is set
 */
export async function carryOut(
  effects: readonly Effect[],
  hands: Hands,
  isRecordedFirst = false,
): Promise<boolean> {
  const last = effects.findLastIndex(({ type }) => type === (isRecordedFirst ? "save" : "set_weight"));
  for (const [index, effect] of effects.entries()) {
    const done = perform(effect, hands);
    const succeeded = typeof done === "boolean" ? done : await done;
    if (!succeeded && index <= last) return false;
  }
  return true;
}

function perform(effect: Effect, hands: Hands): boolean | Promise<boolean> {
  switch (effect.type) {
    case "set_weight":
      return hands.setWeight();
    case "save":
      return hands.save();
    case "journal":
      return hands.journal(effect.event);
    case "reset_windows":
      hands.resetWindows();
      return true;
    case "reset_alarm":
      hands.resetAlarm();
      return true;
    case "close_long_lived":
      hands.closeLongLived();
      return true;
    case "notify":
      hands.notify(effect.severity, effect.event);
      return true;
    case "evidence":
      hands.evidence();
      return true;
    default:
      return effect satisfies never;
  }
}
