/**
 * What people are told of one route: which message follows from a decision, from a verdict or from the clock, and what of it was told a moment ago.
 *
 * What is told is recorded in the same save as what it tells of, before anybody hears it. So a program that is killed in between tells it at its next
 * start, under the same id, and who was told already can leave it out.
 */

import { EMPTY_BOOK, isAnythingDue, type BulletinView } from "../domain/bulletin.ts";
import { rollbackKey, type IncidentRecord } from "../domain/incident.ts";
import { decisionMessage, heldMessage, storeMessage, type StoreEvent } from "../domain/message.ts";
import { milestoneOf } from "../domain/milestone.ts";
import type { RolloutState, Severity } from "../domain/rollout-types.ts";
import type { Check } from "../domain/rule.ts";
import { formatRate, percentOf, type Millis } from "../domain/units.ts";
import {
  Bulletins,
  isItsRollback,
  opensIncident,
  type BulletinPorts,
  type Draft,
  type Told,
} from "./bulletins.ts";
import { explain } from "./explain.ts";
import type { Clock, Dice, Incident, Notice, Notifier, RecordedNotice, RecordedTelling } from "./ports.ts";
import type { CheckStatus } from "./status.ts";

/** What telling takes. */
export interface TellingPorts extends BulletinPorts {
  readonly notifier: Notifier;
  readonly clock: Pick<Clock, "wall">;
  readonly dice: Dice;
}

const ID_BYTES = 16;
/** So many messages are told again after a restart. */
const MOST_NOTICES = 10;
/** What is older is not told any more. */
export const LONGEST_MS = 3_600_000;

/** How loudly it is told that a rule is held. */
const HELD_SEVERITY = { shared_cause: "critical", one_client: "warning" } as const;

/** What is held again within this time is the same trouble, and was told. */
const HELD_APART_MS = 600_000;

/** The voice of one route. */
export class Telling {
  readonly #route: string;
  readonly #ports: TellingPorts;
  readonly bulletins: Bulletins;
  #recent: readonly RecordedNotice[];
  /** When a rule was held last, by what is told of it. */
  readonly #heldAt = new Map<string, Millis>();

  constructor(route: string, ports: TellingPorts, recorded: RecordedTelling) {
    this.#route = route;
    this.#ports = ports;
    this.#recent = recorded.notices ?? [];
    this.bulletins = new Bulletins(route, ports, recorded.bulletins ?? EMPTY_BOOK);
  }

  /** What is recorded with the state. @param draft a decision that is in force only once it is recorded */
  recorded(draft?: Draft): RecordedTelling {
    const book = draft === undefined ? this.bulletins.book : this.bulletins.preview(draft);
    const notices = this.#with(draft === undefined ? [] : [draft.notice]);
    return {
      ...(notices.length === 0 ? {} : { notices }),
      ...(book === EMPTY_BOOK ? {} : { bulletins: book }),
    };
  }

