/**
 * The figures of reliability.md, section 2, that only a clock, /proc or ten thousand tries can tell. Each is measured, and told or failed; one that
 * fails does not keep the others from being measured.
 */

import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { availableParallelism, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectSecure } from "node:tls";
import { fakeDice } from "../support/dice.ts";
import { operatorOf } from "../support/operator.ts";
import { ask, command, configFile, foldersIn, service } from "../support/program.ts";
import { reply, upstream } from "../support/upstream.ts";
import { filesBeyond, growthDuring, median, must, now, pause, quantile, trouble } from "./check.ts";
import { road, ROADS, type Road, type RoadName } from "./client.ts";
import { withSite, type Site } from "./site.ts";
import { FAULTS } from "./upstream.ts";

const STALE = 10_000;
const ABORTS = 25;
const BODY = 100 * 1000 ** 2;
const BODY_GROWTH = 40;
const LEAK = 2000;
const LEAK_GROWTH = 16;
const START_MS = 1000;
const LOOP_DELAY_S = 0.02;
/** A moderate load: requests a second, for so many seconds. */
const RATE = 300;
const RATE_S = 10;

/** What is said of a time, instead of judging it, while others keep this machine so busy that it says little; "" while they do not. */
function hurry(): string {
  const load = loadavg()[0] ?? 0;
  return load <= availableParallelism()
    ? ""
    : ` (not judged: load ${load.toFixed(1)} on ${availableParallelism()} cores)`;
}

/** All figures; throws those that are not reached. */
export async function figures(seed: number): Promise<string> {
  const told: string[] = [];
  const missed: string[] = [];
  for (const [name, measure] of FIGURES) {
    const line = await measure(seed).catch((error: unknown) => {
      missed.push(name);
      return `MISSED, ${error instanceof Error ? error.message : String(error)}`;
    });
    told.push(`\n  ${name}: ${line}`);
  }
  must(missed.length === 0, told.join(""));
  return told.join("");
}

const FIGURES: readonly (readonly [string, (seed: number) => Promise<string>])[] = [
  ["requests on idle connections that the upstream closes", staleConnections],
  ["client abort to upstream abort", aborts],
  ["a silent upstream", silence],
  ["slow heads", slowHeads],
  ["100 MB bodies", bodies],
  ["leak", leak],
  ["start to serving", starts],
  ["event-loop delay", loopDelay],
];

/** Half of the connections are closed behind their first answer, the others when they are used again. */
async function staleConnections(seed: number): Promise<string> {
  const dice = fakeDice(seed);
  let stale = 0;
  const server = await upstream((socket, seen) => {
    if (seen.nth > 0) {
      stale++;
      return void socket.destroy();
    }
    socket.write(reply(200, `hello ${seen.field("x-id") ?? ""}`));
    if (dice.random() < 0.5) setTimeout(() => socket.end(), dice.random() * 2);
  });
  const run = async (at: Site): Promise<string> => {
    const wrongs: string[] = [];
    // The one lane and the other.
    for (const name of ["http1", "http2"] as const) {
      const one = async (nth: number): Promise<void> => {
        const way = road(at, name);
        for (let round = 0; round < STALE / 2 / 16; round++) {
          const id = `${nth}-${round}`;
          const result = await way.ask({ path: "/", headers: { "x-id": id } });
          if (result.text !== `hello ${id}`) wrongs.push(`${name}: ${JSON.stringify(result)}`);
        }
        way.close();
      };
      await Promise.all(Array.from({ length: 16 }, (_, nth) => one(nth)));
    }
    must(wrongs.length === 0, `${wrongs.length} errors in ${STALE}: ${String(wrongs[0])}`);
    must(stale > STALE / 20, `only ${stale} met a closed connection`);
    return `0 errors in ${STALE}, ${stale} of which met one`;
  };
  // The budget of retries is for upstreams that are sick all the time; this one is.
  const route = { retry: { budget: "100%" } };
  try {
    return await withSite(run, { arm: { endpoints: [server.url] }, route });
  } finally {
    await server.close();
  }
}

