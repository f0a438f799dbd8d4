/** Raises of several replicas whose saves were not answered. */

import t from "tap";
import { IDLE } from "../../src/domain/rollout-move.ts";
import { ppm } from "../../src/domain/units.ts";
import type { Notice, RecordedState } from "../../src/engine/ports.ts";
import { Raising } from "../../src/engine/raising.ts";

const at = (percent: number, revision: number, atMs = 1): RecordedState => ({
  ...IDLE,
  id: "r-1",
  revision,
  weight: ppm(percent * 10_000),
  notices: [{ atMs, notice: {} as Notice }],
});

t.test("what was not answered is said once, however often it is found on record", async (t) => {
  const raising = new Raising();
  let said = 0;
  raising.unanswered(at(40, 3), () => said++);
  t.notOk(raising.answered(at(30, 2)), "it is not there yet");
  t.notOk(raising.answered(at(0, 3)), "another one's decision has its number");
  t.notOk(raising.answered(at(40, 3, 2)), "another one has decided the same");
  t.ok(raising.answered(at(40, 3)));
  t.notOk(raising.answered(at(40, 3)));
  t.equal(said, 1);
});

t.test("what was not answered is not said any more once something else is in force", async (t) => {
  const raising = new Raising();
  raising.unanswered(at(40, 3), () => t.fail("it is over"));
  raising.forget();
  t.notOk(raising.answered(at(40, 3)));
});

t.test("the first of two saves that were not answered is known when it is the one that landed", async (t) => {
  const raising = new Raising();
  const said: string[] = [];
  raising.unanswered(at(40, 3, 1), () => said.push("first"));
  raising.unanswered(at(40, 3, 2), () => said.push("second"));
  t.ok(raising.answered(at(40, 3, 1)));
  t.notOk(raising.answered(at(40, 3, 2)), "the other one can land no more");
  t.same(said, ["first"]);
});

t.test("a record without messages is told from one with them", async (t) => {
  const raising = new Raising();
  const { notices: _notices, ...bare } = at(40, 3);
  raising.unanswered(at(40, 3), () => {});
  t.notOk(raising.answered(bare));
  raising.unanswered(bare, () => {});
  t.ok(raising.answered(bare));
});
