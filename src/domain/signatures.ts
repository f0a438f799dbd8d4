/**
 * What people grant before the weight rises: the signatures, acknowledgements and ticks of one step's gate. Pure; the state is plain JSON and
 * goes into the state document, so that a restart asks nobody twice.
 *
 * A gate knows nothing of holds, verdicts and windows: people may sign as soon as the step has begun, and what they signed takes effect when
 * the rest is satisfied. That is the caller's to put together; the gate only says whether people have granted it. And it binds raises alone:
 * a rollback asks nobody.
 *
 * Every change names the step that the person saw, so that a late click cannot sign the next one (acceptance 22). Who may act in which role is
 * a matter of tokens and decided before.
 *
 * What somebody said counts for `expiresMs` of the wall clock. Where nobody may sign for two roles, that holds over all that was ever signed
 * and not given anew: an expired signature is dropped when its owner signs for something else, so a clock that is set back cannot bring it
 * back to life beside the new one.
 */

import { refused, type Refusal } from "./refusal.ts";
import { formatStep, type Millis } from "./units.ts";

/** What a step asks of people before the weight rises beyond it. */
export interface GateSpec {
  /** Each must be signed for, once. */
  readonly roles: readonly string[];
  /** Each must say that it has seen it, and cannot stop it. */
  readonly acknowledge: readonly string[];
  /** Each must be ticked, by whomever. */
  readonly checklist: readonly string[];
  /** How long signatures, acknowledgements and ticks count, by the wall clock; null for ever. */
  readonly expiresMs: Millis | null;
  /** Whether one person may sign for several roles. */
  readonly samePerson: boolean;
  /** Whether every health check of the program must pass as well; left out: no. */
  readonly health?: true;
}

/** A role's consent, or its word that it has seen it. */
export interface Signature {
  readonly role: string;
  readonly by: string;
  /** Wall-clock milliseconds. */
  readonly atMs: number;
  readonly comment: string;
}

/** An item of the checklist that is done. */
export interface Tick {
  readonly item: string;
  readonly by: string;
  /** Wall-clock milliseconds. */
  readonly atMs: number;
  readonly comment: string;
}

/** What is to happen instead of the raise; the caller carries it out. */
export type Answer =
  | { readonly type: "extend"; readonly byMs: Millis }
  | { readonly type: "hold" }
  | { readonly type: "stepBack" }
  | { readonly type: "rollback" };

/** What has been said at the gate of one step. */
export interface GateState {
  /** Index of the step whose gate it is. */
  readonly step: number;
  /** Of roles that sign and of those that acknowledge; at most one per role. */
  readonly signatures: readonly Signature[];
  /** At most one per item. */
  readonly ticks: readonly Tick[];
}

/** What becomes of a gate: its next state (the same object when nothing changed), or why not. */
export type GateChange = { readonly ok: true; readonly state: GateState } | Refusal;

/** Parts of a gate by what is asked for. */
export interface GateParts {
  readonly roles: readonly string[];
  readonly acknowledge: readonly string[];
  readonly items: readonly string[];
}

/** How a gate stands. */
export interface GateReading {
  /** Whether people have granted all that was asked. */
  readonly granted: boolean;
  readonly missing: GateParts;
  /** Those of the missing that were there and have expired. */
  readonly expired: GateParts;
  /** One sentence for people. */
  readonly words: string;
}

/** What is wrong with a gate; empty when it may be used. */
export function checkGate(spec: GateSpec): readonly string[] {
  const { roles, acknowledge, checklist, expiresMs, health } = spec;
  const problems: string[] = [];
  if (roles.length + acknowledge.length + checklist.length === 0 && health !== true)
    problems.push("a gate must ask for a role, an acknowledgement, an item of a checklist, or health");
  for (const name of repeated([...roles, ...acknowledge])) problems.push(`the role "${name}" is asked twice`);
  for (const name of repeated(checklist)) problems.push(`the item "${name}" is on the checklist twice`);
  if ([...roles, ...acknowledge, ...checklist].some((name) => name.trim() === ""))
    problems.push("a role or an item without a name");
  if (expiresMs === 0) problems.push("a signature that expires at once grants nothing");
  return problems;
}

/** The gate of a step at which nobody has said anything. */
export function newGate(step: number): GateState {
  return { step, signatures: [], ticks: [] };
}

/**
 * A role signs, or acknowledges. Again by the same person changes nothing until it has expired; by another person it is refused until then.
 *
 * @param step  the index of the step that the person saw
 * @param items what the person ticks along with it
 */
export function sign(
  spec: GateSpec,
  state: GateState,
  step: number,
  signature: Signature,
  items: readonly string[],
): GateChange {
  const { role, by, atMs, comment } = signature;
  const refusal = late(state, step) ?? unknownRole(spec, role) ?? taken(spec, state, signature);
  if (refusal !== null) return refusal;
  const change = items.reduce<GateChange>(
    (before, item) => (before.ok ? tick(spec, before.state, step, { item, by, atMs, comment }) : before),
    { ok: true, state },
  );
  if (!change.ok || counting(spec, state.signatures, atMs).some((one) => one.role === role)) return change;
  const kept = change.state.signatures.filter(
    (one) => one.role !== role && (one.by !== by || !isExpired(spec, one, atMs)),
  );
  return { ok: true, state: { ...change.state, signatures: [...kept, signature] } };
}

