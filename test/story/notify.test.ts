/** A rollback, told over every channel by the whole program: once, whatever hangs, and whenever it is killed. */

import { EventEmitter, once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SMTPServer } from "smtp-server";
import t, { type Test } from "tap";
import { ask, failing, command, configFile, program, service, type Process } from "../support/program.ts";
import {
  during,
  HOOK_SECRET,
  pagerDuty,
  ROUTING_KEY,
  signedHook,
  slack,
  slackHook,
  SLACK_TOKEN,
} from "../support/receivers.ts";
import { until, untilEvent } from "../support/until.ts";

t.setTimeout(60_000);

/** A mail server, and the texts that it has taken; `hold` keeps it from answering. */
async function mailServer(t: Test) {
  const taken: string[] = [];
  const mails = new EventEmitter();
  const made = {
    taken,
    port: 0,
    hold: false,
    asked: 0,
    /** Resolves when there were `count` mails, whatever became of them. */
    untilAsked: (count: number): Promise<void> =>
      untilEvent(`there are ${count} mails`, mails, "asked", () => made.asked >= count),
  };
  const server = new SMTPServer({
    authOptional: true,
    closeTimeout: 100,
    disabledCommands: ["AUTH", "STARTTLS"],
    onData(stream, _session, done) {
      let text = "";
      stream.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      stream.on("end", () => {
        made.asked += 1;
        mails.emit("asked");
        if (made.hold) return;
        taken.push(text);
        done();
      });
    },
  });
  server.on("error", () => {});
  server.listen(0, "127.0.0.1");
  await once(server.server, "listening");
  t.teardown(() => new Promise<void>((resolve) => server.close(resolve)));
  made.port = (server.server.address() as AddressInfo).port; // a port was asked for
  return made;
}

/** Everybody who can be told. */
async function everybody(t: Test) {
  const [chat, pager, hook, alerts] = [
    await during(t, slack()),
    await during(t, pagerDuty()),
    await during(t, signedHook()),
    await during(t, slackHook()),
  ];
  const mail = await mailServer(t);
  const alerted: { readonly labels: { readonly incident?: string }; readonly endsAt: string }[] = [];
  alerts.instead = (response, { body }) => {
    // The form of Alertmanager's API, which its own test holds against the real one.
    alerted.push(...(Object.values(body) as typeof alerted));
    response.end();
    return true;
  };
  const notify = {
    slack: { token: { env: SLACK_TOKEN }, channel: "#deployments", api: chat.url },
    pagerduty: { routingKey: { env: ROUTING_KEY }, url: pager.url },
    email: { smtp: `smtp://127.0.0.1:${mail.port}`, from: "sluice@app.example", to: ["ops@app.example"] },
    webhook: { url: hook.url, secret: { env: HOOK_SECRET } },
    alertmanager: { url: alerts.url },
  };
  return { chat, pager, hook, alerts, mail, alerted, notify };
}

const BROKEN = { rollback: { verify: "10s", confirm: false } };

t.test(
  "a rollback is one page, one thread, one mail and one alert, and its end closes what it has opened",
  async (t) => {
    const { chat, pager, hook, mail, alerted, notify } = await everybody(t);
    const p = await program(BROKEN, { notify });
    t.teardown(() => p.close());
    await p.setWeight(50);
    const rolledBack = await p.api("/v1/rollouts/app/rollback", { reason: "latency" });
    t.equal(rolledBack.status, 200, JSON.stringify(rolledBack.body));
    await pager.until(1);
    await p.clock.advance("30s");
    await pager.until(2);
    await p.stop();
    t.match(
      pager.taken.map(({ body }) => body["event_action"]),
      ["trigger", "resolve"],
    );
    const key = pager.taken[0]?.body["dedup_key"];
    t.match(key, /^sluice\/production\/app\/[^/]+\/rollback$/);
    t.equal(pager.taken[1]?.body["dedup_key"], key);
    const threads = chat.taken.filter(
      ({ path, body }) => path === "/chat.postMessage" && body["thread_ts"] === undefined,
    );
    t.equal(threads.length, 1);
    t.equal(mail.taken.filter((text) => /^Subject: .*EMERGENCY/m.test(text)).length, 1);
    t.equal(new Set(mail.taken.map((text) => /^References: (.*)$/m.exec(text)?.[1])).size, 1, "one thread");
    const ours = alerted.filter(({ labels }) => labels.incident === key);
    t.ok(ours.length >= 2);
    t.ok(Date.parse(ours.at(-1)?.endsAt ?? "") <= p.clock.wall(), "and it has ended");
    const ids = hook.taken.map(({ headers }) => headers["webhook-id"]);
    t.equal(new Set(ids).size, ids.length, "nothing twice");
    for (const each of [chat, pager, hook]) t.same(each.wrong, []);
  },
);

