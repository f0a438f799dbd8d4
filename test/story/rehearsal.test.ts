/** The plan of seven days over real sockets, in a minute of the clock: rehearsed unattended, signed for by people, and checked before it begins. */

import { readFile } from "node:fs/promises";
import t, { type Test } from "tap";
import { parse } from "yaml";
import { planOf, planSchema } from "../../src/config/plan.ts";
import { planNamed } from "../../src/config/presets.ts";
import type { Report } from "../../src/domain/report.ts";
import { failing, program, type Program } from "../support/program.ts";

const WHO: readonly string[] = Array.from({ length: 300 }, (_, i) => `user-${i}`);
const WEIGHTS = [0, 5, 10, 25, 50, 75, 100];

type Status = Awaited<ReturnType<Program["status"]>>;
type Step = Readonly<Record<string, unknown>>;
type Plan = Readonly<Record<string, unknown>> & { readonly steps: readonly Step[] };

/** `config/safe.yaml` as it is written. */
async function written(): Promise<{ readonly plan: Plan; readonly tokens: readonly object[] }> {
  const text = await readFile(new URL("../../config/safe.yaml", import.meta.url), "utf8");
  // Whether it is valid is said where it is loaded.
  const file = parse(text) as {
    readonly plans: { readonly safe: Plan };
    readonly admin: { readonly tokens: readonly object[] };
  };
  return { plan: file.plans.safe, tokens: file.admin.tokens };
}

/** Everybody asks once and a second passes. Resolves whom the canary answered, and how often somebody was answered with an error. */
async function second(p: Program): Promise<{ readonly canary: readonly string[]; readonly errors: number }> {
  const answers = await Promise.all(WHO.map((user) => p.get(user)));
  await p.clock.advance("1s");
  return {
    canary: WHO.filter((_, i) => answers[i]?.body === "canary"),
    errors: answers.filter(({ status }) => status >= 500).length,
  };
}

/** Seconds with traffic, until the rollout is where `isThere` says. */
async function until(p: Program, isThere: (status: Status) => boolean): Promise<Status> {
  for (let seconds = 0; seconds < 120; seconds++) {
    const status = await p.status();
    if (isThere(status)) return status;
    await second(p);
  }
  throw new Error(`it never came to that: ${JSON.stringify(await p.status())}`);
}

async function started(t: Test, p: Program, body: object, token?: string): Promise<void> {
  const answer = await p.api("/v1/rollouts/app/start", body, token);
  t.equal(answer.status, 200, JSON.stringify(answer.body));
}

interface Line {
  readonly event: string;
  readonly actor: string;
  readonly reason: string;
}

/** What the journal tells of the route, oldest first, when it tells of so many such events: a line follows what is in force, soon. */
async function journalOf(p: Program, event: string, times: number): Promise<readonly Line[]> {
  for (;;) {
    // The admin API's own contract.
    const { lines } = (await p.api("/v1/journal?route=app&limit=1000")).body as { lines: readonly Line[] };
    const found = lines.filter((line) => line.event === event).length;
    if (found > times) throw new Error(`${found} lines tell of ${event}`);
    if (found === times) return lines;
  }
}

/** The one report of the route, when it is written to its end. */
async function reportOf(p: Program): Promise<Report> {
  for (;;) {
    // The admin API's own contract.
    const { reports } = (await p.api("/v1/reports?route=app")).body as {
      reports: readonly { id: string; endedAt: string | null }[];
    };
    const [entry] = reports;
    if (reports.length > 1) throw new Error(JSON.stringify(reports));
    // Nothing waits for a report, so it may be written a moment later.
    if (entry === undefined || entry.endedAt === null) continue;
    return (await p.api(`/v1/reports/${entry.id}`)).body as Report;
  }
}

t.test("the file that writes safe out says what the preset says", async (t) => {
  const { plan } = await written();
  t.same(planOf(planSchema.parse(plan)), planOf(planNamed({}, "safe")!));
});

