/** Endpoints that are names: where they lead, when that is asked, and what becomes of connections when it changes (reliability 16). */

import type { Socket } from "node:net";
import { test } from "tap";
import { millis } from "../../src/domain/units.ts";
import { Resolver, systemLookup, type Lookup } from "../../src/proxy/resolve.ts";
import { fakeClock, type FakeClock } from "../support/clock.ts";
import { http2Upstream } from "../support/h2-upstream.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { bodyOf, HANDSHAKE, once, raw, statusOf } from "../support/raw.ts";
import { NOBODY, reply, upstream, type Upstream } from "../support/upstream.ts";

const RULES = { refresh: millis(30_000), local: true };

/** A name service with answers that are put in by hand. */
interface Names {
  readonly answers: Record<string, readonly string[] | Error>;
  readonly asked: string[];
  /** While true, an answer waits for `release`. */
  holds: boolean;
  release(): void;
  readonly lookup: Lookup;
}

function names(answers: Record<string, readonly string[] | Error>): Names {
  const asked: string[] = [];
  const held: (() => void)[] = [];
  const self: Names = {
    answers,
    asked,
    holds: false,
    release: () => held.splice(0).forEach((run) => run()),
    async lookup(name) {
      asked.push(name);
      if (self.holds) await new Promise<void>((resolve) => held.push(resolve));
      const answer = answers[name] ?? new Error("ENOTFOUND");
      if (answer instanceof Error) throw answer;
      return answer;
    },
  };
  return self;
}

