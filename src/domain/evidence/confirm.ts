/**
 * Trip, probe, confirm: what follows when the catastrophic tier fires. Pure; plain state, time in ms as an argument.
 *
 * A first crossing takes the canary's traffic away at once and for ten seconds only; then it is tried again. What crosses a second time is a
 * fault and is rolled back; what does not was a restarting pod or a pause, and the rollout survives it. Users are as safe either way, since the
 * weight is 0 from the first crossing on. Source: statistics.md §3.2.
 */

/** How long a trip takes the canary's traffic away. */
export const TRIP_MS = 10_000;
/** A trip is over when it has gone well for this long, and over this many canary responses. */
export const PROBE_MS = 60_000;
export const PROBE_RESPONSES = 100;
/** So many trips in a day are a rollback. */
export const TRIPS_PER_DAY = 8;
const DAY_MS = 86_400_000;

/** Where a route is. `trips`: when it tripped in the last day, ms, oldest first. */
export type Confirmation =
  | { readonly phase: "armed"; readonly trips: readonly number[] }
  | { readonly phase: "tripped"; readonly untilMs: number; readonly trips: readonly number[] }
  | {
      readonly phase: "probing";
      readonly sinceMs: number;
      readonly responses: number;
      readonly trips: readonly number[];
    };

/** What happens: a guard pair crossed, time passed, the canary answered so many more. `nowMs` is monotonic time in service. */
export type ConfirmEvent =
  | { readonly type: "crossing"; readonly nowMs: number; readonly confirm: boolean }
  | { readonly type: "time"; readonly nowMs: number }
  | { readonly type: "responses"; readonly nowMs: number; readonly count: number };

/** Why a crossing is final. */
export type FinalReason = "second_crossing" | "too_many_trips" | "confirm_off";

/**
 * What is to be done: nothing; weight 0 and reset the guards; give the step's weight back; nothing, but the trip is over; roll
 * back.
 */
export type ConfirmOutcome =
  | { readonly type: "none" }
  | { readonly type: "trip" }
  | { readonly type: "resume" }
  | { readonly type: "rearmed" }
  | { readonly type: "rollback"; readonly reason: FinalReason };

/** The next state, and what is to be done. */
export interface ConfirmStep {
  readonly state: Confirmation;
  readonly outcome: ConfirmOutcome;
}

/** A route whose rollout has just begun. */
export const ARMED: Confirmation = { phase: "armed", trips: [] };

/** What follows from an event. After a rollback the state is of no further use; a new rollout begins with `ARMED`. */
export function confirmed(state: Confirmation, event: ConfirmEvent): ConfirmStep {
  switch (event.type) {
    case "crossing":
      return onCrossing(state, event.nowMs, event.confirm);
    case "time":
      return onTime(state, event.nowMs);
    case "responses":
      return state.phase === "probing"
        ? onTime({ ...state, responses: state.responses + event.count }, event.nowMs)
        : { state, outcome: { type: "none" } };
    default:
      return event satisfies never;
  }
}

function onCrossing(state: Confirmation, nowMs: number, confirm: boolean): ConfirmStep {
  // Responses that were under way when the weight went to 0 come in late, and say nothing new.
  if (state.phase === "tripped") return { state, outcome: { type: "none" } };
  if (!confirm) return final(state, "confirm_off");
  if (state.phase === "probing" && !isOver(state, nowMs)) return final(state, "second_crossing");
  const trips = [...state.trips.filter((at) => at > nowMs - DAY_MS), nowMs];
  if (trips.length >= TRIPS_PER_DAY) return final({ ...state, trips }, "too_many_trips");
  return { state: { phase: "tripped", untilMs: nowMs + TRIP_MS, trips }, outcome: { type: "trip" } };
}

function final(state: Confirmation, reason: FinalReason): ConfirmStep {
  return { state, outcome: { type: "rollback", reason } };
}

function onTime(state: Confirmation, nowMs: number): ConfirmStep {
  if (state.phase === "tripped" && nowMs >= state.untilMs) {
    const { trips } = state;
    return {
      state: { phase: "probing", sinceMs: nowMs, responses: 0, trips },
      outcome: { type: "resume" },
    };
  }
  if (state.phase === "probing" && isOver(state, nowMs))
    return { state: { phase: "armed", trips: state.trips }, outcome: { type: "rearmed" } };
  return { state, outcome: { type: "none" } };
}

function isOver(state: Extract<Confirmation, { phase: "probing" }>, nowMs: number): boolean {
  return nowMs - state.sinceMs >= PROBE_MS && state.responses >= PROBE_RESPONSES;
}
