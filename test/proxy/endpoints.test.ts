/** Which endpoint of an arm takes an exchange, and when none does: draws, ejection, panic, slow start, limits (reliability 25). */

import fc from "fast-check";
import { test } from "tap";
import { configSchema } from "../../src/config/schema.ts";
import type { ArmEvent } from "../../src/domain/event.ts";
import { millis } from "../../src/domain/units.ts";
import { ArmEndpoints, NO_ANSWER, Place, type ChoiceConfig } from "../../src/proxy/endpoints.ts";
import { fakeDice } from "../support/dice.ts";
import { http2Upstream, type StreamScript } from "../support/h2-upstream.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { bodyOf, once, raw, statusOf, type RawClient } from "../support/raw.ts";
import { NOBODY, reply, upstream } from "../support/upstream.ts";

const quiet = { debug() {}, info() {}, warn() {}, error() {} };

function rules(more: object = {}): ChoiceConfig {
  const arm = { endpoints: [NOBODY], ...more };
  const { routes } = configSchema.parse({
    listen: [{ address: ":1" }],
    routes: [{ name: "app", stable: arm, canary: arm }],
  });
  // The one route that was configured.
  return routes[0]!.stable;
}

class Fake {
  readonly place = new Place();
  readonly url: string;
  inFlight = 0;

  constructor(url: string) {
    this.url = url;
  }
}

function armOf(names: string, more: object = {}, seed = 1) {
  const sick = new Set<string>();
  const events: ArmEvent[] = [];
  const dice = fakeDice(seed);
  let now = 1000;
  const clock = { mono: () => millis(now), wall: () => 0, every: () => () => undefined };
  const by = {
    clock,
    dice,
    log: quiet,
    healthy: (_route: string, _arm: string, url: string) => !sick.has(url),
  };
  const arm = new ArmEndpoints<Fake>("app", "stable", by, { event: (event) => void events.push(event) });
  const all = new Map(names.split("").map((name) => [name, new Fake(name)]));
  arm.configure(rules(more), [...all.values()]);
  return {
    arm,
    all,
    sick,
    events,
    get: (name: string): Fake => all.get(name) ?? new Fake(name),
    advance: (ms: number): void => void (now += ms),
    pick: (tried?: Fake): Fake => arm.pick(millis(now), tried),
    answered: (name: string, status: number): void =>
      arm.answered(all.get(name) ?? new Fake(name), status, millis(now)),
    /** Shares of a thousand picks, each of which ends before the next. */
    shares(count = 1000): Record<string, number> {
      const found: Record<string, number> = {};
      for (let nth = 0; nth < count; nth++) {
        const { url } = arm.pick(millis(now));
        found[url] = (found[url] ?? 0) + 1;
      }
      return Object.fromEntries(Object.entries(found).map(([url, times]) => [url, times / count]));
    },
  };
}

void test("the less loaded of two that were drawn is taken, so never the most loaded of three", async (t) => {
  const a = armOf("abc");
  a.get("a").inFlight = 5;
  a.get("b").inFlight = 1;
  a.get("c").inFlight = 9;
  const shares = a.shares();
  t.ok(shares["c"] === undefined, "two different ones are drawn");
  t.ok((shares["b"] ?? 0) > 0.6 && (shares["b"] ?? 0) < 0.73, "of three pairs two have it");
  t.strictSame(a.events, []);
});

void test("without load everybody is taken alike, whoever is unhealthy is not, and the rest share alike", async (t) => {
  const a = armOf("abcd");
  for (const share of Object.values(a.shares(4000))) t.ok(share > 0.22 && share < 0.28, String(share));
  a.sick.add("c");
  const shares = a.shares(4000);
  t.strictSame(Object.keys(shares).sort(), ["a", "b", "d"]);
  for (const share of Object.values(shares)) t.ok(share > 0.3 && share < 0.37, String(share));
  t.strictSame(a.events, []);
});

