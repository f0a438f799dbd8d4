/** Handshakes that fail, never end or never begin: bounded in time and number, counted, and nobody else's trouble (reliability.md D26, E30, I51). */

import { once as event } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { Duplex } from "node:stream";
import { connect } from "node:tls";
import t from "tap";
import { millis } from "../../src/domain/units.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { raw, resetConnection, statusOf } from "../support/raw.ts";
import { LAST_GET, pairOf, talk } from "../support/tls.ts";
import { NOBODY, reply, upstream } from "../support/upstream.ts";

async function site(limits: object): Promise<{ running: TestPlane; close(): Promise<void> }> {
  const server = await upstream(reply(200, "ok"));
  const listen = [{ address: "127.0.0.1:0", tls: pairOf("") }];
  const running = await startPlane({ stable: server.url, canary: server.url }, {}, { listen, limits });
  return {
    running,
    async close() {
      await running.plane.close();
      await server.close();
    },
  };
}

/** The first bytes of a handshake, as the platform's client sends them. */
function clientHello(): Promise<Buffer> {
  return new Promise((resolve) => {
    const wire = new Duplex({
      read: () => undefined,
      write: (chunk: Buffer) => resolve(chunk),
    });
    connect({ socket: wire, servername: "localhost" }).on("error", () => undefined);
  });
}

t.test("what is no TLS is closed and counted, and the next client is served (reliability 51)", async (t) => {
  const s = await site({});
  for (const bytes of [
    "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "\x16\x03\x01\x00\x05garbage",
    "\0",
    "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
  ]) {
    const client = await raw(s.running.address);
    client.send(bytes);
    client.socket.end();
    t.notMatch((await client.closed()).text, /HTTP/, JSON.stringify(bytes));
  }
  const reset = await raw(s.running.address);
  reset.send(await clientHello());
  await reset.until((text) => text.length > 100);
  resetConnection(reset.socket);
  const totals = await s.running.settled((now) => now.events["tls_handshake_failed"] === 5);
  t.strictSame(totals.events, { tls_handshake_failed: 5 });
  t.equal(statusOf((await talk(s.running.address, LAST_GET)).text), 200);
  await s.running.settled(() => s.running.plane.gauges().connections === 0);
  await s.close();
});

t.test(
  "one that connects and goes, as balancers do to see whether we live, has failed at nothing",
  async (t) => {
    const s = await site({});
    const polite = await raw(s.running.address);
    polite.socket.end();
    await polite.closed();
    const rude = await raw(s.running.address);
    resetConnection(rude.socket);
    await s.running.settled(() => s.running.plane.gauges().connections === 0);
    t.strictSame(s.running.measured().events, {});
    await s.close();
  },
);

t.test(
  "a handshake that is not complete in time is cut, however busily it goes about it (reliability 26, 51)",
  async (t) => {
    const s = await site({ headTime: "200ms" });
    const hello = await clientHello();
    const silent = await raw(s.running.address);
    const half = await raw(s.running.address);
    half.send(hello);
    const busy = await raw(s.running.address);
    let at = 0;
    const drip = setInterval(() => busy.send(hello.subarray(at, ++at)), 20);
    t.teardown(() => clearInterval(drip));
    // The busy one would need half a minute.
    for (const each of [silent, half, busy]) t.notMatch((await each.closed()).text, /HTTP/);
    const totals = await s.running.settled((now) => now.events["tls_handshake_failed"] === 3);
    t.strictSame(totals.refused, {});
    await s.close();
  },
);

t.test("a reload changes how long a handshake may take (reliability 38)", async (t) => {
  const s = await site({ headTime: "30s" });
  s.running.reconfigure(
    { stable: { endpoints: [NOBODY] }, canary: { endpoints: [NOBODY] } },
    { limits: { headTime: "100ms" } },
  );
  const silent = await raw(s.running.address);
  t.equal((await silent.closed()).text, "");
  await s.close();
});

