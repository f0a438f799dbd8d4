/** Copies of requests for the canary: what they are, what they cost nobody, and that they are no evidence (reliability 33). */

import type { Socket } from "node:net";
import { inEveryLane } from "../support/lanes.ts";
import { raw, type RawClient } from "../support/raw.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { NOBODY, reply, upstream, type Seen, type Upstream } from "../support/upstream.ts";

const ALL = { share: "100%", methods: ["GET", "HEAD", "POST", "PUT"] };

async function pair(mirror: object = ALL, route: object = {}) {
  const stable = await upstream(reply(200, "stable", "Content-Type: text/plain\r\n"));
  const canary = await upstream(reply(200, "canary", "Content-Type: text/plain\r\n"));
  const running = await startPlane({ stable: stable.url, canary: canary.url }, { mirror, ...route });
  const client = await raw(running.address);
  return { stable, canary, running, client };
}

async function done(
  { running, client }: { running: TestPlane; client: RawClient },
  ...servers: Upstream[]
): Promise<void> {
  client.destroy();
  await running.plane.close();
  for (const server of servers) await server.close();
}

function fieldsOf(seen: Seen | undefined): string[] {
  const lines = (seen?.head ?? "").split("\r\n").slice(1);
  return lines.map((line) => line.replace(/^[^:]+/, (name) => name.toLowerCase())).sort();
}

void inEveryLane(
  "the canary gets what stable got, with a mark, when stable has answered, and the client gets stable's answer alone (reliability 33)",
  async (t) => {
    const all = await pair();
    const { stable, canary, running, client } = all;
    client.send(
      "GET /a?b=%20c HTTP/1.1\r\nHost: app.example\r\nCookie: sid=1; b=2\r\nAuthorization: Bearer x\r\nX-Sluice-Mirror: 7\r\nX-User: u\r\n\r\n",
    );
    const text = await client.until(/stable$/);
    t.notMatch(text, /canary/);
    const totals = await running.settled((now) => now.events["canary mirror_answered"] === 1);
    t.strictSame(totals.events, { "canary mirror_sent": 1, "canary mirror_answered": 1 });
    t.strictSame(totals.counts, { "stable ok": 1 });
    t.strictSame(running.plane.gauges().routes["app"]?.canary, { inFlight: 0, longLived: 0 });
    const [original, copy] = [stable.requests[0], canary.requests[0]];
    t.equal(copy?.target, "/a?b=%20c");
    t.equal(copy?.field("x-sluice-mirror"), "1");
    const others = (seen: Seen | undefined): string[] =>
      fieldsOf(seen).filter((line) => !/^(?:x-sluice-mirror|connection):/i.test(line));
    t.strictSame(others(copy), others(original));
    await done(all, stable, canary);
  },
);

