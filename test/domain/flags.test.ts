/** Feature flags as rules: what a change comes to, what follows a route, what opens behind one. */

import fc from "fast-check";
import t from "tap";
import {
  changed,
  openedBy,
  overridden,
  settled,
  strategyOf,
  type FlagChange,
  type FlagOverride,
  type FlagTies,
  type RouteStand,
} from "../../src/domain/flag-change.ts";
import { readFlags } from "../../src/domain/flag-file.ts";
import { inlined, shareOf, withShare } from "../../src/domain/flag-targeting.ts";
import { isAlwaysOn, offVariantOf, sidesOf, type Flag } from "../../src/domain/flag.ts";
import { armOf, bucketOf } from "../../src/domain/split.ts";
import { FULL, NONE, ppm } from "../../src/domain/units.ts";

const ON_OFF = { state: "ENABLED", variants: { on: true, off: false }, defaultVariant: "off" };
const SIDES = { on: "on", off: "off" };
const TIES: FlagTies = { follows: undefined, opensAfter: undefined, isCritical: false };
const WHO = { by: "ada", at: "2026-01-05T09:00:00.000Z" };
const STAND: RouteStand = { phase: "progressing", rollout: "r-1", salt: "r-1", weight: ppm(250_000) };

function flag(definition: object): Flag {
  const read = readFlags({ flags: { a: definition } });
  const found = read.ok ? read.flags.get("a") : undefined;
  if (found === undefined) throw new Error(JSON.stringify(read));
  return found;
}

function problems(file: unknown): readonly string[] {
  const read = readFlags(file);
  return read.ok ? [] : read.problems.map(({ path, message }) => `${path.join(".")}: ${message}`);
}

function set(of: Flag, change: Partial<FlagChange>, ties = TIES, before?: FlagOverride) {
  return changed(of, before, { reason: "why", ...change }, ties, WHO);
}

t.test("a followed flag is on for exactly the keys whose arm is the canary", async (t) => {
  const follows = flag(ON_OFF);
  fc.assert(
    fc.property(
      fc.string({ minLength: 1 }),
      fc.string(),
      fc.integer({ min: 0, max: FULL }),
      (key, salt, n) => {
        const weight = ppm(n);
        const found = settled(follows, true, { ...STAND, salt, weight }, key);
        const arm = armOf(bucketOf(key, salt), weight);
        return found?.variant === (arm === "canary" ? "on" : "off") && found.reason === "SPLIT";
      },
    ),
  );
  t.match(settled(follows, true, STAND, undefined), { reason: "TARGETING_KEY_MISSING" });
  t.equal(settled(follows, true, undefined, "key"), undefined, "of no route: its rules say");
  const many = flag({ ...ON_OFF, variants: { a: 1, b: 2, c: 3 }, defaultVariant: "a" });
  t.equal(settled(many, true, STAND, "key"), undefined);
});

t.test("what is off or not open yet serves its off side, whatever its rules say", async (t) => {
  const on = flag({ ...ON_OFF, defaultVariant: "on" });
  const off = { variant: "off", reason: "DISABLED" };
  t.same(settled({ ...on, state: "DISABLED" }, true, undefined, "k"), off);
  t.same(settled(on, false, undefined, "k"), off);
  t.same(settled(on, false, STAND, "k"), off);
  t.equal(
    offVariantOf(flag({ state: "ENABLED", variants: { x: "1", y: "2", z: "3" }, defaultVariant: "y" })),
    "y",
  );
  t.equal(offVariantOf(flag({ state: "ENABLED", variants: { x: {} } })), null);
});

t.test("a flag has two sides when it is boolean, or when one of two variants is its default", async (t) => {
  t.same(sidesOf(flag({ ...ON_OFF, defaultVariant: "on" })), SIDES);
  t.equal(sidesOf(flag({ state: "ENABLED", variants: { on: true }, defaultVariant: "on" })), undefined);
  t.equal(sidesOf(flag({ state: "ENABLED", variants: { off: false } })), undefined);
  const two = { state: "ENABLED", variants: { old: "v1", new: "v2" } };
  t.same(sidesOf(flag({ ...two, defaultVariant: "old" })), { on: "new", off: "old" });
  t.equal(sidesOf(flag(two)), undefined);
});

