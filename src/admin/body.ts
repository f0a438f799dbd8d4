/**
 * From bytes to input: the one way in for anything a caller says. Nothing here throws, and everything that is wrong ends as a 4xx with the
 * path of the field (reliability.md G.44).
 *
 * The depth is counted before the text is parsed and the names are looked at before the schema is asked, so that neither the stack nor an
 * object's prototype is ever in a caller's hands.
 */

import type { IncomingMessage } from "node:http";
import type { z } from "zod";
import { findingsOf } from "../config/problems.ts";

/** Bytes of a body at the most. */
export const MAX_BODY = 64 * 1024;
const MAX_DEPTH = 16;
const POISON: ReadonlySet<string> = new Set(["__proto__", "constructor", "prototype"]);

/** What became of reading a body. */
export type BodyRead =
  | { readonly kind: "read"; readonly bytes: Buffer }
  | { readonly kind: "too_large" }
  /** The client left inside its body. */
  | { readonly kind: "gone" };

/** The body of `request`, or that it is longer than MAX_BODY; what is beyond that is not read. Never rejects. */
export function readBody(request: IncomingMessage): Promise<BodyRead> {
  // Framing was checked by the parser: a Content-Length that arrives here is one number.
  if (Number(request.headers["content-length"] ?? 0) > MAX_BODY)
    return Promise.resolve({ kind: "too_large" });
  return new Promise((resolve) => {
    const parts: Buffer[] = [];
    let length = 0;
    const done = (read: BodyRead): void => {
      request.off("data", onData);
      resolve(read);
    };
    const onData = (part: Buffer): void => {
      length += part.length;
      if (length > MAX_BODY) {
        request.pause();
        done({ kind: "too_large" });
      } else parts.push(part);
    };
    request.on("data", onData);
    request.once("end", () => done({ kind: "read", bytes: Buffer.concat(parts) }));
    request.once("error", () => done({ kind: "gone" }));
    request.once("close", () => done({ kind: "gone" }));
  });
}

/** A value, or what is wrong with it; `field` is a dotted path, empty for the whole. */
export type Input<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly field: string; readonly message: string };

/** The JSON value in `bytes`. No bytes are the empty object. */
export function parseJson(bytes: Buffer): Input<unknown> {
  if (bytes.length === 0) return { ok: true, value: {} };
  let text: string;
  let value: unknown;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    if (depthOf(text) > MAX_DEPTH) return wrong("", `the body is nested deeper than ${MAX_DEPTH}`);
    value = JSON.parse(text);
  } catch {
    return wrong("", "the body is not JSON in UTF-8");
  }
  const poison = poisonIn(value, []);
  return poison === undefined ? { ok: true, value } : wrong(poison, "this name is not allowed in a body");
}

/** The parameters of a query as an object of texts; a name that comes twice is refused. */
export function parseQuery(query: string): Input<unknown> {
  const found = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) {
    if (POISON.has(name)) return wrong(name, "this name is not allowed in a query");
    if (found.has(name)) return wrong(shown(name), "this parameter is there twice");
    found.set(name, value);
  }
  return { ok: true, value: Object.fromEntries(found) };
}

/** `value` as `schema` reads it, or the first thing that is wrong with it. */
export function checkInput<T>(schema: z.ZodType<T>, value: unknown): Input<T> {
  const result = schema.safeParse(value, { reportInput: true });
  if (result.success) return { ok: true, value: result.data };
  const [first] = findingsOf(schema, result.error.issues, 1);
  if (first === undefined) return wrong("", "the input is not of the form expected");
  const message = first.message.length > 300 ? `${first.message.slice(0, 300)}…` : first.message;
  return wrong(first.path.map((part) => shown(String(part))).join("."), message);
}

function wrong(field: string, message: string): { ok: false; field: string; message: string } {
  return { ok: false, field, message };
}

function shown(name: string): string {
  return name.length > 64 ? `${name.slice(0, 64)}…` : name;
}

/** How deep a JSON text nests; counted without parsing it. */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  let isText = false;
  for (let i = 0; i < text.length; i++) {
    const char = text[i];
    if (isText) {
      if (char === "\\") i++;
      else if (char === '"') isText = false;
    } else if (char === '"') isText = true;
    else if (char === "{" || char === "[") deepest = Math.max(deepest, ++depth);
    else if (char === "}" || char === "]") depth--;
  }
  return deepest;
}

/** The dotted path of the first name that could reach a prototype. The depth is bounded already. */
function poisonIn(value: unknown, path: readonly string[]): string | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  for (const [name, inner] of Object.entries(value)) {
    if (POISON.has(name)) return [...path, name].join(".");
    const found = poisonIn(inner, [...path, shown(name)]);
    if (found !== undefined) return found;
  }
  return undefined;
}
