/** The dry run on the command line: what is asked of the API, what is shown, how it exits, and the same without a proxy. */

import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t, { type Test } from "tap";
import { parseConfig } from "../../src/config/load.ts";
import { dryRun, dryRunSchema, type DryRun } from "../../src/config/dry-run.ts";
import { problem, sluice } from "../support/cli.ts";
import { fakeAdmin, type AdminAnswer, type AdminCall } from "../support/fake-admin.ts";

const CONFIG = `
routes:
  - name: app
    stable: { endpoints: ["http://a:1"] }
    canary: { endpoints: ["http://b:1"] }
    plan: careful
plans:
  careful:
    success: [{ metric: error_rate, below: 0.1%, shown: true }]
    steps:
      - { setWeight: 5%, hold: 8h }
      - { setWeight: 50%, hold: 12h }
      - { setWeight: 100%, hold: 1h }
      - { bake: 2h }
`;
const file = join(mkdtempSync(join(tmpdir(), "sluice-plan-")), "sluice.yaml");
writeFileSync(file, CONFIG);

/** What the API would answer. */
function planned(request: object, text = CONFIG): DryRun {
  const parsed = parseConfig(text, "sluice.yaml");
  if (!parsed.ok) throw new Error("the test's configuration is broken");
  const { config } = parsed;
  const measured = { perSecond: 500, baseline: 0.0002 };
  const found = dryRun(config, config.routes[0]!, dryRunSchema.parse(request), measured, 0);
  if (!found.ok) throw new Error(found.message);
  return found.dryRun;
}

async function adminOf(t: Test, answer: (call: AdminCall) => AdminAnswer) {
  const admin = await fakeAdmin(answer);
  t.teardown(() => admin.close());
  return admin;
}
/** Nobody listens there. */
const NOBODY = ["--admin", "unix:/nonexistent/admin.sock"];

t.test("a plan whose steps all know exits 0, and shows dates, pace and proof of each", async (t) => {
  const admin = await adminOf(t, ({ body }) => [200, planned(body as object)]);
  const { code, out, err } = await sluice(["plan", "app", "--admin", admin.address]);
  t.equal(err, "");
  t.equal(code, 0);
  t.match(
    out,
    "500 requests/s (measured), 0.02 % of which fail (measured); a rise of 0.5 points should be found",
  );
  t.match(out, "ends 1970-01-01 23:00Z, 1970-01-01 23:00Z in nine of ten cases");
  t.match(out, /^ *1 {2}5 % +1970-01-01 00:00Z +8 h +1970-01-01 08:00Z +25 +0\.1 points +15 min +yes$/m);
  t.match(out, /^ *4 {2}bake +1970-01-01 21:00Z +2 h +1970-01-01 23:00Z +500 +- +- +yes$/m);
  t.match(out, "step 4: no stable traffic is left at 100 %: comparison and proof are off");
  t.match(out, /every step will know enough within its hold\n$/);
  t.same(
    admin.calls.map(({ method, path, body }) => [method, path, body]),
    [["POST", "/v1/rollouts/app/plan", {}]],
  );
});

t.test(
  "deploy --dry-run asks the same, starts nothing and asks nobody; exit 3 when a step cannot know",
  async (t) => {
    const admin = await adminOf(t, ({ body }) => [200, planned(body as object)]);
    const typed = [
      "--strategy",
      "careful",
      "--rps",
      "0.9",
      "--baseline",
      "0%",
      "--harm",
      "1%",
      "--start",
      "2026-01-05T09:00Z",
    ];
    const body = {
      plan: "careful",
      perSecond: 0.9,
      baseline: "0%",
      harm: "1%",
      at: "2026-01-05T09:00:00.000Z",
    };
    const dry = await sluice(["deploy", "app", "--dry-run", ...typed, "--admin", admin.address], {
      isTTY: true,
    });
    const plan = await sluice(["plan", "app", ...typed, "--admin", admin.address], { isTTY: true });
    t.same(dry, plan);
    t.equal(dry.code, 3);
    t.same(dry.asked, []);
    t.same(
      admin.calls.map(({ path, body: sent }) => [path, sent]),
      Array.from({ length: 2 }, () => ["/v1/rollouts/app/plan", body]),
    );
    const { code, out } = await sluice(["plan", "app", ...typed, "--admin", admin.address]);
    t.equal(code, 3);
    t.match(
      out,
      "step 1: needs 2,995 canary requests to show < 0.1 % at 95 %; 0.9 requests/s at 5 % give 0.045/s, that is 18.5 h: " +
        "the 8 h hold is too short; lengthen it, raise the first step or relax the criterion\n",
    );
    t.match(out, /THIS ROLLOUT NEVER GETS PAST STEP 1 BY ITSELF\n$/, "for a rule needs 100 within 30 min");
    const short = await sluice(["plan", "app", "--rps", "2", "--baseline", "0%", "--admin", admin.address]);
    t.equal(short.code, 3);
    t.match(short.out, /cannot know enough within its hold: step 1\n$/);
  },
);

t.test("a later start is told of when it is set, not when it comes", async (t) => {
  const told = (request: object) => planned(request).messages.map(({ event, at }) => `${event} ${at}`);
  t.match(told({ at: "1970-01-05T00:00:00Z" }).slice(0, 2), [
    "ROLLOUT_SCHEDULED 1970-01-01T00:00:00.000Z",
    "DEPLOY_START 1970-01-05T00:00:00.000Z",
  ]);
  t.equal(told({})[0], "DEPLOY_START 1970-01-01T00:00:00.000Z");
});

