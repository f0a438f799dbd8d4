/**
 * Files that no operator would write: real configurations with bytes changed, lines moved, pieces doubled and nested. The reader never throws, every
 * problem has its place inside the file, and the time that a file can cost is bounded (reliability.md 38, 44).
 */

import { readFileSync } from "node:fs";
import { cpuUsage } from "node:process";
import fc from "fast-check";
import t from "tap";
import { parseConfig, type Problem } from "../../src/config/load.ts";

const SAMPLES = ["minimal", "progressive"].map((name) => readFileSync(`config/${name}.yaml`, "utf8"));
/** What one file may cost at the most, however it is made: ms of CPU, since others may be at work too. A good one costs ten. */
const PATIENCE_MS = 8000;
/** Pieces that mean something to YAML, to JavaScript or to the schema. */
const PIECES = [
  "{ ",
  "}",
  "[",
  "]",
  ": ",
  "- ",
  "? ",
  "&a ",
  "*a",
  "<<: ",
  "|",
  ">",
  "'",
  '"',
  "!!str ",
  "!x ",
  "#",
  "---\n",
  "...\n",
  "%YAML 1.2\n",
  "\t",
  "\r\n",
  "\u0000",
  "\ufeff",
  "\u2028",
  "~",
  "null",
  "1e999",
  "0x10",
  ".nan",
  "-0",
  "99999999999999999999",
  "__proto__: { a: 1 }\n",
  "constructor: x\n",
  "toString: 1\n",
  "routes:\n",
  "admin:\n",
  "5%",
  "5m",
  "\ud800",
];

interface Change {
  readonly at: number;
  readonly kind: number;
  readonly length: number;
  readonly piece: string;
}

/** One change of a text, at a share of its length. */
function changed(text: string, { at, kind, length, piece }: Change): string {
  const from = Math.floor(at * text.length);
  const cut = text.slice(from, from + length);
  switch (kind) {
    case 0:
      return text.slice(0, from) + piece + text.slice(from);
    case 1:
      return text.slice(0, from) + text.slice(from + length);
    case 2:
      return text.slice(0, from) + cut + cut + text.slice(from + length);
    case 3:
      return text.slice(0, from) + piece.repeat(length) + text.slice(from);
    case 4:
      return text.slice(from) + text.slice(0, from);
    default:
      return text.slice(0, from) + Array.from(cut).toReversed().join("") + text.slice(from + length);
  }
}

const change: fc.Arbitrary<Change> = fc.record({
  at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
  kind: fc.integer({ min: 0, max: 5 }),
  length: fc.integer({ min: 1, max: 60 }),
  piece: fc.oneof(fc.constantFrom(...PIECES), fc.string({ unit: "binary", maxLength: 4 })),
});

/** What is wrong with how a problem is put; empty when nothing is. */
function unsound(text: string, { file, line, column, message }: Problem): string {
  const lines = text.split("\n");
  if (file !== "f.yaml") return `file ${file}`;
  if (!Number.isInteger(line) || line < 1 || line > lines.length) return `line ${line} of ${lines.length}`;
  // One behind the last character is where something is missing.
  const width = (lines[line - 1] ?? "").length + 1;
  if (!Number.isInteger(column) || column < 1 || column > width) return `column ${column} of ${width}`;
  if (message === "" || /\p{Cc}/u.test(message)) return `message ${JSON.stringify(message)}`;
  return "";
}

/** Reads `text`; throws, so that the property says which text it was, when the reader breaks a promise. */
function read(text: string): "good" | "refused" {
  const before = cpuUsage();
  const parsed = parseConfig(text, "f.yaml");
  const { user, system } = cpuUsage(before);
  const took = (user + system) / 1000;
  if (took > PATIENCE_MS) throw new Error(`took ${Math.round(took)} ms of CPU`);
  if (parsed.ok) return "good";
  if (parsed.problems.length === 0) throw new Error("refused without a reason");
  for (const problem of parsed.problems) {
    const trouble = unsound(text, problem);
    if (trouble !== "") throw new Error(`${trouble}: ${JSON.stringify(problem)}`);
  }
  return "refused";
}

t.test(
  "a configuration with anything done to it is read or refused by file, line and column (reliability 38)",
  async (t) => {
    const seen = { good: 0, refused: 0 };
    fc.assert(
      fc.property(
        fc.constantFrom(...SAMPLES),
        fc.array(change, { minLength: 1, maxLength: 6 }),
        (sample, changes) => {
          seen[read(changes.reduce(changed, sample))]++;
        },
      ),
      { numRuns: 1500 },
    );
    t.ok(seen.good > 20 && seen.refused > 500, JSON.stringify(seen));
  },
);

