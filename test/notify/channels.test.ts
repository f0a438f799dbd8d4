/** Slack, PagerDuty and a webhook's receiver, each played by a server that holds every request against what is published of its API. */

import { createServer } from "node:net";
import { once } from "node:events";
import t, { type Test } from "tap";
import type { Channel, Delivery } from "../../src/notify/channel.ts";
import { createFanout } from "../../src/notify/fanout.ts";
import { pagerDutyChannel } from "../../src/notify/pagerduty.ts";
import { slackChannel } from "../../src/notify/slack.ts";
import { webhookChannel } from "../../src/notify/webhook.ts";
import { KEY, later, noticeOf, senderOf, toldOf, type Told } from "../support/notices.ts";
import {
  during,
  HOOK_SECRET,
  pagerDuty,
  ROUTING_KEY,
  signedHook,
  slack,
  slackHook,
  SLACK_TOKEN,
  type Json,
} from "../support/receivers.ts";

const patient = new AbortController().signal;
const QUICK = { timeoutMs: 150, backoffMs: 1, closeMs: 2000, retries: 2 };

function bot(t: Test, api: string, told: Told = toldOf(), token = SLACK_TOKEN): Channel {
  const sender = senderOf();
  t.teardown(() => sender.close());
  return slackChannel({ ...told, sender, to: { api, token, channel: "#deployments" } });
}

function pager(t: Test, url: string, told: Told = toldOf(), routingKey = ROUTING_KEY): Channel {
  const sender = senderOf();
  t.teardown(() => sender.close());
  return pagerDutyChannel({ ...told, sender, url, routingKey });
}

function hook(t: Test, url: string, told: Told = toldOf()): Channel {
  const sender = senderOf();
  t.teardown(() => sender.close());
  return webhookChannel({ ...told, sender, url, secret: HOOK_SECRET });
}

function tell(channel: Channel, notice = noticeOf()): Promise<Delivery> {
  return channel.send({ id: notice.id, notice, attempt: 1 }, patient);
}

const bodies = (heard: readonly { readonly body: Json }[]): readonly Json[] => heard.map(({ body }) => body);

t.test(
  "a rollout is one thread in Slack, whose first message says where it stands, over restarts",
  async (t) => {
    const service = await during(t, slack());
    const told = toldOf();
    t.same(await tell(bot(t, service.url, told)), { ok: true });
    // Another process, with the same outbox.
    t.same(await tell(bot(t, service.url, told), later("resolve")), { ok: true });
    await service.until(3);
    const [first, reply, update] = service.taken;
    t.match(first, { path: "/chat.postMessage", body: { channel: "#deployments", unfurl_links: false } });
    t.equal(
      first?.body["text"],
      "[production] CRITICAL app: 5 % of requests failed, rolled back from 10 % to 0 %\nerror_rate &gt; 1 %: 41 of 820",
    );
    t.match(reply?.body, {
      channel: "C0123456789",
      thread_ts: "1700000000.000001",
      text: /^\[production\] INFO /,
    });
    t.match(update, { path: "/chat.update", body: { channel: "C0123456789", ts: "1700000000.000001" } });
    t.match(update?.body["text"], /^\[production\] INFO .*\n\n\[production\] CRITICAL /);
    t.same(await tell(bot(t, service.url, told), noticeOf({ rollout: "r-2", id: "app:r-2:1" })), {
      ok: true,
    });
    t.notOk("thread_ts" in (service.taken[3]?.body ?? {}), "the next rollout is a thread of its own");
    t.same(service.wrong, []);
  },
);

t.test("nothing of a message is mark-up in Slack, however it is written", async (t) => {
  const service = await during(t, slackHook());
  const sender = senderOf();
  t.teardown(() => sender.close());
  const told = { ...toldOf(), console: "https://sluice.example/" };
  const channel = slackChannel({ ...told, sender, to: { url: `${service.url}/services/T0/B0/hunter2` } });
  const summary = "<!channel> see <https://evil.example|the console>\r\n& more\u202e";
  t.same(await tell(channel, noticeOf({ summary, lines: [summary, "x".repeat(100_000)] })), { ok: true });
  const text = String(service.taken[0]?.body["text"]);
  t.match(
    text,
    /^\[production\] CRITICAL &lt;!channel&gt; see &lt;https:\/\/evil\.example\|the console&gt; &amp; more\n/,
  );
  t.match(text, /\n<https:\/\/sluice\.example\/\|Console>$/);
  t.ok(text.length < 4000, `${text.length} characters`);
  t.same(service.wrong, []);
});

