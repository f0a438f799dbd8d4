/** The canary of a drill: a server on loopback that answers well until it is told to fail. Probes it always answers well. */

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";

/** The server, and what it has seen. */
export interface DrillCanary {
  readonly url: string;
  /** From now on it fails. */
  fail(): void;
  /** Synthetic requests that it answered well, and those that it failed. */
  readonly served: number;
  readonly failed: number;
  close(): Promise<void>;
}

/** The header that says which synthetic key a request is of. */
export const DRILL_KEY = "x-sluice-drill";

/** Listens on a free port of loopback. Rejects with the platform's error. */
export async function openDrillCanary(): Promise<DrillCanary> {
  let isFailing = false;
  let served = 0;
  let failed = 0;
  const server = createServer((request, response) => {
    request.resume();
    const isSynthetic = request.headers[DRILL_KEY] !== undefined;
    const fails = isSynthetic && isFailing;
    if (fails) failed += 1;
    else if (isSynthetic) served += 1;
    response.statusCode = fails ? 500 : 200;
    response.end(fails ? "drill\n" : "ok\n");
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A TCP server has an address of this form.
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    fail: () => void (isFailing = true),
    get served() {
      return served;
    },
    get failed() {
      return failed;
    },
    async close() {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}