t.test(
  "single bytes of a configuration changed, each in turn, make no difference that is not told (reliability 38)",
  async (t) => {
    const [sample = ""] = SAMPLES;
    let looked = 0;
    for (let at = 0; at < sample.length; at++) {
      for (const piece of ["", "\t", "\u0000", "{", ":"]) {
        read(sample.slice(0, at) + piece + sample.slice(at + 1));
        looked++;
      }
    }
    t.ok(looked > 500, `looked at ${looked}`);
  },
);

t.test("a key drives no terminal and breaks no line, whatever it is called (reliability 45)", async (t) => {
  for (const key of ["a\\nb", "\\e[31m", "\\u202e", "\\0", "x".repeat(5000)])
    t.equal(read(`"${key}": 1\nlimits: { "${key}": 1 }\n`), "refused", key.slice(0, 10));
  const parsed = parseConfig(`{ "\\e]0;x\\a": 1, "${"x".repeat(900)}": 1 }`, "f.yaml");
  t.match(parsed, {
    ok: false,
    problems: [{ message: /missing/ }, { message: /^unknown key `\ufffd\]0;x\ufffd`/ }, {}],
  });
  t.ok(!parsed.ok && parsed.problems.every(({ message }) => message.length <= 401));
});

t.test("what is made to exhaust the reader costs a bounded time (reliability 44)", async (t) => {
  const [sample = ""] = SAMPLES;
  const [, ...rest] = "abcdefghij";
  const bombs: Readonly<Record<string, string>> = {
    "nested lists": "a: " + "[".repeat(100_000),
    "nested mappings": "{a: ".repeat(50_000),
    "nested by indent": Array.from({ length: 2000 }, (_, n) => `${" ".repeat(n)}a:`).join("\n"),
    "nested and closed": `a: ${"[".repeat(20_000)}${"]".repeat(20_000)}`,
    "question marks": "? ".repeat(50_000),
    dashes: "- ".repeat(50_000),
    "many anchors": `a: [${Array.from({ length: 20_000 }, (_, n) => `&n${n} x`).join(",")}]`,
    "many aliases": `a: &a x\nb: [${"*a,".repeat(50_000)}]`,
    "aliases of aliases": `a: &a [x]\n${rest.map((each, n) => `${each}: &${each} [${`*${"abcdefghij"[n]},`.repeat(9)}]`).join("\n")}`,
    "an anchor in itself": "a: &a [*a, *a]\nroutes: *a",
    "merge keys": `a: &a { x: 1 }\n${"b: { <<: *a }\n".repeat(5000)}`,
    "many keys": Array.from({ length: 50_000 }, (_, n) => `k${n}: 1`).join("\n"),
    "the same key": "a: 1\n".repeat(50_000),
    "many unknown keys of one mapping": `limits: {${Array.from({ length: 5000 }, (_, n) => `k${n}: 1`).join(", ")}}\n${sample}`,
    "a long key": `${"k".repeat(1_000_000)}: 1`,
    "a long word where one of a few is due": `${sample}\nlane: ${"x".repeat(1_000_000)}`,
    "a long line of quotes": "'".repeat(200_000),
    escapes: `a: "${"\\u0041".repeat(100_000)}"`,
    comments: "# x\n".repeat(200_000),
    colons: ":".repeat(200_000),
    "folded text": `a: >\n${"  x\n\n".repeat(50_000)}`,
    "many routes": `routes:\n${Array.from({ length: 5000 }, (_, n) => `  - { name: r${n}, stable: { endpoints: ["http://a:1"] }, canary: { endpoints: ["http://b:1"] } }`).join("\n")}`,
    "a number without end": `limits: { fields: ${"9".repeat(500_000)} }`,
    "a duration without end": `drain: { delay: ${"1h".repeat(200_000)}x }`,
    "a network without end": `trustedProxies: ["${"1".repeat(500_000)}/8"]`,
    "a host without end": `routes: [{ match: { host: "${"a.".repeat(200_000)}" } }]`,
  };
  for (const [what, text] of Object.entries(bombs)) t.doesNotThrow(() => read(text), what);
});

t.test(
  "a secret that was written in the wrong place is not repeated by what complains of it (reliability 42)",
  async (t) => {
    const wrong = [
      "admin: { tokens: [{ name: ci, token: hunter2x, scopes: [read] }] }",
      "admin: |hunter2x\n",
      "admin: 'x' hunter2x\n",
      "admin: x: hunter2x\n",
      "admin:\n  tokens: []\n hunter2x\n",
      "- x\nhunter2x\n",
      'admin: "\\hunter2x"\n',
      "admin: [a, b] hunter2x\n",
      "state: hunter2x\n",
      "admin: { address: hunter2x }\n",
      "workers: hunter2x\n",
      "notify: { webhook: { url: hunter2x } }\n",
      "routes: [{ name: 'hunter2x hunter2x' }]\n",
    ];
    for (const text of wrong) {
      const parsed = parseConfig(text, "f.yaml");
      t.notOk(parsed.ok, text);
      t.notMatch(JSON.stringify(parsed), /hunter2|unter2x/, text);
    }
  },
);
