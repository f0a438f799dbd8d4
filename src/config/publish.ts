/**
 * The configuration's JSON Schema (draft 2020-12), for editors, and its reference, for people: derived from `schema.ts`, written to
 * `config/schema.json` and `config/reference.md` by `npm run schema`. The input side, since that is what a person writes: units are texts
 * there, and what has a default may be left out.
 */

import { realpathSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { z } from "zod";
import { referenceOf } from "./reference.ts";
import { configSchema } from "./schema.ts";

/** The schema document as it is published, with a line end. */
export function publishedSchema(): string {
  const { $schema, ...rest } = z.toJSONSchema(configSchema, { target: "draft-2020-12", io: "input" });
  const document = {
    $schema,
    title: "Sluice configuration",
    description: "The configuration file of Sluice, an edge proxy that moves traffic from stable to canary",
    ...rest,
  };
  return `${JSON.stringify(document, null, 2)}\n`;
}

/** The reference as it is published: Markdown, with a line end. */
export function publishedReference(): string {
  return referenceOf(configSchema);
}

/** Where the schema is published. */
export const SCHEMA_FILE = fileURLToPath(new URL("../../config/schema.json", import.meta.url));
/** Where the reference is published. */
export const REFERENCE_FILE = fileURLToPath(new URL("../../config/reference.md", import.meta.url));

// Run as a program, not imported by a test.
if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  writeFileSync(SCHEMA_FILE, publishedSchema());
  writeFileSync(REFERENCE_FILE, publishedReference());
}
