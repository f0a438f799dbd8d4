import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { inspect } from "node:util";
import { tmpdir } from "node:os";
import fc from "fast-check";
import t from "tap";
import { effective, effectiveYaml, loadConfig, parseConfig } from "../../src/config/load.ts";
import { planOf, planSchema } from "../../src/config/plan.ts";
import { distance, nearest } from "../../src/config/spelling.ts";
import { formatDuration, formatRate, formatSize, bytes, millis, ppm } from "../../src/domain/units.ts";

/** A whole configuration with `more` inside its one route and `after` behind it. `more` starts at line 5, column 5. */
function withRoute(more: string, after = ""): string {
  return `routes:
  - name: app
    stable: { endpoints: ["http://10.0.0.1:8080"] }
    canary: { endpoints: ["http://10.0.0.2:8080"] }
    ${more}
${after}`;
}

function problems(text: string): readonly string[] {
  const parsed = parseConfig(text, "f.yaml");
  return parsed.ok ? [] : parsed.problems.map((each) => `${each.line}:${each.column} ${each.message}`);
}

const DURATION = 'expected a duration with its unit (d, h, m, s, ms), like "8h" or "1h30m"';
const RATE = 'expected a rate from 0% to 100% with its percent sign, in steps of 0.0001%, like "0.1%"';