t.test(
  "handshakes under way are connections: a flood of them is bounded, and those who wait are told so (reliability 25, 51)",
  async (t) => {
    const s = await site({ connections: 2, headTime: "30s" });
    const flood = await Promise.all(Array.from({ length: 140 }, () => raw(s.running.address)));
    await s.running.settled((now) => (now.events["over_connections"] ?? 0) === 10);
    t.equal(s.running.plane.gauges().connections, 130, "the limit, and those who are still told");
    t.equal(flood.filter(({ socket }) => !socket.destroyed).length >= 130, true);
    t.match(await talk(s.running.address, LAST_GET), { text: "", error: /./ }, "beyond all bounds");
    for (const each of flood.slice(0, 20)) each.destroy();
    await s.running.settled(() => s.running.plane.gauges().connections < 130);
    t.equal(statusOf((await talk(s.running.address, LAST_GET)).text), 503, "over the limit, and told so");
    for (const each of flood) each.destroy();
    await s.running.settled(() => s.running.plane.gauges().connections === 0);
    t.equal(statusOf((await talk(s.running.address, LAST_GET)).text), 200);
    await s.close();
  },
);

t.test(
  "handshakes under way count for their address, and leave room for everybody else's (reliability 25, 51)",
  async (t) => {
    const s = await site({ perAddress: 2, connections: 40, headTime: "30s" });
    const flood = await Promise.all(Array.from({ length: 100 }, () => raw(s.running.address)));
    await s.running.settled((now) => now.events["over_address"] === 82);
    t.equal(s.running.plane.gauges().connections, 18, "the limit, and those who are still told");
    const port = Number(s.running.address.split(":")[1]);
    const elsewhere = connectTcp({ host: "127.0.0.1", port, localAddress: "127.0.0.2" });
    const other = await talk(s.running.address, LAST_GET, { socket: elsewhere });
    t.equal(statusOf(other.text), 200, "another address is served");
    const open = flood.filter(({ socket }) => !socket.destroyed);
    open[0]?.destroy();
    await s.running.settled(() => s.running.plane.gauges().connections === 17);
    t.equal(statusOf((await talk(s.running.address, LAST_GET)).text), 429, "over the limit, and told so");
    for (const each of flood) each.destroy();
    await s.running.settled(() => s.running.plane.gauges().connections === 0);
    t.equal(statusOf((await talk(s.running.address, LAST_GET)).text), 200);
    await s.close();
  },
);

t.test(
  "going away ends handshakes that are not complete soon, and counts them as nobody's failure (reliability 39)",
  async (t) => {
    const s = await site({});
    const client = await raw(s.running.address);
    client.send(await clientHello());
    await client.until((text) => text.length > 100);
    t.strictSame(await s.running.plane.retire(millis(20_000)), { cut: 0 });
    await client.closed();
    t.strictSame(s.running.measured().events, {});
    t.equal(s.running.plane.gauges().connections, 0);
    await s.close();
  },
);

t.test(
  "the deadline of a drain holds for handshakes under way, even when it is sooner (reliability 39)",
  async (t) => {
    const sites = [await site({}), await site({})];
    const ended: number[] = [];
    const hello = await clientHello();
    for (const { running } of sites) {
      const client = await raw(running.address);
      client.send(hello);
      await client.until((text) => text.length > 100);
    }
    await Promise.all(
      [20_000, 1].map(async (deadlineMs, nth) => {
        t.strictSame(await sites[nth]!.running.plane.retire(millis(deadlineMs)), { cut: 0 });
        ended.push(nth);
      }),
    );
    t.strictSame(ended, [1, 0]);
    for (const each of sites) await each.close();
  },
);

t.test(
  "a connection whose handshake was under way when the process began to go away is served, and told that this was all (reliability 39)",
  async (t) => {
    const s = await site({});
    const wires = await Promise.all([raw(s.running.address), raw(s.running.address)]);
    await s.running.settled(() => s.running.plane.gauges().connections === 2);
    const retired = s.running.plane.retire(millis(20_000));
    const [http1, http2] = wires.map(({ socket }) => {
      socket.removeAllListeners("data");
      return socket;
    });
    const { text } = await talk(s.running.address, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", { socket: http1! });
    t.match(text, /^HTTP\/1\.1 200 [^]*connection: close\r\n[^]*ok$/i);
    const session = connectHttp2("https://localhost", {
      createConnection: () =>
        connect({
          socket: http2!,
          servername: "localhost",
          rejectUnauthorized: false,
          ALPNProtocols: ["h2"],
        }),
    });
    const told = event(session, "goaway");
    const stream = session.request({ ":path": "/" });
    const [head] = (await event(stream, "response")) as [Record<string, unknown>];
    t.equal(head[":status"], 200);
    stream.resume();
    const [code] = (await told) as [number];
    t.equal(code, 0);
    t.strictSame(await retired, { cut: 0 });
    t.strictSame(s.running.measured().events, {});
    await s.close();
  },
);
