/** Out of file descriptors: the program lives, says so now and then, blames no upstream, and serves again by itself (reliability.md D28, F33). */

import { execFile, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import t from "tap";
import { configSchema } from "../../src/config/schema.ts";
import { openFilesLimit } from "../../src/platform.ts";
import { Acceptor } from "../../src/proxy/acceptor.ts";
import { fitInto } from "../../src/proxy/files.ts";
import { Wheel } from "../../src/proxy/fast/wheel.ts";
import { PemShelf } from "../../src/proxy/pem.ts";
import { fakeClock } from "../support/clock.ts";
import { once, raw, statusOf, type RawClient } from "../support/raw.ts";
import { reply, upstream } from "../support/upstream.ts";

const STARVED = fileURLToPath(new URL("out-of-files.ts", import.meta.url));
const ENTRY = fileURLToPath(new URL("../../src/sluice.js", import.meta.url));

t.test(
  "trouble of a listening socket is said at most once a second, with how often it came (reliability 28)",
  async (t) => {
    const clock = fakeClock();
    const lines: unknown[] = [];
    const quiet = (): void => undefined;
    const acceptor = new Acceptor({
      tls: undefined,
      pems: new PemShelf(),
      proxyProtocol: false,
      headTimeMs: () => 1000,
      wheel: new Wheel(),
      clock,
      log: { debug: quiet, info: quiet, warn: quiet, error: (_message, fields) => void lines.push(fields) },
      event: quiet,
      arrived: () => undefined,
      named: () => true,
      accepted: quiet,
      left: quiet,
    });
    const server = acceptor.server();
    const fail = (times: number): void => {
      for (let nth = 0; nth < times; nth++) server.emit("error", new Error("accept EMFILE"));
    };
    fail(1000);
    await clock.advance(999);
    fail(1000);
    await clock.advance(1);
    fail(1);
    t.strictSame(lines, [
      { error: "accept EMFILE", times: 1 },
      { error: "accept EMFILE", times: 2000 },
    ]);
  },
);

t.test(
  "no file left to connect with is nothing against an upstream, whoever connects to it, a probe neither (reliability 28, 33)",
  async (t) => {
    const script = 'ulimit -n 64; exec "$0" "$1"';
    const { stdout } = await promisify(execFile)("sh", ["-c", script, process.execPath, STARVED]);
    const told: unknown = JSON.parse(stdout);
    t.strictSame(told, {
      answers: Array(4).fill("HTTP/1.1 503 Service Unavailable"),
      counts: [{ "stable unavailable": 2 }, { "stable unavailable": 2 }],
      failures: [0, 0, 0, 0],
    });
  },
);

t.test(
  "no more client connections than there are files for, beside those to upstreams and a reserve (reliability 28)",
  async (t) => {
    const arm = { endpoints: ["http://a.example", "http://b.example"], connections: 100 };
    const config = configSchema.parse({ routes: [{ name: "app", stable: arm, canary: arm }] });
    t.same(fitInto(Infinity, config), { connections: 10_000, upstream: 400 });
    t.same(fitInto(10_592, config), { connections: 10_000, upstream: 400 });
    t.same(fitInto(10_591, config), { connections: 9999, upstream: 400 });
    t.same(fitInto(592, config), { connections: 200, upstream: 400 }, "half of what is there, at least");
    t.same(fitInto(80, config), { connections: 1, upstream: 400 });
    if (process.platform === "linux") t.ok((openFilesLimit() ?? Infinity) > 0);
  },
);

t.test(
  "a flood that takes every file does not end it, and it serves again when that is over (reliability 28)",
  async (t) => {
    const folder = await mkdtemp(join(tmpdir(), "sluice-files-"));
    const server = await upstream(reply(200, "ok"));
    const arm = { endpoints: [server.url] };
    const config = {
      listen: [{ address: "127.0.0.1:0" }],
      admin: { address: "127.0.0.1:0" },
      state: "memory:",
      workers: 1,
      routes: [{ name: "app", stable: arm, canary: arm }],
    };
    await writeFile(join(folder, "sluice.yaml"), JSON.stringify(config));
    // Some forty are its own.
    const script = 'ulimit -n 80; exec "$0" "$1" run --config "$2"';
    const child = spawn("sh", ["-c", script, process.execPath, ENTRY, join(folder, "sluice.yaml")], {
      env: { PATH: process.env["PATH"] ?? "" },
      stdio: ["ignore", "pipe", "inherit"],
    });
    const flood: Socket[] = [];
    t.teardown(async () => {
      for (const socket of flood) socket.destroy();
      child.kill();
      await server.close();
      await rm(folder, { recursive: true, force: true });
    });
    let output = "";
    const address = await new Promise<string>((resolve, reject) => {
      child.stdout.on("data", (chunk: Buffer) => {
        output += chunk.toString();
        const found = /"listen":\["([^"]+)"\]/.exec(output)?.[1];
        if (found !== undefined) resolve(found);
      });
      child.on("exit", () => reject(new Error(`ended: ${output}`)));
    });
    const colon = address.lastIndexOf(":");
    let closed = 0;
    await new Promise<void>((resolve) => {
      for (let nth = 0; nth < 300; nth++) {
        const socket = connect(Number(address.slice(colon + 1)), address.slice(0, colon));
        socket.on("error", () => undefined);
        socket.on("close", () => {
          if (++closed === 100) resolve();
        });
        flood.push(socket);
      }
    });
    t.equal(child.exitCode, null);
    for (const socket of flood) socket.destroy();
    const late = AbortSignal.timeout(2000);
    let status = 0;
    while (status !== 200 && !late.aborted)
      status = statusOf(await once(address, "GET / HTTP/1.1\nHost: x").catch(() => ""));
    t.equal(status, 200);
    t.equal(child.exitCode, null);
    t.ok(output.split("\n").length < 20, output);
    t.match(output, /"level":"?\w+"?.*fewer client connections than limits\.connections/);
    let only: RawClient;
    for (;;) {
      only = await raw(address);
      only.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      if (statusOf(await only.until(/\r\n\r\n/).catch(() => "")) === 200) break;
      // The one before may not be out of the count yet, and one that is turned away is in it as long as it is open.
      only.destroy();
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    t.equal(statusOf(await once(address, "GET / HTTP/1.1\nHost: x")), 503, "the lower limit is in force");
    only.destroy();
  },
);