void test("when fewer than half are fit all are used, and what goes to the others is counted", async (t) => {
  const a = armOf("abcd");
  a.sick.add("a").add("b");
  t.strictSame(Object.keys(a.shares()).sort(), ["c", "d"], "half is enough");
  t.strictSame(a.events, []);
  a.sick.add("c");
  const shares = a.shares(4000);
  for (const share of Object.values(shares)) t.ok(share > 0.22 && share < 0.28, String(share));
  t.equal(a.events.length, Math.round(4000 * (1 - (shares["d"] ?? 0))));
  t.ok(a.events.every((event) => event === "panic"));
  const never = armOf("abc", { panic: "0%" });
  never.sick.add("a").add("b");
  t.strictSame(Object.keys(never.shares()), ["c"]);
  never.sick.add("c");
  t.equal(Object.keys(never.shares()).length, 3, "none is worse than any");
  const always = armOf("ab", { panic: "100%" });
  always.sick.add("a");
  t.equal(Object.keys(always.shares()).length, 2);
});

void test("ejected ones count as unfit, and panic does not wait for them to be back", async (t) => {
  const a = armOf("abc", { outlier: { consecutive5xx: 2, maxEjected: "100%" } });
  a.answered("a", 500);
  a.answered("a", NO_ANSWER);
  t.strictSame(a.events, ["ejected_consecutive"]);
  t.strictSame(Object.keys(a.shares()).sort(), ["b", "c"]);
  a.answered("b", 503);
  a.answered("b", 503);
  t.equal(Object.keys(a.shares()).length, 3);
  a.advance(30_000);
  t.equal(Object.keys(a.shares()).length, 3);
  const panics = a.events.length;
  a.shares();
  t.equal(a.events.length, panics, "and all are fit again");
});

void test("another endpoint than the one that was tried is taken, fit ones first", async (t) => {
  const a = armOf("abc", { panic: "0%" });
  for (let nth = 0; nth < 100; nth++) t.not(a.pick(a.get("a")).url, "a");
  a.sick.add("b");
  for (let nth = 0; nth < 100; nth++) t.equal(a.pick(a.get("a")).url, "c");
  a.sick.add("c");
  const seen = new Set(Array.from({ length: 100 }, () => a.pick(a.get("a")).url));
  t.strictSame([...seen].sort(), ["b", "c"]);
  t.equal(armOf("a").pick().url, "a");
  const alone = armOf("a");
  t.equal(alone.pick(alone.get("a")).url, "a", "there is no other");
  const gone = armOf("ab");
  t.ok(gone.pick(new Fake("z")), "one that a reload took away");
});

void test("an endpoint that is new gets a tenth of its share at first, and all of it after slowStart", async (t) => {
  const a = armOf("ab", { slowStart: "100s" });
  const [old, other] = [a.get("a"), a.get("b")];
  t.ok((a.shares(4000)["b"] ?? 0) > 0.45, "those of the start are not new");
  const fresh = new Fake("c");
  a.arm.configure(rules({ slowStart: "100s" }), [old, fresh]);
  void other;
  const share = (): number => a.shares(4000)["c"] ?? 0;
  const first = share();
  t.ok(first > 0.03 && first < 0.08, `half of a tenth: ${first}`);
  a.advance(50_000);
  const middle = share();
  t.ok(middle > 0.2 && middle < 0.36, String(middle));
  a.advance(50_000);
  t.ok(share() > 0.45);
  old.inFlight = 1_000_000;
  t.equal(share(), 1, "by load alone");
});

void test("with nothing in flight it does not draw everything to itself", async (t) => {
  const a = armOf("a", { slowStart: "100s" });
  const old = a.get("a");
  a.arm.configure(rules({ slowStart: "100s" }), [old, new Fake("b")]);
  old.inFlight = 100;
  const share = a.shares(4000)["b"] ?? 0;
  t.ok(share > 0.07 && share < 0.13, String(share));
});

