import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from "node:http";
import { createServer as createTcp, type AddressInfo } from "node:net";
import t, { type Test } from "tap";
import { millis } from "../../src/domain/units.ts";
import type { Notice } from "../../src/engine/ports.ts";
import type { Channel, Delivery, Message } from "../../src/notify/channel.ts";
import { createFanout, type Fanout } from "../../src/notify/fanout.ts";
import { logChannel } from "../../src/notify/lines.ts";
import { signatureFields } from "../../src/notify/signature.ts";
import { createSender } from "../../src/notify/post.ts";
import { webhookChannel } from "../../src/notify/webhook.ts";
import { memoryOutbox } from "../../src/store/outbox.ts";
import { fakeClock } from "../support/clock.ts";
import { quietLog } from "../support/silence.ts";
import { until } from "../support/until.ts";

function notice(summary: string, severity: Notice["severity"] = "warning"): Notice {
  return {
    id: `app:r-1:${summary}`,
    severity,
    event: "rolled_back",
    route: "app",
    rollout: "r-1",
    summary,
    lines: [summary, "5% of the requests"],
    details: { weight: 5 },
    incident: { key: "sluice/production/app/r-1/rollback", action: "trigger" },
    audience: "operators",
  };
}

const QUICK = { timeoutMs: 50, backoffMs: 1, closeMs: 2000 };
const SENT: Delivery = { ok: true };

/** What a fan-out needs, with an outbox in memory. */
function parts(log = quietLog()) {
  const clock = fakeClock();
  return { log, outbox: memoryOutbox(clock, log), wall: () => clock.wall() };
}

/** Over all channels. */
function total(fanout: Fanout) {
  const sums = { sent: 0, failed: 0, dropped: 0 };
  for (const { sent, failed, dropped } of Object.values(fanout.stats())) {
    sums.sent += sent;
    sums.failed += failed;
    sums.dropped += dropped;
  }
  return sums;
}

/** A channel that remembers what it was given; `answer` says how an attempt ends. */
function channel(name: string, answer: (message: Message, signal: AbortSignal) => Promise<Delivery>) {
  const seen: Message[] = [];
  const made: Channel & { readonly seen: readonly Message[]; closed: number } = {
    name,
    isKeyed: true,
    seen,
    closed: 0,
    async send(message, signal) {
      seen.push(message);
      return answer(message, signal);
    },
    async close() {
      made.closed += 1;
    },
  };
  return made;
}

t.test("every channel gets every notice, in order, and notify itself does nothing but queue", async (t) => {
  const [a, b] = [channel("a", async () => SENT), channel("b", async () => SENT)];
  const fanout = createFanout([a, b], parts(), QUICK);
  for (const summary of ["one", "two", "three"]) fanout.notify(notice(summary));
  t.equal(a.seen.length, 0, "nothing was sent before notify returned");
  await fanout.close();
  for (const each of [a, b]) {
    t.same(
      each.seen.map((message) => message.notice.summary),
      ["one", "two", "three"],
    );
    t.equal(new Set(each.seen.map((message) => message.id)).size, 3);
    t.equal(each.closed, 1);
  }
  t.same(total(fanout), { sent: 6, failed: 0, dropped: 0 });
});

t.test("whoever hands a message over hears when nothing more becomes of it", async (t) => {
  let ended = 0;
  const handing = { mayHaveArrived: false, done: () => void (ended += 1) };
  let answer: (delivery: Delivery) => void = () => {};
  const slow = channel("slow", () => new Promise((resolve) => (answer = resolve)));
  const deaf = {
    ...channel("deaf", async () => SENT),
    interest: { severities: [], audiences: [], repeatMs: millis(0), digest: false },
  };
  const broken = channel("broken", async () => ({ ok: false, retry: false, detail: "status 400" }));
  const fanout = createFanout([slow, deaf, broken], parts(), { ...QUICK, timeoutMs: 60_000 });
  const one = notice("one");
  fanout.notify(one, handing);
  fanout.notify(one, handing);
  await until("it was refused", () => broken.seen.length > 0);
  t.equal(ended, 0, "one channel has it still");
  answer(SENT);
  await until("both have ended", () => ended === 2);
  t.equal(slow.seen.length, 1, "it was sent once");
  fanout.notify(notice("two"), handing);
  await until("it is being sent", () => slow.seen.length === 2);
  await fanout.close();
  fanout.notify(notice("three"), handing);
  t.equal(ended, 2, "what an end of the program has cut off is another's to tell");
});

