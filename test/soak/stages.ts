/**
 * What a soak shows, one stage each: many connections, large bodies with slow peers, a drain under load, and a mixed load with faults for as long
 * as is asked. Each resolves with what was seen, in one line, or throws what was wrong.
 */

import { Agent } from "node:http";
import { connect, type Socket } from "node:net";
import { ask, type Result } from "./client.ts";
import { digestOf, FAULTS, site, type Site } from "./site.ts";

const GIB = 1024 ** 3;
/** RSS may grow by so much, MiB. */
const BODY_GROWTH = 64;
const LEAK_GROWTH = 64;
const LEAK_FILES = 40;

function must(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function withSite<T>(run: (at: Site) => Promise<T>, more: object = {}, arm: object = {}): Promise<T> {
  const at = await site(arm, {}, more);
  try {
    return await run(at);
  } finally {
    await at.close();
  }
}

/** 10,000 idle kept connections and 2,000 busy ones, on one worker, without an error. */
export function manyConnections(): Promise<string> {
  return withSite(
    async (at) => {
      const before = at.rss();
      const idle: Socket[] = [];
      let lost = 0;
      for (let nth = 0; nth < 10_000; nth += 200) {
        const opened = await Promise.all(Array.from({ length: 200 }, () => kept(at)));
        for (const socket of opened) socket.once("close", () => lost++);
        idle.push(...opened);
      }
      const held = at.rss();
      const agent = new Agent({ keepAlive: true, maxSockets: 2000 });
      const results: Result[] = [];
      for (let round = 0; round < 5; round++) {
        const asked = Array.from({ length: 2000 }, (_, nth) =>
          ask(at, { path: "/", headers: { "x-id": `${round}-${nth}`, "x-user-id": String(nth) }, agent }),
        );
        results.push(...(await Promise.all(asked)));
      }
      const bad = results.filter(({ status, isWhole }) => status !== 200 || !isWhole);
      must(bad.length === 0, `${bad.length} busy exchanges failed: ${JSON.stringify(bad[0])}`);
      must(lost === 0, `${lost} idle connections were lost`);
      // Every idle one still serves.
      const again = await Promise.all(idle.slice(0, 500).map(hello));
      must(
        again.every((text) => text.startsWith("HTTP/1.1 200")),
        "an idle connection serves no more",
      );
      agent.destroy();
      for (const socket of idle) socket.destroy();
      const each = ((held - before) * 1024) / 10_000;
      return `10,000 idle (${each.toFixed(1)} KiB each) beside 2,000 busy: 10,000 exchanges, no error`;
    },
    { limits: { connections: 20_000 } },
    { connections: 256, queue: 2000 },
  );
}

/** A connection that has had one answer. */
async function kept(at: Site): Promise<Socket> {
  const socket = connect(at.port, at.host);
  socket.on("error", () => undefined);
  await hello(socket);
  return socket;
}

function hello(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    const look = (chunk: Buffer): void => {
      text += chunk.toString("latin1");
      if (!text.endsWith("hello undefined")) return;
      socket.off("data", look);
      resolve(text);
    };
    socket.on("data", look);
    socket.once("close", () => resolve(text));
    socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
  });
}

/** 2 GiB up and 2 GiB down past peers that stop now and then. */
export function largeBodies(): Promise<string> {
  return withSite(async (at) => {
    await ask(at, { path: "/" });
    const digest = digestOf(2 * GIB);
    const down = await growthDuring(at, () => ask(at, { path: `/bytes?n=${2 * GIB}`, slowMs: 200 }));
    must(down.result.isWhole && down.result.digest === digest, `download: ${JSON.stringify(down.result)}`);
    const up = await growthDuring(at, () =>
      ask(at, { path: "/take", method: "POST", upload: 2 * GIB, slowMs: 200 }),
    );
    must(up.result.text === digest, `upload: ${JSON.stringify(up.result)}`);
    for (const { growth } of [down, up])
      must(growth <= BODY_GROWTH, `RSS grew by ${growth.toFixed(1)} MiB, ${BODY_GROWTH} are allowed`);
    return `2 GiB down and 2 GiB up with slow peers: RSS +${down.growth.toFixed(1)} and +${up.growth.toFixed(1)} MiB`;
  });
}

async function growthDuring(
  at: Site,
  run: () => Promise<Result>,
): Promise<{ readonly result: Result; readonly growth: number }> {
  const before = at.rss();
  let most = before;
  const timer = setInterval(() => (most = Math.max(most, at.rss())), 100);
  const result = await run();
  clearInterval(timer);
  return { result, growth: most - before };
}

