/** What people send who move a rollout, or grant, refuse or bend a step: the bodies of those calls, and the commands that they mean. Pure. */

import { z } from "zod";
import { force, percent, reason, startSchema } from "../config/start.ts";
import { name } from "../config/texts.ts";
import { positiveDuration } from "../config/units.ts";
import type { Command } from "../domain/rollout-types.ts";
import type { Answer } from "../domain/signatures.ts";

/** Whoever forces something says why. */
const isAccounted = (input: { force?: boolean | undefined; reason?: string | undefined }): boolean =>
  input.force !== true || input.reason !== undefined;
const UNACCOUNTED = { error: "to force needs a reason", path: ["reason"] };

const reasoned = { reason: reason.optional() };

/** A weight set by hand. */
export const weightInput = z
  .strictObject({ weight: percent, force: force.optional(), ...reasoned })
  .refine(isAccounted, UNACCOUNTED)
  .meta({ id: "SetWeight", description: "a weight set by hand" });
/** Only why. */
export const whyInput = z.strictObject(reasoned).meta({ id: "Why", description: "why" });
/** To the next step. */
export const promoteInput = z
  .strictObject({
    step: z
      .int()
      .min(0)
      .max(1000)
      .optional()
      .meta({ description: "the step that was seen: if it is another by now, the call is refused" }),
    full: z.boolean().optional().meta({ description: "to the last weight of the plan at once" }),
    force: z
      .boolean()
      .optional()
      .meta({ description: "over a gate, a window, a freeze or checks that failed; needs a reason" }),
    ...reasoned,
  })
  .refine(isAccounted, UNACCOUNTED)
  .meta({ id: "Promote", description: "to the next step, because a person says so" });
/** What would be rolled out. */
export const preflightInput = z
  .strictObject({ version: startSchema.shape.version })
  .meta({ id: "PreflightRequest", description: "what would be rolled out" });
/** Back to stable. */
export const rollbackInput = z
  .strictObject(reasoned)
  .meta({ id: "Rollback", description: "everything back to stable" });

const step = z.int().min(0).meta({
  description:
    "index of the step that you saw; another one by now is refused, so that nobody signs the wrong step",
});
const role = name.meta({ description: "in which role", examples: ["deployment-lead"] });

/** A signature. */
export const approveInput = z
  .strictObject({
    step,
    role,
    checklist: z.array(name).max(50).optional().meta({ description: "items that are done" }),
    reason: reason.optional(),
  })
  .meta({ id: "Approve", description: "a role signs, or acknowledges" });

/** A no. */
export const rejectInput = z
  .strictObject({
    step,
    role,
    answer: z
      .enum(["extend", "hold", "stepBack", "rollback"])
      .default("hold")
      .meta({ description: "what is to happen instead of the raise" }),
    extend: positiveDuration
      .optional()
      .meta({ description: "with `extend`: by how much", examples: ["24h"] }),
    reason,
  })
  .refine(({ answer, extend }) => (answer === "extend") === (extend !== undefined), {
    error: "goes with the answer `extend`, which needs it",
    path: ["extend"],
  })
  .meta({ id: "Reject", description: "a role says no" });

/** More hold. */
export const extendInput = z
  .strictObject({
    by: positiveDuration.meta({ description: "how much longer", examples: ["24h"] }),
    reason: reason.optional(),
  })
  .meta({ id: "Extend", description: "more time at the present step" });

/** Once more. */
export const retryInput = z
  .strictObject({ force: force.optional(), reason: reason.optional() })
  .refine(isAccounted, UNACCOUNTED)
  .meta({ id: "Retry", description: "again after a rollback, or the checks before a step once more" });

/** The command of a signature. */
export function approval(input: z.output<typeof approveInput>): Command {
  const { step: index, role: as, checklist = [], reason: why = "" } = input;
  return { type: "approve", step: index, role: as, items: checklist, reason: why };
}

/** The command of a no. */
export function rejection(input: z.output<typeof rejectInput>): Command {
  const { step: index, role: as, answer, extend, reason: why } = input;
  const instead: Answer =
    answer === "extend" && extend !== undefined
      ? { type: "extend", byMs: extend }
      : { type: answer === "extend" ? "hold" : answer };
  return { type: "reject", step: index, role: as, answer: instead, reason: why };
}
