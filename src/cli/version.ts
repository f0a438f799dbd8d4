/** `version` and `--version`: what is installed, and which Node runs it. Asks no proxy. */

import { buildOf } from "../telemetry/build.ts";
import { EXIT, pretty } from "./commands.ts";
import type { Io } from "./io.ts";
import type { Program } from "./remote.ts";

/** Both spellings, told to commander. */
export function versionCommands(program: Program, io: Io, done: (exit: number) => void): void {
  const build = buildOf();
  const line = `sluice ${build.version} on Node ${build.node}`;
  program.version(line, "--version", "print the version of the program and of the Node that runs it");
  program
    .command("version")
    .description("print the version of the program and of the Node that runs it")
    .option("--json", "print JSON")
    .action((options: { json?: boolean }) => {
      io.stdout(options.json === true ? pretty(build) : `${line}\n`);
      done(EXIT.done);
    });
}
