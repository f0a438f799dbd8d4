import { Readable } from "node:stream";
import t from "tap";
import { runCli } from "../../src/cli/main.ts";
import { golden } from "../support/golden.ts";

/** The commands that a help lists, but for help itself. */
function listed(help: string): readonly string[] {
  const [, rest = ""] = help.split("\nCommands:\n");
  const [commands = ""] = rest.split("\n\n", 1);
  return [...commands.matchAll(/^ {2}([a-z-]+)(?:\|[a-z]+)? .*$/gm)]
    .map((each) => each[1] ?? "")
    .filter((each) => each !== "help");
}

t.test("the command line's surface is as last agreed to", async (t) => {
  const programs = { run: async () => 9, demo: async () => 9 };
  const helpOf = async (argv: readonly string[]): Promise<string> => {
    let text = "";
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
    t.equal(await runCli([...argv, "--help"], programs, io), 0, argv.join(" "));
    return text;
  };
  const overview = await helpOf([]);
  let text = `$ sluice --help\n${overview}\n`;
  const silent: string[] = [];
  const look = async (argv: readonly string[]): Promise<void> => {
    const help = await helpOf(argv);
    text += `$ sluice ${argv.join(" ")} --help\n${help}\n`;
    const inner = listed(help);
    if (inner.length === 0 && !help.includes("--json")) silent.push(argv.join(" "));
    for (const name of inner) await look([...argv, name]);
  };
  const commands = listed(overview);
  t.ok(commands.length > 20, `${commands.length} commands`);
  for (const name of commands) await look([name]);
  t.same(
    silent.filter((each) => each !== "flags import"),
    ["run", "completion"],
    "all but these can answer in JSON, as the README says; what flags import prints is JSON",
  );
  t.equal(text, golden("help.txt", text));
});
