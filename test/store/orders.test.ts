/** Orders for the leader, as they lie in the queue. */

import t from "tap";
import type { Command } from "../../src/domain/rollout-types.ts";
import { millis, ppm } from "../../src/domain/units.ts";
import type { Order } from "../../src/engine/orders.ts";
import { decodeOrder } from "../../src/store/orders.ts";

const reason = "a reason";
const FULL_STEP = {
  weight: ppm(50_000),
  holdMs: millis(60_000),
  bake: false,
  checkpointMs: millis(1000),
  critical: true,
  preflight: true,
  pause: true,
  gate: {
    roles: ["lead"],
    acknowledge: ["read it"],
    checklist: ["done"],
    expiresMs: millis(1000),
    samePerson: false,
    health: true,
  },
  success: [
    { metric: "error_rate", below: ppm(10_000), shown: false },
    { metric: "p95", below: millis(250), shown: true },
  ],
  promotion: { notWorseBy: ppm(5000), leastMs: millis(1000) },
  holdback: ppm(50_000),
  calm: "warning",
  healthy: true,
} as const;

/** One of each, with everything that it may have, and with as little. */
const COMMANDS: readonly Command[] = [
  {
    type: "start",
    steps: [FULL_STEP, { weight: ppm(1_000_000), holdMs: millis(0), bake: true }],
    version: "4.1",
    windows: [{ from: 540, to: 1020, weekdays: ["mon", "fri"], timezone: "Europe/Zurich" }],
    startsAtMs: 1_767_600_000_000,
    announce: { noticeMs: millis(3_600_000), waiver: "urgent" },
    force: true,
    reason,
  },
  {
    type: "start",
    steps: [],
    version: "",
    announce: { noticeMs: millis(0), waiver: null },
    force: false,
    reason: "",
  },
  { type: "pause", reason },
  { type: "resume", reason },
  { type: "promote", full: true, step: null, reason },
  { type: "promote", full: false, step: 2, force: true, reason },
  { type: "approve", step: 1, role: "lead", items: ["done"], reason },
  { type: "reject", step: 1, role: "lead", answer: { type: "extend", byMs: millis(1000) }, reason },
  ...(["hold", "stepBack", "rollback"] as const).map((type): Command => ({
    type: "reject",
    step: 1,
    role: "lead",
    answer: { type },
    reason,
  })),
  { type: "extend", byMs: millis(1000), reason },
  { type: "step_back", reason },
  { type: "retry", force: false, reason },
  { type: "rollback", reason },
  { type: "set_weight", weight: ppm(1_000_000), force: true, reason },
];

const KNOWN = { route: "app", severity: "critical", metric: "p95", forMs: millis(60_000), reason } as const;
const ORDERS: readonly Order[] = [
  ...COMMANDS.map((command): Order => ({ kind: "command", route: "app", command, actor: { name: "ada" } })),
  {
    kind: "command",
    route: "app",
    command: { type: "pause", reason },
    actor: { name: "ada", roles: ["lead"] },
    ifVersion: 7,
  },
  { kind: "acknowledge", id: "1", by: "ada", comment: "" },
  { kind: "resolve_alert", id: "1", by: "ada", comment: "over" },
  { kind: "silence", request: KNOWN, by: "ada" },
  { kind: "silence", request: { ...KNOWN, severity: null, metric: null }, by: "ada" },
  { kind: "unsilence", id: "s-1", by: "ada" },
  { kind: "resolve_incident", id: "incident_1", by: "ada", how: "mended" },
];

t.test("every order comes out of the queue as it went in", async (t) => {
  for (const order of ORDERS)
    t.same(decodeOrder(JSON.stringify(order)), order, JSON.stringify(order).slice(0, 80));
});

t.test("an order without a kind is a command: so older versions write them", async (t) => {
  for (const order of ORDERS.filter(({ kind }) => kind === "command"))
    t.same(decodeOrder(JSON.stringify({ ...order, kind: undefined })), order);
});

t.test("what is none of the orders that this version knows is none", async (t) => {
  const [start] = ORDERS as readonly [Order & { kind: "command" }, ...Order[]];
  const command = (change: object) => ({ ...start, command: { ...start.command, ...change } });
  const wrong = [
    null,
    [],
    "pause",
    {},
    { ...start, kind: "dance" },
    { ...start, actor: "ada" },
    { ...start, ifVersion: "7" },
    command({ type: "dance" }),
    command({ steps: [{ ...FULL_STEP, weight: 1_000_001 }] }),
    command({ steps: [{ ...FULL_STEP, holdMs: -1 }] }),
    command({ force: "yes" }),
    command({ type: "set_weight", weight: 0.5 }),
    { kind: "acknowledge", id: 1, by: "ada", comment: "" },
    { kind: "silence", request: { ...KNOWN, severity: "loud" }, by: "ada" },
    { kind: "unsilence", id: "s-1" },
  ];
  for (const order of wrong) t.equal(decodeOrder(JSON.stringify(order)), undefined, JSON.stringify(order));
  for (const text of ["", "garbled", '{"kind":"unsil']) t.equal(decodeOrder(text), undefined, text);
});
