/** Every command and every configuration in the documents: spelt as the program takes it, and run where nothing else is needed for it. */

import { readdirSync, readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { parseAllDocuments } from "yaml";
import { z } from "zod";
import { findRow } from "../../src/admin/find.ts";
import { configSchema } from "../../src/config/schema.ts";
import { sluice } from "../support/cli.ts";
import { command, service } from "../support/program.ts";

t.setTimeout(110_000);

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const PAGES = readdirSync(join(ROOT, "src/docs")).map((name) => `src/docs/${name}`);

interface Block {
  readonly where: string;
  /** After the language: `run`, `five`, `foreign`, or nothing. */
  readonly mark: string;
  readonly language: string;
  readonly text: string;
}

/** Every fenced block of the documents. */
const blocks: readonly Block[] = ["README.md", "SECURITY.md", "bench/README.md", ...PAGES].flatMap((page) => {
  const text = readFileSync(join(ROOT, page), "utf8");
  return [...text.matchAll(/^```([a-z]*)(?: ([a-z]+))?\n(.*?)^```$/gms)].map(
    ([, language = "", mark = "", inner = ""]) => ({ where: page, language, mark, text: inner }),
  );
});

/** The words of a command as a shell would take them. */
function wordsOf(line: string): readonly string[] {
  return [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
    ([, double, single, bare]) => double ?? single ?? bare ?? "",
  );
}

/** Every `sluice ...` of a block, each as its words without the program's own. */
function commandsOf({ text, language }: Block): readonly (readonly string[])[] {
  const whole = text.replaceAll(/\\\n\s*/g, " ");
  const lines = language === "sh" ? whole.split("\n") : (whole.match(/^\$ .*$/gm) ?? []);
  return lines
    .map((line) => line.replace(/^\$ /, "").replace(/(^|\s)#.*$/, ""))
    .flatMap((line) => line.split(/;|\||&&/))
    .map((line) => wordsOf(line.trim().replace(/^npm run -s sluice -- /, "sluice ")))
    .filter(([program]) => program === "sluice")
    .map(([, ...words]) => words);
}

const typed = blocks.flatMap((block) => commandsOf(block).map((words) => ({ ...block, words })));

t.test("each command in a document is one that there is, with options that it has", async (t) => {
  t.ok(typed.length >= 35, `looked at ${typed.length}`);
  for (const { where, words } of typed) {
    const options = words.filter((word) => word.startsWith("--") || /^-[a-z]$/.test(word));
    // A command of commands takes the next word as well.
    let help = await sluice([words[0] ?? "", "--help"]);
    if (/^Commands:$/m.test(help.out)) help = await sluice([words[0] ?? "", words[1] ?? "", "--help"]);
    const line = `${where}: sluice ${words.join(" ")}`;
    t.equal(help.code, 0, line);
    for (const option of options)
      t.match(help.out, new RegExp(`^  .*${option}[ ,\n]`, "m"), `${line}: ${option}`);
  }
});

t.test("each call of the admin API in a document is one that there is", (t) => {
  const calls = blocks
    .flatMap(({ text }) => text.replaceAll(/\\\n\s*/g, " ").match(/^curl .*$/gm) ?? [])
    .filter((line) => line.includes(":9900/"));
  t.ok(calls.length >= 3, `looked at ${calls.length}`);
  for (const line of calls) {
    const [, path = ""] = /:9900(\/\S*)/.exec(line) ?? [];
    t.equal(findRow(line.includes(" -d ") ? "POST" : "GET", path).kind, "row", line);
  }
  t.end();
});

const ARMS = {
  stable: { endpoints: ["http://10.0.0.1:8080"] },
  canary: { endpoints: ["http://10.0.0.2:8080"] },
};
const TOP = new Set(Object.keys(configSchema.shape));

/** A part of a configuration put into a whole one: of the top level, of a route, or an element of its plan. */
function wholeOf(part: object): unknown {
  const isTop = Object.keys(part).every((key) => TOP.has(key));
  if ("routes" in part) return part;
  return isTop
    ? { routes: [{ name: "app", ...ARMS }], ...part }
    : { routes: [{ name: "app", ...ARMS, ...part }] };
}

t.test("each configuration in a document is one, whole or as the part that it is", (t) => {
  const written = blocks.filter(({ language }) => language === "yaml");
  t.ok(written.length >= 10, `looked at ${written.length}`);
  for (const { where, mark, text } of written) {
    for (const document of parseAllDocuments(text)) {
      t.same(document.errors, [], `${where}: ${text}`);
      if (mark === "foreign") continue;
      const part = z.record(z.string(), z.unknown()).parse(document.toJS({ maxAliasCount: 100 }));
      const parsed = configSchema.safeParse(wholeOf(part));
      t.ok(parsed.success, `${where}: ${parsed.error?.message ?? ""}\n${text}`);
    }
  }
  t.end();
});

t.test("what is marked as run is run, and ends as its page says", async (t) => {
  const runs = typed.filter(({ mark }) => mark === "run");
  t.ok(runs.length >= 2, `looked at ${runs.length}`);
  const exits: Readonly<Record<string, number>> = { plan: 3, backtest: 1 };
  for (const { words } of runs) {
    const run = await sluice(words.map((word) => word.replace(/^config\//, `${ROOT}config/`)));
    t.equal(run.code, exits[words[0] ?? ""] ?? 0, `${words.join(" ")}: ${run.err}`);
    t.ok(run.out.length > 0);
  }
});

t.test("a real service in five minutes: each step of the README, in its order", async (t) => {
  const five = blocks.filter(({ mark }) => mark === "five");
  const [stable, canary] = [await service("stable"), await service("canary")];
  const folder = await mkdtemp(join(tmpdir(), "sluice-readme-"));
  const [written] = five;
  const text = (written?.text ?? "")
    .replace("http://127.0.0.1:9001", stable.url)
    .replace("http://127.0.0.1:9002", canary.url)
    .replace("127.0.0.1:8080", "127.0.0.1:0");
  // What the reader has for himself: the usual port of the admin API, and a folder to work in.
  const mine = `${text}admin: { address: "unix:${join(folder, "admin.sock")}" }\nstate: "file:${join(folder, "state")}"\n`;
  await writeFile(
    join(folder, "sluice.yaml"),
    `${mine}reports: ${folder}/reports\nbackups: { folder: ${folder}/backups }\n`,
  );
  const file = ["-c", join(folder, "sluice.yaml")];
  const steps = five.flatMap((block) => commandsOf(block));
  t.same(
    steps.map(([first]) => first),
    ["check", "run", "deploy", "status", "rollback"],
  );
  const ended = async (words: readonly string[]) => {
    const process = command(words);
    return { code: await process.ended, said: process.output() };
  };
  const running = { child: undefined as ReturnType<typeof command> | undefined };
  t.teardown(async () => {
    running.child?.child.kill("SIGKILL");
    await running.child?.ended;
    await Promise.all([stable.close(), canary.close()]);
    await rm(folder, { recursive: true, force: true });
  });
  for (const words of steps) {
    const typedOut = [...words.filter((word) => word !== "-c" && word !== "sluice.yaml"), ...file];
    if (words[0] === "run") {
      running.child = command(typedOut);
      await running.child.says(/"listen":\["([^"]+)"\]/);
      continue;
    }
    const { code, said } = await ended(typedOut);
    t.equal(code, 0, `${words.join(" ")}: ${said}`);
    if (words[0] === "status") t.match(said, /5 %/);
  }
  t.equal((await ended(["status", "app", ...file])).code, 1, "rolled back");
});
