/**
 * Mixed load for as long as is asked, with faults on both arms, while an operator changes everything that can be changed on the way: what an edge
 * sees in a bad week. All chance is seeded.
 *
 * Every answer is checked against its request's id. What was not hit by a fault must be answered right, whatever the operator does; what was hit
 * must be rescued where it can be, and be told as failed otherwise. The death of a worker is not played here: no signal reaches a single thread
 * (test/story/workers.test.ts ends one from inside).
 */

import { createHash } from "node:crypto";
import { connect } from "node:tls";
import { fakeDice } from "../support/dice.ts";
import { filesBeyond, median, must, now, pause, trouble } from "./check.ts";
import { echoed, road, ROADS, type Result, type Road } from "./client.ts";
import { withSite, type Site } from "./site.ts";
import { digestOf, eventsOf, FAULTS, type Fault } from "./upstream.ts";

/** Clients on each road. */
const WIDTH = 6;
const LARGE = 300_000;
const DIGEST = digestOf(LARGE);
/** Between two exchanges a client waits so long at the most. */
const THINK_MS = 20;
/** Between two things that the operator does. */
const CHORE_MS = 2500;
const WEIGHT = 30;

/** RSS may grow by so much over the second half of a run, MiB: in its first minutes the platform's heap still grows in steps of some thirty. */
const GROWTH = 64;
/** And by so much an hour (reliability.md 2), where a run is long enough to tell it from the collector's coming and going. */
const SLOPE = 1;
const SLOPE_MINUTES = 30;

const EVERYWHERE = [
  "plain",
  "plain",
  "plain",
  "post",
  "large",
  "up",
  "abort",
  "events",
  "fault",
  "fault",
] as const;
const KINDS = {
  http1: [...EVERYWHERE, "socket"],
  http2: [...EVERYWHERE, "grpc", "grpc", "grpc fault"],
} as const;
type Kind = (typeof KINDS)["http1" | "http2"][number];

/** The route's own configuration: the rules look on, since the faults are meant to be, and rescues and retries are not counted. */
const ROUTE = {
  rescue: { methods: ["GET"], budget: "100%" },
  retry: { budget: "100%" },
  rollback: { onAny: [{ metric: "error_rate", above: "99%", action: "observe" }] },
  plan: { steps: [{ setWeight: `${WEIGHT}%`, hold: "10h" }] },
};

/** Everything is answered right or visibly failed for a reason, no POST is carried out twice, memory and files come back. */
export function mixedLoad(minutes: number, seed: number): Promise<string> {
  const run = async (at: Site): Promise<string> => {
    for (const route of ["app", "grpc"]) await start(at, route);
    const before = { files: at.files(), sockets: at.sockets() };
    const until = now() + minutes * 60_000;
    const rss: number[] = [];
    const counts = new Map<Kind, number>();
    const timer = setInterval(() => rss.push(at.rss()), 250);
    void at.process.ended.then(() => clearInterval(timer));
    const client = async (nth: number): Promise<void> => {
      const dice = fakeDice(seed + nth);
      const name = ROADS[nth % ROADS.length] ?? "http1";
      const kinds = KINDS[name.startsWith("http1") ? "http1" : "http2"];
      let way = road(at, name);
      for (let round = 0; now() < until; round++) {
        const kind = kinds[Math.floor(dice.random() * kinds.length)] ?? "plain";
        counts.set(kind, (counts.get(kind) ?? 0) + 1);
        await exchange({ at, way, id: `${nth}-${round}`, random: () => dice.random() }, kind);
        await pause(dice.random() * THINK_MS);
        if (dice.random() > 0.01) continue;
        way.close();
        way = road(at, name);
      }
      way.close();
    };
    const chores = operate(at, until, seed);
    await Promise.all([chores, ...Array.from({ length: WIDTH * ROADS.length }, (_, nth) => client(nth))]);
    clearInterval(timer);
    const twice = [...at.seen.posts].filter(([, times]) => times > 1);
    must(twice.length === 0, `${twice.length} POSTs were carried out more than once: ${String(twice[0])}`);
    const { stable, canary } = at.seen.answered;
    must(Math.min(stable, canary) > 0, `answers: ${stable} of stable, ${canary} of the canary`);
    const told = `${flat(rss, minutes)}, ${await nothingLeft(at, before)}`;
    const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
    return `${total} exchanges in ${minutes} min (seed ${seed}) with ${await chores}: nothing lost, nothing mixed up, ${told}`;
  };
  // A machine that is busy with other things as well is late without any fault of the program's.
  return withSite(run, { route: ROUTE, more: { overload: { loopDelay: "none" } } });
}

async function start(at: Site, route: string): Promise<void> {
  const { status, text } = await at.operate(`/v1/rollouts/${route}/start`, { force: true, reason: "soak" });
  must(status === 200, `start: ${status} ${text}`);
}

