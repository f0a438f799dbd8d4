/** Which arm a request goes to, by one reading of the split. Pure but for the dice. */

import { BUCKETS, armOf, type Arm } from "../domain/split.ts";
import type { RouteSplit } from "../engine/routing.ts";
import { NO_KEY, type RequestView } from "./request.ts";
import type { Route, Surroundings } from "./route.ts";

/** Where one request goes, and as what it counts. */
export interface Choice {
  readonly arm: Arm;
  readonly forced: boolean;
  /** The key of a new anonymous client; undefined: ask the request again, should anybody want to know. */
  readonly key: string | undefined;
  /** Set-Cookie value for a new anonymous key; empty: none. */
  readonly cookie: string;
}

// Nearly every exchange is one of these, so they are made once.
const BY_KEY: Readonly<Record<Arm, Choice>> = {
  stable: { arm: "stable", forced: false, key: undefined, cookie: "" },
  canary: { arm: "canary", forced: false, key: undefined, cookie: "" },
};
const BY_FORCE: Readonly<Record<Arm, Choice>> = {
  stable: { ...BY_KEY.stable, forced: true },
  canary: { ...BY_KEY.canary, forced: true },
};

function byKey(arm: Arm): Choice {
  return arm === "canary" ? BY_KEY.canary : BY_KEY.stable;
}

/** The arm of a request: an override if there is a valid one, else its key's bucket against the weight. */
export function choose(route: Route, split: RouteSplit, view: RequestView, around: Surroundings): Choice {
  const forced = route.override.armOf(view, split.forcedCanary);
  if (forced !== undefined) return BY_FORCE[forced];
  const bucket = view.bucketOf(route.identify.sources, split.salt);
  if (bucket !== NO_KEY) return byKey(armOf(bucket, split.weight));
  const anonymous = route.identify.anonymous(view, split.salt);
  if (anonymous === undefined) return BY_KEY[armOf(Math.floor(around.dice.random() * BUCKETS), split.weight)];
  const arm = armOf(anonymous.bucket, split.weight);
  return anonymous.cookie === ""
    ? byKey(arm)
    : { arm, forced: false, key: anonymous.key, cookie: anonymous.cookie };
}