/** Over each road, before the answer's head and behind it. */
function aborts(): Promise<string> {
  const run = async (at: Site): Promise<string> => {
    const { hanging } = at.seen;
    const took: number[] = [];
    const one = async (name: RoadName, where: string, nth: number): Promise<void> => {
      const way = road(at, name);
      const id = `${name}-${where}-${nth}`;
      const heard = (what: string): Promise<number> =>
        new Promise((resolve) => {
          const look = (who: string): void => {
            if (who !== id) return;
            hanging.off(what, look);
            resolve(now());
          };
          hanging.on(what, look);
        });
      const leave = new AbortController();
      const left = heard("left");
      const arrived = heard("arrived");
      const answered = way.ask({ path: `/hang/${where}`, headers: { "x-id": id }, leave: leave.signal });
      await arrived;
      await pause(100);
      const since = now();
      leave.abort();
      took.push((await left) - since);
      await answered;
      way.close();
    };
    for (const name of ROADS)
      for (const where of ["before", "inside"])
        await Promise.all(Array.from({ length: ABORTS }, (_, nth) => one(name, where, nth)));
    const [most, longest] = [quantile(took, 0.95), Math.max(...took)];
    must(
      most <= 1000 && longest <= 5000,
      `95 % in ${most.toFixed(0)} ms, the longest ${longest.toFixed(0)} ms`,
    );
    return `${took.length}, 95 % in ${most.toFixed(0)} ms, all in ${longest.toFixed(0)} ms`;
  };
  return withSite(run, { route: { timeouts: { headers: "30s", idle: "30s" } } });
}

/** 504 when it is time, over each road. */
function silence(): Promise<string> {
  const run = async (at: Site): Promise<string> => {
    const one = async (name: RoadName): Promise<number> => {
      const way = road(at, name);
      await way.ask({ path: "/" });
      const since = now();
      const { status } = await way.ask({ path: "/fault/stall" });
      must(status === 504, `${name}: answered ${status}`);
      const took = now() - since;
      way.close();
      return took;
    };
    const took = await Promise.all(ROADS.flatMap((name) => Array.from({ length: 10 }, () => one(name))));
    const longest = Math.max(...took);
    must(Math.min(...took) >= 990 && longest <= 1500, `504 after ${Math.min(...took)} to ${longest} ms`);
    return `504 after ${longest.toFixed(0)} ms at the most, of 1000 configured`;
  };
  return withSite(run, { route: { timeouts: { headers: "1s" } } });
}

/** One byte now and then: first request and second, in the clear and over TLS, and a handshake that does not begin. */
function slowHeads(): Promise<string> {
  const run = async (at: Site): Promise<string> => {
    const drip = (isSecure: boolean, isSecond: boolean): Promise<number> =>
      new Promise((resolve, reject) => {
        const { host, port, securePort } = at;
        const socket = isSecure
          ? connectSecure({ host, port: securePort, rejectUnauthorized: false })
          : connect(port, host);
        let since = now();
        let timer: NodeJS.Timeout | undefined;
        const begin = (): void => {
          since = now();
          const head = "GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ";
          let nth = 0;
          timer = setInterval(() => void socket.write(head[nth++] ?? "x"), 200);
        };
        const late = setTimeout(() => socket.destroy(), 6000);
        socket.once(isSecure ? "secureConnect" : "connect", () => {
          if (!isSecond) return begin();
          socket.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
          socket.once("data", begin);
        });
        socket.on("data", () => undefined);
        // A byte that meets the closed connection.
        socket.on("error", () => undefined);
        socket.on("close", () => {
          clearInterval(timer);
          clearTimeout(late);
          if (timer === undefined) reject(new Error("closed before it began"));
          else resolve(now() - since);
        });
      });
    const silent = (): Promise<number> =>
      new Promise((resolve) => {
        const since = now();
        const socket = connect(at.securePort, at.host);
        socket.on("error", () => undefined);
        socket.on("close", () => resolve(now() - since));
        socket.resume();
      });
    const took = await Promise.all(
      [0, 1, 2, 3, 4].flatMap(() => [
        drip(false, false),
        drip(false, true),
        drip(true, false),
        drip(true, true),
        silent(),
      ]),
    );
    const longest = Math.max(...took);
    must(
      longest <= 3000,
      `cut after, or not within 6000 ms: ${took.map((each) => each.toFixed(0)).join(" ")}`,
    );
    return `cut after ${longest.toFixed(0)} ms at the most, of 2000 configured`;
  };
  return withSite(run, { more: { limits: { headTime: "2s" } } });
}

