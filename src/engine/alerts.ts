/**
 * One route's alerts, kept in step with what the judge reads: looked at once a second, told through the notifier, written into the journal.
 *
 * Nothing here stands in a decision's way. What is to be said is gathered while one is made and said after it was carried out, and trouble in here
 * is logged and goes no further. Silences mute messages alone: what happens, happens, and is in the journal.
 */

import type { RouteConfig } from "../config/schema.ts";
import {
  actionOf,
  alertMessage,
  incidentKey,
  targetWords,
  zoneWords,
  type TargetReading,
} from "../domain/alert-message.ts";
import { alertRules, type AlertEvent, type AlertSeverity, type Target } from "../domain/alert-rule.ts";
import { alertSights, limitOf, lastingCheck, type AlertReadings } from "../domain/alert-sight.ts";
import { isMuted, withSilence, type Silence } from "../domain/alert-silence.ts";
import {
  NO_ALERTS,
  acknowledge,
  openEvent,
  passAlerts,
  resolve,
  type Alert,
  type AlertNews,
  type AlertEntry,
  type AlertPolicy,
  type AlertState,
  type AlertStep,
  type Answered,
  type Incident,
} from "../domain/alert.ts";
import { measuredBy } from "../domain/judge.ts";
import type { SuccessLimit } from "../domain/plan.ts";
import type { Surroundings } from "../domain/promotion.ts";
import { refused, type Refusal } from "../domain/refusal.ts";
import type { Check } from "../domain/rule.ts";
import { isClimbing } from "../domain/rollout-move.ts";
import type { Accepted, RolloutState } from "../domain/rollout-types.ts";
import { NONE, millis, percentOf, type Millis } from "../domain/units.ts";
import type { Clock, Log, Notice, Notifier, RecordedState } from "./ports.ts";
import type { Recorder } from "./recorder.ts";
import type { AlertStatus } from "./status.ts";

/** What a route's alerts work with. */
export interface AlertPorts {
  readonly environment: () => string;
  readonly recorder: Recorder;
  readonly notifier: Notifier;
  readonly clock: Clock;
  readonly log: Log;
}

/** The window of targets and of what is said about success limits. */
const WINDOW = millis(60_000);
const ENOUGH = 20;

/** What happens to a rollout, as an alert. */
const EVENTS: ReadonlyMap<string, AlertEvent> = new Map([
  ["ROLLBACK_DONE", "rolled_back"],
  ["ROLLBACK_HELD", "rollback_held"],
  ["TRIPPED", "tripped"],
  ["ROLLOUT_PAUSED", "paused"],
  ["VALIDATION_FAILED", "validation_failed"],
]);

/** A silence as somebody asks for it. */
export type SilenceOrder = Pick<Silence, "severity" | "metric" | "reason" | "by"> & {
  readonly forMs: Millis;
};

/** One route's alerts in motion. */
export class AlertKeeper {
  readonly #ports: AlertPorts;
  #config: RouteConfig;
  #policy: AlertPolicy;
  #state: AlertState;
  /** What was recorded last, to see whether there is something new. */
  #recorded: AlertState;
  #rollout: RolloutState;
  #readings: AlertReadings | undefined = undefined;
  #entries: AlertEntry[] = [];
  #news: AlertNews[] = [];

  constructor(
    config: RouteConfig,
    ports: AlertPorts,
    rollout: RolloutState,
    recorded: AlertState = NO_ALERTS,
  ) {
    this.#config = config;
    this.#policy = policyOf(config);
    this.#ports = ports;
    this.#state = recorded;
    this.#recorded = recorded;
    this.#rollout = rollout;
  }

  set config(config: RouteConfig) {
    this.#config = config;
    this.#policy = policyOf(config);
  }

