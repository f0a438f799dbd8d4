/** `backup`, `restore` and `journal verify`: against a pretended API, and on the files of a proxy that is stopped. */

import { mkdir, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import { FULL, NONE, ppm } from "../../src/domain/units.ts";
import type { StateDocument } from "../../src/engine/ports.ts";
import { openBackups } from "../../src/store/backups.ts";
import { fileStore } from "../../src/store/file.ts";
import { openJournal } from "../../src/telemetry/journal.ts";
import { documentOf, rollout } from "../store/documents.ts";
import { fakeClock } from "../support/clock.ts";
import { problem, sluice, type Run } from "../support/cli.ts";
import { temporaryFolder } from "../support/disk.ts";
import { fakeAdmin, type AdminCall } from "../support/fake-admin.ts";
import { program } from "../support/program.ts";
import { quietLog } from "../support/silence.ts";
import { entryOf } from "../telemetry/entries.ts";

t.setTimeout(60_000);
// An offline restore watches the folder for seconds: they are watched at the same time.
t.jobs = 4;
const WATCHES = { buffered: true };

const NAME = "20260105T090000.000Z_manual";
const INFO = {
  name: NAME,
  at: "2026-01-05T09:00:00.000Z",
  reason: "manual",
  program: "0.1.0",
  version: 7,
  routes: { app: { phase: "progressing", weight: 25, rollout: "r-1" } },
};
/** Nothing listens there. */
const NOWHERE = ["--admin", "http://127.0.0.1:1"];

function answering({ path }: AdminCall): readonly [number, unknown] {
  if (path === "/v1/config") return [200, { environment: "production" }];
  if (path === "/v1/backups") return [200, { backups: [INFO, { ...INFO, name: "older", routes: {} }] }];
  if (path === "/v1/backup") return [200, INFO];
  const stand = { phase: "paused", weight: 25 };
  const routes = [{ route: "app", before: { ...stand, weight: 50 }, after: stand }];
  if (path === "/v1/restore")
    return [200, { backup: INFO, routes, missing: ["gone\u001b[2J"], journalLinesSince: 17 }];
  return [404, problem("SPLIT_NOT_FOUND", 404, "there is no such thing")];
}

t.test("a backup is made and listed, and a restore asks first in production", async (t) => {
  const admin = await fakeAdmin(answering);
  t.teardown(() => admin.close());
  const at = ["--admin", admin.address];
  t.match(await sluice(["backup", ...at]), { code: 0, out: `${NAME}\n` });
  t.match(admin.calls.at(-1), { method: "POST", path: "/v1/backup", body: { reason: "manual" } });
  t.match(await sluice(["backup", "--reason", "why not", ...at]), { code: 0 });
  t.same(admin.calls.at(-1)?.body, { reason: "why not" });
  const listed = await sluice(["backup", "--list", ...at]);
  t.match(
    listed.out,
    /^name .*\n20260105T090000\.000Z_manual +7 +0\.1\.0 +app progressing 25 %\nolder .* -\n$/,
  );
  t.same(JSON.parse((await sluice(["backup", "--list", "--json", ...at])).out), {
    backups: [INFO, { ...INFO, name: "older", routes: {} }],
  });
  t.same(JSON.parse((await sluice(["backup", "--json", ...at])).out), INFO);

  t.match(await sluice(["restore", NAME, ...at]), { code: 2, err: /without a terminal, say --yes/ });
  t.match(await sluice(["restore", NAME, ...at], { isTTY: true, answer: "no" }), { code: 2 });
  t.match(await sluice(["restore", NAME, "--force", ...at]), { code: 2, err: /--force needs a --reason/ });
  t.notOk(admin.calls.some(({ path }) => path === "/v1/restore"));
  const done = await sluice(["restore", NAME, ...at], { isTTY: true, answer: "yes" });
  t.match(done, { code: 0, asked: [/restore 20260105T090000\.000Z_manual in production/] });
  t.equal(
    done.out,
    "app: paused 50 % -> paused 25 %\ngone: is not configured, left out\n17 lines of the journal came after it\n",
  );
  t.same(admin.calls.at(-1)?.body, { name: NAME, reason: "manual" });
  await sluice(["restore", NAME, "--yes", "--force", "--reason", "wrong", "--json", ...at]);
  t.same(admin.calls.at(-1)?.body, { name: NAME, reason: "wrong", force: true });
  t.match(await sluice(["restore", NAME, "--offline", "--yes", ...at, "--backups", "/nowhere"]), {
    code: 2,
    err: /there is no backup .* in \/nowhere \(SPLIT_NOT_FOUND\)/,
  });
  const empty = await fakeAdmin(() => [200, { backups: [] }]);
  t.match(await sluice(["backup", "--list", "--admin", empty.address]), { out: "there are no backups\n" });
  t.equal((await sluice(["backup", "--admin", empty.address])).code, 5, "something else answers there");
  t.equal((await sluice(["restore", NAME, "--yes", "--admin", empty.address])).code, 5);
  await empty.close();
});

/** A stopped proxy's folders, with one backup of `document` made when its journal had three lines. */
async function stopped(t: Test, document: StateDocument = documentOf(1)) {
  const root = await temporaryFolder(t);
  const [state, folder] = [join(root, "state"), join(root, "backups")];
  const store = await fileStore(state, quietLog());
  await store.save(document);
  const clock = fakeClock();
  const file = join(state, "journal.jsonl");
  const journal = await openJournal({ path: file, clock, log: quietLog() });
  for (let n = 1; n <= 3; n += 1) await journal.append(entryOf(`entry ${n}`));
  const backups = openBackups({
    folder,
    state,
    config: () => undefined,
    journal: async () => (await journal.read({ limit: 1 })).at(-1),
    program: "0.1.0",
    keep: 9,
    days: 9,
    clock,
    log: quietLog(),
  });
  const made = await backups.create("manual");
  if (!made.ok) throw new Error(made.detail);
  for (let n = 4; n <= 5; n += 1) await journal.append(entryOf(`entry ${n}`));
  await journal.close();
  const offline = (...more: readonly string[]): Promise<Run> =>
    sluice(["restore", made.name, "--offline", "--state", state, "--backups", folder, ...NOWHERE, ...more]);
  const app = async () => {
    const loaded = await store.load();
    return loaded.kind === "found" ? loaded.document.routes["app"] : undefined;
  };
  return { root, state, folder, store, file, name: made.name, offline, app };
}

const at = (version: number, weight: number, phase: "paused" | "rolled_back"): StateDocument => ({
  ...documentOf(version),
  routes: { app: { ...rollout("now"), phase, weight: ppm(weight) } },
});

t.test(
  "an offline restore is the next save, lower or as low, and stands in the journal (reliability 36)",
  WATCHES,
  async (t) => {
    const s = await stopped(t);
    await s.store.save(at(2, 500_000, "paused"));
    t.match(await s.offline(), { code: 2, err: /without a terminal, say --yes/ });
    const done = await s.offline("--yes", "--reason", "it was wrong");
    t.match(done, { code: 0, err: "" });
    t.equal(done.out, `app: paused 50 % -> paused 5 %\nsaved as version 3 in ${s.state}\n`);
    t.match(await s.app(), {
      phase: "paused",
      weight: 50_000,
      revision: 4,
      reason: /^Paused: restored from/,
    });
    t.match(await sluice(["journal", "verify", s.file]), { code: 0, out: /6 lines hold/ });
    const last = (await readFile(s.file, "utf8")).trimEnd().split("\n").at(-1) ?? "";
    t.match(JSON.parse(last), {
      event: "RESTORED",
      actor: "offline",
      reason: `restored from ${s.name}: it was wrong`,
      before: { weight: 50 },
      after: { weight: 5 },
    });
  },
);

t.test(
  "an offline restore puts a weight back that is not saved any more only when it is told to",
  WATCHES,
  async (t) => {
    const s = await stopped(t);
    await s.store.save(at(2, 0, "rolled_back"));
    t.match(await s.offline("--yes", "--force"), { code: 2, err: /--force needs a --reason/ });
    t.match(await s.offline("--yes"), { code: 0, out: /rolled_back 0 % -> paused 0 %/ });
    t.match(await s.app(), { weight: NONE });
    t.match(await s.offline("--yes", "--force", "--reason", "it was right"), {
      code: 0,
      out: /paused 0 % -> paused 5 %/,
    });
    const whole: StateDocument = {
      ...documentOf(1),
      routes: { app: { ...rollout("x"), phase: "succeeded", weight: FULL } },
    };
    const lost = await stopped(t, whole);
    const again = join(lost.root, "new");
    const done = await sluice(
      ["restore", lost.name, "--offline", "--yes", "--json"].concat(["--state", again], NOWHERE, [
        "--backups",
        lost.folder,
      ]),
    );
    t.match(JSON.parse(done.out), {
      version: 1,
      routes: [{ before: { phase: "idle", weight: 0 }, after: { phase: "succeeded", weight: 100 } }],
    });
    t.match(await (await fileStore(again, quietLog())).load(), {
      kind: "found",
      document: { routes: { app: { phase: "succeeded" } } },
    });
  },
);

t.test("an offline restore is refused where a proxy runs: it answers, or it saves", WATCHES, async (t) => {
  const s = await stopped(t);
  const admin = await fakeAdmin(() => [401, problem("SPLIT_UNAUTHORIZED", 401, "who?")]);
  const before = await readdir(s.state);
  t.match(await s.offline("--yes", "--admin", admin.address), {
    code: 4,
    err: /a proxy is running there.*SPLIT_PHASE_MISMATCH/,
  });
  await admin.close();
  t.same(await readdir(s.state), before);
  const running = s.offline("--yes");
  let version = 1;
  const saving = setInterval(() => void s.store.save(documentOf((version += 1))), 500);
  t.match(await running, { code: 4, err: /a proxy is running on this state: it saved version/ });
  clearInterval(saving);
  t.match(await s.app(), { phase: "progressing" });
});

t.test(
  "a certificate of the stopped proxy that is missing here does not keep an offline restore from its work (reliability 36)",
  WATCHES,
  async (t) => {
    const s = await stopped(t);
    const endpoints = ["http://127.0.0.1:2"];
    const config = join(s.root, "sluice.yaml");
    const lost = join(s.root, "lost.pem");
    await writeFile(
      config,
      JSON.stringify({
        state: `file:${s.state}`,
        backups: { folder: s.folder },
        admin: { address: "127.0.0.1:1", tls: { cert: lost, key: lost } },
        routes: [{ name: "app", stable: { endpoints }, canary: { endpoints } }],
      }),
    );
    const restore = (): Promise<Run> => sluice(["restore", s.name, "--offline", "--yes", "-c", config]);
    t.match(await restore(), {
      code: 0,
      out: /saved as version 2 in/,
      err: /cannot read the certificates in .*lost\.pem; whether a proxy runs is seen by its state alone/,
    });
    const running = restore();
    let version = 2;
    const saving = setInterval(() => void s.store.save(documentOf((version += 1))), 500);
    t.match(await running, { code: 4, err: /a proxy is running on this state: it saved version/ });
    clearInterval(saving);
  },
);

t.test(
  "a journal that cannot be opened is found before an offline restore has saved anything (reliability 36)",
  WATCHES,
  async (t) => {
    const s = await stopped(t);
    await s.store.save(at(2, 500_000, "paused"));
    await rm(s.file);
    await mkdir(s.file);
    t.match(await s.offline("--yes"), {
      code: 1,
      out: "",
      err: /cannot write the journal in .*EISDIR.*\(SPLIT_STATE_UNWRITABLE\)/,
    });
    t.match(await s.app(), { weight: 500_000 }, "nothing was saved");
  },
);

t.test(
  "an offline restore whose line the journal does not take says so, and that the state is saved (reliability 36)",
  WATCHES,
  async (t) => {
    const s = await stopped(t);
    await s.store.save(at(2, 500_000, "paused"));
    await rm(s.file);
    await symlink("/dev/full", s.file);
    t.match(await s.offline("--yes"), {
      code: 1,
      out: "",
      err: /saved as version 3 in .*journal.*has no line of it for app.*\(SPLIT_STATE_UNWRITABLE\)/,
    });
    t.match(await s.app(), { weight: 50_000 });
  },
);

t.test(
  "a backup of the running program is restored by the next one, stopped in between",
  WATCHES,
  async (t) => {
    const p = await program();
    t.teardown(() => p.close());
    await p.setWeight(30);
    const { name } = (await p.api("/v1/backup", {})).body as { readonly name: string };
    await p.setWeight(60);
    const admin = ["--admin", `http://${p.running.adminAddress}`];
    const folders = ["--state", join(p.folder, "state"), "--backups", join(p.folder, "backups")];
    t.match(await sluice(["restore", name, "--offline", "--yes", ...admin, ...folders]), { code: 4 });
    await p.stop();
    t.match(await sluice(["restore", name, "--offline", "--yes", ...NOWHERE, ...folders]), { code: 0 });
    const again = await p.restart();
    t.teardown(() => again.stop());
    t.match(await again.status(), { phase: "paused", weight: 30 });
  },
);

t.test("a journal is verified offline: whole, growing, broken, cut since a backup, not there", async (t) => {
  const s = await stopped(t);
  const verify = (...more: readonly string[]): Promise<Run> => sluice(["journal", "verify", ...more]);
  const against = ["--against", s.name, "--backups", s.folder];
  const whole = await verify("--state", s.state, ...against);
  t.match(whole, { code: 0, err: "" });
  t.match(
    whole.out,
    /journal\.jsonl: 5 lines hold, the last is 5 with hash [0-9a-f]{64}\nit goes on from the backup, which had line 3\n$/,
  );
  t.match(await verify(s.file, "--against", join(s.folder, s.name)), { code: 0 });
  t.match(JSON.parse((await verify(s.file, "--json")).out), { whole: true, lines: 5, last: { seq: 5 } });
  const lines = (await readFile(s.file, "utf8")).split("\n").slice(0, 5);
  const write = (some: readonly string[], end = "\n"): Promise<void> =>
    writeFile(s.file, some.join("\n") + end);
  await write([...lines, '{"seq":6,"at'], "");
  t.match(await verify(s.file), {
    code: 0,
    out: /5 lines hold.*\n12 bytes behind it are no whole line yet\n/,
  });
  await write(lines.slice(0, 2));
  t.match(await verify(s.file), { code: 0, out: /2 lines hold/ });
  t.match(await verify(s.file, ...against), {
    code: 1,
    out: /it does not go on from the backup: it ends at line 2, and had line 3\n$/,
  });
  await write(lines.with(3, lines[3]!.replace("entry 4", "nothing")));
  const broken = await verify(s.file);
  t.match(broken, { code: 1, out: /3 lines hold, the last is 3 .*\n.*journal\.jsonl:4: it was changed/ });
  t.match(JSON.parse((await verify(s.file, "--json")).out), { whole: false, broken: { line: 4 } });
  await write(lines.slice(2));
  t.match(await verify(s.file), { code: 0, out: /\nit begins at line 3 of the journal; what came before/ });
  await writeFile(s.file, "");
  t.match(await verify(s.file), { code: 0, out: /: 0 lines hold\n$/ });
  await write(lines.slice(0, 1));
  t.match(await verify(s.file), { code: 0, out: /: 1 line holds, the last is 1/ });
  for (const argv of [
    [`${s.file}.none`],
    [s.root],
    [s.file, "--against", "20260105T090000.000Z_none", "--backups", s.folder],
    [s.file, "--against", s.name, "-c", join(s.root, "none.yaml")],
  ])
    t.match(await verify(...argv), { code: 2, out: "", err: /^sluice: .*\(SPLIT_CONFIG_UNREADABLE\)\n$/ });
});

t.test("folders are those of the configuration that is named", WATCHES, async (t) => {
  const s = await stopped(t);
  const endpoints = ["http://127.0.0.1:1"];
  const config = join(s.root, "sluice.yaml");
  const write = (backups: unknown): Promise<void> =>
    writeFile(
      config,
      JSON.stringify({
        state: `file:${s.state}`,
        environment: "test",
        ...(backups === undefined ? {} : { backups }),
        routes: [{ name: "app", stable: { endpoints }, canary: { endpoints } }],
      }),
    );
  await write({ folder: s.folder });
  t.match(await sluice(["journal", "verify", "--against", s.name, "-c", config]), { code: 0 });
  const offline = await sluice(["restore", s.name, "--offline", "-c", config, ...NOWHERE]);
  t.same([offline.code, offline.asked], [0, []]);
  await write("off");
  t.match(await sluice(["journal", "verify", "--against", s.name, "-c", config]), { code: 2 });
});