void inEveryLane(
  "bodies are copied whole, whatever their framing, and long ones are not (reliability 33)",
  async (t) => {
    const all = await pair({ ...ALL, maxBody: "64KiB" });
    const { stable, canary, running, client } = all;
    const bodies = ["hello", "x".repeat(40_000)];
    let nth = 0;
    for (const body of bodies)
      for (const chunked of [false, true]) {
        const framed = chunked
          ? `Transfer-Encoding: chunked\r\n\r\n3;x=y\r\n${body.slice(0, 3)}\r\n${(body.length - 3).toString(16)}\r\n${body.slice(3)}\r\n0\r\nX-Trailer: 1\r\n\r\n`
          : `Content-Length: ${body.length}\r\n\r\n${body}`;
        // In pieces, so that it does not come with the head.
        client.send(`POST /${nth} HTTP/1.1\r\nHost: x\r\n${framed.slice(0, 60)}`);
        await running.settled(() => stable.accepted > 0);
        client.send(framed.slice(60));
        nth++;
        await client.until((text) => text.split("stable").length === nth + 1);
        await running.settled((now) => now.events["canary mirror_answered"] === nth);
        t.equal(canary.requests.at(-1)?.body, body);
        t.equal(canary.requests.at(-1)?.field("content-length"), String(body.length));
        t.equal(canary.requests.at(-1)?.field("transfer-encoding"), undefined);
      }
    client.send(`PUT /long HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n${"y".repeat(70_000)}`);
    await client.until((text) => text.split("stable").length === nth + 2);
    client.send("POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    await running.settled((now) => now.events["canary mirror_answered"] === nth + 1);
    t.equal(canary.requests.at(-1)?.target, "/none");
    t.notOk(canary.requests.some(({ target }) => target === "/long"));
    running.reconfigure({
      stable: { endpoints: [stable.url] },
      canary: { endpoints: [canary.url] },
      mirror: { ...ALL, maxBody: "1KiB" },
    });
    const before = running.measured().settled;
    for (const [at, size] of [1025, 1024].entries()) {
      client.send(`PUT /${size} HTTP/1.1\r\nHost: x\r\nContent-Length: ${size}\r\n\r\n${"z".repeat(size)}`);
      await running.settled((now) => now.settled === before + at + 1);
    }
    await running.settled((now) => now.events["canary mirror_answered"] === nth + 2);
    t.notOk(canary.requests.some(({ target }) => target === "/1025"));
    await done(all, stable, canary);
  },
);

void inEveryLane(
  "copies are made at weight 0 alone, not after a rollback, not of forced requests, of the methods and the share named",
  async (t) => {
    const all = await pair(
      { share: "40%", methods: ["GET"] },
      { override: { header: "x-arm", from: ["127.0.0.0/8"] } },
    );
    const { stable, canary, running, client } = all;
    let nth = 0;
    const ask = async (head: string): Promise<void> => {
      nth++;
      client.send(`${head}\r\nHost: x\r\nX-User: u${nth}\r\n\r\n`);
      await client.until(
        (text) => text.split("\r\n\r\nstable").length + text.split("\r\n\r\ncanary").length === nth + 2,
      );
    };
    running.weight(0, false);
    for (let each = 0; each < 20; each++) await ask("GET / HTTP/1.1");
    running.weight(0.1);
    for (let each = 0; each < 20; each++) await ask("GET / HTTP/1.1");
    running.weight(0);
    for (let each = 0; each < 20; each++) await ask("DELETE / HTTP/1.1");
    for (let each = 0; each < 20; each++) await ask("GET / HTTP/1.1\r\nX-Arm: stable");
    for (let each = 0; each < 5; each++) await ask("GET / HTTP/1.1\r\nX-Arm: canary");
    t.equal(canary.requests.filter((seen) => seen.field("x-sluice-mirror") !== undefined).length, 0);
    t.strictSame(running.measured().events, {});
    for (let each = 0; each < 200; each++) await ask("GET / HTTP/1.1");
    const sent = running.measured().events["canary mirror_sent"] ?? 0;
    t.ok(sent > 50 && sent < 110, `${sent} of 200 at 40 %`);
    await done(all, stable, canary);
  },
);

void inEveryLane(
  "a canary that hangs delays nobody: copies are given up after their time, and no more are in flight than allowed",
  async (t) => {
    const all = await pair({ ...ALL, concurrency: 3, timeout: "150ms" });
    const { stable, canary, running, client } = all;
    canary.script = () => undefined;
    for (let nth = 1; nth <= 20; nth++) {
      client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await client.until((text) => text.split("\r\n\r\nstable").length === nth + 1);
    }
    t.strictSame(
      (await running.settled((now) => now.settled === 20)).counts,
      { "stable ok": 20 },
      "all were answered while the copies hang",
    );
    const { events } = await running.settled((now) => now.events["canary mirror_failed"] === 3);
    t.strictSame(events, {
      "canary mirror_sent": 3,
      "canary mirror_skipped": 17,
      "canary mirror_failed": 3,
    });
    t.equal(canary.requests.length, 3);
    await running.settled(() => canary.sockets.size === 0);
    canary.script = (socket) => void socket.write(reply(200, "canary", "Content-Type: text/plain\r\n"));
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await running.settled((now) => now.events["canary mirror_answered"] === 1);
    await done(all, stable, canary);
  },
);

void inEveryLane(
  "what differs from stable's answer is counted, what failed too, and neither is evidence (reliability 33)",
  async (t) => {
    const all = await pair();
    const { stable, canary, running, client } = all;
    let nth = 0;
    const after = async (
      answer: string | ((socket: Socket) => void),
    ): Promise<Readonly<Record<string, number>>> => {
      const before = { ...running.measured().events };
      canary.script = typeof answer === "string" ? (socket) => void socket.write(answer) : answer;
      nth++;
      client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      await client.until((text) => text.split("\r\n\r\nstable").length === nth + 1);
      const { events } = await running.settled(
        (now) =>
          (now.events["canary mirror_answered"] ?? 0) + (now.events["canary mirror_failed"] ?? 0) === nth,
      );
      return Object.fromEntries(
        Object.entries(events)
          .map(([name, count]) => [name.replace("canary mirror_", ""), count - (before[name] ?? 0)] as const)
          .filter(([name, count]) => count > 0 && name !== "sent"),
      );
    };
    const plain = "Content-Type: text/plain\r\n";
    t.strictSame(await after(reply(200, "same", plain)), { answered: 1 });
    t.strictSame(await after(reply(404, "no", plain)), { answered: 1, status_differs: 1 });
    t.strictSame(await after(reply(200, "{}", "content-type: application/json\r\nX-Other: 1\r\n")), {
      answered: 1,
      fields_differ: 1,
    });
    t.strictSame(await after(reply(200, "ok", `${plain}Cache-Control: no-store\r\n`)), {
      answered: 1,
      fields_differ: 1,
    });
    t.strictSame(await after(reply(500, "broken", plain)), { failed: 1, status_differs: 1 });
    t.strictSame(await after((socket) => void socket.destroy()), { failed: 1 });
    t.strictSame(await after((socket) => void socket.write("HTP/1.1 nonsense\r\n\r\n")), { failed: 1 });
    t.strictSame(
      await after((socket) => {
        socket.write(`HTTP/1.1 200 OK\r\n${plain}Content-Length: 9000000\r\n\r\n`);
        // and no end of it
        socket.write(Buffer.alloc(5_000_000));
      }),
      { answered: 1 },
      "of a long answer no more is read than is needed",
    );
    const totals = await running.settled((now) => now.settled === nth);
    t.strictSame(totals.counts, { "stable ok": nth });
    t.strictSame(totals.failures, []);
    t.strictSame(totals.rescues, { answered: 0, failed: 0, refused: 0 });
    await done(all, stable, canary);
  },
);

void inEveryLane("a canary that is not there fails copies and nothing else (reliability 33)", async (t) => {
  const stable = await upstream(reply(200, "stable"));
  const running = await startPlane({ stable: stable.url, canary: NOBODY }, { mirror: ALL });
  const client = await raw(running.address);
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await client.until(/stable$/);
  const totals = await running.settled((now) => now.events["canary mirror_failed"] === 1);
  t.strictSame(totals.counts, { "stable ok": 1 });
  await done({ running, client }, stable);
});

void inEveryLane(
  "a request whose answer from stable failed, or whose client left, is not copied",
  async (t) => {
    const all = await pair();
    const { stable, canary, running, client } = all;
    stable.script = (socket) => void socket.destroy();
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await client.until(/502/);
    stable.script = () => undefined;
    client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    await running.settled(() => stable.requests.length === 2);
    client.destroy();
    const totals = await running.settled((now) => now.settled === 2);
    t.strictSame(totals.events, {});
    t.equal(canary.requests.length, 0);
    await done(all, stable, canary);
  },
);