void test("an endpoint that is back from ejection or from being unhealthy is new; when all are, none is", async (t) => {
  const back = armOf("ab", { slowStart: "100s", outlier: { consecutive5xx: 1 } });
  back.answered("b", 500);
  back.advance(30_000);
  const first = back.shares(4000)["b"] ?? 0;
  t.ok(first > 0.03 && first < 0.08, String(first));
  const well = armOf("ab", { slowStart: "100s" });
  well.sick.add("a");
  well.shares();
  well.sick.clear();
  const second = well.shares(4000)["a"] ?? 0;
  t.ok(second > 0.03 && second < 0.08, String(second));
  well.sick.add("a").add("b");
  well.shares();
  well.sick.clear();
  const both = well.shares(4000)["a"] ?? 0;
  t.ok(both > 0.4 && both < 0.6, String(both));
});

void test("the share of a new endpoint only grows, and is never more than it will be", async (t) => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 7 }), fc.integer({ min: 1, max: 1_000_000 }), (others, seed) => {
      const names = "abcdefg".slice(0, others);
      const a = armOf(names, { slowStart: "100s" }, seed);
      a.arm.configure(rules({ slowStart: "100s" }), [...a.all.values(), new Fake("z")]);
      let before = 0;
      for (let step = 0; step <= 4; step++) {
        const share = a.shares(3000)["z"] ?? 0;
        if (share < before - 0.04 || share > 1 / (others + 1) + 0.04) return false;
        before = share;
        a.advance(25_000);
      }
      return before > 1 / (others + 1) - 0.04;
    }),
    { numRuns: 25 },
  );
  t.pass();
});

void test("whatever is unfit: an endpoint is found, of those that may be", async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 8 }),
      fc.nat(255),
      fc.nat(100),
      fc.option(fc.nat(7)),
      fc.integer({ min: 1, max: 1_000_000 }),
      (count, unfit, percent, tried, seed) => {
        const names = "abcdefgh".slice(0, count);
        const a = armOf(names, { panic: `${percent}%` }, seed);
        names.split("").forEach((name, nth) => {
          if ((unfit >> nth) % 2 === 1) a.sick.add(name);
        });
        const not = tried === null ? undefined : a.all.get(names[tried] ?? "");
        const fit = names.split("").filter((name) => !a.sick.has(name));
        const able = fit.filter((name) => name !== not?.url);
        const isPanic = fit.length < (count * percent) / 100;
        for (let nth = 0; nth < 20; nth++) {
          const { url } = a.pick(not);
          if (count > 1 && url === not?.url) return false;
          if (count > 1 && !isPanic && able.length > 0 && !able.includes(url)) return false;
        }
        return true;
      },
    ),
    { numRuns: 500 },
  );
  t.pass();
});

void test("a pick of two among a thousand does not look at all", async (t) => {
  let asked = 0;
  const clock = { mono: () => millis(1000), wall: () => 0, every: () => () => undefined };
  const healthy = (): boolean => ++asked > 0;
  const arm = new ArmEndpoints<Fake>(
    "app",
    "stable",
    { clock, dice: fakeDice(1), log: quiet, healthy },
    { event: () => undefined },
  );
  arm.configure(
    rules(),
    Array.from({ length: 1000 }, (_, nth) => new Fake(String(nth))),
  );
  for (let nth = 0; nth < 100; nth++) arm.pick(millis(1000));
  t.equal(asked, 200);
});

// ── On real sockets ──

const ask = (running: TestPlane, method = "GET"): Promise<string> =>
  once(running.address, `${method} / HTTP/1.1\nHost: x`);

/** Begins a request that is not answered yet. */
async function hang(running: TestPlane): Promise<RawClient> {
  const client = await raw(running.address);
  client.send("GET /hang HTTP/1.1\r\nHost: x\r\n\r\n");
  return client;
}