/** What the operator does all the while; resolves with how often. */
async function operate(at: Site, until: number, seed: number): Promise<string> {
  const dice = fakeDice(seed - 1);
  const done = { reloads: 0, certificates: 0, rollbacks: 0, weights: 0 };
  let certificate = "";
  for (let nth = 0; now() + CHORE_MS < until; nth++) {
    await pause(CHORE_MS);
    // Each of them comes in every round of four, in whatever order the dice say.
    const chore = ["reload", "rollback", "certificate", "weight"][(nth + Math.floor(dice.random() * 2)) % 4];
    if (chore === "reload") {
      done.reloads++;
      await at.reload({ timeouts: { connect: "2s", headers: "1s", idle: `${1000 + nth}ms` } });
    } else if (chore === "certificate") {
      done.certificates++;
      certificate = certificate === "" ? "renewed" : "";
      await newCertificate(at, certificate);
    } else if (chore === "rollback") {
      done.rollbacks++;
      const route = dice.random() < 0.5 ? "app" : "grpc";
      const { status, text } = await at.operate(`/v1/rollouts/${route}/rollback`, { reason: "soak" });
      must(status === 200, `rollback: ${status} ${text}`);
      await pause(500);
      await start(at, route);
    } else {
      done.weights++;
      const weight = { weight: 10 + Math.floor(dice.random() * 40), force: true, reason: "soak" };
      const { status, text } = await at.operate("/v1/routes/app/weight", weight);
      must(status === 200, `weight: ${status} ${text}`);
    }
  }
  return Object.entries(done)
    .map(([what, times]) => `${times} ${what}`)
    .join(", ");
}

/** Puts a certificate in place and waits until new connections see it. */
async function newCertificate(at: Site, name: string): Promise<void> {
  const before = await shown(at);
  await at.certify(name);
  const late = now() + 15_000;
  while ((await shown(at)) === before) {
    must(now() < late, "a new certificate was not taken over within 15 s");
    await pause(200);
  }
}

/** Serial number of the certificate that a new connection is shown. */
function shown(at: Site): Promise<string> {
  const socket = connect({ host: at.host, port: at.securePort, rejectUnauthorized: false });
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("secureConnect", () => {
      resolve(socket.getPeerX509Certificate()?.serialNumber ?? "");
      socket.destroy();
    });
  });
}

interface Exchange {
  readonly at: Site;
  readonly way: Road;
  readonly id: string;
  readonly random: () => number;
}

async function exchange(each: Exchange, kind: Kind): Promise<void> {
  const { at, way, id, random } = each;
  const headers = { "x-id": id, "x-user-id": id };
  const told = (result: unknown): string => `${way.name}, ${kind}, ${id}: ${JSON.stringify(result)}`;
  const right = (result: Result, isRight: boolean): void =>
    must(result.status === 200 && result.isWhole && result.id === id && isRight, told(result));
  switch (kind) {
    case "plain": {
      const result = await way.ask({ path: "/", headers });
      return right(result, result.text === `hello ${id}`);
    }
    case "post": {
      const result = await way.ask({ path: "/", method: "POST", headers, upload: 10_000 });
      return right(result, result.text === `hello ${id}`);
    }
    case "large": {
      const result = await way.ask({ path: `/bytes?n=${LARGE}`, headers });
      return right(result, result.digest === DIGEST);
    }
    case "up": {
      const result = await way.ask({ path: "/take", method: "POST", headers, upload: LARGE });
      return right(result, result.text === DIGEST);
    }
    case "events": {
      const result = await way.ask({ path: "/events", headers });
      return right(result, result.text === eventsOf(id).join(""));
    }
    case "abort":
      return void (await way.ask({
        path: `/bytes?n=${LARGE * 20}`,
        headers,
        leave: AbortSignal.timeout(Math.floor(20 * random())),
      }));
    case "socket": {
      const wrong = await echoed(at, way.name.endsWith("TLS"), id, headers);
      return must(wrong === "", told(wrong));
    }
    case "fault":
      return faulty(each, headers, told);
    case "grpc":
    case "grpc fault":
      return remote(each, headers, kind === "grpc fault", told);
    default:
      return kind satisfies never;
  }
}

/** Faults behind which a rescue is too late: the client has the head. */
const INSIDE: readonly Fault[] = ["reset-inside", "short"];

async function faulty(
  { way, id, random }: Exchange,
  headers: Record<string, string>,
  told: (result: unknown) => string,
): Promise<void> {
  const what = FAULTS[Math.floor(random() * FAULTS.length)] ?? "500";
  const where = (["stable", "canary", "both"] as const)[Math.floor(random() * 3)] ?? "both";
  const result = await way.ask({ path: `/fault/${what}?at=${where}`, headers });
  must(isHonest(what, where, id, result), `${what} at ${where}, ${told(result)}`);
}

