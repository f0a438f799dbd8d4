/** What people are told of one route: which message follows from a decision or a verdict, and what of it was told a moment ago. */

import type { RolloutState, Severity } from "../domain/rollout-types.ts";
import type { Check } from "../domain/rule.ts";
import { percentOf, type Millis } from "../domain/units.ts";
import { explain } from "./explain.ts";
import type { Dice, Incident, Notifier } from "./ports.ts";
import type { CheckStatus, RollbackEvidence } from "./status.ts";

/** What telling takes. */
export interface TellingPorts {
  readonly environment: () => string;
  readonly notifier: Notifier;
  readonly dice: Dice;
}

/** A decision that is told. */
export interface Told {
  readonly severity: Severity;
  readonly event: string;
  readonly from: RolloutState;
  readonly to: RolloutState;
  readonly reason: string;
  /** What has failed. */
  readonly failed: readonly CheckStatus[];
  /** The last rollback, if there was one. */
  readonly rollback: RollbackEvidence | null;
}

const ID_BYTES = 16;

/** How loudly it is told that a rule is held. */
const HELD_SEVERITY = { shared_cause: "critical", one_client: "warning" } as const;

/** What is held again within this time is the same trouble, and was told. */
const HELD_APART_MS = 600_000;

/** The voice of one route. */
export class Telling {
  readonly #route: string;
  readonly #ports: TellingPorts;
  /** When a rule was held last, by what is told of it. */
  readonly #heldAt = new Map<string, Millis>();

  constructor(route: string, ports: TellingPorts) {
    this.#route = route;
    this.#ports = ports;
  }

  /**
   * Told once, when it begins: a rule would have fired, and something holds it. Both arms suffer, and moving the weight would not help
   * (product.md §2.11); or it is one client's doing (§2.12).
   */
  held(checks: readonly Check[], shown: () => readonly CheckStatus[], rollout: string, now: Millis): void {
    for (const { rule, detail, held } of checks) {
      if (held === undefined) continue;
      const seenAt = this.#heldAt.get(`${held} ${rule}`) ?? -Infinity;
      this.#heldAt.set(`${held} ${rule}`, now);
      if (now - seenAt < HELD_APART_MS) continue;
      const check = shown().find((each) => each.rule === rule)!;
      const explanation = explain(check);
      const summary = `${this.#route}: the weight stays where it is: ${rule}: ${detail}`;
      this.#ports.notifier.notify({
        id: this.#ports.dice.token(ID_BYTES),
        severity: HELD_SEVERITY[held],
        event: held,
        route: this.#route,
        rollout,
        summary,
        lines: [summary, ...explanation],
        details: { check, explanation },
        audience: "operators",
      });
    }
  }

  decided({ severity, event, from, to, reason, failed, rollback }: Told): void {
    const move = `${percentOf(from.weight)}% to ${percentOf(to.weight)}%`;
    const isOfIt = to.phase === "rolled_back" && rollback?.rollout === to.id;
    const explanation = isOfIt ? rollback.explanation : failed.flatMap(explain);
    const summary = `${this.#route}: ${event}, ${move}: ${reason}`;
    this.#ports.notifier.notify({
      id: [this.#route, to.id, to.revision, event].join(":"),
      severity,
      event,
      route: this.#route,
      rollout: to.id,
      summary,
      lines: [summary, ...explanation],
      details: {
        from: percentOf(from.weight),
        to: percentOf(to.weight),
        phase: to.phase,
        reason,
        failed,
        explanation,
      },
      ...this.#incidentOf(severity, event, to.id),
      audience: "operators",
    });
  }

  /** A rollback opens an incident; that stable is well when it has stood for its time closes it. */
  #incidentOf(severity: Severity, event: string, rollout: string): { readonly incident?: Incident } {
    const key = `sluice/${this.#ports.environment()}/${this.#route}/${rollout}/rollback`;
    if (event === "ROLLBACK_DONE") return { incident: { key, action: "trigger" } };
    const isOver = event === "ROLLBACK_VERIFIED" && severity === "info";
    return isOver ? { incident: { key, action: "resolve" } } : {};
  }
}
