import { once } from "node:events";
import { createServer as createHttp, type RequestListener } from "node:http";
import { createServer as createTcp, type Socket } from "node:net";
import type { AddressInfo, Server } from "node:net";
import t, { type Test } from "tap";
import { configSchema, type Config } from "../../src/config/schema.ts";
import { createProbes } from "../../src/probe/health.ts";
import { fakeClock } from "../support/clock.ts";
import { quietLog } from "../support/silence.ts";

async function listening(t: Test, server: Server): Promise<string> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
  });
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  // The test asked for a port, so the address is no path.
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function http(t: Test, answer: RequestListener): Promise<string> {
  return listening(t, createHttp(answer));
}

/** A server that writes `text` to whoever has said something. */
function raw(t: Test, answer: (socket: Socket) => void): Promise<string> {
  return listening(
    t,
    createTcp((socket) => {
      socket.on("error", () => {});
      socket.once("data", () => answer(socket));
    }),
  );
}

/** An address where nobody listens. */
async function nobody(): Promise<string> {
  const server = createTcp().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo; // a port was asked for
  server.close();
  await once(server, "close");
  return `http://127.0.0.1:${port}`;
}

const HEALTH = { path: "/healthz", interval: "10s", timeout: "300ms", unhealthyAfter: 3, healthyAfter: 2 };

interface Arms {
  readonly stable: readonly string[];
  readonly canary: readonly string[];
  readonly health?: object;
  readonly canaryHealth?: object;
}

function configOf({ stable, canary, health = HEALTH, canaryHealth }: Arms): Config {
  return configSchema.parse({
    routes: [
      {
        name: "app",
        stable: { endpoints: stable },
        canary: { endpoints: canary, ...(canaryHealth === undefined ? {} : { health: canaryHealth }) },
        health,
      },
    ],
  });
}

function start(t: Test, arms: Arms) {
  const clock = fakeClock();
  const log = quietLog();
  const probes = createProbes({ config: configOf(arms), clock, log });
  t.teardown(() => probes.close());
  return { clock, log, probes };
}

t.test("every endpoint of both arms is probed at once, and again and again", async (t) => {
  const asked: string[] = [];
  const answer: RequestListener = (request, response) => {
    asked.push(
      `${request.method} ${request.url} ${request.headers["user-agent"]} ${request.headers.connection}`,
    );
    response.end("well");
  };
  const [a, b, c] = [await http(t, answer), await http(t, answer), await http(t, answer)];
  const { clock, probes } = start(t, { stable: [a, b], canary: [c] });
  t.same(probes.health("app", "stable"), [
    { url: a, healthy: null, failures: 0, detail: "" },
    { url: b, healthy: null, failures: 0, detail: "" },
  ]);
  t.ok(probes.healthy("app", "canary", c), "unknown counts as healthy for choosing");
  await clock.advance("250ms");
  t.equal(asked.length, 3, "within a quarter of a second");
  t.equal(new Set(asked).size, 1);
  t.equal(asked[0], "GET /healthz sluice-probe close");
  t.same(probes.health("app", "canary"), [{ url: c, healthy: true, failures: 0, detail: "" }]);
  await clock.advance("100s");
  t.ok(asked.length >= 30 && asked.length <= 36, `${asked.length} probes in ten intervals`);
  t.same(probes.health("nobody", "stable"), []);
  t.ok(probes.healthy("nobody", "stable", a), "what is not probed is not unhealthy");
});