const REFUSED: readonly (readonly [what: string, text: string, expected: readonly string[]])[] = [
  [
    "a misspelt key",
    withRoute("anonymus: cookie"),
    ["5:5 unknown key `anonymus`, did you mean `anonymous`?"],
  ],
  [
    "two letters swapped",
    withRoute("plan: { steps: [{ setWieght: 5% }] }"),
    ["5:21 missing key `setWeight`", "5:23 unknown key `setWieght`, did you mean `setWeight`?"],
  ],
  [
    "a key like no other",
    withRoute("", "drain: { patience: 3s }"),
    ["6:10 unknown key `patience`; known here: delay, timeout"],
  ],
  [
    "a latency with a rate's limit",
    withRoute("rollback: { onAny: [{ metric: p95, above: 1% }] }"),
    [`5:47 ${DURATION}`],
  ],
  [
    "a rate with a latency's limit",
    withRoute("rollback: { onAny: [{ metric: error_rate, above: 500ms }] }"),
    [`5:54 ${RATE}`],
  ],
  [
    "a rate as the old fraction",
    withRoute("rollback: { onAny: [{ metric: error_rate, above: 0.001 }] }"),
    [`5:54 ${RATE}; got 0.001`],
  ],
  [
    "durations that no timer can wait for",
    withRoute(
      "timeouts: { connect: 24d1ms, total: 25d }",
      "limits: { headTime: 60d, keepAlive: 24d }\ndrain: { delay: 30d, timeout: 30d }",
    ),
    [
      "5:26 must be at most 24d",
      "5:41 must be at most 24d",
      "6:21 must be at most 24d",
      "7:17 must be at most 24d",
      "7:31 must be at most 24d",
    ],
  ],
  ["a duration as a bare number", withRoute("rollback:\n      cooldown: 300"), [`6:17 ${DURATION}; got 300`]],
  [
    "a size as a bare number",
    withRoute("", "limits: { body: 65536 }"),
    ['6:17 expected "none", or a size with its unit (B, KiB, MiB, GiB), like "64KiB"; got 65536'],
  ],
  [
    "an unknown metric",
    withRoute("rollback: { onAny: [{ metric: p96, above: 1s }] }"),
    ['5:35 expected "error_rate", "p50", "p95", "p99" or "health_failures", did you mean "p95"?'],
  ],
  [
    "an unknown word",
    withRoute("anonymous: coookie"),
    ['5:16 expected "cookie", "random" or "stable", did you mean "cookie"?'],
  ],
  [
    "a plan that does not rise",
    withRoute("plan:\n      steps:\n        - { setWeight: 5% }\n        - { setWeight: 5% }"),
    ["8:11 the weights of a plan must rise: 5% is followed by 5%"],
  ],
  [
    "a test that looks at every response twice, and the same rule twice",
    withRoute(
      `rollback:
      onAny:
        - { metric: error_rate, above: 1%, test: sequential }
        - { metric: error_rate, above: 2%, test: sequential }
        - { metric: error_rate, above: 1%, for: 5m }
        - { metric: error_rate, above: 2%, for: 5m }
        - { compare: error_rate, worseBy: 1% }
        - { compare: error_rate, worseBy: 2% }
        - { metric: error_rate, above: 1%, for: 5m, window: 30s }`,
    ),
    [
      "8:11 another rule does this already: error_rate above 1% on every response",
      "12:11 another rule does this already: error_rate worse than stable by 1%",
      "13:11 another rule does this already: error_rate above 1% for 5m",
    ],
  ],
  [
    "a percentile with two limits that one count cannot serve",
    withRoute(
      `rollback:
      onAny:
        - { metric: p95, above: 500ms, test: robust }
        - { metric: p95, above: 400ms, test: sequential }
        - { metric: error_rate, above: 2%, test: robust }
        - { metric: error_rate, above: 3%, test: robust }
        - { metric: error_rate, above: 1%, test: sequential }`,
    ),
    [
      "7:11 must have the same limit as: p95 above 400ms on every response",
      "10:11 another rule does this already: error_rate above 2% for 5m, robust",
    ],
  ],
  [
    "two success limits on one metric",
    withRoute(
      "plan:\n      success: [{ metric: p95, below: 1s }, { metric: p95, below: 2s }]\n      steps: [{ setWeight: 5% }]",
    ),
    ["6:16 each metric can have one limit"],
  ],
  [
    "a margin that no canary could fail",
    withRoute("plan: { promotion: { notWorseBy: 20% }, steps: [{ setWeight: 5% }] }"),
    ["5:38 must be above 0% and below 20%"],
  ],
  [
    "a gate that asks nobody, and a role twice",
    withRoute(
      `plan:
      steps:
        - { setWeight: 5%, gate: {} }
        - { setWeight: 10%, gate: { roles: [lead, lead] } }`,
    ),
    [
      "7:11 a gate must ask for a role, an acknowledgement, an item of a checklist, or health",
      '8:11 the role "lead" is asked twice',
    ],
  ],
  [
    "a window that never opens, and one of no zone",
    withRoute(
      'plan: { window: [{ from: "09:00", to: "09:00" }, { from: "09:00", to: "10:00", timezone: Mars }], steps: [{ setWeight: 5% }] }',
    ),
    [
      "5:22 a window from 09:00 to 09:00 is empty; the whole day is from 00:00 to 24:00",
      '5:54 there is no time zone "Mars" (Europe/Berlin, UTC)',
    ],
  ],
  [
    "a time of day and a weekday that are none",
    withRoute(
      'plan: { window: [{ from: 9am, to: "25:00", weekdays: [someday] }], steps: [{ setWeight: 5% }] }',
    ),
    [
      '5:30 expected a time of day like "09:00"',
      '5:39 expected a time of day like "09:00"',
      '5:59 expected "mon", "tue", "wed", "thu", "fri", "sat" or "sun"',
    ],
  ],
  [
    "a plan without steps, and one with both",
    withRoute("plan: { announce: 1h }"),
    ["5:11 a plan has either `steps` or `stepWeight`"],
  ],
  [
    "a plan that would rise in more steps than may be written",
    withRoute("plan: { stepWeight: 0.0001% }"),
    ["5:25 makes more than 100 steps"],
  ],
  [
    "a pause before any step",
    withRoute("plan: { steps: [{ pause: {} }, { setWeight: 5% }] }"),
    ["5:21 a pause comes after a step"],
  ],
  [
    "a freeze that ends before it begins",
    withRoute(
      "",
      'freezes: [{ from: "2026-12-27T00:00:00Z", to: "2026-12-24T00:00:00Z", reason: holidays }]',
    ),
    ["6:11 a freeze must end after it begins"],
  ],
  [
    "a plan that is nowhere",
    withRoute("plan: saf"),
    ['5:11 there is no plan "saf"; there are safe, fast, instant'],
  ],
  [
    "a route without an arm",
    "routes:\n  - name: app\n",
    ["2:5 missing key `stable`", "2:5 missing key `canary`"],
  ],
  [
    "two routes for the same requests",
    `${withRoute("")}  - name: b\n    stable: { endpoints: ["http://a:1"] }\n    canary: { endpoints: ["http://a:2"] }\n`,
    ['6:5 the route "app" matches the same host and path'],
  ],
  [
    "a secret written out",
    withRoute("override: { header: x-arm, secret: hunter2 }"),
    ["5:40 expected where the secret is, { env: NAME } or { file: PATH }, never the secret itself"],
  ],
  ["a list where a mapping is due", withRoute("", "limits: [1]"), ["6:9 expected a mapping; got a list"]],
  [
    "nothing where a mapping is due",
    withRoute("", "admin:"),
    ["6:1 expected a mapping; there is nothing here"],
  ],
  ["a number out of range", withRoute("", "limits: { fields: 0 }"), ["6:19 must be at least 1"]],
  [
    "a bad name of a plan",
    withRoute("", 'plans: { "a b": { steps: [{ setWeight: 5% }] } }'),
    ["6:10 expected a name: letters, digits, _ . and -, at most 63"],
  ],
  [
    "a value behind an alias, at its anchor",
    withRoute("timeouts: { connect: &t 5, headers: *t }"),
    [`5:29 ${DURATION}; got 5`, `5:29 ${DURATION}; got 5`],
  ],
  [
    "a key there twice",
    withRoute("anonymous: cookie\n    anonymous: random"),
    ["6:5 the key `anonymous` is there twice"],
  ],
  ["a tab", "routes:\n\t- name: app\n", ["2:1 a tab cannot indent in YAML; use spaces"]],
  [
    "a second document",
    `${withRoute("")}---\nroutes: []\n`,
    ["6:1 only one YAML document belongs into the file; this starts another"],
  ],
  ["an empty file", "", ["1:1 the file is empty"]],
  ["only a comment", "# nothing\n", ["1:1 the file is empty"]],
  ["text that is no mapping", "hello", ["1:1 expected a mapping; got text"]],
  ["a tag", "routes: !!js/function x", ["1:9 tags are not used in this file"]],
  ["an alias without an anchor", "routes: *nowhere", ["1:9 there is no anchor `&nowhere` before this"]],
  ["a prototype", withRoute("__proto__: { name: x }"), ["5:5 unknown key `__proto__`"]],
  ["a key that is a list", "? [a]\n: 1", ["1:3 a key must be text"]],
  [
    "several slips at once",
    withRoute("salt: ''\n    keys: []"),
    ["5:11 must have at least 1 character", "6:5 unknown key `keys`, did you mean `key`?"],
  ],
];

