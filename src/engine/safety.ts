/**
 * The safety switches in motion: thrown and taken back by people, in force on every thread with one store, recorded, journaled and told.
 *
 * On is towards safe: it is in force when `turn` returns its promise, and recorded behind, however long that takes. Off gives traffic back: it is
 * recorded first, and what cannot be recorded stays on, so that a restart never finds a switch off that was on, nor the other way round
 * (product.md §2.14).
 */

import type { ErrorCode } from "../domain/errors.ts";
import { IDLE } from "../domain/rollout-move.ts";
import type { Actor, Severity } from "../domain/rollout-types.ts";
import {
  changesBetween,
  mergedSafety,
  safetyOf,
  switched,
  type SafetyChange,
  type SafetyState,
  type Switch,
  type Throws,
} from "../domain/safety.ts";
import { percentOf, type Ppm } from "../domain/units.ts";
import type { Clock, JournalEntry, JournalPoint, Notice, Notifier } from "./ports.ts";
import type { Recorder } from "./recorder.ts";
import type { RouteControl } from "./route-control.ts";

/** What somebody wants of a switch. */
export interface TurnOrder {
  readonly which: Switch;
  readonly on: boolean;
  /** Null: all routes. */
  readonly route: string | null;
  readonly reason: string;
  readonly actor: Actor;
}

/** What became of it. A refusal changes nothing. */
export type TurnResult =
  | { readonly ok: true; readonly state: SafetyState; readonly recorded: boolean }
  | { readonly ok: false; readonly code: ErrorCode; readonly message: string };

/** What the desk works with. */
export interface SafetyPorts {
  readonly recorder: Recorder;
  readonly notifier: Notifier;
  readonly clock: Clock;
  readonly environment: () => string;
  /** Every route that is configured. */
  readonly routes: () => readonly RouteControl[];
  /** Puts the splits of these routes in force, as they are by now. */
  readonly publish: (routes: readonly RouteControl[]) => void;
}

/** How loudly it is told that a switch is on. */
const SEVERITY: Readonly<Record<Switch, Severity>> = {
  emergency: "emergency",
  "read-only": "critical",
  maintenance: "warning",
};

/** What it means, for somebody who was just woken. */
const CONSEQUENCE: Readonly<Record<Switch, { readonly on: string; readonly off: string }>> = {
  emergency: {
    on: "Nobody is on the canary, and no weight rises until it is switched off; rollbacks stay armed.",
    off: "Each route has the weight that its rollout has; rollouts go on.",
  },
  "read-only": {
    on: "Requests that write are answered 503 with Retry-After, on both arms; rollouts go on.",
    off: "Requests that write pass again.",
  },
  maintenance: {
    on: "Requests are answered with the maintenance page, but for allowed networks and paths; rollouts go on.",
    off: "Requests pass again.",
  },
};

/** Holds the switches. */
export class SafetyDesk {
  readonly #ports: SafetyPorts;
  #state: SafetyState;
  /** One more per change: an off that finds another number was overtaken. */
  #turns = 0;
  /** The off that is being recorded. */
  #lowering: Promise<unknown> = Promise.resolve();

  constructor(ports: SafetyPorts) {
    this.#ports = ports;
    this.#state = ports.recorder.safety;
  }

  get state(): SafetyState {
    return this.#state;
  }

