import t from "tap";
import {
  checksOf,
  kindOfCheck,
  plannedChecks,
  PREFLIGHT_KINDS,
  resultLines,
  summary,
  type PreflightResult,
  type PreflightSettings,
} from "../../src/domain/preflight.ts";

const EMPTY: PreflightSettings = { smoke: [], commands: [], webhooks: [], skip: [] };
const FULL: PreflightSettings = {
  smoke: [
    { method: "GET", path: "/a" },
    { method: "HEAD", path: "/b" },
  ],
  commands: [
    { name: "migrations", run: ["./check", "--all"], required: true },
    { name: "lint", run: ["lint"], required: false },
  ],
  webhooks: [{ name: "calendar", required: true }],
  staging: { report: "./staging" },
  skip: [],
};

function result(name: string, ok: boolean, required = true): PreflightResult {
  return { name, ok, required, detail: `about ${name}`, tookMs: 1 };
}

t.test("a route that says nothing is checked all the same, and what it names comes on top", async (t) => {
  const names = (...parts: Parameters<typeof plannedChecks>) =>
    plannedChecks(...parts).map(({ name }) => name);
  const always = ["configuration", "arms", "capacity", "clock", "state", "reports"];
  t.same(names(EMPTY, []), [...always, "smoke"]);
  t.same(names(FULL, ["webhook", "slack"]), [
    ...always,
    "notifier webhook",
    "notifier slack",
    "smoke",
    "command migrations",
    "command lint",
    "webhook calendar",
    "staging",
  ]);
  t.same(names(EMPTY, [], true), [...always, "flags", "smoke"]);
  t.match(checksOf(EMPTY, [], true)[6], /^flags +their file is valid$/);
  for (const name of names(FULL, ["webhook"], true))
    t.ok(
      PREFLIGHT_KINDS.some((kind) => kind === kindOfCheck(name)),
      name,
    );
});

t.test("what is left out is left out by name or by kind, is still named, and is not required", async (t) => {
  const left = (skip: readonly string[]) =>
    plannedChecks({ ...FULL, skip }, ["slack"])
      .filter(({ isSkipped }) => isSkipped)
      .map(({ name, required }) => [name, required]);
  t.same(left(["capacity", "command lint"]), [
    ["capacity", false],
    ["command lint", false],
  ]);
  t.same(left(["command", "notifier"]), [
    ["notifier slack", false],
    ["command migrations", false],
    ["command lint", false],
  ]);
  t.same(left([]), []);
});

t.test("the list for a dry run has a line for each check, and says which one is left out", async (t) => {
  t.same(checksOf({ ...FULL, skip: ["clock"] }, ["slack"]), [
    "configuration       the file is valid and is what is in force",
    "arms                every endpoint of both arms is healthy",
    "capacity            stable can carry all of the traffic",
    "clock               left out",
    "state               the state can be written",
    "reports             reports can be written",
    "notifier slack      takes a test message",
    "smoke               each endpoint of the canary answers GET /a, HEAD /b",
    "command migrations  exits with 0: ./check --all",
    "command lint        exits with 0: lint (not required)",
    "webhook calendar    answers 2xx",
    "staging             a rollout succeeded there: ./staging",
  ]);
  t.match(checksOf(EMPTY, []).at(-1), /each endpoint of the canary answers a request$/);
});

t.test("all that is required has to pass, and the sentence names what did not", async (t) => {
  t.same(summary([result("arms", true), result("smoke", true)]), {
    passed: true,
    sentence: "2/2 checks passed",
    failed: [],
  });
  t.same(summary([result("arms", true), result("smoke", false), result("notifier webhook", false)]), {
    passed: false,
    sentence: "2 of 3 failed: smoke, notifier webhook",
    failed: ["smoke", "notifier webhook"],
  });
});

t.test("what is not required stops nothing, and a pass does not hide that it is missing", async (t) => {
  t.same(summary([result("arms", true), result("lint", true, false), result("smoke", false, false)]), {
    passed: true,
    sentence: "2/2 checks passed; without smoke",
    failed: [],
  });
});

t.test("no check at all is no pass", async (t) => {
  t.match(summary([]), { passed: false, sentence: "no check was made" });
  t.match(summary([result("smoke", false, false)]), { passed: false }, "nor is one that was left out");
});

t.test("each result is a line that begins with what it came to", async (t) => {
  t.same(resultLines([result("arms", true), result("command x", false), result("clock", false, false)]), [
    "ok   arms       about arms",
    "FAIL command x  about command x",
    "-    clock      about clock",
  ]);
  t.same(resultLines([]), []);
});