  /** Looks at what was read. Before the judge does: a step may ask that no alert is open. */
  look(rollout: RolloutState, elapsedMs: Millis, readings: AlertReadings): void {
    this.#rollout = rollout;
    this.#readings = readings;
    // What a decision has left to be said.
    this.flush();
    // Of several replicas one keeps the alerts; what it has recorded is known here.
    if (!this.#ports.recorder.leads) return;
    this.#guarded(() => {
      const { onWarning } = this.#config.alerting;
      const isClimb = isClimbing(rollout.phase);
      const moment = {
        elapsedMs,
        wall: this.#ports.clock.wall(),
        rollout: rollout.id,
        counts: onWarning.do === "rollback" ? isClimb || rollout.weight > NONE : isClimb,
      };
      const sights = alertSights(this.#policy.rules, rollout, readings);
      this.#take(passAlerts(this.#state, this.#policy, sights, (alert) => overWhy(alert, rollout), moment));
    });
  }

  /** Another replica has recorded something else. */
  follow(rollout: RolloutState, recorded: AlertState = NO_ALERTS): void {
    this.#rollout = rollout;
    this.#state = recorded;
    this.#recorded = recorded;
  }

  /** What a step may ask for, as of the last look. */
  around(healthy: boolean | null): Surroundings {
    return { alerts: this.#openSeverities(), healthy, zone: (limit) => this.#zone(limit) };
  }

  /** What follows from alerts that stay open; undefined: nothing. */
  get lasting(): Check | undefined {
    return lastingCheck(this.#config.alerting.onWarning, this.#state);
  }

  #openSeverities(): readonly AlertSeverity[] {
    return this.#state.alerts.flatMap(({ status, severity }) => (status === "open" ? [severity] : []));
  }

  #zone(limit: SuccessLimit): string {
    return zoneWords(this.#policy.rules, limit, this.#valueOf(limit));
  }

  /** A metric of the canary of late; null: there is not enough of it. */
  #valueOf(target: Target): number | null {
    if (this.#readings === undefined) return null;
    const { enough, value } = measuredBy(limitOf(target, ENOUGH), this.#readings.canary(WINDOW));
    return enough ? value : null;
  }

  /** What should be, and whether it is. */
  get targets(): readonly TargetReading[] {
    return this.#config.targets.map((target) => {
      const value = this.#valueOf(target);
      const limit = target.metric === "error_rate" ? target.below / 1_000_000 : target.below;
      return {
        metric: target.metric,
        target: targetWords(target),
        met: value === null ? null : value < limit,
      };
    });
  }

