/**
 * A little traffic from a few hundred users, as clients see it: what they were answered is counted here, outside the proxy, so that the
 * closing summary does not have to believe the program it shows.
 *
 * So many requests per second whatever the answers take (a slow service does not get fewer users), but never more than a bound in flight.
 */

import { Agent, request } from "node:http";
import { millis } from "../domain/units.ts";
import type { Clock, Dice } from "../engine/ports.ts";

/** What the users saw. */
export interface Seen {
  readonly requests: number;
  /** Answers of 500 and above, and connections that broke. */
  readonly failures: number;
  /** Users who got at least one of them. */
  readonly unlucky: number;
}

/** Traffic that is flowing. */
export interface Traffic {
  seen(): Seen;
  /** Stops sending and waits for what is in flight. */
  stop(): Promise<void>;
}

/** How much traffic, and where to. */
export interface TrafficOptions {
  /** `http://HOST:PORT` of the proxy. */
  readonly origin: string;
  readonly users: number;
  readonly perSecond: number;
  readonly clock: Clock;
  readonly dice: Dice;
}

const IN_FLIGHT = 100;
const TIMEOUT_MS = 5000;
const PATHS = ["/", "/search", "/items/17", "/items/42", "/cart", "/account"];
/** The share that changes something: not safe to send twice, so that no rescue covers it up. */
const POSTS = 0.05;

/** Starts the traffic. Runs until it is stopped. */
export function startTraffic({ origin, users, perSecond, clock, dice }: TrafficOptions): Traffic {
  const agent = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT });
  const unlucky = new Set<number>();
  const idle: (() => void)[] = [];
  let requests = 0;
  let failures = 0;
  let inFlight = 0;

  function settle(user: number, failed: boolean): void {
    inFlight -= 1;
    requests += 1;
    if (failed) {
      failures += 1;
      unlucky.add(user);
    }
    if (inFlight === 0) for (const each of idle.splice(0)) each();
  }
  function send(): void {
    const user = Math.floor(dice.random() * users);
    const path = PATHS[Math.floor(dice.random() * PATHS.length)] ?? "/";
    const method = dice.random() < POSTS ? "POST" : "GET";
    inFlight += 1;
    visit({ agent, origin, path, method, user }, (failed) => settle(user, failed));
  }

  let last = clock.mono();
  let owed = 0;
  const stop = clock.every(millis(20), () => {
    const now = clock.mono();
    // After a stall at most a quarter of a second is made up for: catching up in one burst would not be traffic.
    owed += Math.min(0.25, (now - last) / 1000) * perSecond;
    last = now;
    for (; owed >= 1; owed -= 1) if (inFlight < IN_FLIGHT) send();
  });
  return {
    seen: () => ({ requests, failures, unlucky: unlucky.size }),
    async stop() {
      stop();
      if (inFlight > 0) await new Promise<void>((resolve) => idle.push(resolve));
      agent.destroy();
    },
  };
}

interface Visit {
  readonly agent: Agent;
  readonly origin: string;
  readonly path: string;
  readonly method: string;
  readonly user: number;
}

/** One request; `settle` is called once, with whether it failed. */
function visit({ agent, origin, path, method, user }: Visit, settle: (failed: boolean) => void): void {
  let isSettled = false;
  const end = (failed: boolean): void => {
    if (isSettled) return;
    isSettled = true;
    settle(failed);
  };
  const outgoing = request(
    `${origin}${path}`,
    {
      agent,
      method,
      timeout: TIMEOUT_MS,
      headers: { "x-user-id": `user-${user}`, ...(method === "POST" ? { "content-length": 0 } : {}) },
    },
    (incoming) => {
      incoming.resume();
      incoming.once("close", () => end(!incoming.complete || (incoming.statusCode ?? 0) >= 500));
    },
  );
  outgoing.once("timeout", () => outgoing.destroy());
  outgoing.once("error", () => end(true));
  outgoing.end();
}
