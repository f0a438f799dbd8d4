/** Every message that there is, as text: what it says stands in `test/golden/messages.txt`, and what no message may be is tried over made-up states. */

import fc from "fast-check";
import t from "tap";
import {
  EMPTY_BOOK,
  bookAfter,
  bulletinMessage,
  risksOf,
  standingOf,
  withIncident,
  type BulletinBook,
  type BulletinView,
} from "../../src/domain/bulletin.ts";
import {
  incidentMessage,
  notedOn,
  openIncident,
  resolveIncident,
  toldOf,
} from "../../src/domain/incident.ts";
import { incidentJson, incidentMarkdown } from "../../src/domain/incident-report.ts";
import {
  MOST_LINES,
  decisionMessage,
  heldMessage,
  messageOf,
  plainLine,
  storeMessage,
  type Decided,
  type Message,
} from "../../src/domain/message.ts";
import { milestoneOf } from "../../src/domain/milestone.ts";
import type { Step } from "../../src/domain/plan.ts";
import { IDLE, NO_PROGRESS, atStep } from "../../src/domain/rollout-move.ts";
import { PHASES, type RolloutState } from "../../src/domain/rollout-types.ts";
import { newGate } from "../../src/domain/signatures.ts";
import { FULL, millis, ppm } from "../../src/domain/units.ts";
import { golden } from "../support/golden.ts";

const HOUR = 3_600_000;
/** Tuesday. */
const WALL = Date.parse("2026-01-06T03:00:00Z");
const GATE = {
  roles: ["deployment-lead", "on-call"],
  acknowledge: [],
  checklist: [],
  expiresMs: null,
  samePerson: true,
};
const step = (percent: number, hours: number, more: Partial<Step> = {}): Step => ({
  weight: ppm(percent * 10_000),
  holdMs: millis(hours * HOUR),
  bake: false,
  ...more,
});
const STEPS = [
  step(0, 0, { preflight: true }),
  step(5, 8),
  step(25, 16, { gate: GATE }),
  step(100, 24),
  step(100, 48, { bake: true }),
];
const WINDOW = { from: 540, to: 600, weekdays: ["mon", "tue", "wed"] as const, timezone: "UTC" };
const BASE: RolloutState = {
  ...IDLE,
  id: "r-1",
  version: "4.0.0",
  steps: STEPS,
  windows: [WINDOW],
  revision: 7,
};
const at = (index: number, more: Partial<RolloutState> = {}): RolloutState => ({
  ...BASE,
  ...atStep(BASE, index),
  ...more,
});
const FIGURES = {
  stable: { requests: 41_000, failures: 12, errorRate: 0.0003, p95Ms: 118 },
  canary: { requests: 2100, failures: 44, errorRate: 0.021, p95Ms: 240 },
};
const EXPLANATION = [
  "error_rate>1%: failed. 2.10 % of 2100 failed for 5m (95 %: 1.5 % to 2.8 %)",
  "In the last minutes mostly /cart/* × 30 (POST × 30): status 503 × 44; 17 distinct keys; traces 4bf92f.",
];
const REASON = "Rolled back: error_rate>1%";
const decided = (event: string, more: Partial<Decided>): Decided => ({
  route: "app",
  environment: "production",
  event,
  from: at(2),
  to: at(2),
  actor: "sluice",
  reason: "",
  wall: WALL,
  figures: FIGURES,
  explanation: [],
  next: milestoneOf(more.to ?? at(2), { wall: WALL, freezes: [] }).words,
  ...more,
});
const back = at(2, { phase: "rolled_back", weight: ppm(0), cooldownLeftMs: millis(HOUR) });
const scheduled = { ...BASE, phase: "scheduled", startsAtMs: WALL + 30 * HOUR } as const;
const paused = at(2, { phase: "paused", reason: "Paused" });

