/** The steps beyond what the platform documents (fast/handle.ts). */

import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import t from "tap";
import { directWriter, probeHandles } from "../../src/proxy/fast/handle.ts";

t.test("a try that fails takes nothing from those who write already", async (t) => {
  const works = await probeHandles(5000);
  t.strictSame(works, { reads: true, writes: true }, "both steps work on this platform");
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const accepted = new Promise<Socket>((resolve) => server.once("connection", resolve));
  const client = connect((server.address() as AddressInfo).port, "127.0.0.1");
  const socket = await accepted;
  const writer = directWriter(
    socket,
    () => undefined,
    () => undefined,
  );
  // No time at all: it cannot work.
  t.strictSame(await probeHandles(0), { reads: false, writes: false });
  const received = new Promise((resolve) =>
    client.once("data", (bytes: Buffer) => resolve(bytes.toString())),
  );
  t.equal(writer?.writeLatin1("still"), "taken");
  t.equal(await received, "still");
  client.destroy();
  server.close();
});