t.test("what may have arrived is sent where two are taken for one, and is in doubt elsewhere", async (t) => {
  const keyed = channel("keyed", async () => SENT);
  const plain = { ...channel("plain", async () => SENT), isKeyed: false };
  const fanout = createFanout([keyed, plain], parts(), QUICK);
  let ended = 0;
  fanout.notify(notice("one"), { mayHaveArrived: true, done: () => void (ended += 1) });
  await fanout.close();
  t.equal(keyed.seen.length, 1);
  t.equal(plain.seen.length, 0);
  t.match(fanout.stats(), { keyed: { sent: 1 }, plain: { sent: 0, inDoubt: 1 } });
  t.equal(ended, 1);
});

t.test("a failure is tried again under the same id, and given up after the last attempt", async (t) => {
  const flaky = channel("flaky", async ({ attempt }) =>
    attempt < 3 ? { ok: false, retry: true, detail: "busy" } : SENT,
  );
  const broken = channel("broken", () => Promise.reject(new Error("bug")));
  const refusing = channel("refusing", async () => ({ ok: false, retry: false, detail: "status 400" }));
  const log = quietLog();
  const fanout = createFanout([flaky, broken, refusing], parts(log), { ...QUICK, retries: 3 });
  fanout.notify(notice("one"));
  await fanout.close();
  t.same(
    flaky.seen.map((message) => message.attempt),
    [1, 2, 3],
  );
  t.equal(new Set(flaky.seen.map((message) => message.id)).size, 1);
  t.equal(broken.seen.length, 4);
  t.equal(refusing.seen.length, 1, "what would be refused again is not sent again");
  t.same(total(fanout), { sent: 1, failed: 7, dropped: 2 });
  t.match(
    log.lines.map((line) => line.fields),
    [
      { channel: "refusing", detail: "status 400" },
      { channel: "broken", detail: "bug" },
    ],
  );
});

t.test("a channel that throws at once instead of rejecting troubles nobody", async (t) => {
  const rude: Channel = {
    name: "rude",
    isKeyed: true,
    send: () => {
      throw new Error("at once");
    },
    close: () => Promise.reject(new Error("nor does it close")),
  };
  const polite = channel("polite", async () => SENT);
  const fanout = createFanout([rude, polite], parts(), { ...QUICK, retries: 1 });
  t.doesNotThrow(() => fanout.notify(notice("one")));
  await fanout.close();
  t.equal(polite.seen.length, 1);
  t.same(total(fanout), { sent: 1, failed: 2, dropped: 1 });
});

t.test(
  "a channel that hangs, and ignores that nobody waits any longer, holds up neither the others nor its own queue",
  async (t) => {
    const aborted: boolean[] = [];
    const hanging = channel("hanging", ({ notice: { summary } }, signal) => {
      if (summary !== "one") return Promise.resolve(SENT);
      signal.addEventListener("abort", () => aborted.push(true));
      return new Promise(() => {});
    });
    const quick = channel("quick", async () => SENT);
    const fanout = createFanout([hanging, quick], parts(), { ...QUICK, retries: 1 });
    fanout.notify(notice("one"));
    fanout.notify(notice("two"));
    await new Promise((resolve) => setImmediate(resolve));
    t.equal(quick.seen.length, 2, "the other channel is done while this one hangs");
    await fanout.close();
    t.same(
      hanging.seen.map((message) => message.notice.summary),
      ["one", "one", "two"],
    );
    t.same(aborted, [true, true], "each attempt was told to stop");
    t.same(total(fanout), { sent: 3, failed: 2, dropped: 1 });
  },
);

