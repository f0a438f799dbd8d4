/** A process with some simulated replicas. Ends when nobody speaks to it any more. */

import { monitorEventLoopDelay } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import type { Log } from "../../src/engine/ports.ts";
import { Random } from "../judge/random.ts";
import { madeUp } from "./measures.ts";
import { addTold, NOTHING_TOLD, Replica } from "./replica.ts";
import type { Counted, Looked, Order, Part, Received } from "./words.ts";

/** Seconds that are made up once; replicas take one of them each second. */
const SECONDS = 256;
/** Replicas that connect at the same time: more would cost the leader its lease before it begins. */
const AT_ONCE = 4;
const COMPLAINTS = 5;

// Given by `crowd.ts`.
const part = JSON.parse(process.argv[2] ?? "") as Part;
const random = new Random(part.first, 8);
const seconds = Array.from({ length: SECONDS }, () => madeUp(random));
const complaints: string[] = [];
const complain = (message: string, fields: object = {}): void => {
  if (complaints.length < COMPLAINTS) complaints.push(`${message} ${JSON.stringify(fields)}`);
};
const log: Log = { debug() {}, info() {}, warn: complain, error: complain };
const lateness = monitorEventLoopDelay({ resolution: 5 });
let isMeasuring = false;

const replicas = Array.from(
  { length: part.count },
  (_, nth) =>
    new Replica({
      redis: part.redis,
      name: `simulated-${String(part.first + nth)}`,
      log,
      measured: () => (isMeasuring ? seconds[random.below(SECONDS)] : undefined),
    }),
);

function looked(): Looked {
  const every: Record<string, number> = {};
  for (const { everyMs } of replicas) every[everyMs] = (every[everyMs] ?? 0) + 1;
  return {
    ready: replicas.filter(({ isReady }) => isReady).length,
    led: replicas.filter(({ hasLed }) => hasLed).length,
    every,
    complaints,
  };
}

function counted(): Counted {
  return replicas.map(({ told }) => told).reduce(addTold, NOTHING_TOLD);
}

function received(): Received {
  const receipts = replicas.map((each) => each.receipts);
  for (const each of replicas) each.receipts = [];
  const lateMs = lateness.percentile(99) / 1e6;
  lateness.reset();
  return { receipts, alone: part.count === 1 ? receipts : [], lateMs };
}

function carriedOut(order: Order): Looked | Counted | Received | null {
  if (order.do === "look") return looked();
  if (order.do === "count") return counted();
  if (order.do === "receive") return received();
  isMeasuring = order.on;
  return null;
}

const say = (answer: unknown): void => void process.stdout.write(`${JSON.stringify(answer)}\n`);

const waiting = [...replicas];
await Promise.all(
  Array.from({ length: AT_ONCE }, async () => {
    for (let each = waiting.shift(); each !== undefined; each = waiting.shift()) {
      await each.open();
      // Others have the processor, too.
      await wait(1);
    }
  }),
);
lateness.enable();
say(null);
for await (const line of createInterface(process.stdin)) say(carriedOut(JSON.parse(line) as Order));
process.exit(0);
