/** The steps beyond what the platform documents (fast/handle.ts). */

import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import t from "tap";
import { directWriter, DirectWriter, probeHandles } from "../../src/proxy/fast/handle.ts";

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

t.test(
  "a request object is not used again before it was completed, though the kernel took all (a crash of 0.1)",
  async (t) => {
    // The first write finds the kernel full, the second try within the same call does not: the queue is empty, the completion is to come.
    let isLeftOver = true;
    const given: { oncomplete: ((status: number) => void) | undefined }[] = [];
    const take = (request: (typeof given)[number]): number => {
      given.push(request);
      return 0;
    };
    const handle = { writeQueueSize: 0, writeBuffer: take, writeLatin1String: take };
    const means = {
      WriteWrap: class {
        oncomplete: ((status: number) => void) | undefined;
      },
      wasLeftOver: () => isLeftOver,
    };
    let flushed = 0;
    const writer = new DirectWriter(
      handle,
      means,
      () => flushed++,
      () => t.fail("nothing failed"),
    );
    t.equal(writer.write(Buffer.from("a")), "pending");
    t.ok(writer.isPending);
    isLeftOver = false;
    t.equal(writer.write(Buffer.from("b")), "taken");
    t.not(given[0], given[1]);
    t.equal(flushed, 0);
    given[0]?.oncomplete?.(0);
    t.equal(flushed, 1);
    t.notOk(writer.isPending);
    t.equal(writer.write(Buffer.from("c")), "taken");
    t.equal(given[1], given[2], "one that was done at once is used again");
  },
);