/** Each decision that is told, as it is told. */
const DECISIONS: readonly Decided[] = [
  decided("DEPLOY_START", { from: IDLE, to: at(0), actor: "ada", reason: "release", figures: null }),
  decided("ROLLOUT_SCHEDULED", {
    from: IDLE,
    to: scheduled,
    actor: "ada",
    reason: "scheduled for Wed 2026-01-07 09:00 UTC",
    figures: null,
  }),
  decided("SCHEDULE_CANCELLED", { from: scheduled, to: IDLE, actor: "ada", reason: "not ready" }),
  decided("STEP_STARTED", { from: at(1), to: at(2) }),
  decided("STEP_STARTED", { from: at(3), to: at(4) }),
  decided("STEPPED_BACK", { from: at(2), to: at(1), actor: "bob", reason: "odd latencies" }),
  decided("STEP_EXTENDED", { actor: "ada", reason: "its hold is longer by 1d: more data" }),
  decided("GATE_OPENED", { reason: "waits for the signature of deployment-lead, on-call" }),
  decided("GATE_SIGNED", { actor: "ada", reason: "ada signs for on-call: looks well" }),
  decided("GATE_REJECTED", { to: paused, actor: "bob", reason: "rejected by bob (on-call): slow" }),
  decided("RAISE_CONFIRMED", { reason: "the confirm webhook says go: status 200" }),
  decided("ROLLOUT_PAUSED", { to: paused, reason: "Paused: p95>500ms" }),
  decided("ROLLOUT_RESUMED", { from: paused, actor: "ada", reason: "" }),
  decided("VALIDATION_COMPLETE", { from: at(0), to: at(0), reason: "10/10 checks passed" }),
  decided("VALIDATION_FAILED", {
    from: at(0),
    to: at(0, { phase: "paused" }),
    reason: "1 of 10 failed: smoke; smoke: status 503",
  }),
  decided("VALIDATION_RETRIED", { from: at(0), to: at(0), actor: "ada", reason: "fixed" }),
  decided("WEIGHT_SET", { from: at(1), to: at(1, { weight: ppm(125_000) }), actor: "ada", reason: "try" }),
  decided("RESTORED", {
    from: at(2),
    to: at(1, { phase: "paused" }),
    actor: "ada",
    reason: "restored from B",
  }),
  decided("TRIPPED", {
    to: at(2, { weight: ppm(0), trippedFrom: ppm(250_000) }),
    reason: "Tripped: error_rate>1%",
  }),
  decided("TRIP_PROBED", { from: at(2, { weight: ppm(0) }), to: at(2) }),
  decided("ROLLBACK_DONE", { to: back, reason: REASON, explanation: EXPLANATION }),
  decided("ROLLBACK_HELD", { to: paused, reason: REASON, explanation: EXPLANATION }),
  decided("ROLLBACK_VERIFIED", {
    from: back,
    to: { ...back, cooldownLeftMs: millis(0) },
    reason: "stable is healthy after the rollback, and the canary had no request",
  }),
  decided("DEPLOY_SUCCESS", { from: at(4), to: at(4, { phase: "succeeded" }) }),
  decided("SOMETHING_ELSE", {
    from: { ...IDLE, weight: FULL },
    to: { ...IDLE, weight: FULL, phase: "paused" },
  }),
];

const INCIDENT = openIncident(
  {
    environment: "production",
    route: "app",
    rollout: "r-1",
    version: "4.0.0",
    openedAtMs: WALL,
    actor: "sluice",
    reason: REASON,
    fromWeight: 25,
    toWeight: 0,
    rules: ["error_rate>1%: 2.10 % of 2100 failed for 5m"],
    figures: FIGURES,
    requestsFailed: 44,
    requestsRescued: 31,
    distinctKeys: 17,
    keysCapped: false,
    breachMs: 300_000,
    tookMs: 0.4,
    stableHealthy: true,
  },
  millis(15 * 60_000),
);
const BY_HAND = {
  ...INCIDENT,
  actor: "ada",
  rules: [],
  breachMs: null,
  tookMs: 2,
  version: "",
  toWeight: 5,
  keysCapped: true,
  stableHealthy: false,
};
const SETTINGS = {
  notice: millis(24 * HOUR),
  digest: { at: 540, timezone: "UTC" },
  incident: { after: millis(15 * 60_000), every: millis(HOUR) },
};
const view = (state: RolloutState, more: Partial<BulletinView> = {}): BulletinView => ({
  route: "app",
  environment: "production",
  state,
  calendar: { wall: WALL + 6 * HOUR, freezes: [] },
  figures: FIGURES,
  warnings: [],
  waiting: null,
  ...more,
});
const BOOK: BulletinBook = {
  ...EMPTY_BOOK,
  rollout: "r-1",
  version: "4.0.0",
  startedBy: "ada",
  beganAtMs: WALL - 30 * HOUR,
  digestAtMs: WALL,
  isClosed: false,
  updates: [
    { atMs: WALL - 18 * HOUR, words: "the canary goes from 0% to 5%, step 2 of 5" },
    { atMs: WALL - HOUR, words: "the canary goes from 5% to 25%, step 3 of 5" },
  ],
};