/** Lets promises that are settled be heard. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function resolverOf(dns: Names, clock: FakeClock = fakeClock()) {
  const lines: string[] = [];
  const log = {
    debug: () => undefined,
    info: (message: string) => void lines.push(message),
    warn: (message: string) => void lines.push(message),
    error: () => undefined,
  };
  const resolver = new Resolver({ clock, log, lookup: dns.lookup });
  const heard: string[] = [];
  const watch = (name: string, rules = RULES) =>
    resolver.watch(name, rules, {
      dnsFailed: () => void heard.push("failed"),
      dnsChanged: (isElsewhere) => void heard.push(isElsewhere ? "elsewhere" : "changed"),
    });
  return { resolver, clock, lines, heard, watch };
}

type Watched = ReturnType<ReturnType<typeof resolverOf>["watch"]>;
const addresses = (place: Watched): Promise<readonly string[]> =>
  new Promise((resolve, reject) =>
    place.addresses((error, found) => (error === null ? resolve(found) : reject(error))),
  );

void test("a name is asked at once and again on schedule, once for all who want it, and the shortest time holds", async (t) => {
  const dns = names({ "a.test": ["10.0.0.1"] });
  const { watch, clock } = resolverOf(dns);
  const [one, two] = [watch("a.test"), watch("a.test")];
  t.strictSame(await addresses(one), ["10.0.0.1"]);
  t.strictSame(await addresses(two), ["10.0.0.1"]);
  t.equal(dns.asked.length, 1);
  await clock.advance("29s");
  t.equal(dns.asked.length, 1);
  await clock.advance("1s");
  t.equal(dns.asked.length, 2);
  const three = watch("a.test", { refresh: millis(5000), local: true });
  t.ok(three.has("10.0.0.1"), "what is known is known to everyone");
  await turn();
  await clock.advance("5s");
  t.equal(dns.asked.length, 3);
  one.close();
  two.close();
  three.close();
  t.equal(clock.timers, 0);
  await clock.advance("60s");
  t.equal(dns.asked.length, 3, "nobody wants to know");
});

void test("the last good answer is kept while lookups fail, which is told each time and logged once", async (t) => {
  const dns = names({ "a.test": ["10.0.0.1"] });
  const { watch, clock, heard, lines } = resolverOf(dns);
  const place = watch("a.test");
  await turn();
  dns.answers["a.test"] = new Error("SERVFAIL");
  await clock.advance("90s");
  await turn();
  t.strictSame(heard, ["failed", "failed", "failed"]);
  t.strictSame(lines, ["an endpoint's name cannot be looked up"]);
  t.strictSame(await addresses(place), ["10.0.0.1"]);
  dns.answers["a.test"] = [];
  await clock.advance("30s");
  await turn();
  t.strictSame(await addresses(place), ["10.0.0.1"], "an empty answer is none");
  dns.answers["a.test"] = ["10.0.0.1", "10.0.0.2"];
  await clock.advance("30s");
  await turn();
  dns.answers["a.test"] = ["10.0.0.3"];
  await clock.advance("30s");
  await turn();
  t.strictSame(heard.slice(4), ["changed", "elsewhere"]);
  t.strictSame(lines.slice(2), [
    "an endpoint's name can be looked up again",
    "an endpoint's name leads to other addresses",
    "an endpoint's name leads to other addresses",
  ]);
});

void test("who comes before the first answer waits for it, or for its failure, and then the name is not asked by each", async (t) => {
  const dns = names({});
  dns.holds = true;
  const { watch, clock } = resolverOf(dns);
  const place = watch("a.test");
  const waiting = [addresses(place), addresses(place)];
  const all = Promise.allSettled(waiting);
  dns.release();
  t.strictSame(
    (await all).map(({ status }) => status),
    ["rejected", "rejected"],
  );
  await t.rejects(addresses(place), { message: "ENOTFOUND" });
  t.equal(dns.asked.length, 1, "it has failed just now");
  await clock.advance("1s");
  dns.answers["a.test"] = ["10.0.0.1"];
  const next = addresses(place);
  t.equal(dns.asked.length, 2);
  dns.release();
  t.strictSame(await next, ["10.0.0.1"]);
  const gone = watch("b.test");
  const never = addresses(gone);
  gone.close();
  await t.rejects(never);
});

void test("a name without an answer is asked every five seconds, and one whose connections fail at most once a second", async (t) => {
  const dns = names({});
  const { watch, clock } = resolverOf(dns);
  const place = watch("a.test");
  await turn();
  await clock.advance("5s");
  await turn();
  t.equal(dns.asked.length, 2);
  dns.answers["a.test"] = ["10.0.0.1"];
  await clock.advance("5s");
  await turn();
  t.equal(dns.asked.length, 3);
  for (let nth = 0; nth < 10; nth++) place.askAgain();
  t.equal(dns.asked.length, 3);
  await clock.advance("1s");
  for (let nth = 0; nth < 10; nth++) place.askAgain();
  t.equal(dns.asked.length, 4);
});

void test("few lookups run at a time", async (t) => {
  const dns = names({});
  dns.holds = true;
  const { watch } = resolverOf(dns);
  for (let nth = 0; nth < 100; nth++) watch(`n${nth}.test`);
  t.equal(dns.asked.length, 3);
  for (let round = 0; round < 40; round++) {
    dns.release();
    await turn();
  }
  t.equal(dns.asked.length, 100);
});

void test("connections begin at each address by turns, and at those that failed of late last", async (t) => {
  const dns = names({ "a.test": ["10.0.0.1", "10.0.0.2", "10.0.0.3"] });
  const { watch, clock } = resolverOf(dns);
  const place = watch("a.test");
  await turn();
  const firsts: (string | undefined)[] = [];
  for (let nth = 0; nth < 4; nth++) firsts.push((await addresses(place))[0]);
  t.strictSame(firsts, ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.1"]);
  place.failed("10.0.0.2");
  for (let nth = 0; nth < 3; nth++) t.equal((await addresses(place))[2], "10.0.0.2");
  await clock.advance("30s");
  const later = new Set<string | undefined>();
  for (let nth = 0; nth < 3; nth++) later.add((await addresses(place))[0]);
  t.equal(later.size, 3);
});

void test("loopback and link-local addresses are no answer for a name, except for localhost and where that is allowed", async (t) => {
  const local = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "169.254.169.254",
    "::1",
    "::",
    "fe80::1",
    "::ffff:127.0.0.1",
  ];
  const dns = names({ "a.test": [...local, "10.0.0.1"], "b.test": local, localhost: ["::1", "127.0.0.1"] });
  const { watch, heard, clock } = resolverOf(dns);
  const strict = { refresh: millis(30_000), local: false };
  t.strictSame(await addresses(watch("a.test", strict)), ["10.0.0.1"]);
  const place = watch("b.test", strict);
  await t.rejects(addresses(place), { message: /loopback/ });
  t.strictSame(heard, ["failed"]);
  t.strictSame(await addresses(watch("localhost", strict)), ["::1", "127.0.0.1"]);
  place.obey(RULES);
  t.equal((await addresses(place)).length, 8, "the last answer, by other rules");
  place.obey(strict);
  t.notOk(place.has("127.0.0.1"));
  await t.rejects(addresses(place));
  dns.answers["a.test"] = ["not an address"];
  await clock.advance("30s");
});

void test("the system's answer has what is in the hosts file", async (t) => {
  t.ok((await systemLookup("localhost")).some((each) => each === "127.0.0.1" || each === "::1"));
});

// ── On real sockets ──

/** Without it an idle connection is closed after four seconds anyway. */
const STAYS = "Keep-Alive: timeout=60\r\n";