  /** Tells again what was recorded and may not have been told. */
  again(): void {
    this.#recent = this.#with([]);
    for (const { notice } of this.#recent) this.#ports.notifier.notify(notice);
    this.bulletins.writeFiles();
  }

  tell(notice: Notice): void {
    this.#ports.notifier.notify(notice);
  }

  #with(notices: readonly Notice[]): readonly RecordedNotice[] {
    const wall = this.#ports.clock.wall();
    if (notices.length === 0 && this.#recent.every(({ atMs }) => wall - atMs < LONGEST_MS))
      return this.#recent;
    const all = [...this.#recent, ...notices.map((notice) => ({ atMs: wall, notice }))];
    return all.filter(({ atMs }) => wall - atMs < LONGEST_MS).slice(-MOST_NOTICES);
  }

  /**
   * Told once, when it begins: a rule would have fired, and something holds it. Both arms suffer, and moving the weight would not help
   * (product.md §2.11); or it is one client's doing (§2.12).
   */
  held(
    checks: readonly Check[],
    shown: () => readonly CheckStatus[],
    { id: rollout, weight }: RolloutState,
    now: Millis,
  ): void {
    for (const { rule, detail, held } of checks) {
      if (held === undefined) continue;
      const seenAt = this.#heldAt.get(`${held} ${rule}`) ?? -Infinity;
      this.#heldAt.set(`${held} ${rule}`, now);
      if (now - seenAt < HELD_APART_MS) continue;
      const check = shown().find((each) => each.rule === rule)!;
      const explanation = explain(check);
      const about = { route: this.#route, rule, detail, explanation, weight: formatRate(weight) };
      this.tell({
        id: this.#ports.dice.token(ID_BYTES),
        severity: HELD_SEVERITY[held],
        event: held,
        route: this.#route,
        rollout,
        ...heldMessage(about),
        details: { check, explanation },
        audience: "operators",
      });
    }
  }

  /** The message of a decision; nobody is told yet. */
  draft(told: Told): Draft {
    const { severity, event, from, to, actor, reason, calendar, figures, failed, rollback } = told;
    const explanation = isItsRollback(told) ? rollback!.explanation : failed.flatMap(explain);
    const environment = this.#ports.environment();
    const message = decisionMessage({
      route: this.#route,
      environment,
      event,
      from,
      to,
      actor,
      reason,
      wall: calendar.wall,
      figures: figures.canary.requests + figures.stable.requests === 0 ? null : figures,
      explanation,
      next: milestoneOf(to, calendar).words,
    });
    const notice: Notice = {
      id: [this.#route, to.id || from.id, to.revision, event].join(":"),
      severity,
      event,
      route: this.#route,
      rollout: to.id || from.id,
      ...message,
      details: {
        from: percentOf(from.weight),
        to: percentOf(to.weight),
        phase: to.phase,
        reason,
        failed,
        explanation,
      },
      ...this.#incidentOf(told),
      audience: "operators",
    };
    return { told, notice };
  }

  /** A decision is in force, or about to be without fail: it is to be recorded with what is told of it. */
  adopt(draft: Draft): void {
    this.#recent = this.#with([draft.notice]);
    this.bulletins.decided(draft);
  }

  /** Another replica has decided and told. */
  follow({ notices = [], bulletins = EMPTY_BOOK }: RecordedTelling): void {
    this.#recent = notices;
    this.bulletins.follow(bulletins);
  }

  /** Whether the clock has something to tell. */
  isDue(state: RolloutState, wall: number): boolean {
    return isAnythingDue(this.bulletins.book, state, wall, this.#ports.bulletins());
  }

  /** What the clock has to tell; to be recorded, and then told. */
  due(view: BulletinView): readonly Notice[] {
    const notices = this.bulletins.due(view);
    this.#recent = this.#with(notices);
    return notices;
  }

  /** A person ends an incident; undefined: there is none of this id that is open. */
  resolve(
    id: string,
    by: string,
    how: string,
  ): { readonly incident: IncidentRecord; readonly notice: Notice } | undefined {
    const done = this.bulletins.resolve(id, by, how, this.#ports.clock.wall());
    if (done !== undefined) this.#recent = this.#with([done.notice]);
    return done;
  }

  /** A rollback opens an incident; that stable is well when it has stood for its time closes it. */
  #incidentOf(told: Told): { readonly incident?: Incident } {
    const { severity, event, to } = told;
    const key = rollbackKey(this.#ports.environment(), this.#route, to.id);
    if (opensIncident(told, this.#route)) return { incident: { key, action: "trigger" } };
    const isOver = event === "ROLLBACK_VERIFIED" && severity === "info";
    return isOver ? { incident: { key, action: "resolve" } } : {};
  }
}

/** What people are told of trouble with the record. */
export function storeNotice(
  dice: Pick<Dice, "token">,
  severity: Severity,
  event: StoreEvent,
  detail: string,
): Notice {
  const about = { route: "", rollout: "", details: { detail }, audience: "operators" } as const;
  return { id: dice.token(ID_BYTES), severity, event, ...storeMessage(event, detail), ...about };
}

/** What people are told when the state cannot be recorded, or can be again. */
export function healthNotice(dice: Pick<Dice, "token">, healthy: boolean, detail: string): Notice {
  return healthy
    ? storeNotice(dice, "info", "state_recorded_again", "")
    : storeNotice(dice, "critical", "state_unwritable", detail);
}
