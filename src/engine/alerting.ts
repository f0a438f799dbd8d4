/** The alerts and silences of all routes, as people see them and answer them. */

import type { AlertSeverity } from "../domain/alert-rule.ts";
import type { Silence } from "../domain/alert-silence.ts";
import type { Refusal } from "../domain/refusal.ts";
import type { Millis } from "../domain/units.ts";
import type { AnswerKind } from "./answering.ts";
import type { OrderOf, Outcomes } from "./orders.ts";
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

/** The alerts of all routes. @param ask has it carried out by the replica that leads */
export function alertingOf(
  routes: () => readonly RouteControl[],
  ask: <K extends AnswerKind>(order: OrderOf<K>) => Promise<Outcomes[K] | Refusal>,
): Alerting {
  const named = (name: string | undefined): readonly RouteControl[] =>
    routes().filter(({ config }) => name === undefined || config.name === name);
  return {
    open: (name) => named(name).flatMap(({ alerts }) => alerts.open),
    acknowledge: (id, by, comment) => ask({ kind: "acknowledge", id, by, comment }),
    resolve: (id, by, comment) => ask({ kind: "resolve_alert", id, by, comment }),
    silences: (name) =>
      named(name).flatMap(({ config, alerts }) =>
        alerts.silences.map((each) => silenceStatus(config.name, each)),
      ),
    silence: (request, by) => ask({ kind: "silence", request, by }),
    unsilence: (id, by) => ask({ kind: "unsilence", id, by }),
  };
}

/** A silence of a route, as people see it. */
export function silenceStatus(route: string, { untilMs, atMs, ...silence }: Silence): SilenceStatus {
  return {
    ...silence,
    route,
    until: new Date(untilMs).toISOString(),
    at: new Date(atMs).toISOString(),
  };
}