t.test("a full queue gives up the oldest of the least severe, never the one that pages", async (t) => {
  let letGo = () => {};
  const held = new Promise<void>((resolve) => (letGo = resolve));
  const slow = channel("slow", async () => (await held, SENT));
  const fanout = createFanout([slow], parts(), { ...QUICK, timeoutMs: 60_000, queue: 3 });
  fanout.notify(notice("in hand"));
  await new Promise((resolve) => setImmediate(resolve));
  fanout.notify(notice("page", "emergency"));
  for (let n = 1; n <= 3; n += 1) fanout.notify(notice(`warning ${n}`));
  fanout.notify(notice("info", "info"));
  fanout.notify(notice("page again", "emergency"));
  for (let n = 1; n <= 1000; n += 1) fanout.notify(notice(`flood ${n}`));
  letGo();
  await fanout.close();
  t.same(
    slow.seen.map((message) => message.notice.summary),
    ["in hand", "page", "page again", "flood 1000"],
  );
  t.same(total(fanout), { sent: 4, failed: 0, dropped: 1003 });
});

t.test("closing gives up what cannot be sent in time, and refuses what comes later", async (t) => {
  const hanging = channel("hanging", () => new Promise(() => {}));
  const fanout = createFanout([hanging], parts(), { timeoutMs: 60_000, closeMs: 20 });
  for (const summary of ["one", "two", "three"]) fanout.notify(notice(summary));
  await Promise.all([fanout.close(), fanout.close()]);
  fanout.notify(notice("late"));
  t.equal(hanging.seen.length, 1);
  t.equal(hanging.closed, 1);
  t.match(total(fanout), { sent: 0, dropped: 4 });
});

t.test("a pause between two attempts ends when the notifier is closed", async (t) => {
  const failing = channel("failing", async () => ({ ok: false, retry: true, detail: "busy" }));
  const fanout = createFanout([failing], parts(), { backoffMs: 3_600_000, closeMs: 20 });
  fanout.notify(notice("one"));
  await new Promise((resolve) => setImmediate(resolve));
  await fanout.close();
  t.same(total(fanout), { sent: 0, failed: 1, dropped: 1 });
});

t.test("the log is a channel: the severity is the level", async (t) => {
  const log = quietLog();
  const fanout = createFanout([logChannel(log)], parts());
  for (const severity of ["info", "warning", "critical", "emergency"] as const)
    fanout.notify(notice(severity, severity));
  await fanout.close();
  t.match(log.lines, [
    { level: "info", message: "info", fields: { event: "rolled_back", route: "app" } },
    { level: "warn", message: "warning" },
    { level: "error", message: "critical" },
    { level: "error", message: "emergency" },
  ]);
});

// --- the webhook -------------------------------------------------------------------------------------------------------------------

