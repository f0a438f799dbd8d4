/**
 * An address at which a connection is never completed: a process listens there and accepts nobody, and its line is full, so that the kernel
 * drops what else knocks. The one way to a connect time-out on loopback.
 */

import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";

const LISTENER = `
const server = require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
  process.stdout.write(server.address().port + "\\n", () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0));
});`;
/** Longer than any connection on loopback takes. */
const QUIET_MS = 200;

/** The URL, and how to end the process. */
export async function deafAddress(): Promise<{ readonly url: string; close(): void }> {
  const child = spawn(process.execPath, ["-e", LISTENER], { stdio: ["ignore", "pipe", "ignore"] });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const port = Number(line.toString());
  const sockets: Socket[] = [];
  // Until one knocks in vain.
  for (let isOpen = true; isOpen;) {
    const socket = connect(port, "127.0.0.1").on("error", () => undefined);
    sockets.push(socket);
    isOpen = await Promise.race([
      once(socket, "connect").then(() => true),
      new Promise<boolean>((resolve) => setTimeout(resolve, QUIET_MS, false)),
    ]);
  }
  return {
    url: `http://127.0.0.1:${port}`,
    close() {
      for (const socket of sockets) socket.destroy();
      child.kill("SIGKILL");
    },
  };
}
