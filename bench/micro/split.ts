/** What the decision itself costs: from a sticky key to a bucket to an arm. `node bench/micro/split.ts` */

import { murmur3 } from "../../src/domain/hash.ts";
import { armOf, bucketOf } from "../../src/domain/split.ts";
import { ppm } from "../../src/domain/units.ts";
import { time } from "./time.ts";

const KEYS = Array.from({ length: 4096 }, (_, index) => `user-${String(index * 7919)}`);
const LONG = KEYS.map((key) => key.repeat(16));
const keyAt = (keys: readonly string[], index: number): string => keys[index & 4095] ?? "";
const half = ppm(500_000);

time("murmur3, key of about 12 characters", (index) => murmur3(keyAt(KEYS, index), 0));
time("murmur3, key of about 200 characters", (index) => murmur3(keyAt(LONG, index), 0));
time("bucketOf + armOf, salt and key joined", (index) =>
  armOf(bucketOf(keyAt(KEYS, index), "rollout-1"), half) === "canary" ? 1 : 0,
);