t.test(
  "an endpoint that fails turns unhealthy after so many probes, says why, and comes back after so many",
  async (t) => {
    let status = 503;
    const url = await http(t, (_request, response) => void response.writeHead(status).end());
    const { clock, probes, log } = start(t, { stable: [url], canary: [await nobody()] });
    const stable = () => probes.health("app", "stable")[0];
    await clock.advance("250ms");
    t.same(stable(), { url, healthy: null, failures: 1, detail: "status 503" });
    t.ok(probes.healthy("app", "stable", url));
    await clock.advance("25s");
    t.same(stable(), { url, healthy: false, failures: 3, detail: "status 503" });
    t.notOk(probes.healthy("app", "stable", url));
    t.match(probes.health("app", "canary"), [{ healthy: false, detail: "ECONNREFUSED" }]);
    status = 204;
    await clock.advance("10s");
    t.same(stable(), { url, healthy: false, failures: 0, detail: "" });
    await clock.advance("10s");
    t.ok(probes.healthy("app", "stable", url));
    const said = log.lines.filter((line) => line.fields["arm"] === "stable" && line.level !== "debug");
    t.match(said, [
      { level: "warn", fields: { route: "app", url, failures: 3, detail: "status 503" } },
      { level: "info", fields: { route: "app", url } },
    ]);
  },
);

