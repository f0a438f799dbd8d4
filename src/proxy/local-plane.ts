/** The data plane in the thread that steers it: one `DataPath` with its own shared words, for tests and for whoever wants no other thread. */

import type { Config } from "../config/schema.ts";
import type { Account } from "../domain/account.ts";
import type { HardRule } from "../domain/evidence/catastrophic.ts";
import { murmur3 } from "../domain/hash.ts";
import type { Millis } from "../domain/units.ts";
import type { EvidencePort, PlaneGauges, PlaneMeasure } from "../engine/ports.ts";
import type { Split } from "../engine/routing.ts";
import { Addresses, addressWords } from "./addresses.ts";
import { placesOf } from "./bind.ts";
import { Connections, connectionWords } from "./connections.ts";
import { counterBuffers, routeBlock } from "./counters.ts";
import { EvidenceBoard, EvidenceReader, evidencePort, limitEvidence } from "./evidence-board.ts";
import type { PlaneMeter } from "./measure.ts";
import { namesOf } from "./messages.ts";
import { DataPath, meterOf, type Plane, type PlaneOptions } from "./plane.ts";
import { Readings } from "./readings.ts";
import { SplitBoard, SplitReader } from "./split-board.ts";

/** A data plane in this thread. Listens nowhere yet. */
export function createPlane(options: PlaneOptions): Plane {
  return new LocalPlane(options);
}

class LocalPlane implements Plane {
  readonly #board: SplitBoard;
  readonly #splits = new SplitReader();
  readonly #readings: Readings;
  readonly #meter: PlaneMeter;
  readonly #connections = new Connections(connectionWords(1), 0);
  readonly #path: DataPath;
  readonly #evidence = new EvidenceBoard(1);
  readonly #evidenceReader = new EvidenceReader(0);
  readonly evidence: EvidencePort;
  #crossed: (route: string, rule: HardRule) => void = () => undefined;
  #config: Config;

  constructor(options: PlaneOptions) {
    const { config } = options;
    this.#config = config;
    this.#board = new SplitBoard((salts) => this.#splits.learn(salts));
    const buffers = counterBuffers([]);
    const readings = new Readings(buffers);
    this.#readings = readings;
    this.#meter = meterOf(
      buffers,
      {
        sample: (route, sample) => readings.addSample(route, sample),
        histograms: (chunk) => readings.addHistograms(chunk),
      },
      this.#evidenceReader,
      options.bypass === true,
    );
    this.evidence = evidencePort(this.#evidence, () => readings.lagMs);
    this.#grow(config);
    const shares = {
      meter: this.#meter,
      splits: this.#splits,
      connections: this.#connections,
      addresses: new Addresses(addressWords(1), 0, murmur3(options.cookieSecret, 0)),
      crossed: (route: string, rule: HardRule) => this.#crossed(route, rule),
      account: (account: Account) => options.told?.([account]),
    };
    this.#path = new DataPath(options, shares);
  }

  async listen(): Promise<readonly string[]> {
    return this.#path.listen(placesOf(this.#config), false);
  }

  reconfigure(config: Config): Promise<void> {
    this.#grow(config);
    this.#path.reconfigure(config);
    this.#config = config;
    return Promise.resolve();
  }

  apply(split: Split): void {
    this.#board.apply(split);
  }

  drain(): PlaneMeasure {
    return this.#readings.take();
  }

  gauges(): PlaneGauges {
    const routes: Record<string, PlaneGauges["routes"][string]> = {};
    for (const name of namesOf(this.#config)) {
      const load = this.#readings.load(name);
      if (load !== undefined) routes[name] = load;
    }
    const { total } = this.#connections;
    return {
      connections: total,
      routes,
      workers: 1,
      workerRestarts: 0,
      exchangesLost: 0,
      fastLane: this.#path.fastLane,
    };
  }

  onCrossing(crossed: (route: string, rule: HardRule) => void): void {
    this.#crossed = crossed;
  }

  closeLongLived(route: string, how: "drain" | "close", deadlineMs: Millis): void {
    this.#path.closeLongLived(route, how, deadlineMs);
  }

  retire(deadlineMs: Millis): Promise<{ readonly cut: number }> {
    return this.#path.retire(deadlineMs);
  }

  close(): Promise<void> {
    return this.#path.close();
  }

  #grow(config: Config): void {
    const chunk = this.#board.grow(namesOf(config));
    const evidence = this.#evidence.grow(namesOf(config));
    if (evidence !== undefined) this.#evidenceReader.add(evidence);
    limitEvidence(this.#evidence, config);
    if (chunk === undefined) return;
    this.#splits.add(chunk);
    const block = routeBlock(chunk.names);
    this.#meter.add(block);
    this.#readings.add(block);
  }
}