const LINE = {
  seq: 9,
  at: "2026-01-06T03:00:00.000Z",
  event: "ROLLBACK_DONE",
  route: "app",
  rollout: "r-1",
  actor: "sluice",
  reason: REASON,
  before: { phase: "progressing", step: 2, weight: 25 },
  after: { phase: "rolled_back", step: 2, weight: 0 },
} as const;

function shown(title: string, { summary, lines }: Message): string {
  return [`== ${title}`, summary, "--", ...lines, "", ""].join("\n");
}

t.test("every message is as last agreed to, and its first line is its summary", async (t) => {
  const decisions = DECISIONS.map((each) => [each.event, decisionMessage(each)] as const);
  const held = { route: "app", rule: "error_rate>1%", detail: "both fail", weight: "25%" };
  const over = resolveIncident(toldOf(INCIDENT, WALL, millis(HOUR)), {
    atMs: WALL + HOUR,
    by: "ada",
    how: "4.0.1 has the fix",
  });
  const risky = {
    warnings: ["error_rate>1%: above its limit for 2m"],
    waiting: { for: "gate", words: "waits for the signature of on-call" } as const,
  };
  const messages = [
    ...decisions,
    ["shared_cause", heldMessage({ ...held, explanation: EXPLANATION })] as const,
    ["state_corrupt", storeMessage("state_corrupt", "torn")] as const,
    ["state_unwritable", storeMessage("state_unwritable", "ENOSPC")] as const,
    ["state_recorded_again", storeMessage("state_recorded_again", "")] as const,
    ["announced", bulletinMessage("announced", BOOK, view(scheduled), "Ada Lovelace")] as const,
    ["digest", bulletinMessage("digest", BOOK, view(at(2)), "ada")] as const,
    [
      "digest",
      bulletinMessage(
        "digest",
        { ...BOOK, omitted: 3 },
        view(at(2, { heldMs: millis(41 * HOUR) }), risky),
        "ada",
      ),
    ] as const,
    ["digest", bulletinMessage("digest", { ...BOOK, updates: [] }, view(back), "ada")] as const,
    [
      "final_report",
      bulletinMessage("final_report", BOOK, view(at(4, { phase: "succeeded" })), "ada"),
    ] as const,
    ["final_report", bulletinMessage("final_report", { ...BOOK, version: "" }, view(back), "ada")] as const,
    ["schedule_cancelled", bulletinMessage("schedule_cancelled", BOOK, view(IDLE), "ada")] as const,
    ["incident_update", incidentMessage(INCIDENT, WALL + 15 * 60_000)] as const,
    [
      "incident_update",
      incidentMessage(
        notedOn(toldOf(BY_HAND, WALL, millis(HOUR)), { atMs: WALL + HOUR, words: "stable is unhealthy" }),
        WALL + 75 * 60_000,
      ),
    ] as const,
    ["incident_resolved", incidentMessage(over, WALL + 2 * HOUR)] as const,
  ];
  for (const [event, { summary, lines }] of messages) {
    t.equal(lines[0], summary, event);
    t.ok(lines.length <= MOST_LINES && new Set(lines).size === lines.length, event);
  }
  const text = [
    ...messages.map(([event, message]) => shown(event, message)),
    `== incident.md\n${incidentMarkdown(over, [LINE, { ...LINE, event: "ROLLBACK_VERIFIED", reason: "" }])}\n`,
    `== incident.md\n${incidentMarkdown(BY_HAND, [])}\n`,
    `== incident.json\n${incidentJson(over, [LINE])}`,
  ].join("");
  t.equal(text, golden("messages.txt", text));
  t.match(JSON.parse(incidentJson(INCIDENT, [])), { resolvedAt: null, openedAt: "2026-01-06T03:00:00.000Z" });
});

