/** What is sent again to the same arm, and what is not (reliability 13, 14). */

import { createServer, type AddressInfo } from "node:net";
import { inEveryLane } from "../support/lanes.ts";
import { raw, statusOf } from "../support/raw.ts";
import { startPlane } from "../support/plane.ts";
import { NOBODY, reply, upstream } from "../support/upstream.ts";

void inEveryLane(
  "requests whose kept connection was lost are sent again within the budget, and beyond it the failure stands (reliability 13)",
  async (t) => {
    // It answers the first request of each connection and drops the second.
    const server = await upstream((socket, seen) => {
      if (seen.nth === 0) socket.write(reply(200, "ok"));
      else socket.destroy();
    });
    const running = await startPlane({ stable: server.url, canary: server.url });
    const client = await raw(running.address);
    const ask = async (nth: number): Promise<void> => {
      client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await client.until((text) => text.split("HTTP/1.1 ").length === nth + 1 && /(?:ok|\})$/.test(text));
    };
    for (let nth = 1; nth <= 11; nth++) await ask(nth);
    t.notMatch(client.received, /502/);
    t.strictSame(running.measured().events, { "stable retried": 10 });
    await ask(12);
    t.match(client.received, /HTTP\/1\.1 502 /, "ten may always, and 20 % of twelve is less");
    t.strictSame(running.measured().events, { "stable retried": 10, "stable retry_refused": 1 });
    t.strictSame((await running.settled((now) => now.settled === 12)).counts, {
      "stable ok": 11,
      "stable reset": 1,
    });
    await ask(13);
    running.advance(10_000);
    await ask(14);
    t.equal(client.received.split("HTTP/1.1 502").length, 2, "and time gives the budget back");
    client.destroy();
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a retry stays on the arm of its key, and its budget is a share of the exchanges (reliability 13)",
  async (t) => {
    let drops = false;
    const canary = await upstream((socket, seen) => {
      if (drops && seen.nth > 0) socket.destroy();
      else socket.write(reply(200, "ok"));
    });
    const stable = await upstream(reply(200, "stable"));
    const running = await startPlane(
      { stable: stable.url, canary: canary.url },
      { retry: { budget: "50%" }, rescue: "off" },
    );
    running.weight(100);
    const client = await raw(running.address);
    let nth = 0;
    const ask = async (): Promise<void> => {
      nth++;
      client.send("GET / HTTP/1.1\r\nHost: x\r\nX-User: u\r\n\r\n");
      await client.until((text) => text.split("HTTP/1.1 ").length === nth + 1 && /(?:ok|\})$/.test(text));
    };
    for (let each = 0; each < 40; each++) await ask();
    drops = true;
    for (let each = 0; each < 30; each++) await ask();
    t.notMatch(client.received, /502/);
    t.strictSame(running.measured().events, { "canary retried": 30 });
    t.equal(stable.requests.length, 0);
    client.destroy();
    await running.plane.close();
    await stable.close();
    await canary.close();
  },
);

void inEveryLane(
  "when no connection opens, another endpoint of the arm is asked, whatever the method, with the body whole (reliability 13)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane({ stable: [NOBODY, server.url], canary: server.url });
    const client = await raw(running.address);
    for (let nth = 1; nth <= 24; nth++) {
      const body = nth % 3 === 0 ? "x".repeat(9_000) : "hello";
      const head = nth % 2 === 0 ? "GET / HTTP/1.1\r\nHost: x\r\n\r\n" : "";
      client.send(
        head === "" ? `POST / HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}` : head,
      );
      await client.until((text) => text.split("\r\n\r\nok").length === nth + 1);
      if (head === "") t.equal(server.requests.at(-1)?.body, body);
      running.advance(1_500);
    }
    const totals = await running.settled((now) => now.settled === 24);
    t.strictSame(totals.counts, { "stable ok": 24 });
    t.ok((totals.events["stable retried"] ?? 0) > 3);
    t.equal(server.requests.length, 24);
    client.destroy();
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "where there is one endpoint a connection is tried twice, and then it is 502 (reliability 13)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane({ stable: NOBODY, canary: server.url });
    for (const method of ["GET", "POST"]) {
      const client = await raw(running.address);
      client.send(`${method} / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n`);
      t.equal(statusOf(await client.until(/\}$/)), 502);
      client.destroy();
    }
    const totals = await running.settled((now) => now.settled === 2);
    t.strictSame(totals.counts, { "stable connect": 2 });
    t.strictSame(totals.events, { "stable retried": 2 });
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a long body is sent whole or not at all when a connection does not open (reliability 13)",
  async (t) => {
    const server = await upstream(reply(200, "ok"));
    const running = await startPlane({ stable: [NOBODY, server.url], canary: server.url });
    const statuses: number[] = [];
    for (let nth = 0; nth < 12; nth++) {
      const client = await raw(running.address);
      client.send(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 40000\r\n\r\n${"x".repeat(40_000)}`);
      statuses.push(statusOf(await client.until(/(?:ok|\})$/)));
      client.destroy();
    }
    const totals = await running.settled((now) => now.settled === 12);
    t.equal(server.requests.length, totals.counts["stable ok"]);
    t.ok(server.requests.every(({ body }) => body.length === 40_000));
    t.equal(statuses.filter((status) => status === 200).length, server.requests.length);
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "the time for a connection is spent once on one endpoint, and once more on another (reliability 13, 14)",
  async (t) => {
    // A TLS endpoint that accepts and says nothing: its connection never opens.
    const mute = createServer();
    await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
    let accepted = 0;
    mute.on("connection", (socket) => {
      accepted++;
      socket.resume();
      socket.on("error", () => undefined);
    });
    // A TCP server has an address of this form.
    const url = `https://127.0.0.1:${(mute.address() as AddressInfo).port}`;
    const server = await upstream(reply(200, "ok"));
    const timeouts = { connect: "60ms" };
    const running = await startPlane({ stable: url, canary: server.url }, { timeouts });
    const client = await raw(running.address);
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    t.equal(statusOf(await client.until(/\}$/)), 504);
    t.equal(accepted, 1);
    t.strictSame(running.measured().events, {});
    running.reconfigure({ timeouts, stable: { endpoints: [url, server.url] } });
    for (let nth = 1; nth <= 8; nth++) {
      client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await client.until((text) => text.split("\r\n\r\nok").length === nth + 1);
    }
    t.ok(accepted > 1, "it was asked again");
    t.strictSame((await running.settled((now) => now.settled === 9)).counts, {
      "stable connect": 1,
      "stable ok": 8,
    });
    client.destroy();
    await running.plane.close();
    await server.close();
    await new Promise((resolve) => mute.close(resolve));
  },
);