/** A fault is rescued, or told as one: by a status, or by an answer that is visibly not whole. What has an id has the right one. */
function isHonest(what: Fault, where: "stable" | "canary" | "both", id: string, result: Result): boolean {
  if (result.id !== "" && result.id !== id) return false;
  const isRight = result.status === 200 && result.isWhole && result.text === `hello ${id}`;
  if (what === "close") return isRight;
  if (isRight) return where !== "both";
  if (INSIDE.includes(what)) return !result.isWhole || result.status >= 500;
  return where !== "canary" && result.isWhole && result.status >= 500;
}

/** One call of gRPC. `Goodbye` is no fault: the upstream's connection ends well, and every call on it too. */
async function remote(
  { way, id, random }: Exchange,
  headers: Record<string, string>,
  isFault: boolean,
  told: (result: unknown) => string,
): Promise<void> {
  const [first, second] = isFault ? ["Reset", "Unavailable"] : ["Echo", "Goodbye"];
  // One client alone says it, and waits a little: what is refused twice in a row is not sent a third time.
  const what = random() < 0.9 || (!isFault && !id.startsWith("2-")) ? first : second;
  const text = Buffer.from(id.repeat(100));
  const message = Buffer.concat([Buffer.alloc(5), text]);
  message.writeUInt32BE(text.length, 1);
  const result = await way.ask({
    path: `/grpc.Soak/${what}`,
    method: "POST",
    headers: { ...headers, "content-type": "application/grpc", te: "trailers" },
    upload: message,
  });
  const trailers = result.trailers.join(" ");
  const isRight = isFault
    ? result.status === 200 && !trailers.includes("grpc-status 0")
    : result.isWhole &&
      result.id === id &&
      result.digest === createHash("sha256").update(message).digest("hex") &&
      trailers.includes("grpc-status 0") &&
      trailers.includes(`x-id ${id}`);
  must(isRight, `${what}: ${told(result)}`);
  if (what === "Goodbye") await pause(200);
}

/** Nothing of it all is left in the program, and it ends by itself. */
async function nothingLeft(
  at: Site,
  before: { readonly files: number; readonly sockets: number },
): Promise<string> {
  // Exact, as everything that is kept has ended by now: a probe that is under way is waited for.
  const files = await filesBeyond(at, before.files);
  must(files <= 0, `${files} files more than before`);
  const sockets = at.sockets() - before.sockets;
  must(sockets <= 0, `${sockets} sockets more than before`);
  const { text } = await at.operate("/metrics");
  const left = text.match(/^sluice_(?:open_connections|in_flight\S*) [^0].*$/gm);
  must(left === null, `still counted: ${String(left)}`);
  at.process.child.kill("SIGTERM");
  must((await at.process.ended) === 0, "it did not end with 0");
  must(trouble(at) === "", `the log says: ${trouble(at)}`);
  return "no file and no socket left";
}

/** Judges resident memory, a figure each quarter of a second, over the second half. */
function flat(rss: readonly number[], minutes: number): string {
  const half = rss.slice(Math.floor(rss.length / 2));
  const size = Math.max(1, Math.floor(half.length / 12));
  // What the collector leaves: the least of each twelfth.
  const floors = Array.from({ length: 12 }, (_, nth) =>
    Math.min(...half.slice(nth * size, (nth + 1) * size)),
  );
  const growth = median(floors.slice(-3)) - median(floors.slice(0, 3));
  must(
    growth <= GROWTH,
    `RSS grew by ${growth.toFixed(1)} MiB over the second half: ${floors.map((each) => each.toFixed(0)).join(" ")}`,
  );
  const { slope, error } = lineThrough(floors);
  const anHour = (12 * 60) / (minutes / 2);
  const isSlow = (slope - 2 * error) * anHour <= SLOPE;
  must(minutes < SLOPE_MINUTES || isSlow, `RSS grows by ${(slope * anHour).toFixed(1)} MiB/h`);
  const told = `${(slope * anHour).toFixed(1)} ± ${(2 * error * anHour).toFixed(1)} MiB/h`;
  return `RSS ${median(half).toFixed(0)} MiB, ${growth >= 0 ? "+" : ""}${growth.toFixed(1)} over the second half (${told})`;
}

/** Least squares over equal steps: the slope a step, and its standard error. */
function lineThrough(values: readonly number[]): { readonly slope: number; readonly error: number } {
  const n = values.length;
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  const middle = (n - 1) / 2;
  const spread = values.reduce((sum, _, nth) => sum + (nth - middle) ** 2, 0);
  const slope = values.reduce((sum, value, nth) => sum + (nth - middle) * (value - mean), 0) / spread;
  const rest = values.reduce((sum, value, nth) => sum + (value - mean - slope * (nth - middle)) ** 2, 0);
  return { slope, error: Math.sqrt(rest / (n - 2) / spread) };
}