t.test(
  "with every channel hanging a rollback takes one tick, and what could not be told is counted (acceptance 13)",
  async (t) => {
    const { chat, pager, hook, alerts, mail, notify } = await everybody(t);
    for (const each of [chat, pager, hook, alerts]) each.instead = () => true;
    mail.hold = true;
    const p = await program({ rollback: { confirm: false } }, { notify });
    t.teardown(() => p.close());
    await p.setWeight(50);
    p.canary.answer = failing;
    let ticks = 0;
    while ((await p.status()).weight > 0 && ticks < 30) {
      await Promise.all(Array.from({ length: 60 }, (_, i) => p.get(`user-${ticks}-${i}`)));
      await p.clock.advance("1s");
      ticks += 1;
    }
    t.match(await p.status(), { weight: 0, phase: "rolled_back" });
    t.ok(ticks <= 3, `${ticks} ticks`);
    await until("the rollback is told", () => p.notices.some(({ event }) => event === "ROLLBACK_DONE"));
    for (const each of [chat, pager, hook, alerts, mail]) await each.untilAsked(1);
    /** What the metrics say of a channel: a count of each result. */
    const counted = async (channel: string): Promise<Readonly<Record<string, number>>> => {
      const { body } = await ask(`http://${p.running.adminAddress}`, { path: "/metrics" });
      const lines = body.matchAll(/^sluice_notifications_total\{channel="(\w+)",result="(\w+)"\} (\d+)$/gm);
      return Object.fromEntries(
        [...lines].flatMap(([, of, result = "", count]) => (of === channel ? [[result, Number(count)]] : [])),
      );
    };
    for (const channel of Object.keys(notify)) {
      // An attempt has ten seconds.
      await until(
        `what ${channel} did not take is counted`,
        async () => {
          const { failed = 0, in_doubt: inDoubt = 0 } = await counted(channel);
          return failed + inDoubt > 0;
        },
        30_000,
      );
      t.match(await counted(channel), { sent: 0 }, channel);
    }
    await p.stop();
  },
);

t.test(
  "killed while every channel is being told: each is told once, and what may have arrived is not said twice",
  async (t) => {
    const { chat, pager, hook, alerts, mail, notify } = await everybody(t);
    const folder = await mkdtemp(join(tmpdir(), "sluice-notify-"));
    const [stable, canary] = [await service("stable"), await service("canary")];
    const config = await configFile(folder, {
      listen: [{ address: "127.0.0.1:0" }],
      admin: { address: `unix:${join(folder, "admin.sock")}` },
      state: `file:${join(folder, "state")}`,
      reports: join(folder, "reports"),
      backups: { folder: join(folder, "backups") },
      drain: { delay: "0s", timeout: "1s" },
      notify: {
        ...notify,
        slack: { ...notify.slack, token: { env: "SLACK" } },
        pagerduty: { ...notify.pagerduty, routingKey: { env: "PD" } },
        webhook: { ...notify.webhook, secret: { env: "HOOK" } },
      },
      routes: [{ name: "app", stable: { endpoints: [stable.url] }, canary: { endpoints: [canary.url] } }],
    });
    const processes: Process[] = [];
    t.teardown(async () => {
      for (const each of processes) each.child.kill("SIGKILL");
      await Promise.all(processes.map((each) => each.ended));
      for (const each of [stable, canary]) await each.close();
      await rm(folder, { recursive: true, force: true });
    });
    const run = async (): Promise<Process> => {
      const started = command(["run", "-c", config], {
        SLACK: SLACK_TOKEN,
        PD: ROUTING_KEY,
        HOOK: HOOK_SECRET,
      });
      processes.push(started);
      await started.says(/"listen":/);
      return started;
    };
    const sluice = async (...args: readonly string[]): Promise<void> => {
      const asked = command([
        ...args,
        "--admin",
        `unix:${join(folder, "admin.sock")}`,
        "--state",
        join(folder, "state"),
      ]);
      t.equal(await asked.ended, 0, asked.output());
    };
    const first = await run();
    await sluice("set-weight", "app", "50", "--reason", "test", "--yes");
    await hook.until(1);
    // From now on nobody answers.
    const before = new Map([chat, pager, hook].map((each) => [each, each.asked]));
    for (const each of [chat, pager, hook, alerts]) each.instead = () => true;
    mail.hold = true;
    await sluice("rollback", "app", "--reason", "manual");
    for (const [each, asked] of before) await each.untilAsked(asked + 1);
    await mail.untilAsked(1);
    first.child.kill("SIGKILL");
    await first.ended;

    for (const each of [chat, pager, hook]) each.instead = () => false;
    alerts.instead = (response) => {
      response.end();
      return true;
    };
    mail.hold = false;
    const [asked, mails] = [chat.asked, mail.asked];
    for (let round = 0; round < 2; round += 1) {
      const again = await run();
      await pager.until(1);
      if (round === 0)
        await again.says(
          /may or may not have arrived.*"channel":"slack"|"channel":"slack".*may or may not have arrived/,
        );
      again.child.kill("SIGTERM");
      t.equal(await again.ended, 0);
    }
    t.equal(pager.taken.length, 1, "the page comes once more, under the same key, and then never");
    t.match(pager.taken[0]?.body, { event_action: "trigger", dedup_key: /\/rollback$/ });
    t.equal(chat.asked, asked, "Slack would show it twice");
    t.equal(mail.asked, mails, "and so would mail");
    const ids = hook.taken.map(({ headers }) => headers["webhook-id"]);
    t.equal(new Set(ids).size, ids.length, "each once");
    t.ok(ids.some((id) => String(id).endsWith(":ROLLBACK_DONE")));
    for (const each of [chat, pager, hook]) t.same(each.wrong, []);
  },
);
