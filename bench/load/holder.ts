/**
 * Idle clients: `holder.ts PORT COUNT` opens so many keep-alive connections, a hundred at a time, sends one request on each, reads the
 * answer and keeps the connection. Prints how many it holds, then waits until its parent closes the pipe or a minute has passed. The
 * exit code is 1 when one was closed meanwhile.
 */

import { connect, type Socket } from "node:net";

const [portText = "", countText = ""] = process.argv.slice(2);
const port = Number(portText);
const count = Math.min(20_000, Math.max(1, Number(countText)));
const AT_ONCE = 100;
const ANSWER_MS = 10_000;
const HOLD_MS = 60_000;

const held = new Set<Socket>();
let lost = 0;

/** Resolves when the connection has had its answer, or is not to have one. */
function open(index: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1", noDelay: true });
    const timer = setTimeout(() => socket.destroy(), ANSWER_MS);
    let missing = -1;
    socket.on("connect", () => {
      socket.write(
        `GET /1k HTTP/1.1\r\nHost: 127.0.0.1:${String(port)}\r\nCookie: sid=user-${String(index)}\r\n\r\n`,
      );
    });
    socket.on("data", (chunk) => {
      if (missing === -1) {
        // A head that comes in two pieces would be misread: on loopback, with an answer of 1 KiB, none does.
        const head = /^HTTP\/1.1 200[^]*?\r\ncontent-length: *(\d+)\r\n[^]*?\r\n\r\n/i.exec(
          chunk.toString("latin1"),
        );
        if (head === null) return void socket.destroy();
        missing = Number(head[1]) + head[0].length;
      }
      missing -= chunk.length;
      if (missing > 0) return;
      clearTimeout(timer);
      held.add(socket);
      resolve();
    });
    socket.on("error", () => {});
    socket.on("close", () => {
      clearTimeout(timer);
      if (held.delete(socket)) lost += 1;
      resolve();
    });
  });
}

let next = 0;
async function one(): Promise<void> {
  while (next < count) {
    next += 1;
    await open(next);
  }
}
await Promise.all(Array.from({ length: AT_ONCE }, one));
process.stdout.write(`${String(held.size)}\n`);

const end = (): void => process.exit(lost === 0 ? 0 : 1);
process.stdin.resume().on("end", end);
setTimeout(end, HOLD_MS);