t.test("200 to 399 with a whole body is healthy, everything else is not", async (t) => {
  const cases: readonly (readonly [string, string, string])[] = [
    ["200", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", ""],
    ["302 is not followed", "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", ""],
    ["204", "HTTP/1.1 204 No Content\r\n\r\n", ""],
    ["103 first", "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""],
    ["a body until the end", "HTTP/1.0 200 OK\r\n\r\nlong story", ""],
    ["404", "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "status 404"],
    ["500", "HTTP/1.1 500 Oops\r\nContent-Length: 4\r\n\r\noops", "status 500"],
    ["101", "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "status 101"],
    ["a cut body", "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nok", "ECONNRESET"],
    ["cut chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "ECONNRESET"],
    ["no HTTP", "SSH-2.0-x\r\n\r\n", "HPE_INVALID_CONSTANT"],
    ["nothing", "", "ECONNRESET"],
    ["an endless head", `HTTP/1.1 200 OK\r\nX: ${"x".repeat(20_000)}\r\n\r\n`, "HPE_HEADER_OVERFLOW"],
  ];
  for (const [name, text, detail] of cases) {
    const url = await raw(t, (socket) => void socket.end(text, "latin1"));
    const { clock, probes } = start(t, {
      stable: [url],
      canary: [url],
      health: { ...HEALTH, unhealthyAfter: 1 },
    });
    await clock.advance("250ms");
    const healthy = detail === "";
    t.match(probes.health("app", "stable"), [{ healthy, detail }], name);
    probes.close();
  }
});

t.test(
  "an endpoint that hangs, trickles or never ends is given up in time and its socket destroyed",
  async (t) => {
    const closed: Promise<unknown>[] = [];
    const answers: Readonly<Record<string, (socket: Socket) => void>> = {
      "says nothing": () => {},
      "stops in the head": (socket) => void socket.write("HTTP/1.1 200 OK\r\nX-"),
      "stops in the body": (socket) => void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok"),
      "sends 1xx for ever": (socket) => {
        const timer = setInterval(() => socket.write("HTTP/1.1 102 Processing\r\n\r\n"), 20);
        socket.on("close", () => clearInterval(timer));
      },
    };
    for (const [name, answer] of Object.entries(answers)) {
      const url = await raw(t, (socket) => {
        closed.push(once(socket, "close"));
        answer(socket);
      });
      const { clock, probes } = start(t, {
        stable: [url],
        canary: [url],
        health: { ...HEALTH, timeout: "100ms" },
      });
      await clock.advance("250ms");
      t.match(probes.health("app", "stable"), [{ failures: 1, detail: "no answer within 100 ms" }], name);
      await Promise.all(closed); // by the time-out, before anything else could close them
      probes.close();
    }
    t.ok(closed.length >= 8, "every socket was closed from this side");
  },
);

t.test("a body without an end is healthy as soon as enough was read", async (t) => {
  const url = await http(t, (_request, response) => {
    const more = () =>
      void (response.destroyed || response.write(Buffer.alloc(16_384), () => setImmediate(more)));
    more();
  });
  const { clock, probes } = start(t, { stable: [url], canary: [url], health: { ...HEALTH, timeout: "10s" } });
  await clock.advance("250ms");
  t.match(probes.health("app", "stable"), [{ healthy: true, detail: "" }]);
});

t.test("without a path a TCP connect is enough, and the arm's own probes override the route's", async (t) => {
  const mute = await listening(t, createTcp());
  const closed = await nobody();
  const tcp = { interval: "10s", timeout: "300ms", unhealthyAfter: 1 };
  const { clock, probes } = start(t, { stable: [mute], canary: [mute, closed], canaryHealth: tcp });
  await clock.advance("250ms");
  t.match(probes.health("app", "canary"), [
    { url: mute, healthy: true },
    { url: closed, healthy: false, failures: 1, detail: "ECONNREFUSED" },
  ]);
  t.match(probes.health("app", "stable"), [{ url: mute, healthy: null, failures: 1 }], "which wants a GET");
});

t.test("an endpoint is asked one probe at a time, however slow it is", async (t) => {
  let inFlight = 0;
  let most = 0;
  let asked = 0;
  const waiting: (() => void)[] = [];
  const url = await http(t, (_request, response) => {
    inFlight += 1;
    asked += 1;
    most = Math.max(most, inFlight);
    const finish = () => {
      inFlight -= 1;
      response.end();
    };
    if (asked === 1) waiting.push(finish);
    else finish();
  });
  const runs: (() => void | Promise<void>)[] = [];
  const clock = {
    ...fakeClock(),
    every: (_interval: number, run: () => void | Promise<void>) => (runs.push(run), () => {}),
  };
  const probes = createProbes({
    config: configOf({ stable: [url], canary: [await nobody()], health: { ...HEALTH, timeout: "60s" } }),
    clock,
    log: quietLog(),
  });
  t.teardown(() => probes.close());
  const first = runs[0]?.();
  await runs[0]?.();
  await runs[0]?.();
  while (waiting.length === 0) await new Promise((resolve) => setImmediate(resolve));
  waiting[0]?.();
  await first;
  await runs[0]?.();
  t.same([asked, most], [2, 1]);
});

t.test("a reload keeps what is known of the endpoints it keeps, and forgets the others", async (t) => {
  let asked = 0;
  const count: RequestListener = (_request, response) => {
    asked += 1;
    response.writeHead(503).end();
  };
  const [kept, dropped, added] = [await http(t, count), await http(t, count), await http(t, count)];
  const { clock, probes } = start(t, { stable: [kept, dropped], canary: [kept] });
  await clock.advance("30s");
  t.match(probes.health("app", "stable"), [{ healthy: false }, { healthy: false }]);

  probes.reconfigure(configOf({ stable: [added, kept], canary: [kept] }));
  t.match(probes.health("app", "stable"), [
    { url: added, healthy: null, failures: 0 },
    { url: kept, healthy: false },
  ]);
  t.ok(probes.healthy("app", "stable", dropped));
  const timers = clock.timers;
  t.equal(timers, 3);

  probes.reconfigure(
    configOf({ stable: [added, kept], canary: [kept], health: { ...HEALTH, interval: "1s" } }),
  );
  t.match(probes.health("app", "stable")[1], { healthy: false }, "another schedule is no other endpoint");
  asked = 0;
  await clock.advance("10s");
  t.ok(asked >= 27, `${asked} probes by the new schedule`);

  probes.reconfigure(configOf({ stable: [kept], canary: [kept], health: { ...HEALTH, path: "/other" } }));
  t.match(probes.health("app", "stable"), [{ healthy: null, failures: 0 }], "another question is");
});

t.test("closing stops everything: no timer, no socket, no further news", async (t) => {
  const sockets: Promise<unknown>[] = [];
  const url = await raw(t, (socket) => void sockets.push(once(socket, "close")));
  const { clock, probes, log } = start(t, {
    stable: [url],
    canary: [url],
    health: { ...HEALTH, timeout: "60s" },
  });
  const advancing = clock.advance("250ms");
  while (sockets.length === 0) await new Promise((resolve) => setImmediate(resolve));
  probes.close();
  await advancing;
  await Promise.all(sockets);
  t.equal(clock.timers, 0);
  t.match(probes.health("app", "stable"), [{ failures: 0 }]);
  t.equal(log.lines.length, 0);
  probes.close();
});
