import t from "tap";
import fc from "fast-check";
import { afterProbe, UNKNOWN, type Health, type HealthLimits } from "../../src/domain/health.ts";

const limits = fc.record({
  unhealthyAfter: fc.integer({ min: 1, max: 6 }),
  healthyAfter: fc.integer({ min: 1, max: 6 }),
});
const probes = fc.array(fc.boolean(), { maxLength: 60 });

function play(results: readonly boolean[], given: HealthLimits): readonly Health[] {
  let health = UNKNOWN;
  return results.map((good) => (health = afterProbe(health, good, given)));
}

/** Length of the row of equal results that ends at `index`. */
function row(results: readonly boolean[], index: number): number {
  let length = 0;
  while (index - length >= 0 && results[index - length] === results[index]) length += 1;
  return length;
}

t.test(
  "an endpoint turns unhealthy at the failure that completes the row, and never at another probe",
  async () => {
    fc.assert(
      fc.property(probes, limits, (results, given) =>
        play(results, given).every((health, index, all) => {
          const turned = health.healthy === false && (all[index - 1] ?? UNKNOWN).healthy !== false;
          return (
            turned ===
            (results[index] === false &&
              row(results, index) === given.unhealthyAfter &&
              (all[index - 1] ?? UNKNOWN).healthy !== false)
          );
        }),
      ),
    );
  },
);

t.test("an unhealthy endpoint turns healthy only after a whole row of successes", async () => {
  fc.assert(
    fc.property(probes, limits, (results, given) =>
      play(results, given).every((health, index, all) => {
        if (all[index - 1]?.healthy !== false) return true;
        return (
          (health.healthy === true) === (results[index] === true && row(results, index) >= given.healthyAfter)
        );
      }),
    ),
  );
});

t.test("failures and successes in a row are counted, and one ends the other", async () => {
  fc.assert(
    fc.property(probes, limits, (results, given) =>
      play(results, given).every(({ failures, successes }, index) => {
        const length = row(results, index);
        return results[index] === true
          ? failures === 0 && successes === length
          : failures === length && successes === 0;
      }),
    ),
  );
});

t.test("an endpoint is unknown until its first success or its first whole row of failures", async (t) => {
  const given = { unhealthyAfter: 3, healthyAfter: 2 };
  const healthy = (...results: boolean[]) => play(results, given).map((health) => health.healthy);
  t.equal(UNKNOWN.healthy, null);
  t.same(healthy(true), [true], "one success is enough at first");
  t.same(healthy(false, false, false), [null, null, false]);
  t.same(healthy(false, false, true), [null, null, true]);
  t.same(healthy(false, false, false, true, true), [null, null, false, false, true]);
  t.same(healthy(true, false, false, true, false, false), [true, true, true, true, true, true]);
});
