/** The coarse clock of the fast lane. It is turned by hand: its timer is a mocked one. */

import assert from "node:assert/strict";
import { mock } from "node:test";
import fc from "fast-check";
import t from "tap";
import { TICK_MS, Timed, Wheel } from "../../src/proxy/fast/wheel.ts";

mock.timers.enable({ apis: ["setInterval"] });

class Probe extends Timed {
  fired = 0;
  readonly #then: (() => void) | undefined;

  constructor(then?: () => void) {
    super();
    this.#then = then;
  }

  onDue(): void {
    this.fired++;
    this.#then?.();
  }
}

/** A wheel beside a naive model of it: a list of deadlines. */
class Pair {
  readonly wheel = new Wheel();
  readonly probes: readonly Probe[];
  /** Turns so far. */
  now = 0;
  /** By number of the probe: when it was set, and to how much. */
  readonly model = new Map<number, { readonly at: number; readonly ms: number }>();
  trouble = "";
  /** What the next deadlines to pass do, one after the other. */
  ends: (readonly Step[])[] = [];

  constructor(count: number) {
    this.probes = Array.from({ length: count }, (_, nth) => new Probe(() => this.#fired(nth)));
  }

  /** Real time that passed since the set lies between these, as it may have come anywhere between two ticks. */
  #fired(nth: number): void {
    const set = this.model.get(nth);
    if (set === undefined) {
      this.trouble ||= `${nth} fired without a deadline`;
      return;
    }
    const least = (this.now - set.at - 1) * TICK_MS;
    const most = (this.now - set.at) * TICK_MS;
    if (least < set.ms) this.trouble ||= `${nth} was early: ${set.ms} ms after ${least}`;
    if (most > set.ms + 2 * TICK_MS) this.trouble ||= `${nth} was late: ${set.ms} ms after ${most}`;
    this.model.delete(nth);
    for (const step of this.ends.shift() ?? []) this.run(step);
  }

  run(step: Step): void {
    const nth = step.nth % this.probes.length;
    const probe = this.probes[nth]!;
    switch (step.kind) {
      case "set":
        this.wheel.set(probe, step.ms);
        this.model.set(nth, { at: this.now, ms: step.ms });
        break;
      case "clear":
        this.wheel.clear(probe);
        this.model.delete(nth);
        break;
      case "remove":
        this.wheel.remove(probe);
        this.model.delete(nth);
        break;
    }
  }

  turn(): void {
    this.now++;
    this.wheel.turn();
    for (const [nth, { at, ms }] of this.model)
      if ((this.now - at) * TICK_MS > ms + 2 * TICK_MS) this.trouble ||= `${nth} is overdue: ${ms} ms`;
  }
}

interface Step {
  readonly kind: "set" | "clear" | "remove";
  readonly nth: number;
  readonly ms: number;
}

const ms = fc.oneof(
  fc.integer({ min: 0, max: 200 }),
  fc.integer({ min: 0, max: 45_000 }),
  fc.constantFrom(
    0,
    1,
    TICK_MS - 1,
    TICK_MS,
    TICK_MS + 1,
    TICK_MS * 1022,
    TICK_MS * 1023,
    TICK_MS * 1024,
    3_600_000,
  ),
  fc.integer({ min: 0, max: 800 }).map((eighths) => eighths / 8),
);
const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom("set", "set", "set", "clear", "remove"),
  nth: fc.nat({ max: 20 }),
  ms,
});
const turns = fc.oneof(fc.nat({ max: 3 }), fc.nat({ max: 30 }), fc.constantFrom(1023, 1024, 1025));

