/**
 * What is saved in a folder of `file.ts`, read without touching anything: the highest version among `state.json` and the names of its lineage.
 */

import { join } from "node:path";
import { codeOf, wordsOf } from "../domain/errors.ts";
import type { StateDocument } from "../engine/ports.ts";
import type { Disk } from "./disk.ts";
import { decodeState } from "./document.ts";

/** The file that holds the state. */
export const FILE = "state.json";

/** What is saved. */
export type Current =
  | { readonly kind: "none" }
  /** `movable`: what was read is damaged. False when reading failed, which may pass. */
  | { readonly kind: "corrupt"; readonly detail: string; readonly movable: boolean }
  | { readonly kind: "found"; readonly document: StateDocument; readonly lineage: string };

/** What is saved in `folder`. Never rejects. */
export async function currentIn(folder: string, disk: Disk): Promise<Current> {
  const file = await read(disk, join(folder, FILE));
  if (file.kind !== "found") return file;
  try {
    for (;;) {
      const highest = await highestOf(file.lineage, folder, disk);
      if (highest <= file.document.version) return file;
      const named = await read(disk, claimOf(folder, file.lineage, highest));
      // Swept out since it was listed: then there is a higher one.
      if (named.kind !== "none") return named;
    }
  } catch (error) {
    return { kind: "corrupt", detail: wordsOf(error), movable: false };
  }
}

async function read(disk: Disk, path: string): Promise<Current> {
  let text: string;
  try {
    text = await disk.read(path);
  } catch (error) {
    const code = codeOf(error);
    if (code === "ENOENT") return { kind: "none" };
    return { kind: "corrupt", detail: wordsOf(error), movable: code === "EISDIR" };
  }
  const decoded = decodeState(text);
  if (!decoded.ok) return { kind: "corrupt", detail: decoded.detail, movable: true };
  return { kind: "found", document: decoded.document, lineage: decoded.lineage };
}

/** The folder of the names that saves have taken. */
export function claimsOf(folder: string): string {
  return join(folder, `${FILE}.saves`);
}

/** The name that gives the right to a version. */
export function claimOf(folder: string, lineage: string, version: number): string {
  return join(claimsOf(folder), `${lineage}.${version}`);
}

/** The highest version of a lineage that has a name; 0 when none has. Rejects when the names cannot be listed. */
export async function highestOf(lineage: string, folder: string, disk: Disk): Promise<number> {
  let highest = 0;
  for (const name of await disk.list(claimsOf(folder))) {
    if (name.startsWith(`${lineage}.`)) highest = Math.max(highest, versionOf(name));
  }
  return highest;
}

/** The version in a name; 0 for what is no such name. */
export function versionOf(name: string): number {
  const version = Number(name.slice(name.lastIndexOf(".") + 1));
  return Number.isSafeInteger(version) ? version : 0;
}
