/** How every command is spelt that talks to the admin API. */

import type { Command } from "commander";

/** The command line, or one command of it. */
export type Program = Command;

/** A command that talks to the admin API. */
export function remote(program: Program, usage: string, description: string): Program {
  const command = named(program, usage, description);
  return last(command.option("--state <folder>", "state folder of the proxy (SLUICE_STATE; else ./state)"));
}

/** The same for a command in which `--state` means something else: there the environment or the configuration names the folder. */
export function withoutState(program: Program, usage: string, description: string): Program {
  return last(named(program, usage, description));
}

function named(program: Program, usage: string, description: string): Program {
  return program
    .command(usage)
    .description(description)
    .option("--json", "print JSON")
    .option(
      "--admin <address>",
      "http://HOST:PORT, https://HOST:PORT or unix:PATH (SLUICE_ADMIN; else http://127.0.0.1:9900)",
    )
    .option("--ca <file>", "certificates to trust over https, PEM (SLUICE_CA; else the platform's)")
    .option("--token <token>", "bearer token (SLUICE_TOKEN; else admin.token in the state folder)");
}

function last(command: Program): Program {
  return command.option("-c, --config <file>", "take admin address and state folder from this configuration");
}
