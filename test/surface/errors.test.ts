import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { format } from "prettier";
import t from "tap";
import { CODES } from "../../src/domain/errors.ts";

const README = fileURLToPath(new URL("../../README.md", import.meta.url));
const BLOCK = /(<!-- codes: [^\n]*-->\n)([\s\S]*?)(<!-- \/codes -->)/;

/** The table of codes as it stands in the README, formatted as everything is. */
async function table(): Promise<string> {
  const rows = Object.entries(CODES).map(
    ([code, row]) =>
      `| \`${code}\` | ${String(row.status)} | ${String(row.exit)} | ${row.retryable ? "yes" : "no"} | ${row.source} | ${row.remedy} |`,
  );
  const head = [
    "| code | HTTP | exit | may work later | whose | what to do |",
    "| --- | --- | --- | --- | --- | --- |",
  ];
  return format([...head, ...rows].join("\n"), { parser: "markdown", printWidth: 110 });
}

t.test("the README's list of error codes is the table in the code, row by row", async (t) => {
  const text = readFileSync(README, "utf8");
  t.match(text, BLOCK, "there is a place for it");
  const wanted = `\n${await table()}\n`;
  if ((process.env["UPDATE_GOLDEN"] ?? "") !== "") {
    writeFileSync(
      README,
      text.replace(BLOCK, (_all, open: string, _old: string, close: string) => `${open}${wanted}${close}`),
    );
  }
  const found = BLOCK.exec(readFileSync(README, "utf8"))?.[2];
  t.equal(found, wanted, "UPDATE_GOLDEN=1 agrees to a change");
  t.ok(Object.keys(CODES).length >= 20, "it looked at something");
});

t.test(
  "every code has the product's prefix, an HTTP error status, a known exit code and a sentence of advice",
  async (t) => {
    for (const [code, row] of Object.entries(CODES)) {
      t.match(code, /^SPLIT(?:_[A-Z]+)+$/, code);
      t.ok(row.status >= 400 && row.status <= 599, `${code} ${String(row.status)}`);
      t.ok([1, 2, 4, 5, 124].includes(row.exit), `${code} ${String(row.exit)}`);
      t.match(row.remedy, /^[A-Z].*\.$/, `${code} ${row.remedy}`);
    }
  },
);