/** Each way, over HTTP/1.1 in the clear and HTTP/2 over TLS. */
function bodies(): Promise<string> {
  return withSite(async (at) => {
    const told: string[] = [];
    for (const name of ["http1", "http2 over TLS"] as const) {
      const way = road(at, name);
      // As many bytes in small bodies let the platform's heap take its first steps, and hide no body that is held as a whole.
      for (let nth = 0; nth < 200; nth++) await way.ask({ path: "/bytes?n=1000000" });
      for (const asking of [{ path: `/bytes?n=${BODY}` }, { path: "/take", method: "POST", upload: BODY }]) {
        const { result, growth } = await growthDuring(at, () => way.ask(asking));
        must(result.status === 200 && result.isWhole, `${name}: ${JSON.stringify(result)}`);
        told.push(`${name} ${asking.path.startsWith("/take") ? "up" : "down"} +${growth.toFixed(1)}`);
        must(growth <= BODY_GROWTH, `RSS in MiB: ${told.join(", ")}`);
      }
      way.close();
    }
    return `RSS in MiB: ${told.join(", ")}`;
  });
}

/** Good requests, faulty upstreams, clients that leave, and bytes that are no request. */
function leak(seed: number): Promise<string> {
  return withSite(async (at) => {
    const dice = fakeDice(seed);
    const files = at.files();
    // The platform's heap takes its first steps.
    await mixed(at, 3 * LEAK, () => dice.random());
    await filesBeyond(at, files);
    const before = await settled(at);
    const filesBefore = at.files();
    await mixed(at, LEAK, () => dice.random());
    const more = await filesBeyond(at, filesBefore);
    const growth = (await settled(at)) - before;
    must(more <= 0, `${more} files more`);
    must(growth <= LEAK_GROWTH, `RSS +${growth.toFixed(1)} MiB`);
    must(trouble(at) === "", `the log says: ${trouble(at)}`);
    return `${LEAK} mixed requests: files ${more}, RSS ${growth >= 0 ? "+" : ""}${growth.toFixed(1)} MiB`;
  });
}

async function settled(at: Site): Promise<number> {
  const rss: number[] = [];
  for (let nth = 0; nth < 20; nth++) {
    rss.push(at.rss());
    await pause(50);
  }
  return median(rss);
}

const NO_REQUESTS = [
  "this is no HTTP\r\n\r\n",
  "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
  "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnot a frame at all",
  "\x16\x03\x01\x02\x00 and no more of a handshake",
];

async function mixed(at: Site, count: number, random: () => number): Promise<void> {
  let left = count;
  const one = async (way: Road): Promise<void> => {
    while (left-- > 0) {
      const chance = random();
      const leave = AbortSignal.timeout(Math.floor(random() * 20));
      if (chance < 0.4) await way.ask({ path: "/" });
      else if (chance < 0.5) await way.ask({ path: "/take", method: "POST", upload: 100_000 });
      else if (chance < 0.7) await way.ask({ path: `/fault/${FAULTS[left % FAULTS.length]}` });
      else if (chance < 0.85) await way.ask({ path: "/bytes?n=3000000", leave });
      else await nonsense(at, NO_REQUESTS[left % NO_REQUESTS.length] ?? "", way.name.endsWith("TLS"));
    }
    way.close();
  };
  await Promise.all(ROADS.flatMap((name) => [0, 1, 2, 3].map(() => one(road(at, name)))));
}

