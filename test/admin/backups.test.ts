/** Backups and restores through the admin API: of a pretended engine for what is answered, of the whole program for what it does. */

import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { RestoreOrder } from "../../src/engine/restore.ts";
import { testAdmin } from "../support/control.ts";
import { program, type Program } from "../support/program.ts";

t.setTimeout(60_000);

t.test("where no backups are made, that is said", async (t) => {
  const { ask } = await testAdmin(t, { backups: undefined });
  const body = { name: "20260105T090000.000Z_manual", reason: "x" };
  for (const answer of [
    await ask("GET", "/v1/backups"),
    await ask("POST", "/v1/backup", { body: {} }),
    await ask("POST", "/v1/restore", { body }),
  ])
    t.match(answer, { status: 404, json: { code: "SPLIT_NOT_FOUND", detail: /no backups are made here/ } });
});

t.test(
  "reading, making and restoring are three rights, and a restore says why (reliability 42)",
  async (t) => {
    const { ask } = await testAdmin(t);
    const body = { name: "20260105T090000.000Z_manual", reason: "x" };
    t.equal((await ask("GET", "/v1/backups", { as: "reader" })).status, 200);
    t.equal((await ask("POST", "/v1/backup", { as: "reader", body: {} })).status, 403);
    t.equal((await ask("POST", "/v1/backup", { as: "operator", body: {} })).status, 200);
    t.equal((await ask("POST", "/v1/restore", { as: "operator", body })).status, 403);
    t.equal((await ask("POST", "/v1/restore", { body })).status, 200);
    for (const bad of [
      {},
      { name: body.name },
      { reason: "x" },
      { ...body, name: "" },
      { ...body, name: 7 },
      { ...body, more: 1 },
      { ...body, reason: "two\nlines" },
    ])
      t.match(await ask("POST", "/v1/restore", { body: bad }), { status: 400 }, JSON.stringify(bad));
    t.match(await ask("POST", "/v1/restore", { body: { ...body, name: "../state" } }), {
      status: 404,
      json: { code: "SPLIT_NOT_FOUND", field: "name" },
    });
  },
);

t.test("a backup just made is answered as it was made, not read back", async (t) => {
  const info = {
    name: "20260105T090000.000Z_manual",
    at: "2026-01-05T09:00:00.000Z",
    reason: "manual",
    program: "0.1.0",
    version: 7,
    routes: { app: { phase: "paused", weight: 25, rollout: "r-1" } },
  } as const;
  const { ask } = await testAdmin(t, {
    backups: {
      create: () => Promise.resolve({ ok: true, name: info.name, info }),
      list: () => Promise.resolve([]),
      load: () => Promise.reject(new Error("nobody asked for it")),
    },
  });
  t.match(await ask("POST", "/v1/backup", { body: {} }), { status: 200, json: info });
});

t.test("what the shelf and the engine refuse is answered with their words", async (t) => {
  const orders: RestoreOrder[] = [];
  const damaged = { ok: false, kind: "damaged", detail: "its state.json is not what was backed up" } as const;
  const { ask } = await testAdmin(t, {
    backups: {
      create: () => Promise.resolve({ ok: false, detail: "ENOSPC: no space left" }),
      list: () => Promise.resolve([]),
      load: () => Promise.resolve(damaged),
    },
  });
  t.match(await ask("POST", "/v1/backup", { body: {} }), {
    status: 503,
    json: { code: "SPLIT_STATE_UNWRITABLE", detail: /ENOSPC/ },
  });
  const body = { name: "20260105T090000.000Z_manual", reason: "x", force: true };
  t.match(await ask("POST", "/v1/restore", { body }), {
    status: 400,
    json: { code: "SPLIT_INPUT_INVALID", detail: /is not what was backed up/ },
  });
  const refusing = await testAdmin(t, {
    restore: (order) => {
      orders.push(order);
      return Promise.resolve({ ok: false, code: "SPLIT_PHASE_MISMATCH", message: "app is progressing" });
    },
  });
  t.match(await refusing.ask("POST", "/v1/restore", { body }), {
    status: 409,
    json: { code: "SPLIT_PHASE_MISMATCH" },
  });
  t.match(orders, [{ from: body.name, force: true, reason: "x", actor: { name: "root" } }]);
  t.equal(orders.length, 1);
  t.same(orders[0]?.states, {});
});

async function site(t: Test, more: object = {}): Promise<Program> {
  const site = await program({}, more);
  t.teardown(() => site.close());
  return site;
}

interface Info {
  readonly name: string;
}
const nameOf = (answer: { readonly body: unknown }): string => (answer.body as Info).name;

