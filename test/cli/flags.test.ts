/** `flags list`, `get`, `set` and `import`, against a pretended API. */

import t from "tap";
import type { FlagStatus } from "../../src/flags/status.ts";
import { problem, sluice } from "../support/cli.ts";
import { fakeAdmin, type AdminAnswer, type AdminCall } from "../support/fake-admin.ts";

t.setTimeout(60_000);

const FLAG: FlagStatus = {
  key: "checkout",
  type: "boolean",
  enabled: true,
  strategy: "percentage",
  percentage: 10,
  phase: "in_progress",
  variants: { on: true, off: false },
  defaultVariant: "off",
  follows: null,
  opensAfter: null,
  open: true,
  critical: false,
  override: null,
  metadata: {},
};
const FLAGS: readonly FlagStatus[] = [
  FLAG,
  { ...FLAG, key: "phase4", strategy: "follows", percentage: 25, follows: "app" },
  {
    ...FLAG,
    key: "later",
    strategy: "static",
    percentage: null,
    phase: null,
    opensAfter: "app",
    open: false,
  },
  {
    ...FLAG,
    key: "hard\u001b[2J",
    strategy: "static",
    percentage: null,
    critical: true,
    enabled: false,
    override: { state: "off", by: "ada", at: "2026-01-05T09:00:00.000Z", reason: "it breaks" },
  },
  { ...FLAG, key: "rules", strategy: "targeting", percentage: null },
  { ...FLAG, key: "code", strategy: "static", percentage: null, defaultVariant: null },
];

/** An API with these flags, whose file is good or not. */
const answering =
  (flags: readonly FlagStatus[], ok = true) =>
  ({ method, path }: AdminCall): AdminAnswer => {
    if (path === "/v1/config") return [200, { environment: "production" }];
    const list = {
      file: "flags.json",
      loadedAt: "2026-01-05T09:00:00.000Z",
      ok,
      detail: ok ? "" : "flags.json:3:9: x",
      flags,
    };
    if (path === "/v1/flags") return [200, list];
    if (path === "/v1/flags/hardening")
      return [409, problem("SPLIT_FLAG_CRITICAL", 409, "to switch it off takes force and a reason")];
    if (path === "/v1/flags/checkout") return [200, method === "POST" ? { ...FLAG, percentage: 50 } : FLAG];
    return [404, problem("SPLIT_NOT_FOUND", 404, "there is no flag of this name")];
  };

t.test("the list says what each flag serves, what it hangs on and who has set it", async (t) => {
  const admin = await fakeAdmin(answering(FLAGS));
  t.teardown(() => admin.close());
  const at = ["--admin", admin.address];
  const { code, out } = await sluice(["flags", "list", ...at]);
  t.equal(code, 0);
  t.match(out, /^checkout +10 %$/m);
  t.match(out, /^phase4 +25 % +follows app$/m);
  t.match(out, /^later +off +closed until app succeeded$/m);
  t.match(out, /^hard\S* +off +critical +off by ada: it breaks$/m);
  t.match(out, /^rules +by its rules$/m);
  t.match(out, /^code +the code's default$/m);
  t.notMatch(out, "\u001b");
  t.same(JSON.parse((await sluice(["flags", "list", "--json", ...at])).out).flags.length, FLAGS.length);
  t.match(await sluice(["flags", "get", "checkout", ...at]), {
    code: 0,
    out: "checkout\n  serves    10 %\n  variants  on true, off false\n",
  });
  t.match(await sluice(["flags", "get", "nobody", ...at]), { code: 2, err: /SPLIT_NOT_FOUND/ });
});

t.test("a file that is wrong is exit 1, with what is wrong", async (t) => {
  const admin = await fakeAdmin(answering([], false));
  t.teardown(() => admin.close());
  const { code, out } = await sluice(["flags", "list", "--admin", admin.address]);
  t.equal(code, 1);
  t.match(out, /^there are no flags\nthe file is wrong, .*\nflags\.json:3:9: x\n$/);
});

t.test("a change is sent as it was typed, asks first in production, and never to switch off", async (t) => {
  const admin = await fakeAdmin(answering(FLAGS));
  t.teardown(() => admin.close());
  const set = (flag: string, ...argv: readonly string[]) =>
    sluice(["flags", "set", flag, ...argv, "--admin", admin.address]);
  t.match(await set("checkout", "--percentage", "50%", "--reason", "looks well", "--yes"), {
    code: 0,
    out: /serves +50 %/,
  });
  t.match(admin.calls.at(-1), { method: "POST", path: "/v1/flags/checkout" });
  t.same(admin.calls.at(-1)?.body, { percentage: 50, reason: "looks well" });
  await set("checkout", "--variant", "on", "--yes");
  t.same(admin.calls.at(-1)?.body, { variant: "on", reason: "manual" });
  await set("checkout", "--reset", "--yes");
  t.same(admin.calls.at(-1)?.body, { reset: true, reason: "manual" });
  await set("checkout", "--state", "off");
  t.same(admin.calls.at(-1)?.body, { state: "off", reason: "manual" });
  t.match(await set("checkout", "--state", "on"), { code: 2 }, "nobody is there to say yes");
  t.match(await set("hardening", "--state", "off"), { code: 4, err: /SPLIT_FLAG_CRITICAL/ });
  const before = admin.calls.length;
  for (const argv of [
    [],
    ["--state", "maybe"],
    ["--percentage", "0.1"],
    ["--percentage", "10"],
    ["--state", "off", "--force"],
  ])
    t.match(await set("checkout", ...argv), { code: 2, err: /SPLIT_USAGE/ }, argv.join(" "));
  t.equal(admin.calls.length, before, "nothing of it was sent");
});

t.test("a file of the older form is printed as flagd has it", async (t) => {
  const { code, out } = await sluice(["flags", "import", "test/golden/flags/older.json"]);
  t.equal(code, 0);
  t.match(JSON.parse(out), {
    flags: {
      beta_share: {
        state: "ENABLED",
        variants: { on: true, off: false },
        defaultVariant: "off",
        targeting: {
          fractional: [
            ["on", 125_000],
            ["off", 875_000],
          ],
        },
      },
      emergency_shutdown: { state: "DISABLED" },
    },
  });
  t.match(await sluice(["flags", "import", "test/golden/flags/older-bad.json"]), {
    code: 2,
    err: /older-bad\.json:5:80: .*\(SPLIT_CONFIG_INVALID\)/,
  });
});

t.test("`check` looks at the flags, too", async (t) => {
  t.match(await sluice(["check", "--skip-secrets", "-c", "config/flags.yaml"]), {
    code: 0,
    out: /critical:/,
  });
});
