/** State documents for tests, and short ways to bring a store to one. */

import { createHash } from "node:crypto";
import { readdir } from "node:fs/promises";
import type { RolloutState } from "../../src/domain/rollout-types.ts";
import { millis, ppm } from "../../src/domain/units.ts";
import type { Log, RecordedNotice, StateDocument, Store } from "../../src/engine/ports.ts";
import { Secret } from "../../src/config/secret.ts";
import { clock, dice } from "../../src/platform.ts";
import type { OpenOptions } from "../../src/store/open.ts";
import { quietLog } from "../support/silence.ts";

/** A rollout in the middle of its climb; its reason says which save it is of. */
export function rollout(reason: string): RolloutState {
  return {
    id: "r-1",
    phase: "progressing",
    step: 1,
    steps: [
      {
        weight: ppm(50_000),
        holdMs: millis(1000),
        bake: false,
        checkpointMs: millis(500),
        critical: true,
        preflight: true,
        pause: true,
        gate: {
          roles: ["deployment-lead"],
          acknowledge: ["stakeholders"],
          checklist: ["dashboards-ready"],
          expiresMs: millis(86_400_000),
          samePerson: false,
        },
        success: [
          { metric: "error_rate", below: ppm(1000), shown: true },
          { metric: "p95", below: millis(200), shown: false },
        ],
        promotion: { notWorseBy: ppm(1000), leastMs: millis(900_000) },
      },
      { weight: ppm(990_000), holdMs: millis(2000.5), bake: false, holdback: ppm(10_000) },
    ],
    weight: ppm(50_000),
    heldMs: millis(12.25),
    progress: {
      gate: {
        step: 1,
        signatures: [{ role: "deployment-lead", by: "ada", atMs: 1_767_600_000_000, comment: "go" }],
        ticks: [{ item: "dashboards-ready", by: "ada", atMs: 1_767_600_000_000, comment: "" }],
      },
      isGateOpen: true,
      extendedMs: millis(500),
      checkpointInMs: millis(250.5),
      preflight: { passed: true, words: "9/9 checks passed" },
      isResumed: false,
      isConfirmed: false,
    },
    windows: [{ from: 540, to: 600, weekdays: ["mon", "tue"], timezone: "UTC" }],
    startsAtMs: 0,
    scheduled: { by: "ada", reason: "release 4" },
    clocks: { "error_rate>1%": millis(3000) },
    cooldownLeftMs: millis(0),
    verifyLeftMs: millis(0),
    servedMs: millis(60_000.5),
    confirmation: { phase: "probing", sinceMs: 50_000, responses: 12, trips: [40_000] },
    trippedFrom: ppm(0),
    reason,
    standsFor: null,
    version: "4.0.0",
    revision: 3,
    startedAt: "2026-01-05T09:00:00.000Z",
  };
}

/** Something that people were told. */
export const NOTICE: RecordedNotice = {
  atMs: 5,
  notice: {
    id: "app:r-1:3:WEIGHT_SET",
    severity: "info",
    event: "WEIGHT_SET",
    route: "app",
    rollout: "r-1",
    summary: "weight set to 5 %",
    lines: ["by ada"],
    details: { from: 0, to: 5 },
    audience: "operators",
  },
};

/** What a store is opened with, where no test asks for more. */
export function openOptions(log: Log = quietLog()): OpenOptions {
  return {
    secretOf: (source) => new Secret("file" in source ? source.file : source.env, source),
    clock,
    dice,
    log,
  };
}

/** A document of that version. */
export function documentOf(version: number, reason = `save ${version}`): StateDocument {
  return { format: 1, version, savedAt: "2026-01-05T09:00:00.000Z", routes: { app: rollout(reason) } };
}

/** Saves one version after the other, from what is saved up to `last`. */
export async function saveTo(store: Store, last: number): Promise<void> {
  const loaded = await store.load();
  for (let v = loaded.kind === "found" ? loaded.document.version + 1 : 1; v <= last; v += 1) {
    const saved = await store.save(documentOf(v));
    if (!saved.ok) throw new Error(JSON.stringify(saved));
  }
}

/** The version that `store` loads; 0 for none, −1 for a corrupt one. */
export async function versionIn(store: Store): Promise<number> {
  const loaded = await store.load();
  return loaded.kind === "found" ? loaded.document.version : loaded.kind === "none" ? 0 : -1;
}

/** Names in the folder that a save made for itself only. */
export async function leftovers(folder: string): Promise<readonly string[]> {
  return (await readdir(folder)).filter((name) => name.includes(".tmp-"));
}

/** What a store would have written of `document`, which need not be one, in a line of saves. */
export function envelope(document: unknown, lineage = "by-hand"): string {
  const checksum = createHash("sha256")
    .update(`${lineage}\n${JSON.stringify(document)}`)
    .digest("hex");
  return JSON.stringify({ lineage, checksum, document });
}
