/** Very many connections on one worker. */

import { connect, type Socket } from "node:net";
import { must } from "./check.ts";
import { road, type Result } from "./client.ts";
import { withSite, type Site } from "./site.ts";

/** 10,000 idle kept connections and 2,000 busy ones, on one worker, without an error. */
export function manyConnections(): Promise<string> {
  return withSite(
    async (at) => {
      const before = at.rss();
      const idle: Socket[] = [];
      let lost = 0;
      for (let nth = 0; nth < 10_000; nth += 200) {
        const opened = await Promise.all(Array.from({ length: 200 }, () => kept(at)));
        for (const socket of opened) socket.once("close", () => lost++);
        idle.push(...opened);
      }
      const held = at.rss();
      const client = road(at, "http1", { width: 2000 });
      const results: Result[] = [];
      for (let round = 0; round < 5; round++) {
        const asked = Array.from({ length: 2000 }, (_, nth) =>
          client.ask({ path: "/", headers: { "x-id": `${round}-${nth}`, "x-user-id": String(nth) } }),
        );
        results.push(...(await Promise.all(asked)));
      }
      const bad = results.filter(({ status, isWhole }) => status !== 200 || !isWhole);
      must(bad.length === 0, `${bad.length} busy exchanges failed: ${JSON.stringify(bad[0])}`);
      must(lost === 0, `${lost} idle connections were lost`);
      // Every idle one still serves.
      const again = await Promise.all(idle.slice(0, 500).map(hello));
      must(
        again.every((text) => text.startsWith("HTTP/1.1 200")),
        "an idle connection serves no more",
      );
      client.close();
      for (const socket of idle) socket.destroy();
      const each = ((held - before) * 1024) / 10_000;
      return `10,000 idle (${each.toFixed(1)} KiB each) beside 2,000 busy: 10,000 exchanges, no error`;
    },
    { more: { limits: { connections: 20_000 } }, arm: { connections: 256, queue: 2000 } },
  );
}

/** A connection that has had one answer. */
async function kept(at: Site): Promise<Socket> {
  const socket = connect(at.port, at.host);
  socket.on("error", () => undefined);
  await hello(socket);
  return socket;
}

function hello(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const look = (chunk: Buffer): void => {
      text += chunk.toString("latin1");
      if (!text.endsWith("hello undefined")) return;
      socket.off("data", look);
      resolve(text);
    };
    socket.on("data", look);
    socket.once("close", () => resolve(text));
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  });
}
