/** Trailers of requests: what may pass arrives behind the last chunk, byte by byte, whichever way the request came (reliability.md A4, I49). */

import t from "tap";
import { client2 } from "../support/h2.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { raw } from "../support/raw.ts";
import { upstream, type Upstream } from "../support/upstream.ts";

interface Site {
  readonly running: TestPlane;
  readonly server: Upstream;
  /** What the last request was behind its head. */
  readonly rest: () => string;
  readonly close: () => Promise<void>;
}

/** An upstream that answers when a request has ended, trailers and all, and remembers its bytes. */
async function site(): Promise<Site> {
  const server = await upstream("");
  let rest = "";
  server.onConnection = (socket) => {
    let bytes = "";
    socket.on("data", (chunk: Buffer) => {
      bytes += chunk.toString("latin1");
      const found = /^POST [^]*?\r\n\r\n([^]*?\r\n0\r\n(?:[^\r]+\r\n)*\r\n)$/.exec(bytes)?.[1];
      if (found === undefined && !/^GET [^]*\r\n\r\n$/.test(bytes)) return;
      rest = found ?? "";
      bytes = "";
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
  };
  const running = await startPlane({ stable: server.url, canary: server.url });
  return {
    running,
    server,
    rest: () => rest,
    async close() {
      await running.plane.close();
      await server.close();
    },
  };
}

void inEveryLane("a request's trailers arrive behind its last chunk (reliability 4, 49)", async (t) => {
  const { running, server, rest, close } = await site();
  const client = await raw(running.address);
  client.send(
    "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-End: caf\xe9\r\nX-End: 2\r\n\r\n",
  );
  await client.until(/ok$/);
  t.equal(rest(), "3\r\nabc\r\n0\r\nX-End: caf\xe9\r\nX-End: 2\r\n\r\n");
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  await client.until(/ok[^]*ok$/);
  client.send("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
  await client.until(/ok[^]*ok[^]*ok$/);
  t.equal(rest(), "3\r\nabc\r\n0\r\n\r\n");
  t.equal(server.accepted, 1);
  client.destroy();
  await close();
});

t.test(
  "trailers of a request over HTTP/2 become those of a chunked body, and what may not pass is left out (reliability 49)",
  async (t) => {
    const { running, server, rest, close } = await site();
    const client = client2(running.address);
    for (const fields of [{}, { "content-type": "application/grpc" }]) {
      const stream = client.session.request(
        { ":method": "POST", ":path": "/", ...fields },
        { endStream: false, waitForTrailers: true },
      );
      stream.on("wantTrailers", () =>
        stream.sendTrailers({ "x-end": ["1", "2"], authorization: "b", cookie: "c" }),
      );
      stream.on("error", () => undefined);
      stream.end("abc");
      stream.resume();
      await new Promise((resolve) => stream.once("close", resolve));
      t.equal(rest(), "3\r\nabc\r\n0\r\nx-end: 1\r\nx-end: 2\r\n\r\n");
    }
    t.equal((await client.ask("GET", "/")).status, 200);
    t.equal(server.accepted, 1);
    client.close();
    await close();
  },
);
