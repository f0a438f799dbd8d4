/** Where the admin API is, how to be let in, and a command carried out with that. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { getCACertificates } from "node:tls";
import { readConfig } from "../config/load.ts";
import type { Config } from "../config/schema.ts";
import { folderOfState } from "../config/state.ts";
import { AppError, codeOf } from "../domain/errors.ts";
import { adminAddressOf, adminClient } from "./client.ts";
import type { Context } from "./commands.ts";
import type { Io } from "./io.ts";

/** Where the admin API is and how to be let in, as typed. */
export interface Access {
  readonly admin?: string;
  readonly ca?: string;
  readonly token?: string;
  readonly state?: string;
  readonly config?: string;
  readonly json?: boolean;
}

type Action = (context: Context) => Promise<number>;

/** Carries out a command against the admin API, and tells `done` its exit code. */
export async function act(
  access: Access,
  io: Io,
  done: (exit: number) => void,
  action: Action,
): Promise<void> {
  const config = await configOf(access);
  const address = adminAddressOf(
    access.admin ?? config?.admin.address ?? set(io.env["SLUICE_ADMIN"]) ?? "http://127.0.0.1:9900",
    config?.admin.tls === undefined ? "http" : "https",
  );
  const state = stateFolderOf(access, io, config);
  const file = join(state, "admin.token");
  const token = access.token ?? set(io.env["SLUICE_TOKEN"]) ?? (await tokenIn(file));
  if (address.isExposed && token !== undefined)
    io.stderr(
      `sluice: the token goes to ${address.text} in the clear; use https:// where others can listen\n`,
    );
  const client = adminClient({
    address,
    token,
    noTokenHint: `there is no ${file}; name the token or the state folder`,
    ca: () => trustedBy(access, io, config),
  });
  done(await action({ client, io, json: access.json === true, config, state }));
}

/** The configuration that was named; undefined when none was. */
export async function configOf({ config }: Access): Promise<Config | undefined> {
  return config === undefined ? undefined : (await readConfig(config)).config;
}

/**
 * The certificates to trust over TLS: those of the file that was named; else, with a configuration, the one that the proxy itself shows, beside the
 * platform's; else undefined. Throws SPLIT_CONFIG_UNREADABLE.
 */
async function trustedBy(
  access: Access,
  io: Io,
  config: Config | undefined,
): Promise<readonly string[] | undefined> {
  const named = access.ca ?? set(io.env["SLUICE_CA"]);
  const file = named ?? config?.admin.tls?.cert;
  if (file === undefined) return undefined;
  try {
    const text = await readFile(file, "utf8");
    return named === undefined ? [...getCACertificates("default"), text] : [text];
  } catch (error) {
    throw new AppError("SPLIT_CONFIG_UNREADABLE", `cannot read the certificates in ${file}`, {
      cause: error,
    });
  }
}

/** The state folder: as typed, as configured, or as the environment says. */
export function stateFolderOf(access: Access, io: Io, config: Config | undefined): string {
  const configured = config === undefined ? undefined : folderOfState(config.state);
  return access.state ?? configured ?? set(io.env["SLUICE_STATE"]) ?? "./state";
}

/** An empty variable is one that is not set. */
function set(value: string | undefined): string | undefined {
  return value === "" ? undefined : value;
}

/** The token in `file`; undefined when there is no such file. Throws SPLIT_CONFIG_UNREADABLE when it is another's. */
async function tokenIn(file: string): Promise<string | undefined> {
  try {
    return (await readFile(file, "utf8")).trim();
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw new AppError("SPLIT_CONFIG_UNREADABLE", `cannot read the token in ${file}`, { cause: error });
  }
}
