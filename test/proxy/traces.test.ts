/** What an exchange tells of itself, and the trace context it hands on, over every lane. */

import t from "tap";
import type { Account } from "../../src/domain/account.ts";
import { client2 } from "../support/h2.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { once, raw, statusOf } from "../support/raw.ts";
import { NOBODY, reply, switching, upstream, type Script, type Upstream } from "../support/upstream.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER = "00f067aa0ba902b7";
const PARENT = `00-${TRACE}-${CALLER}-01`;
const FIELDS = `Host: x\nX-User: u\nTraceparent: ${PARENT}\nTracestate: vendor=1`;
const ON = { tracing: { sample: "100%" } };

interface Stand {
  readonly stable: Upstream;
  readonly canary: Upstream;
  readonly running: TestPlane;
  readonly accounts: Account[];
}

/** Two upstreams behind a plane that tells what `top` asks for. */
async function stand(
  t: { teardown(run: () => unknown): void },
  top: object,
  canaryAnswers: string | Script = reply(200, "canary"),
  route: object = {},
): Promise<Stand> {
  const stable = await upstream(reply(200, "stable"));
  const canary = await upstream(canaryAnswers);
  const accounts: Account[] = [];
  const told = (more: readonly Account[]): void => void accounts.push(...more);
  const urls = { stable: stable.url, canary: canary.url };
  const running = await startPlane(urls, { rescue: {}, ...route }, top, { told });
  t.teardown(async () => {
    await running.plane.close();
    await stable.close();
    await canary.close();
  });
  return { stable, canary, running, accounts };
}

/** The `traceparent` that an upstream was given with its `nth` request. */
const parentAt = ({ requests }: Upstream, nth: number): string => requests[nth]?.field("traceparent") ?? "";

void inEveryLane(
  "with traces off what came of a trace goes on as it came, and nothing is told",
  async (t) => {
    const { stable, running, accounts } = await stand(t, {});
    await once(running.address, `GET /a HTTP/1.1\n${FIELDS}`);
    t.equal(parentAt(stable, 0), PARENT);
    t.equal(stable.requests[0]?.field("tracestate"), "vendor=1");
    t.strictSame(accounts, []);
  },
);

void inEveryLane(
  "a sampled caller's exchange is told, and the upstream is a child of its sending",
  async (t) => {
    const { stable, running, accounts } = await stand(t, { tracing: { sample: "0%" } });
    await once(running.address, `GET /a?secret=1 HTTP/1.1\n${FIELDS}`);
    const [account] = accounts;
    const sending = account?.trace?.sendings[0];
    t.match(account, {
      route: "app",
      arm: "stable",
      why: "sticky",
      method: "GET",
      path: "/a",
      reason: "ok",
      status: 200,
      answered: 200,
      rescued: false,
      traceId: TRACE,
      trace: { parentId: CALLER, state: "vendor=1", host: "x", scheme: "http", version: "1.1" },
    });
    t.match(sending, { arm: "stable", why: "sticky", endpoint: stable.url, status: 200, resends: 0 });
    t.equal(parentAt(stable, 0), `00-${TRACE}-${sending?.spanId}-01`);
    t.equal(stable.requests[0]?.field("tracestate"), "vendor=1");
    t.equal(stable.requests[0]?.head.match(/^traceparent:/gim)?.length, 1);
    t.not(sending?.spanId, account?.trace?.spanId);
    t.notMatch(JSON.stringify(account), /secret|"u"/, "neither query nor key");
  },
);

void inEveryLane("a caller who does not sample is heeded, whatever the share", async (t) => {
  const { stable, running, accounts } = await stand(t, ON);
  await once(running.address, `GET / HTTP/1.1\n${FIELDS.replace("-01", "-00")}`);
  t.equal(parentAt(stable, 0), `00-${TRACE}-${CALLER}-00`);
  t.equal(stable.requests[0]?.field("tracestate"), "vendor=1");
  t.strictSame(accounts, []);
});

