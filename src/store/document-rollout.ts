/** A rollout in the state document: the gate that what is read must pass. Pure. */

import { z } from "zod";
import { ALERT_SEVERITIES } from "../domain/alert-rule.ts";
import { WEEKDAYS, isTimeZone } from "../domain/civil.ts";
import { MANUAL_WEIGHT, NO_PROGRESS, STABLE_SICK } from "../domain/rollout-move.ts";
import { PAUSE_STEP } from "../domain/rollout-tick.ts";
import { PHASES, STANDS_FOR, type Phase, type StandsFor } from "../domain/rollout-types.ts";
import { FULL, millis, ppm } from "../domain/units.ts";
import type { RecordedEvidence, RecordedState } from "../engine/ports.ts";
import {
  evidenceLater,
  evidenceNow,
  withToldLater,
  withToldNow,
  writtenEvidence,
  writtenTold,
} from "./document-parts.ts";

export const weight = z.int().min(0).max(FULL).transform(ppm);
export const duration = z.number().min(0).transform(millis);

const trips = z.array(z.number().min(0)).max(100);
/** Since when, in time in service. */
const confirmation = z.discriminatedUnion("phase", [
  z.object({ phase: z.literal("armed"), trips }),
  z.object({ phase: z.literal("tripped"), untilMs: z.number().min(0), trips }),
  z.object({ phase: z.literal("probing"), sinceMs: z.number().min(0), responses: z.int().min(0), trips }),
]);

const shown = z.boolean();
const success = z
  .array(
    z.union([
      z.object({ metric: z.literal("error_rate"), below: weight, shown }),
      z.object({ metric: z.enum(["p50", "p95", "p99"]), below: duration, shown }),
    ]),
  )
  .exactOptional();
const promotion = z.object({ notWorseBy: weight, leastMs: duration }).exactOptional();
const yes = z.literal(true).exactOptional();
const names = z.array(z.string());
const gateSpec = z
  .object({
    roles: names,
    acknowledge: names,
    checklist: names,
    expiresMs: duration.nullable(),
    samePerson: z.boolean(),
    health: yes,
  })
  .exactOptional();
export const step = z.object({
  weight,
  holdMs: duration,
  bake: z.boolean(),
  checkpointMs: duration.exactOptional(),
  critical: yes,
  preflight: yes,
  pause: yes,
  gate: gateSpec,
  success,
  promotion,
  holdback: weight.exactOptional(),
  calm: z.enum(ALERT_SEVERITIES).exactOptional(),
  healthy: yes,
});

const said = { by: z.string(), atMs: z.number(), comment: z.string() };
const gate = z.object({
  step: z.int().min(0),
  signatures: z.array(z.object({ role: z.string(), ...said })),
  ticks: z.array(z.object({ item: z.string(), ...said })),
});
const progress = z.object({
  gate: gate.nullable(),
  isGateOpen: z.boolean(),
  extendedMs: duration,
  checkpointInMs: duration.nullable(),
  preflight: z.object({ passed: z.boolean(), words: z.string() }).nullable(),
  isResumed: z.boolean(),
  isConfirmed: z.boolean().prefault(false),
});
export const windows = z.array(
  z.object({
    from: z.int().min(0),
    to: z.int().min(0),
    weekdays: z.array(z.enum(WEEKDAYS)),
    timezone: z.string().refine(isTimeZone, "not a time zone"),
  }),
);

/** A rollout's fields as they are written. */
const fields = {
  id: z.string(),
  phase: z.custom<Phase>((value) => PHASES.some((phase) => phase === value), "not a phase"),
  step: z.int().min(0),
  steps: z.array(step),
  weight,
  heldMs: duration,
  clocks: z.record(z.string(), duration),
  cooldownLeftMs: duration,
  verifyLeftMs: duration,
  progress,
  windows,
  startsAtMs: z.number().min(0),
  scheduled: z.object({ by: z.string(), reason: z.string() }).nullable(),
  servedMs: duration,
  confirmation,
  trippedFrom: weight,
  reason: z.string(),
  standsFor: z.enum(STANDS_FOR).nullable().exactOptional(),
  version: z.string(),
  revision: z.int().min(0),
  startedAt: z.string(),
};

