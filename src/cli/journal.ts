/** `journal verify`: whether a journal's file is what was written, line by line; offline. */

import { basename, dirname } from "node:path";
import type { Config } from "../config/schema.ts";
import { AppError } from "../domain/errors.ts";
import { checkJournal, type JournalCheck } from "../telemetry/journal-verify.ts";
import { readBackup } from "../store/backups.ts";
import { EXIT, pretty } from "./commands.ts";
import type { Io } from "./io.ts";

/** What was typed. */
export interface VerifyOptions {
  readonly against?: string;
  readonly backups?: string;
  readonly json?: boolean;
}

/** Checks `file` and says what came of it; exit 1 when it is broken. Throws SPLIT_CONFIG_UNREADABLE when it, or the backup, cannot be read. */
export async function verifyJournal(
  file: string,
  options: VerifyOptions,
  config: Config | undefined,
  io: Io,
): Promise<number> {
  const { against } = options;
  const head = against === undefined ? undefined : await headOf(against, backupsFolder(options, config));
  const found = await checkJournal(file, head).catch((error: unknown) => {
    throw unreadable(`cannot read the journal in ${file}`, error);
  });
  const isWell = found.broken === undefined && found.against === undefined;
  io.stdout(
    options.json === true ? pretty({ file, whole: isWell, ...found }) : textOf(file, found, head?.seq),
  );
  return isWell ? EXIT.done : EXIT.failed;
}

/** Where the backups are. */
export function backupsFolder(options: { readonly backups?: string }, config: Config | undefined): string {
  const configured = config === undefined || config.backups === "off" ? undefined : config.backups.folder;
  return options.backups ?? configured ?? "./backups";
}

async function headOf(backup: string, folder: string) {
  const isPath = basename(backup) !== backup;
  const loaded = await readBackup(isPath ? dirname(backup) : folder, basename(backup));
  if (!loaded.ok) throw unreadable(`cannot use the backup ${backup}: ${loaded.detail}`);
  return loaded.head;
}

function unreadable(message: string, cause?: unknown): AppError {
  const why = cause instanceof Error ? `: ${cause.message}` : "";
  return new AppError("SPLIT_CONFIG_UNREADABLE", message + why, { cause });
}

function textOf(file: string, found: JournalCheck, head: number | undefined): string {
  const { lines, first, last, unfinished, broken, against } = found;
  const noted = lines === 1 ? "1 line holds" : `${lines} lines hold`;
  const end = last === undefined ? "" : `, the last is ${last.seq} with hash ${last.hash}`;
  const said = [`${file}: ${noted}${end}`];
  if (first > 1) said.push(`it begins at line ${first} of the journal; what came before is not in this file`);
  if (unfinished > 0 && broken === undefined)
    said.push(`${unfinished} bytes behind it are no whole line yet`);
  if (broken !== undefined) said.push(`${file}:${broken.line}: ${broken.what}`);
  if (against !== undefined) said.push(`it does not go on from the backup: ${against}`);
  else if (head !== undefined && broken === undefined)
    said.push(`it goes on from the backup, which had line ${head}`);
  return `${said.join("\n")}\n`;
}
