import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import type { BacktestReport } from "../../src/backtest/report.ts";
import { sluice } from "../support/cli.ts";

const folder = mkdtempSync(join(tmpdir(), "sluice-backtest-"));
const file = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};
const PLAN = file(
  "plan.yaml",
  "promotion: off\nsteps:\n  - { setWeight: 5%, hold: 2m }\n  - { setWeight: 100%, hold: 1m }\n",
);
const CONFIG = file(
  "sluice.yaml",
  "routes:\n" +
    "  - name: shop\n    stable: { endpoints: [http://10.0.0.1:8080] }\n    canary: { endpoints: [http://10.0.0.9:8080] }\n    plan: slow\n" +
    "plans:\n  slow: { promotion: off, steps: [{ setWeight: 5%, hold: 1h }] }\n",
);

/** NGINX's lines for five minutes, a twentieth of them the canary's; `status` says how each was answered. */
function nginx(status: (nth: number) => number): string {
  const lines: string[] = [];
  for (let nth = 0; nth < 300 * 40; nth++) {
    const at = new Date(Date.UTC(2026, 0, 5, 9) + nth * 25).toISOString().slice(11, 19);
    const host = nth % 20 === 19 ? "10.0.0.9" : "10.0.0.1";
    const agent = '"-" "Mozilla/5.0 (X11; Linux x86_64)"';
    lines.push(
      `10.1.${nth % 13}.${nth % 251} - - [05/Jan/2026:${at} +0000] "GET /items HTTP/1.1" ${status(nth)} 15 ${agent} 0.020 ${host}:8080`,
    );
  }
  return `${lines.join("\r\n")}\r\n`;
}

t.test(
  "a log of NGINX is replayed by the configuration's plan and endpoints, and the report tells what happened",
  async (t) => {
    const log = file(
      "access.log",
      nginx((nth) => (nth % 20 === 19 && nth > 4800 && nth % 60 === 59 ? 502 : 200)),
    );
    const { code, out, err } = await sluice(["backtest", "-c", CONFIG, "--log", log]);
    t.equal(err, "");
    t.equal(code, 1);
    t.match(
      out,
      /^time +after +weight +phase +event +why\n2026-01-05T09:00:00Z +\+0s +0 → 5 % +progressing +DEPLOY_START\n/,
    );
    t.match(
      out,
      /5 → 0 % +progressing +TRIPPED +Tripped: error_rate above 1% on every response; canary \d+ of \d+ failed; error_rate above 1% on every response: [\d.]+ % of \d+ responses over it, stable [\d.]+ % of \d+\n/,
    );
    t.match(
      out,
      /\nRolled back at 2026-01-05T09:0\d:\d\dZ \(\+\dm\d+s\), after [\d,]+ requests, \d+ of them the canary's\. Until then \d+ of the canary's and 0 of stable's failed; 1 trip\.\n/,
    );
    t.match(
      out,
      /A rule over the whole service \(error_rate above 1 % for 5m\), had nobody rolled back: silent; highest 1\.\d+ % in 1m\./,
    );
    t.match(out, /Log: 12,000 lines \(nginx\), each line is its own arm's\.\n/);
    const same = await sluice(["backtest", "-c", CONFIG, "--log", "-", "--json"], {
      stdin: nginx(() => 200),
    });
    t.equal(same.code, 3, "the log ended before the plan did");
    t.match(JSON.parse(same.out), {
      outcome: "unfinished",
      weight: 5,
      canary: { responses: 600, failures: 0 },
    });
  },
);

t.test("without a log the world is made up, and the exit code says what became of the plan", async (t) => {
  const made = ["backtest", "--plan", PLAN, "--duration", "5m", "--rps", "50"];
  const well = await sluice([...made, "--salts", "2"]);
  t.equal(well.code, 0);
  t.match(well.out, /No rollback: the plan went through\. Canary: 0 of [\d,]+ responses failed; 0 trips\./);
  t.match(
    well.out,
    /Stable against itself: 0 of 2 runs rolled back, 0 trips, 2 runs walked the whole plan\./,
  );
  t.match(well.out, /Made up: 15,000 requests\./);
  const ill = await sluice([...made, "--fault", "errors=50% from=1m"]);
  t.equal(ill.code, 1);
  t.match(ill.out, /Rolled back at .* after the fault began\)/);
  t.equal(
    (await sluice([...made, "--fault", "errors=50% from=1m"])).out,
    ill.out,
    "the same seed, the same report",
  );
  t.equal((await sluice(["backtest", "--plan", PLAN, "--duration", "1m"])).code, 3);
  const both = await sluice(["backtest", "--plan", PLAN, "--duration", "10m", "--errors", "3%"]);
  t.equal(both.code, 3);
  t.equal(both.out.split("shared_cause").length, 2, "what holds it again and again is told once");
  t.match(both.out, /moving the weight would not help; .*; \d+ more of it until \+\d+m/);
});

