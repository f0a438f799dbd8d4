/**
 * What the clock tells people of one route, and its incidents: `domain/bulletin.ts` says what is due, this makes messages of it and keeps the book. The book
 * is recorded with the rollout; the files of an incident are made of it, and follow.
 */

import {
  afterTelling,
  bookAfter,
  bulletinMessage,
  dueOf,
  openOf,
  risksOf,
  standingOf,
  withIncident,
  type BulletinBook,
  type BulletinSettings,
  type BulletinView,
  type Due,
} from "../domain/bulletin.ts";
import { isDrill } from "../domain/drill.ts";
import {
  incidentMessage,
  isTellingDue,
  notedOn,
  openIncident,
  resolveIncident,
  toldOf,
  type IncidentRecord,
} from "../domain/incident.ts";
import type { Figures } from "../domain/message.ts";
import { milestoneOf } from "../domain/milestone.ts";
import type { IncidentFiles, Notice } from "./ports.ts";
import type { Calendar, RolloutState, Severity } from "../domain/rollout-types.ts";
import { percentOf } from "../domain/units.ts";
import type { CheckStatus, RollbackEvidence } from "./status.ts";

/** What bulletins take. */
export interface BulletinPorts {
  readonly environment: () => string;
  readonly bulletins: () => BulletinSettings;
  /** Left out: an incident has no files. */
  readonly incidents?: IncidentFiles | undefined;
}

/** A decision that is told. */
export interface Told {
  readonly severity: Severity;
  readonly event: string;
  readonly from: RolloutState;
  readonly to: RolloutState;
  readonly actor: string;
  readonly reason: string;
  readonly calendar: Calendar;
  readonly figures: Figures;
  /** What has failed. */
  readonly failed: readonly CheckStatus[];
  /** The last rollback, if there was one. */
  readonly rollback: RollbackEvidence | null;
}

/** A decision with its message, of which nobody was told yet. */
export interface Draft {
  readonly told: Told;
  readonly notice: Notice;
}

/** What is told by the clock, and incidents. */
export class Bulletins {
  readonly #route: string;
  readonly #ports: BulletinPorts;
  #book: BulletinBook;

  constructor(route: string, ports: BulletinPorts, book: BulletinBook) {
    this.#route = route;
    this.#ports = ports;
    this.#book = book;
  }

  get book(): BulletinBook {
    return this.#book;
  }

  /** Another replica has told. */
  follow(book: BulletinBook): void {
    this.#book = book;
  }

