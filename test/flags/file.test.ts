/** The flags file: what is refused and where, and what the older form comes to. */

import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { readFlagFile } from "../../src/config/flag-file.ts";
import { configSchema } from "../../src/config/schema.ts";
import type { FlagsConfig } from "../../src/config/flags.ts";
import { AppError } from "../../src/domain/errors.ts";
import { evaluatorOf } from "../../src/flags/evaluator.ts";
import { golden } from "../support/golden.ts";

const FOLDER = "test/golden/flags";
const plain = (file: string, more: Partial<FlagsConfig> = {}): FlagsConfig => ({
  file,
  follow: {},
  after: {},
  critical: [],
  ...more,
});

/** Why a file is refused. */
async function refusal(section: FlagsConfig): Promise<string> {
  try {
    await readFlagFile(section);
  } catch (error) {
    if (error instanceof AppError) return `${error.code}\n${error.message}\n`;
    throw error;
  }
  return "it was taken";
}

function written(text: string): string {
  const file = join(mkdtempSync(join(tmpdir(), "sluice-flags-")), "flags.json");
  writeFileSync(file, text);
  return file;
}

t.test("each thing that is wrong with a flags file is told with line and column", async (t) => {
  for (const name of ["bad", "older-bad"]) {
    const told = await refusal(plain(`${FOLDER}/${name}.json`));
    t.match(told, /^SPLIT_CONFIG_INVALID\n/);
    t.equal(told, golden(`flags/${name}.txt`, told));
  }
});

t.test("a share without its unit is refused, also in the older form (acceptance 33)", async (t) => {
  const told = await refusal(plain(`${FOLDER}/older-bad.json`));
  t.match(told, /older-bad\.json:5:80: expected a share .* a bare number has no unit/);
});

t.test("the older form keeps what a flag serves, and lets no date raise anything", async (t) => {
  const flags = await readFlagFile(plain(`${FOLDER}/older.json`));
  const { evaluate } = evaluatorOf([...flags.values()]);
  const of = (key: string, context = {}) => {
    const flag = flags.get(key);
    const found = evaluate(key, context);
    return flag?.state === "DISABLED" ? "disabled" : found.ok ? found.variant : found.code;
  };
  t.equal(of("orchestration_enabled"), "on");
  t.equal(of("emergency_shutdown"), "disabled");
  t.equal(of("set_but_false"), "off", "enabled is not the same as true there either");
  t.equal(of("phase_4_deployment", { targetingKey: "u1" }), "off", "its dates are over, its share is 0%");
  t.equal(of("beta_users", { targetingKey: "u2" }), "on");
  t.equal(of("beta_users", { targetingKey: "u3", region: "eu-west-1" }), "on");
  t.equal(of("beta_users", { targetingKey: "u3" }), "off");
  t.equal(of("beta_nobody", { targetingKey: "u3" }), "off");
  const share = Array.from({ length: 10_000 }, (_, n) => of("beta_share", { targetingKey: `user-${n}` }));
  const on = share.filter((variant) => variant === "on").length;
  t.ok(Math.abs(on - 1250) < 200, `${on} of 10000 at 12.5 %`);
  t.same(flags.get("orchestration_enabled")?.metadata, { description: "always" });
});

t.test("a file that the configuration cannot use is refused at the flag that is meant", async (t) => {
  const file = "config/flags.json";
  for (const [more, wanted] of [
    [
      { follow: { app: ["nobody"] } },
      /flags\.json:7:3: there is no flag "nobody", which flags\.follow\.app names/,
    ],
    [{ after: { app: ["nobody"] } }, /there is no flag "nobody", which flags\.after\.app names/],
    [{ critical: ["nobody"] }, /there is no flag "nobody", which flags\.critical names/],
    [
      { critical: ["new_checkout"] },
      /flags\.json:26:5: "new_checkout" must be enabled and true for everybody/,
    ],
  ] satisfies [Partial<FlagsConfig>, RegExp][])
    t.match(await refusal(plain(file, more)), wanted);
  const three =
    '{"flags": {"a": {"state": "ENABLED", "variants": {"x": 1, "y": 2, "z": 3}, "defaultVariant": "x"}}}';
  t.match(
    await refusal(plain(written(three), { follow: { app: ["a"] } })),
    /flags\.json:1:12: "a" must be boolean, or have two variants and a default, for flags\.follow\.app names it/,
  );
});

t.test(
  "a file that is none is refused with its place, a tab and a byte that is no text included",
  async (t) => {
    t.match(await refusal(plain(written(""))), /flags\.json:1:1: the file is empty/);
    t.match(await refusal(plain(written("[]"))), /flags\.json:1:1: expected a mapping with `flags`/);
    t.match(
      await refusal(plain(written('{"flags": 3, "$evaluators": []}'))),
      /1:11: expected a mapping of flags/,
    );
    t.match(await refusal(plain(written('{"flags": {'))), /SPLIT_CONFIG_INVALID\n.*flags\.json:1:/);
    t.match(await refusal(plain("/nowhere/flags.json")), /SPLIT_CONFIG_UNREADABLE/);
    const flags = await readFlagFile(
      plain(written('{\n\t"flags": {\n\t\t"a": {"state": "ENABLED", "variants": {"x": 1}}\n\t}\n}\n')),
    );
    t.same([...flags.keys()], ["a"], "JSON may be indented with tabs");
  },
);

t.test("a configuration whose flags name what there is not is refused", async (t) => {
  const routes = [
    { name: "app", stable: { endpoints: ["http://a:1"] }, canary: { endpoints: ["http://b:1"] } },
  ];
  const messages = (flags: object) =>
    configSchema
      .safeParse({ routes, flags: { file: "f", ...flags } })
      .error?.issues.map(({ path, message }) => [path.join("."), message]);
  t.same(messages({ follow: { app: ["a"] }, after: { app: ["b"] }, critical: ["c"] }), undefined);
  t.same(messages({ follow: { web: ["a"] } }), [["flags.follow.web", 'there is no route "web"']]);
  t.same(messages({ follow: { app: ["a", "a"] } }), [["flags.follow.app.1", 'the flag "a" is named twice']]);
  t.match(
    messages({ after: { app: ["a"] }, critical: ["a"] })?.[0]?.[1],
    /critical: it cannot depend on a rollout/,
  );
});

t.test("the sample of flags is what its configuration needs", async (t) => {
  const text = readFileSync("config/flags.yaml", "utf8");
  const { parseConfig } = await import("../../src/config/load.ts");
  const parsed = parseConfig(text, "config/flags.yaml");
  t.ok(parsed.ok);
  if (parsed.ok && parsed.config.flags !== undefined)
    t.equal((await readFlagFile(parsed.config.flags)).size, 5);
});
