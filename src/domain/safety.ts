/**
 * The safety switches: what people throw when a rollout is not what is wrong. Pure; the state is plain JSON and goes into the state document, so that a
 * restart comes back in it.
 *
 * A switch is thrown for all routes or for one, and each of these stands for itself: what was thrown for one route is not taken back by whoever
 * takes back what was thrown for all. A route is under a switch when either is on.
 */

import { refused, type Refusal } from "./refusal.ts";

/** Every switch: everything to stable or to a fixed answer, and nothing rises; no writes; nobody but those allowed. */
export const SWITCHES = ["emergency", "read-only", "maintenance"] as const;

/** One of them. */
export type Switch = (typeof SWITCHES)[number];

/** A switch that is on: since when, by whom, and why. */
export interface Thrown {
  /** Wall clock, ISO 8601. */
  readonly since: string;
  readonly by: string;
  readonly reason: string;
}

/** The switches of one scope that are on. */
export type Throws = Readonly<Partial<Record<Switch, Thrown>>>;

/** All that is on: for all routes, and for single ones. */
export interface SafetyState {
  readonly all: Throws;
  readonly routes: Readonly<Record<string, Throws>>;
}

/** Nothing is on. */
export const ALL_OFF: SafetyState = { all: {}, routes: {} };

/** Whether no switch is on, anywhere. */
export function isAllOff({ all, routes }: SafetyState): boolean {
  return Object.keys(all).length + Object.keys(routes).length === 0;
}

/** What somebody wants of a switch. */
export interface SafetyOrder {
  readonly which: Switch;
  readonly on: boolean;
  /** Null: all routes. */
  readonly route: string | null;
  readonly thrown: Thrown;
}

/** What becomes of the switches: the next state (the same object when nothing changed), or why not. */
export type SafetyChange = { readonly ok: true; readonly state: SafetyState } | Refusal;

/** What a switch does to a route's requests, as bits of its word in the split; 0: nothing. */
export const BARS: Readonly<Record<Switch, number>> = { emergency: 1, "read-only": 2, maintenance: 4 };

/** The switches that a route is under, each as it was thrown for all routes, or else for this one. */
export function safetyOf({ all, routes }: SafetyState, route: string): Throws {
  return { ...routes[route], ...all };
}

/** What becomes of the switches when somebody wants one on or off. Asked twice is done once. */
export function switched(state: SafetyState, { which, on, route, thrown }: SafetyOrder): SafetyChange {
  const scope = route === null ? state.all : (state.routes[route] ?? {});
  if ((scope[which] !== undefined) === on) return on ? { ok: true, state } : alreadyOff(state, which, route);
  const { [which]: _, ...others } = scope;
  const next: Throws = on ? { ...scope, [which]: thrown } : others;
  if (route === null) return { ok: true, state: { ...state, all: next } };
  const { [route]: __, ...rest } = state.routes;
  const routes = Object.keys(next).length === 0 ? rest : { ...rest, [route]: next };
  return { ok: true, state: { ...state, routes } };
}

/**
 * What becomes of `mine` when somebody else has made `theirs` of what was `known` to both: what either has changed is changed. Where both have, on is
 * towards safe.
 */
export function mergedSafety(known: SafetyState, mine: SafetyState, theirs: SafetyState): SafetyState {
  const names = [...Object.keys(mine.routes), ...Object.keys(theirs.routes)];
  const routes = [...new Set(names)].flatMap((name) => {
    const merged = mergedThrows(known.routes[name], mine.routes[name], theirs.routes[name]);
    return Object.keys(merged).length === 0 ? [] : [[name, merged] as const];
  });
  return { all: mergedThrows(known.all, mine.all, theirs.all), routes: Object.fromEntries(routes) };
}

function mergedThrows(known: Throws = {}, mine: Throws = {}, theirs: Throws = {}): Throws {
  const merged = SWITCHES.flatMap((each) => {
    const isChanged = mine[each]?.since !== known[each]?.since;
    const thrown = isChanged ? (mine[each] ?? newer(theirs[each], known[each])) : theirs[each];
    return thrown === undefined ? [] : [[each, thrown] as const];
  });
  return Object.fromEntries(merged);
}

/** What was thrown since; what was on before was taken back. */
function newer(theirs: Thrown | undefined, known: Thrown | undefined): Thrown | undefined {
  return theirs?.since === known?.since ? undefined : theirs;
}

/** How the switches get from one state to another, one at a time; those of all routes first. */
export function changesBetween(from: SafetyState, to: SafetyState): readonly SafetyOrder[] {
  const names = [...new Set([...Object.keys(from.routes), ...Object.keys(to.routes)])];
  const scopes: readonly (string | null)[] = [null, ...names];
  return scopes.flatMap((route) => {
    const of = ({ all, routes }: SafetyState): Throws => (route === null ? all : (routes[route] ?? {}));
    return SWITCHES.flatMap((which): readonly SafetyOrder[] => {
      const [before, after] = [of(from)[which], of(to)[which]];
      const thrown = after ?? before;
      if (thrown === undefined || (before === undefined) === (after === undefined)) return [];
      return [{ which, on: after !== undefined, route, thrown }];
    });
  });
}

/** Whoever takes back what is not on, but is on elsewhere, would think that all is normal. */
function alreadyOff(state: SafetyState, which: Switch, route: string | null): SafetyChange {
  if (route !== null && state.all[which] !== undefined)
    return refused("SPLIT_PHASE_MISMATCH", `${which} is on for all routes: switch it off for all of them`);
  const names = Object.keys(state.routes).filter((name) => state.routes[name]?.[which] !== undefined);
  if (route !== null || names.length === 0) return { ok: true, state };
  const message = `${which} is not on for all routes, but for ${names.join(", ")}: name the route`;
  return refused("SPLIT_PHASE_MISMATCH", message);
}

/** Why nothing rises on a route; null: no emergency. */
export function frozenBy(throws: Throws): string | null {
  const { emergency } = throws;
  if (emergency === undefined) return null;
  const why = emergency.reason === "" ? "" : `: ${emergency.reason}`;
  return `emergency is on since ${emergency.since}, by ${emergency.by}${why}`;
}

/** What the switches do to a route's requests, as bits of `BARS`. @param answers whether an emergency is answered, and not sent to stable */
export function barsOf(throws: Throws, answers: boolean): number {
  return SWITCHES.reduce((bits, each) => {
    if (throws[each] === undefined || (each === "emergency" && !answers)) return bits;
    return bits | BARS[each];
  }, 0);
}
