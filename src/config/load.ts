/**
 * From a file to a configuration, or to a list of what is wrong with it, each with file, line and column. The only door to `yaml`.
 *
 * The text is parsed to nodes that know where they stand, then to plain values, then judged by the schema; a finding about a value is
 * led back to its node. Everything a hostile or broken file can do (aliases that multiply, endless nesting, bytes that are not
 * text) ends as a finding too, never as an exception: a reload must not be able to end the program.
 */

import { readFile } from "node:fs/promises";
import { isDeepStrictEqual } from "node:util";
import {
  isAlias,
  isMap,
  isScalar,
  isSeq,
  parseDocument,
  stringify,
  visit,
  type Document,
  type Node,
  type Scalar,
  type YAMLError,
} from "yaml";
import { z } from "zod";
import { AppError, UNREAD, causeOf } from "../domain/errors.ts";
import { planSchema, type PlanConfig } from "./plan.ts";
import { findingsOf, type ConfigPath } from "./problems.ts";
import { configSchema, type Config } from "./schema.ts";
import { readSecret, secretSourcesOf, type Environment, type Secret, type SecretSource } from "./secret.ts";

/** One thing that is wrong, and where: line and column count from 1. */
export interface Problem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
}

/** Where something stands. */
export interface Place {
  readonly line: number;
  readonly column: number;
}

/** What a text came to. `placeOf` leads a path of the configuration back to its line and column. */
export type Parsed =
  | { readonly ok: true; readonly config: Config; readonly placeOf: (path: ConfigPath) => Place }
  | { readonly ok: false; readonly problems: readonly Problem[] };

/** A configuration whose secrets are all readable. */
export interface Loaded {
  readonly config: Config;
  /** The secret named by a source of this configuration. Throws SPLIT_INTERNAL for a source that is not in it. */
  readonly secretOf: (source: SecretSource) => Secret;
  /** The file as it was read. */
  readonly bytes: Uint8Array;
}

/** More than any operator writes, and little enough that a wrong file cannot fill the memory. */
const MAX_BYTES = 16 * 1024 * 1024;
/** Uses of anchors at the most, multiplied out (the "billion laughs"). */
const MAX_ALIASES = 100;
/** After so many slips of syntax the rest is noise. */
const MAX_SYNTAX_FINDINGS = 20;
/** Problems that are told at once; a file with more is not a slip, and to place each costs time. */
const MAX_FINDINGS = 100;
const MAX_MESSAGE = 400;

/** The configuration in `text`, or every problem in it, in the order of the file. Never throws. `file` is used in messages only. */
export function parseConfig(text: string, file: string): Parsed {
  const read = parseAs(configSchema, text, file);
  return read.ok ? { ok: true, config: read.value, placeOf: read.placeOf } : read;
}

type ParsedAs<T> =
  | { readonly ok: true; readonly value: T; readonly placeOf: (path: ConfigPath) => Place }
  | { readonly ok: false; readonly problems: readonly Problem[] };

function parseAs<S extends z.ZodType>(schema: S, text: string, file: string): ParsedAs<z.output<S>> {
  const place = placesOf(text);
  const refuse = (found: readonly (readonly [number, string])[]) => ({
    ok: false as const,
    problems: [...found]
      .sort(([a], [b]) => a - b)
      .slice(0, MAX_FINDINGS)
      .map(([offset, message]) => ({ file, ...place(offset), message: oneLine(message) })),
  });
  if (text.length > MAX_BYTES) return refuse([[0, `the file is longer than ${MAX_BYTES} characters`]]);

  const read = plainOf(text, place);
  if (!read.ok) return refuse(read.found);
  const { document, value } = read;
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) {
    return { ok: true, value: result.data, placeOf: (path) => place(offsetOf(document, path, false)) };
  }
  return refuse(
    findingsOf(schema, result.error.issues, MAX_FINDINGS).map((finding) => [
      offsetOf(document, finding.path, finding.onKey),
      finding.message,
    ]),
  );
}

/**
 * The configuration in `file`, with every secret it names read and ready. Relative paths in it start at the working directory.
 * Throws AppError SPLIT_CONFIG_UNREADABLE, or SPLIT_CONFIG_INVALID with one line per problem, each starting with `file:line:column`.
 */
export async function loadConfig(file: string, env: Environment): Promise<Loaded> {
  const parsed = await readConfig(file);

  const secrets: { readonly source: SecretSource; readonly secret: Secret }[] = [];
  const problems: Problem[] = [];
  const tokens = new Set<string>();
  for (const { path, source, kind } of secretSourcesOf(parsed.config)) {
    const found = await readSecret(source, env, kind);
    if (!found.ok) problems.push({ file, ...parsed.placeOf(path), message: found.message });
    else if (kind === "token" && tokens.has(found.secret.reveal())) {
      const message = "this token is another one's too: the journal could not tell whose call it was";
      problems.push({ file, ...parsed.placeOf(path), message });
    } else {
      secrets.push({ source, secret: found.secret });
      if (kind === "token") tokens.add(found.secret.reveal());
    }
  }
  if (problems.length > 0) throw invalid(problems);
  return {
    config: parsed.config,
    bytes: parsed.bytes,
    secretOf: (source) => {
      const found = secrets.find((each) => isDeepStrictEqual(each.source, source));
      if (found === undefined)
        throw new AppError("SPLIT_INTERNAL", "a secret that the configuration does not name");
      return found.secret;
    },
  };
}