/** Planes with a name service of their own, whose answers are looked at again by moving the clock. */
async function named(answers: Record<string, readonly string[] | Error>, port: string, more: object = {}) {
  const dns = names(answers);
  const clock = fakeClock();
  const endpoints = [`http://app.test:${port}`];
  const routes = { stable: { endpoints, dns: { local: true }, ...more } };
  const running = await startPlane(
    { stable: endpoints, canary: NOBODY },
    routes,
    {},
    { lookup: dns.lookup, clock },
  );
  return { dns, clock, running, endpoints };
}

const portOf = (server: Upstream): string => server.url.slice(server.url.lastIndexOf(":") + 1);
const ask = (running: TestPlane, target = "/"): Promise<string> =>
  once(running.address, `GET ${target} HTTP/1.1\nHost: x`);

/** Upstreams on the same port of two loopback addresses; what they answer is their address. */
async function twins() {
  const say = (socket: Socket): void => void socket.write(reply(200, socket.localAddress, STAYS));
  for (;;) {
    const one = await upstream(say);
    const two = await upstream(say, "127.0.0.2", Number(portOf(one))).catch(() => undefined);
    if (two !== undefined) return { one, two, port: portOf(one) };
    await one.close();
  }
}

void inEveryLane(
  "every address of a name is used, Host stays the client's, and no request asks for it (reliability 16)",
  async (t) => {
    const { one, two, port } = await twins();
    const { dns, running } = await named({ "app.test": ["127.0.0.1", "127.0.0.2"] }, port, {
      connections: 8,
    });
    for (const server of [one, two]) server.script = () => undefined;
    const clients = await Promise.all(Array.from({ length: 8 }, () => raw(running.address)));
    for (const client of clients) client.send("GET / HTTP/1.1\r\nHost: its.own\r\n\r\n");
    await running.settled(() => one.requests.length + two.requests.length === 8);
    t.strictSame([one.requests.length, two.requests.length], [4, 4]);
    t.equal(one.requests[0]?.field("host"), "its.own");
    t.equal(dns.asked.length, 1);
    for (const client of clients) client.destroy();
    const tunnel = await raw(running.address);
    for (const server of [one, two])
      server.script = (socket) =>
        void socket.write("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhi");
    tunnel.send(HANDSHAKE);
    await tunnel.until(/hi$/);
    tunnel.destroy();
    t.equal(dns.asked.length, 1);
    await running.plane.close();
    await Promise.all([one.close(), two.close()]);
  },
);

void inEveryLane(
  "a request that comes before the first answer waits for it, as long as a connection may take (reliability 16)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const dns = names({ "app.test": ["127.0.0.1"] });
    dns.holds = true;
    const endpoints = [`http://app.test:${portOf(server)}`];
    const running = await startPlane(
      { stable: endpoints, canary: NOBODY },
      { stable: { endpoints, dns: { local: true } }, timeouts: { connect: "300ms" } },
      {},
      { lookup: dns.lookup },
    );
    const late = await ask(running);
    t.equal(statusOf(late), 504);
    const inTime = ask(running);
    await running.settled((now) => now.settled === 1);
    dns.release();
    t.equal(bodyOf(await inTime), "ok");
    const { counts } = await running.settled((now) => now.settled === 2);
    t.strictSame(counts, { "stable connect": 1, "stable ok": 1 });
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a name without an answer is a failed connection, counted and asked for again (reliability 16)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const { dns, running, clock } = await named({}, portOf(server));
    t.equal(statusOf(await ask(running)), 502);
    const { counts, events } = await running.settled((now) => now.settled === 1);
    t.strictSame(counts, { "stable connect": 1 });
    t.equal(events["stable dns_failed"], 1);
    dns.answers["app.test"] = ["127.0.0.1"];
    await clock.advance("1s");
    t.equal(bodyOf(await ask(running)), "ok", "asked by need");
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "idle connections to an address that is gone are closed, and those in use carry nothing more (reliability 16)",
  async (t) => {
    const { one, two, port } = await twins();
    const { dns, running, clock } = await named({ "app.test": ["127.0.0.1"] }, port);
    let held: Socket | undefined;
    one.script = (socket, { target }) => {
      if (target === "/hold") held = socket;
      else socket.write(reply(200, "one", STAYS));
    };
    const busy = await raw(running.address);
    busy.send("GET /hold HTTP/1.1\r\nHost: x\r\n\r\n");
    await running.settled(() => held !== undefined);
    t.equal(bodyOf(await ask(running)), "one");
    t.equal(one.sockets.size, 2);
    const closed = new Promise<void>((resolve) => (one.onClose = resolve));
    dns.answers["app.test"] = ["127.0.0.2"];
    await clock.advance("30s");
    await closed;
    t.equal(one.sockets.size, 1, "the idle one");
    t.equal(bodyOf(await ask(running)), "127.0.0.2");
    held?.write(reply(200, "late", STAYS));
    await busy.until(/late$/);
    busy.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await busy.until(/127\.0\.0\.2$/);
    t.equal(one.requests.length, 2);
    t.equal(running.measured().events["stable dns_changed"], 1);
    busy.destroy();
    await running.plane.close();
    await Promise.all([one.close(), two.close()]);
  },
);