/** Somebody ticks an item. Again, by whomever, it changes nothing until it has expired. */
export function tick(spec: GateSpec, state: GateState, step: number, done: Tick): GateChange {
  const refusal = late(state, step) ?? unknownItem(spec, done.item);
  if (refusal !== null) return refusal;
  if (counting(spec, state.ticks, done.atMs).some((one) => one.item === done.item))
    return { ok: true, state };
  const kept = state.ticks.filter((one) => one.item !== done.item);
  return { ok: true, state: { ...state, ticks: [...kept, done] } };
}

/**
 * Why a role may not say no at a gate; null when it may. What comes of a no is the caller's: whatever it is, all is asked anew, for who signed
 * before has not seen what comes now.
 *
 * @param step   the index of the step that the person saw
 * @param reason the person's; a no without one is none
 */
export function rejectBarred(
  spec: GateSpec,
  state: GateState,
  step: number,
  role: string,
  reason: string,
): Refusal | null {
  return late(state, step) ?? unknownRole(spec, role) ?? baseless(spec, role, reason);
}

/** How the gate stands at `wall`. */
export function gateReading(spec: GateSpec, state: GateState, wall: number): GateReading {
  const signed = counting(spec, state.signatures, wall).map(({ role }) => role);
  const ticked = counting(spec, state.ticks, wall).map(({ item }) => item);
  const missing: GateParts = {
    roles: without(spec.roles, signed),
    acknowledge: without(spec.acknowledge, signed),
    items: without(spec.checklist, ticked),
  };
  const gone = state.signatures.map(({ role }) => role);
  const undone = state.ticks.map(({ item }) => item);
  const expired: GateParts = {
    roles: missing.roles.filter((role) => gone.includes(role)),
    acknowledge: missing.acknowledge.filter((role) => gone.includes(role)),
    items: missing.items.filter((item) => undone.includes(item)),
  };
  return {
    granted: namesOf(missing).length === 0,
    missing,
    expired,
    words: wordsFor(state, missing, expired),
  };
}

function wordsFor(state: GateState, missing: GateParts, expired: GateParts): string {
  const parts = [
    ...phrase("the signature of", missing.roles),
    ...phrase("the acknowledgement of", missing.acknowledge),
    ...phrase("the checklist:", missing.items),
  ];
  const [first] = parts;
  if (first === undefined) {
    const signers = state.signatures.map(({ by, role }) => `${by} (${role})`);
    return signers.length === 0 ? "granted" : `granted by ${signers.join(", ")}`;
  }
  const gone = namesOf(expired);
  return `waits for ${parts.join("; ")}${gone.length === 0 ? "" : ` (expired: ${gone.join(", ")})`}`;
}

function phrase(what: string, names: readonly string[]): readonly string[] {
  return names.length === 0 ? [] : [`${what} ${names.join(", ")}`];
}

function namesOf({ roles, acknowledge, items }: GateParts): readonly string[] {
  return [...roles, ...acknowledge, ...items];
}

function late(state: GateState, step: number): Refusal | null {
  if (step === state.step) return null;
  const message = `this gate is that of ${formatStep(state.step)}, not of ${formatStep(step)}: look at the rollout again`;
  return refused("SPLIT_PHASE_MISMATCH", message);
}

function unknownRole({ roles, acknowledge }: GateSpec, role: string): Refusal | null {
  const known = [...roles, ...acknowledge];
  return known.includes(role) ? null : unknown("role", role, known);
}

function unknownItem({ checklist }: GateSpec, item: string): Refusal | null {
  return checklist.includes(item) ? null : unknown("item", item, checklist);
}

function unknown(what: "role" | "item", name: string, known: readonly string[]): Refusal {
  const asked = known.length === 0 ? "it asks for none" : `it asks for ${known.join(", ")}`;
  return refused("SPLIT_INPUT_INVALID", `this gate asks for no ${what} "${name}"; ${asked}`);
}

/** Whether a role, or the person, is spoken for. */
function taken(spec: GateSpec, state: GateState, { role, by, atMs }: Signature): Refusal | null {
  const signed = counting(spec, state.signatures, atMs);
  const other = signed.find((one) => one.role === role && one.by !== by);
  if (other !== undefined)
    return refused("SPLIT_PHASE_MISMATCH", `${other.by} has already signed for the role "${role}"`);
  if (spec.samePerson || !spec.roles.includes(role)) return null;
  const same = signed.find((one) => one.by === by && one.role !== role && spec.roles.includes(one.role));
  if (same === undefined) return null;
  const message = `${by} has signed for the role "${same.role}": another person must sign for "${role}"`;
  return refused("SPLIT_FORBIDDEN", message);
}

/** Whether a rejection lacks what one needs. */
function baseless({ roles }: GateSpec, role: string, reason: string): Refusal | null {
  if (!roles.includes(role)) {
    const who = roles.length === 0 ? "nobody can" : `${roles.join(", ")} can`;
    return refused("SPLIT_INPUT_INVALID", `the role "${role}" acknowledges, and cannot reject; ${who}`);
  }
  return reason.trim() === "" ? refused("SPLIT_INPUT_INVALID", "a rejection needs a reason") : null;
}

interface Dated {
  readonly atMs: number;
}

function isExpired({ expiresMs }: GateSpec, { atMs }: Dated, wall: number): boolean {
  return expiresMs !== null && wall - atMs >= expiresMs;
}

/** What has not expired. */
function counting<T extends Dated>(spec: GateSpec, said: readonly T[], wall: number): readonly T[] {
  return said.filter((one) => !isExpired(spec, one, wall));
}

function without(names: readonly string[], done: readonly string[]): readonly string[] {
  return names.filter((name) => !done.includes(name));
}

function repeated(names: readonly string[]): readonly string[] {
  return [...new Set(names.filter((name, at) => names.indexOf(name) !== at))];
}