/** The configuration in `file`, its secrets not looked at. Throws as `loadConfig` does. */
export async function readConfig(
  file: string,
): Promise<Extract<Parsed, { ok: true }> & Pick<Loaded, "bytes">> {
  const bytes = await bytesOf(file);
  const parsed = parseConfig(decoded(bytes, file), file);
  if (!parsed.ok) throw invalid(parsed.problems);
  return { ...parsed, bytes };
}

/** The plan in `file`, a YAML file with nothing else in it. Throws as `loadConfig` does. */
export function readPlan(file: string): Promise<PlanConfig> {
  return readAs(planSchema, file);
}

/** What `schema` makes of a file of YAML or JSON. Throws as `loadConfig` does. */
export async function readAs<S extends z.ZodType>(schema: S, file: string): Promise<z.output<S>> {
  const parsed = parseAs(schema, decoded(await bytesOf(file), file), file);
  if (!parsed.ok) throw invalid(parsed.problems);
  return parsed.value;
}

/** The configuration as it could have been written, every default in place; plain JSON. Secrets are their sources. */
export function effective(config: Config): z.input<typeof configSchema> {
  return z.encode(configSchema, config);
}

/** `effective(config)` as YAML that `parseConfig` reads back to the same configuration. */
export function effectiveYaml(config: Config): string {
  return stringify(effective(config), { lineWidth: 110, aliasDuplicateObjects: false });
}

/** The refusal with its problems: one line each, and as data in `details.problems`. */
function invalid(problems: readonly Problem[]): AppError {
  const lines = problems.map((each) => `${each.file}:${each.line}:${each.column}: ${each.message}`);
  return new AppError("SPLIT_CONFIG_INVALID", lines.join("\n"), { details: { problems } });
}

async function bytesOf(file: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (error) {
    throw new AppError("SPLIT_CONFIG_UNREADABLE", `cannot read ${file}: ${causeOf(error, UNREAD)}`, {
      cause: error,
    });
  }
}

/** The bytes as text; throws SPLIT_CONFIG_INVALID that points at the first line that is not UTF-8. */
function decoded(raw: Buffer, file: string): string {
  const utf8 = new TextDecoder("utf-8", { fatal: true });
  try {
    return utf8.decode(raw);
  } catch {
    let line = 1;
    let start = 0;
    for (let end = raw.indexOf(10); end >= 0; end = raw.indexOf(10, start)) {
      if (!isUtf8(raw.subarray(start, end))) break;
      line += 1;
      start = end + 1;
    }
    throw invalid([{ file, line, column: 1, message: "this line is not UTF-8 text" }]);
  }
}

function isUtf8(raw: Buffer): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(raw);
    return true;
  } catch {
    return false;
  }
}

/**
 * Where an offset of `text` is: line and column, from 1. Counted here: the parser's own counter loses lines once it has met an error, and pointed
 * at lines far above the slip.
 */
function placesOf(text: string): (offset: number) => Place {
  const starts = [0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return (offset) => {
    const within = Math.min(Math.max(offset, 0), text.length);
    let low = 0;
    let high = starts.length - 1;
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if ((starts[middle] ?? 0) <= within) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: within - (starts[low] ?? 0) + 1 };
  };
}

/** A message that stays in its line, whatever a key in it is called: it goes to terminals and logs. */
function oneLine(message: string): string {
  const plain = message.replaceAll(/[\p{Cc}\p{Cf}\p{Cs}\u2028\u2029]/gu, "\ufffd");
  return plain.length > MAX_MESSAGE ? `${plain.slice(0, MAX_MESSAGE)}…` : plain;
}

type Plain =
  | { readonly ok: true; readonly document: Document; readonly value: unknown }
  | { readonly ok: false; readonly found: readonly (readonly [number, string])[] };

/** The text as plain values, together with the nodes they came from. */
function plainOf(text: string, place: (offset: number) => Place): Plain {
  try {
    const document: Document = parseDocument(text, {
      version: "1.2",
      prettyErrors: false,
      resolveKnownTags: false,
      // Looked at below: the parser's own check compares every key with every other.
      uniqueKeys: false,
      stringKeys: true,
    });
    const broken = syntaxFindings([...document.errors, ...document.warnings], place);
    const found = broken.length > 0 ? broken : oddities(document);
    if (found.length > 0) return { ok: false, found };
    if (document.contents === null || (isScalar(document.contents) && document.contents.value === null)) {
      return { ok: false, found: [[0, "the file is empty"]] };
    }
    return readPlain(document);
  } catch (error) {
    const why = error instanceof RangeError ? "it is nested too deeply" : messageOf(error);
    return { ok: false, found: [[0, `the file cannot be read as YAML: ${why}`]] };
  }
}

