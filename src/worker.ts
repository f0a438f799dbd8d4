/**
 * A worker: one thread that carries traffic, and the composition root of it. It listens where its siblings do, reads the split and writes
 * its counts in shared words, and does what the main thread orders; it decides nothing. Started by `proxy/workers.ts`.
 */

import { monitorEventLoopDelay } from "node:perf_hooks";
import { parentPort, workerData, type MessagePort } from "node:worker_threads";
import { Secret, type SecretSource } from "./config/secret.ts";
import { AppError, asAppError } from "./domain/errors.ts";
import { millis } from "./domain/units.ts";
import type { Sample, Log, LogFields } from "./engine/ports.ts";
import { clock, dice } from "./platform.ts";
import { murmur3 } from "./domain/hash.ts";
import { AccountQueue } from "./proxy/accounts.ts";
import { Addresses } from "./proxy/addresses.ts";
import { Connections } from "./proxy/connections.ts";
import { EvidenceReader } from "./proxy/evidence-board.ts";
import { HealthReader } from "./proxy/health-board.ts";
import { secretKey, type Birth, type Order, type Report } from "./proxy/messages.ts";
import { LoopDelay } from "./proxy/overload.ts";
import { PemShelf } from "./proxy/pem.ts";
import { DataPath, meterOf } from "./proxy/plane.ts";
import { SplitReader } from "./proxy/split-board.ts";

const LAG_SAMPLE_MS = 10;
const LAG_TOLD_MS = millis(1000);

/** Serves until it is told to close; what it cannot do it reports. */
function serve(birth: Birth, port: MessagePort): void {
  const tell = (report: Report): void => port.postMessage(report);
  const log = logOver(tell);
  const bypass = process.env["SLUICE_BENCH_BYPASS"] === "1";
  if (bypass)
    log.warn("SLUICE_BENCH_BYPASS is set: everything goes to stable, nothing is measured", {
      worker: birth.index,
    });
  let { secrets } = birth;
  const splits = new SplitReader();
  for (const chunk of birth.splits.chunks) splits.add(chunk);
  splits.learn(birth.splits.salts);
  const health = new HealthReader();
  for (const chunk of birth.health) health.add(chunk);
  const evidence = new EvidenceReader(birth.index);
  for (const chunk of birth.evidence) evidence.add(chunk);
  const sample = inBatches((samples) => tell({ type: "samples", samples }));
  const meter = meterOf(
    birth.counters,
    { sample, histograms: (chunk) => tell({ type: "histograms", chunk }) },
    evidence,
    bypass,
  );
  const accounts = new AccountQueue(
    (batch) => tell({ type: "accounts", accounts: batch }),
    () => meter.event("account_dropped"),
  );
  const late = new LoopDelay(clock);
  const pems = new PemShelf(birth.tls);
  const path = new DataPath(
    {
      config: birth.config,
      clock,
      dice,
      log,
      cookieSecret: birth.cookieSecret,
      secretOf(source: SecretSource) {
        const text = secrets.get(secretKey(source));
        if (text === undefined) throw new AppError("SPLIT_INTERNAL", "a worker was not given a secret");
        return new Secret(text, source);
      },
      healthy: (route, arm, url) => health.healthy(route, arm, url),
      loopDelay: (now) => late.at(now),
      pems,
      bypass,
    },
    {
      meter,
      splits,
      connections: new Connections(birth.connections, birth.index),
      // The same seed in every worker, and one that no client knows.
      addresses: new Addresses(birth.addresses, birth.index, murmur3(birth.cookieSecret, 0)),
      crossed: (route, rule) => tell({ type: "crossed", route, rule }),
      account: (account) => accounts.give(account),
    },
  );

  function configure(order: Extract<Order, { type: "configure" }>): void {
    const before = secrets;
    try {
      if (order.splits !== undefined) splits.add(order.splits);
      if (order.health !== undefined) health.add(order.health);
      if (order.evidence !== undefined) evidence.add(order.evidence);
      if (order.counters !== undefined) meter.add(order.counters);
      ({ secrets } = order);
      path.reconfigure(order.config);
      tell({ type: "configured", trouble: "" });
    } catch (error) {
      secrets = before;
      tell({ type: "configured", trouble: asAppError(error).message });
    }
  }

  async function obey(order: Order): Promise<void> {
    switch (order.type) {
      case "configure":
        return configure(order);
      case "salts":
        return splits.learn(order.notes);
      case "tls":
        return pems.replace(order.material);
      case "close_long_lived":
        return path.closeLongLived(order.route, order.how, order.deadlineMs);
      case "took":
        return accounts.took(order.accounts);
      case "retire": {
        const left = await path.retire(order.deadlineMs);
        accounts.flush();
        return tell({ type: "retired", ...left });
      }
      case "close":
        await path.close();
        accounts.flush();
        return tell({ type: "closed" });
      default:
        return order satisfies never;
    }
  }

  const delay = monitorEventLoopDelay({ resolution: LAG_SAMPLE_MS });
  delay.enable();
  // The histogram holds the time between two samples: what is above the sampling interval is delay.
  clock.every(LAG_TOLD_MS, () =>
    meter.loopDelay((quantile) => Math.max(0, delay.percentile(quantile * 100) / 1e9 - LAG_SAMPLE_MS / 1000)),
  );

  port.on("message", (order: Order) => void obey(order));
  path.listen(birth.places, birth.isShared).then(
    (addresses) => {
      // Getting ready is no overload.
      late.start((worstMs) => meter.lag(worstMs));
      tell({ type: "serving", addresses, fastLane: path.fastLane });
    },
    (error: unknown) => {
      const { code, message } = asAppError(error);
      tell({ type: "failed", code, message });
    },
  );
}

type Routed = readonly [route: string, sample: Sample];

/** Takes samples one by one and sends those of one turn of the loop together. */
function inBatches(send: (samples: readonly Routed[]) => void): (route: string, sample: Sample) => void {
  let batch: Routed[] = [];
  const flush = (): void => {
    const samples = batch;
    batch = [];
    send(samples);
  };
  return (route, sample) => {
    if (batch.push([route, sample]) === 1) setImmediate(flush);
  };
}

/** The main thread's log, from here. What cannot be cloned is told as text. */
function logOver(tell: (report: Report) => void): Log {
  const at = (level: "debug" | "info" | "warn" | "error") => (message: string, fields?: LogFields) => {
    const plain =
      fields === undefined
        ? undefined
        : Object.fromEntries(Object.entries(fields).map(([name, value]) => [name, plainOf(value)]));
    tell({ type: "log", level, message, fields: plain });
  };
  return { debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") };
}

function plainOf(value: unknown): unknown {
  if (value instanceof Error) return `${value.name}: ${value.message}`;
  if (typeof value !== "object" || value === null) return typeof value === "function" ? "[function]" : value;
  return JSON.parse(JSON.stringify(value)) as unknown;
}

if (parentPort !== null) {
  // What `proxy/workers.ts` starts this file with.
  serve(workerData as Birth, parentPort);
}
