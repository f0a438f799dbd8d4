import t from "tap";
import type { RouteStatus } from "../../src/engine/status.ts";
import { api, sluice } from "../support/cli.ts";
import { fakeAdmin, routeStatus, type AdminAnswer } from "../support/fake-admin.ts";

/** Escape sequences made visible. */
function visible(text: string): string {
  return text.replaceAll("\u001b", "ESC").replaceAll("\r", "CR");
}

t.test("status exits by phase", async (t) => {
  let phase: RouteStatus["phase"] = "idle";
  const admin = await fakeAdmin(api(() => routeStatus({ phase })));
  t.teardown(() => admin.close());
  const exits = { idle: 0, progressing: 0, paused: 3, baking: 0, succeeded: 0, rolled_back: 1 } as const;
  for (const [name, exit] of Object.entries(exits)) {
    // Object.entries widens the key of a closed table.
    phase = name as RouteStatus["phase"];
    t.equal((await sluice(["status", "app", "--admin", admin.address])).code, exit, name);
    t.equal((await sluice(["status", "--admin", admin.address])).code, exit, `${name}, all routes`);
  }
  const json = await sluice(["status", "--json", "--admin", admin.address]);
  t.same(JSON.parse(json.out), { routes: [routeStatus({ phase })] });
  const missing = await sluice(["status", "nope", "--admin", admin.address]);
  t.equal(missing.code, 2);
  t.match(missing.err, /SPLIT_NOT_FOUND/);
});

t.test("status --watch follows to the end and exits by it, through a short outage", async (t) => {
  const script: readonly (readonly [AdminAnswer | RouteStatus["phase"]])[] = [
    ["progressing"],
    ["paused"],
    [[502, "down"]],
    ["progressing"],
    ["rolled_back"],
  ];
  let look = 0;
  const admin = await fakeAdmin(() => {
    const [step = "idle"] = script[look++] ?? [];
    return typeof step === "string" ? [200, routeStatus({ phase: step })] : step;
  });
  t.teardown(() => admin.close());
  const result = await sluice(["status", "app", "--watch", "--interval", "1ms", "--admin", admin.address]);
  t.equal(result.code, 1);
  t.equal(look, script.length);
  t.same(
    result.out.split("\n").map((line) => line.split("  ")[2]),
    ["progressing", "paused", "progressing", "rolled_back", undefined],
    "one line per change",
  );
});

t.test("status --watch gives up at the deadline", async (t) => {
  const admin = await fakeAdmin(api(() => routeStatus()));
  t.teardown(() => admin.close());
  const late = await sluice([
    "status",
    "--watch",
    "--interval",
    "1h",
    "--timeout",
    "20ms",
    "--admin",
    admin.address,
  ]);
  t.equal(late.code, 124);
  t.match(late.err, /\(SPLIT_TIMED_OUT\)\n$/);
});

t.test(
  "deploy --follow exits by how the rollout that it started has ended, or waits for people",
  async (t) => {
    const gate: RouteStatus["waiting"] = { for: "gate", words: "waits for on-call" };
    const cases: readonly (readonly [number, RegExp, ...Partial<RouteStatus>[]])[] = [
      [0, /succeeded/, { phase: "progressing" }, { phase: "baking" }, { phase: "succeeded" }],
      [1, /rolled_back/, { phase: "progressing" }, { phase: "rolled_back" }],
      [1, /idle/, { phase: "scheduled" }, { phase: "idle", rollout: "" }],
      [3, /paused/, { phase: "progressing" }, { phase: "paused" }],
      [3, /progressing/, { phase: "progressing", waiting: gate }],
      [4, /SPLIT_STATE_CONFLICT/, { phase: "progressing", rollout: "r-another" }],
    ];
    let looks: readonly Partial<RouteStatus>[] = [];
    let look = 0;
    const admin = await fakeAdmin((call) => {
      if (call.method === "POST") return [200, routeStatus({ phase: "progressing" })];
      return [200, routeStatus(looks[Math.min(look++, looks.length - 1)])];
    });
    t.teardown(() => admin.close());
    for (const [exit, said, ...seen] of cases) {
      [looks, look] = [seen, 0];
      const run = await sluice(["deploy", "app", "--yes", "--follow", "--admin", admin.address]);
      t.equal(run.code, exit, run.out + run.err);
      t.match(run.out + run.err, said);
      t.equal(look, seen.length, "and looks no further");
    }
    [looks, look] = [[{ phase: "progressing" }], 0];
    const argv = ["deploy", "app", "--yes", "--admin", admin.address];
    const late = await sluice([...argv, "--follow", "--timeout", "20ms"]);
    t.equal(late.code, 124);
    t.equal((await sluice([...argv, "--timeout", "20ms"])).code, 2);
    t.equal((await sluice([...argv, "--follow", "--dry-run"])).code, 2);
  },
);

t.test("on a terminal the watch redraws in place, with colour unless it was asked for none", async (t) => {
  let look = 0;
  const admin = await fakeAdmin(() => [
    200,
    routeStatus({ phase: look++ === 0 ? "progressing" : "succeeded" }),
  ]);
  t.teardown(() => admin.close());
  const argv = ["status", "app", "--watch", "--interval", "1ms", "--admin", admin.address];
  const colored = await sluice(argv, { isTTY: true });
  t.equal(colored.code, 0);
  t.match(visible(colored.out), /ESC\[\d+ACRESC\[0J/, "goes up by what it drew");
  t.match(colored.out, "\u001b[36mprogressing");
  const [first = ""] = colored.out.split("\u001b[0J");
  const height = Number(/ESC\[(\d+)A/.exec(visible(colored.out))?.[1]);
  t.equal(height, first.split("\n").length - 1);
  look = 0;
  const plain = await sluice(argv, { isTTY: true, env: { NO_COLOR: "1" } });
  t.notMatch(visible(plain.out), /ESC\[\d+m/);
  const piped = await sluice(["status", "app", "--admin", admin.address]);
  t.notMatch(piped.out, "\u001b");
});
