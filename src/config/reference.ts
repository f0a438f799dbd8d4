/**
 * The configuration reference for people, as Markdown: derived from `schema.ts`, like the JSON Schema, so that neither can say
 * something else than the program checks. Pure: the same schema gives the same text.
 *
 * One section for each kind of object, not for each place: both arms share one, and so do all secrets. What a text must look like is said
 * in the words of the error message that refuses it, which the schema is asked for. Tables are padded as prettier pads them.
 */

import { z } from "zod";
import { address, cidr, endpoint, keySource, name } from "./texts.ts";
import { duration, rate, size } from "./units.ts";

const OPENING = `# Configuration reference

Generated from \`src/config/schema.ts\` by \`npm run schema\`; change it there. A path such as \`routes[].stable\` says where a section
stands in the file: \`[]\` is each element of a list, \`NAME\` a name of your choice. Every default is written as it could be in the file.
`;

/** As much of a JSON Schema as the configuration's uses. */
interface Node {
  readonly description?: string;
  readonly type?: string;
  readonly default?: unknown;
  readonly examples?: readonly unknown[];
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Node[];
  readonly items?: Node;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly additionalProperties?: Node | boolean;
  readonly required?: readonly string[];
  readonly minItems?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxLength?: number;
  /** Not JSON Schema: what a text must look like, in the words of its error message. */
  readonly expected?: string;
  /** Not JSON Schema: what else a duration must keep to. */
  readonly bounds?: string;
}

/** A kind of object, or of several that stand for each other. */
interface Section {
  /** Where it stands first: the shortest of its places. */
  readonly title: string;
  readonly places: readonly Place[];
  readonly alternatives: readonly Node[];
}
interface Place {
  readonly path: string;
  readonly description: string;
  readonly alternatives: readonly Node[];
}

/** The texts that have a word of their own; the last section explains them. */
const WORDS = { address, duration, endpoint, "key source": keySource, name, network: cidr, rate, size };

/** No text of the configuration with a form looks like this. */
const SHAPELESS = "\n";

const complaints = (schema: z.core.$ZodType, text: string): readonly string[] =>
  z.safeParse(schema, text).error?.issues.map(({ message }) => message) ?? [];

/** What a text must be according to its error message, with quoted texts as code; undefined: any text will do. */
function expectation(schema: z.core.$ZodType): string | undefined {
  // The first is about the form; a later one may be about a part of it.
  const [message = ""] = complaints(schema, SHAPELESS);
  return message.startsWith("expected ")
    ? message.slice("expected ".length).replaceAll(/"([^"]+)"/g, "`$1`")
    : undefined;
}

/** What a duration must be beyond its form, by the last, and so the closest, complaint about none at all and about far too much. */
function boundsOf(schema: z.core.$ZodType): string | undefined {
  const bounds = new Set(["0s", "9999d"].flatMap((extreme) => complaints(schema, extreme).slice(-1)));
  return bounds.size === 0 ? undefined : [...bounds].map((each) => each.replace(/^must be /, "")).join(", ");
}

const WORD_OF = new Map(Object.entries(WORDS).map(([word, schema]) => [expectation(schema), word]));

/**
 * The reference to a configuration schema, ending in a line end.
 *
 * @param schema the schema of the whole file; its root is an object
 */
export function referenceOf(schema: z.ZodType): string {
  const document = z.toJSONSchema(schema, {
    target: "draft-2020-12",
    io: "input",
    override: ({ zodSchema, jsonSchema }) => {
      if (jsonSchema.type !== "string" || jsonSchema.enum !== undefined || jsonSchema.const !== undefined)
        return;
      jsonSchema["expected"] ??= expectation(zodSchema);
      if (jsonSchema["expected"] === expectation(duration)) jsonSchema["bounds"] = boundsOf(zodSchema);
    },
  });
  // The interface is the part of JSON Schema that is read here, each field of it optional.
  const sections = sectionsOf(document as Node);
  const anchors = new Map(
    sections.flatMap(({ title, places }) => places.map(({ path }) => [path, anchorOf(title)])),
  );
  const parts = sections.map((section) => renderSection(section, anchors));
  return [OPENING, ...parts, forms()].join("\n");
}

