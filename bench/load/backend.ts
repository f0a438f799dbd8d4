/**
 * The upstream of the benchmark: a server on a bare socket that answers every request head with the same bytes, in its own process. It
 * does as little as can be done, so that what is measured is the proxy in front of it. It prints its port as the first line and lives
 * until its parent goes away. It understands requests without a body, which is all that the benchmark sends.
 */

import { createServer, type Socket } from "node:net";
import { parseArgs } from "node:util";

const END = Buffer.from("\r\n\r\n");

const { values } = parseArgs({ options: { bytes: { type: "string", default: "1024" } } });
const body = Buffer.alloc(Number(values.bytes), "x");
const answer = Buffer.concat([
  Buffer.from(
    `HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: ${String(body.length)}\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n`,
  ),
  body,
]);

/** Answers each complete head; keeps what is left of an incomplete one. */
function serve(socket: Socket): void {
  socket.setNoDelay(true);
  let rest: Buffer | undefined;
  socket.on("data", (chunk) => {
    let bytes = rest === undefined ? chunk : Buffer.concat([rest, chunk]);
    for (let end = bytes.indexOf(END); end !== -1; end = bytes.indexOf(END)) {
      socket.write(answer);
      bytes = bytes.subarray(end + END.length);
    }
    rest = bytes.length === 0 ? undefined : bytes;
  });
  socket.on("error", () => socket.destroy());
}

const server = createServer(serve);
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (address !== null && typeof address === "object") process.stdout.write(`${String(address.port)}\n`);
});
// The parent holds the other end of this pipe: when it dies, however it dies, so does this.
process.stdin.resume().on("end", () => process.exit(0));
