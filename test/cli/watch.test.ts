/** The page of `status --watch`: what a person sees at a glance, bounded in width and height, and nothing that drives the terminal. */

import fc from "fast-check";
import t from "tap";
import { redrawing, type Io } from "../../src/cli/io.ts";
import { sparkline, watchPage } from "../../src/cli/watch.ts";
import type { JournalLine } from "../../src/engine/ports.ts";
import type { RouteStatus } from "../../src/engine/status.ts";
import { routeStatus } from "../support/fake-admin.ts";

const PLAIN = { color: false, columns: 120 };
const STEP = { holdMs: 600_000, bake: false, critical: false, gate: null };

function climbing(weight: number): RouteStatus {
  const status = routeStatus({ phase: "progressing", weight });
  const gate = { samePerson: false, roles: ["on-call"], checklist: [], acknowledge: [], expiresMs: null };
  return {
    ...status,
    step: 1,
    heldMs: 120_000,
    holdLeftMs: 480_000,
    steps: [
      { ...STEP, weight: 5 },
      { ...STEP, weight: 25, critical: true, gate },
      { ...STEP, weight: 100, bake: true },
    ],
    checks: [{ ...status.checks[0]!, rule: "not worse", ratio: 0.5, etaMs: 60_000, have: 50, need: 100 }],
  };
}

const LINE: JournalLine = {
  seq: 7,
  at: "2026-01-05T09:00:01.000Z",
  event: "STEP_STARTED",
  route: "app",
  rollout: "r",
  actor: "sluice",
  reason: "evidence \u001b[2Jis there",
  before: { phase: "progressing", step: 0, weight: 5 },
  after: { phase: "progressing", step: 1, weight: 25 },
  prev: "",
  hash: "",
};

t.test(
  "the page has the ladder with time left, both arms look by look, the evidence, and what was of late",
  (t) => {
    const page = watchPage({ looks: [climbing(5), climbing(25)], journal: [LINE] }, PLAIN);
    t.match(page, /✓ {5}5 % █░+ {2}done/);
    t.match(page, /▶ {4}25 % █████░+ {2}2m of 10m, 8m left {2}critical {2}signed by on-call/);
    t.match(page, /· {4}bake █{20} {2}10m/);
    t.match(page, /requests\/s {1,}stable {2}[▁-█ ]{2}/u);
    t.match(page, /canary {2}[▁-█ ]{2}/u);
    t.match(page, /█{10}░{10} 50\/100 {2}1m {2}not worse/);
    t.match(page, /09:00:01 {2}STEP_STARTED {2}sluice/);
    t.equal(watchPage({ looks: [], journal: [] }, PLAIN), "");
    t.end();
  },
);

t.test("no line of it is wider than the terminal, and no text in it is a command to it", (t) => {
  for (const columns of [20, 40, 80]) {
    const page = watchPage({ looks: [climbing(25)], journal: [LINE] }, { color: false, columns });
    for (const line of page.split("\n")) t.ok(line.length <= columns, line);
    t.notMatch(page, "\u001b");
  }
  t.end();
});

t.test("a page that is higher than the terminal is cut, so that it can be drawn over", (t) => {
  let written = "";
  // Of a terminal only this is used.
  const io = { stdout: (text: string) => void (written += text), rows: 4 } as unknown as Io;
  const draw = redrawing(io);
  draw("1\n2\n3\n4\n5");
  t.equal(written, "1\n2\n3\n");
  written = "";
  draw("6");
  t.equal(written, "\u001b[3A\r\u001b[0J6\n");
  t.end();
});

t.test(
  "a sparkline has a cell for each look: none known is blank, nought the lowest, the top the highest",
  (t) => {
    t.equal(sparkline([undefined, 0, 5, 10], 10), " ▁▅█");
    t.equal(sparkline([0, 0], 0), "▁▁");
    fc.assert(
      fc.property(
        fc.array(fc.option(fc.float({ min: 0, noNaN: true, noDefaultInfinity: true }), { nil: undefined })),
        (values) => {
          const top = Math.max(0, ...values.filter((value) => value !== undefined));
          return sparkline(values, top).length === values.length;
        },
      ),
    );
    t.end();
  },
);
