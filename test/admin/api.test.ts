/** What the admin API does with a call that got in: answers, commands, input, versions, idempotency. */

import fc from "fast-check";
import t from "tap";
import { KEPT_MS } from "../../src/admin/idempotency.ts";
import { problemSchema } from "../../src/admin/problem.ts";
import { ROWS, type InputOf, type Operation } from "../../src/admin/routes.ts";
import { effective } from "../../src/config/load.ts";
import { CODES, type ErrorCode } from "../../src/domain/errors.ts";
import { adminConfig, pathOf, testAdmin } from "../support/control.ts";

/** A valid body for each verb that has one. */
const BODIES: { readonly [O in Operation]?: InputOf<O> } = {
  setWeight: { weight: 12.5, reason: "by hand" },
  start: { wait: "30s", reason: "4.0 is ready" },
  promote: { step: 1, full: true, reason: "looks well" },
  rollback: { reason: "complaints" },
  approve: { step: 1, role: "deployment-lead", checklist: ["dashboards-ready"], reason: "looks well" },
  reject: { step: 1, role: "on-call", answer: "extend", extend: "24h", reason: "not on a Friday" },
  extend: { by: "24h", reason: "more data" },
  resolveIncident: { reason: "stable is well" },
  routerSetWeight: { desiredWeight: 20 },
  routerVerifyWeight: { desiredWeight: 20 },
  emergency: { on: true, reason: "a leak" },
  readOnly: { on: true },
  maintenance: { on: false },
  silence: { route: "app", severity: "warning", for: "2h", reason: "known" },
  restore: { name: "20260105T090000.000Z_manual", reason: "the state was lost" },
};

t.test(
  "every row answers with what its schema describes, guarded against pages (reliability 43)",
  async (t) => {
    const { ask, control } = await testAdmin(t);
    for (const [name, row] of ROWS) {
      if (typeof row.output === "string") continue;
      // A controller that asks whether to go on is refused where it should not.
      control.change({ verdict: name === "rollbackHook" ? "failed" : "successful" });
      // The table's names are the operations.
      const answer = await ask(row.method, pathOf(row), { body: BODIES[name as Operation] });
      t.ok(row.statuses.includes(answer.status), `${name}: ${answer.status}`);
      const parsed = row.output.safeParse(answer.json);
      t.ok(parsed.success, `${name}: ${parsed.success ? "" : parsed.error.message}`);
      t.match(answer.headers, {
        "content-type": "application/json",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "content-security-policy":
          "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        "cross-origin-resource-policy": "same-origin",
        "referrer-policy": "no-referrer",
      });
    }
  },
);

t.test("a route is exactly its status, and the rollout is the same", async (t) => {
  const { ask, control } = await testAdmin(t);
  const one = await ask("GET", "/v1/routes/app");
  t.same(one.json, control.route("app"));
  t.same((await ask("GET", "/v1/rollouts/app")).json, one.json);
  t.same((await ask("GET", "/v1/routes")).json, { routes: control.routes() });
  t.equal(one.headers.etag, '"7"');
  t.match(await ask("GET", "/v1/routes/api"), { status: 200, json: { name: "api" } });
});

t.test("what is not there is 404, however it is spelt", async (t) => {
  const { ask } = await testAdmin(t);
  const paths = [
    "/",
    "/v1",
    "/v1/routes/",
    "/v1/routes/none",
    "/v1/routes/%",
    "/v1/routes/..%2f..",
    "/v1/routes/a%00",
    "//v1/routes",
    "/V1/routes",
    "/v1/routes/app/",
    "/v1/rollouts/none",
    "/v1/routes/none/histograms",
    "/v1/routes/constructor",
    "/v1/events?route=none",
    "/constructor",
    `/v1/routes/${"a".repeat(200)}`,
  ];
  for (const path of paths) {
    const answer = await ask("GET", path);
    t.match(answer, { status: 404, json: { code: "SPLIT_NOT_FOUND" } }, path);
    t.equal(answer.headers["content-type"], "application/problem+json");
  }
  t.match(await ask("POST", "/v1/rollouts/none/pause"), { status: 404, json: { code: "SPLIT_NOT_FOUND" } });
});