void inEveryLane(
  "without a valid context a trace begins here, and a state of none is left out",
  async (t) => {
    const { stable, running, accounts } = await stand(t, ON);
    await once(running.address, "GET / HTTP/1.1\nHost: x");
    await once(running.address, `GET / HTTP/1.1\n${FIELDS.replace(CALLER, "0".repeat(16))}`);
    t.equal(accounts.length, 2);
    for (const [nth, { traceId, trace }] of accounts.entries()) {
      t.not(traceId, TRACE);
      t.equal(trace?.parentId, "");
      t.equal(parentAt(stable, nth), `00-${traceId}-${trace?.sendings[0]?.spanId}-01`);
      t.equal(stable.requests[nth]?.field("tracestate"), undefined);
    }
  },
);

void inEveryLane("a share of nothing begins no trace", async (t) => {
  const { stable, running, accounts } = await stand(t, { tracing: { sample: "0%" } });
  await once(running.address, "GET / HTTP/1.1\nHost: x");
  t.equal(stable.requests[0]?.field("traceparent"), undefined);
  t.strictSame(accounts, []);
});

void inEveryLane("a rescue is two sendings, each with an id that its upstream was given", async (t) => {
  const { stable, canary, running, accounts } = await stand(t, ON, reply(500, "broken"));
  running.weight(100);
  const answer = await once(
    running.address,
    `PUT / HTTP/1.1\n${FIELDS}\nIdempotency-Key: k\nContent-Length: 2`,
    "hi",
  );
  t.equal(statusOf(answer), 200);
  const [account] = accounts;
  const [first, second] = account?.trace?.sendings ?? [];
  t.match(account, {
    arm: "canary",
    reason: "status",
    status: 500,
    rescued: true,
    answered: 200,
    ended: "ok",
  });
  t.match(first, { arm: "canary", why: "sticky", status: 500, reason: "status" });
  t.match(second, { arm: "stable", why: "rescue", status: 200, reason: "ok", resends: 0 });
  t.equal(parentAt(canary, 0), `00-${TRACE}-${first?.spanId}-01`);
  t.equal(parentAt(stable, 0), `00-${TRACE}-${second?.spanId}-01`);
  t.not(first?.spanId, second?.spanId);
  t.equal(stable.requests[0]?.field("tracestate"), "vendor=1");
  t.equal(stable.requests[0]?.body, "hi");
});

void inEveryLane("a connection that is not to be had is a sending without an answer", async (t) => {
  const accounts: Account[] = [];
  const told = (more: readonly Account[]): void => void accounts.push(...more);
  const running = await startPlane({ stable: NOBODY, canary: NOBODY }, {}, ON, { told });
  t.teardown(() => running.plane.close());
  t.equal(statusOf(await once(running.address, "GET / HTTP/1.1\nHost: x")), 502);
  const sendings = accounts[0]?.trace?.sendings ?? [];
  t.match(accounts, [
    { reason: "connect", status: 0, latencyMs: -1, answered: 502, why: "anonymous", bucket: -1 },
  ]);
  t.strictSame(
    sendings.map(({ reason, status }) => ({ reason, status })),
    sendings.map(() => ({ reason: "connect", status: 0 })),
  );
  t.ok(sendings.length > 0);
});

void inEveryLane("a retry on a fresh connection is a sending of its own", async (t) => {
  const server = await upstream((socket, seen) => {
    if (seen.nth === 0) socket.write(reply(200, "ok"));
    else socket.destroy();
  });
  const accounts: Account[] = [];
  const told = (more: readonly Account[]): void => void accounts.push(...more);
  const running = await startPlane({ stable: server.url, canary: server.url }, {}, ON, { told });
  const client = await raw(running.address);
  t.teardown(async () => {
    client.destroy();
    await running.plane.close();
    await server.close();
  });
  for (const nth of [1, 2]) {
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await client.until((text) => text.split("HTTP/1.1 200").length === nth + 1 && text.endsWith("ok"));
  }
  const [first, second] = accounts[1]?.trace?.sendings ?? [];
  t.match(first, { reason: "reset", status: 0, resends: 0 });
  t.match(second, { reason: "ok", status: 200, resends: 1 });
  const traceId = accounts[1]?.traceId;
  t.equal(parentAt(server, 1), `00-${traceId}-${first?.spanId}-01`);
  t.equal(parentAt(server, 2), `00-${traceId}-${second?.spanId}-01`);
});

