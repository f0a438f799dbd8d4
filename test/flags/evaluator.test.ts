/** What `fractional` gives: flagd's published cases, flagd's own evaluator and its formula, key by key. */

import { readFileSync } from "node:fs";
import { FlagdCore } from "@openfeature/flagd-core";
import t from "tap";
import { murmur3 } from "../../src/domain/hash.ts";
import { readFlags } from "../../src/domain/flag-file.ts";
import type { Flag } from "../../src/domain/flag.ts";
import { evaluatorOf } from "../../src/flags/evaluator.ts";

interface Case {
  readonly flag: string;
  readonly context: Readonly<Record<string, unknown>>;
  readonly value: unknown;
}

// The file is this test's own.
const PUBLISHED = JSON.parse(readFileSync("test/golden/flags/fractional.json", "utf8")) as {
  readonly flags: object;
  readonly cases: readonly Case[];
};
const quiet = { debug() {}, info() {}, warn() {}, error() {} };

function flagsOf(flags: object): readonly Flag[] {
  const read = readFlags({ flags });
  if (!read.ok) throw new Error(JSON.stringify(read.problems));
  return [...read.flags.values()];
}

t.test("flagd's published cases of `fractional` come out as published (acceptance 35)", async (t) => {
  const flags = flagsOf(PUBLISHED.flags);
  const { evaluate, broken } = evaluatorOf(flags);
  t.same(broken, []);
  t.equal(PUBLISHED.cases.length, 32);
  for (const { flag, context, value } of PUBLISHED.cases) {
    const found = evaluate(flag, context);
    const variants = flags.find(({ key }) => key === flag)?.variants ?? {};
    t.equal(
      found.ok ? variants[found.variant ?? ""] : found.code,
      value,
      `${flag} ${JSON.stringify(context)}`,
    );
  }
});

t.test(
  "10,000 keys get the variant that flagd gives them, and that its formula gives (acceptance 35)",
  async (t) => {
    const weights = [1, 10, 25, 64, 100_000];
    const total = weights.reduce((sum, each) => sum + each, 0);
    const variants = Object.fromEntries(weights.map((_, at) => [`v${at}`, at]));
    const targeting = { fractional: weights.map((weight, at) => [`v${at}`, weight]) };
    const split = { state: "ENABLED", variants, defaultVariant: "v0", targeting };
    const { evaluate } = evaluatorOf(flagsOf({ split }));
    const flagd = new FlagdCore(undefined, quiet);
    flagd.setConfigurations(JSON.stringify({ flags: { split } }));
    let different = 0;
    for (let n = 0; n < 10_000; n++) {
      const targetingKey = `user-${n}@app.example`;
      const ours = evaluate("split", { targetingKey });
      const theirs = flagd.resolveNumberEvaluation("split", -1, { targetingKey });
      const bucket = Number((BigInt(murmur3(`split${targetingKey}`, 0)) * BigInt(total)) >> 32n);
      let end = 0;
      const formula = weights.findIndex((weight) => (end += weight) > bucket);
      if (!ours.ok || ours.variant !== theirs.variant || ours.variant !== `v${formula}`) different++;
    }
    t.equal(different, 0);
  },
);

t.test("a key that a rule asks for and nobody gave is said, and only then", async (t) => {
  const on = { state: "ENABLED", variants: { on: true, off: false }, defaultVariant: "off" };
  const byKey = {
    fractional: [
      ["on", 1],
      ["off", 1],
    ],
  };
  const { evaluate } = evaluatorOf(
    flagsOf({
      keyed: { ...on, targeting: byKey },
      condition: { ...on, targeting: { if: [byKey, "on", "off"] } },
      staff: { ...on, targeting: { if: [{ "==": [{ var: "role" }, "staff"] }, "on", byKey] } },
      plain: on,
      nothing: { ...on, targeting: {} },
      code: { state: "ENABLED", variants: { a: 1 } },
      lost: { ...on, targeting: { var: "which" } },
    }),
  );
  const missing = { ok: false, code: "TARGETING_KEY_MISSING" };
  t.match(evaluate("keyed", {}), missing);
  t.match(evaluate("condition", {}), missing, "a condition without a key is no condition that does not hold");
  t.match(evaluate("staff", {}), missing);
  t.match(evaluate("staff", { role: "staff" }), { ok: true, variant: "on" });
  t.match(evaluate("plain", {}), { ok: true, variant: "off", reason: "STATIC" });
  t.match(evaluate("nothing", {}), { ok: true, variant: "off", reason: "STATIC" });
  t.match(evaluate("code", {}), { ok: true, variant: null, reason: "DEFAULT" });
  t.match(evaluate("lost", {}), { ok: true, variant: "off", reason: "DEFAULT" });
  t.match(evaluate("lost", { which: "sideways" }), { ok: false, code: "GENERAL" });
  t.match(evaluate("nobody", {}), { ok: false, code: "GENERAL" });
});

t.test("rules are interpreted, and no code is built from them", async (t) => {
  const { Function: built } = globalThis;
  t.teardown(() => void (globalThis.Function = built));
  // What the evaluator would build code with.
  const fails = (): never => {
    throw new Error("code was built");
  };
  globalThis.Function = new Proxy(built, { construct: fails, apply: fails });
  const { evaluate } = evaluatorOf(flagsOf(PUBLISHED.flags));
  t.match(evaluate("fractional-flag-shorthand", { targetingKey: "jon@company.com" }), { variant: "heads" });
});
