/**
 * A sample upstream: answers everything after a time that is spread like a real service's (many quick, few slow), and can be told to
 * fail. Only for the demonstration.
 */

import { createServer, type ServerResponse } from "node:http";
import { once } from "node:events";
import type { Dice } from "../engine/ports.ts";

/** A sample upstream that is listening. */
export interface Upstream {
  /** `http://127.0.0.1:PORT`. */
  readonly url: string;
  /** From now on a share of the answers, 0…1, is a 500. Its health path stays well: the fault is in the application. */
  failFrom(share: number): void;
  close(): Promise<void>;
}

/** The spread of the logarithm of the latency: P95 is about 2.3 times the median, P99 about 3.2 times. */
const SIGMA = 0.5;
/** No answer takes longer, ms: the demonstration is about failures, not about a tail. */
const SLOWEST_MS = 120;

/** Starts an upstream of `version` on a free port of loopback. `medianMs`: the latency that half of the answers stay under. */
export async function startUpstream(version: string, medianMs: number, dice: Dice): Promise<Upstream> {
  let failing = 0;
  const server = createServer((incoming, outgoing) => {
    incoming.resume();
    const isProbe = incoming.url === "/healthz";
    const fails = !isProbe && dice.random() < failing;
    const delay = isProbe ? 0 : Math.min(SLOWEST_MS, medianMs * Math.exp(SIGMA * normal(dice)));
    incoming.once("end", () => setTimeout(() => answer(outgoing, fails, version), delay));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a TCP server has a port");
  return {
    url: `http://127.0.0.1:${address.port}`,
    failFrom(share) {
      failing = share;
    },
    async close() {
      const closed = once(server, "close");
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

function answer(outgoing: ServerResponse, fails: boolean, version: string): void {
  if (outgoing.destroyed) return;
  outgoing.writeHead(fails ? 500 : 200, { "content-type": "application/json" });
  outgoing.end(JSON.stringify(fails ? { error: "out of order" } : { version }));
}

/** A normally distributed number, mean 0, deviation 1 (Box–Muller). */
function normal(dice: Dice): number {
  return Math.sqrt(-2 * Math.log(1 - dice.random())) * Math.cos(2 * Math.PI * dice.random());
}
