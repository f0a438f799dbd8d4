/**
 * The plans that there are without writing one: `safe` to 100 % in five days, one there and two of bake, with people signing, `fast` and
 * `instant` without. A plan of the same name in the configuration takes its place.
 */

import type { z } from "zod";
import { planSchema, type PlanConfig } from "./plan.ts";

const LEAD = { roles: ["deployment-lead"] };
const BOTH = { roles: ["deployment-lead", "on-call"] };
const GOOD: z.input<typeof planSchema>["success"] = [
  { metric: "error_rate", below: "0.1%" },
  { metric: "p95", below: "200ms" },
  { alerts: "none", severity: "critical" },
  { health: "all" },
];

const WRITTEN: Readonly<Record<string, z.input<typeof planSchema>>> = {
  safe: {
    window: { from: "09:00", to: "10:00" },
    announce: "24h",
    success: GOOD,
    steps: [
      {
        setWeight: "0%",
        preflight: true,
        gate: {
          ...LEAD,
          checklist: [
            "stakeholders-notified",
            "on-call-assigned",
            "dashboards-ready",
            "rollback-plan-reviewed",
          ],
        },
      },
      {
        setWeight: "5%",
        hold: "8h",
        checkpoint: "1h",
        success: [{ metric: "p99", below: "500ms" }],
        gate: LEAD,
      },
      { setWeight: "10%", hold: "12h", checkpoint: "2h", gate: LEAD },
      { setWeight: "25%", hold: "16h", checkpoint: "4h", critical: true, gate: BOTH },
      { setWeight: "50%", hold: "20h", checkpoint: "6h", critical: true, gate: BOTH },
      { setWeight: "75%", hold: "20h", checkpoint: "8h", gate: LEAD },
      { setWeight: "100%", hold: "24h", checkpoint: "12h", critical: true, gate: BOTH },
      {
        bake: "48h",
        checkpoint: "24h",
        gate: { roles: [...BOTH.roles, "platform-lead"], acknowledge: ["stakeholders"] },
      },
    ],
  },
  fast: {
    success: GOOD,
    steps: [
      { setWeight: "0%", preflight: true },
      { setWeight: "25%", hold: "30m", checkpoint: "10m" },
      { setWeight: "50%", hold: "30m", checkpoint: "10m" },
      { setWeight: "100%", hold: "1h", checkpoint: "15m" },
    ],
  },
  instant: {
    promotion: "off",
    steps: [
      { setWeight: "0%", preflight: true },
      { setWeight: "100%", hold: "1h", checkpoint: "10m" },
    ],
  },
};

/** The names of all plans that there are, for people. */
export function planNames(plans: Readonly<Record<string, PlanConfig>>): string {
  return [...new Set([...Object.keys(plans), ...Object.keys(WRITTEN)])].join(", ");
}

/** The plan of this name: the configuration's, or one that comes along; undefined when there is neither. */
export function planNamed(plans: Readonly<Record<string, PlanConfig>>, name: string): PlanConfig | undefined {
  if (Object.hasOwn(plans, name)) return plans[name];
  const written = Object.hasOwn(WRITTEN, name) ? WRITTEN[name] : undefined;
  return written === undefined ? undefined : planSchema.parse(written);
}
