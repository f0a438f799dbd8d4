/** A command that talks to the admin API, as it is spelt: the options that all of them have. */

import type { Command } from "commander";

/** The command line, or one command of it. */
export type Program = Command;

/** Adds one. */
export function remote(program: Program, usage: string, description: string): Program {
  return program
    .command(usage)
    .description(description)
    .option("--json", "print JSON")
    .option(
      "--admin <address>",
      "http://HOST:PORT, https://HOST:PORT or unix:PATH (SLUICE_ADMIN; else http://127.0.0.1:9900)",
    )
    .option("--ca <file>", "certificates to trust over https, PEM (SLUICE_CA; else the platform's)")
    .option("--token <token>", "bearer token (SLUICE_TOKEN; else admin.token in the state folder)")
    .option("--state <folder>", "state folder of the proxy (SLUICE_STATE; else ./state)")
    .option("-c, --config <file>", "take admin address and state folder from this configuration");
}
