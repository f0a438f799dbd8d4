/**
 * The state document as text: how it is written, and the gate that what is read must pass. Pure.
 *
 * The document stands in an envelope with a SHA-256 over it. The checksum catches what a disk does (torn, zeroed, garbled), the
 * schema what a program or a person does (another format, a field of the wrong type); either way nothing is guessed. The same gate
 * stands before a save, so that nothing is written that could not be read back. Fields this version does not know are left out and no error:
 * going back one version of the program must not cost a rollout its state.
 */

import { hash } from "node:crypto";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { z } from "zod";
import type { Snapshot } from "../domain/evidence/route.ts";
import { ALERT_SEVERITIES } from "../domain/alert-rule.ts";
import type { BulletinBook } from "../domain/bulletin.ts";
import type { IncidentRecord } from "../domain/incident.ts";
import { WEEKDAYS, isTimeZone } from "../domain/civil.ts";
import { MANUAL_WEIGHT, NO_PROGRESS, STABLE_SICK } from "../domain/rollout-move.ts";
import { PAUSE_STEP } from "../domain/rollout-tick.ts";
import { PHASES, STANDS_FOR, type Phase, type StandsFor } from "../domain/rollout-types.ts";
import { FULL, millis, ppm } from "../domain/units.ts";
import type { Notice, RecordedEvidence, StateDocument } from "../engine/ports.ts";
import { alertState } from "./document-alerts.ts";

export const weight = z.int().min(0).max(FULL).transform(ppm);
export const duration = z.number().min(0).transform(millis);

const trips = z.array(z.number().min(0)).max(100);
/** Since when, in time in service. */
const confirmation = z.discriminatedUnion("phase", [
  z.object({ phase: z.literal("armed"), trips }),
  z.object({ phase: z.literal("tripped"), untilMs: z.number().min(0), trips }),
  z.object({ phase: z.literal("probing"), sinceMs: z.number().min(0), responses: z.int().min(0), trips }),
]);

const shown = z.boolean();
const success = z
  .array(
    z.union([
      z.object({ metric: z.literal("error_rate"), below: weight, shown }),
      z.object({ metric: z.enum(["p50", "p95", "p99"]), below: duration, shown }),
    ]),
  )
  .exactOptional();
const promotion = z.object({ notWorseBy: weight, leastMs: duration }).exactOptional();
const yes = z.literal(true).exactOptional();
const names = z.array(z.string());
const gateSpec = z
  .object({
    roles: names,
    acknowledge: names,
    checklist: names,
    expiresMs: duration.nullable(),
    samePerson: z.boolean(),
    health: yes,
  })
  .exactOptional();
export const step = z.object({
  weight,
  holdMs: duration,
  bake: z.boolean(),
  checkpointMs: duration.exactOptional(),
  critical: yes,
  preflight: yes,
  pause: yes,
  gate: gateSpec,
  success,
  promotion,
  holdback: weight.exactOptional(),
  calm: z.enum(ALERT_SEVERITIES).exactOptional(),
  healthy: yes,
});

const said = { by: z.string(), atMs: z.number(), comment: z.string() };
const gate = z.object({
  step: z.int().min(0),
  signatures: z.array(z.object({ role: z.string(), ...said })),
  ticks: z.array(z.object({ item: z.string(), ...said })),
});
const progress = z.object({
  gate: gate.nullable(),
  isGateOpen: z.boolean(),
  extendedMs: duration,
  checkpointInMs: duration.nullable(),
  preflight: z.object({ passed: z.boolean(), words: z.string() }).nullable(),
  isResumed: z.boolean(),
  isConfirmed: z.boolean().prefault(false),
});
export const windows = z.array(
  z.object({
    from: z.int().min(0),
    to: z.int().min(0),
    weekdays: z.array(z.enum(WEEKDAYS)),
    timezone: z.string().refine(isTimeZone, "not a time zone"),
  }),
);

// Thousands of them, once a second at every replica: asked one by one, each costs as much as the whole list in one go.
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

// Mostly zeros, hence packed; and written every second, while it is taken every ten.
const PACKED = new WeakMap<RecordedEvidence, string>();

function packed(evidence: RecordedEvidence): string {
  let text = PACKED.get(evidence);
  if (text === undefined) {
    text = deflateRawSync(JSON.stringify(evidence.snapshot)).toString("base64");
    PACKED.set(evidence, text);
  }
  return text;
}

/** Evidence as it is written. */
interface WrittenEvidence {
  readonly rules: string;
  readonly packed: string;
  readonly upTo?: string;
}

/** Evidence that was packed; undefined when it cannot be read: it is had again in time. */
function unpacked(written: WrittenEvidence): RecordedEvidence | undefined {
  const { rules, upTo } = written;
  try {
    const bytes = inflateRawSync(Buffer.from(written.packed, "base64"), { maxOutputLength: 10_000_000 });
    const snapshot = snapshotSchema.parse(JSON.parse(bytes.toString()));
    const evidence = upTo === undefined ? { rules, snapshot } : { rules, snapshot, upTo };
    // A replica that keeps what another has saved need not pack it again.
    PACKED.set(evidence, written.packed);
    return evidence;
  } catch {
    return undefined;
  }
}

