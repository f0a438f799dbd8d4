import { Readable } from "node:stream";
import t from "tap";
import { runCli } from "../../src/cli/main.ts";
import { golden } from "../support/golden.ts";

const COMMANDS = [
  "run",
  "check",
  "demo",
  "backtest",
  "plan",
  "preflight",
  "drill",
  "deploy",
  "status",
  "set-weight",
  "pause",
  "resume",
  "promote",
  "rollback",
  "approve",
  "reject",
  "extend",
  "step-back",
  "retry",
  "emergency",
  "read-only",
  "maintenance",
  "health",
  "journal",
  "report",
  "reload",
  "backup",
  "restore",
  "incident",
  "completion",
];
/** Commands of commands. */
const INNER = [
  ["journal", "verify"],
  ["incident", "list"],
  ["incident", "resolve"],
];

t.test("the command line's surface is as last agreed to", async (t) => {
  let text = "";
  const programs = { run: async () => 9, demo: async () => 9 };
  const io = {
    stdout: (part: string) => void (text += part),
    stderr: (part: string) => t.fail(part),
    stdin: Readable.from([]),
    env: {},
    isTTY: false,
    columns: 110,
    now: () => 0,
    ask: async () => "",
  };
  for (const argv of [
    ["--help"],
    ...COMMANDS.map((each) => [each, "--help"]),
    ...INNER.map((each) => [...each, "--help"]),
  ]) {
    text += `$ sluice ${argv.join(" ")}\n`;
    t.equal(await runCli(argv, programs, io), 0, argv.join(" "));
    text += "\n";
  }
  const [overview = ""] = text.split("$ sluice run");
  const listed = [...overview.matchAll(/^ {2}([a-z-]+)(?:\|[a-z]+)? .*$/gm)].map((each) => each[1]);
  t.same(
    listed.filter((each) => each !== "help"),
    COMMANDS,
    "every command's help is looked at",
  );
  const silent = text
    .split("$ sluice ")
    .filter((help) => !help.includes("--json"))
    .map((help) => help.split("\n", 1)[0]);
  const groups = ["", "--help", "incident --help"];
  t.same(
    silent.filter((each) => !groups.includes(each ?? "")),
    ["run --help", "completion --help"],
    "all but run and completion can answer in JSON, as the README says",
  );
  t.equal(text, golden("help.txt", text));
});