t.test(
  "the digest has every field of the plan's template, and is AT RISK while a warning is open (acceptance 28)",
  async (t) => {
    const fields = [
      "Status",
      "Rollout Percentage",
      "Error Rate",
      "P95 Latency",
      "Key Updates",
      "Next Milestone",
      "Deployment Lead",
    ];
    const { lines } = bulletinMessage("digest", BOOK, view(at(2)), "ada");
    for (const field of fields)
      t.ok(
        lines.some((line) => line.startsWith(`${field}:`)),
        field,
      );
    const of = (state: RolloutState, more: Partial<BulletinView> = {}) => standingOf(view(state, more));
    t.equal(of(at(2)), "ON TRACK");
    t.equal(of(at(2), { warnings: ["p95>500ms: 510 ms"] }), "AT RISK");
    t.equal(of(paused), "AT RISK");
    t.equal(of(back, { warnings: ["x"] }), "ROLLED BACK");
    const late = (what: "gate" | "evidence" | "window", hours: number) =>
      of(at(2, { heldMs: millis((16 + hours) * HOUR) }), { waiting: { for: what, words: "waits" } });
    t.equal(late("gate", 23), "ON TRACK");
    t.equal(late("gate", 24), "AT RISK", "a gate that nobody signs for a day");
    t.equal(late("evidence", 0.5), "ON TRACK");
    t.equal(late("evidence", 1), "AT RISK", "a hold that is overdue");
    t.equal(late("window", 60), "ON TRACK", "the night between two windows is the plan");
    t.same(
      risksOf(
        view(at(2, { heldMs: millis(18 * HOUR + 59_000) }), { waiting: { for: "evidence", words: "waits" } }),
      ),
      ["waits, for 2h by now"],
    );
  },
);

t.test("what comes next has its date, by the plan and the calendar", async (t) => {
  const calendar = { wall: WALL, freezes: [] };
  const next = (state: RolloutState) => milestoneOf(state, calendar);
  t.same(next(scheduled), { words: "the start, Wed 2026-01-07 09:00 UTC", atMs: WALL + 30 * HOUR });
  t.equal(next(at(1)).words, "25% (step 3 of 5), Wed 2026-01-07 09:00 UTC at the earliest");
  t.match(next(at(2)).words, /; waits for the signature of deployment-lead, on-call$/);
  t.equal(next(at(3)).words, "the bake (step 5 of 5), Wed 2026-01-07 03:00 UTC at the earliest");
  t.equal(next(at(4)).words, "the end of the rollout, Thu 2026-01-08 03:00 UTC at the earliest");
  t.equal(next(paused).words, "a person resumes, or rolls back");
  t.same(next(back), { words: "a person starts anew, in 1h at the earliest", atMs: WALL + HOUR });
  t.same(next(at(4, { phase: "succeeded" })), { words: "", atMs: null });
  const never = [{ from: 0, to: WALL * 3, reason: "closed for good" }];
  t.equal(milestoneOf(at(1), { wall: WALL, freezes: never }).words, "25% (step 3 of 5), no date");
  const granted = at(2, {
    progress: { ...NO_PROGRESS, gate: newGate(2) },
    windows: [],
    steps: [...STEPS.slice(0, 2), step(25, 0), ...STEPS.slice(3)],
  });
  t.notMatch(next(granted).words, /waits/);
});

