/**
 * The OpenAPI 3.1 document, derived from the table of routes. Pure.
 *
 * Schemas come from Zod as JSON Schema 2020-12, which is what OpenAPI 3.1 speaks; those with an id become components, each once. Requests
 * are described as they are sent (`io: "input"`), answers as they are received (`io: "output"`).
 */

import { z } from "zod";
import { problemSchema } from "./problem.ts";
import { ROWS } from "./routes.ts";
import type { Row } from "./row.ts";
import { routeStatusSchema, routesSchema } from "./shapes.ts";

type Json = Record<string, unknown>;

/** The document. A new object at each call. */
export function openApiDocument(): Json {
  const schemas: Json = {};
  const paths: Record<string, Json> = {};
  const problem = schemaOf(problemSchema, "output", schemas);
  for (const [operation, row] of ROWS) {
    (paths[row.path] ??= {})[row.method.toLowerCase()] = operationOf(operation, row, problem, schemas);
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "Sluice admin API",
      version: "1.0.0",
      description:
        "Weights are percent, rates are fractions, latencies are milliseconds in fields that end in Ms. Reads are GET, verbs are POST. " +
        "The ETag is the version of the recorded state; a write may carry it as If-Match. Errors are RFC 9457 with a stable `code`.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    paths,
    components: {
      schemas: Object.fromEntries(Object.entries(schemas).sort(([a], [b]) => (a < b ? -1 : 1))),
      securitySchemes: { bearer: { type: "http", scheme: "bearer" } },
    },
  };
}

function operationOf(operation: string, row: Row, problem: unknown, schemas: Json): Json {
  const answer = {
    description: "done",
    content: contentOf(row, schemas),
    ...(row.output === routeStatusSchema || row.output === routesSchema
      ? { headers: { ETag: { description: "version of the recorded state", schema: { type: "string" } } } }
      : {}),
  };
  return {
    operationId: operation,
    summary: row.summary,
    ...(row.scope === "none"
      ? { security: [] }
      : { security: [{ bearer: [row.scope] }], description: `Needs the scope \`${row.scope}\`.` }),
    parameters: parametersOf(row),
    ...(row.input === null
      ? {}
      : {
          requestBody: {
            required: !row.input.safeParse({}).success,
            content: { "application/json": { schema: schemaOf(row.input, "input", schemas) } },
          },
        }),
    responses: {
      ...Object.fromEntries(row.statuses.map((status) => [String(status), answer])),
      default: {
        description: "refused; see `code`",
        content: { "application/problem+json": { schema: problem } },
      },
    },
  };
}

function contentOf({ output, text }: Row, schemas: Json): Json {
  const plain = { schema: { type: "string" } };
  if (typeof output === "string") return { [output]: plain };
  return {
    "application/json": { schema: schemaOf(output, "output", schemas) },
    ...(text === undefined ? {} : { [text]: plain }),
  };
}

function parametersOf(row: Row): readonly Json[] {
  const parameters: Json[] = [];
  for (const [, name] of row.path.matchAll(/\{(\w+)\}/g)) {
    parameters.push({ name, in: "path", required: true, schema: { type: "string" } });
  }
  const query = jsonSchema(row.query, "input");
  for (const [name, schema] of Object.entries(query["properties"] ?? {})) {
    parameters.push({ name, in: "query", required: false, schema });
  }
  if (row.method !== "GET") {
    const text = { type: "string" };
    parameters.push(
      { name: "If-Match", in: "header", required: false, description: "the ETag decided on", schema: text },
      {
        name: "Idempotency-Key",
        in: "header",
        required: false,
        description: "the same key with the same body gets the same answer, for ten minutes",
        schema: text,
      },
    );
  }
  return parameters;
}

/** The schema for use in the document; what has an id goes into `schemas` and is referred to. */
function schemaOf(schema: z.ZodType, io: "input" | "output", schemas: Json): unknown {
  const { $schema: _, $defs, ...plain } = jsonSchema(schema, io);
  for (const [id, each] of Object.entries($defs ?? {})) schemas[id] = rewrite(each);
  const { id, ...rest } = plain;
  if (typeof id !== "string") return rewrite(rest);
  schemas[id] = rewrite(rest);
  return { $ref: `#/components/schemas/${id}` };
}

function jsonSchema(schema: z.ZodType, io: "input" | "output"): Json {
  return z.toJSONSchema(schema, { io, target: "draft-2020-12" });
}

/** References turned to the document's components; ids, which are the components' names already, left out. */
function rewrite(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(rewrite);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, inner]) => {
      if (key === "$ref" && typeof inner === "string") {
        return [[key, inner.replace("#/$defs/", "#/components/schemas/")]];
      }
      return key === "id" && typeof inner === "string" ? [] : [[key, rewrite(inner)]];
    }),
  );
}