function isInItsPlan(state: { readonly steps: readonly unknown[]; readonly step: number }): boolean {
  return state.steps.length === 0 || state.step < state.steps.length;
}

/** A rollout as it is written. */
export const writtenRollout = z
  .object({
    ...fields,
    // Documents of before have none of these.
    progress: progress.prefault({ ...NO_PROGRESS, gate: null, preflight: null }),
    windows: windows.prefault([]),
    startsAtMs: fields.startsAtMs.prefault(0),
    scheduled: fields.scheduled.prefault(null),
    servedMs: duration.prefault(0),
    confirmation: confirmation.prefault({ phase: "armed", trips: [] }),
    trippedFrom: weight.prefault(0),
    evidence: writtenEvidence.optional().catch(undefined),
    ...writtenTold,
  })
  .refine(isInItsPlan, { message: "there is no such step in the plan", path: ["step"] });

/** Documents of before have the words alone, and with them the program meant what it now says in `standsFor`. */
const SAID: ReadonlyMap<string, StandsFor> = new Map([
  [MANUAL_WEIGHT, "manual_weight"],
  [PAUSE_STEP, "person"],
  [STABLE_SICK, "sick_stable"],
]);

/** How what is packed is read. */
interface Reading {
  readonly evidence: (written: z.output<typeof writtenEvidence>) => RecordedEvidence | undefined;
  readonly told: typeof withToldNow;
}
const NOW: Reading = { evidence: evidenceNow, told: withToldNow };
const LATER: Reading = { evidence: evidenceLater, told: withToldLater };

const rolloutSchema = (reading: Reading) =>
  writtenRollout.transform(({ evidence: written, notices, bulletins, alerts, ...rest }): RecordedState => {
    const evidence = written === undefined ? undefined : reading.evidence(written);
    const { reason, standsFor = SAID.get(reason) ?? null } = rest;
    const state = { ...rest, standsFor, ...(evidence === undefined ? {} : { evidence }) };
    return reading.told(state, { notices, bulletins, alerts });
  });

/** A rollout that is read with all that is beside it. */
export const rolloutNow = rolloutSchema(NOW);
/** One that is read without what is packed beside it, until that is asked for. */
export const rolloutLater = rolloutSchema(LATER);

const CHANGES: ReadonlyMap<string, z.ZodType> = new Map(Object.entries(fields));
/** What is packed beside a rollout. */
const packed = z.object({
  evidence: writtenEvidence.exactOptional(),
  notices: z.string().exactOptional(),
  bulletins: z.string().exactOptional(),
  alerts: z.string().exactOptional(),
});
const PACKED: ReadonlySet<string> = new Set(Object.keys(packed.shape));

/**
 * A rollout after some of its fields have changed: what is packed beside it is taken over from `before` as it is, packed or not.
 *
 * @param set fields as they are written; those of another version of this program are left out
 * @param unset names of fields that are gone
 * @returns undefined when it is no rollout any more
 */
export function rolloutAfter(
  before: RecordedState,
  set: Readonly<Record<string, unknown>>,
  unset: readonly string[],
): RecordedState | undefined {
  if (unset.some((name) => CHANGES.has(name) && name !== "standsFor")) return undefined;
  const beside = packed.safeParse(set);
  if (!beside.success) return undefined;
  const state: Record<string, unknown> = {};
  for (const name of Object.keys(before) as (keyof RecordedState)[]) {
    if (unset.includes(name)) continue;
    // With its getter, where there is one.
    if (PACKED.has(name)) Object.defineProperty(state, name, Object.getOwnPropertyDescriptor(before, name)!);
    else state[name] = before[name];
  }
  // One by one: most are as they were.
  for (const [name, value] of Object.entries(set)) {
    const checked = CHANGES.get(name)?.safeParse(value);
    if (checked?.success === false) return undefined;
    if (checked !== undefined) state[name] = checked.data;
  }
  const { evidence, ...told } = beside.data;
  if (evidence !== undefined) state["evidence"] = evidenceLater(evidence);
  // It was one, and what has changed is of its kind.
  const after = withToldLater(state as unknown as RecordedState, told);
  return isInItsPlan(after) ? after : undefined;
}