t.test("only what is enabled, without rules and true is always on", async (t) => {
  const on = flag({ ...ON_OFF, defaultVariant: "on" });
  t.equal(isAlwaysOn(on), true);
  for (const other of [
    { ...on, state: "DISABLED" as const },
    { ...on, defaultVariant: "off" },
    { ...on, defaultVariant: null },
    { ...on, targeting: { var: "x" } },
  ])
    t.equal(isAlwaysOn(other), false);
});

t.test(
  "flags behind a rollout open with its success and close with its rollback, and with no other",
  async (t) => {
    const at = (phase: RouteStand["phase"], rollout: string): RouteStand => ({ ...STAND, phase, rollout });
    t.equal(openedBy(undefined, undefined), undefined);
    t.equal(openedBy("r-1", undefined), "r-1", "a route that is gone for a while says nothing");
    t.equal(openedBy(undefined, at("baking", "r-1")), undefined);
    t.equal(openedBy(undefined, at("rolled_back", "r-1")), undefined);
    t.equal(openedBy(undefined, at("succeeded", "r-1")), "r-1");
    t.equal(openedBy("r-1", at("progressing", "r-2")), "r-1");
    t.equal(openedBy("r-1", at("rolled_back", "r-2")), "r-1");
    t.equal(openedBy("r-1", at("rolled_back", "r-1")), undefined);
  },
);

t.test("what is set lies over the file, and what no longer fits it counts for nothing", async (t) => {
  const plain = flag(ON_OFF);
  const over = (more: Partial<FlagOverride>, of = plain): Flag =>
    overridden(of, { ...WHO, reason: "", ...more });
  t.equal(overridden(plain, undefined), plain);
  t.match(over({ state: "off" }), { state: "DISABLED", defaultVariant: "off" });
  t.match(over({ state: "on" }), { state: "ENABLED", defaultVariant: "on" }, "on is on");
  t.match(over({ state: "on" }, { ...plain, state: "DISABLED" }), { state: "ENABLED", defaultVariant: "on" });
  t.match(over({ variant: "on" }), { state: "ENABLED", defaultVariant: "on" });
  t.match(over({ variant: "gone" }), plain);
  const ruled = flag({
    ...ON_OFF,
    targeting: {
      fractional: [
        ["off", 3],
        ["on", 1],
      ],
    },
  });
  t.match(over({ state: "on" }, ruled), { targeting: ruled.targeting, defaultVariant: "off" });
  t.same(over({ variant: "on" }, ruled).targeting, undefined);
  t.same(over({ percentage: ppm(100_000) }, ruled).targeting, {
    fractional: [
      ["off", 900_000],
      ["on", 100_000],
    ],
  });
  const other = flag({ ...ON_OFF, targeting: { if: [{ var: "x" }, "on", "off"] } });
  t.equal(over({ percentage: ppm(100_000) }, other).targeting, other.targeting);
  const text = flag({ state: "ENABLED", variants: { x: "1", y: "2", z: "3" }, defaultVariant: "x" });
  t.match(over({ state: "on" }, text), { defaultVariant: "x" });
  t.match(over({ percentage: ppm(1) }, text), { targeting: undefined });
  const half = flag({ state: "ENABLED", variants: { on: true }, defaultVariant: "on" });
  t.match(over({ state: "on" }, half), { defaultVariant: "on" });
});