t.test("the verbs reach the engine as commands, in the name of the token", async (t) => {
  const { ask, control } = await testAdmin(t);
  const commands: readonly (readonly [string, unknown, object])[] = [
    [
      "routes/app/weight",
      { weight: 0.0001, reason: "x" },
      { type: "set_weight", weight: 1, force: false, reason: "x" },
    ],
    [
      "routes/app/weight",
      { weight: 100, reason: "x", force: true },
      { type: "set_weight", weight: 1e6, force: true, reason: "x" },
    ],
    ["rollouts/app/pause", undefined, { type: "pause", reason: "" }],
    ["rollouts/app/resume", { reason: "on" }, { type: "resume", reason: "on" }],
    ["rollouts/app/promote", {}, { type: "promote", full: false, step: null, force: false, reason: "" }],
    [
      "rollouts/app/promote",
      { step: 2, full: true },
      { type: "promote", full: true, step: 2, force: false, reason: "" },
    ],
    ["rollouts/app/extend", { by: "24h" }, { type: "extend", byMs: 86_400_000, reason: "" }],
    ["rollouts/app/step-back", undefined, { type: "step_back", reason: "" }],
    ["rollouts/app/retry", { force: true, reason: "x" }, { type: "retry", force: true, reason: "x" }],
    ["rollouts/app/rollback", { reason: "bad" }, { type: "rollback", reason: "bad" }],
    ["rollouts/app/rollback", undefined, { type: "rollback", reason: "manual" }],
    ["routes/app/weight", { weight: 5 }, { type: "set_weight", weight: 50_000, force: false, reason: "" }],
  ];
  for (const [path, body, command] of commands) {
    const answer = await ask("POST", `/v1/${path}`, { body, as: "operator" });
    t.equal(answer.status, 200, path);
    t.same(answer.json, control.route("app"), "the answer is the route as it is now");
    t.equal(answer.headers.etag, `"${control.version}"`);
    t.same(control.asked.at(-1), { route: "app", command, actor: "operator", ifVersion: undefined });
  }
});

t.test("a start resolves to steps: the route's plan, a named one, one written out, or weights", async (t) => {
  const { ask, control } = await testAdmin(t);
  const bare = (weight: number, holdMs: number, bake = false) => ({ weight: weight * 10_000, holdMs, bake });
  // Evidence is asked for when nothing is said, but not of a rehearsal.
  const promotion = { notWorseBy: 1000, leastMs: 900_000 };
  const step = (...parts: Parameters<typeof bare>) => ({ ...bare(...parts), promotion });
  const quick = [step(10, 60_000), step(100, 0), step(100, 120_000, true)];
  const starts: readonly (readonly [string, InputOf<"start">, object])[] = [
    ["app", {}, { steps: quick, version: "4.0.0", force: false, reason: "" }],
    ["api", { plan: "quick", version: "4.1" }, { steps: quick, version: "4.1" }],
    ["app", { plan: { steps: [{ setWeight: "5%", hold: "1h30m" }] } }, { steps: [step(5, 5_400_000)] }],
    ["app", { steps: [0, 5, 100] }, { steps: [step(0, 0), step(5, 0), step(100, 0)] }],
    ["app", { steps: [5, 12.5], hold: "5m" }, { steps: [step(5, 300_000), step(12.5, 300_000)] }],
    ["app", { steps: [5, 12.5], hold: "5m", wait: "1s" }, { steps: [bare(5, 1000), bare(12.5, 1000)] }],
    ["app", { wait: "300s" }, { steps: [bare(10, 300_000), bare(100, 300_000), bare(100, 300_000, true)] }],
    [
      "app",
      { wait: "5s", reason: "4.0" },
      { reason: "4.0 (a rehearsal: every hold is 5s, and nobody is asked)" },
    ],
    ["app", { wait: "5s" }, { reason: "a rehearsal: every hold is 5s, and nobody is asked" }],
    ["app", { force: true, reason: "tested" }, { force: true, reason: "tested" }],
  ];
  for (const [route, body, command] of starts) {
    const answer = await ask("POST", `/v1/rollouts/${route}/start`, { body });
    t.equal(answer.status, 200, answer.text);
    t.match(control.asked.at(-1), { route, command: { type: "start", ...command } });
    const { command: asked } = control.asked.at(-1) ?? {};
    if (asked?.type === "start" && "steps" in command) t.same(asked.steps, command.steps);
  }
});

t.test("a rehearsal keeps what is held back, so that its end lets it go", async (t) => {
  const { ask, control } = await testAdmin(t);
  const plan = { holdback: "1%", steps: [{ setWeight: "100%" }, { bake: "2m" as const }] };
  await ask("POST", "/v1/rollouts/app/start", { body: { plan, wait: "5m" } });
  const held = { weight: 990_000, holdMs: 300_000, holdback: 10_000 };
  t.match(control.asked.at(-1)?.command, { steps: [held, held] });
});

