/**
 * A clock that is moved by hand, so that no test sleeps and none depends on how fast the machine is.
 *
 * `advance("5m")` goes from one due callback to the next, in order of time, and waits for each callback's promise before going on:
 * what a test sees afterwards is what five quiet minutes would have led to. A `step` longer than the callbacks' interval plays a process
 * that was stopped: what fell due within one step runs once, late, as a timer of Node would.
 */

import { millis, parseDuration, type Millis } from "../../src/domain/units.ts";
import type { Clock } from "../../src/engine/ports.ts";

/** A clock with hands. */
export interface FakeClock extends Clock {
  /**
   * Moves both clocks by `duration` (a text like "5m", or milliseconds) and runs what falls due on the way, one after the other. `step`
   * moves in equal steps instead of from one due callback to the next.
   */
  advance(duration: string | number, step?: string): Promise<void>;
  /** Moves only the wall clock, by `ms`, which may be negative. */
  jumpWall(ms: number): void;
  /** How many callbacks are registered: 0 after everything was closed. */
  readonly timers: number;
}

interface Timer {
  readonly interval: number;
  readonly run: () => void | Promise<void>;
  due: number;
}

/** A clock that stands at 2026-01-05T09:00:00Z, a Monday, and at a monotonic time that is not zero, until it is moved. */
export function fakeClock(): FakeClock {
  let mono = 1_000;
  let wall = Date.UTC(2026, 0, 5, 9, 0, 0);
  const timers = new Set<Timer>();

  function moveTo(time: number): void {
    wall += time - mono;
    mono = time;
  }

  async function runDue(): Promise<void> {
    const due = [...timers].filter((timer) => timer.due <= mono).sort((a, b) => a.due - b.due);
    for (const timer of due) {
      if (!timers.has(timer)) continue; // An earlier callback stopped it.
      timer.due = mono + timer.interval;
      await timer.run();
    }
  }

  return {
    mono: () => millis(mono),
    wall: () => wall,
    every(interval: Millis, run) {
      if (!(interval > 0)) throw new RangeError(`not an interval: ${interval}`);
      const timer: Timer = { interval, run, due: mono + interval };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    async advance(duration, step) {
      const target = mono + lengthOf(duration);
      const stride = step === undefined ? undefined : lengthOf(step);
      while (mono < target) {
        const next =
          stride === undefined ? Math.min(...[...timers].map((timer) => timer.due)) : mono + stride;
        moveTo(Math.min(next, target));
        await runDue();
      }
    },
    jumpWall(ms) {
      wall += ms;
    },
    get timers() {
      return timers.size;
    },
  };
}

function lengthOf(duration: string | number): number {
  const length = typeof duration === "number" ? duration : parseDuration(duration);
  if (length === undefined || !(length > 0)) throw new RangeError(`not a duration: ${duration}`);
  return length;
}
