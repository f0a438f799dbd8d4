/** Shedding load: when, how it is said, and that it says nothing about an arm (reliability 29, 33). */

import { once as event } from "node:events";
import type { Socket } from "node:net";
import type { Worker } from "node:worker_threads";
import { test } from "tap";
import { configSchema } from "../../src/config/schema.ts";
import { Secret } from "../../src/config/secret.ts";
import { millis, type Millis } from "../../src/domain/units.ts";
import { LoopDelay } from "../../src/proxy/overload.ts";
import { createWorkers } from "../../src/proxy/workers.ts";
import { fakeClock } from "../support/clock.ts";
import { inEveryLane, laneConfig } from "../support/lanes.ts";
import { HANDSHAKE, raw, statusOf } from "../support/raw.ts";
import { startPlane } from "../support/plane.ts";
import { reply, upstream } from "../support/upstream.ts";

void inEveryLane(
  "while the loop is late requests are 503 with Retry-After on a connection that stays, no arm has any of it, and afterwards they are served (reliability 29, 33)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    let late = 501;
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      {},
      {},
      { loopDelay: () => millis(late) },
    );
    running.weight(50);
    const client = await raw(running.address);
    for (let nth = 1; nth <= 20; nth++) {
      client.send(`GET / HTTP/1.1\r\nHost: x\r\nX-User: u${nth}\r\n\r\n`);
      await client.until((text) => text.split("SPLIT_OVERLOADED").length === nth + 1);
    }
    t.match(client.received, /^HTTP\/1\.1 503 [^]*retry-after: 1\r\n/i);
    t.notMatch(client.received, /connection: close/i);
    const tunnel = await raw(running.address);
    tunnel.send(HANDSHAKE);
    t.match((await tunnel.closed()).text, /^HTTP\/1\.1 503 [^]*retry-after: 1\r\n/i);
    t.strictSame(running.measured().counts, {});
    t.strictSame(running.measured().events, { shed_loop_delay: 21 });
    t.strictSame(running.measured().refused, { 503: 21 });
    t.equal(server.requests.length, 0);
    late = 500;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await client.until(/ok$/);
    t.strictSame(running.measured().events, { shed_loop_delay: 21 });
    client.destroy();
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a request with a body is shed too, and what it sent is not taken for another (reliability 29)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    let late = 501;
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      {},
      {},
      { loopDelay: () => millis(late) },
    );
    const body = "GET /hidden HTTP/1.1\r\nHost: x\r\n\r\n";
    const head = `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n`;
    const client = await raw(running.address);
    client.send(`${head}${body}`);
    await client.until(/SPLIT_OVERLOADED/);
    late = 0;
    client.send("GET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    // In the general lane the body is read behind the answer, so the connection ends with it.
    if (laneConfig().lane === "general") await client.closed();
    else await client.until(/ok$/);
    t.notOk(server.requests.some(({ target }) => target === "/hidden"));
    late = 501;
    const part = await raw(running.address);
    part.send(`${head}GET`);
    t.match((await part.closed()).text, /^HTTP\/1\.1 503 [^]*connection: close\r\n/i);
    t.strictSame(running.measured().refused, { 503: 2 });
    client.destroy();
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "above the number in flight requests are 503, tunnels that are open do not count, and every end gives a place back (reliability 25, 29)",
  async (t) => {
    const held: Socket[] = [];
    const server = await upstream((socket, seen) => {
      if (seen.field("upgrade") !== undefined)
        socket.write("HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
      else if (seen.target === "/held") held.push(socket);
      else socket.write(reply(200, "ok"));
    });
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      {},
      { overload: { concurrency: 2 } },
    );
    const tunnel = await raw(running.address);
    tunnel.send(HANDSHAKE);
    await tunnel.until(/101/);
    const client = await raw(running.address);
    for (const end of ["answered", "cut", "client gone"] as const) {
      const holders = [await raw(running.address), await raw(running.address)];
      for (const each of holders) each.send("POST /held HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
      await running.settled(() => held.length === 2);
      client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await client.until(/SPLIT_OVERLOADED[^]*\}$/);
      for (const socket of held.splice(0))
        if (end === "answered") socket.write(reply(200, "held"));
        else if (end === "cut") socket.destroy();
      for (const each of holders)
        if (end === "client gone") each.destroy();
        else await each.until(/HTTP\/1\.1 (?:200|502) /);
      await running.settled(() => running.plane.gauges().routes["app"]?.stable.inFlight === 0);
      client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await client.until(/ok$/);
      for (const each of holders) each.destroy();
    }
    t.equal(running.measured().events["shed_concurrency"], 3);
    t.strictSame(running.measured().refused, { 503: 3 });
    t.equal(statusOf(client.received), 503);
    tunnel.destroy();
    client.destroy();
    await running.plane.close();
    await server.close();
  },
);

