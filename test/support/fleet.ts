/** Several benches on one store that they share. */

import type { Log } from "../../src/engine/ports.ts";
import { bench, benchConfig, weightOf, type Bench } from "./engine.ts";
import { fakeClock } from "./clock.ts";
import { SharedObject, type SharedMember } from "./shared-store.ts";

/** A rule that decides within seconds. */
const CONFIG = benchConfig({
  rollback: { onAny: [{ metric: "error_rate", above: "1%", for: "3s" }] },
});
/** Rules that nothing in a test breaks. */
export const RULE_FREE = benchConfig();

/** One of them. */
export interface Replica extends Bench {
  readonly store: SharedMember;
}

/** So many of them, with a leader. */
export async function fleet(count: number, config = CONFIG, log?: Log) {
  const clock = fakeClock();
  const object = new SharedObject(clock);
  const replicas: Replica[] = [];
  for (let nth = 0; nth < count; nth++) {
    const store = object.join(`replica-${nth}`);
    replicas.push({
      ...(await bench(config, { store, clock, ...(log === undefined ? {} : { log }) })),
      store,
    });
  }
  await clock.advance("3s");
  return { clock, object, replicas: replicas as [Replica, Replica, Replica] };
}

export const weights = (replicas: readonly Bench[]): readonly number[] => replicas.map(weightOf);
