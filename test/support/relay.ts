/** A road between two TCP ends that can be cut: connections break, and new ones are refused by breaking at once. */

import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import type { Test } from "tap";

/** A relay on a port of loopback. */
export interface Relay {
  readonly port: number;
  /** Nothing passes, until `mend`. */
  cut(): void;
  mend(): void;
}

/** A relay to a port of loopback; ends with the test. */
export async function relay(t: Test, to: number): Promise<Relay> {
  const sockets = new Set<Socket>();
  let isCut = false;
  const server = createServer((near) => {
    if (isCut) return void near.destroy();
    const far = connect(to, "127.0.0.1");
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(one);
      one.setNoDelay().pipe(other);
      // However it ends: the other end hears of it.
      one.on("error", () => {});
      one.on("close", () => {
        sockets.delete(one);
        other.destroy();
      });
    }
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const breakAll = (): void => sockets.forEach((socket) => socket.destroy());
  t.teardown(async () => {
    breakAll();
    server.close();
    await once(server, "close");
  });
  // A TCP server has an address of this form.
  const { port } = server.address() as AddressInfo;
  return {
    port,
    cut() {
      isCut = true;
      breakAll();
    },
    mend() {
      isCut = false;
    },
  };
}
