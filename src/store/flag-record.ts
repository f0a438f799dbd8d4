/**
 * What lies over the flags of the file, in `flags.json` of the state folder: whole at every moment, a kill -9 included, and on the disk before a
 * change is answered.
 *
 * A record that cannot be read is moved aside and not guessed at.
 */

import { join } from "node:path";
import { z } from "zod";
import { codeOf, wordsOf } from "../domain/errors.ts";
import type { FlagRecord, FlagStore } from "../engine/ports.ts";
import { ppm, FULL } from "../domain/units.ts";
import { nodeDisk, removeQuietly, type Disk } from "./disk.ts";

/** The file's name in the state folder. */
export const FLAG_RECORD = "flags.json";
const MODE = 0o600;

const recordSchema = z.object({
  format: z.literal(1),
  overrides: z.record(
    z.string(),
    z.object({
      state: z.enum(["on", "off"]).exactOptional(),
      variant: z.string().exactOptional(),
      percentage: z.int().min(0).max(FULL).transform(ppm).exactOptional(),
      by: z.string(),
      at: z.string(),
      reason: z.string(),
    }),
  ),
  opened: z.record(z.string(), z.string()),
}) satisfies z.ZodType<FlagRecord>;

/** The record in `folder`; null keeps it in memory. */
export function flagStore(folder: string | null, disk: Disk = nodeDisk): FlagStore {
  if (folder === null)
    return { load: () => Promise.resolve({ kind: "none" }), save: () => Promise.resolve({ ok: true }) };
  const path = join(folder, FLAG_RECORD);
  const temporary = `${path}.tmp`;
  return {
    async load() {
      let text: string;
      try {
        text = await disk.read(path);
      } catch (error) {
        if (codeOf(error) === "ENOENT") return { kind: "none" };
        return { kind: "corrupt", detail: wordsOf(error), keptAs: path };
      }
      const parsed = recordIn(text);
      if (parsed.success) return { kind: "found", record: parsed.data };
      const keptAs = `${path}.corrupt`;
      await disk.rename(path, keptAs).catch(() => {});
      return { kind: "corrupt", detail: "it is not a record of flags", keptAs };
    },
    async save(record) {
      try {
        await removeQuietly(disk, temporary);
        await disk.write(temporary, `${JSON.stringify(record, null, 2)}\n`, MODE);
        await disk.rename(temporary, path);
        await disk.sync(folder);
        return { ok: true };
      } catch (error) {
        return { ok: false, detail: wordsOf(error) };
      }
    },
  };
}

function recordIn(text: string) {
  try {
    return recordSchema.safeParse(JSON.parse(text));
  } catch {
    return recordSchema.safeParse(undefined);
  }
}
