/**
 * The real program under load while things happen to it: reloads, kill -9, clients that leave, an upstream that is silent. All chance is seeded, and
 * whatever is waited for is an event. The long version, with every road and more faults, is `npm run soak`.
 */

import { once, EventEmitter } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { Agent } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import t from "tap";
import { fakeDice } from "../support/dice.ts";
import { operatorOf, type Operator } from "../support/operator.ts";
import {
  ask,
  command,
  configFile,
  foldersIn,
  service,
  type Process,
  type Service,
} from "../support/program.ts";
import { raw } from "../support/raw.ts";

const WIDTH = 12;

interface Site {
  readonly operate: Operator;
  readonly stable: Service;
  /** Writes the configuration, with these fields in its route. */
  configure(route: object): Promise<void>;
  /** Starts the program and resolves when it serves. */
  run(): Promise<{ readonly process: Process; readonly address: string }>;
}

async function site(t: { teardown(run: () => Promise<void>): void }, seed: number): Promise<Site> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-chaos-"));
  const [stable, canary] = [await service("stable"), await service("canary")];
  const dice = fakeDice(seed);
  for (const each of [stable, canary])
    each.answer = (request, response) =>
      // Takes a little while, so that there is always something in flight.
      void setTimeout(() => response.end(String(request.headers["x-id"])), dice.random() * 10);
  const processes: Process[] = [];
  const configure = async (route: object): Promise<void> => {
    await configFile(folder, {
      listen: [{ address: "127.0.0.1:0" }],
      admin: { address: `unix:${join(folder, "admin.sock")}` },
      ...foldersIn(folder),
      routes: [
        {
          name: "app",
          stable: { endpoints: [stable.url] },
          canary: { endpoints: [canary.url] },
          key: ["header:x-id"],
          ...route,
        },
      ],
    });
  };
  await configure({});
  t.teardown(async () => {
    for (const each of processes) each.child.kill("SIGKILL");
    await Promise.all(processes.map((each) => each.ended));
    await stable.close();
    await canary.close();
    await rm(folder, { recursive: true, force: true });
  });
  return {
    operate: operatorOf(folder),
    stable,
    configure,
    async run() {
      const process = command(["run", "-c", join(folder, "sluice.yaml")]);
      processes.push(process);
      const [, address = ""] = await process.says(/"listen":\["([^"]+)"\]/);
      return { process, address };
    },
  };
}

/** Clients that ask one after another and know which request is whose. */
class Load {
  /** Ids under way. */
  readonly inFlight = new Set<string>();
  /** Ids that got no answer or not their own, with what they got. */
  readonly failed = new Map<string, string>();
  answered = 0;
  #isOver = false;
  readonly #events = new EventEmitter().setMaxListeners(0);
  readonly #clients: readonly Promise<void>[];

  constructor(address: string) {
    this.#clients = Array.from({ length: WIDTH }, (_, nth) => this.#client(address, nth));
  }

  /** Resolves when so many more were answered or failed. */
  async more(count: number): Promise<void> {
    for (let left = count; left > 0; left--) await once(this.#events, "over");
  }

  /** No client begins anything from now on. */
  halt(): void {
    this.#isOver = true;
  }

  /** Resolves when every client has heard of its last request. */
  async ended(): Promise<void> {
    await Promise.all(this.#clients);
  }

  async #client(address: string, nth: number): Promise<void> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    for (let round = 0; !this.#isOver; round++) {
      const id = `${nth}-${round}`;
      this.inFlight.add(id);
      const got = await ask(`http://${address}`, { agent, headers: { "x-id": id } }).then(
        ({ status, body }) => `${status} ${body}`,
        (error: unknown) => String(error),
      );
      this.inFlight.delete(id);
      if (got === `200 ${id}`) this.answered++;
      else this.failed.set(id, got);
      this.#events.emit("over");
    }
    agent.destroy();
  }
}