/** Every section once, in the order of the file. */
function sectionsOf(document: Node): readonly Section[] {
  const places = placesIn(document, "");
  const groups = new Map<string, Place[]>();
  for (const place of places) {
    const kind = JSON.stringify(place.alternatives.map(({ properties, required }) => [properties, required]));
    groups.set(kind, [...(groups.get(kind) ?? []), place]);
  }
  const firsts = [...groups.values()].map((group) => {
    const first = group.reduce((best, each) => (each.path.length < best.path.length ? each : best));
    return { first, group };
  });
  return firsts
    .sort((a, b) => places.indexOf(a.first) - places.indexOf(b.first))
    .map(({ first, group }) => ({ title: first.path, places: group, alternatives: first.alternatives }));
}

/** The places of objects at and below a node, each before those within it. */
function placesIn(node: Node, path: string): readonly Place[] {
  const choices = node.anyOf ?? [node];
  const alternatives = choices.filter(({ properties }) => properties !== undefined);
  const here = alternatives.length > 0 ? [{ path, description: node.description ?? "", alternatives }] : [];
  const below = choices.flatMap((choice) => [
    ...Object.entries(choice.properties ?? {}).flatMap(([field, each]) => placesIn(each, join(path, field))),
    ...(choice.items === undefined ? [] : placesIn(inherit(choice.items, node), `${path}[]`)),
    ...(typeof choice.additionalProperties === "object"
      ? placesIn(inherit(choice.additionalProperties, node), join(path, "NAME"))
      : []),
  ]);
  return [...here, ...below];
}

const join = (path: string, field: string): string => (path === "" ? field : `${path}.${field}`);

/** An element that does not say what it is for is what its list is for. */
const inherit = (node: Node, from: Node): Node => ({ description: from.description ?? "", ...node });

/** The anchor that GitHub and others give to a heading. */
const anchorOf = (title: string): string =>
  title === "" ? "top-level" : title.toLowerCase().replaceAll(/[^a-z0-9_-]/g, "");

function renderSection(
  { title, places, alternatives }: Section,
  anchors: ReadonlyMap<string, string>,
): string {
  const lines = [title === "" ? "## Top level" : `## \`${title}\``, ""];
  const [place, ...others] = places;
  if (others.length > 0)
    lines.push(...places.map(({ path, description }) => `- \`${path}\`: ${prose(description)}`), "");
  else if (place !== undefined && place.description !== "")
    lines.push(`${capital(prose(place.description))}.`, "");
  for (const alternative of alternatives) {
    if (alternatives.length > 1) lines.push(`With ${markOf(alternative)}:`, "");
    const fields = Object.entries(alternative.properties ?? {});
    const rows = fields.map(([field, node]) => [
      `\`${field}\``,
      formOf(node, { path: join(title, field), anchors }),
      defaultOf(node, alternative.required?.includes(field) === true),
      purposeOf(node),
    ]);
    lines.push(...table(["field", "form", "default", "what it is"], rows), "");
    lines.push(...fields.flatMap(([field, node]) => longDefault(field, node)));
  }
  return lines.join("\n");
}

/** What tells one alternative from the others: its first required field, with the values that it may have. */
function markOf({ properties = {}, required = [] }: Node): string {
  const [field = ""] = required;
  const { const: only, enum: several } = properties[field] ?? {};
  const values = several ?? (only === undefined ? [] : [only]);
  return values.length === 0 ? `\`${field}\`` : either(values.map((value) => code({ [field]: value })));
}

interface Where {
  readonly path: string;
  readonly anchors: ReadonlyMap<string, string>;
  /** As the elements of a list are spoken of. */
  readonly many?: boolean;
}

/** What may be written for a field, in words. */
function formOf(node: Node, where: Where): string {
  if (node.anyOf !== undefined) {
    // Several alternatives that are objects are one section.
    return either([...new Set(node.anyOf.map((each) => formOf(each, where)))]);
  }
  if (node.const !== undefined) return code(node.const);
  if (node.enum !== undefined) return either(node.enum.map(code));
  if (node.items !== undefined) {
    const each = formOf(node.items, { ...where, path: `${where.path}[]`, many: true });
    return `list of ${each}${(node.minItems ?? 0) > 0 ? ", not empty" : ""}`;
  }
  if (typeof node.additionalProperties === "object") {
    const each = formOf(node.additionalProperties, { ...where, path: join(where.path, "NAME"), many: true });
    return `${each} by name`;
  }
  const s = where.many === true ? "s" : "";
  if (node.properties !== undefined) return `[section${s}](#${where.anchors.get(where.path) ?? ""})`;
  if (node.type === "boolean") return either([true, false].map(code));
  if (node.type === "integer") return `whole number${s}${rangeOf(node)}`;
  return textForm(node, s);
}