t.test(
  "a bad configuration is refused at the line and column of the slip, in words that help (reliability 38)",
  async (t) => {
    for (const [what, text, expected] of REFUSED) t.same(problems(text), expected, what);
  },
);

t.test(
  "every duration that a timer waits for is refused when it is longer than timers go, and no other",
  async (t) => {
    const timed = [
      ...["connect", "headers", "idle", "total"].map((name) => `timeouts: { ${name}: 25d }`),
      ...["idle", "lifetime", "deadline"].map((name) => `longLived: { ${name}: 25d }`),
      ...["interval", "timeout"].map((name) => `health: { ${name}: 25d }`),
      "mirror: { share: 1%, timeout: 25d }",
    ];
    const compared = [
      "plan: { steps: [{ setWeight: 5%, hold: 25d }] }",
      "rollback: { cooldown: 25d, verify: 25d, onAny: [{ metric: error_rate, above: 1%, for: 25d }] }",
    ];
    const arm = (more: string): string =>
      withRoute("").replace('8080"] }', `8080"], ${more} }`).replace("    \n", "");
    for (const each of timed) t.match(problems(withRoute(each)), [/must be at most 24d/], each);
    for (const each of compared) t.same(problems(withRoute(each)), [], each);
    for (const each of ["dns: { refresh: 25d }", "outlier: { interval: 25d }"])
      t.match(problems(arm(each)), [/must be at most 24d/], each);
    t.same(problems(arm("slowStart: 25d, outlier: { baseEjection: 25d, maxEjection: 25d }")), []);
    const top = ["headTime", "bodyIdle", "keepAlive"].map((name) => `limits: { ${name}: 25d }`);
    for (const each of [...top, "drain: { delay: 25d }", "drain: { timeout: 25d }"])
      t.match(problems(withRoute("", each)), [/must be at most 24d/], each);
  },
);