void inEveryLane(
  "an endpoint that fails five times in a row is left out for a while; its failures are the arm's all the same",
  async (t) => {
    const [bad, good] = [await upstream(reply(500, "bad")), await upstream(reply(200, "good"))];
    const running = await startPlane({ stable: [bad.url, good.url], canary: NOBODY });
    let failures = 0;
    for (let nth = 0; nth < 60; nth++) if (statusOf(await ask(running)) === 500) failures++;
    t.equal(failures, 5);
    const { counts, events } = await running.settled((now) => now.settled === 60);
    t.match(counts, { "stable status": 5, "stable ok": 55 });
    t.strictSame(events, { "stable ejected_consecutive": 1 });
    running.advance(30_000);
    bad.script = (socket) => void socket.write(reply(200, "better"));
    const bodies = new Set<string>();
    for (let nth = 0; nth < 20; nth++) bodies.add(bodyOf(await ask(running)));
    t.strictSame([...bodies].sort(), ["better", "good"]);
    await running.plane.close();
    await Promise.all([bad.close(), good.close()]);
  },
);

void inEveryLane(
  "no connection, a reset and a body that is cut count once per attempt, also where another endpoint answers in the end",
  async (t) => {
    const good = await upstream(reply(200, "good"));
    const running = await startPlane({ stable: [NOBODY, good.url], canary: NOBODY });
    for (let nth = 0; nth < 40; nth++) t.equal(statusOf(await ask(running)), 200);
    const { counts, events } = await running.settled((now) => now.settled === 40);
    t.strictSame(counts, { "stable ok": 40 });
    t.strictSame(events, { "stable ejected_consecutive": 1, "stable retried": 5 });
    await running.plane.close();
    for (const broken of ["", "HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\npart"]) {
      const bad = await upstream((socket) => void socket.end(broken));
      const other = await startPlane({ stable: [bad.url, good.url], canary: NOBODY }, { rescue: "off" });
      for (let nth = 0; nth < 60; nth++) await ask(other, "POST");
      const totals = await other.settled((now) => now.settled === 60);
      t.strictSame(totals.events, { "stable ejected_consecutive": 1 });
      t.equal(totals.counts[broken === "" ? "stable reset" : "stable cut"], 5);
      await other.plane.close();
      await bad.close();
    }
    await good.close();
  },
);

void inEveryLane(
  "a client that leaves is no failure of the endpoint, before the answer or in it (reliability 33)",
  async (t) => {
    const server = await upstream((socket, { target }) => {
      if (target === "/part") socket.write("HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\npart");
    });
    const other = await upstream((socket, { target }) => {
      if (target === "/part") socket.write("HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\npart");
    });
    const running = await startPlane(
      { stable: [server.url, other.url], canary: NOBODY },
      { stable: { endpoints: [server.url, other.url], outlier: { consecutive5xx: 1 } } },
    );
    for (let nth = 1; nth <= 6; nth++) {
      const silent = await hang(running);
      const part = await raw(running.address);
      part.send("GET /part HTTP/1.1\r\nHost: x\r\n\r\n");
      await part.until(/part$/);
      silent.destroy();
      part.destroy();
      await running.settled((now) => now.settled === 2 * nth);
    }
    t.strictSame(running.measured().counts, { "stable client_gone": 12 });
    t.strictSame(running.measured().events, {});
    await running.plane.close();
    await Promise.all([server.close(), other.close()]);
  },
);