t.test("the dry run says what a plan would come to, from what is measured, and starts nothing", async (t) => {
  const { ask, control, clock } = await testAdmin(t);
  const plan = async (body: InputOf<"plan">, route = "app") =>
    ask("POST", `/v1/rollouts/${route}/plan`, { body, as: "reader" });
  const found = await plan({});
  t.equal(found.status, 200, found.text);
  t.match(found.json, {
    route: "app",
    startsAt: new Date(clock.wall()).toISOString(),
    perSecond: 20.4,
    baseline: 0.0001,
    harm: 0.005,
    measured: { perSecond: true, baseline: true },
    knows: false,
    stuckAt: null,
    steps: [
      {
        weight: 10,
        holdMs: 60_000,
        bake: false,
        knows: false,
        words: [/ 20\.4 requests\/s at 10 % /],
      },
      { weight: 100, holdMs: 0, detect: null, prove: null },
      { weight: 100, holdMs: 120_000, bake: true },
    ],
  });
  const given = await plan({
    steps: [0, 5],
    hold: "8h",
    perSecond: 0.9,
    baseline: "0%",
    harm: "1%",
    at: "2026-01-05T09:00:00+01:00",
  });
  t.match(given.json, {
    startsAt: "2026-01-05T08:00:00.000Z",
    perSecond: 0.9,
    baseline: 0,
    harm: 0.01,
    measured: { perSecond: false, baseline: false },
    stuckAt: 1,
    steps: [
      { weight: 0, knows: true, beginsAt: "2026-01-05T08:00:00.000Z", endsAt: "2026-01-05T16:00:00.000Z" },
      { weight: 5, knows: false, beginsAt: "2026-01-05T16:00:00.000Z", endsAt: null, endsAt90: null },
    ],
  });
  const { stable, canary } = control.route("app")!.arms;
  const failing = { ...stable, failures: 1200 };
  control.change({ arms: { stable: failing, canary } });
  t.match(
    (await plan({})).json,
    { baseline: 0.499, measured: { baseline: true } },
    "and there are odds all the same",
  );
  const silent = { ...stable, perSecond: 0, requests: 0 };
  control.change({ arms: { stable: silent, canary: silent } });
  t.match((await plan({ perSecond: 20 })).json, { baseline: 0.0001, measured: { baseline: false } });
  t.match(await plan({}), { status: 400, json: { code: "SPLIT_INPUT_INVALID", field: "perSecond" } });
  for (const [field, body] of [
    ["plan", { plan: "none" }],
    ["perSecond", { perSecond: 0 }],
    ["baseline", { baseline: "50%" }],
    ["harm", { harm: "0%" }],
    ["at", { at: "tomorrow" }],
    ["steps.1", { steps: [5, 5] }],
    ["hold", { hold: "5m" }],
  ] satisfies (readonly [string, InputOf<"plan">])[]) {
    t.match(await plan(body), { status: 400, json: { code: "SPLIT_INPUT_INVALID", field } }, field);
  }
  t.match(await plan({}, "none"), { status: 404, json: { code: "SPLIT_NOT_FOUND" } });
  const far = { steps: [5], hold: "99999999d", perSecond: 20_000 };
  t.match((await plan(far)).json, { steps: [{ knows: true, endsAt: null }] }, "no date is that far away");
  t.same(control.asked, [], "nothing is started");
});