t.test("a share goes to the one split between the two sides, and only adds keys when it rises", async (t) => {
  t.equal(
    shareOf(
      {
        fractional: [
          ["on", 1],
          ["off", 3],
        ],
      },
      SIDES,
    ),
    250_000,
  );
  t.equal(shareOf({ fractional: [["on"], ["off"]] }, SIDES), 500_000, "a bucket without a weight has 1");
  const nested = { if: [{ var: "staff" }, "on", { fractional: ["seed", ["off", 9], ["on", 1]] }] };
  t.equal(shareOf(nested, SIDES), 100_000);
  t.same(withShare(nested, SIDES, ppm(200_000)), {
    if: [{ var: "staff" }, "on", { fractional: ["seed", ["off", 800_000], ["on", 200_000]] }],
  });
  const beside = {
    and: [
      nested,
      {
        fractional: [
          ["a", 1],
          ["b", 1],
        ],
      },
      {
        fractional: [
          ["on", { var: "w" }],
          ["off", 1],
        ],
      },
    ],
  };
  t.equal(shareOf(beside, SIDES), 100_000, "a split of something else, or by a rule, is none of it");
  t.match(withShare(beside, SIDES, NONE), {
    and: [
      {},
      {
        fractional: [
          ["a", 1],
          ["b", 1],
        ],
      },
      {},
    ],
  });
  for (const none of [{ var: "x" }, { and: [nested, nested] }, { fractional: [["on", 1]] }]) {
    t.equal(shareOf(none, SIDES), undefined);
    t.equal(withShare(none, SIDES, NONE), undefined);
  }
  t.same(withShare(undefined, SIDES, ppm(1)), {
    fractional: [
      ["on", 1],
      ["off", 999_999],
    ],
  });
});

t.test(
  "a change that cannot be made is refused with a code, and one that can is kept with its author",
  async (t) => {
    const plain = flag(ON_OFF);
    const invalid = { ok: false, code: "SPLIT_INPUT_INVALID" };
    t.match(set(plain, {}), invalid);
    t.match(set(plain, { reset: true, state: "on" }), invalid);
    t.match(set(plain, { variant: "on", percentage: NONE }), invalid);
    t.match(set(plain, { variant: "maybe" }), { ...invalid, message: /there are on, off/ });
    const ruled = flag({ ...ON_OFF, targeting: { var: "x" } });
    t.match(set(ruled, { percentage: NONE }), { ...invalid, message: /no single `fractional`/ });
    const three = flag({ state: "ENABLED", variants: { x: 1, y: 2, z: 3 }, defaultVariant: "x" });
    t.match(set(three, { percentage: NONE }), invalid);
    const follows = { ...TIES, follows: "app" };
    for (const change of [{ variant: "on" }, { percentage: FULL }])
      t.match(set(plain, change, follows), { ok: false, code: "SPLIT_FLAG_FOLLOWS" });
    t.match(set(plain, { state: "off" }, follows), { ok: true, override: { state: "off" } });

    t.same(set(plain, { percentage: ppm(5) }), {
      ok: true,
      override: { percentage: 5, ...WHO, reason: "why" },
    });
    const before: FlagOverride = { state: "on", variant: "on", ...WHO, reason: "before" };
    t.same(set(plain, { percentage: ppm(5) }, TIES, before), {
      ok: true,
      override: { state: "on", percentage: 5, ...WHO, reason: "why" },
    });
    t.same(set(plain, { state: "off" }, TIES, before), {
      ok: true,
      override: { state: "off", variant: "on", ...WHO, reason: "why" },
    });
    t.same(set(plain, { reset: true }, TIES, before), { ok: true, override: undefined });
  },
);

t.test("a critical flag becomes nothing but true, unless that is forced", async (t) => {
  const on = flag({ ...ON_OFF, defaultVariant: "on" });
  const critical = { ...TIES, isCritical: true };
  for (const change of [{ state: "off" }, { variant: "off" }, { percentage: FULL }] as const) {
    t.match(set(on, change, critical), { ok: false, code: "SPLIT_FLAG_CRITICAL" });
    t.match(set(on, { ...change, force: true }, critical), { ok: true });
  }
  t.match(set(on, { variant: "on" }, critical), { ok: true });
  t.match(set(on, { reset: true }, critical), { ok: true });
});