for (const kind of ["preset", "file"] as const) {
  t.test(
    `safe as the ${kind} says it, with holds of 5 s, goes to 100 % unattended (acceptance 27)`,
    async (t) => {
      const p = await program(
        { plan: "safe" },
        kind === "file" ? { plans: { safe: (await written()).plan } } : {},
      );
      t.teardown(() => p.close());
      await started(t, p, { wait: "5s", version: "4.0", reason: "rehearsal" });
      const weights: number[] = [];
      let before: ReadonlySet<string> = new Set();
      for (let seconds = 0; seconds < 120; seconds++) {
        const { phase, weight, waiting } = await p.status();
        if (phase === "succeeded") break;
        if (weights.at(-1) !== weight) weights.push(weight);
        t.ok(waiting === null || /^(preflight|hold|evidence)$/.test(waiting.for), JSON.stringify(waiting));
        const { canary, errors } = await second(p);
        t.equal(errors, 0);
        const share = (100 * canary.length) / WHO.length;
        if (weight === 0 || weight === 100) t.equal(share, weight);
        else t.ok(Math.abs(share - weight) < 10, `${share} % of the users at ${weight} %`);
        const now = new Set(canary);
        t.ok(
          [...before].every((user) => now.has(user)),
          "whoever is there stays there",
        );
        before = now;
      }
      t.same(weights, WEIGHTS);
      t.match(await p.status(), { phase: "succeeded", weight: 100, rollbacks: 0 });
      const report = await reportOf(p);
      t.match(report, { status: "SUCCEEDED", version: "4.0", reason: "rehearsal" });
      const events = report.events.map(({ type }) => type);
      const times = (event: string) => events.filter((each) => each === event).length;
      t.equal(times("DEPLOY_SUCCESS"), 1);
      t.equal(times("VALIDATION_COMPLETE"), 1, "what is checked before the start is checked in a rehearsal");
      t.equal(times("GATE_OPENED"), 0);
      await second(p);
      t.equal((await second(p)).canary.length, WHO.length, "and it stays");
    },
  );
}

/** The written plan with holds of seconds, at any hour and by time alone; who signs and what is ticked is as written. */
async function hurried(): Promise<{ readonly plan: object; readonly tokens: readonly object[] }> {
  const { plan, tokens } = await written();
  const short = ({ hold, bake, checkpoint, ...rest }: Step): Step => ({
    ...rest,
    ...(hold === undefined ? {} : { hold: "3s" }),
    ...(bake === undefined ? {} : { bake: "3s" }),
    ...(checkpoint === undefined ? {} : { checkpoint: "1s" }),
  });
  const { window: _window, announce: _announce, ...rest } = plan;
  return { plan: { ...rest, promotion: "off", steps: plan.steps.map(short) }, tokens };
}