t.test("the book keeps the last few updates and incidents, and counts what it leaves out", async (t) => {
  const words = Array.from({ length: 15 }, (_, n) => `update ${n}`);
  const book = words.reduce(
    (kept, each) => bookAfter(kept, { to: at(2), actor: "ada", wall: WALL, words: each }, SETTINGS),
    EMPTY_BOOK,
  );
  t.match(book, { rollout: "r-1", startedBy: "ada", beganAtMs: WALL, omitted: 3, updates: { length: 12 } });
  t.equal(book.digestAtMs, Date.parse("2026-01-06T09:00:00Z"));
  const named = (id: string) => ({ ...INCIDENT, id });
  const all = ["a", "b", "c", "d", "e", "f"].map(named).reduce(withIncident, book);
  t.same(
    all.incidents.map(({ id }) => id),
    ["b", "c", "d", "e", "f"],
  );
  const changed = withIncident(all, { ...named("c"), told: 9 });
  t.same(
    changed.incidents.map(({ id, told }) => `${id}${told}`),
    ["b0", "c9", "d0", "e0", "f0"],
  );
  t.match(bulletinMessage("digest", { ...BOOK, beganAtMs: null }, view(at(2)), "ada").summary, /day 1:/);
});

t.test("a line is one line, drives no terminal, and names no password of a URL", async (t) => {
  t.equal(plainLine(" a\n\u001B[31mb\u202E "), "a [31mb");
  t.equal(plainLine("see https://ada:hunter2@db.example/x"), "see https://db.example/x");
  t.equal(plainLine("x".repeat(1000)).length, 401);
  const many = messageOf(
    "s",
    Array.from({ length: 50 }, (_, n) => `line ${n}`),
    "sluice status app",
  );
  t.equal(many.lines.length, MOST_LINES);
  t.equal(many.lines.at(-1), "22 more lines: sluice status app");
});

const SECRET = "hunter2";
const texts = fc.oneof(
  fc.string({ maxLength: 600 }),
  fc.constant(`https://ada:${SECRET}@db.example/`),
  fc.constant("a\nb\r\nc"),
);
const weights = fc.integer({ min: 0, max: 1_000_000 }).map(ppm);
const spans = fc.integer({ min: 0, max: 10 ** 9 }).map(millis);
const states: fc.Arbitrary<RolloutState> = fc
  .record({
    phase: fc.constantFrom(...PHASES),
    index: fc.integer({ min: 0, max: STEPS.length - 1 }),
    weight: weights,
    reason: texts,
    version: texts,
    heldMs: spans,
    cooldownLeftMs: spans,
    trippedFrom: weights,
    startsAtMs: fc.integer({ min: 0, max: 10 ** 13 }),
    hasPlan: fc.boolean(),
  })
  .map(({ index, hasPlan, ...more }) => {
    const isClimbing = more.phase === "progressing" || more.phase === "baking";
    return hasPlan || isClimbing ? { ...at(index), ...more } : { ...BASE, ...more, steps: [] };
  });

t.test("no message of any state is long, has a line break, or tells a password (property)", async (t) => {
  const all = (message: Message): readonly string[] => [message.summary, ...message.lines];
  fc.assert(
    fc.property(
      states,
      states,
      fc.constantFrom(...DECISIONS.map(({ event }) => event)),
      texts,
      fc.array(texts, { maxLength: 60 }),
      fc.constantFrom("announced", "digest", "final_report", "schedule_cancelled"),
      (from, to, event, reason, lines, due) => {
        const calendar = { wall: WALL, freezes: [] };
        const next = milestoneOf(to, calendar).words;
        const decision = decisionMessage(
          decided(event, { from, to, reason, actor: reason, explanation: lines, next }),
        );
        const book = lines.reduce<BulletinBook>(
          (kept, words) => bookAfter(kept, { to, actor: reason, wall: WALL, words }, SETTINGS),
          BOOK,
        );
        const incident = { ...INCIDENT, reason, updates: lines.map((words) => ({ atMs: WALL, words })) };
        const messages = [
          decision,
          bulletinMessage(due, withIncident(book, incident), view(to, { warnings: lines }), reason),
          incidentMessage(incident, WALL + HOUR),
          heldMessage({ route: "app", rule: "r", detail: reason, explanation: lines, weight: "5%" }),
          storeMessage("state_unwritable", reason),
        ];
        for (const message of messages) {
          if (message.lines.length > MOST_LINES || message.lines[0] !== message.summary) return false;
          if (all(message).some((line) => /\p{Cc}/u.test(line) || line.length > 401)) return false;
          if (all(message).some((line) => line.includes(SECRET))) return false;
        }
        return true;
      },
    ),
    { numRuns: 500 },
  );
  t.pass("as is");
});