t.test("how a flag chooses is told with its share", async (t) => {
  t.same(strategyOf(flag(ON_OFF), STAND), { strategy: "follows", share: 250_000 });
  t.same(strategyOf(flag(ON_OFF), undefined), { strategy: "static", share: null });
  const of = (targeting: object, more = {}) => strategyOf(flag({ ...ON_OFF, targeting, ...more }), undefined);
  t.same(
    of({
      fractional: [
        ["on", 1],
        ["off", 1],
      ],
    }),
    { strategy: "percentage", share: 500_000 },
  );
  t.same(of({ var: "x" }), { strategy: "targeting", share: null });
  const three = { variants: { x: 1, y: 2, z: 3 }, defaultVariant: "x" };
  t.same(of({ var: "x" }, three), { strategy: "targeting", share: null });
});

t.test("references are replaced by their rules, also within each other", async (t) => {
  const file = {
    $evaluators: { staff: { in: ["@", { var: "email" }] }, both: { and: [{ $ref: "staff" }, true] } },
    flags: { a: { ...ON_OFF, targeting: { if: [{ $ref: "both" }, "on", null] } } },
  };
  const read = readFlags(file);
  t.match(read, { ok: true });
  const staff = { in: ["@", { var: "email" }] };
  if (read.ok) t.same(read.flags.get("a")?.targeting, { if: [{ and: [staff, true] }, "on", null] });
  t.equal(inlined("on", {}), "on");
});

t.test("what only looks like a rule is refused, and what is one is not", async (t) => {
  const of = (targeting: unknown, more = {}) => problems({ flags: { a: { ...ON_OFF, targeting, ...more } } });
  t.same(of({}), []);
  t.same(of({ if: [{}, "on"] }), []);
  t.same(of({ if: ["on"] }), [], "of a single operand it is the condition");
  t.same(of({ if: { var: "x" } }), []);
  t.same(of({ if: [true, true, false] }, { variants: { true: 1, false: 2 }, defaultVariant: "true" }), []);
  t.same(of({ fractional: [{ var: "x" }, [{ if: [{ var: "y" }, "on", "off"] }, { var: "w" }]] }), []);
  t.match(of("on"), [/expected a rule/]);
  t.match(of({ if: [{ a: 1, b: 2 }, "on"] }), [/a rule has one operator/]);
  t.match(of({ $ref: "nobody" }), [/no such rule/]);
  t.match(of({ fractional: [["on", 0]] }), [/the weights come to 0/]);
  t.match(of({ fractional: [["on", 2 ** 31]] }), [/2147483647 is the most/]);
  const loop = problems({ $evaluators: { a: { and: [{ $ref: "a" }] }, b: { if: [true, "x"] } }, flags: {} });
  t.match(loop, [/the rule "a" refers to itself/]);
  t.match(of({ fractional: { var: "x" } }), [/takes a list of buckets/]);
  t.match(of({ fractional: [] }), [/needs at least one bucket/]);
  t.match(of({ fractional: ["seed"] }), [/needs at least one bucket/]);
  t.match(of({ fractional: [[]] }), [/a bucket is a list/]);
  t.match(of({ fractional: [["on", "1"]] }), [/a weight is a whole number/]);
  t.match(of({ fractional: [["on", { vra: "x" }]] }), [/unknown operator `vra`/]);
  t.match(of({ $ref: 3 }), [/no such rule/]);
  t.match(of({ if: [{ var: "x" }, 3, "on"] }), [/no such variant/]);
});

