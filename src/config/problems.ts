/**
 * What is wrong with a configuration, said to people. Pure: the schema's findings in, sentences with the path they are about out.
 *
 * Zod reports a union as "invalid input" with one list of findings per branch. An operator wrote one of the branches, with a
 * slip; which one is found by asking which branch needs the fewest corrections, and only its findings are told.
 */

import { z } from "zod";
import { nearest } from "./spelling.ts";

/** Keys and indexes from the root of the configuration. */
export type ConfigPath = readonly (string | number)[];

/** One finding. `onKey`: it is about the key at the end of the path, not about the value behind it. */
export interface Finding {
  readonly path: ConfigPath;
  readonly onKey: boolean;
  readonly message: string;
}

type Issue = z.core.$ZodIssue;

/** A node of the JSON Schema, as far as it is read here. */
interface Shape {
  readonly properties?: Readonly<Record<string, Shape>>;
  readonly additionalProperties?: Shape | false;
  readonly items?: Shape;
  readonly anyOf?: readonly Shape[];
}

/** Of so many unknown keys of one mapping each is told; a longer list is another file altogether, and to look for what each could mean costs time. */
const MAX_UNKNOWN = 20;

/** Findings for the issues that `schema` raised, in the order of the issues: about the first `most`. */
export function findingsOf(schema: z.ZodType, issues: readonly Issue[], most: number): readonly Finding[] {
  const root = shapeOf(schema);
  return issues
    .slice(0, most)
    .flatMap((issue) => explain(issue, [], [root]))
    .slice(0, most);
}

const shapesMade = new WeakMap<z.ZodType, Shape>();

/** The JSON Schema: the one form of the schema that can be walked without knowing how Zod wraps what. Kept, since making it takes a while. */
function shapeOf(schema: z.ZodType): Shape {
  // z.toJSONSchema gives plain JSON; Shape names the parts of it that are read.
  const shape = shapesMade.get(schema) ?? (z.toJSONSchema(schema, { io: "input" }) as Shape);
  shapesMade.set(schema, shape);
  return shape;
}

function explain(issue: Issue, base: ConfigPath, shapes: readonly Shape[]): readonly Finding[] {
  const tail = issue.path.map((part) => (typeof part === "number" ? part : String(part)));
  const path = [...base, ...tail];
  const here = tail.reduce(step, shapes.flatMap(branches));
  switch (issue.code) {
    case "unrecognized_keys":
      return issue.keys.slice(0, MAX_UNKNOWN).map((key) => ({
        path: [...path, key],
        onKey: true,
        message: unknownKey(key, keysOf(here), issue.input),
      }));
    case "invalid_union":
      return explainUnion(issue, path, here);
    case "invalid_key":
      return [{ path, onKey: true, message: issue.issues.map((each) => sentence(each)).join("; ") }];
    default: {
      const isMissing =
        issue.input === undefined && (issue.code === "invalid_type" || issue.code === "invalid_value");
      return [isMissing ? missing(path) : { path, onKey: false, message: sentence(issue) }];
    }
  }
}

function missing(path: ConfigPath): Finding {
  return { path, onKey: false, message: `missing key \`${path.at(-1) ?? ""}\`` };
}

/** The shapes one part of a path further down. */
function step(shapes: readonly Shape[], part: string | number): readonly Shape[] {
  return shapes.flatMap((shape) => {
    const next =
      typeof part === "number" ? shape.items : (shape.properties?.[part] ?? shape.additionalProperties);
    return next === undefined || next === false ? [] : branches(next);
  });
}

function branches(shape: Shape): readonly Shape[] {
  return shape.anyOf === undefined ? [shape] : shape.anyOf.flatMap(branches);
}

function keysOf(shapes: readonly Shape[]): readonly string[] {
  return [...new Set(shapes.flatMap((shape) => Object.keys(shape.properties ?? {})))];
}

function unknownKey(key: string, known: readonly string[], holder: unknown): string {
  const taken = new Set(typeof holder === "object" && holder !== null ? Object.keys(holder) : []);
  // A key that is there already cannot be what was meant.
  const free = known.filter((each) => !taken.has(each));
  const meant = nearest(key, free);
  if (meant !== undefined) return `unknown key \`${key}\`, did you mean \`${meant}\`?`;
  return known.length === 0
    ? `unknown key \`${key}\``
    : `unknown key \`${key}\`; known here: ${known.join(", ")}`;
}