function readPlain(document: Document): Plain {
  try {
    return { ok: true, document, value: document.toJS({ maxAliasCount: MAX_ALIASES }) };
  } catch (error) {
    if (!(error instanceof ReferenceError)) throw error;
    return { ok: false, found: [aliasFinding(document)] };
  }
}

/** The first alias without an anchor before it; else the first alias, as the start of the multiplication. */
function aliasFinding(document: Document): readonly [number, string] {
  let found: readonly [number, string] | undefined;
  // In one walk: asking each alias where it leads is a walk each.
  const anchors = new Set<string>();
  visit(document, {
    Node: (_, node) => {
      if (!isAlias(node)) {
        if ("anchor" in node && node.anchor !== undefined) anchors.add(node.anchor);
        return undefined;
      }
      const at = node.range?.[0] ?? 0;
      if (!anchors.has(node.source)) {
        found = [at, `there is no anchor \`&${node.source}\` before this`];
        return visit.BREAK;
      }
      found ??= [at, `aliases multiply to more than ${MAX_ALIASES} uses of one anchor`];
      return undefined;
    },
  });
  return found ?? [0, "an alias cannot be followed"];
}

/** One finding per line of the text: after the first slip in a line, the parser's further complaints are about its own guesses. */
function syntaxFindings(
  errors: readonly YAMLError[],
  place: (offset: number) => Place,
): readonly (readonly [number, string])[] {
  const overflow = errors.find((each) => each.message.includes("call stack"));
  if (overflow !== undefined) return [[overflow.pos[0], "it is nested too deeply"]];
  const byLine = new Map<number, readonly [number, string]>();
  for (const each of errors) {
    const { line } = place(each.pos[0]);
    if (!byLine.has(line)) byLine.set(line, [each.pos[0], syntaxMessage(each.code, each.message)]);
  }
  return [...byLine.values()].slice(0, MAX_SYNTAX_FINDINGS);
}

function syntaxMessage(code: string, message: string): string {
  const known: Readonly<Record<string, string>> = {
    TAB_AS_INDENT: "a tab cannot indent in YAML; use spaces",
    MULTIPLE_DOCS: "only one YAML document belongs into the file; this starts another",
    TAG_RESOLVE_FAILED: "tags are not used in this file",
    NON_STRING_KEY: "a key must be text",
  };
  // Behind a colon the parser repeats what it read, which may be a secret in the wrong place.
  return known[code] ?? message.replace(/(\S): .*$/s, "$1");
}

/** What YAML allows and a configuration does not: keys twice in one mapping, and keys that JavaScript treats specially. */
function oddities(document: Document): readonly (readonly [number, string])[] {
  const found: (readonly [number, string])[] = [];
  visit(document, {
    Map: (_, map) => {
      const seen = new Set<unknown>();
      for (const { key } of map.items) {
        if (!isScalar(key)) continue;
        const at = key.range?.[0] ?? 0;
        if (seen.has(key.value)) found.push([at, `the key \`${String(key.value)}\` is there twice`]);
        if (key.value === "__proto__") found.push([at, "unknown key `__proto__`"]);
        seen.add(key.value);
      }
    },
  });
  return found;
}

/**
 * Where in the text the value of `path` begins, or, with `onKey`, its key. For a value that is not there, the innermost thing on
 * the way that is. A value behind an alias is where its anchor is.
 */
function offsetOf(document: Document, path: ConfigPath, onKey: boolean): number {
  let node = resolved(document, document.contents);
  let offset = startOf(node) ?? 0;
  for (const [index, part] of path.entries()) {
    const { key, value } = childOf(node, part);
    offset = startOf(key) ?? offset;
    if (onKey && index === path.length - 1) return offset;
    node = resolved(document, value);
    if (node === undefined) return offset;
    // Nothing written: the parser puts an empty value behind the colon or on the next line; the key is the better place.
    const isEmpty = isScalar(node) && node.value === null && node.source === "";
    if (!isEmpty) offset = startOf(node) ?? offset;
  }
  return offset;
}

function startOf(node: Node | undefined): number | undefined {
  return node?.range?.[0];
}

function childOf(
  node: Node | undefined,
  part: string | number,
): { readonly key?: Scalar; readonly value?: unknown } {
  if (isSeq(node) && typeof part === "number") return { value: node.items[part] };
  if (!isMap(node)) return {};
  for (const { key, value } of node.items) {
    if (isScalar(key) && String(key.value) === String(part)) return { key, value };
  }
  return {};
}

function resolved(document: Document, node: unknown): Node | undefined {
  if (isAlias(node)) return node.resolve(document) ?? undefined;
  return isMap(node) || isSeq(node) || isScalar(node) ? node : undefined;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? (error.message.split("\n")[0] ?? "") : String(error);
}
