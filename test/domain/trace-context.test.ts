/** W3C trace context: what is one, and ids of our own that say whether they are sampled. */

import fc from "fast-check";
import t from "tap";
import {
  isSampled,
  spanIdFrom,
  traceIdFrom,
  traceParent,
  traceParentOf,
} from "../../src/domain/trace-context.ts";
import { ppmOfPercent } from "../../src/domain/units.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";

t.test("a traceparent is read as W3C has it, and what is none is none", async (t) => {
  const sampled = { traceId: TRACE, spanId: SPAN, isSampled: true };
  t.strictSame(traceParentOf(`00-${TRACE}-${SPAN}-01`), sampled);
  t.strictSame(traceParentOf(`00-${TRACE}-${SPAN}-00`), { ...sampled, isSampled: false });
  t.strictSame(traceParentOf(`00-${TRACE}-${SPAN}-03`), sampled, "flags that we do not know");
  t.strictSame(traceParentOf(`01-${TRACE}-${SPAN}-01-more`), sampled, "a version to come");
  for (const wrong of [
    "",
    "00",
    `ff-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-01-more`,
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-1`,
    `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`,
  ])
    t.equal(traceParentOf(wrong), undefined, wrong);
});

t.test("an id of ours is valid, and its last digits say whether it is sampled", async (t) => {
  const unit = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
  fc.assert(
    fc.property(
      unit,
      fc.array(unit, { minLength: 8, maxLength: 8 }),
      fc.integer({ min: 1, max: 100 }),
      (...given) => {
        const [thrown, more, percent] = given;
        let at = 0;
        const random = (): number => more[at++ % more.length]!;
        const id = traceIdFrom(thrown, random);
        // Consistent probability sampling: the last 56 bits, against what of them is left out.
        const above = Number.parseInt(id.slice(18), 16) / 2 ** 56 - (1 - percent / 100);
        const agrees = Math.abs(above) < 1e-9 || above > 0 === isSampled(ppmOfPercent(percent)!, thrown);
        return agrees && traceParentOf(traceParent(id, spanIdFrom(random)))?.isSampled === true;
      },
    ),
  );
  const zero = (): number => 0;
  t.match(traceIdFrom(0, zero), /^0{18}f{13}0$/);
  t.match(traceIdFrom(1 - Number.EPSILON / 2, zero), /^0{30}10$/, "and never nothing but zeros");
  t.equal(spanIdFrom(zero), "0000000000000001");
  t.notOk(isSampled(ppmOfPercent(0)!, 0));
  t.ok(isSampled(ppmOfPercent(100)!, 0.999_999));
});