t.test(
  "no deadline is early, none is more than two ticks late, whatever is set, moved, cleared and forgotten",
  async () => {
    const script = fc.array(fc.tuple(fc.array(step, { maxLength: 8 }), turns), { maxLength: 60 });
    const ends = fc.array(fc.array(step, { maxLength: 3 }), { maxLength: 100 });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 20 }), script, ends, (count, script, scripted) => {
        const pair = new Pair(count);
        pair.ends = [...scripted];
        for (const [steps, turns] of script) {
          for (const each of steps) pair.run(each);
          for (let left = turns; left > 0; left--) pair.turn();
        }
        // All that has a deadline still comes to it.
        pair.ends = [];
        for (let left = 0; left < 4000; left++) pair.turn();
        for (const [nth, { ms }] of pair.model) if (ms < 60_000) pair.trouble ||= `${nth} never came`;
        for (const probe of pair.probes) pair.wheel.remove(probe);
        if (pair.wheel.linked !== 0) pair.trouble ||= `${pair.wheel.linked} links are left`;
        pair.wheel.close();
        assert.equal(pair.trouble, "");
      }),
      { numRuns: 150 },
    );
  },
);

t.test(
  "a deadline moved later, earlier, away or into its own end comes once, when it was last set to",
  async (t) => {
    const wheel = new Wheel();
    const later = new Probe();
    wheel.set(later, 100);
    wheel.set(later, 200);
    const earlier = new Probe();
    wheel.set(earlier, 60_000);
    wheel.set(earlier, 100);
    const cleared = new Probe();
    wheel.set(cleared, 100);
    wheel.clear(cleared);
    const removed = new Probe();
    wheel.set(removed, 100);
    wheel.remove(removed);
    const again: Probe = new Probe(() => wheel.set(again, 40));
    wheel.set(again, 0);
    t.equal(wheel.linked, 4, "a cleared one stays linked, in case it is set again; a removed one does not");
    for (let turn = 0; turn < 8; turn++) wheel.turn();
    t.strictSame([later.fired, earlier.fired, cleared.fired, removed.fired], [0, 1, 0, 0]);
    t.equal(again.fired, 3);
    for (let turn = 0; turn < 8; turn++) wheel.turn();
    t.strictSame([later.fired, earlier.fired, cleared.fired, removed.fired], [1, 1, 0, 0]);
    wheel.close();
  },
);

t.test(
  "the end of one deadline may forget, clear or move the others of the same tick, each of them",
  async (t) => {
    for (const order of [0, 1, 2, 3]) {
      const wheel = new Wheel();
      const others = [new Probe(), new Probe(), new Probe()];
      const first = new Probe(() => {
        wheel.remove(others[0]!);
        wheel.clear(others[1]!);
        wheel.set(others[2]!, 1000);
      });
      const all: Probe[] = [...others];
      all.splice(order, 0, first);
      for (const probe of all) wheel.set(probe, 20);
      wheel.turn();
      t.equal(first.fired, 0, "never early");
      wheel.turn();
      t.equal(first.fired, 1);
      // Those before it in the list came first.
      t.strictSame(
        others.map((probe) => probe.fired),
        others.map((_, nth) => (nth < order ? 1 : 0)),
      );
      for (let turn = 0; turn < 60; turn++) wheel.turn();
      t.equal(others[2]!.fired, order > 2 ? 2 : 1);
      t.equal(wheel.linked, 0);
    }
  },
);

t.test("it has a timer only while something is linked, and goes on behind a pause", async (t) => {
  const wheel = new Wheel();
  const probe = new Probe();
  wheel.set(probe, 2 * TICK_MS);
  mock.timers.tick(2 * TICK_MS);
  t.equal(probe.fired, 0);
  mock.timers.tick(TICK_MS);
  t.equal(probe.fired, 1);
  t.equal(wheel.linked, 0);
  mock.timers.tick(1000);
  wheel.set(probe, 0);
  mock.timers.tick(TICK_MS);
  t.equal(probe.fired, 2);
  wheel.set(probe, 0);
  wheel.close();
  mock.timers.tick(1000);
  t.equal(probe.fired, 2, "closed");
  wheel.set(new Probe(), 1000);
  mock.timers.tick(TICK_MS);
  t.equal(probe.fired, 3, "a later deadline starts it again");
  wheel.close();
});
