/** The fast lane's scanners against llhttp: what they call plain, it reads as the same message with the same end (issue 3, item 2). */

import { randomInt } from "node:crypto";
import t, { type Test } from "tap";
import { CORPUS, caseOf, differ, differNode, type Finding } from "./differ.ts";

const CASES = 60_000;
const NODE_CASES = 4000;
/** The first is always the same, the second never; `npm run fuzz` has more. */
const SEEDS = [1, randomInt(2 ** 31)];

t.test(
  "whatever of the corpus the fast lane calls plain is the same message to llhttp and to node:http",
  async (t) => {
    let plain = 0;
    for (const each of CORPUS)
      for (const finding of [differ(each), await differNode(each)]) {
        if (finding === "plain") plain++;
        t.ok(
          typeof finding === "string",
          typeof finding === "string" ? each.text.slice(0, 30) : finding.trouble,
        );
      }
    t.ok(plain > 80, `${plain} are plain`);
  },
);

for (const seed of SEEDS) {
  t.test(
    `whatever the fast lane calls plain of mutants from seed ${seed} is the same message to llhttp`,
    async (t) => {
      const found = { plain: 0, apart: 0 };
      for (let nth = 0; nth < CASES; nth++) check(t, found, differ(caseOf(seed + nth)), seed + nth);
      t.ok(found.plain > CASES / 10, `it was asked about ${found.plain}`);
    },
  );

  t.test(
    `whatever the fast lane calls plain of mutants from seed ${seed} is the same message to node:http`,
    async (t) => {
      const found = { plain: 0, apart: 0 };
      for (let nth = 0; nth < NODE_CASES; nth++)
        check(t, found, await differNode(caseOf(seed + nth)), seed + nth);
      t.ok(found.plain > NODE_CASES / 10, `it was asked about ${found.plain}`);
    },
  );
}

function check(t: Test, found: { plain: number; apart: number }, finding: Finding, seed: number): void {
  if (typeof finding === "string") found[finding]++;
  else t.fail(`seed ${seed}: ${finding.trouble}`);
}
