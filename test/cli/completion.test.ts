/** Completion and examples: what a shell is given is what the command line takes. */

import { spawnSync } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { EXAMPLES } from "../../src/cli/examples.ts";
import { sluice } from "../support/cli.ts";
import { programOf } from "../support/servers.ts";

const script = async (shell: string): Promise<string> => (await sluice(["completion", shell])).out;

t.test("bash completes commands, options, inner commands, and the routes of the running proxy", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "sluice-completion-"));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const answer = JSON.stringify(
    {
      routes: [
        { name: "app", weight: 0 },
        { name: "shop", weight: 0 },
      ],
    },
    null,
    2,
  );
  writeFileSync(join(folder, "sluice"), `#!/bin/sh\ncat <<'E'\n${answer}\nE\n`);
  chmodSync(join(folder, "sluice"), 0o755);
  writeFileSync(join(folder, "script"), await script("bash"));
  const complete = (...words: readonly string[]): readonly string[] => {
    const typed = words.map((word) => `'${word}'`).join(" ");
    const source = `. "${folder}/script"; COMP_WORDS=(sluice ${typed}); COMP_CWORD=${words.length}; _sluice; printf '%s\n' "\${COMPREPLY[@]}"`;
    const env = { PATH: `${folder}:${process.env["PATH"]}` };
    const done = spawnSync("bash", ["--norc", "-c", source], { env, encoding: "utf8" });
    t.equal(done.stderr, "");
    return done.stdout.trim().split("\n");
  };
  t.same(complete("set"), ["set-weight"]);
  t.same(complete("deploy", "--str"), ["--strategy"]);
  t.same(complete("journal", "ver"), ["verify"]);
  t.same(complete("rollback", "s"), ["shop"]);
  t.same(complete("status", "a"), ["app"]);
});

for (const [shell, check] of [
  ["zsh", ["-n"]],
  ["fish", ["--no-execute"]],
] as const) {
  t.test(`${shell} is given every command and option`, async (t) => {
    const text = await script(shell);
    for (const word of ["set-weight", "strategy", "verify", "rollback", "completion"]) t.match(text, word);
    const path = programOf(shell);
    // Where the shell is at hand, it reads what it would be given.
    if (path !== undefined) t.equal(spawnSync(path, check, { input: text, encoding: "utf8" }).status, 0);
  });
}

t.test("another shell is refused, with those that there are", async (t) => {
  t.match(await sluice(["completion", "tcsh"]), { code: 2, err: /bash, zsh, fish/ });
});

t.test("every command has an example, and every option in it is one that the command takes", async (t) => {
  const overview = (await sluice(["--help"])).out;
  const commands = [...overview.matchAll(/^ {2}([a-z][a-z-]*)(?:\|[a-z]+)? .*$/gm)].map(
    (each) => each[1] ?? "",
  );
  t.ok(commands.length > 20);
  t.same(
    Object.keys(EXAMPLES).filter((words) => !commands.includes(words.split(" ", 1)[0] ?? "")),
    [],
  );
  for (const command of commands.filter((each) => each !== "help"))
    t.ok(Object.hasOwn(EXAMPLES, command), `${command} has an example`);
  for (const [words, examples] of Object.entries(EXAMPLES)) {
    const help = (await sluice([...words.split(" "), "--help"])).out;
    for (const [typed] of examples) {
      t.ok(typed.startsWith(`sluice ${words}`), typed);
      t.match(help, typed, "the help shows it");
      for (const [option] of typed.matchAll(/(?<= )--?[a-z-]+/g)) {
        const options = help.slice(0, help.indexOf("Examples:"));
        t.match(options, new RegExp(`(?:^|[ ,])${option}\\b`, "m"), `${typed}: ${option}`);
      }
    }
  }
});