/** Of no layout that anybody goes on from. */
const UNREADABLE: Snapshot = { layout: -1, hard: [], rest: [], latency: [] };

/** The same, unpacked when it is asked for: a replica that follows is given a document a second, and asks only when it comes to lead. */
function unpackedLater(written: WrittenEvidence): RecordedEvidence {
  let snapshot: Snapshot | undefined;
  const evidence: RecordedEvidence = {
    ...placeOf(written),
    rules: written.rules,
    get snapshot() {
      return (snapshot ??= unpacked(written)?.snapshot ?? UNREADABLE);
    },
  };
  PACKED.set(evidence, written.packed);
  return evidence;
}

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
/** What people were told; what cannot be read is left out, and costs a repetition or a gap, never a rollout. */
const telling = {
  notices: z
    .array(z.object({ atMs: z.number(), notice }))
    .optional()
    .catch(undefined),
  bulletins: bulletins.optional().catch(undefined),
};

/** A rollout as it is written. */
const writtenSchema = z
  .object({
    id: z.string(),
    phase: z.custom<Phase>((value) => PHASES.some((phase) => phase === value), "not a phase"),
    step: z.int().min(0),
    steps: z.array(step),
    weight,
    heldMs: duration,
    clocks: z.record(z.string(), duration),
    cooldownLeftMs: duration,
    verifyLeftMs: duration,
    // Documents of before have none of these.
    progress: progress.prefault({ ...NO_PROGRESS, gate: null, preflight: null }),
    windows: windows.prefault([]),
    startsAtMs: z.number().min(0).prefault(0),
    scheduled: z.object({ by: z.string(), reason: z.string() }).nullable().prefault(null),
    servedMs: duration.prefault(0),
    confirmation: confirmation.prefault({ phase: "armed", trips: [] }),
    trippedFrom: weight.prefault(0),
    reason: z.string(),
    standsFor: z.enum(STANDS_FOR).nullable().exactOptional(),
    version: z.string(),
    revision: z.int().min(0),
    startedAt: z.string(),
    evidence: z
      .object({ rules: z.string(), packed: z.string(), upTo: z.string().exactOptional() })
      .optional()
      .catch(undefined),
    ...telling,
    // What cannot be read is left out: people are told again, and that is better than no start.
    alerts: alertState.optional().catch(undefined),
  })
  .refine((state) => state.steps.length === 0 || state.step < state.steps.length, {
    message: "there is no such step in the plan",
    path: ["step"],
  });

/** Documents of before have the words alone, and with them the program meant what it now says in `standsFor`. */
const SAID: ReadonlyMap<string, StandsFor> = new Map([
  [MANUAL_WEIGHT, "manual_weight"],
  [PAUSE_STEP, "person"],
  [STABLE_SICK, "sick_stable"],
]);

const rolloutSchema = (read: (written: WrittenEvidence) => RecordedEvidence | undefined) =>
  writtenSchema.transform(({ evidence: written, alerts, ...rest }) => {
    const evidence = written === undefined ? undefined : read(written);
    const { reason, standsFor = SAID.get(reason) ?? null } = rest;
    const state = { ...rest, standsFor, ...(alerts === undefined ? {} : { alerts }) };
    return evidence === undefined ? state : { ...state, evidence };
  });

const thrown = z.object({ since: z.string(), by: z.string(), reason: z.string() }).exactOptional();
const throws = z.object({ emergency: thrown, "read-only": thrown, maintenance: thrown });
const safety = z.object({ all: throws, routes: z.record(z.string(), throws) }).exactOptional();
const common = {
  format: z.literal(1),
  version: z.int().min(1),
  savedAt: z.string(),
  epoch: z.int().min(0).exactOptional(),
  safety,
};
const documentSchema = z.object({
  ...common,
  routes: z.record(z.string(), rolloutSchema(unpacked)),
}) satisfies z.ZodType<StateDocument>;
const followedSchema = z.object({
  ...common,
  routes: z.record(z.string(), rolloutSchema(unpackedLater)),
}) satisfies z.ZodType<StateDocument>;
/** What stands before a save: evidence that was packed here is not unpacked to see whether it can be. */
const savedSchema = z.object({ ...common, routes: z.record(z.string(), writtenSchema) });

const envelopeSchema = z.object({
  /** Names one line of saves from its first on: versions are compared only within it. */
  lineage: z.string().regex(/^[A-Za-z0-9-]{1,64}$/),
  checksum: z.string().regex(/^[0-9a-f]{64}$/),
  /** Left as it was parsed, in its own order: the checksum is over that. */
  document: z.unknown(),
});

const formatSchema = z.object({ format: z.number() });