/** The findings of the branch that needs the fewest corrections. */
function explainUnion(
  { errors, input, message }: z.core.$ZodIssueInvalidUnion,
  path: ConfigPath,
  shapes: readonly Shape[],
): readonly Finding[] {
  if (input === undefined) return [missing(path)];
  if (errors.every((issues) => issues.some(isElsewhere))) {
    // A union may say itself what it expects, better than the sum of its branches would.
    if (message.startsWith("expected ")) return [{ path, onKey: false, message }];
    const said = errors.flatMap((issues) => issues.filter(isElsewhere).map(expectation));
    return [{ path, onKey: false, message: `expected ${[...new Set(said)].join(", or ")}; ${got(input)}` }];
  }
  const told = discriminator(errors);
  if (told !== undefined) return explain(told, path, shapes);
  const costs = errors.map(costOf);
  const best = costs.indexOf(Math.min(...costs));
  const shape = shapes.length === errors.length ? shapes[best] : undefined;
  return (errors[best] ?? []).flatMap((issue) =>
    explain(issue, path, shape === undefined ? shapes : [shape]),
  );
}

/** Whether the value is of another kind altogether than this branch. */
function isElsewhere(issue: Issue): boolean {
  return issue.path.length === 0 && (issue.code === "invalid_type" || issue.code === "invalid_value");
}

/** When every branch that knows a field refuses it for its value, that field decides the branch: one finding with all values. */
function discriminator(errors: readonly (readonly Issue[])[]): Issue | undefined {
  const first = errors[0]?.find((issue) => issue.code === "invalid_value" && issue.path.length === 1);
  if (first?.code !== "invalid_value") return undefined;
  const [field] = first.path;
  const values = new Set<(typeof first.values)[number]>();
  for (const issues of errors) {
    const found = issues.find((issue) => issue.code === "invalid_value" && issue.path[0] === field);
    if (found?.code === "invalid_value") for (const value of found.values) values.add(value);
    else if (!issues.some((issue) => isUnknown(issue, field))) return undefined;
  }
  return { ...first, values: [...values] };
}

function isUnknown(issue: Issue, key: PropertyKey | undefined): boolean {
  return issue.code === "unrecognized_keys" && issue.keys.some((each) => each === key);
}

/** How far a branch is from what was written. */
function costOf(issues: readonly Issue[]): number {
  let cost = 0;
  for (const issue of issues) {
    if (isElsewhere(issue)) cost += 1000;
    else if (issue.code === "invalid_value" && issue.path.length === 1) cost += 50;
    else if (issue.code === "unrecognized_keys") cost += 3 * issue.keys.length;
    else cost += 2;
  }
  return cost;
}

const KINDS: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a mapping",
  record: "a mapping",
};

/** What the schema expected, without "expected". */
function expectation(issue: Issue): string {
  if (issue.code === "invalid_value") return oneOf(issue.values.map((value) => JSON.stringify(value)));
  if (issue.message.startsWith("expected ")) return issue.message.slice("expected ".length);
  return issue.code === "invalid_type" ? (KINDS[issue.expected] ?? issue.expected) : issue.message;
}

/** One issue as a sentence. Texts are never repeated: what was written in the wrong place may be a secret. */
function sentence(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return `expected ${expectation(issue)}; ${got(issue.input)}`;
    case "invalid_value": {
      const meant =
        typeof issue.input === "string" ? nearest(issue.input, issue.values.map(String)) : undefined;
      return `expected ${expectation(issue)}${meant === undefined ? "" : `, did you mean "${meant}"?`}`;
    }
    case "too_small":
    case "too_big":
      return bound(issue);
    case "invalid_format":
      return issue.message.startsWith("Invalid")
        ? `not in the form expected (${issue.format})`
        : issue.message;
    default:
      return issue.message;
  }
}

function bound(issue: z.core.$ZodIssueTooSmall | z.core.$ZodIssueTooBig): string {
  const [word, limit] = issue.code === "too_small" ? ["at least", issue.minimum] : ["at most", issue.maximum];
  if (issue.origin === "string") return `must have ${word} ${limit} character${limit === 1 ? "" : "s"}`;
  if (issue.origin === "array") return `must have ${word} ${limit} entr${limit === 1 ? "y" : "ies"}`;
  return `must be ${word} ${limit}`;
}

function got(value: unknown): string {
  if (value === null) return "there is nothing here";
  if (typeof value === "number" || typeof value === "boolean") return `got ${value}`;
  if (Array.isArray(value)) return "got a list";
  return typeof value === "string" ? "got text" : "got a mapping";
}

function oneOf(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}