t.test(
  "people sign for the plan, who has not the role does not, and a breach while a gate waits rolls back (acceptance 5, 22)",
  async (t) => {
    const { plan, tokens } = await hurried();
    const p = await program({}, { admin: { address: "127.0.0.1:0", tokens } });
    t.teardown(() => p.close());
    await started(t, p, { plan, version: "4.0", reason: "release" }, "SLUICE_ADA");
    const approve = (token: string, body: object) => p.api("/v1/rollouts/app/approve", body, token);
    const atGate = (step: number) => (status: Status) =>
      status.step === step && status.waiting?.for === "gate";

    const first = await until(p, atGate(0));
    t.equal(first.weight, 0);
    const lead = { step: 0, role: "deployment-lead", checklist: first.gate?.missing.items };
    t.equal(lead.checklist?.length, 4);
    t.match(await approve("SLUICE_BOB", lead), {
      status: 403,
      body: {
        code: "SPLIT_FORBIDDEN",
        detail: /the token "bob" has not the role "deployment-lead"; it has on-call/,
      },
    });
    t.equal((await approve("SLUICE_NOBODY", lead)).status, 401);
    await second(p);
    const unsigned = await p.status();
    t.match(unsigned, { step: 0, weight: 0, gate: { granted: false } });
    t.same(unsigned.gate?.signatures, []);
    t.equal((await approve("SLUICE_ADA", lead)).status, 200);

    const waiting = await until(p, atGate(1));
    t.match(waiting, { weight: 5, phase: "progressing", gate: { missing: { roles: ["deployment-lead"] } } });
    for (let seconds = 0; seconds < 5; seconds++) await second(p);
    t.match(await p.status(), { weight: 5, waiting: { for: "gate" } }, "it waits for as long as it takes");
    const mine = (await second(p)).canary[0] ?? "";
    t.not(mine, "");

    p.canary.answer = failing;
    let errors = 0;
    let seconds = 0;
    for (; seconds < 60 && (await p.status()).phase !== "rolled_back"; seconds++)
      errors += (await second(p)).errors;
    t.match(await p.status(), { phase: "rolled_back", weight: 0, rollbacks: 1, waiting: null });
    t.equal(errors, 0, "no user saw it");
    const reached = p.canary.requests;
    t.equal((await p.get(mine)).body, "stable");
    await second(p);
    t.equal(p.canary.requests, reached);
    t.equal((await approve("SLUICE_ADA", { step: 1, role: "deployment-lead" })).status, 409, "too late");
    await second(p);
    t.match(await p.status(), { phase: "rolled_back", weight: 0 });

    const lines = await journalOf(p, "ROLLBACK_DONE", 1);
    const at = (wanted: string) => lines.findLastIndex(({ event }) => event === wanted);
    t.match(lines[at("GATE_REFUSED")], { actor: "bob", reason: /has not the role "deployment-lead"/ });
    t.match(lines[at("GATE_SIGNED")], { actor: "ada", reason: /^ada signs for deployment-lead, with / });
    t.match(lines[at("ROLLBACK_DONE")], { actor: "sluice", reason: /^Rolled back: / });
    t.ok(at("GATE_REFUSED") < at("GATE_SIGNED") && at("GATE_SIGNED") < at("GATE_OPENED"));
    t.ok(at("GATE_OPENED") < at("ROLLBACK_DONE"), "the gate was waiting");
    t.equal(lines.filter(({ event }) => event === "GATE_OPENED").length, 2);
    t.match(await reportOf(p), { status: "ROLLED BACK" });
  },
);

const BAD: Readonly<Record<string, { readonly route: object; readonly reason: RegExp }>> = {
  "does not answer its smoke request": {
    route: {},
    reason: /^Paused: 1 of \d+ failed: smoke; .*smoke: GET http:\S+\/: status 500$/,
  },
  "is unhealthy": {
    route: {
      health: { path: "/status", interval: "1s" },
      preflight: { smoke: [{ path: "/healthz" }], skip: ["clock"] },
    },
    reason: /^Paused: 1 of \d+ failed: arms; .*arms: 1\/2 endpoints healthy; http:\S+: status 500$/,
  },
};

for (const [what, { route, reason }] of Object.entries(BAD)) {
  t.test(`a canary that ${what} pauses the plan at 0 %, and when it is well it is tried again`, async (t) => {
    const p = await program({ plan: "safe", ...route });
    t.teardown(() => p.close());
    const retry = async () =>
      t.equal((await p.api("/v1/rollouts/app/retry", { reason: "fixed" })).status, 200);
    p.canary.answer = failing;
    for (let seconds = 0; seconds < 10; seconds++) await second(p);
    await started(t, p, { wait: "5s", reason: "rehearsal" });
    t.match(await until(p, ({ phase }) => phase === "paused"), { step: 0, weight: 0, reason });
    for (let seconds = 0; seconds < 5; seconds++) t.same((await second(p)).canary, []);
    t.match(await p.status(), { phase: "paused", weight: 0 }, "nothing is tried again by itself");

    await retry();
    t.match(await until(p, ({ phase }) => phase === "paused"), { step: 0, weight: 0, reason });
    await journalOf(p, "VALIDATION_FAILED", 2);

    p.canary.answer = undefined;
    for (let seconds = 0; seconds < 10; seconds++) await second(p);
    t.match(await p.status(), { phase: "paused", weight: 0 });
    t.same(
      [...p.canary.users].filter((user) => user !== ""),
      [],
      "no user was there",
    );
    await retry();
    t.match(await until(p, ({ weight }) => weight > 0), { phase: "progressing", step: 1, weight: 5 });
    await journalOf(p, "VALIDATION_COMPLETE", 1);
  });
}