t.test("a plan that comes along is backtested by its name, with a configuration and without", async (t) => {
  const fast = file("fast.yaml", readFileSync(CONFIG, "utf8").replace("plan: slow", "plan: fast"));
  const made = ["backtest", "--duration", "1m", "--json"];
  for (const argv of [
    [...made, "-c", fast],
    [...made, "-c", CONFIG, "--plan", "fast"],
    [...made, "--plan", "fast"],
  ]) {
    const { code, out, err } = await sluice(argv);
    t.equal(err, "");
    t.equal(code, 3, "it is longer than the made-up world");
    t.equal((JSON.parse(out) as BacktestReport).weight, 25);
  }
});

t.test("what is left out of a plan because nobody is asked is told, in one line", async (t) => {
  const asking = file(
    "asking.yaml",
    "promotion: off\nwindow: { from: '09:00', to: '10:00' }\nsteps:\n" +
      "  - { setWeight: 0%, preflight: true, gate: { roles: [lead] } }\n" +
      "  - { setWeight: 50%, hold: 1m, gate: { roles: [lead] } }\n  - pause: {}\n  - { setWeight: 100%, hold: 1m }\n",
  );
  const made = ["backtest", "--duration", "5m", "--rps", "20", "--plan"];
  const asked = await sluice([...made, asking]);
  t.equal(asked.code, 0, "the plan went through");
  t.match(
    asked.out,
    /\nLeft out, since the judge alone is asked: 2 gates, 1 pause, 1 preflight, 1 window\.\n/,
  );
  t.notMatch((await sluice([...made, PLAN])).out, /left out/);
});

