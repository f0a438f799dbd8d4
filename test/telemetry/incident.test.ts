import { readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { resolveIncident } from "../../src/domain/incident.ts";
import { keepIncidents } from "../../src/telemetry/incident.ts";
import { INCIDENT } from "../support/control.ts";
import { temporaryFolder } from "../support/disk.ts";
import { program } from "../support/program.ts";
import { sluice } from "../support/cli.ts";
import { quietLog } from "../support/silence.ts";

t.test("an incident is two files, written anew with all that comes of it", async (t) => {
  const folder = await temporaryFolder(t);
  const asked: unknown[] = [];
  const journal = {
    read(options: unknown) {
      asked.push(options);
      return Promise.resolve([]);
    },
  };
  const incidents = keepIncidents({ folder, journal, log: quietLog() });
  void incidents.write(INCIDENT);
  void incidents.write(resolveIncident(INCIDENT, { atMs: INCIDENT.openedAtMs, by: "ada", how: "fixed" }));
  await incidents.close();
  t.same((await readdir(folder)).toSorted(), [`${INCIDENT.id}.json`, `${INCIDENT.id}.md`]);
  t.match(JSON.parse(await readFile(join(folder, `${INCIDENT.id}.json`), "utf8")), { status: "resolved" });
  t.match(await readFile(join(folder, `${INCIDENT.id}.md`), "utf8"), /To be filled in/);
  t.match(asked, [{ route: "app" }, { route: "app" }]);
});

t.test("a folder that cannot be written costs the files and nothing else", async (t) => {
  const folder = join(await temporaryFolder(t), "file");
  await writeFile(folder, "");
  const log = quietLog();
  const incidents = keepIncidents({ folder, journal: { read: () => Promise.resolve([]) }, log });
  await incidents.write(INCIDENT);
  t.match(log.lines, [{ level: "error", fields: { incident: INCIDENT.id } }]);
});

t.test(
  "a rollback of the running program leaves its incident: files, list, messages, and a person's word ends it",
  async (t) => {
    const p = await program();
    t.teardown(() => p.close());
    await p.setWeight(10);
    await p.clock.advance("2s");
    await p.api("/v1/rollouts/app/rollback", { reason: "complaints" });
    await p.clock.advance("2s");
    const { adminAddress, token } = p.running;
    const at = ["--admin", `http://${adminAddress}`, "--token", token];
    const listed = await sluice(["incident", "list", ...at]);
    t.equal(listed.code, 1, "one is open");
    const [id = ""] = /incident_production_app_\w+/.exec(listed.out) ?? [];
    t.match(listed.out, /open .* 10 % -> 0 % +complaints/);
    t.match(await p.api("/v1/messages?route=app&limit=1"), {
      body: {
        messages: [
          {
            event: "ROLLBACK_DONE",
            summary: "app: ROLLED BACK from 10%, every user is on stable: complaints",
          },
        ],
      },
    });
    t.match(await sluice(["incident", "resolve", "incident_x", "--reason", "x", ...at]), { code: 2 });
    t.match(await sluice(["incident", "resolve", id, "--reason", "a drill", ...at]), {
      code: 0,
      out: `${id} is resolved by local: a drill\n`,
    });
    t.match(await sluice(["incident", "list", "--json", ...at]), { code: 0, out: /"resolution": "a drill"/ });
    t.match(await sluice(["incident", "resolve", id, "--reason", "again", "--json", ...at]), {
      code: 0,
      out: /"resolution": "a drill"/,
    });
    await p.stop();
    const text = await readFile(join(p.folder, "reports", `${id}.json`), "utf8");
    t.match(JSON.parse(text), {
      status: "resolved",
      timeline: [{ event: "WEIGHT_SET" }, { event: "ROLLBACK_DONE" }],
    });
    t.match(await readFile(join(p.folder, "reports", `${id}.md`), "utf8"), /ROLLBACK\\?_DONE by local/);
    t.match(await sluice(["incident", "list", "--admin", "http://127.0.0.1:1"]), { code: 5 });
  },
);

t.test("where nothing went wrong there are no incidents", async (t) => {
  const p = await program();
  t.teardown(() => p.close());
  const { adminAddress, token } = p.running;
  const at = ["--admin", `http://${adminAddress}`, "--token", token];
  t.match(await sluice(["incident", "list", ...at]), { code: 0, out: "there are no incidents\n" });
});