t.test(
  "input that does not fit is 400 with the path of the field, and does nothing (reliability 44)",
  async (t) => {
    const { ask, control } = await testAdmin(t);
    const deep = `${"[".repeat(20_000)}${"]".repeat(20_000)}`;
    const cases: readonly (readonly [path: string, body: unknown, field: string | undefined])[] = [
      ["routes/app/weight", { weight: 101, reason: "x" }, "weight"],
      ["routes/app/weight", { weight: -0.1, reason: "x" }, "weight"],
      ["routes/app/weight", { weight: 0.00001, reason: "x" }, "weight"],
      ["routes/app/weight", { weight: "5", reason: "x" }, "weight"],
      ["routes/app/weight", '{"weight":1e999,"reason":"x"}', "weight"],
      ["routes/app/weight", '{"weight":NaN,"reason":"x"}', undefined],
      ["routes/app/weight", { weight: null, reason: "x" }, "weight"],
      ["routes/app/weight", { reason: "x" }, "weight"],
      ["routes/app/weight", { weight: 5, force: true }, "reason"],
      ["routes/app/weight", { weight: 5, reason: "  " }, "reason"],
      ["routes/app/weight", { weight: 5, reason: "a\r\nb" }, "reason"],
      ["routes/app/weight", { weight: 5, reason: "\u001b[31m" }, "reason"],
      ["routes/app/weight", { weight: 5, reason: "x".repeat(501) }, "reason"],
      ["routes/app/weight", { weight: 5, reason: "x", wieght: 5 }, "wieght"],
      ["routes/app/weight", '{"weight":5,"reason":"x","__proto__":{"force":true}}', "__proto__"],
      ["routes/app/weight", '{"weight":5,"reason":"x","constructor":1}', "constructor"],
      [
        "rollouts/app/start",
        '{"plan":{"steps":[{"setWeight":"5%","__proto__":1}]}}',
        "plan.steps.0.__proto__",
      ],
      ["rollouts/app/start", { steps: [5, 5] }, "steps.1"],
      ["rollouts/app/start", { steps: [5, 3] }, "steps.1"],
      ["rollouts/app/start", { steps: [] }, "steps"],
      ["rollouts/app/start", { steps: [5, 101] }, "steps.1"],
      ["rollouts/app/start", { plan: { steps: [{ setWeight: "5%" }, { setWeight: "4%" }] } }, "plan.steps.1"],
      ["rollouts/app/start", { plan: { steps: [{ setWeight: "5" }] } }, "plan.steps.0.setWeight"],
      ["rollouts/app/start", { plan: "none" }, "plan"],
      ["rollouts/app/start", { plan: "toString" }, "plan"],
      ["rollouts/api/start", {}, "plan"],
      ["rollouts/app/start", { plan: "quick", steps: [5] }, "steps"],
      ["rollouts/app/start", { hold: "5m" }, "hold"],
      ["rollouts/app/start", { steps: [5], hold: "5" }, "hold"],
      ["rollouts/app/start", { wait: "0s" }, "wait"],
      ["rollouts/app/start", { force: true }, "reason"],
      ["rollouts/app/promote", { step: 1.5 }, "step"],
      ["rollouts/app/promote", { step: -1 }, "step"],
      ["rollouts/app/promote", { full: "yes" }, "full"],
      ["rollouts/app/pause", { step: 1 }, "step"],
      ["rollouts/app/pause", { _method: "GET" }, "_method"],
      ["rollouts/app/pause?_method=GET", {}, "_method"],
      ["rollouts/app/pause?x=1", {}, "x"],
      ["rollouts/app/pause", "[]", undefined],
      ["rollouts/app/pause", "null", undefined],
      ["rollouts/app/pause", '{"reason":"x"', undefined],
      ["rollouts/app/pause", Buffer.from([0x22, 0xff, 0x22]), undefined],
      ["rollouts/app/pause", deep, undefined],
      ["config/reload", { force: true }, "force"],
    ];
    for (const [path, body, field] of cases) {
      const answer = await ask("POST", `/v1/${path}`, { body });
      const what = `${path} ${Buffer.isBuffer(body) ? "bytes" : JSON.stringify(body).slice(0, 60)}`;
      t.match(answer, { status: 400, json: { code: "SPLIT_INPUT_INVALID" } }, what);
      t.equal(answer.json["field"] === "" ? undefined : answer.json["field"], field, what);
      t.ok(problemSchema.safeParse(answer.json).success, answer.text);
      if (/__proto__|constructor/.test(field ?? ""))
        t.match(answer.json["detail"], /name is not allowed/, what);
    }
    const queries = [
      "limit=0",
      "limit=-1",
      "limit=10000",
      "limit=1e3",
      "limit=5&limit=6",
      "route=a%20b",
      "limits=5",
      "__proto__=1",
    ];
    for (const query of queries) {
      t.match(
        await ask("GET", `/v1/journal?${query}`),
        { status: 400, json: { code: "SPLIT_INPUT_INVALID" } },
        query,
      );
    }
    const { status, json } = await ask("GET", "/v1/journal?route=api&limit=5");
    t.same([status, json["lines"]], [200, []]);
    t.match(await ask("GET", "/v1/routes", { body: "{}" }), { status: 400 }, "a read takes no body");
    t.same(control.asked, []);
  },
);

