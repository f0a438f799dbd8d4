/** What people say to alerts and incidents, carried out. What was said is in force at once, and recorded when its promise resolves. */

import { refused, type Refusal } from "../domain/refusal.ts";
import { silenceStatus, type AlertResult } from "./alerting.ts";
import type { Handlers, OrderKind } from "./orders.ts";
import type { Clock, Dice } from "./ports.ts";
import type { RouteControl } from "./route-control.ts";
import type { AlertStatus } from "./status.ts";

/** What people say. */
export type AnswerKind = Exclude<OrderKind, "command">;

/** What it works with. */
export interface AnsweringParts {
  readonly routes: () => readonly RouteControl[];
  readonly clock: Pick<Clock, "wall">;
  readonly dice: Pick<Dice, "token">;
}

const UNRECORDED = "it is in force, and could not be recorded: a restart would forget it";

/** Who carries out what people say; it is for the replica that keeps the record. */
export function answering({ routes, clock, dice }: AnsweringParts): Handlers<AnswerKind> {
  /** Records what was done to `route`'s alerts, and answers with `value`. */
  async function kept<T>(route: RouteControl, value: T): Promise<AlertResult<T>> {
    return (await route.recordAlerts()) ? { ok: true, value } : refused("SPLIT_STATE_UNWRITABLE", UNRECORDED);
  }

  async function answered(
    id: string,
    answer: (route: RouteControl) => Refusal | undefined,
  ): Promise<AlertResult<readonly AlertStatus[]>> {
    const route = routes().find(({ alerts }) => alerts.has(id));
    if (route === undefined) return refused("SPLIT_NOT_FOUND", "no alert of this id is open");
    return answer(route) ?? kept(route, route.alerts.open);
  }

  return {
    acknowledge: ({ id, by, comment }) =>
      answered(id, ({ alerts }) => {
        alerts.acknowledge(id, { by, comment, wall: clock.wall() });
        return undefined;
      }),
    resolve_alert: ({ id, by, comment }) =>
      answered(id, ({ alerts }) => alerts.resolve(id, { by, comment, wall: clock.wall() })),
    async silence({ request: { route: name, ...request }, by }) {
      const route = routes().find(({ config }) => config.name === name);
      if (route === undefined) return refused("SPLIT_NOT_FOUND", "there is no route of this name");
      // A name that does not begin like an option.
      const made = route.alerts.silence(`s-${dice.token(9)}`, { ...request, by });
      return "ok" in made ? made : kept(route, silenceStatus(name, made));
    },
    async unsilence({ id, by }) {
      for (const route of routes()) {
        const silence = route.alerts.unsilence(id, by);
        if (silence !== undefined) return kept(route, silenceStatus(route.config.name, silence));
      }
      return refused("SPLIT_NOT_FOUND", "there is no silence of this id");
    },
    async resolve_incident({ id, by, how }) {
      for (const route of routes()) {
        const known = route.incidents.find((each) => each.id === id);
        // Asked twice is done once.
        if (known !== undefined)
          return { ok: true, value: (await route.resolveIncident(id, by, how)) ?? known };
      }
      return refused("SPLIT_NOT_FOUND", "there is no incident of this id");
    },
  };
}
