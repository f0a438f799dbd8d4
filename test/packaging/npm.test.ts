/** The npm package: packed as a release would be, unpacked where only its own dependencies are, and used from there. */

import { spawn, spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { publint } from "publint";
import { formatMessage } from "publint/utils";
import t from "tap";
import { z } from "zod";
import { temporaryFolder } from "../support/disk.ts";
import { ask, configFile, foldersIn, service, watched } from "../support/program.ts";

// The build is all of `src/`, on a machine that may be busy with other tests.
t.setTimeout(240_000);

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const MODULES = join(ROOT, "node_modules");
const manifest = z
  .looseObject({
    version: z.string(),
    private: z.boolean(),
    bin: z.record(z.string(), z.string()),
    scripts: z.record(z.string(), z.string()),
    dependencies: z.record(z.string(), z.string()),
  })
  .parse(JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")));

/** Every file under `folder`, by its path there. */
const filesIn = (folder: string): readonly string[] =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((each) => each.isFile())
    .map((each) => join(each.parentPath, each.name).slice(folder.length + 1))
    .toSorted();

const folder = await temporaryFolder(t);
const checkout = join(folder, "checkout");
mkdirSync(checkout);
for (const name of readdirSync(ROOT))
  if (![".git", "node_modules", "dist", "test", "bench"].includes(name))
    cpSync(join(ROOT, name), join(checkout, name), { recursive: true });
symlinkSync(MODULES, join(checkout, "node_modules"));
// What is no TypeScript and what an earlier build left.
const files = join(checkout, "src/console/public");
mkdirSync(files, { recursive: true });
writeFileSync(join(files, "probe.svg"), "<svg/>");
mkdirSync(join(checkout, "dist"));
writeFileSync(join(checkout, "dist/removed.js"), "");
const npm = spawnSync("npm", ["pack", "--json", "--pack-destination", folder], {
  cwd: checkout,
  encoding: "utf8",
  env: { ...process.env, npm_config_cache: join(folder, "npm"), npm_config_offline: "true" },
});
t.equal(npm.status, 0, `npm pack: ${npm.stderr}${npm.stdout}`);
const [tarball = ""] = readdirSync(folder).filter((name) => name.endsWith(".tgz"));
// As it would lie in somebody's node_modules, with what it depends on beside it and nothing else.
const installed = join(folder, "node_modules/sluice");
mkdirSync(installed, { recursive: true });
const tar = spawnSync("tar", ["-xzf", join(folder, tarball), "-C", installed, "--strip-components=1"]);
t.equal(tar.status, 0, "a tarball");
for (const name of Object.keys(manifest.dependencies)) {
  const link = join(folder, "node_modules", name);
  mkdirSync(dirname(link), { recursive: true });
  symlinkSync(join(MODULES, name), link);
}
const entry = join(installed, manifest.bin["sluice"] ?? "");
const sluice = (...args: readonly string[]) =>
  spawnSync(process.execPath, [entry, ...args], { cwd: folder, encoding: "utf8", timeout: 60_000 });

t.test("it holds what was built, with the console's files, and no source and no test", (t) => {
  const held = filesIn(installed);
  t.ok(held.length > 200, `${held.length} files`);
  for (const name of ["README.md", "LICENSE", "CHANGELOG.md", "SECURITY.md", "config/schema.json"])
    t.ok(held.includes(name), name);
  t.same(
    held.filter(
      (name) => /^(?!README|package)[^.]/.test(name) && !/^(?:dist|config|docker\/systemd)\//.test(name),
    ),
    ["CHANGELOG.md", "LICENSE", "SECURITY.md"],
  );
  t.same(
    held.filter((name) => name.endsWith(".ts") && !name.endsWith(".d.ts")),
    [],
  );
  t.notOk(held.includes("dist/removed.js"), "what an earlier build left is gone");
  t.same(filesIn(join(installed, "dist/console/public")), filesIn(files));
  t.equal(readFileSync(entry, "utf8").split("\n", 1)[0], "#!/usr/bin/env node");
  t.equal(manifest.private, true, "and is not published");
  t.end();
});

t.test("publint finds nothing to say about it", async (t) => {
  const { messages, pkg } = await publint({ pkgDir: installed, strict: true, pack: false });
  t.same(
    messages.map((each) => formatMessage(each, pkg as Record<string, unknown>)),
    [],
  );
});

t.test("its commands run with nothing beside it but its own dependencies", (t) => {
  const version = `sluice ${manifest.version} on Node ${process.versions.node}\n`;
  for (const spelt of ["version", "--version"]) t.match(sluice(spelt), { status: 0, stdout: version }, spelt);
  t.same(JSON.parse(sluice("version", "--json").stdout), {
    version: manifest.version,
    node: process.versions.node,
  });
  const checked = sluice("check", "-c", join(installed, "config/minimal.yaml"));
  t.equal(checked.status, 0, checked.stderr);
  t.match(checked.stdout, /^routes:/m);
  t.end();
});

t.test("it serves, and drains on SIGTERM", async (t) => {
  const upstream = await service("stable");
  t.teardown(() => upstream.close());
  const config = await configFile(folder, {
    listen: [{ address: "127.0.0.1:0" }],
    admin: { address: "127.0.0.1:0" },
    ...foldersIn(folder),
    routes: [
      { name: "app", stable: { endpoints: [upstream.url] }, canary: { endpoints: [upstream.url] }, key: [] },
    ],
  });
  const child = spawn(process.execPath, [entry, "run", "-c", config], { stdio: ["ignore", "pipe", "pipe"] });
  t.teardown(() => void child.kill("SIGKILL"));
  const { says, ended, output } = watched(child);
  const [, address = ""] = await says(/"listen":\["([^"]+)"\]/);
  t.match(await ask(`http://${address}`), { status: 200, body: "stable" });
  child.kill("SIGTERM");
  t.equal(await ended, 0, output());
});

t.test("a program in TypeScript may call it, and sees the types", async (t) => {
  const file = join(folder, "consumer.ts");
  writeFileSync(
    file,
    'import { main } from "sluice";\nconst code: Promise<number> = main(["version"]);\nvoid code;\n',
  );
  const args = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2023", "--types", "node"];
  const roots = ["--typeRoots", join(MODULES, "@types")];
  const tsc = spawnSync(process.execPath, [join(MODULES, "typescript/bin/tsc"), ...args, ...roots, file], {
    cwd: folder,
    encoding: "utf8",
  });
  t.equal(tsc.status, 0, tsc.stdout);
});

t.test("in a checkout the commands run from the sources", (t) => {
  t.equal(manifest.scripts["start"], "node src/sluice.js demo");
  t.equal(manifest.scripts["sluice"], "node src/sluice.js");
  t.end();
});