t.test("what a log holds beside what counts is told", async (t) => {
  const line = (second: number, more: object): string =>
    JSON.stringify({ time: Date.UTC(2026, 0, 5, 9, 0, second), status: 200, key: `u${second}`, ...more });
  const log = file(
    "mixed.log",
    [
      ...Array.from({ length: 40 }, (_, nth) =>
        line(nth, { arm: nth % 4 === 0 ? "canary" : "stable", ms: 5 }),
      ),
      line(30, { arm: "stable" }),
      line(41, {}),
      line(42, { arm: "stable", route: "other" }),
      line(400, { arm: "stable" }),
      "\u001b[31mnonsense",
    ].join("\n"),
  );
  const { out } = await sluice(["backtest", "--plan", PLAN, "--route", "app", "--log", log]);
  for (const told of [
    /Log: 44 lines \(json\), each line is its own arm's\./,
    /\d lines left out: of an arm with less weight/,
    /1 lines do not say whose they are/,
    /1 lines of other routes/,
    /1 lines came late, by 9s at the most/,
    /1 gaps of a minute or more, 5m58s in all: idle time/,
    /1 lines cannot be read, such as\n .*mixed\.log:45: it is not JSON\n/,
  ])
    t.match(out, told);
  const one = await sluice(["backtest", "--plan", PLAN, "--log", log, "--arms", "one"]);
  t.match(one.out, /10 of the canary's lines left out; with --arms both they count as its own/);
  const few = file(
    "few.log",
    Array.from({ length: 400 }, (_, nth) => line(nth, { arm: nth % 100 === 0 ? "canary" : "stable" })).join(
      "\n",
    ),
  );
  t.match(
    (await sluice(["backtest", "--plan", PLAN, "--log", few])).out,
    /the canary had \d+ responses in the log; the plan would have given it \d+/,
  );
});

t.test("what cannot be done exits 2, with a code", async (t) => {
  const bad = file("bad.log", '{"time":1,"status":200}\nnonsense\n\u001b[31m\n');
  const several = file(
    "several.yaml",
    ["a", "b"]
      .map(
        (name) =>
          `  - { name: ${name}, match: { path: /${name} }, stable: { endpoints: [http://10.0.0.1:1] }, canary: { endpoints: [http://10.0.0.2:2] } }\n`,
      )
      .join("")
      .replace(/^/, "routes:\n"),
  );
  const table: readonly (readonly [readonly string[], RegExp])[] = [
    [
      ["--log", bad, "--plan", PLAN],
      /^sluice: .*bad\.log: 2 of 3 lines cannot be read as json \(SPLIT_LOG_UNREADABLE\)\nsluice: .*bad\.log:2: it is not JSON \(SPLIT_LOG_UNREADABLE\)\n/,
    ],
    [
      ["--log", join(folder, "none"), "--plan", PLAN],
      /cannot read .*none: there is no such file \(SPLIT_LOG_UNREADABLE\)/,
    ],
    [
      ["--log", file("empty.log", ""), "--plan", PLAN],
      /there is no line in the log \(SPLIT_LOG_UNREADABLE\)/,
    ],
    [[], /the route has no plan: name one with --plan \(SPLIT_USAGE\)/],
    [
      ["--plan", join(folder, "none.yaml")],
      /cannot read .*none\.yaml: there is no such file \(SPLIT_CONFIG_UNREADABLE\)/,
    ],
    [
      ["--plan", file("odd.yaml", "steps:\n  - { setWeigth: 5% }\n")],
      /odd\.yaml:2:\d+: .*setWeigth.* \(SPLIT_CONFIG_INVALID\)/,
    ],
    [["-c", several], /several routes: name one with --route \(a, b\) \(SPLIT_USAGE\)/],
    [
      ["-c", CONFIG, "--plan", "brisk"],
      /there is no plan "brisk"; there are slow, safe, fast, instant \(SPLIT_NOT_FOUND\)/,
    ],
    [["--plan", "brisk"], /cannot read brisk: there is no such file \(SPLIT_CONFIG_UNREADABLE\)/],
    [["-c", several, "--route", "c"], /no route named "c" \(SPLIT_NOT_FOUND\)/],
    [["--format", "apache"], /--format is one of auto, json, nginx, envoy/],
    [["--format", "json", "--log-format", "$status"], /--log-format goes with/],
    [["--log", bad, "--log-format", "$status", "--plan", PLAN], /--log-format needs a time/],
    [["--log", "-", "--log", "-"], /standard input can be read once/],
    [["--arms", "three"], /--arms is one of/],
    [["--canary", "10.0.0.9"], /--canary takes HOST:PORT/],
    [["--fault", "errors=20"], /errors of a fault takes a share like 20%/],
    [["--rps", "0"], /--rps takes a number above 0/],
    [["--errors", "1"], /--errors takes a share/],
    [["--latency", "40"], /--latency takes a duration/],
    [["--seed", "x"], /--seed takes a whole number/],
    [["--salts", "1001"], /--salts takes a whole number up to 1000/],
  ];
  for (const [argv, message] of table) {
    const { code, out, err } = await sluice(["backtest", ...argv]);
    t.equal(code, 2, argv.join(" "));
    t.match(err, message);
    t.equal(out, "");
  }
});
