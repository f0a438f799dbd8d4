/** The command line in a pipe whose reader has gone. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { operatorOf } from "../support/operator.ts";
import { command, configFile } from "../support/program.ts";

const ENTRY = fileURLToPath(new URL("../../src/sluice.js", import.meta.url));

t.test("whoever stops reading the output gets no stack trace for it", async (t) => {
  const child = spawn(process.execPath, [ENTRY, "--help"], { stdio: ["ignore", "pipe", "pipe"] });
  // Gone before the first word.
  child.stdout.destroy();
  let said = "";
  child.stderr.on("data", (chunk: Buffer) => (said += chunk.toString()));
  await once(child, "close");
  t.equal(said, "");
});

t.test("a proxy goes on serving when whoever reads its log has gone, and still drains", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "sluice-pipe-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const arm = { endpoints: ["http://127.0.0.1:1"] };
  const file = await configFile(folder, {
    listen: [{ address: "127.0.0.1:0" }],
    admin: { address: `unix:${join(folder, "admin.sock")}` },
    state: `file:${join(folder, "state")}`,
    reports: join(folder, "reports"),
    backups: { folder: join(folder, "backups") },
    drain: { delay: "0s" },
    routes: [{ name: "app", stable: arm, canary: arm }],
  });
  const proxy = command(["run", "-c", file]);
  t.teardown(() => proxy.child.kill("SIGKILL"));
  await proxy.says(/"msg":"serving"/);
  proxy.child.stdout?.destroy();
  const operator = operatorOf(folder);
  // Each of these is a line of the log.
  for (let times = 0; times < 3; times++) t.equal((await operator("/v1/config/reload", {})).status, 200);
  proxy.child.kill("SIGTERM");
  t.same(await once(proxy.child, "close"), [0, null]);
  await t.rejects(operator("/livez"), "and then it is gone");
});