t.test("no body, whatever is in it, makes a 5xx (reliability 44)", async (t) => {
  const { ask } = await testAdmin(t);
  const verbs = ROWS.filter(([, row]) => row.method === "POST").map(([, row]) => pathOf(row));
  t.ok(verbs.length >= 8);
  const names = fc.constantFrom(
    "weight",
    "reason",
    "steps",
    "plan",
    "hold",
    "wait",
    "force",
    "step",
    "full",
    "setWeight",
    "bake",
    "__proto__",
    "toString",
  );
  const values = fc.letrec((tie) => ({
    any: fc.oneof(
      { depthSize: "small" },
      fc.jsonValue(),
      fc.double(),
      fc.constantFrom("5%", "5m", "quick", "0s", -0, 1e-7, 9_999_999_999),
      fc.array(tie("any"), { maxLength: 4 }),
      fc.dictionary(names, tie("any"), { maxKeys: 5 }),
    ),
  })).any;
  const bodies = fc.oneof(
    fc.dictionary(names, values, { maxKeys: 6 }).map((value) => JSON.stringify(value)),
    fc.string({ unit: "binary", maxLength: 60 }),
    fc.uint8Array({ maxLength: 60 }).map((bytes) => Buffer.from(bytes)),
  );
  const seen = new Set<number>();
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...verbs), bodies, async (path, body) => {
      const answer = await ask("POST", path, { body });
      seen.add(answer.status);
      // OFREP's refusals have a form of their own.
      if (path.startsWith("/ofrep/")) return answer.status < 500;
      return answer.status < 500 && (answer.status < 300 || problemSchema.safeParse(answer.json).success);
    }),
    { numRuns: 400 },
  );
  t.ok(seen.has(200) && seen.has(400), `saw ${[...seen].join(", ")}`);
});

t.test("each refusal of the engine is told as its code says (reliability 44)", async (t) => {
  const { ask, control } = await testAdmin(t);
  const codes: readonly ErrorCode[] = [
    "SPLIT_PHASE_MISMATCH",
    "SPLIT_COOLDOWN",
    "SPLIT_STATE_UNWRITABLE",
    "SPLIT_STATE_CONFLICT",
  ];
  for (const code of codes) {
    control.answer = () => ({ ok: false, code, message: "because" });
    const answer = await ask("POST", "/v1/rollouts/app/pause");
    const { status, retryable, remedy } = CODES[code];
    t.same(answer.json, {
      type: `urn:sluice:problem:${code}`,
      title: answer.json["title"],
      status,
      detail: "because",
      code,
      retryable,
      remedy,
    });
    t.equal(answer.status, status);
  }
});

t.test(
  "a bug is a 500 that says no more than its number, and the log says the rest (reliability 44)",
  async (t) => {
    const { ask, control, log } = await testAdmin(t);
    control.answer = () => {
      throw new TypeError("secret inside");
    };
    const answer = await ask("POST", "/v1/rollouts/app/pause");
    t.match(answer, { status: 500, json: { code: "SPLIT_INTERNAL" } });
    t.notMatch(answer.text, /secret|TypeError|\.ts|\bat /, "no word of it, no line of a stack");
    const line = log.lines.find(({ level }) => level === "error");
    t.equal(line?.fields["instance"], answer.json["instance"]);
    t.match(line?.fields["error"], { message: "secret inside" });
    control.answer = undefined;
    t.equal((await ask("POST", "/v1/rollouts/app/pause")).status, 200, "and it goes on");
  },
);

t.test("If-Match: a write on a state that has moved on is 412 (reliability 44)", async (t) => {
  const { ask, control, done } = await testAdmin(t);
  const pause = (tag: string) => ask("POST", "/v1/rollouts/app/pause", { headers: { "if-match": tag } });
  t.match(await pause('"6"'), { status: 412, json: { code: "SPLIT_STATE_CONFLICT" } });
  t.equal(control.asked.at(-1)?.ifVersion, 6);
  for (const tag of ['W/"7"', '"x"', '""']) t.equal((await pause(tag)).status, 412, tag);
  for (const tag of ["7", "'7'", '"7', "x,"])
    t.match(await pause(tag), { status: 400, json: { field: "If-Match" } }, tag);
  const answer = await pause('"7"');
  t.match(answer, { status: 200, headers: { etag: '"8"' } });
  t.equal((await pause('"1", "8"')).status, 200);
  t.equal((await pause("*")).status, 200);
  const reload = (tag: string) => ask("POST", "/v1/config/reload", { headers: { "if-match": tag } });
  t.equal((await reload('"7"')).status, 412);
  t.same(done, []);
  t.equal((await reload(`"${control.version}"`)).status, 200);
  t.same(done, ["root"]);
});

