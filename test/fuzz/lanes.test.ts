/** The same bytes through both lanes, to the same upstream and back (issue 3, item 1). */

import { randomInt } from "node:crypto";
import t from "tap";
import { LANE_CORPUS, laneCaseOf, LanePool, type LaneCase } from "./lanes.ts";

const CASES = 300;
const WIDTH = 8;
/** The first is always the same, the second never; `npm run fuzz` has more. */
const SEEDS = [1, randomInt(2 ** 31)];

function* mutants(seed: number): Generator<LaneCase> {
  for (let nth = 0; nth < CASES; nth++) yield laneCaseOf(seed + nth);
}

const pool = await new LanePool().start(WIDTH);
t.teardown(() => pool.close());

t.test("both lanes make the same of every message of the corpus", async (t) => {
  const count = await pool.run(LANE_CORPUS.values(), (trouble) => t.fail(trouble));
  t.equal(count, LANE_CORPUS.length);
});

for (const seed of SEEDS) {
  t.test(`both lanes make the same of ${CASES} mutants from seed ${seed}`, async (t) => {
    const count = await pool.run(mutants(seed), (trouble) => t.fail(trouble));
    t.equal(count, CASES);
  });
}