t.test("reloads under load fail no request, and mix no answers up (reliability 38)", async (t) => {
  const s = await site(t, 1);
  const { address, process } = await s.run();
  t.equal((await s.operate("/v1/routes/app/weight", { weight: 30, reason: "chaos" })).status, 200);
  const load = new Load(address);
  for (let nth = 1; nth <= 5; nth++) {
    await load.more(40);
    await s.configure({ timeouts: { idle: `${nth}s` }, salt: `salt ${nth}` });
    const { status, text } = await s.operate("/v1/config/reload", {});
    t.equal(status, 200, text);
  }
  await load.more(40);
  load.halt();
  await load.ended();
  t.strictSame([...load.failed], []);
  process.child.kill("SIGTERM");
  t.equal(await process.ended, 0);
});

t.test(
  "kill -9 under load loses what is in flight and nothing else, and the next start has no more weight than there was (reliability 36, 47)",
  async (t) => {
    const s = await site(t, 2);
    const dice = fakeDice(2);
    let acknowledged = 0;
    for (const [asked, isAwaited] of [
      [20, true],
      [50, false],
    ] as const) {
      const { address, process } = await s.run();
      const load = new Load(address);
      await load.more(20 + Math.floor(dice.random() * 30));
      // The second kill comes while this is on its way, recorded, or answered, whichever it is.
      let isAcknowledged = false;
      const weighed = s.operate("/v1/routes/app/weight", { weight: asked, reason: "chaos" }).then(
        ({ status }) => (isAcknowledged = status === 200),
        () => false,
      );
      if (isAwaited) await weighed;
      await load.more(Math.floor(dice.random() * 20));
      load.halt();
      const lost = new Set(load.inFlight);
      const before = load.answered;
      process.child.kill("SIGKILL");
      await Promise.all([process.ended, load.ended(), weighed]);
      t.ok(before >= 20, "there was load");
      t.strictSame(
        [...load.failed].filter(([id]) => !lost.has(id)),
        [],
        "only what was in flight",
      );
      const again = await s.run();
      const status: unknown = JSON.parse((await s.operate("/v1/routes/app")).text);
      const weight = Number((status as { readonly weight: unknown }).weight);
      t.ok(
        isAcknowledged ? weight === asked : weight === acknowledged || weight === asked,
        `weight ${weight}: ${acknowledged} was in force, ${asked} asked for, ${isAcknowledged ? "" : "not "}acknowledged`,
      );
      acknowledged = weight;
      const after = new Load(again.address);
      await after.more(40);
      after.halt();
      await after.ended();
      t.strictSame([...after.failed], []);
      again.process.child.kill("SIGTERM");
      t.equal(await again.process.ended, 0);
    }
  },
);

t.test(
  "a client that leaves under load is seen by the upstream, and a silent upstream is a 504 (reliability 14, 31)",
  async (t) => {
    const s = await site(t, 3);
    await s.configure({ timeouts: { headers: "300ms" } });
    const { address, process } = await s.run();
    const load = new Load(address);
    const usual = s.stable.answer;
    const hanging = new EventEmitter();
    s.stable.answer = (request, response) => {
      if (request.url === "/silent") return;
      if (request.url !== "/hang") return void usual?.(request, response);
      response.once("close", () => hanging.emit("left"));
      response.write("some");
      hanging.emit("arrived");
    };
    for (let nth = 0; nth < 5; nth++) {
      const arrived = once(hanging, "arrived");
      const left = once(hanging, "left");
      const client = await raw(address);
      client.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
      await arrived;
      await client.until(/some/);
      client.destroy();
      await left;
    }
    const silent = await Promise.all(
      Array.from({ length: 5 }, () => ask(`http://${address}`, { path: "/silent" })),
    );
    t.strictSame(
      silent.map(({ status }) => status),
      [504, 504, 504, 504, 504],
    );
    load.halt();
    await load.ended();
    t.strictSame([...load.failed], []);
    process.child.kill("SIGTERM");
    t.equal(await process.ended, 0);
  },
);