t.test("the program makes backups, lists them, and puts one in force for the next request", async (t) => {
  const p = await site(t);
  await p.setWeight(20);
  const made = await p.api("/v1/backup", { reason: "before the weekend" });
  t.match(made, {
    status: 200,
    body: { reason: "before the weekend", routes: { app: { phase: "paused", weight: 20 } } },
  });
  const at = join(p.folder, "backups", nameOf(made));
  t.same((await readdir(at)).toSorted(), ["journal.head", "manifest.json", "state.json"]);
  const lines = await p.running.control.journal({ limit: 1 });
  t.same(JSON.parse(await readFile(join(at, "journal.head"), "utf8")), {
    seq: lines[0]?.seq,
    hash: lines[0]?.hash,
  });
  t.match(await p.api("/v1/backups"), { status: 200, body: { backups: [{ name: nameOf(made) }] } });
  await p.setWeight(100);
  t.match(await p.get("ada"), { body: "canary" });
  const body = { name: nameOf(made), reason: "4.0 was wrong" };
  t.match(await p.api("/v1/restore", body), { status: 409, body: { code: "SPLIT_PHASE_MISMATCH" } });
  const restored = await p.api("/v1/restore", { ...body, force: true });
  t.same((restored.body as { missing?: unknown }).missing, []);
  t.match(restored, {
    status: 200,
    body: {
      backup: { name: body.name },
      routes: [{ route: "app", before: { weight: 100 }, after: { phase: "paused", weight: 20 } }],
      journalLinesSince: 1,
    },
  });
  t.match(await p.status(), { weight: 20, recorded: true });
  const [line] = await p.running.control.journal({ limit: 1 });
  t.match(line, { event: "RESTORED", actor: "local", reason: `restored from ${body.name}: 4.0 was wrong` });
  await writeFile(join(at, "state.json"), "{}");
  t.match(await p.api("/v1/restore", { ...body, force: true }), {
    status: 400,
    body: { code: "SPLIT_INPUT_INVALID" },
  });
});

t.test("a restore does not bring a weight back that was lowered since", async (t) => {
  const p = await site(t);
  await p.setWeight(100);
  const made = await p.api("/v1/backup", {});
  await p.setWeight(0);
  t.match(await p.api("/v1/restore", { name: nameOf(made), reason: "x" }), {
    status: 200,
    body: { routes: [{ before: { weight: 0 }, after: { phase: "paused", weight: 0 } }] },
  });
  t.match(await p.get("ada"), { body: "stable" });
});

t.test("the program makes one a day, and a restart does not begin the day anew", async (t) => {
  const p = await site(t);
  await p.setWeight(0);
  const names = async (): Promise<readonly string[]> =>
    (await readdir(join(p.folder, "backups")).catch(() => [])).map((name) => name.slice(-6)).toSorted();
  await p.api("/v1/backup", {});
  await p.clock.advance("23h", "1h");
  t.same(await names(), ["manual"]);
  await p.stop();
  const again = await p.restart();
  t.teardown(() => again.stop());
  await again.clock.advance("23h", "1h");
  t.same(await names(), ["manual"], "its clock began where the first did");
  await again.clock.advance("2h", "1h");
  t.same(await names(), ["_daily", "manual"]);
});

t.test("a rollout is started on a backup of what was before, or not at all unless forced", async (t) => {
  const p = await site(t);
  await p.setWeight(0);
  const steps = { steps: [5, 100], hold: "1h" };
  t.match(await p.api("/v1/rollouts/app/start", steps), { status: 200, body: { phase: "progressing" } });
  const [name = ""] = await readdir(join(p.folder, "backups"));
  t.match(name, /_before_start$/);
  t.match(await p.api("/v1/backups"), {
    body: { backups: [{ name, routes: { app: { phase: "paused", weight: 0 } } }] },
  });
  const events = (await p.running.control.journal({ limit: 9 })).map(({ event, reason }) => [event, reason]);
  t.ok(events.some(([event, reason]) => event === "BACKUP_CREATED" && reason === name));

  await writeFile(join(p.folder, "in-the-way"), "");
  const barred = await site(t, { backups: { folder: join(p.folder, "in-the-way", "backups") } });
  t.match(await barred.api("/v1/rollouts/app/start", steps), {
    status: 503,
    body: { code: "SPLIT_STATE_UNWRITABLE", detail: /no backup could be made/ },
  });
  t.match(await barred.api("/v1/rollouts/app/start", { ...steps, force: true, reason: "it must be" }), {
    status: 200,
  });
});

t.test("a state in memory, or backups that are off, make none", async (t) => {
  for (const more of [{ backups: "off" }, { state: "memory:" }]) {
    const p = await site(t, more);
    t.match(await p.api("/v1/backup", {}), { status: 404, body: { code: "SPLIT_NOT_FOUND" } });
    t.same(await readdir(join(p.folder, "backups")).catch(() => "none"), "none");
  }
});
