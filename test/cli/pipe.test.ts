/** The command line in a pipe whose reader has gone. */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { operatorOf } from "../support/operator.ts";
import { raw } from "../support/raw.ts";
import { command, configFile, foldersIn } from "../support/program.ts";
import { NOBODY, reply, upstream } from "../support/upstream.ts";

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

/** A proxy as a process. */
async function serving(t: Test, url = NOBODY, more: object = {}) {
  const folder = await mkdtemp(join(tmpdir(), "sluice-pipe-"));
  t.teardown(() => rm(folder, { recursive: true, force: true }));
  const arm = { endpoints: [url] };
  const file = await configFile(folder, {
    listen: [{ address: "127.0.0.1:0" }],
    admin: { address: `unix:${join(folder, "admin.sock")}` },
    ...foldersIn(folder),
    drain: { delay: "0s" },
    routes: [{ name: "app", stable: arm, canary: arm }],
    ...more,
  });
  const proxy = command(["run", "-c", file]);
  t.teardown(() => proxy.child.kill("SIGKILL"));
  const [, address = ""] = await proxy.says(/"listen":\["([^"]+)"\].*"msg":"serving"/);
  return { proxy, address, operator: operatorOf(folder) };
}

/** A hundred requests, each of whose lines in the access log has more than 1,000 characters. */
async function hundred(t: Test, address: string): Promise<void> {
  const client = await raw(address);
  const request = `GET /${"x".repeat(1000)} HTTP/1.1\r\nHost: x\r\n`;
  client.send(`${request}\r\n`.repeat(99) + `${request}Connection: close\r\n\r\n`);
  const { text } = await client.closed();
  t.equal(text.split("HTTP/1.1 200").length, 101);
}

t.test("a proxy goes on serving when whoever reads its log has gone, and still drains", async (t) => {
  const { proxy, operator } = await serving(t);
  proxy.child.stdout?.destroy();
  // Each of these is a line of the log.
  for (let times = 0; times < 3; times++) t.equal((await operator("/v1/config/reload", {})).status, 200);
  proxy.child.kill("SIGTERM");
  t.same(await once(proxy.child, "close"), [0, null]);
  await t.rejects(operator("/livez"), "and then it is gone");
});

t.test("a reader of the access log that stalls loses lines, which are counted, and no request", async (t) => {
  const server = await upstream(reply(200, ""));
  t.teardown(() => server.close());
  const { proxy, address, operator } = await serving(t, server.url, { accessLog: { sample: "100%" } });
  proxy.child.stdout?.pause();
  const dropped = async (): Promise<number> => {
    const { text } = await operator("/metrics");
    return Number(/^sluice_access_lines_total\{.*result="dropped".*\} (\d+)$/m.exec(text)?.[1]);
  };
  // Together they are more than may wait.
  for (let round = 0; round < 10 && (await dropped()) === 0; round++)
    await Promise.all(Array.from({ length: 20 }, () => hundred(t, address)));
  t.ok((await dropped()) > 0);
  proxy.child.stdout?.resume();
  await proxy.says(/"path":"\/x+"/);
  proxy.child.kill("SIGTERM");
  t.equal(await proxy.ended, 0);
});

t.test("a proxy whose log nobody reads any more ends when it is told to", async (t) => {
  const server = await upstream(reply(200, ""));
  t.teardown(() => server.close());
  const { proxy, address } = await serving(t, server.url, { accessLog: { sample: "100%" } });
  proxy.child.stdout?.pause();
  // More than fits between two processes.
  await Promise.all(Array.from({ length: 10 }, () => hundred(t, address)));
  const gone = once(proxy.child, "exit");
  proxy.child.kill("SIGTERM");
  t.same(await gone, [0, null]);
});