t.test("a gate is dated when its hold is over, not when a window lets the weight rise", async (t) => {
  const steps = `
      - { setWeight: 50%, hold: 1h, gate: { roles: [lead] } }
      - { setWeight: 100%, hold: 1h }
    window: [{ from: "09:00", to: "10:00" }]
`;
  const { messages } = planned({}, CONFIG.replace(/^ {6}- [^]*/m, steps.slice(1)));
  t.match(
    messages.map(({ event, at }) => `${event} ${at}`),
    [
      "DEPLOY_START 1970-01-01T00:00:00.000Z",
      "GATE_OPENED 1970-01-01T01:00:00.000Z",
      "STEP_STARTED 1970-01-01T09:00:00.000Z",
    ],
  );
});

t.test("a rollout that never gets past a step is said to be one", async (t) => {
  const admin = await adminOf(t, ({ body }) => [200, planned(body as object)]);
  const typed = ["plan", "app", "--rps", "0.05", "--admin", admin.address];
  const { code, out } = await sluice(typed);
  t.equal(code, 3);
  t.match(out, "never ends by itself");
  t.match(out, /^ *2 {2}50 % +never +12 h +never /m);
  t.match(out, /step 1: CANNOT CLIMB: /);
  t.match(out, /THIS ROLLOUT NEVER GETS PAST STEP 1 BY ITSELF\n$/);
  const json = await sluice([...typed, "--json"]);
  t.equal(json.code, 3);
  t.same(JSON.parse(json.out), planned({ perSecond: 0.05 }));
});

t.test("without a proxy a plan is checked from the file alone", async (t) => {
  const typed = ["-c", file, ...NOBODY];
  const found = await sluice(["plan", "app", "--rps", "2000", ...typed]);
  t.equal(found.code, 0);
  t.match(found.err, /^sluice: cannot reach the admin API at .*; planning from the file alone\n$/);
  t.match(found.out, "2000 requests/s (assumed), 0.01 % of which fail (assumed)");
  t.match(found.out, /^ *1 {2}5 % +2026-01-05 09:00Z +8 h +2026-01-05 17:00Z +100 /m);
  t.equal((await sluice(["deploy", "app", "--dry-run", "--rps", "0.9", ...typed])).code, 3);
  const elsewhere = file.replace(/\.yaml$/, "-tls.yaml");
  writeFileSync(elsewhere, `admin: { address: 127.0.0.1:1, tls: { cert: /none/c, key: /none/k } }${CONFIG}`);
  t.match(
    await sluice(["plan", "app", "--rps", "2000", "-c", elsewhere]),
    { code: 0, err: /cannot read the certificates in \/none\/c; planning from the file alone/ },
    "whose certificate is on another machine",
  );
  const trouble: readonly (readonly [readonly string[], number, RegExp])[] = [
    [["app"], 5, /with -c FILE and --rps it needs no running proxy \(SPLIT_UNREACHABLE\)/],
    [["none", "--rps", "1"], 2, /the file has no route none \(SPLIT_NOT_FOUND\)/],
    [
      ["app", "--rps", "1", "--harm", "60%"],
      2,
      /harm: must be above 0% and below 50% \(SPLIT_INPUT_INVALID\)/,
    ],
    [["app", "--rps", "1", "--strategy", "none"], 2, /plan: there is no plan "none"/],
  ];
  for (const [argv, code, message] of trouble) {
    const refused = await sluice(["plan", ...argv, ...typed]);
    t.equal(refused.code, code, argv.join(" "));
    t.match(refused.err, message);
    t.equal(refused.out, "");
  }
  t.equal(
    (await sluice(["plan", "app", "--rps", "1", ...NOBODY])).code,
    5,
    "without a file there is nothing to plan from",
  );
});

t.test(
  "a refusal of the API stays one, whatever the file says, and what is no dry run is not taken for one",
  async (t) => {
    const refusing = await adminOf(t, () => [
      400,
      { ...problem("SPLIT_INPUT_INVALID", 400, "none"), field: "perSecond" },
    ]);
    const refused = await sluice(["plan", "app", "--rps", "1", "-c", file, "--admin", refusing.address]);
    t.match(refused, { code: 2, out: "", err: "sluice: perSecond: none (SPLIT_INPUT_INVALID)\n" });
    const strange = await adminOf(t, () => [200, { steps: [] }]);
    t.equal((await sluice(["plan", "app", "--admin", strange.address])).code, 5);
    const usage: readonly (readonly [readonly string[], RegExp])[] = [
      [["plan", "app", "--rps", "many"], /--rps takes a number above 0, not many/],
      [["plan", "app", "--rps", "0"], /--rps takes a number above 0, not 0/],
      [["plan", "app", "--start", "soon"], /--start takes a date and time/],
      [["plan", "app", "--hold", "5m"], /--hold goes with --steps/],
      [["deploy", "app", "--rps", "5"], /go with --dry-run/],
    ];
    for (const [argv, message] of usage) {
      const { code, err } = await sluice([...argv, "--admin", strange.address]);
      t.equal(code, 2, argv.join(" "));
      t.match(err, message);
    }
  },
);