void inEveryLane(
  "above `concurrency` an exchange is answered 503 and says nothing about the arm; below it again it is served (reliability 25, 33)",
  async (t) => {
    const server = await upstream((socket, { target }) => {
      if (target !== "/hang") socket.write(reply(200, "ok"));
    });
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      { stable: { endpoints: [server.url], concurrency: 2 } },
    );
    const [first, second] = [await hang(running), await hang(running)];
    await running.settled(() => server.requests.length === 2);
    const refused = await ask(running, "POST");
    t.equal(statusOf(refused), 503);
    t.match(refused, /SPLIT_OVERLOADED/);
    const tunnel = await raw(running.address);
    tunnel.send(
      "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    t.equal(statusOf((await tunnel.closed()).text), 503);
    t.strictSame(running.measured().counts, { "stable unavailable": 2 });
    t.strictSame(running.measured().events, { "stable over_concurrency": 2 });
    t.equal(server.requests.length, 2);
    first.destroy();
    await running.settled((now) => now.settled === 3);
    t.equal(statusOf(await ask(running)), 200);
    second.destroy();
    await running.settled((now) => now.settled === 5);
    t.equal(running.plane.gauges().routes["app"]?.stable.inFlight, 0);
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a rescue does not go to an arm that has as much as it may have (reliability 25)",
  async (t) => {
    const stable = await upstream(() => undefined);
    const canary = await upstream(reply(500, "no"));
    const running = await startPlane(
      { stable: stable.url, canary: canary.url },
      { stable: { endpoints: [stable.url], concurrency: 1 }, key: ["header:x-user"] },
    );
    const silent = await hang(running);
    await running.settled(() => stable.requests.length === 1);
    running.weight(100);
    t.equal(statusOf(await once(running.address, "GET / HTTP/1.1\nHost: x\nX-User: u")), 500);
    const totals = await running.settled((now) => now.settled === 1);
    t.match(totals, { events: { "stable over_concurrency": 1 }, rescues: { refused: 1 } });
    silent.destroy();
    await running.plane.close();
    await Promise.all([stable.close(), canary.close()]);
  },
);

void inEveryLane(
  "an exchange for which there is no place in the queue is 503 and counted (reliability 25)",
  async (t) => {
    const server = await upstream(() => undefined);
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      { stable: { endpoints: [server.url], connections: 1, queue: 0 } },
    );
    const first = await hang(running);
    await running.settled(() => server.requests.length === 1);
    t.equal(statusOf(await ask(running)), 503);
    t.strictSame(running.measured().events, { "stable over_queue": 1 });
    t.strictSame(running.measured().counts, { "stable unavailable": 1 });
    first.destroy();
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane("upgrades count for their endpoint, by their answer or the lack of it", async (t) => {
  const [bad, good] = [await upstream(reply(503, "no")), await upstream(reply(404, "no chat here"))];
  const running = await startPlane({ stable: [bad.url, good.url], canary: NOBODY });
  for (let nth = 1; nth <= 40; nth++) {
    const client = await raw(running.address);
    client.send(
      "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    );
    await client.closed();
  }
  t.strictSame(running.measured().events, { "stable ejected_consecutive": 1 });
  t.equal(running.measured().counts["stable status"], 5);
  await running.plane.close();
  await Promise.all([bad.close(), good.close()]);
});

void test("a gRPC status that counts as a failure ejects, in the head or in the trailers, and other ones do not (reliability 50)", async (t) => {
  const HEAD = { ":status": 200, "content-type": "application/grpc" };
  for (const [status, inHead, ejections] of [
    ["14", true, 1],
    ["14", false, 1],
    ["5", false, 0],
  ] as const) {
    const answer: StreamScript = (stream) => {
      if (inHead) return stream.respond({ ...HEAD, "grpc-status": status }, { endStream: true });
      stream.respond(HEAD, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": status }));
      stream.end("12345");
    };
    const [one, two] = [await http2Upstream(answer), await http2Upstream(answer)];
    const endpoints = [one.url, two.url];
    const running = await startPlane(
      { stable: endpoints, canary: NOBODY },
      { stable: { endpoints, outlier: { consecutiveGateway: 3 } } },
      { lane: "general" },
    );
    for (let nth = 0; nth < 8; nth++)
      await once(
        running.address,
        "POST / HTTP/1.1\nHost: x\nTE: trailers\nContent-Type: application/grpc\nContent-Length: 5",
        "12345",
      );
    const { counts, events } = await running.settled((now) => now.settled === 8);
    t.strictSame(counts, { [`stable ${ejections === 1 ? "grpc" : "ok"}`]: 8 });
    t.equal(events["stable ejected_consecutive"] ?? 0, ejections, `${status} ${inHead}`);
    await running.plane.close();
    await Promise.all([one.close(), two.close()]);
  }
});