/** SIGTERM while 64 connections are busy: not one exchange fails, and the process ends by itself. */
export function drainUnderLoad(): Promise<string> {
  return withSite(
    async (at) => {
      const agent = new Agent({ keepAlive: true, maxSockets: 64 });
      const results: Result[] = [];
      const down = new AbortController();
      const one = async (nth: number): Promise<void> => {
        for (let round = 0; !down.signal.aborted; round++) {
          const result = await ask(at, { path: "/", headers: { "x-id": `${nth}-${round}` }, agent });
          // Nobody listens any more: that is no exchange.
          if (result.error === "ECONNREFUSED") return;
          results.push(result);
        }
      };
      const running = Array.from({ length: 64 }, (_, nth) => one(nth));
      await pause(1000);
      const before = results.length;
      at.process.child.kill("SIGTERM");
      const code = await Promise.race([at.process.ended, pause(15_000).then(() => "late" as const)]);
      down.abort();
      await Promise.all(running);
      agent.destroy();
      const bad = results.filter(({ status, isWhole }) => status !== 200 || !isWhole);
      must(code === 0, `the process ended with ${String(code)}`);
      // A connection that the client opens while the listener closes is reset by the kernel before anybody accepts it: never an exchange.
      must(
        bad.length === 0,
        `${bad.length} of ${results.length} exchanges failed: ${JSON.stringify(bad[0])}`,
      );
      return `SIGTERM under 64 busy connections: ${results.length} exchanges (${results.length - before} after it), none failed, exit 0`;
    },
    { drain: { timeout: "10s" } },
  );
}

type Kind = "plain" | "fault" | "abort" | "post" | "large" | "up";
const KINDS: readonly Kind[] = ["plain", "plain", "plain", "post", "fault", "abort", "large", "up"];
const WIDTH = 32;
const LARGE = 300_000;

/** Mixed load with faults: everything is answered or visibly failed, no POST is carried out twice, memory and sockets come back. */
export function mixedLoad(minutes: number): Promise<string> {
  return withSite(async (at) => {
    const digest = digestOf(LARGE);
    const agent = new Agent({ keepAlive: true, maxSockets: WIDTH });
    const until = process.hrtime.bigint() + BigInt(Math.round(minutes * 60e9));
    const rss: number[] = [];
    const counts: Record<Kind, number> = { plain: 0, fault: 0, abort: 0, post: 0, large: 0, up: 0 };
    const filesBefore = at.files();
    const timer = setInterval(() => rss.push(at.rss()), 250);
    const one = async (nth: number): Promise<void> => {
      for (let round = 0; process.hrtime.bigint() < until; round++) {
        const kind = KINDS[(nth + round) % KINDS.length] ?? "plain";
        counts[kind]++;
        await exchange(at, kind, `${nth}-${round}`, digest, agent);
      }
    };
    await Promise.all(Array.from({ length: WIDTH }, (_, nth) => one(nth)));
    clearInterval(timer);
    agent.destroy();
    const twice = [...at.posts].filter(([, times]) => times > 1);
    must(twice.length === 0, `${twice.length} POSTs were carried out more than once: ${String(twice[0])}`);
    // Kept upstream connections are closed after 4 s.
    await pause(6000);
    const files = at.files() - filesBefore;
    must(files <= LEAK_FILES, `${files} files and sockets more than before`);
    const growth = median(rss.slice(-20)) - median(rss.slice(Math.floor(rss.length / 4)).slice(0, 20));
    must(growth <= LEAK_GROWTH, `RSS grew by ${growth.toFixed(1)} MiB after the first quarter`);
    const noise = /unhandled|uncaught|Error: |"level":50[^\n]*internal/i.exec(at.process.output());
    must(noise === null, `the log says: ${String(noise?.[0])}`);
    const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
    return `${total} exchanges of mixed load with faults in ${minutes} min: nothing lost, RSS ${growth >= 0 ? "+" : ""}${growth.toFixed(1)} MiB, ${files} files more`;
  });
}

async function exchange(at: Site, kind: Kind, id: string, digest: string, agent: Agent): Promise<void> {
  const headers = { "x-id": id, "x-user-id": id };
  switch (kind) {
    case "plain": {
      const result = await ask(at, { path: "/", headers, agent });
      return must(result.status === 200 && result.text === `hello ${id}`, `plain: ${JSON.stringify(result)}`);
    }
    case "post": {
      const result = await ask(at, { path: "/", method: "POST", headers, agent, upload: 10_000 });
      return must(result.status === 200 && result.text === `hello ${id}`, `post: ${JSON.stringify(result)}`);
    }
    case "large": {
      const result = await ask(at, { path: `/bytes?n=${LARGE}`, headers, agent });
      return must(result.isWhole && result.digest === digest, `large: ${JSON.stringify(result)}`);
    }
    case "up": {
      const result = await ask(at, { path: "/take", method: "POST", headers, agent, upload: LARGE });
      return must(result.text === digest, `up: ${JSON.stringify(result)}`);
    }
    case "abort":
      return void (await ask(at, { path: `/bytes?n=${LARGE * 20}`, headers, agent, abortMs: 5 }));
    case "fault": {
      const what = FAULTS[id.length % FAULTS.length] ?? "500";
      const path = `/fault/${FAULTS[Number(id.split("-")[1]) % FAULTS.length] ?? what}`;
      const result = await ask(at, { path, headers, agent });
      return must(isHonest(path, result), `${path}: ${JSON.stringify(result)}`);
    }
    default:
      return kind satisfies never;
  }
}

/** A fault is told as one: by a status, or by an answer that is visibly not whole. */
function isHonest(path: string, { status, isWhole }: Result): boolean {
  if (path.endsWith("/close")) return status === 200 && isWhole;
  if (path.endsWith("/reset-inside") || path.endsWith("/short")) return !isWhole || status >= 500;
  return status >= 500 && isWhole;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
