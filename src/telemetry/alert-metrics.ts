/** The metrics of alerts. Labels are severities and metrics that have a target: closed sets. */

import { ALERT_SEVERITIES } from "../domain/alert-rule.ts";
import type { RouteStatus } from "../engine/status.ts";
import type { Sample } from "./samples.ts";
import type { Metric } from "./snapshot.ts";

function bySeverity(
  { name, alerts }: RouteStatus,
  isCounted: (alert: RouteStatus["alerts"][number]) => boolean,
) {
  return ALERT_SEVERITIES.map((severity): Sample => ({
    labels: { route: name, severity },
    value: alerts.filter((each) => each.severity === severity && isCounted(each)).length,
  }));
}

/** Every metric of alerts. */
export const ALERT_METRIC_TABLE: readonly Metric[] = [
  {
    name: "sluice_alerts_open",
    help: "Alerts that are open, by severity.",
    type: "gauge",
    labels: ["route", "severity"],
    unit: "",
    read: ({ routes }) => routes.flatMap((route) => bySeverity(route, () => true)),
  },
  {
    name: "sluice_alerts_unanswered",
    help: "Alerts that are open, of which people were told, and that nobody has acknowledged.",
    type: "gauge",
    labels: ["route", "severity"],
    unit: "",
    read: ({ routes }) =>
      routes.flatMap((route) =>
        bySeverity(
          route,
          ({ id, acknowledged, muted }) => id !== "" && acknowledged === null && muted === null,
        ),
      ),
  },
  {
    name: "sluice_target_met",
    help: "1 when the canary's metric meets its target, 0 when not; absent without enough data.",
    type: "gauge",
    labels: ["route", "metric"],
    unit: "",
    read: ({ routes }) =>
      routes.flatMap(({ name, targets }) =>
        targets.flatMap(({ metric, met }) =>
          met === null ? [] : [{ labels: { route: name, metric }, value: Number(met) }],
        ),
      ),
  },
];
