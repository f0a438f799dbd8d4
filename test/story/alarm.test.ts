/** The fast tier over the running program: a broken canary loses its traffic with one bad response too many, before any tick (statistics.md §3). */

import t from "tap";
import { failing, program, type Program } from "../support/program.ts";

const RULES = {
  rollback: {
    onAny: [
      { metric: "error_rate", above: "1%", test: "sequential" },
      { metric: "p95", above: "500ms", test: "sequential" },
      { compare: "error_rate", worseBy: "0.5%" },
    ],
  },
  rescue: "off",
};

/** Sends requests of ever new users, `width` at a time, until `done`, and at most `most`. */
async function ask(p: Program, most: number, done: () => boolean, width = 10): Promise<void> {
  let sent = 0;
  while (sent < most && !done()) {
    await Promise.all(Array.from({ length: width }, (_, nth) => p.get(`user-${sent + nth}`)));
    sent += width;
  }
}

const phaseOf = async (p: Program) =>
  (await p.status()) as unknown as { weight: number; reason: string; phase: string };

for (const [weight, most] of [
  [10, 12],
  [50, 30],
] as const) {
  t.test(
    `a canary that fails everything at ${weight} % is off after at most ${most} failures, without a tick`,
    async (t) => {
      const p = await program(RULES);
      t.teardown(() => p.close());
      await p.setWeight(weight);
      await ask(p, 300, () => false);
      await p.clock.advance("1s");
      p.canary.answer = failing;
      const before = p.canary.requests;
      let silent = 0;
      let last = before;
      // It is off when a hundred requests in a row have not come to it.
      await ask(
        p,
        2000,
        () => {
          silent = p.canary.requests === last ? silent + 1 : 0;
          last = p.canary.requests;
          return silent >= 10;
        },
        4,
      );
      const failures = p.canary.requests - before;
      t.ok(failures <= most + 4, `${failures} failed`);
      t.match(await phaseOf(p), {
        weight: 0,
        phase: "paused",
        reason: /^Tripped: error_rate above 1% on every response/,
      });
    },
  );
}

t.test(
  "a known issue is shown and is no evidence, on the path and with the status that were named",
  async (t) => {
    const p = await program({
      rollback: { ...RULES.rollback, knownIssues: [{ path: "/old", status: 500 }] },
      rescue: "off",
    });
    t.teardown(() => p.close());
    await p.setWeight(50);
    p.canary.answer = failing;
    for (let nth = 0; nth < 200; nth++) await p.get(`user-${nth}`, { path: "/old/page?x" });
    const { arms } = await p.status();
    t.equal((await p.status()).weight, 50);
    t.equal(arms.canary.failures, 0);
    t.equal(arms.canary.byReason.known_issue, arms.canary.excluded);
    t.ok(arms.canary.excluded > 50, `${arms.canary.excluded}`);
    for (let nth = 0; nth < 200; nth++) await p.get(`user-${nth}`, { path: "/older" });
    t.equal((await p.status()).weight, 0);
  },
);
