/**
 * Gathers what `domain/health-report.ts` judges. What the program knows of itself is asked when it is wanted; the disk is looked at beside, and what was
 * found last is what a gate reads, for a decision waits for no disk.
 */

import { dirname } from "node:path";
import {
  healthReport,
  unwellOf,
  type FolderRoom,
  type HealthFacts,
  type HealthReport,
} from "../domain/health-report.ts";
import type { Config } from "../config/schema.ts";
import { millis } from "../domain/units.ts";
import type { Clock, Probes } from "../engine/ports.ts";

/** How often the disk is looked at. */
const LOOK_MS = millis(10_000);
/** A disk that does not answer by then is in trouble. */
const PATIENCE_MS = 2000;

/** Where it comes from. */
export interface VitalsSources {
  /** What the program knows of itself. Returns at once. */
  readonly facts: () => Omit<HealthFacts, "folders">;
  /** Folders that are written to, by the check's name. */
  readonly folders: Readonly<Record<string, string>>;
  /** Free bytes on the disk of a folder; undefined where the system does not tell. */
  readonly freeOf: (folder: string) => Promise<number | undefined>;
  readonly clock: Pick<Clock, "every">;
}

/** The program's health. */
export interface Vitals {
  /** Looks now. Never rejects. */
  report(): Promise<HealthReport>;
  /** What fails, by what is known now; undefined: nothing. */
  unwell(): string | undefined;
  close(): void;
}

/** What of the program is asked, as `start.ts` holds it. */
export interface Organs {
  readonly config: Config;
  readonly probes: Probes;
  readonly recording: { readonly trouble: string; readonly journals: boolean };
  readonly channels: readonly { readonly channel: string; readonly trouble: string }[];
  readonly reloadTrouble: string;
  readonly threads: { readonly lagMs: number; readonly serving: number; readonly wanted: number };
}

/** Where `overload.loopDelay` says nothing. */
const LAG_MAX_MS = 500;

/** What the program knows of itself. */
export function factsOf(organs: Organs): Omit<HealthFacts, "folders"> {
  const { config, probes, recording, channels, threads } = organs;
  const { loopDelay } = config.overload;
  return {
    routes: config.routes.map(({ name }) => ({
      name,
      stable: probes.health(name, "stable"),
      canary: probes.health(name, "canary"),
    })),
    storeTrouble: recording.trouble,
    journals: recording.journals,
    notifiers: {
      count: channels.length,
      failing: channels.flatMap(({ channel, trouble }) => (trouble === "" ? [] : [`${channel}: ${trouble}`])),
    },
    reloadTrouble: organs.reloadTrouble,
    loopLagMs: threads.lagMs,
    loopLagMaxMs: loopDelay === "none" ? LAG_MAX_MS : loopDelay,
    workers: threads.serving,
    workersWanted: threads.wanted,
  };
}

/** Begins to look. */
export async function openVitals({ facts, folders, freeOf, clock }: VitalsSources): Promise<Vitals> {
  let rooms: readonly FolderRoom[] = [];
  // What a disk has not answered yet is waited for again and not asked again: each question takes a thread that all file access shares.
  const asked = new Map<string, Promise<number | undefined>>();
  const roomIn = (folder: string): Promise<number | undefined> => {
    const room = asked.get(folder) ?? roomOf(folder, freeOf).finally(() => asked.delete(folder));
    asked.set(folder, room);
    return room;
  };
  const look = async (): Promise<void> => {
    rooms = await Promise.all(
      Object.entries(folders).map(async ([name, folder]): Promise<FolderRoom> => {
        try {
          return {
            name,
            folder,
            free: (await within(PATIENCE_MS, roomIn(folder))) ?? null,
            trouble: "",
          };
        } catch (error) {
          return {
            name,
            folder,
            free: null,
            trouble: error instanceof Error ? error.message : String(error),
          };
        }
      }),
    );
  };
  const now = (): HealthReport => healthReport({ ...facts(), folders: rooms });
  await look();
  const close = clock.every(LOOK_MS, look);
  return {
    async report() {
      await look();
      return now();
    },
    unwell: () => unwellOf(now()),
    close,
  };
}

/** What is free where a folder is, or will be: reports make theirs with the first one. */
async function roomOf(folder: string, freeOf: VitalsSources["freeOf"]): Promise<number | undefined> {
  try {
    return await freeOf(folder);
  } catch (error) {
    const parent = dirname(folder);
    const isMissing = error instanceof Error && "code" in error && error.code === "ENOENT";
    if (!isMissing || parent === folder) throw error;
    return roomOf(parent, freeOf);
  }
}

/** What `work` resolves with; rejects after `ms`, and then leaves it to itself. */
async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const limit = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error("the disk does not answer")), ms);
  });
  try {
    return await Promise.race([work, limit]);
  } finally {
    clearTimeout(timer);
  }
}