void test("a stall is known from the timer that is overdue, and forgotten with the next that comes in time (reliability 29)", async (t) => {
  let now = 1000;
  let tick: () => void | Promise<void> = () => undefined;
  const clock = {
    mono: (): Millis => millis(now),
    wall: () => 0,
    every(interval: Millis, run: () => void | Promise<void>) {
      t.equal(interval, 100);
      tick = run;
      return () => undefined;
    },
  };
  const delay = new LoopDelay(clock);
  now += 60_000;
  t.equal(delay.at(clock.mono()), 0, "nothing is late before it begins");
  delay.start();
  now += 100;
  await tick();
  t.equal(delay.at(clock.mono()), 0);
  now += 700;
  t.equal(delay.at(clock.mono()), 600, "the timer has not come yet");
  await tick();
  now += 50;
  t.equal(delay.at(clock.mono()), 600, "and is remembered until the next");
  now += 50;
  await tick();
  t.equal(delay.at(clock.mono()), 0);
});

void test("two workers have one limit of an address, and a dead one's connections leave it (reliability 25, 40)", async (t) => {
  const server = await upstream(reply(200, "ok"));
  const threads: Worker[] = [];
  const born = (worker: Worker): void => void threads.push(worker);
  process.on("worker", born);
  const quiet = (): void => undefined;
  const plane = createWorkers({
    entry: new URL("../../src/worker.ts", import.meta.url),
    config: configSchema.parse({
      listen: [{ address: "127.0.0.1:0" }],
      workers: 2,
      limits: { perAddress: 6 },
      routes: [
        {
          name: "app",
          stable: { endpoints: [server.url] },
          canary: { endpoints: [server.url] },
          anonymous: "stable",
        },
      ],
    }),
    clock: fakeClock(),
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    cookieSecret: "a cookie secret",
    secretOf: (source) => new Secret("open sesame", source),
    healthy: () => true,
  });
  const [address = ""] = await plane.listen();
  const statuses = async (): Promise<number[]> => {
    const open = await Promise.all(
      Array.from({ length: 20 }, async () => {
        const client = await raw(address);
        client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        // One far above the limit is dropped.
        const text = await client.until(/(?:ok|\})$/).catch(() => "");
        return { client, status: statusOf(text) };
      }),
    );
    kept.push(...open.filter(({ status }) => status === 200).map(({ client }) => client));
    return open.map(({ status }) => status);
  };
  const kept: Awaited<ReturnType<typeof raw>>[] = [];
  t.equal((await statuses()).filter((status) => status === 200).length, 6);
  const connections = (): number => plane.gauges().connections;
  while (connections() > 6) await new Promise((resolve) => setTimeout(resolve, 2));
  const victim = threads[0];
  if (victim === undefined) throw new Error("no worker was born");
  const gone = event(victim, "exit");
  await victim.terminate();
  await gone;
  const left = connections();
  t.equal((await statuses()).filter((status) => status === 200).length, 6 - left);
  for (const client of kept) client.destroy();
  await plane.close();
  process.off("worker", born);
  await server.close();
});
