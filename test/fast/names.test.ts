/** Texts of the fast lane that are made only when they are new (fast/names.ts). */

import fc from "fast-check";
import t from "tap";
import { textAt } from "../../src/proxy/fast/names.ts";

t.test("a text in a buffer is what the buffer holds, whatever it was before", async () => {
  const text = fc.string({ unit: fc.constantFrom("a", "b", "\xe9", ".") });
  fc.assert(
    fc.property(text, text, text, (front, held, before) => {
      const bytes = Buffer.from(`${front}${held}tail`, "latin1");
      return textAt(bytes, front.length, front.length + held.length, before) === held;
    }),
  );
  fc.assert(fc.property(text, (held) => textAt(Buffer.from(held, "latin1"), 0, held.length, held) === held));
});