t.test("Idempotency-Key: the same call again gets the same answer and is done once", async (t) => {
  const { ask, control, clock } = await testAdmin(t);
  const call = (key: string, body: unknown = { reason: "x" }, as: "root" | "operator" = "root") =>
    ask("POST", "/v1/rollouts/app/pause", { body, as, headers: { "idempotency-key": key } });
  const [first, second] = await Promise.all([call("k1"), call("k1")]);
  t.equal(control.asked.length, 1, "even when both are under way at once");
  t.same([first.json, first.headers.etag], [second.json, second.headers.etag]);
  t.same(
    [first, second].map((each) => each.headers["idempotent-replayed"]),
    [undefined, "true"],
  );
  t.match(await call("k1", { reason: "y" }), {
    status: 422,
    json: { code: "SPLIT_INPUT_INVALID", field: "Idempotency-Key" },
  });
  const elsewhere = await ask("POST", "/v1/rollouts/app/resume", {
    body: { reason: "x" },
    headers: { "idempotency-key": "k1" },
  });
  t.equal(elsewhere.status, 422, "another verb is another call");
  t.equal(
    (await call("k1", { reason: "x" }, "operator")).headers["idempotent-replayed"],
    undefined,
    "keys are per token",
  );
  t.equal(control.asked.length, 2);
  for (const key of ["", "a".repeat(256)]) t.equal((await call(key)).status, 400);

  control.answer = () => ({ ok: false, code: "SPLIT_STATE_UNWRITABLE", message: "disk" });
  t.equal((await call("k2")).status, 503);
  control.answer = undefined;
  t.equal((await call("k2")).status, 200, "our own fault is not kept");
  await clock.advance(KEPT_MS + 1);
  t.equal((await call("k1")).headers["idempotent-replayed"], undefined, "and nothing for ever");
  for (let i = 0; i < 300; i++) await call(`flood-${i}`);
  t.equal((await call("k2")).headers["idempotent-replayed"], undefined, "the memory is bounded");
});

t.test("reload, drain, readiness, configuration without secrets, and metrics (reliability 42)", async (t) => {
  let isReady = true;
  const bad = { ok: false, code: "SPLIT_CONFIG_INVALID", message: "sluice.yaml:3:5: unknown key" } as const;
  const config = adminConfig({ tokens: [{ name: "ci", token: { env: "CI_TOKEN" }, scopes: ["read"] }] });
  const { ask, done } = await testAdmin(t, {
    reload: () => Promise.resolve(bad),
    readiness: () => ({ ready: isReady, checks: { draining: isReady ? "no" : "yes" } }),
    config: () => config,
  });
  t.match(await ask("POST", "/v1/config/reload"), {
    status: 400,
    json: { code: bad.code, detail: bad.message },
  });
  t.match(await ask("POST", "/v1/drain"), { status: 202, json: { draining: true } });
  t.same(done, ["drain"]);
  t.same((await ask("GET", "/readyz")).json, { ready: true });
  isReady = false;
  t.match(await ask("GET", "/readyz"), { status: 503, json: { ready: false } });
  t.match(await ask("GET", "/readyz?verbose"), { status: 503, json: { checks: { draining: "yes" } } });
  t.same((await ask("GET", "/healthz?verbose")).json, (await ask("GET", "/livez")).json);
  const shown = await ask("GET", "/v1/config");
  t.same(shown.json, JSON.parse(JSON.stringify(effective(config))));
  t.match(shown.json, {
    admin: { tokens: [{ token: { env: "CI_TOKEN" } }] },
    routes: [{ override: { secret: { env: "OVERRIDE_SECRET" } } }, {}],
  });
  for (const [url, told] of [
    ["https://hooks.example/services/T0/hunter2", "https://hooks.example/[redacted]"],
    ["https://hunter2@hooks.example", "https://hooks.example/[redacted]"],
    ["http://hooks.example:1/?token=hunter2", "http://hooks.example:1/[redacted]"],
    ["http://hooks.example:1", "http://hooks.example:1"],
  ] as const) {
    const hooked = await testAdmin(t, { config: () => adminConfig({}, { notify: { webhook: { url } } }) });
    const { json, text } = await hooked.ask("GET", "/v1/config");
    t.match(json, { notify: { webhook: { url: told } } }, "often the path is all the secret there is");
    t.notMatch(text, "hunter2");
  }
  const metrics = await ask("GET", "/metrics", { headers: { accept: "application/openmetrics-text" } });
  t.match(metrics, { text: "# application/openmetrics-text\n", headers: { "content-type": "text/plain" } });
});