/** A document that was read, and the line of saves it is of; or what is wrong with the text. */
export type Decoded =
  | { readonly ok: true; readonly document: StateDocument; readonly lineage: string }
  | { readonly ok: false; readonly detail: string };

/** A document as text, or why it is none. */
export type Encoded =
  { readonly ok: true; readonly text: string } | { readonly ok: false; readonly detail: string };

/** Documents as they were read: a thousand replicas that keep what they are told need not all write it anew. */
const READ = new WeakMap<StateDocument, string>();
/** What ends a document in one piece. */
const END = "}\n";

/** The text of a document, indented for people. Not ok for what `decodeState` would refuse, such as a NaN. */
export function encodeState(document: StateDocument, lineage: string): Encoded {
  const written = checkedOf(document);
  if (!written.ok) return written;
  const checksum = checksumOf(lineage, JSON.stringify(written.document));
  const envelope = { lineage, checksum, document: written.document };
  return { ok: true, text: `${JSON.stringify(envelope, null, 2)}\n` };
}

/** The same as replicas give it to each other: in one piece, which is checked as it stands, and handed on as it was read. */
export function encodeShared(document: StateDocument, lineage: string): Encoded {
  let text = READ.get(document);
  if (text === undefined) {
    const written = checkedOf(document);
    if (!written.ok) return written;
    text = JSON.stringify(written.document);
  }
  return { ok: true, text: `${headOf(lineage, checksumOf(lineage, text))}${text}${END}` };
}

/** What stands before a document in one piece. */
function headOf(lineage: string, checksum: string): string {
  return `${JSON.stringify({ lineage, checksum }).slice(0, -1)},"document":`;
}

/** What is to be written of a document that could be read back. */
function checkedOf(
  document: StateDocument,
): { readonly ok: true; readonly document: object } | Extract<Encoded, { ok: false }> {
  const written = writtenOf(document);
  const checked = savedSchema.safeParse(written);
  if (!checked.success) return { ok: false, detail: `not a state document: ${firstIssue(checked.error)}` };
  return { ok: true, document: written };
}

function writtenOf(document: StateDocument): object {
  const routes = Object.entries(document.routes).map(([name, { evidence, ...state }]) => [
    name,
    evidence === undefined
      ? state
      : { ...state, evidence: { ...placeOf(evidence), rules: evidence.rules, packed: packed(evidence) } },
  ]);
  return { ...document, routes: Object.fromEntries(routes) };
}

/** The document in a text; not ok, with a reason in words, for anything but a whole and undamaged one. */
export function decodeState(text: string): Decoded {
  return decoded(text, documentSchema);
}

/** The same for a replica that follows: evidence that cannot be read is found out when it is asked for, and is then of no layout. */
export function decodeFollowed(text: string): Decoded {
  return decoded(text, followedSchema);
}

function decoded(text: string, schema: typeof documentSchema | typeof followedSchema): Decoded {
  if (text.trim() === "") return { ok: false, detail: "it is empty" };
  if (/^\0+$/.test(text)) return { ok: false, detail: "it holds nothing but zero bytes" };
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { ok: false, detail: "it is not JSON: torn or garbled" };
  }
  const envelope = envelopeSchema.safeParse(value);
  if (!envelope.success) return { ok: false, detail: `not a state file: ${firstIssue(envelope.error)}` };
  const { lineage, checksum, document } = envelope.data;
  const format = formatSchema.safeParse(document);
  if (!format.success) return { ok: false, detail: `not a state file: ${firstIssue(format.error)}` };
  if (format.data.format !== 1) {
    return { ok: false, detail: `its format is ${format.data.format}, this version knows 1` };
  }
  const inOne = inOnePiece(text, headOf(lineage, checksum));
  const isWhole = inOne !== undefined && checksumOf(lineage, inOne) === checksum;
  if (!isWhole && checksumOf(lineage, JSON.stringify(document)) !== checksum)
    return { ok: false, detail: "its checksum does not match" };
  const parsed = schema.safeParse(document);
  if (!parsed.success) return { ok: false, detail: `not a state document: ${firstIssue(parsed.error)}` };
  if (isWhole) READ.set(parsed.data, inOne);
  return { ok: true, document: parsed.data, lineage };
}

function placeOf({ upTo }: Pick<RecordedEvidence, "upTo">): { readonly upTo?: string } {
  return upTo === undefined ? {} : { upTo };
}

/** What `encodeShared` has written of the document; undefined in a text that it has not written. */
function inOnePiece(text: string, head: string): string | undefined {
  return text.startsWith(head) && text.endsWith(END) ? text.slice(head.length, -END.length) : undefined;
}

function checksumOf(lineage: string, document: string): string {
  return hash("sha256", `${lineage}\n${document}`);
}

function firstIssue(error: z.ZodError): string {
  const issue = error.issues[0];
  return issue === undefined ? "invalid" : `${issue.path.join(".") || "document"}: ${issue.message}`;
}
