/** Alerts, in front of Debian's Alertmanager as it is: what its API shows is what people are told. */

import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import type { Notice } from "../../src/engine/ports.ts";
import { alertmanagerChannel } from "../../src/notify/alertmanager.ts";
import { clock as realClock } from "../../src/platform.ts";
import { fakeClock } from "../support/clock.ts";
import { KEY, later, noticeOf, senderOf, toldOf, type Told } from "../support/notices.ts";
import { watched } from "../support/program.ts";
import { during, slackHook } from "../support/receivers.ts";

const PROGRAM = "/usr/bin/prometheus-alertmanager";
const AMTOOL = "/usr/bin/amtool";
const isThere = existsSync(PROGRAM) && existsSync(AMTOOL);
const inCi = process.env["CI"] !== undefined;

t.setTimeout(30_000);

/** A port that is free now. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // a port was asked for
  server.close();
  await once(server, "close");
  return port;
}

/** A running Alertmanager that tells nobody. */
async function alertmanager(t: Test): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-alertmanager-"));
  const config = join(folder, "alertmanager.yml");
  await writeFile(config, "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n");
  const address = `127.0.0.1:${await freePort()}`;
  const child = spawn(
    PROGRAM,
    [
      `--config.file=${config}`,
      `--storage.path=${folder}`,
      `--web.listen-address=${address}`,
      "--cluster.listen-address=",
    ],
    { stdio: ["ignore", "pipe", "pipe"] },
  );
  const said = watched(child);
  t.teardown(async () => {
    child.kill("SIGKILL");
    await said.ended;
    await rm(folder, { recursive: true, force: true });
  });
  await said.says(/msg="Listening on"/);
  return `http://${address}`;
}

interface Shown {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly status: { readonly state: string };
  readonly startsAt: string;
  readonly endsAt: string;
  readonly generatorURL: string;
}

/** What is firing, by the API. */
async function firing(url: string): Promise<readonly Shown[]> {
  const answer = await fetch(`${url}/api/v2/alerts`);
  return (await answer.json()) as readonly Shown[]; // as its API says
}

function channelOf(t: Test, url: string, told: Told) {
  const sender = senderOf();
  const channel = alertmanagerChannel({ ...told, url, sender });
  t.teardown(() => channel.close());
  return {
    ...channel,
    tell: (notice: Notice = noticeOf()) =>
      channel.send({ id: notice.id, notice, attempt: 1 }, new AbortController().signal),
  };
}

t.test(
  "an alert is shown while its incident is open, is one however often it is sent, and is gone when it is resolved, over restarts",
  { skip: isThere || inCi ? false : "there is no Alertmanager here" },
  async (t) => {
    if (!isThere) throw new Error("there is no Alertmanager, and CI must have one");
    const url = await alertmanager(t);
    // Its own clock is the real one: what ends in its past is not shown.
    const told = {
      ...toldOf(),
      clock: { ...fakeClock(), wall: () => realClock.wall() },
      console: "https://sluice.example/",
    };
    const first = channelOf(t, url, told);
    t.same(await first.tell(), { ok: true });
    t.same(await first.tell(), { ok: true });
    const [alert, ...others] = await firing(url);
    t.same(others, []);
    t.match(alert, {
      labels: {
        alertname: "sluice_rollback_done",
        service: "sluice",
        environment: "production",
        route: "app",
        severity: "critical",
        incident: KEY,
      },
      annotations: {
        summary: noticeOf().summary,
        description: "error_rate > 1 %: 41 of 820",
        rollout: "r-1",
      },
      generatorURL: "https://sluice.example/",
    });
    const { stdout } = await promisify(execFile)(AMTOOL, [
      `--alertmanager.url=${url}`,
      "alert",
      "query",
      "route=app",
    ]);
    t.match(stdout, /sluice_rollback_done/);
    // Louder: with another label it is another alert, and takes the first one's place.
    t.same(await first.tell(noticeOf({ id: "louder", severity: "emergency" })), { ok: true });
    t.same(
      (await firing(url)).map(({ labels }) => labels["severity"]),
      ["emergency"],
    );
    t.same(await first.tell(later("acknowledge")), { ok: true });
    t.equal((await firing(url)).length, 1, "it knows no acknowledging");
    // Another process, with the same outbox.
    const second = channelOf(t, url, told);
    t.same(await second.tell(later("resolve")), { ok: true });
    t.same(await firing(url), []);
    t.same(await second.tell(later("resolve")), { ok: true }, "what is not open needs no end");
    t.match(await second.test?.({ id: "x", notice: noticeOf(), attempt: 1 }, new AbortController().signal), {
      ok: true,
      detail: /nobody was told/,
    });
    t.same(await firing(url), []);
    const { incident: _, ...alone } = noticeOf({ event: "state_unwritable", route: "" });
    t.same(await second.tell(alone), { ok: true });
    t.match(await firing(url), [{ labels: { alertname: "sluice_state_unwritable" } }]);
  },
);

t.test(
  "an open alert is sent again each minute, so that it outlives Alertmanager's patience, until it is resolved",
  async (t) => {
    const service = await during(t, slackHook());
    const posted: { readonly endsAt: string }[][] = [];
    service.instead = (response, { body }) => {
      posted.push(Object.values(body) as { readonly endsAt: string }[]);
      response.end();
      return true;
    };
    const told = toldOf();
    const channel = channelOf(t, service.url, told);
    await told.clock.advance("3m");
    t.equal(posted.length, 0, "nothing is open");
    await channel.tell();
    await told.clock.advance("10m");
    t.equal(posted.length, 11);
    const lives = posted.map(([alert]) => Date.parse(alert?.endsAt ?? ""));
    t.equal((lives.at(-1) ?? 0) - told.clock.wall(), 240_000, "and lives on for a few minutes");
    // After a restart, too.
    await channel.close();
    const again = channelOf(t, service.url, told);
    await told.clock.advance("1m");
    t.equal(posted.length, 12);
    service.instead = (response) => {
      response.writeHead(500).end("down");
      return true;
    };
    await told.clock.advance("1m");
    t.match(told.log.lines, [{ level: "warn", message: "open alerts could not be sent again" }]);
    service.instead = (response, { body }) => {
      posted.push(Object.values(body) as { readonly endsAt: string }[]);
      response.end();
      return true;
    };
    await again.tell(later("resolve"));
    t.equal(posted.at(-1)?.[0]?.endsAt, new Date(told.clock.wall()).toISOString());
    await told.clock.advance("5m");
    t.equal(posted.length, 13);
  },
);
