/**
 * The state document as text: how it is written, and the gate that what is read must pass. Pure.
 *
 * The document stands in an envelope with a SHA-256 over it. The checksum catches what a disk does (torn, zeroed, garbled), the
 * schema what a program or a person does (another format, a field of the wrong type); either way nothing is guessed. The same gate
 * stands before a save, so that nothing is written that could not be read back. Fields this version does not know are left out and no error:
 * going back one version of the program must not cost a rollout its state.
 */

import { hash } from "node:crypto";
import { z } from "zod";
import type { StateDocument } from "../engine/ports.ts";
import { evidenceToWrite, toldToWrite, type Told } from "./document-parts.ts";
import { rolloutLater, rolloutNow, writtenRollout } from "./document-rollout.ts";

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
/** What stands in a document beside the routes, as far as it has changed. */
export const commonChanges = z.object(common).partial();
const documentSchema = z.object({
  ...common,
  routes: z.record(z.string(), rolloutNow),
}) satisfies z.ZodType<StateDocument>;
const followedSchema = z.object({
  ...common,
  routes: z.record(z.string(), rolloutLater),
}) satisfies z.ZodType<StateDocument>;
/** What stands before a save: evidence that was packed here is not unpacked to see whether it can be. */
const savedSchema = z.object({ ...common, routes: z.record(z.string(), writtenRollout) });

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

/** A document as it is written, as JSON: of each route its fields. */
export interface Written {
  readonly routes: Readonly<Record<string, object>>;
}

/** Documents as they were read or written: a thousand replicas that keep what they are told need not all write it anew. */
const WRITTEN = new WeakMap<StateDocument, Written>();

/** What a document is as replicas give it to each other; undefined for one that was neither read nor written yet. */
export function writtenOf(document: StateDocument): Written | undefined {
  return WRITTEN.get(document);
}

/** A document of which it is known how it is written. */
export function readFrom(written: Written, document: StateDocument): StateDocument {
  WRITTEN.set(document, written);
  return document;
}

/** What ends a document in one piece. */
const END = "}\n";

/** The text of a document, indented for people. Not ok for what `decodeState` would refuse, such as a NaN. */
export function encodeState(document: StateDocument, lineage: string): Encoded {
  const written = checkedOf(document, (told) => told);
  if (!written.ok) return written;
  const checksum = checksumOf(lineage, JSON.stringify(written.document));
  const envelope = { lineage, checksum, document: written.document };
  return { ok: true, text: `${JSON.stringify(envelope, null, 2)}\n` };
}

/** The same as replicas give it to each other: in one piece, which is checked as it stands, and handed on as it was read. */
export function encodeShared(document: StateDocument, lineage: string): Encoded {
  let written = WRITTEN.get(document);
  if (written === undefined) {
    const checked = checkedOf(document, toldToWrite);
    if (!checked.ok) return checked;
    written = checked.document;
    WRITTEN.set(document, written);
  }
  const text = JSON.stringify(written);
  return { ok: true, text: `${headOf(lineage, checksumOf(lineage, text))}${text}${END}` };
}

/** What stands before a document in one piece. */
function headOf(lineage: string, checksum: string): string {
  return `${JSON.stringify({ lineage, checksum }).slice(0, -1)},"document":`;
}

/** What is to be written of a document that could be read back. @param toldOf how what people were told is written */
function checkedOf(
  document: StateDocument,
  toldOf: (told: Told) => object,
): { readonly ok: true; readonly document: Written } | Extract<Encoded, { ok: false }> {
  const routes = Object.entries(document.routes).map(([name, recorded]) => {
    const { evidence, notices, bulletins, alerts, ...state } = recorded;
    const written = evidence === undefined ? {} : { evidence: evidenceToWrite(evidence) };
    return [name, { ...state, ...toldOf({ notices, bulletins, alerts }), ...written }];
  });
  const written = { ...document, routes: Object.fromEntries(routes) };
  const checked = savedSchema.safeParse(written);
  if (!checked.success) return { ok: false, detail: `not a state document: ${firstIssue(checked.error)}` };
  return { ok: true, document: written };
}

/** The document in a text; not ok, with a reason in words, for anything but a whole and undamaged one. */
export function decodeState(text: string): Decoded {
  return decoded(text, documentSchema);
}

/** The same for a replica that follows: what only those who lead need is unpacked, and found to be unreadable, when it is asked for. */
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
  // It has passed the gate just now.
  return { ok: true, document: readFrom(document as Written, parsed.data), lineage };
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