t.test("Slack's refusals are told by their word, and never by the token or the address", async (t) => {
  const service = await during(t, slack());
  const stranger = bot(t, service.url, toldOf(), "xoxb-hunter2");
  t.match(await tell(stranger), { ok: false, retry: false, detail: "invalid_auth" });
  service.instead = (response) => {
    response.end(JSON.stringify({ ok: false, error: "internal_error" }));
    return true;
  };
  t.match(await tell(bot(t, service.url)), { ok: false, retry: true, detail: "internal_error" });
  service.instead = (response) => {
    response.end("<html>a portal</html>");
    return true;
  };
  t.match(await tell(bot(t, service.url)), { ok: false, retry: false, isUnknown: true });
  const closed = await during(t, slackHook());
  closed.instead = (response) => {
    response.writeHead(404).end("no_service");
    return true;
  };
  const sender = senderOf();
  t.teardown(() => sender.close());
  const channel = slackChannel({ ...toldOf(), sender, to: { url: `${closed.url}/services/hunter2` } });
  t.match(await tell(channel), { ok: false, retry: false, detail: "status 404: no_service" });
});

t.test("one page: opened, acknowledged and resolved by the same key", async (t) => {
  const service = await during(t, pagerDuty());
  const channel = pager(t, service.url, { ...toldOf(), console: "https://sluice.example/" });
  for (const notice of [noticeOf(), later("acknowledge"), later("resolve")])
    t.same(await tell(channel, notice), { ok: true });
  t.match(bodies(service.taken), [
    {
      event_action: "trigger",
      dedup_key: KEY,
      client: "sluice",
      client_url: "https://sluice.example/",
      links: [{ href: "https://sluice.example/", text: "Console" }],
      payload: {
        summary: noticeOf().summary,
        source: "sluice/production/app",
        severity: "error",
        timestamp: "2026-01-05T09:00:00.000Z",
        component: "app",
        group: "r-1",
        class: "ROLLBACK_DONE",
        custom_details: {
          environment: "production",
          lines: ["error_rate > 1 %: 41 of 820"],
          details: { to: 0 },
        },
      },
    },
    { event_action: "acknowledge", dedup_key: KEY },
    { event_action: "resolve", dedup_key: KEY },
  ]);
  t.same(service.wrong, []);
});

t.test("what PagerDuty would refuse is brought into its limits", async (t) => {
  const service = await during(t, pagerDuty());
  const channel = pager(t, service.url);
  const long = "x".repeat(2000);
  const huge = noticeOf({
    summary: long,
    details: { huge: long.repeat(1000) },
    incident: { key: long, action: "trigger" },
  });
  t.same(await tell(channel, huge), { ok: true });
  t.same(await tell(channel, { ...huge, incident: { key: long, action: "resolve" } }), { ok: true });
  const [trigger, resolve] = bodies(service.taken);
  t.equal(trigger?.["dedup_key"], resolve?.["dedup_key"]);
  const { incident: _, ...alone } = noticeOf({
    event: "state_unwritable",
    route: "",
    rollout: "",
    severity: "emergency",
  });
  t.same(await tell(channel, alone), { ok: true });
  t.match(service.taken[2]?.body, {
    dedup_key: "sluice/production//state_unwritable",
    payload: { severity: "critical" },
  });
  t.same(service.wrong, []);
});

t.test(
  "a wrong routing key is told without the key, and the test before a rollout pages nobody",
  async (t) => {
    const service = await during(t, pagerDuty());
    const wrong = pager(t, service.url, toldOf(), "hunter2");
    service.instead = (response, { body }) => {
      response
        .writeHead(400)
        .end(JSON.stringify({ message: "invalid", errors: [`no key ${String(body["routing_key"])}`] }));
      return true;
    };
    t.match(await tell(wrong), { ok: false, retry: false, detail: "status 400: invalid; no key [redacted]" });
    service.instead = () => false;
    const message = { id: "msg_1", notice: noticeOf(), attempt: 1 };
    t.match(await pager(t, service.url).test?.(message, patient), { ok: true, detail: /nobody was paged/ });
    t.same(bodies(service.taken), [
      { routing_key: ROUTING_KEY, event_action: "resolve", dedup_key: "sluice/test/msg_1" },
    ]);
  },
);

t.test("a webhook carries the whole message, under an id that any header can carry", async (t) => {
  const service = await during(t, signedHook());
  const notice = noticeOf({ id: "app:r-1:4:é\r\nx" });
  t.same(await tell(hook(t, service.url), notice), { ok: true });
  t.equal(service.taken[0]?.headers["webhook-id"], "app:r-1:4:%C3%A9%0D%0Ax");
  t.same(service.taken[0]?.body["data"], { environment: "production", ...notice });
  t.same(service.wrong, []);
});