t.test("a file made to exhaust the reader ends as a finding (reliability 38)", async (t) => {
  const laugh = `a: &a [x,x,x,x,x,x,x,x,x]\n${"bcdefgh"
    .split("")
    .map((name, index) => `${name}: &${name} [${"*X,".replace("X", "abcdefg"[index] ?? "").repeat(9)}]`)
    .join("\n")}`;
  t.same(problems(laugh), ["2:8 aliases multiply to more than 100 uses of one anchor"]);
  const [deep] = problems("[".repeat(50_000));
  t.match(deep, /^1:\d+ it is nested too deeply$/);
  t.match(problems("x".repeat(20_000_000)), [/longer than/]);
});

t.test("no text makes the reader throw (reliability 38)", async () => {
  const words = fc.constantFrom(
    "routes:",
    "\n",
    "  ",
    "- ",
    "name: app",
    "[",
    "]",
    "{",
    "}",
    "*a",
    "&a ",
    "? ",
    ": ",
    "|",
    "'",
    '"',
    "!x ",
    "5%",
    "\t",
    "%YAML 9",
    "---",
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string({ unit: "binary" }),
        fc.array(words).map((each) => each.join("")),
      ),
      (text) => {
        const parsed = parseConfig(text, "f");
        return parsed.ok || parsed.problems.every((each) => each.line >= 1 && each.column >= 1);
      },
    ),
    { numRuns: 300 },
  );
});

/** Configurations as people may write them, with the fields whose text and value differ. */
const written = fc.record(
  {
    hold: fc.integer({ min: 0, max: 10 ** 9 }).map((ms) => formatDuration(millis(ms))),
    weight: fc.integer({ min: 0, max: 999_999 }).map((share) => formatRate(ppm(share))),
    limit: fc.integer({ min: 0, max: 1_000_000 }).map((share) => formatRate(ppm(share))),
    latency: fc.integer({ min: 1, max: 100_000 }).map((ms) => formatDuration(millis(ms))),
    body: fc.oneof(
      fc.constant("none"),
      fc.integer({ min: 0, max: 2 ** 40 }).map((size) => formatSize(bytes(size))),
    ),
    to: fc.oneof(fc.constant("previousStep"), fc.constant("0%")),
    rescue: fc.oneof(fc.constant("off"), fc.constant({ budget: "10%" })),
    salt: fc.string({ unit: "binary", minLength: 1, maxLength: 20 }),
  },
  { noNullPrototype: true },
);

t.test("a plan may rise by so much a step, to its greatest weight and then to 100 %", async (t) => {
  const climb = (written: object) =>
    planOf(planSchema.parse(written)).steps.map(({ weight, holdMs }) => [weight / 10_000, holdMs / 1000]);
  t.same(climb({ stepWeight: "20%", maxWeight: "50%", interval: "2m" }), [
    [20, 120],
    [40, 120],
    [50, 120],
    [100, 120],
  ]);
  t.same(climb({ stepWeight: "50%" }), [
    [50, 60],
    [100, 60],
  ]);
  t.equal(climb({ stepWeight: "1%" }).length, 100, "as many as may be written");
  t.throws(() => climb({ stepWeight: "1%", maxWeight: "99.5%" }), /makes more than 100 steps/);
});

t.test("the effective configuration parses to the same configuration", async (t) => {
  let seen = 0;
  fc.assert(
    fc.property(written, (given) => {
      const source = {
        limits: { body: given.body },
        routes: [
          {
            name: "app",
            stable: { endpoints: ["http://a:1"] },
            canary: { endpoints: ["http://b:1"], health: { path: "/healthz" } },
            salt: given.salt,
            rescue: given.rescue,
            override: { header: "x-arm", secret: { env: "A" } },
            rollback: {
              to: given.to,
              onAny: [
                { metric: "error_rate", above: given.limit, for: given.hold },
                { metric: "p99", above: given.latency },
                { metric: "health_failures", atLeast: 3 },
              ],
            },
            plan: {
              steps: [{ setWeight: given.weight, hold: given.hold }, { setWeight: "100%" }, { bake: "1h" }],
            },
          },
        ],
      };
      const first = parseConfig(JSON.stringify(source), "f");
      if (!first.ok) return false;
      seen += 1;
      const again = parseConfig(effectiveYaml(first.config), "g");
      return again.ok && JSON.stringify(again.config) === JSON.stringify(first.config);
    }),
  );
  t.ok(seen > 50, "most of what was made up is valid");
});

