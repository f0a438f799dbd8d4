/** Gates: what people must grant before a step is left. The rules within a gate are the domain's (`checkGate`), asked for every plan. */

import { z } from "zod";
import type { GateSpec } from "../domain/signatures.ts";
import { none } from "./shape.ts";
import { name } from "./texts.ts";
import { positiveDuration } from "./units.ts";

/** A gate as written. */
export const gate = z.strictObject({
  roles: z
    .array(name)
    .max(20)
    .default([])
    .meta({
      description: "each must sign, once; a token may sign for the roles that it has",
      examples: [["deployment-lead", "on-call"]],
    }),
  acknowledge: z
    .array(name)
    .max(20)
    .default([])
    .meta({
      description: "each must say that it has seen it, and cannot stop it",
      examples: [["stakeholders"]],
    }),
  checklist: z
    .array(name)
    .max(50)
    .default([])
    .meta({ description: "each must be ticked", examples: [["dashboards-ready", "on-call-assigned"]] }),
  expires: z
    .union([none, positiveDuration])
    .prefault("none")
    .meta({ description: "signatures and ticks count for so long" }),
  samePerson: z
    .boolean()
    .default(false)
    .meta({ description: "whether one person may sign for several roles" }),
  health: z.boolean().default(false).meta({
    description:
      "whether every check of `sluice health` must pass as well: the step is not left while one fails",
  }),
});

/** The gate in the domain's form. */
export function gateOf({ expires, health, ...rest }: z.output<typeof gate>): GateSpec {
  return { ...rest, expiresMs: expires === "none" ? null : expires, ...(health ? { health } : {}) };
}
