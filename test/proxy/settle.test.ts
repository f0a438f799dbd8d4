/** Every exchange settles exactly once (house.md §1.5), as a property over a matrix of faults. */

import { FAULTS } from "../support/faults.ts";
import { client2 } from "../support/h2.ts";
import { inEveryLane } from "../support/lanes.ts";
import { once, raw, statusOf } from "../support/raw.ts";
import { startPlane } from "../support/plane.ts";
import { reply, upstream } from "../support/upstream.ts";

void inEveryLane(
  "every exchange settles exactly once, whatever breaks: faults × methods × fresh and reused × client patience (reliability 21, 47)",
  async (t) => {
    const server = await upstream("");
    const route = { timeouts: { connect: "200ms", headers: "50ms", idle: "50ms" } };
    const running = await startPlane({ stable: server.url, canary: server.url }, route);
    let sent = 0;
    for (const weight of [0, 100]) {
      running.weight(weight);
      for (const [fault, act] of Object.entries(FAULTS)) {
        for (const body of ["", "abc"]) {
          for (const reused of [false, true]) {
            for (const patient of [true, false]) {
              if (reused) {
                server.script = (socket) => void socket.write(reply(200, "ok"));
                await once(running.address, "GET / HTTP/1.1\nHost: x\nX-User: u");
                sent++;
              } else for (const socket of server.sockets) socket.destroy();
              const arrived = new Promise<void>((resolve) => {
                server.script = (socket) => {
                  act(socket);
                  resolve();
                };
              });
              const client = await raw(running.address);
              const framing = body === "" ? "" : `Content-Length: ${body.length}\r\n`;
              client.send(
                `${body === "" ? "GET" : "POST"} / HTTP/1.1\r\nHost: x\r\nX-User: u\r\nConnection: close\r\n${framing}\r\n${body}`,
              );
              sent++;
              if (!patient) {
                await arrived;
                client.destroy();
              }
              await client.closed();
              const totals = await running.settled((now) => now.settled >= sent);
              if (totals.settled !== sent)
                t.equal(totals.settled, sent, `${fault} ${body} reused ${reused} patient ${patient}`);
            }
          }
        }
      }
    }
    const after = await running.settled(() => {
      const load = running.plane.gauges().routes["app"];
      return load?.stable.inFlight === 0 && load.canary.inFlight === 0;
    });
    t.equal(after.settled, sent);
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a client that takes nothing of its answer until the time for the whole exchange is over has left: its arm has not failed (reliability 33)",
  async (t) => {
    const server = await upstream((socket, { target }) => {
      const size = target === "/stops" ? 3 : 64_000_000;
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 64000000\r\n\r\n");
      socket.write(Buffer.alloc(size, "x"));
    });
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      { timeouts: { total: "2s" } },
    );
    const slow = await raw(running.address);
    slow.socket.pause();
    slow.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    const client = client2(running.address);
    const stream = client.open("GET", "/");
    stream.end();
    stream.pause();
    await running.settled((now) => now.settled === 2);
    t.strictSame(running.measured().counts, { "stable client_gone": 2 });
    slow.destroy();
    client.close();
    const eager = await raw(running.address);
    eager.send("GET /stops HTTP/1.1\r\nHost: x\r\n\r\n");
    t.match((await eager.closed()).text, /xxx$/);
    const totals = await running.settled((now) => now.settled === 3);
    t.strictSame(totals.counts, { "stable client_gone": 2, "stable cut": 1 }, "an arm that stops has failed");
    await running.plane.close();
    await server.close();
  },
);

void inEveryLane(
  "a known issue is no evidence when a WebSocket was asked for either; elsewhere the same status is (reliability 32, 33)",
  async (t) => {
    const server = await upstream((socket) => void socket.write(reply(503, "busy")));
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      { rescue: "off", rollback: { knownIssues: [{ path: "/chat", status: 503 }] } },
    );
    running.weight(100);
    const ask = async (target: string): Promise<void> => {
      const client = await raw(running.address);
      client.send(
        `GET ${target} HTTP/1.1\r\nHost: x\r\nX-User: u\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\r\n`,
      );
      t.equal(statusOf((await client.closed()).text), 503);
    };
    await ask("/chat?room=1");
    const totals = await running.settled((now) => now.settled === 1);
    t.strictSame(totals.counts, { "canary known_issue": 1 });
    t.strictSame(totals.failures, []);
    await ask("/other");
    const { counts, failures } = await running.settled((now) => now.settled === 2);
    t.strictSame(counts, { "canary known_issue": 1, "canary status": 1 });
    t.match(failures, [{ path: "/other", status: 503 }]);
    await running.plane.close();
    await server.close();
  },
);
