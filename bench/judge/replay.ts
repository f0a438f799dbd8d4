/** Replays: a judge before a world, from the start of a rollout to its end. */

import { STEPS, WEEK_S } from "./life.ts";
import type { Judge, Rollback, Served } from "./shipped.ts";
import { World, type Trouble, type WorldSpec } from "./world.ts";

/** How long stable is watched before a step. */
const BEFORE_S = 600;

/** What became of a rollout; null: nothing rolled it back. */
export interface End {
  readonly rollback: Rollback | null;
  readonly served: Served;
}

/**
 * One step of a rollout, up to its rollback or the world's end. The judge decides whether the canary gets traffic. Before it, ten minutes at 0 %
 * as the plan begins: stable is known when the step starts. Times count from the step's start.
 *
 * @param isOver asked after each second; ends it without a rollback
 */
export function runStep(
  world: WorldSpec,
  weight: number,
  judge: Judge,
  isOver: () => boolean = () => false,
): End {
  const drawn = new World({
    ...world,
    seconds: world.seconds + BEFORE_S,
    troubles: world.troubles.map(later),
  });
  for (let at = 0; at < BEFORE_S; at++) {
    judge.begin(at);
    judge.take(drawn.second(at, 0));
  }
  judge.step(BEFORE_S);
  for (let at = BEFORE_S; at < world.seconds + BEFORE_S; at++) {
    const rollback = judge.take(drawn.second(at, judge.begin(at) ? weight : 0));
    if (rollback !== null)
      return { rollback: { ...rollback, at: rollback.at - BEFORE_S }, served: judge.served };
    if (isOver()) break;
  }
  return { rollback: null, served: judge.served };
}

function later(trouble: Trouble): Trouble {
  return { ...trouble, from: trouble.from + BEFORE_S, to: trouble.to + BEFORE_S };
}

/**
 * A healthy week in five steps, before several judges at once: in the same world each is alone. While one has taken the traffic away it does not
 * see what the canary would have answered.
 */
export function runWeek<J extends Judge>(
  week: WorldSpec,
  judges: readonly J[],
): ReadonlyMap<J, Rollback | null> {
  const ends = new Map<J, Rollback | null>(judges.map((judge) => [judge, null]));
  const world = new World(week);
  let going = judges;
  for (let at = 0; at < week.seconds && going.length > 0; at++) {
    if ((at * STEPS.length) % WEEK_S === 0) for (const judge of going) judge.step(at);
    const second = world.second(at, weightAt(at));
    const before = going;
    for (const judge of before) {
      judge.begin(at);
      const rollback = judge.take(second);
      if (rollback === null) continue;
      ends.set(judge, rollback);
      going = going.filter((each) => each !== judge);
    }
  }
  return ends;
}

function weightAt(at: number): number {
  return STEPS[Math.floor((at * STEPS.length) / WEEK_S)]!;
}
