/** The last answer of a connection, to a client that takes its time. */

import { connect, type Socket } from "node:net";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane } from "../support/plane.ts";
import { raw } from "../support/raw.ts";
import { upstream } from "../support/upstream.ts";

// What the kernel takes of an answer that nobody reads lies somewhere between these: of some sizes, then, just the last piece is left.
const STEP = 60_000;
const SIZES = Array.from({ length: 90 }, (_, nth) => (nth + 1) * STEP);

interface Slow {
  readonly size: number;
  readonly socket: Socket;
  received: number;
}

void inEveryLane(
  "a last answer that the client takes slowly is not cut when the time to linger is over (reliability 25)",
  async (t) => {
    const server = await upstream((socket, seen) => {
      const size = Number(seen.target.slice(1));
      socket.write(`HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: ${size}\r\n\r\n`);
      socket.write(Buffer.alloc(size, "x"));
    });
    const running = await startPlane({ stable: server.url, canary: server.url });
    const [host = "", port = ""] = running.address.split(":");
    const clients = SIZES.map((size): Slow => {
      const socket = connect(Number(port), host);
      socket.on("error", () => undefined);
      socket.pause();
      socket.write(`GET /${size} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
      return { size, socket, received: 0 };
    });
    await running.settled(() => server.requests.length === SIZES.length);
    // Two that do not close their side linger one after the other: whatever began to linger before them is through with it, too.
    for (let nth = 0; nth < 2; nth++) {
      const last = await raw(running.address);
      last.socket.allowHalfOpen = true;
      last.send("GET /1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
      await last.until(/x$/);
      // What is sent is read and dropped until the connection is not there any more.
      await running.settled(() => {
        last.send("x");
        return last.socket.destroyed;
      });
      last.destroy();
    }
    await Promise.all(
      clients.map(async (client) => {
        const closed = new Promise((resolve) => client.socket.on("close", resolve));
        let head = -1;
        client.socket.on("data", (piece: Buffer) => {
          if (head < 0) head = piece.indexOf("\r\n\r\n") + 4;
          client.received += piece.length;
        });
        client.socket.resume();
        await closed;
        client.received -= head;
      }),
    );
    t.strictSame(
      clients.filter(({ size, received }) => received !== size).map(({ size, received }) => [size, received]),
      [],
    );
    await running.plane.close();
    await server.close();
  },
);