  /** Something was decided: what of it is an alert opens, or is over. Recorded with the decision. */
  decided({ effects, state: to }: Accepted): void {
    this.#rollout = to;
    this.#guarded(() => {
      const wall = this.#ports.clock.wall();
      for (const effect of effects) {
        if (effect.type !== "notify") continue;
        const event = EVENTS.get(effect.event);
        const opened = event && openEvent(this.#state, this.#policy, event, { wall, rollout: to.id });
        if (opened !== undefined) {
          this.#state = opened.state;
          this.#entries.push(opened.entry);
        }
        if (effect.event === "ROLLBACK_VERIFIED" && effect.severity === "info") this.#verified(to.id, wall);
      }
      // Whoever goes on after a pause has the whole time again.
      if (to.phase === "paused") this.#state = { ...this.#state, warnedMs: millis(0) };
    });
  }

  #verified(rollout: string, wall: number): void {
    const incident = this.#state.incidents.find((each) => each.isRollback && each.rollout === rollout);
    if (incident === undefined) return;
    const over = resolve(this.#state, incident, { by: "sluice", comment: "the rollback is verified", wall });
    // The decision's own message closes it, with the same key.
    this.#take({ ...over, news: [] });
  }

  /** Hands on what people are told of a decision, with the key of the alert that it is, unless they have asked for silence. */
  notify(notice: Notice): void {
    let told: Notice | undefined = notice;
    this.#guarded(() => {
      told = this.#heard(notice);
    });
    if (told !== undefined) this.#ports.notifier.notify(told);
  }

  #heard(notice: Notice): Notice | undefined {
    const event = EVENTS.get(notice.event);
    const alert = this.#state.alerts.find(
      ({ subject, rollout }) => subject === event && rollout === notice.rollout,
    );
    const incident = alert && this.#state.incidents.find(({ id }) => id === alert.incident);
    const told: Notice =
      incident === undefined
        ? notice
        : {
            ...notice,
            severity: incident.severity,
            incident: notice.incident ?? { key: this.#keyOf(incident), action: "trigger" },
          };
    const about = { severity: told.severity, metric: event ?? null };
    if (!isMuted(this.#state.silences, about, this.#ports.clock.wall())) return told;
    const { route, rollout, severity, summary } = told;
    this.#ports.log.info("a message is muted by a silence", {
      route,
      rollout,
      severity,
      event: told.event,
      summary,
    });
    return undefined;
  }

  #keyOf(incident: Incident): string {
    return incidentKey({ environment: this.#ports.environment(), route: this.#config.name }, incident);
  }

  /** Says what there is to be said, and writes it down. */
  flush(): void {
    const [entries, news] = [this.#entries.splice(0), this.#news.splice(0)];
    this.#guarded(() => {
      for (const entry of entries) this.#journal(entry.event, entry);
      for (const each of news) this.#tell(each);
    });
  }

  #journal(event: string, entry: Pick<AlertEntry, "actor" | "reason" | "details">): void {
    const { id: rollout, phase, step, weight } = this.#rollout;
    const point = { phase, step, weight };
    const { actor, reason, details } = entry;
    void this.#ports.recorder.journal({
      event,
      route: this.#config.name,
      rollout,
      actor,
      reason,
      before: point,
      after: point,
      details,
    });
  }

  #tell(news: AlertNews): void {
    const { name: route } = this.#config;
    const { incident, alerts } = news;
    const environment = this.#ports.environment();
    const place = { environment, route, weight: percentOf(this.#rollout.weight), targets: this.targets };
    const key = this.#keyOf(incident);
    const action = actionOf(news);
    this.#ports.notifier.notify({
      ...alertMessage(news, place),
      route,
      rollout: incident.rollout,
      id: `${key}:${action}:${incident.told}`,
      incident: { key, action },
      audience: "operators",
      details: {
        incident: incident.id,
        level: incident.level,
        to: news.to,
        alerts: alerts.map(({ subject, words, value, forMs }) => ({
          metric: subject,
          rule: words,
          value,
          forMs,
        })),
      },
    });
  }

  /** `state` with what there is of alerts, as it is recorded. */
  on(state: RecordedState): RecordedState {
    this.#recorded = this.#state;
    const { next, silences, alerts } = this.#state;
    const isNothing = next === 1 && silences.length === 0 && alerts.length === 0;
    return isNothing ? state : { ...state, alerts: this.#state };
  }

  /** Whether there is something that is not on record yet, be it that there is nothing any more. */
  get isNew(): boolean {
    return this.#recorded !== this.#state;
  }

  /** The alerts that are open, the worst first. */
  get open(): readonly AlertStatus[] {
    const wall = this.#ports.clock.wall();
    const open = this.#state.alerts.filter(({ status }) => status === "open");
    const rank = ["emergency", "critical", "warning"];
    return open
      .map((alert) => this.#statusOf(alert, wall))
      .sort((a, b) => rank.indexOf(a.severity) - rank.indexOf(b.severity));
  }

  /** The same in words. */
  get words(): readonly string[] {
    return this.open.map(({ severity, rule }) => `${severity}: ${rule}`);
  }

  #statusOf(alert: Alert, wall: number): AlertStatus {
    const { subject, severity, words, rollout, forMs, value, openedAtMs, apartMs } = alert;
    const incident = this.#state.incidents.find(({ id }) => id === alert.incident);
    const acknowledged = incident?.acknowledged ?? null;
    const isSilenced = isMuted(this.#state.silences, { severity, metric: subject }, wall);
    return {
      id: alert.incident,
      route: this.#config.name,
      rollout,
      severity,
      metric: subject,
      rule: words,
      value,
      openedAt: new Date(openedAtMs).toISOString(),
      openMs: forMs,
      level: incident?.level ?? 0,
      muted: isSilenced ? "silenced" : apartMs === 0 ? "inhibited" : null,
      acknowledged: acknowledged && {
        by: acknowledged.by,
        at: new Date(acknowledged.atMs).toISOString(),
        comment: acknowledged.comment,
      },
    };
  }

  get silences(): readonly Silence[] {
    const wall = this.#ports.clock.wall();
    return this.#state.silences.filter(({ untilMs }) => untilMs > wall);
  }

  /** Whether people were told of something under this id. */
  has(id: string): boolean {
    return this.#state.incidents.some((each) => each.id === id);
  }

  /** A person has seen an incident. */
  acknowledge(id: string, answer: Answered): void {
    this.#answer(id, (incident) => acknowledge(this.#state, incident, answer));
  }

  /** A person says that an incident is over: of events alone, for a metric says so itself. */
  resolve(id: string, answer: Answered): Refusal | undefined {
    const alerts = this.#state.alerts.filter(({ incident }) => incident === id);
    if (alerts.some(({ subject }) => ![...EVENTS.values()].some((event) => event === subject)))
      return refused(
        "SPLIT_PHASE_MISMATCH",
        "it is over when its metric is within the limit: acknowledge it, or silence it",
      );
    this.#answer(id, (incident) => resolve(this.#state, incident, answer));
    return undefined;
  }

  #answer(id: string, answered: (incident: Incident) => AlertStep): void {
    const incident = this.#state.incidents.find((each) => each.id === id);
    if (incident !== undefined) this.#take(answered(incident));
    this.flush();
  }

  /** Messages are muted from now on, and nothing else is. */
  silence(id: string, { forMs, ...order }: SilenceOrder): Silence | Refusal {
    const atMs = this.#ports.clock.wall();
    const silence: Silence = { id, ...order, atMs, untilMs: atMs + forMs };
    const after = withSilence(this.silences, silence);
    if (!after.ok) return after;
    this.#state = { ...this.#state, silences: after.silences };
    this.#journal("SILENCE_ADDED", { actor: order.by, reason: order.reason, details: { silence } });
    return silence;
  }

  /** A silence ends before its time: the silence; undefined: there is none of this id. */
  unsilence(id: string, by: string): Silence | undefined {
    const silence = this.silences.find((each) => each.id === id);
    if (silence === undefined) return undefined;
    this.#state = { ...this.#state, silences: this.#state.silences.filter((each) => each !== silence) };
    this.#journal("SILENCE_REMOVED", { actor: by, reason: silence.reason, details: { silence } });
    return silence;
  }

  #take({ state, entries, news }: AlertStep): void {
    this.#state = state;
    this.#entries.push(...entries);
    this.#news.push(...news);
  }

  #guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.#ports.log.error("the alerts of a route could not be kept", { route: this.#config.name, error });
    }
  }
}

function policyOf({ alerts, alerting }: RouteConfig): AlertPolicy {
  const { clearAfter, repeat, escalation, escalates } = alerting;
  return {
    rules: alertRules(alerts),
    clearMs: clearAfter,
    repeatMs: repeat === "none" ? null : repeat,
    levels: escalation.map(({ after, to }) => ({ afterMs: after, to })),
    escalates,
  };
}

/** Why an event is true no more; undefined: it still is. */
function overWhy({ subject, rollout }: Alert, state: RolloutState): string | undefined {
  if (rollout !== state.id) return "another rollout has begun";
  const still: Readonly<Partial<Record<string, boolean>>> = {
    rolled_back: state.phase === "rolled_back",
    rollback_held: state.standsFor === "sick_stable",
    tripped: state.confirmation.phase !== "armed",
    paused: state.phase === "paused",
    validation_failed: state.progress.preflight !== null && !state.progress.preflight.passed,
  };
  return still[subject] === true ? undefined : "it is over";
}