interface Posted {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

async function receiver(t: Test, answer: (response: ServerResponse, count: number) => void) {
  const posted: Posted[] = [];
  const server: Server = createServer((request, response) => {
    let body = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
    request.on("end", () => {
      posted.push({ method: request.method ?? "", url: request.url ?? "", headers: request.headers, body });
      answer(response, posted.length);
    });
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo; // a port was asked for
  return { posted, url: `http://127.0.0.1:${port}/hook?a=1` };
}

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

function hook(t: Test, url: string, secret: string | null = SECRET): Channel {
  const clock = fakeClock();
  const lookup = () => Promise.resolve(["127.0.0.1"]);
  const sender = createSender({ lookup, allowPrivate: false, wall: () => clock.wall() });
  const made = webhookChannel({
    url,
    secret: secret ?? undefined,
    environment: "production",
    clock,
    sender,
  });
  t.teardown(() => made.close());
  return made;
}

const MESSAGE: Message = { id: "msg_1", notice: notice("ä summary\n"), attempt: 1 };
const patient = new AbortController().signal;

t.test("the signature is that of the Standard Webhooks libraries", async (t) => {
  const body = '{"test": 2432232314}';
  t.same(signatureFields(SECRET, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body), {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
  });
  t.same(signatureFields(undefined, "i", 1, body), { "webhook-id": "i", "webhook-timestamp": "1" });
  const plain = createHmac("sha256", "any text").update(`i.1.${body}`).digest("base64");
  t.equal(signatureFields("any text", "i", 1, body)["webhook-signature"], `v1,${plain}`);
});

t.test(
  "a notice is one POST of JSON whose signature the receiver can check over the bytes it got",
  async (t) => {
    const { posted, url } = await receiver(t, (response) => response.writeHead(204).end());
    t.same(await hook(t, url).send(MESSAGE, patient), { ok: true });
    const [post] = posted;
    t.match(post, { method: "POST", url: "/hook?a=1", headers: { "content-type": "application/json" } });
    const id = post?.headers["webhook-id"];
    const timestamp = post?.headers["webhook-timestamp"];
    t.equal(id, "msg_1");
    t.equal(timestamp, String(Date.UTC(2026, 0, 5, 9) / 1000));
    const key = Buffer.from(SECRET.slice(6), "base64");
    const expected = createHmac("sha256", key).update([id, timestamp, post?.body].join(".")).digest("base64");
    t.equal(post?.headers["webhook-signature"], `v1,${expected}`);
    t.same(JSON.parse(post?.body ?? ""), {
      type: "sluice.rolled_back",
      timestamp: "2026-01-05T09:00:00.000Z",
      data: { environment: "production", ...MESSAGE.notice },
    });
  },
);

t.test("an answer says whether another attempt makes sense; a redirect is not followed", async (t) => {
  const statuses = [200, 299, 302, 400, 404, 408, 410, 429, 500, 503];
  const { posted, url } = await receiver(t, (response, count) => {
    response.writeHead(statuses[count - 1] ?? 500, { location: "/elsewhere" }).end("x".repeat(200_000));
  });
  const channel = hook(t, url, null);
  const deliveries: Delivery[] = [];
  for (const _ of statuses) deliveries.push(await channel.send(MESSAGE, patient));
  t.same(deliveries, [
    { ok: true },
    { ok: true },
    { ok: false, retry: false, detail: "status 302" },
    { ok: false, retry: false, detail: "status 400" },
    { ok: false, retry: false, detail: "status 404" },
    { ok: false, retry: true, detail: "status 408" },
    { ok: false, retry: false, detail: "status 410" },
    { ok: false, retry: true, detail: "status 429" },
    { ok: false, retry: true, detail: "status 500" },
    { ok: false, retry: true, detail: "status 503" },
  ]);
  t.equal(posted.length, statuses.length);
  t.notOk(posted.some((post) => "webhook-signature" in post.headers));
});

t.test(
  "a receiver that is not there, resets or never answers is a failure that may pass, and names no address",
  async (t) => {
    const resetting = createTcp(
      (socket) => void socket.on("error", () => {}).once("data", () => socket.destroy()),
    );
    await once(resetting.listen(0, "127.0.0.1"), "listening");
    const { port } = resetting.address() as AddressInfo; // a port was asked for
    const url = `http://127.0.0.1:${port}/secret-path`;
    t.match(await hook(t, url).send(MESSAGE, patient), {
      ok: false,
      retry: true,
      detail: /^UND_ERR_SOCKET$/,
    });
    resetting.close();
    await once(resetting, "close");
    t.match(await hook(t, url).send(MESSAGE, patient), {
      ok: false,
      retry: true,
      detail: "ECONNREFUSED",
      isUnknown: false,
    });

    const silent = await receiver(t, () => {});
    const log = quietLog();
    const fanout = createFanout([hook(t, silent.url)], parts(log), { ...QUICK, retries: 1 });
    fanout.notify(notice("one"));
    await fanout.close();
    t.same(total(fanout), { sent: 0, failed: 2, dropped: 1 });
    t.notMatch(JSON.stringify(log.lines), /127\.0\.0\.1/);
  },
);

t.test("a notice whose details are not JSON is a failure like any other", async (t) => {
  const channel = hook(t, "http://127.0.0.1:9/");
  const fanout = createFanout([channel], parts(), { ...QUICK, retries: 0 });
  fanout.notify({ ...notice("one"), details: { count: 1n } });
  await fanout.close();
  t.same(total(fanout), { sent: 0, failed: 1, dropped: 1 });
});