void inEveryLane("a WebSocket is told when it is open, over either version", async (t) => {
  const { stable, running, accounts } = await stand(t, ON);
  stable.script = (socket, seen) => void socket.write(switching(seen.field("sec-websocket-key")));
  const client = await raw(running.address);
  const asks =
    "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
  client.send(`GET /chat HTTP/1.1\n${FIELDS}\n${asks}\n\n`.replaceAll("\n", "\r\n"));
  await client.until((text) => text.includes("101"));
  client.destroy();
  const second = client2(running.address);
  const extended = { ":protocol": "websocket", ":scheme": "http", "x-user": "u", traceparent: PARENT };
  await new Promise((resolve) => second.session.once("remoteSettings", resolve));
  const stream = second.open("CONNECT", "/chat", { ...extended, "sec-websocket-version": "13" });
  await new Promise((resolve) => stream.once("response", resolve));
  second.close();
  t.match(
    accounts.map(({ status, traceId, trace }) => ({
      status,
      traceId,
      parent: trace?.parentId,
      version: trace?.version,
    })),
    [
      { status: 101, traceId: TRACE, parent: CALLER, version: "1.1" },
      { status: 101, traceId: TRACE, parent: CALLER, version: "2" },
    ],
  );
  accounts.forEach(({ trace }, nth) =>
    t.equal(parentAt(stable, nth), `00-${TRACE}-${trace?.sendings[0]?.spanId}-01`),
  );
});

t.test("a stream of HTTP/2 is told as any exchange", async (t) => {
  const { stable, canary, running, accounts } = await stand(t, ON, reply(503, "broken"));
  running.weight(100);
  const client = client2(running.address);
  const answer = await client.ask("GET", "/b?q", {
    "x-user": "u",
    traceparent: PARENT,
    tracestate: "vendor=1",
  });
  client.close();
  t.equal(answer.status, 200);
  const [account] = accounts;
  const [first, second] = account?.trace?.sendings ?? [];
  t.match(account, { path: "/b", traceId: TRACE, rescued: true, trace: { parentId: CALLER, version: "2" } });
  t.equal(parentAt(canary, 0), `00-${TRACE}-${first?.spanId}-01`);
  t.equal(parentAt(stable, 0), `00-${TRACE}-${second?.spanId}-01`);
});

void inEveryLane("the access log has its share, and each failure and rescue besides", async (t) => {
  const log = { accessLog: { sample: "0%" } };
  const { running, accounts } = await stand(t, log, reply(500, "broken"));
  await once(running.address, `GET /ok HTTP/1.1\n${FIELDS}`);
  t.strictSame(accounts, [], "no share, and no failure");
  running.weight(100);
  await once(running.address, `GET /rescued HTTP/1.1\n${FIELDS}`);
  await once(running.address, "POST /failed HTTP/1.1\nHost: x\nX-User: u\nContent-Length: 0");
  t.match(accounts, [
    { path: "/rescued", isLogged: true, rescued: true, traceId: TRACE, trace: undefined },
    { path: "/failed", isLogged: true, rescued: false, traceId: "", answered: 500 },
  ]);
  running.weight(0);
  running.reconfigure({ rescue: {} }, { accessLog: { sample: "100%" } });
  await once(running.address, `GET /ok HTTP/1.1\n${FIELDS}`);
  t.match(accounts[2], { path: "/ok", isLogged: true, arm: "stable" });
});

void inEveryLane("a long host is cut in what is told, and a long state is left out", async (t) => {
  const { stable, running, accounts } = await stand(t, ON);
  const host = `${"h".repeat(300)}.example`;
  for (const length of [512, 513]) {
    const state = `v=${"s".repeat(length - 2)}`;
    await once(
      running.address,
      `GET / HTTP/1.1\nHost: ${host}\nX-User: u\nTraceparent: ${PARENT}\nTracestate: ${state}`,
    );
    t.equal(stable.requests.at(-1)?.field("tracestate"), state, "the upstream has all of it");
  }
  t.strictSame(
    accounts.map(({ trace }) => [trace?.host, trace?.state.length]),
    [
      [host.slice(0, 255), 512],
      [host.slice(0, 255), 0],
    ],
  );
});