t.test(
  "429 is asked again when the receiver said, in either of the two forms, and not later than is sensible",
  async (t) => {
    const service = await during(t, signedHook());
    const channel = hook(t, service.url);
    const said: readonly (readonly [string, number | undefined])[] = [
      ["7", 7000],
      ["Mon, 05 Jan 2026 09:00:30 GMT", 30_000],
      ["Mon, 05 Jan 2026 08:00:00 GMT", 0],
      ["soon", undefined],
    ];
    for (const [field, retryAfterMs] of said) {
      service.instead = (response) => {
        response.writeHead(429, { "retry-after": field }).end();
        return true;
      };
      t.match(await tell(channel), { ok: false, retry: true, detail: "status 429", retryAfterMs });
    }
  },
);

t.test("the fan-out waits for as long as a 429 asks for, and then delivers", async (t) => {
  for (const [service, made] of [
    [await during(t, slack()), bot],
    [await during(t, pagerDuty()), pager],
    [await during(t, signedHook()), hook],
  ] as const) {
    let field = "1";
    service.instead = (response) => {
      if (field === "") return false;
      response.writeHead(429, { "retry-after": field }).end();
      if (field === "1") field = "";
      return true;
    };
    const told = toldOf();
    const channel = made(t, service.url, told);
    const fanout = createFanout(
      [channel],
      { ...told, wall: () => told.clock.wall() },
      { ...QUICK, closeMs: 50 },
    );
    fanout.notify(noticeOf());
    await service.until(1);
    const before = service.asked;
    field = "86400";
    fanout.notify(later("resolve"));
    await service.untilAsked(before + 1);
    // Without the field it would be asked again a millisecond later, and not only once.
    await fanout.close();
    t.equal(service.asked, before + 1, channel.name);
    t.match(fanout.stats()[channel.name], { sent: 1, failed: 2, dropped: 1, lastError: "status 429" });
  }
});

t.test(
  "a receiver that hangs: asked again where it tells repetitions, in doubt where it does not",
  async (t) => {
    const [first, second] = [await during(t, pagerDuty()), await during(t, slack())];
    for (const each of [first, second]) each.instead = () => true;
    const told = toldOf();
    const parts = { ...told, wall: () => told.clock.wall() };
    const fanout = createFanout([pager(t, first.url, told), bot(t, second.url, told)], parts, QUICK);
    fanout.notify(noticeOf());
    await fanout.close();
    t.match(fanout.stats(), {
      pagerduty: { sent: 0, failed: 3, dropped: 1, inDoubt: 0 },
      slack: { sent: 0, failed: 1, dropped: 0, inDoubt: 1 },
    });
    t.equal(first.asked, 3);
    t.equal(second.asked, 1, "it may be there already");
    t.notMatch(JSON.stringify(told.log.lines), /127\.0\.0\.1|hunter2|0123456789abcdef/);
  },
);

t.test("a receiver that is not there has got nothing, and is asked again", async (t) => {
  const taken = createServer().listen(0, "127.0.0.1");
  await once(taken, "listening");
  const address = taken.address();
  const url = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
  taken.close();
  await once(taken, "close");
  t.match(await tell(bot(t, url)), { ok: false, retry: true, detail: "ECONNREFUSED", isUnknown: false });
});

t.test(
  "no message goes to a link-local or metadata address, whatever a name leads to, unless it is allowed",
  async (t) => {
    const why = /which is refused; `allowPrivate: true` would allow it$/;
    const cases: readonly (readonly [string, readonly string[]])[] = [
      ["http://169.254.169.254/latest", []],
      ["http://[fe80::1]/", []],
      ["http://[::ffff:169.254.169.254]/", []],
      ["http://hooks.example/", ["169.254.169.254"]],
      // One good answer does not make up for a bad one: the platform may take either.
      ["http://hooks.example/", ["127.0.0.1", "fd00:ec2::254"]],
    ];
    for (const [url, leadsTo] of cases) {
      const sender = senderOf(false, leadsTo);
      t.teardown(() => sender.close());
      const channel = webhookChannel({ ...toldOf(), sender, url, secret: undefined });
      t.match(await tell(channel), { ok: false, retry: false, detail: why, isUnknown: false }, url);
    }
    const service = await during(t, signedHook());
    const port = new URL(service.url).port;
    const sender = senderOf(true, ["127.0.0.1"]);
    t.teardown(() => sender.close());
    const allowed = webhookChannel({
      ...toldOf(),
      sender,
      url: `http://hooks.example:${port}/`,
      secret: HOOK_SECRET,
    });
    t.same(await tell(allowed), { ok: true });
  },
);
