/** What a newcomer starts: `npm start`, and the same with a canary that breaks. Both take the seconds that their plan takes. */

import t from "tap";
import { command } from "../support/program.ts";

t.setTimeout(120_000);

t.test("the demonstration climbs to 100 % by what it measures, and ends with 0", async (t) => {
  t.setTimeout(60_000);
  const demo = command(["demo"]);
  t.equal(await demo.ended, 0, demo.output());
  t.match(demo.output(), /100 % {2}succeeded/);
  t.match(demo.output(), /0 of \d+ requests failed/);
});

t.test("with --break the canary is rolled back, what users saw is told, and the end is 1", async (t) => {
  t.setTimeout(60_000);
  const demo = command(["demo", "--break"]);
  t.equal(await demo.ended, 1, demo.output());
  t.match(demo.output(), /Rolled back: error_rate above 1%/);
  t.match(demo.output(), /canary +\d+ requests failed; stable answered \d+ of them instead/);
  t.match(demo.output(), /\d+ of 400 users saw it/);
});
