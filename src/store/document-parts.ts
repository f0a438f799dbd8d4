/**
 * What a document holds beside the rollouts, for whoever leads or comes to: evidence, and what people were told. It is most of a document, and those who follow are
 * given one every few seconds, so it is packed there, and unpacked when it is asked for. Pure.
 */

import { deflateRawSync, inflateRawSync } from "node:zlib";
import { z } from "zod";
import { NO_ALERTS } from "../domain/alert.ts";
import { EMPTY_BOOK, type BulletinBook } from "../domain/bulletin.ts";
import type { Snapshot } from "../domain/evidence/route.ts";
import type { IncidentRecord } from "../domain/incident.ts";
import type { Notice, RecordedEvidence, RecordedNotice, RecordedState } from "../engine/ports.ts";
import { alertState } from "./document-alerts.ts";

const MOST_BYTES = 10_000_000;

// Written every second, and mostly as they were.
const PACKED = new WeakMap<object, string>();

/** `part` as text. @param of what the text is kept by */
function packed(part: unknown, of: object): string {
  let text = PACKED.get(of);
  if (text === undefined) {
    text = deflateRawSync(JSON.stringify(part)).toString("base64");
    PACKED.set(of, text);
  }
  return text;
}

/** What was packed, when it is of that kind; else undefined. */
function unpacked<T extends object>(text: string, kind: z.ZodType<T>): T | undefined {
  try {
    const bytes = inflateRawSync(Buffer.from(text, "base64"), { maxOutputLength: MOST_BYTES });
    return kind.parse(JSON.parse(bytes.toString()));
  } catch {
    return undefined;
  }
}

// Thousands of them: asked one by one, each costs as much as the whole list in one go.
const numbers = z.custom<readonly number[]>(
  (value) => Array.isArray(value) && value.every((each) => Number.isFinite(each)),
  "not numbers",
);
const snapshotSchema = z.object({
  layout: z.int(),
  hard: numbers,
  rest: numbers,
  latency: numbers,
}) satisfies z.ZodType<Snapshot>;

/** Evidence as it is written. */
export const writtenEvidence = z.object({
  rules: z.string(),
  packed: z.string(),
  upTo: z.string().exactOptional(),
});
type WrittenEvidence = z.output<typeof writtenEvidence>;

/** Of no layout that anybody goes on from: what cannot be read is had again in time. */
const UNREADABLE: Snapshot = { layout: -1, hard: [], rest: [], latency: [] };

/** Evidence to be written. */
export function evidenceToWrite(evidence: RecordedEvidence): WrittenEvidence {
  // Asked for its snapshot, one that was read would be unpacked.
  const text = PACKED.get(evidence) ?? packed(evidence.snapshot, evidence);
  return { ...placeOf(evidence), rules: evidence.rules, packed: text };
}

/** Evidence that was written; undefined when it cannot be read. */
export function evidenceNow(written: WrittenEvidence): RecordedEvidence | undefined {
  const snapshot = unpacked(written.packed, snapshotSchema);
  if (snapshot === undefined) return undefined;
  return keptPacked({ ...placeOf(written), rules: written.rules, snapshot }, written.packed);
}

/** The same, unpacked when it is asked for; of no layout that anybody goes on from when it cannot be read. */
export function evidenceLater(written: WrittenEvidence): RecordedEvidence {
  const snapshot = once(() => unpacked(written.packed, snapshotSchema) ?? UNREADABLE);
  const evidence: RecordedEvidence = {
    ...placeOf(written),
    rules: written.rules,
    get snapshot() {
      return snapshot();
    },
  };
  return keptPacked(evidence, written.packed);
}

function placeOf({ upTo }: Pick<RecordedEvidence, "upTo">): { readonly upTo?: string } {
  return upTo === undefined ? {} : { upTo };
}

/** `part`, which a replica that keeps what another has saved need not pack again. */
function keptPacked<T extends object>(part: T, text: string): T {
  PACKED.set(part, text);
  return part;
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}