function nonsense(at: Site, bytes: string, isSecure: boolean): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(isSecure ? at.securePort : at.port, at.host);
    socket.end(bytes, "latin1");
    socket.on("error", () => undefined);
    socket.on("close", () => resolve());
    socket.resume();
  });
}

/** With the state as it should be, and with what a disk may have made of it; the better of two, as the machine has other things to do as well. */
async function starts(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-soak-"));
  const server = await service("stable");
  const arm = { endpoints: [server.url] };
  const config = await configFile(folder, {
    listen: [{ address: "127.0.0.1:0" }],
    admin: { address: `unix:${join(folder, "admin.sock")}` },
    ...foldersIn(folder),
    routes: [{ name: "app", stable: arm, canary: arm }],
  });
  const file = join(folder, "state", "state.json");
  const works: number[] = [];
  /** Milliseconds from the start of the process to its first answer. */
  const start = async (during?: () => Promise<unknown>): Promise<number> => {
    const since = now();
    const process = command(["run", "-c", config]);
    const [, address = ""] = await process.says(/"listen":\["([^"]+)"\]/);
    const { status } = await ask(`http://${address}`);
    const took = now() - since;
    must(status === 200, `answered ${status}`);
    // User and system time, in ticks of 10 ms (proc(5)).
    const ticks = readFileSync(`/proc/${process.child.pid}/stat`, "utf8").split(" ").slice(13, 15);
    const work = ticks.reduce((sum, each) => sum + Number(each) * 10, 0);
    works.push(work);
    await during?.();
    process.child.kill("SIGKILL");
    await process.ended;
    return took;
  };
  try {
    const call = operatorOf(folder);
    const first = await start(() => call("/v1/routes/app/weight", { weight: 5, reason: "soak" }));
    const good = await readFile(file);
    const states: readonly (readonly [string, () => Promise<unknown>])[] = [
      ["good", () => writeFile(file, good)],
      ["torn", () => writeFile(file, good.subarray(0, good.length >> 1))],
      ["empty", () => writeFile(file, "")],
      ["missing", async () => undefined],
      ["unreadable", () => mkdir(file)],
    ];
    const told = [`first ${first.toFixed(0)}`];
    const late: string[] = [];
    for (const [name, make] of states) {
      const took: number[] = [];
      for (let nth = 0; nth < 2; nth++) {
        await rm(file, { recursive: true, force: true });
        await make();
        took.push(await start());
      }
      told.push(`${name} ${Math.min(...took).toFixed(0)}`);
      if (Math.min(...took) > START_MS) late.push(name);
    }
    const line = `ms by state: ${told.join(", ")}; ${median(works)} of processor time${hurry()}`;
    must(late.length === 0 || hurry() !== "", line);
    return line;
  } finally {
    await server.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** At a moderate load over every road, as the metrics tell it. */
function loopDelay(): Promise<string> {
  return withSite(async (at) => {
    const ways = ROADS.flatMap((name) => Array.from({ length: 8 }, () => road(at, name)));
    const asked: Promise<{ readonly status: number }>[] = [];
    for (let nth = 0; nth < RATE * RATE_S; nth++) {
      const way = ways[nth % ways.length];
      if (way !== undefined) asked.push(way.ask({ path: "/" }));
      await pause(1000 / RATE);
    }
    const bad = (await Promise.all(asked)).filter(({ status }) => status !== 200);
    must(bad.length === 0, `${bad.length} failed: ${JSON.stringify(bad[0])}`);
    const { text } = await at.operate("/metrics");
    const p99 = Number(/^sluice_event_loop_delay_seconds\{quantile="0.99"\} (\S+)$/m.exec(text)?.[1]);
    for (const way of ways) way.close();
    const line = `p99 ${(p99 * 1000).toFixed(1)} ms at ${RATE} requests a second${hurry()}`;
    must(p99 <= LOOP_DELAY_S || hurry() !== "", line);
    return line;
  });
}
