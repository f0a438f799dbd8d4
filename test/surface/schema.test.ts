import { readFileSync } from "node:fs";
import t from "tap";
import {
  publishedReference,
  publishedSchema,
  REFERENCE_FILE,
  SCHEMA_FILE,
} from "../../src/config/publish.ts";
import { golden } from "../support/golden.ts";

const text = publishedSchema();

t.test("the published schema is the one that the program checks by", async (t) => {
  t.equal(readFileSync(SCHEMA_FILE, "utf8"), text, "stale: run `npm run schema`");
});

t.test("the configuration's surface is as last agreed to", async (t) => {
  t.equal(text, golden("config-schema.json", text));
});

t.test("every property says what it is for, and every object refuses what it does not know", async (t) => {
  const silent: string[] = [];
  const open: string[] = [];
  let properties = 0;
  function walk(node: unknown, at: string): void {
    if (typeof node !== "object" || node === null) return;
    const { properties: shape, type, additionalProperties } = node as Record<string, unknown>;
    if (type === "object" && additionalProperties === undefined) open.push(at);
    if (type === "object" && typeof shape === "object" && shape !== null) {
      for (const [name, each] of Object.entries(shape)) {
        properties += 1;
        if (typeof each.description !== "string" || each.description === "") silent.push(`${at}/${name}`);
      }
    }
    for (const [name, each] of Object.entries(node)) if (name !== "default") walk(each, `${at}/${name}`);
  }
  const document: unknown = JSON.parse(text);
  walk(document, "");
  t.same(silent, []);
  t.same(open, []);
  t.ok(properties > 80, `${properties} properties were looked at`);
  t.match(document, { $schema: "https://json-schema.org/draft/2020-12/schema" });
});

t.test("the published reference is the one that the schema gives", async (t) => {
  t.equal(readFileSync(REFERENCE_FILE, "utf8"), publishedReference(), "stale: run `npm run schema`");
});

t.test("the reference has every field with its description, and no link of it is dead", async (t) => {
  // Escapes and code marks aside, the words are those of the schema.
  const plain = (markdown: string): string => markdown.replaceAll(/[\\`]/g, "");
  const rows = publishedReference()
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .map((line) => plain(line).split(/ *\| */));
  const missing: string[] = [];
  let fields = 0;
  function walk(node: unknown, at: string): void {
    if (typeof node !== "object" || node === null) return;
    const { properties } = node as Record<string, unknown>;
    if (typeof properties === "object" && properties !== null) {
      for (const [name, each] of Object.entries(properties)) {
        fields += 1;
        const description = plain(String(each.description));
        if (!rows.some((row) => row[1] === name && row[4]?.startsWith(description) === true))
          missing.push(`${at}/${name}`);
      }
    }
    for (const [name, each] of Object.entries(node)) if (name !== "default") walk(each, `${at}/${name}`);
  }
  walk(JSON.parse(text), "");
  t.same(missing, []);
  t.ok(fields > 80, `${fields} fields were looked at`);

  const headings = [...publishedReference().matchAll(/^## (.+)$/gm)].map(([, title = ""]) =>
    title
      .toLowerCase()
      .replaceAll(" ", "-")
      .replaceAll(/[^a-z0-9_-]/g, ""),
  );
  t.equal(new Set(headings).size, headings.length, "no two sections share an anchor");
  const links = [...publishedReference().matchAll(/\]\(#([^)]*)\)/g)].map(([, anchor]) => anchor ?? "");
  t.ok(links.length > 20, `${links.length} links were looked at`);
  t.same(
    links.filter((anchor) => !headings.includes(anchor)),
    [],
  );
});

t.test("the reference has no empty cell", async (t) => {
  const empty = publishedReference()
    .split("\n")
    .filter((line) => /^\|.*\| +\|/.test(line));
  t.same(empty, []);
});
