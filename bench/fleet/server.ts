/** The real redis-server of a benchmark, with nothing on disk, and what it says about itself. */

import type { ChildProcess } from "node:child_process";
import { Redis } from "ioredis";
import { begun, freePorts, listening, start, stop } from "../load/children.ts";

/** What the server has counted since it started. */
export interface Usage {
  readonly cpuSeconds: number;
  readonly receivedBytes: number;
  readonly sentBytes: number;
  readonly commands: number;
}

/** Its memory, now and at the most. */
export interface Memory {
  readonly used: number;
  readonly peak: number;
}

const START_SECONDS = 10;

/** A server that runs. */
export class Server {
  readonly url: string;
  readonly #child: ChildProcess;
  readonly #client: Redis;

  private constructor(port: number, child: ChildProcess) {
    this.url = `redis://127.0.0.1:${String(port)}`;
    this.#child = child;
    this.#client = new Redis({ port, host: "127.0.0.1" });
    this.#client.on("error", () => {});
  }

  static async start(folder: string): Promise<Server> {
    const [port = 0] = await freePorts(1);
    const own = ["--port", String(port), "--bind", "127.0.0.1", "--dir", folder];
    const child = start(["redis-server", ...own, "--save", "", "--appendonly", "no"], "free");
    await begun(
      () => listening(child, port, START_SECONDS),
      () => stop(child),
    );
    return new Server(port, child);
  }

  async usage(): Promise<Usage> {
    const info = await this.#info();
    return {
      cpuSeconds: info("used_cpu_sys") + info("used_cpu_user"),
      receivedBytes: info("total_net_input_bytes"),
      sentBytes: info("total_net_output_bytes"),
      commands: info("total_commands_processed"),
    };
  }

  async memory(): Promise<Memory> {
    const info = await this.#info();
    return { used: info("used_memory"), peak: info("used_memory_peak") };
  }

  /** What the stream of measurements takes. */
  async streamBytes(): Promise<number> {
    return Number(await this.#client.call("MEMORY", "USAGE", "{sluice:default}:measures"));
  }

  async stop(): Promise<void> {
    this.#client.disconnect();
    await stop(this.#child);
  }

  async #info(): Promise<(name: string) => number> {
    const text = await this.#client.info();
    return (name) => Number(new RegExp(`^${name}:([\\d.]+)`, "m").exec(text)?.[1] ?? NaN);
  }
}
