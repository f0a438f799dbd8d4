/** The rows of the admin API about the safety switches, and the shapes of what they answer. */

import { z } from "zod";
import { reason } from "../config/start.ts";
import { name } from "../config/texts.ts";
import type { SafetyState, Switch } from "../domain/safety.ts";
import { nothing, problemOf, read, row, type Call, type Reply } from "./row.ts";
import { throws } from "./shapes.ts";

const input = z
  .strictObject({
    on: z.boolean().meta({ description: "true: thrown; false: taken back" }),
    route: name.optional().meta({ description: "this route only; left out: all routes" }),
    reason: reason.optional(),
  })
  .meta({ id: "Turn", description: "a safety switch, on or off" });

const stateShape: z.ZodType<SafetyState> = z
  .strictObject({ all: throws, routes: z.record(z.string(), throws) })
  .meta({ id: "Safety", description: "every safety switch that is on: for all routes, and for single ones" });

const turned = z
  .strictObject({
    safety: stateShape,
    recorded: z.boolean().meta({ description: "false: it is in force, and could not be recorded yet" }),
  })
  .meta({ id: "Turned", description: "the safety switches as they are now" });

/** What was done with a switch. */
type Turned = z.output<typeof turned>;

function turn(which: Switch, summary: string) {
  return row({
    method: "POST",
    path: `/v1/safety/${which}`,
    scope: "operate",
    summary,
    input,
    query: nothing,
    output: turned,
    statuses: [200],
    async handle({
      sources,
      actor,
      input: asked,
    }: Call<z.output<typeof input>, unknown>): Promise<Reply<Turned>> {
      const { on, route = null } = asked;
      // A reason that is missing must not hold up an outage.
      const order = { which, on, route, reason: asked.reason ?? "manual", actor };
      const result = await sources.control.safety.turn(order);
      if (!result.ok) return problemOf(result);
      return { kind: "json", status: 200, body: { safety: result.state, recorded: result.recorded } };
    },
  });
}

/** The rows, by operation id. */
export const SAFETY_ROWS = {
  safety: read({
    path: "/v1/safety",
    summary: "Every safety switch that is on",
    output: stateShape,
    handle({ sources }): Reply<SafetyState> {
      return { kind: "json", status: 200, body: sources.control.safety.state };
    },
  }),
  emergency: turn("emergency", "Everything to stable, or to the configured answer; nothing rises"),
  readOnly: turn("read-only", "Requests that write get 503 and Retry-After"),
  maintenance: turn("maintenance", "Everybody but allowed networks and paths gets the maintenance page"),
} as const;