void inEveryLane(
  "connections to an address that stays are kept, and one that is refused is made elsewhere (reliability 13, 16)",
  async (t) => {
    const { one, two, port } = await twins();
    const { dns, running, clock } = await named({ "app.test": ["127.0.0.1"] }, port);
    for (let nth = 0; nth < 3; nth++) {
      t.equal(bodyOf(await ask(running)), "127.0.0.1");
      dns.answers["app.test"] = ["127.0.0.1", `127.0.0.${10 + nth}`];
      await clock.advance("30s");
    }
    t.equal(one.accepted, 1);
    dns.answers["app.test"] = ["127.0.0.7", "127.0.0.2"];
    await clock.advance("30s");
    for (let nth = 0; nth < 4; nth++) t.equal(bodyOf(await ask(running)), "127.0.0.2");
    t.strictSame(running.measured().events["stable retried"], undefined);
    await running.plane.close();
    await Promise.all([one.close(), two.close()]);
  },
);

void inEveryLane("a connection that fails makes the name be asked again (reliability 16)", async (t) => {
  const server = await upstream(reply(200, "moved"));
  const { dns, running, clock } = await named({ "app.test": ["127.0.0.9"] }, portOf(server));
  await clock.advance("2s");
  dns.answers["app.test"] = ["127.0.0.1"];
  await ask(running);
  await running.settled(() => dns.asked.length === 2);
  t.equal(bodyOf(await ask(running)), "moved");
  await running.plane.close();
  await server.close();
});

void inEveryLane(
  "a reload of `dns` binds new connections, and those to addresses that are not allowed any more are closed (reliability 16)",
  async (t) => {
    const server = await upstream(reply(200, "ok", STAYS));
    const { running, endpoints } = await named({ "app.test": ["127.0.0.1"] }, portOf(server));
    t.equal(bodyOf(await ask(running)), "ok");
    const closed = new Promise<void>((resolve) => (server.onClose = resolve));
    running.reconfigure({ stable: { endpoints }, canary: { endpoints: [NOBODY] } });
    await closed;
    t.equal(statusOf(await ask(running)), 502);
    running.reconfigure({ stable: { endpoints, dns: { local: true } }, canary: { endpoints: [NOBODY] } });
    t.equal(bodyOf(await ask(running)), "ok");
    await running.plane.close();
    await server.close();
  },
);

void test("an endpoint in HTTP/2 follows its name too (reliability 16)", async (t) => {
  const server = await http2Upstream((stream) => {
    stream.respond({ ":status": 200 });
    stream.end("h2");
  });
  const dns = names({ "app.test": ["127.0.0.1"] });
  const clock = fakeClock();
  const endpoints = [server.url.replace("127.0.0.1", "app.test")];
  const running = await startPlane(
    { stable: endpoints, canary: NOBODY },
    { stable: { endpoints, dns: { local: true } } },
    { lane: "general" },
    { lookup: dns.lookup, clock },
  );
  t.match(await ask(running), /h2/);
  t.equal(server.sessions.size, 1);
  const [session] = server.sessions;
  const closed = new Promise<void>((resolve) => session?.once("close", resolve));
  dns.answers["app.test"] = ["127.0.0.9"];
  await clock.advance("30s");
  await closed;
  t.equal(statusOf(await ask(running)), 502);
  await running.plane.close();
  await server.close();
});
