/** The fault sweep: one scenario, run with the first write failing, then the second, and so on until a run has met no fault. */

import t from "tap";
import { percentOf, ppm } from "../../src/domain/units.ts";
import type { Command } from "../../src/domain/rollout-types.ts";
import type { JournalEntry, Saved, Store } from "../../src/engine/ports.ts";
import { memoryStore } from "../../src/store/memory.ts";
import { ADA, FakeJournal, bench, benchConfig, step } from "../support/engine.ts";

interface Faults {
  /** The write that fails, counted from 1 over store and journal. */
  readonly at: number;
  /** How many writes fail from there on. */
  readonly lasting: number;
}

interface Outcome {
  readonly writes: number;
  readonly weight: number;
  readonly phase: string;
  readonly recorded: number;
  readonly entries: readonly JournalEntry[];
  /** Moments at which more was in force than was on record. */
  readonly ahead: number;
}

/** Climbs to 50 %, breaks, rolls back by itself; the writes fail as told. */
async function scenario(faults: Faults): Promise<Outcome> {
  let writes = 0;
  const fails = (): boolean => {
    writes++;
    return writes >= faults.at && writes < faults.at + faults.lasting;
  };
  const inner = memoryStore();
  let onRecord = 0;
  const store: Store = {
    load: () => inner.load(),
    async save(document): Promise<Saved> {
      if (fails()) return { ok: false, kind: "unavailable", detail: "fault" };
      const saved = await inner.save(document);
      if (saved.ok) onRecord = percentOf(document.routes["app"]?.weight ?? ppm(0));
      return saved;
    },
    close: () => inner.close(),
  };
  const journal = new FakeJournal();
  journal.fails = fails;
  const b = await bench(
    benchConfig({ rollback: { onAny: [{ metric: "error_rate", above: "1%", for: "3s" }] } }),
    {
      store,
      journal,
    },
  );
  let ahead = 0;
  b.plane.onApply = (weight) => {
    if (weight > onRecord) ahead++;
  };
  const startIt: Command = {
    type: "start",
    steps: [step(0, 0), step(5, 3), step(50, 600)],
    version: "",
    force: false,
    reason: "",
  };
  await b.controller.command("app", startIt, ADA);
  await b.run(15, () => b.plane.serve("app", "canary", { ok: 50 }));
  await b.run(15, () => b.plane.serve("app", "canary", { failed: 50 }));
  await b.run(60);
  const { weight, phase } = b.controller.route("app") ?? { weight: -1, phase: "" };
  const loaded = await inner.load();
  const recorded = loaded.kind === "found" ? percentOf(loaded.document.routes["app"]?.weight ?? ppm(0)) : 0;
  return { writes, weight, phase, recorded, entries: journal.entries, ahead };
}

/** Every climb and every end must be in the journal once, whatever failed on the way. */
const eventsOf = (outcome: Outcome): readonly string[] => outcome.entries.map((entry) => entry.event);

t.test(
  "whichever write fails once, nothing is in force beyond the record, and in the end all of it is recorded (reliability 35, 36)",
  async (t) => {
    const calm = await scenario({ at: 0, lasting: 0 });
    t.strictSame(eventsOf(calm), ["DEPLOY_START", "STEP_STARTED", "STEP_STARTED", "ROLLBACK_DONE"]);
    // The ticks after the last event write nothing new; faults are swept over everything up to there.
    for (let at = 1; at <= 40; at++) {
      const outcome = await scenario({ at, lasting: 1 });
      t.equal(outcome.ahead, 0, `write ${at}: ahead of the record`);
      t.match(outcome, { weight: 0, recorded: 0, phase: "rolled_back" }, `write ${at}`);
      t.strictSame(eventsOf(outcome), eventsOf(calm), `write ${at}: the journal tells the same story`);
    }
    t.ok(calm.writes > 40, `${calm.writes} writes`);
  },
);

t.test(
  "when writes fail for good from some moment on, the canary still ends at 0 (reliability 35, 36)",
  async (t) => {
    for (let at = 1; at <= 40; at += 3) {
      const outcome = await scenario({ at, lasting: Infinity });
      t.equal(outcome.ahead, 0, `from write ${at}: ahead of the record`);
      t.equal(outcome.weight, 0, `from write ${at}`);
    }
  },
);