const names = z.array(z.string());
const update = z.object({ atMs: z.number(), words: z.string() });
const figures = z.object({
  requests: z.number(),
  failures: z.number(),
  errorRate: z.number().nullable(),
  p95Ms: z.number().nullable(),
});
const incident = z.object({
  format: z.literal(1),
  id: z.string(),
  key: z.string(),
  status: z.enum(["open", "resolved"]),
  environment: z.string(),
  route: z.string(),
  rollout: z.string(),
  version: z.string(),
  openedAtMs: z.number(),
  actor: z.string(),
  reason: z.string(),
  fromWeight: z.number(),
  toWeight: z.number(),
  rules: names,
  figures: z.object({ stable: figures, canary: figures }),
  requestsFailed: z.number(),
  requestsRescued: z.number(),
  distinctKeys: z.number(),
  keysCapped: z.boolean(),
  breachMs: z.number().nullable(),
  tookMs: z.number(),
  stableHealthy: z.boolean(),
  resolvedAtMs: z.number().nullable(),
  resolvedBy: z.string(),
  resolution: z.string(),
  updates: z.array(update),
  told: z.int().min(0),
  dueAtMs: z.number(),
  isEndTold: z.boolean(),
}) satisfies z.ZodType<IncidentRecord>;
const bulletins = z.object({
  rollout: z.string(),
  version: z.string(),
  startedBy: z.string(),
  isAnnounced: z.boolean(),
  beganAtMs: z.number().nullable(),
  digestAtMs: z.number().nullable(),
  updates: z.array(update),
  omitted: z.int().min(0),
  isClosed: z.boolean(),
  incidents: z.array(incident),
}) satisfies z.ZodType<BulletinBook>;
const notice = z.object({
  id: z.string(),
  severity: z.enum(["info", "warning", "critical", "emergency"]),
  event: z.string(),
  route: z.string(),
  rollout: z.string(),
  summary: z.string(),
  lines: names,
  details: z.record(z.string(), z.unknown()),
  incident: z
    .object({ key: z.string(), action: z.enum(["trigger", "acknowledge", "resolve"]) })
    .exactOptional(),
  audience: z.enum(["operators", "stakeholders"]),
}) satisfies z.ZodType<Notice>;
const notices = z.array(z.object({ atMs: z.number(), notice })) satisfies z.ZodType<RecordedNotice[]>;

const TOLD = { notices, bulletins, alerts: alertState };
/** What is there in place of what cannot be read: a repetition or a gap, never a rollout that does not go on. */
const UNTOLD = { notices: [], bulletins: EMPTY_BOOK, alerts: NO_ALERTS } satisfies Told;

/** What people were told. */
export type Told = Pick<RecordedState, keyof typeof TOLD>;
type Name = keyof Told;
// As `TOLD` has them.
const NAMES = Object.keys(TOLD) as readonly Name[];

/** What people were told as it is written: in files as it is, in what replicas give each other packed. What is neither is left out. */
export const writtenTold = {
  notices: z.union([z.string(), notices]).optional().catch(undefined),
  bulletins: z.union([z.string(), bulletins]).optional().catch(undefined),
  alerts: z.union([z.string(), alertState]).optional().catch(undefined),
};
type WrittenTold = { readonly [N in Name]?: string | Told[N] | undefined };

/** What people were told, packed. */
export function toldToWrite(told: Told): WrittenTold {
  const written: { [N in Name]?: string } = {};
  for (const name of NAMES) {
    const part = told[name];
    if (part !== undefined) written[name] = packed(part, part);
  }
  return written;
}

/** What was written of what people were told, in `state`; what cannot be read is left out. */
export function withToldNow<S extends object>(state: S, written: WrittenTold): S & Told {
  const told: Record<string, object> = {};
  for (const name of NAMES) {
    const part = written[name];
    const read = typeof part === "string" ? readOf(name, part) : part;
    if (read !== undefined) told[name] = read;
  }
  // Each as `TOLD` has read it.
  return { ...state, ...(told as Told) };
}

/** The same, unpacked when it is asked for, and as if nobody had been told anything when it cannot be read. */
export function withToldLater<S extends object>(state: S, written: WrittenTold): S & Told {
  for (const name of NAMES) {
    const part = written[name];
    if (typeof part === "string") {
      const get = once(() => readOf(name, part) ?? UNTOLD[name]);
      Object.defineProperty(state, name, { get, enumerable: true, configurable: true });
    } else if (part !== undefined) Object.assign(state, { [name]: part });
  }
  // What it has by now.
  return state;
}

function readOf(name: Name, text: string): object | undefined {
  const read = unpacked<object>(text, TOLD[name]);
  return read === undefined ? undefined : keptPacked(read, text);
}