function textForm({ expected, bounds, maxLength }: Node, s: string): string {
  if (expected === undefined)
    return `text${s}${maxLength === undefined ? "" : ` of at most ${String(maxLength)} characters`}`;
  const word = WORD_OF.get(expected);
  return `${word === undefined ? prose(expected) : word + s}${bounds === undefined ? "" : `, ${bounds}`}`;
}

const rangeOf = ({ minimum, maximum }: Node): string =>
  `${minimum === undefined ? "" : ` from ${String(minimum)}`}${maximum === undefined ? "" : ` to ${String(maximum)}`}`;

function purposeOf({ description = "", examples = [] }: Node): string {
  return [prose(description), ...examples.map((each) => `example: ${code(each)}`)].join("; ");
}

function defaultOf(node: Node, required: boolean): string {
  if (required) return "required";
  if (node.default === undefined) return "–";
  if (isLong(node.default)) return "see below";
  const takesSection = (node.anyOf ?? [node]).some(({ properties }) => properties !== undefined);
  return takesSection && flow(node.default) === "{}" ? "its defaults" : code(node.default);
}

/** A list of objects is too wide for a column. */
const isLong = (value: unknown): value is readonly unknown[] =>
  Array.isArray(value) && flow(value).length > 60;

function longDefault(field: string, { default: value }: Node): readonly string[] {
  if (!isLong(value)) return [];
  const elements = value.map((each) => `  - ${flow(each)}`);
  return [`The default of \`${field}\`:`, "", "```yaml", `${field}:`, ...elements, "```", ""];
}

/** The explanation of the words that stand in the columns above. */
function forms(): string {
  const rows = Object.entries(WORDS).map(([word, schema]) => [word, prose(expectation(schema) ?? "")]);
  return ["## Forms", "", ...table(["form", "what it is"], rows), ""].join("\n");
}

const MEANS_ANOTHER = /^([\d.]+(e\d+)?|0[ox][\da-f]+|true|false|null)$/i;

/** A value as YAML in one line. */
function flow(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(flow).join(", ")}]`;
  if (typeof value === "object" && value !== null) {
    const fields = Object.entries(value).map(([field, each]) => `${field}: ${flow(each)}`);
    return fields.length === 0 ? "{}" : `{ ${fields.join(", ")} }`;
  }
  const text = String(value);
  // A text that YAML would read as something else stands in quotes.
  const isPlain =
    /^[A-Za-z0-9./]([^\s,[\]{}#"'&*!|>]*[^\s,[\]{}#"'&*!|>:])?$/.test(text) && !MEANS_ANOTHER.test(text);
  return typeof value === "string" && !isPlain ? JSON.stringify(text) : text;
}

function code(value: unknown): string {
  const text = flow(value);
  // One field stands without its braces, as in the file.
  return `\`${text.replace(/^\{ ([^,{}]+) \}$/, "$1")}\``;
}

/** `a`, `b` or `c`. */
const either = (texts: readonly string[]): string =>
  texts.length < 2 ? texts.join("") : `${texts.slice(0, -1).join(", ")} or ${texts.at(-1) ?? ""}`;

const capital = (text: string): string => text.slice(0, 1).toUpperCase() + text.slice(1);

/** Text in which nothing is markup but `code`: what stands outside is escaped. */
const prose = (text: string): string =>
  text
    .split(/(`[^`]*`)/)
    .map((part, index) => (index % 2 === 1 ? part : part.replaceAll(/[*_<[\]]/g, String.raw`\$&`)))
    .join("");

/** A table whose columns are as wide as their widest cell. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll("|", String.raw`\|`)));
  const widths = head.map((_, column) => Math.max(3, ...cells.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`;
  const [top = [], ...others] = cells;
  return [line(top), line(widths.map((width) => "-".repeat(width))), ...others.map(line)];
}