t.test("the sample configurations are valid, and what they print is too", async (t) => {
  for (const name of ["minimal", "progressive", "flags"]) {
    const file = `config/${name}.yaml`;
    const parsed = parseConfig(readFileSync(file, "utf8"), file);
    t.ok(parsed.ok, name);
    if (parsed.ok) t.ok(parseConfig(JSON.stringify(effective(parsed.config)), name).ok);
  }
});

t.test(
  "a configuration is loaded with its secrets, and with none of them in any text (reliability 42)",
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "sluice-load-"));
    const file = join(folder, "sluice.yaml");
    const keyFile = join(folder, "key");
    writeFileSync(keyFile, "from-a-file\n");
    writeFileSync(
      file,
      withRoute(
        "override: { header: x-arm, secret: { env: OVERRIDE } }",
        `notify: { webhook: { url: "https://h.example", secret: { file: ${keyFile} } } }`,
      ),
    );
    const { config, secretOf } = await loadConfig(file, { OVERRIDE: "from-env" });
    const source = config.routes[0]?.override?.secret;
    t.same(source, { env: "OVERRIDE" });
    t.equal(secretOf({ env: "OVERRIDE" }).reveal(), "from-env");
    t.equal(secretOf({ file: keyFile }).reveal(), "from-a-file", "without the line end");
    const secret = secretOf({ env: "OVERRIDE" });
    t.notMatch(
      `${String(secret)} ${JSON.stringify(secret)} ${inspect({ secret })} ${effectiveYaml(config)}`,
      "from-env",
    );
    t.throws(() => secretOf({ env: "OTHER" }), { code: "SPLIT_INTERNAL" });
  },
);

t.test(
  "a configuration whose secrets cannot be read is refused at the place that names them (reliability 38, 42)",
  async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "sluice-load-"));
    const file = join(folder, "sluice.yaml");
    writeFileSync(file, withRoute("override: { header: x-arm, secret: { env: OVERRIDE } }"));
    await t.rejects(loadConfig(file, {}), {
      code: "SPLIT_CONFIG_INVALID",
      message: `${file}:5:40: the environment variable OVERRIDE is not set`,
    });
    await t.rejects(loadConfig(file, { OVERRIDE: "" }), { message: /OVERRIDE is empty/ });
    writeFileSync(file, withRoute("override: { header: x-arm, secret: { file: /nowhere/at/all } }"));
    await t.rejects(loadConfig(file, {}), { message: /5:40: the secret file .* cannot be read \(ENOENT\)/ });
    const hook = 'preflight: { webhooks: [{ name: a, url: "https://h.example", secret: { env: HOOK } }] }';
    writeFileSync(file, withRoute(hook));
    await t.rejects(loadConfig(file, {}), { message: /:5:\d+: the environment variable HOOK is not set$/ });
  },
);

t.test("a file that is not there, a folder and bytes that are no text are refused by name", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-load-"));
  const file = join(folder, "sluice.yaml");
  await t.rejects(loadConfig(file, {}), {
    code: "SPLIT_CONFIG_UNREADABLE",
    message: `cannot read ${file}: there is no such file`,
  });
  await t.rejects(loadConfig(folder, {}), { code: "SPLIT_CONFIG_UNREADABLE", message: /it is a folder/ });
  writeFileSync(
    file,
    Buffer.concat([Buffer.from("# fine\nsalt: "), Buffer.from([0xff, 0xfe]), Buffer.from("\n")]),
  );
  await t.rejects(loadConfig(file, {}), {
    code: "SPLIT_CONFIG_INVALID",
    message: `${file}:2:1: this line is not UTF-8 text`,
  });
  writeFileSync(file, withRoute("a: 1\n    b: 2"));
  await t.rejects(loadConfig(file, {}), { message: new RegExp(`^${file}:5:5: .*\n${file}:6:5: `) });
});

t.test("a suggestion is at most two slips away", async (t) => {
  t.equal(distance("wieght", "weight"), 1, "a swap is one slip");
  t.equal(distance("weight", "weight"), 0);
  t.equal(nearest("hrizon", ["horizon", "header"]), "horizon");
  t.equal(nearest("abcdef", ["uvwxyz"]), undefined);
  t.equal(nearest("a", ["b"]), undefined, "a word that would be replaced whole is no suggestion");
  fc.assert(
    fc.property(fc.string({ maxLength: 6 }), fc.string({ maxLength: 6 }), (a, b) => {
      const there = distance(a, b);
      return there === distance(b, a) && (there === 0) === (a === b);
    }),
  );
});
