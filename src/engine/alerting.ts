/** The alerts and silences of all routes, as people see them and answer them. */

import type { AlertSeverity } from "../domain/alert-rule.ts";
import type { Silence } from "../domain/alert-silence.ts";
import type { Refusal } from "../domain/refusal.ts";
import { refused } from "../domain/refusal.ts";
import type { Millis } from "../domain/units.ts";
import type { Clock, Dice } from "./ports.ts";
import type { RouteControl } from "./route-control.ts";
import type { AlertStatus, SilenceStatus } from "./status.ts";

/** What came of an answer. */
export type AlertResult<T> = { readonly ok: true; readonly value: T } | Refusal;

/** A silence as a person asks for it. */
export interface SilenceRequest {
  readonly route: string;
  /** Null: any. */
  readonly severity: AlertSeverity | null;
  /** A metric or an event; null: any. */
  readonly metric: string | null;
  readonly forMs: Millis;
  readonly reason: string;
}

/** Reads and answers. What was answered is in force at once, and recorded when its promise resolves. */
export interface Alerting {
  /** Those that are open, the worst of each route first; of one route when named. */
  open(route?: string): readonly AlertStatus[];
  /** A person has seen it: neither repeated nor escalated from now on. */
  acknowledge(id: string, by: string, comment: string): Promise<AlertResult<readonly AlertStatus[]>>;
  /** A person says that an event is over. */
  resolve(id: string, by: string, comment: string): Promise<AlertResult<readonly AlertStatus[]>>;
  silences(route?: string): readonly SilenceStatus[];
  silence(request: SilenceRequest, by: string): Promise<AlertResult<SilenceStatus>>;
  unsilence(id: string, by: string): Promise<AlertResult<SilenceStatus>>;
}

/** What answers work with. */
export interface AlertingParts {
  readonly routes: () => readonly RouteControl[];
  readonly clock: Pick<Clock, "wall">;
  readonly dice: Pick<Dice, "token">;
  /** Whether answers are this replica's to record. */
  readonly leads: () => boolean;
}

const NOT_HERE = refused(
  "SPLIT_NO_LEADER",
  "alerts are answered and silenced at the replica that leads, and this one does not",
);
const UNRECORDED = "it is in force, and could not be recorded: a restart would forget it";

/** The alerts of all routes. */
export function alertingOf({ routes, clock, dice, leads }: AlertingParts): Alerting {
  const named = (name: string | undefined): readonly RouteControl[] =>
    routes().filter(({ config }) => name === undefined || config.name === name);

  /** Records what was done to `route`'s alerts, and answers with `value`. */
  async function kept<T>(route: RouteControl, value: T): Promise<AlertResult<T>> {
    return (await route.recordAlerts()) ? { ok: true, value } : refused("SPLIT_STATE_UNWRITABLE", UNRECORDED);
  }

  async function answered(
    id: string,
    answer: (route: RouteControl) => Refusal | undefined,
  ): Promise<AlertResult<readonly AlertStatus[]>> {
    if (!leads()) return NOT_HERE;
    const route = routes().find(({ alerts }) => alerts.has(id));
    if (route === undefined) return refused("SPLIT_NOT_FOUND", "no alert of this id is open");
    const refusal = answer(route);
    return refusal ?? kept(route, route.alerts.open);
  }

  return {
    open: (name) => named(name).flatMap(({ alerts }) => alerts.open),
    acknowledge: (id, by, comment) =>
      answered(id, ({ alerts }) => {
        alerts.acknowledge(id, { by, comment, wall: clock.wall() });
        return undefined;
      }),
    resolve: (id, by, comment) =>
      answered(id, ({ alerts }) => alerts.resolve(id, { by, comment, wall: clock.wall() })),
    silences: (name) =>
      named(name).flatMap(({ config, alerts }) => alerts.silences.map((each) => shown(config.name, each))),
    async silence({ route: name, ...order }, by) {
      if (!leads()) return NOT_HERE;
      const [route] = named(name);
      if (route === undefined) return refused("SPLIT_NOT_FOUND", "there is no route of this name");
      // A name that does not begin like an option.
      const made = route.alerts.silence(`s-${dice.token(9)}`, { ...order, by });
      return "ok" in made ? made : kept(route, shown(name, made));
    },
    async unsilence(id, by) {
      if (!leads()) return NOT_HERE;
      for (const route of routes()) {
        const silence = route.alerts.unsilence(id, by);
        if (silence !== undefined) return kept(route, shown(route.config.name, silence));
      }
      return refused("SPLIT_NOT_FOUND", "there is no silence of this id");
    },
  };
}

function shown(route: string, { untilMs, atMs, ...silence }: Silence): SilenceStatus {
  return {
    ...silence,
    route,
    until: new Date(untilMs).toISOString(),
    at: new Date(atMs).toISOString(),
  };
}
