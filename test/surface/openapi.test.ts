/** The OpenAPI document: whole, consistent with the table, and as agreed. */

import t from "tap";
import { openApiDocument } from "../../src/admin/openapi.ts";
import { ROWS } from "../../src/admin/routes.ts";
import { testAdmin } from "../support/control.ts";
import { golden } from "../support/golden.ts";

type Json = Readonly<Record<string, unknown>>;

/** The document as its readers see it. */
const document = JSON.parse(JSON.stringify(openApiDocument())) as Json;

/** What a path of names leads to in a JSON value; undefined when nothing. */
function at(value: unknown, path: readonly string[]): unknown {
  return path.reduce<unknown>(
    (inner, name) =>
      typeof inner === "object" && inner !== null && Object.hasOwn(inner, name)
        ? (inner as Json)[name]
        : undefined,
    value,
  );
}

/** Every value of a key, anywhere. */
function allOf(value: unknown, key: string): readonly unknown[] {
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, inner]) => [
    ...(name === key ? [inner] : []),
    ...allOf(inner, key),
  ]);
}

t.test("every reference leads somewhere and every component is referred to", async (t) => {
  const references = new Set(allOf(document, "$ref"));
  t.ok(references.size >= 15, `looked at ${references.size}`);
  for (const reference of references) {
    t.match(reference, /^#\/components\/schemas\/\w+$/);
    t.not(at(document, String(reference).slice(2).split("/")), undefined, String(reference));
  }
  const components = Object.keys(at(document, ["components", "schemas"]) as Json);
  const named = components.filter((name) => !references.has(`#/components/schemas/${name}`));
  t.same(named, []);
  // A field may be called so; what is gone are the names of schemas.
  const ids = allOf(document, "id").filter((each) => typeof each === "string");
  t.same([allOf(document, "$defs"), allOf(document, "$schema"), ids], [[], [], []]);
});

t.test(
  "every row is an operation with its scope, parameters, body and answers, and there is no other",
  async (t) => {
    t.match(document, { openapi: /^3\.1\./, info: { title: String, version: /^\d+\.\d+\.\d+$/ } });
    let found = 0;
    for (const [name, row] of ROWS) {
      const operation = at(document, ["paths", row.path, row.method.toLowerCase()]);
      t.match(operation, { operationId: name, summary: row.summary }, name);
      found++;
      t.same(at(operation, ["security"]), row.scope === "none" ? [] : [{ bearer: [row.scope] }], name);
      const parameters = at(operation, ["parameters"]) as readonly Json[];
      t.equal(
        parameters.some((each) => each["in"] === "path"),
        row.path.includes("{"),
        name,
      );
      t.equal(
        parameters.some((each) => each["name"] === "If-Match"),
        row.method !== "GET",
        name,
      );
      t.equal(at(operation, ["requestBody"]) !== undefined, row.input !== null, name);
      const responses = at(operation, ["responses"]) as Json;
      t.same(Object.keys(responses), [...row.statuses.map(String), "default"], name);
      t.not(at(responses, ["default", "content", "application/problem+json", "schema"]), undefined, name);
    }
    const paths = Object.values(at(document, ["paths"]) as Record<string, Json>);
    t.equal(paths.flatMap((each) => Object.keys(each)).length, found);
  },
);

t.test("every object of a request is closed and every field of it described", async (t) => {
  const bodies = ["SetWeight", "Start", "Why", "Promote", "Rollback", "MakeBackup", "Restore"];
  for (const name of bodies) {
    const schema = at(document, ["components", "schemas", name]);
    t.equal(at(schema, ["additionalProperties"]), false, name);
    for (const [field, each] of Object.entries(at(schema, ["properties"]) as Json)) {
      t.type(at(each, ["description"]), "string", `${name}.${field}`);
    }
  }
});

t.test("the document is served as it is and as it was agreed", async (t) => {
  const { ask } = await testAdmin(t);
  t.same((await ask("GET", "/openapi.json", { as: "nobody" })).json, document);
  const text = `${JSON.stringify(document, null, 2)}\n`;
  t.equal(text, golden("openapi.json", text));
});