t.test("a flag is a mapping with a key, a state and variants of one type", async (t) => {
  const of = (definition: unknown, key = "a") => problems({ flags: { [key]: definition } });
  t.match(problems(3), [/expected a mapping/]);
  t.match(problems({ flags: 3 }), [/expected a mapping of flags/]);
  t.match(problems({ flags: {}, metadata: 3 }), [/metadata: expected a mapping/]);
  t.match(problems({ flags: {}, $evaluators: 3 }), [/expected a mapping of rules/]);
  t.match(of(ON_OFF, "a\nb"), [/a flag's key has/]);
  t.match(of(3), [/expected a flag/]);
  t.match(of({ ...ON_OFF, state: "ON", color: 1, metadata: { a: [] } }), [
    /unknown key `color`/,
    /expected "ENABLED" or "DISABLED"/,
    /expected a text, a number or a boolean/,
  ]);
  t.match(of({ ...ON_OFF, variants: 3 }), [/at least one variant/]);
  t.match(of({ ...ON_OFF, variants: { off: null } }), [/a variant is a boolean/]);
  t.match(of({ ...ON_OFF, variants: { a: [1], off: false } }), [/a variant is a boolean/]);
  t.match(of({ ...ON_OFF, variants: { off: {}, b: 1 } }), [/of type number, "off" is of type object/]);
  t.match(of({ ...ON_OFF, defaultVariant: 3 }), [/no such variant/]);
  t.match(of({ ...ON_OFF, defaultVariant: "toString" }), [/no such variant/]);
  t.same(of({ ...ON_OFF, defaultVariant: null }), []);
  const read = readFlags({
    metadata: { team: "a", n: 1 },
    flags: { a: { ...ON_OFF, metadata: { n: 2, b: true } } },
  });
  if (read.ok) t.same(read.flags.get("a")?.metadata, { team: "a", n: 2, b: true });
});

t.test("the older form is known by its version or by `enabled`, and read as a whole", async (t) => {
  const old = (flags: unknown) => readFlags({ version: "1", flags });
  t.match(readFlags({ flags: { a: { enabled: true, default_value: true } } }), { ok: true });
  t.match(old(3), { ok: false, problems: [{ message: /expected a mapping of flags/ }] });
  t.match(readFlags({ flags: { a: 3 } }), { ok: false }, "flagd's form then, and wrong");
  const read = old({
    a: { enabled: true, default_value: true, owner: "x", tags: 3 },
    b: { enabled: true, rollout_strategy: "percentage", percentage: "5%" },
    c: { enabled: true, rollout_strategy: "progressive" },
    d: {
      enabled: true,
      rollout_strategy: "canary",
      progressive_config: { canary_users: [], canary_regions: ["x"] },
    },
    e: { enabled: false, rollout_strategy: "canary" },
  });
  t.ok(read.ok);
  if (!read.ok) return;
  t.match(read.flags.get("a"), { state: "ENABLED", defaultVariant: "on", metadata: { owner: "x", tags: 3 } });
  t.same(read.flags.get("b")?.targeting, {
    fractional: [
      ["on", 50_000],
      ["off", 950_000],
    ],
  });
  t.same(read.flags.get("c")?.targeting, {
    fractional: [
      ["on", 0],
      ["off", FULL],
    ],
  });
  t.same(read.flags.get("d")?.targeting, { if: [{ or: [{ in: [{ var: "region" }, ["x"]] }] }, "on", "off"] });
  t.match(read.flags.get("e"), { state: "DISABLED", targeting: undefined });
  const bad = old({
    a: { enabled: 1, default_value: 1, rollout_strategy: 1, progressive_config: 1 },
    b: { enabled: true, rollout_strategy: "percentage" },
    c: { enabled: true, rollout_strategy: "canary", progressive_config: { canary_users: [1] } },
    d: { enabled: true, milestones: [] },
    e: null,
    f: { enabled: true, rollout_strategy: "canary", progressive_config: 3 },
  });
  t.equal(bad.ok ? 0 : bad.problems.length, 9);
  t.match(old({ "a\tb": { enabled: true } }), { ok: false, problems: [{ message: /a flag's key has/ }] });
  t.match(readFlags({ version: "1", owner: "x", flags: {} }), {
    problems: [{ message: /unknown key `owner`/ }],
  });
});