  /** The book as it is once a decision is in force. */
  preview({ told, notice: { summary } }: Draft): BulletinBook {
    // A drill is none of the stakeholders' business.
    if (isDrill(this.#route)) return this.#book;
    const { to, actor, calendar } = told;
    // The route is known to whoever reads it.
    const words = summary.replace(`${this.#route}: `, "");
    return bookAfter(this.#book, { to, actor, wall: calendar.wall, words }, this.#ports.bulletins());
  }

  /** A decision is in force. A rollback opens an incident, and that it is verified ends it. */
  decided(draft: Draft): void {
    this.#book = this.preview(draft);
    const { event, severity, to, reason, rollback, calendar } = draft.told;
    const open = openOf(this.#book, to.id);
    const atMs = calendar.wall;
    if (opensIncident(draft.told, this.#route))
      this.#put(
        open === undefined
          ? this.#opened(rollback!, to.version, atMs)
          : notedOn(open, { atMs, words: reason }),
      );
    else if (event === "ROLLBACK_VERIFIED" && open !== undefined)
      this.#put(
        severity === "info"
          ? resolveIncident(open, { atMs, by: "sluice", how: reason })
          : notedOn(open, { atMs, words: reason }),
      );
  }

  #opened(pack: RollbackEvidence, version: string, openedAtMs: number): IncidentRecord {
    const { environment, route, rollout, actor, reason, fromWeight, toWeight, failed } = pack;
    const { requestsFailed, requestsRescued, distinctKeys, keysCapped } = pack;
    const { breachMs, tookMs, stableHealthy, arms } = pack;
    const figures = ({ requests, failures, errorRate, p95Ms }: RollbackEvidence["arms"]["stable"]) => ({
      requests,
      failures,
      errorRate,
      p95Ms,
    });
    const facts = {
      environment,
      route,
      rollout,
      version,
      openedAtMs,
      actor,
      reason,
      fromWeight,
      toWeight,
      rules: failed.map(({ rule, detail }) => `${rule}: ${detail}`),
      figures: { stable: figures(arms.stable), canary: figures(arms.canary) },
      requestsFailed,
      requestsRescued,
      distinctKeys,
      keysCapped,
      breachMs,
      tookMs,
      stableHealthy,
    };
    return openIncident(facts, this.#ports.bulletins().incident.after);
  }

  /** What is to be told now; the book says afterwards that it was. */
  due(view: BulletinView): readonly Notice[] {
    const settings = this.#ports.bulletins();
    const { wall } = view.calendar;
    const notices: Notice[] = [];
    for (const incident of this.#book.incidents) {
      if (!isTellingDue(incident, wall)) continue;
      notices.push(this.#ofIncident(incident, wall));
      this.#put(toldOf(incident, wall, settings.incident.every));
    }
    const due = dueOf(this.#book, view.state, wall, settings);
    if (due !== null) {
      notices.push(this.#ofRollout(due, view, settings));
      this.#book = afterTelling(this.#book, due, wall, settings);
    }
    return notices;
  }

  #ofIncident(incident: IncidentRecord, wall: number): Notice {
    const isOver = incident.status === "resolved";
    return {
      id: `${incident.id}:${isOver ? "end" : incident.told + 1}`,
      severity: isOver ? "info" : "warning",
      event: isOver ? "incident_resolved" : "incident_update",
      route: this.#route,
      rollout: incident.rollout,
      ...incidentMessage(incident, wall),
      details: { incident: incident.id, status: incident.status, updates: incident.updates },
      audience: "stakeholders",
    };
  }

  #ofRollout(due: Due, view: BulletinView, settings: BulletinSettings): Notice {
    const book = this.#book;
    const { state, figures, calendar } = view;
    const lead = settings.lead ?? book.startedBy;
    const of = due === "digest" ? `:${new Date(book.digestAtMs!).toISOString()}` : "";
    return {
      id: `${this.#route}:${book.rollout}:${due}${of}`,
      severity: "info",
      event: due,
      route: this.#route,
      rollout: book.rollout,
      ...bulletinMessage(due, book, view, lead),
      details: {
        status: standingOf(view),
        rolloutPercent: percentOf(state.weight),
        errorRate: figures.canary.errorRate,
        p95Ms: figures.canary.p95Ms,
        risks: risksOf(view),
        updates: book.updates,
        nextMilestone: milestoneOf(state, calendar),
        lead,
      },
      audience: "stakeholders",
    };
  }

  /** A person ends an incident. */
  resolve(
    id: string,
    by: string,
    how: string,
    wall: number,
  ): { readonly incident: IncidentRecord; readonly notice: Notice } | undefined {
    const open = this.#book.incidents.find((each) => each.id === id && each.status === "open");
    if (open === undefined) return undefined;
    const incident = resolveIncident(open, { atMs: wall, by, how });
    this.#put(incident);
    const { key, rollout } = incident;
    const notice: Notice = {
      id: `${id}:resolved`,
      severity: "info",
      event: "INCIDENT_RESOLVED",
      route: this.#route,
      rollout,
      ...incidentMessage(incident, wall),
      details: { incident: id, by, how },
      incident: { key, action: "resolve" },
      audience: "operators",
    };
    return { incident, notice };
  }

  #put(incident: IncidentRecord): void {
    this.#book = withIncident(this.#book, incident);
    void this.#ports.incidents?.write(incident);
  }

  /** Writes the files of incidents anew, since the last end may have come in between. */
  writeFiles(): void {
    for (const incident of this.#book.incidents) void this.#ports.incidents?.write(incident);
  }
}

/** Whether the last rollback took this rollout's traffic away; one that had none has nothing to tell of users. */
export function isItsRollback({ to, rollback }: Pick<Told, "to" | "rollback">): boolean {
  return to.phase === "rolled_back" && rollback?.rollout === to.id;
}

/** Whether a decision opens an incident, or adds to the one that is open: a rollback that took users' traffic away, and is no drill's. */
export function opensIncident(told: Told, route: string): boolean {
  return told.event === "ROLLBACK_DONE" && isItsRollback(told) && !isDrill(route);
}