  /** The switches that a route is under. */
  of(route: string): Throws {
    return safetyOf(this.#state, route);
  }

  /** Throws a switch, or takes it back. */
  turn(order: TurnOrder): Promise<TurnResult> {
    const { route } = order;
    if (route !== null && !this.#ports.routes().some(({ config }) => config.name === route))
      return Promise.resolve(refusal("SPLIT_NOT_FOUND", `there is no route named "${route}"`));
    if (order.on) return this.#on(order);
    const done = this.#lowering.then(() => this.#off(order));
    this.#lowering = done;
    return done;
  }

  async #on(order: TurnOrder): Promise<TurnResult> {
    const change = this.#change(order);
    if (!change.ok || change.state === this.#state) return this.#unchanged(change);
    const journal = this.#enforce(order, change.state);
    const { recorder } = this.#ports;
    const recorded = await recorder.recordSafety(change.state);
    await Promise.all(journal.map((entry) => recorder.journal(entry)));
    return { ok: true, state: this.#state, recorded };
  }

  async #off(order: TurnOrder): Promise<TurnResult> {
    const { recorder } = this.#ports;
    const change = this.#change(order);
    if (!change.ok || change.state === this.#state) return this.#unchanged(change);
    const turn = this.#turns;
    const recorded = await recorder.recordSafety(change.state);
    if (!recorded || this.#turns !== turn) {
      // What is in force is what a restart must find.
      void recorder.recordSafety(this.#state);
      return recorded
        ? refusal("SPLIT_STATE_CONFLICT", "a switch was thrown meanwhile: look again")
        : refusal("SPLIT_STATE_UNWRITABLE", `it could not be recorded, so ${order.which} is still on`);
    }
    const journal = this.#enforce(order, change.state);
    await Promise.all(journal.map((entry) => recorder.journal(entry)));
    return { ok: true, state: this.#state, recorded };
  }

  #unchanged(change: SafetyChange): TurnResult {
    if (!change.ok) return change;
    return { ok: true, state: this.#state, recorded: this.#ports.recorder.isCurrent };
  }

  /** Another replica has changed the switches from `known` to `theirs`: in force here at once, journaled here, too, and told there. */
  adopt(known: SafetyState, theirs: SafetyState): void {
    const next = mergedSafety(known, this.#state, theirs);
    const changes = changesBetween(this.#state, next);
    if (changes.length === 0) return;
    const routes = this.#ports.routes();
    const froze = routes.filter(({ config }) =>
      changes.some(({ which, route }) => which === "emergency" && (route ?? config.name) === config.name),
    );
    const { before } = this.#move(next, routes, froze);
    for (const change of changes) {
      const { on, route, thrown } = change;
      const order = on
        ? { ...change, reason: thrown.reason, actor: { name: thrown.by } }
        : { ...change, reason: "taken back at another replica", actor: { name: "replica" } };
      const isOf = (name: string): boolean => route === null || name === route;
      const affected = routes.filter(({ config }) => isOf(config.name));
      const weights = before.filter((_, index) => isOf(routes[index]!.config.name));
      for (const entry of entriesOf(order, affected, weights)) void this.#ports.recorder.journal(entry);
    }
  }

  /** Puts the switches in force on `affected`; its weights of before, and the routes whose weight has moved. */
  #move(next: SafetyState, affected: readonly RouteControl[], froze: readonly RouteControl[]) {
    const { clock, publish } = this.#ports;
    const now = clock.mono();
    this.#turns++;
    const before = affected.map((each) => each.split().weight);
    this.#state = next;
    for (const each of froze) each.raising.overtake();
    publish(affected);
    const moved = affected.filter((each, index) => each.split().weight !== before[index]);
    for (const each of moved) each.moved(now, each.safety.emergency !== undefined);
    return { before, moved };
  }

  #change({ which, on, route, reason, actor }: TurnOrder): SafetyChange {
    const since = new Date(this.#ports.clock.wall()).toISOString();
    return switched(this.#state, { which, on, route, thrown: { since, by: actor.name, reason } });
  }

  /** Puts the switches in force and tells people; what is to be journaled. */
  #enforce(order: TurnOrder, next: SafetyState): readonly JournalEntry[] {
    const { clock } = this.#ports;
    const { which, route } = order;
    const affected = this.#ports.routes().filter(({ config }) => route === null || config.name === route);
    const { before, moved } = this.#move(next, affected, which === "emergency" ? affected : []);
    const at = {
      id: `${route ?? "all"}:${clock.wall()}:${this.#turns}`,
      environment: this.#ports.environment(),
    };
    this.#ports.notifier.notify(noticeOf(order, moved, at));
    return entriesOf(order, affected, before);
  }
}

function eventOf({ which, on }: TurnOrder): string {
  return `${which.toUpperCase().replace("-", "_")}_${on ? "ON" : "OFF"}`;
}

/** What people are told. @param moved routes whose weight has gone, or come back */
function noticeOf(
  order: TurnOrder,
  moved: readonly RouteControl[],
  { id, environment }: { readonly id: string; readonly environment: string },
): Notice {
  const { which, on, route, reason, actor } = order;
  const event = eventOf(order);
  const summary = `${which} is ${on ? "on" : "off"} for ${route ?? "all routes"}, by ${actor.name}: ${reason}`;
  const weights = moved.map((each) => ({ route: each.config.name, to: percentOf(each.split().weight) }));
  const key = `sluice/${environment}/${route ?? "all"}/${which}`;
  return {
    id: `${event}:${id}`,
    severity: on ? SEVERITY[which] : "info",
    event,
    route: route ?? "",
    rollout: "",
    summary,
    lines: [summary, CONSEQUENCE[which][on ? "on" : "off"]],
    details: { switch: which, on, reason, actor: actor.name, weights },
    incident: { key, action: on ? "trigger" : "resolve" },
    audience: "operators",
  };
}

/** What is journaled: one line for what was switched, and where that was all routes one more for each whose weight moves. */
function entriesOf(
  order: TurnOrder,
  affected: readonly RouteControl[],
  before: readonly Ppm[],
): readonly JournalEntry[] {
  const { route, reason, actor } = order;
  const entry = { event: eventOf(order), actor: actor.name, reason, details: { scope: route ?? "all" } };
  const lines = affected.flatMap((each, index): JournalEntry[] => {
    const { phase, step, id } = each.state;
    const [from, to] = [before[index]!, each.split().weight];
    if (route === null && from === to) return [];
    const point = (weight: Ppm): JournalPoint => ({ phase, step, weight });
    return [{ ...entry, route: each.config.name, rollout: id, before: point(from), after: point(to) }];
  });
  if (route !== null) return lines;
  const { phase, step, weight } = IDLE;
  const nowhere = { phase, step, weight };
  return [{ ...entry, route: "", rollout: "", before: nowhere, after: nowhere }, ...lines];
}

function refusal(code: ErrorCode, message: string): TurnResult {
  return { ok: false, code, message };
}
