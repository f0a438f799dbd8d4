/**
 * The judge over the running program, as its figures are promised: how many users a broken canary reaches before it has no traffic, that a blip of
 * two seconds ends no rollout, and that a canary which is like stable is left alone over a million responses. Upstreams and clients are bare
 * sockets, so that a million takes minutes. All chance is seeded.
 */

import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { connect, createServer, type AddressInfo, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fakeDice } from "../support/dice.ts";
import { operatorOf, type Operator } from "../support/operator.ts";
import { command, configFile, foldersIn } from "../support/program.ts";
import { median, must, now, pause, quantile } from "./check.ts";

const TRIALS = 20;
/** Users that are on the canary before it breaks, about. */
const HEALTHY = 1000;
const A_MILLION = 1_000_000;
/** Connections: as few as a trial needs, since what is under way when the weight goes still comes; and as many as a million does. */
const FEW = 4;
const MANY = 32;
/** Of a canary that is all right, and of stable. */
const USUAL = 0.003;
const BLIP_MS = 2000;

const OK = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const BAD = "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 2\r\n\r\nno";

/** An upstream that fails with a chance. */
class Arm {
  failing = 0;
  responses = 0;
  failures = 0;
  readonly #random: () => number;
  readonly #server: Server;

  constructor(random: () => number) {
    this.#random = random;
    this.#server = createServer((socket) => {
      socket.on("error", () => {});
      socket.on("data", () => {
        this.responses++;
        const fails = this.#random() < this.failing;
        if (fails) this.failures++;
        socket.write(fails ? BAD : OK);
      });
    });
  }

  async listen(): Promise<string> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  close(): void {
    this.#server.close();
  }
}

interface World {
  readonly stable: Arm;
  readonly canary: Arm;
  readonly operate: Operator;
  /** Sends requests of ever new users until `isDone`. */
  load(isDone: () => boolean, width?: number): Promise<void>;
}

/** Every figure; throws those that are not reached. */
export async function judgeFigures(seed: number): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sluice-judge-"));
  const dice = fakeDice(seed);
  const random = (): number => dice.random();
  const [stable, canary] = [new Arm(random), new Arm(random)];
  const file = await configFile(folder, {
    listen: [{ address: "127.0.0.1:0" }],
    admin: { address: `unix:${join(folder, "admin.sock")}` },
    ...foldersIn(folder),
    routes: [
      {
        name: "app",
        stable: { endpoints: [await stable.listen()] },
        canary: { endpoints: [await canary.listen()] },
        key: ["header:x-user-id"],
        rescue: "off",
        health: { interval: "1h" },
        plan: { steps: [{ setWeight: "10%", hold: "10h" }] },
      },
    ],
  });
  const program = command(["run", "-c", file]);
  try {
    const [, port] = await program.says(/"listen":\["[^":]+:(\d+)"/);
    const load = loadOf(Number(port));
    const world: World = { stable, canary, operate: operatorOf(folder), load };
    const told = [
      await crossings(world, 10, 12),
      await crossings(world, 50, 30),
      await thirtyPercent(world),
      await blip(world),
      await alike(world),
    ];
    return told.map((line) => `\n  ${line}`).join("");
  } finally {
    program.child.kill("SIGKILL");
    await program.ended;
    stable.close();
    canary.close();
    await rm(folder, { recursive: true, force: true });
  }
}

function loadOf(port: number): World["load"] {
  let user = 0;
  return async (isDone, width = FEW) => {
    const one = async (): Promise<void> => {
      const socket = connect(port, "127.0.0.1");
      socket.setNoDelay(true);
      await once(socket, "connect");
      while (!isDone()) {
        socket.write(`GET /things/${user % 7} HTTP/1.1\r\nHost: app\r\nX-User-Id: u${user++}\r\n\r\n`);
        await once(socket, "data");
      }
      socket.destroy();
    };
    await Promise.all(Array.from({ length: width }, one));
  };
}

interface Route {
  readonly weight: number;
  readonly phase: string;
  readonly reason: string;
}

async function routeOf({ operate }: World): Promise<Route> {
  return JSON.parse((await operate("/v1/routes/app")).text) as Route;
}

async function eventsOf({ operate }: World): Promise<readonly string[]> {
  const { lines } = JSON.parse((await operate("/v1/journal?limit=200")).text) as {
    lines: { event: string }[];
  };
  return lines.map(({ event }) => event);
}

/** A new rollout at this weight, whatever was before. */
async function begin({ operate, canary, stable }: World, weight: number): Promise<void> {
  canary.failing = 0;
  stable.failing = 0;
  await operate("/v1/rollouts/app/rollback", { reason: "again" });
  const start = { steps: [weight], hold: "10h", force: true, reason: "again" };
  const { status, text } = await operate("/v1/rollouts/app/start", start);
  must(status === 200, `a start was answered ${status}: ${text}`);
}

/** Sends requests until the canary has had none of the last few hundred, and at most so many. */
async function untilOff(world: World, weight: number): Promise<void> {
  const { canary, stable } = world;
  const silent = Math.ceil(1000 / weight) * 5;
  let last = canary.responses;
  let since = stable.responses;
  const end = stable.responses + canary.responses + 20_000;
  await world.load(() => {
    if (canary.responses !== last) [last, since] = [canary.responses, stable.responses];
    return stable.responses - since > silent || stable.responses + canary.responses > end;
  });
}

async function crossings(world: World, weight: number, most: number): Promise<string> {
  const { canary } = world;
  const failures: number[] = [];
  for (let trial = 0; trial < TRIALS; trial++) {
    await begin(world, weight);
    const healthy = canary.responses + HEALTHY * (weight / 100);
    await world.load(() => canary.responses >= healthy);
    const before = canary.failures;
    canary.failing = 1;
    await untilOff(world, weight);
    // What was under way on the other connections when it went is no decision's.
    failures.push(canary.failures - before);
    must(
      (await routeOf(world)).weight === 0,
      `at ${weight} % a canary that failed everything kept its traffic`,
    );
  }
  const [half, nearly] = [median(failures), quantile(failures, 0.95)];
  const line = `everything fails at ${weight} %: off after ${half} failures (median), ${nearly} (95 %), of ${TRIALS} trials, with ${FEW} connections`;
  must(nearly <= most + FEW * (weight / 100), line);
  return line;
}

async function thirtyPercent(world: World): Promise<string> {
  const { canary } = world;
  const responses: number[] = [];
  for (let trial = 0; trial < TRIALS; trial++) {
    await begin(world, 10);
    const before = canary.responses;
    canary.failing = 0.3;
    await untilOff(world, 10);
    responses.push(canary.responses - before);
  }
  // The last one goes on: it is tried again after ten seconds, and that is that.
  const late = now() + 15_000;
  await world.load(() => now() > late);
  const { phase, weight } = await routeOf(world);
  const half = median(responses);
  const line = `30 % fail at 10 %: off after ${half} responses (median), ${quantile(responses, 0.95)} (95 %); then ${phase} at ${weight} %`;
  must(half <= 25 && phase === "rolled_back" && weight === 0, line);
  return line;
}

async function blip(world: World): Promise<string> {
  const { canary } = world;
  await begin(world, 10);
  const before = (await eventsOf(world)).length;
  const healthy = canary.responses + HEALTHY;
  await world.load(() => canary.responses >= healthy);
  canary.failing = 0.8;
  const end = now() + BLIP_MS;
  await world.load(() => now() > end);
  canary.failing = 0;
  const late = now() + 80_000;
  await world.load(() => now() > late);
  await pause(1100);
  const { phase, weight } = await routeOf(world);
  const events = (await eventsOf(world)).slice(before);
  const line = `80 % fail for two seconds: ${events.join(", ")}; then ${phase} at ${weight} %`;
  must(weight === 10 && phase === "progressing" && events.includes("TRIPPED"), line);
  return line;
}

async function alike(world: World): Promise<string> {
  const { canary, stable } = world;
  await begin(world, 10);
  const before = (await eventsOf(world)).length;
  canary.failing = USUAL;
  stable.failing = USUAL;
  const end = canary.responses + stable.responses + A_MILLION;
  await world.load(() => canary.responses + stable.responses >= end, MANY);
  await pause(1100);
  const { phase, weight } = await routeOf(world);
  const events = (await eventsOf(world)).slice(before);
  const line = `both fail 0.3 % over a million responses: ${events.join(", ") || "nothing happened"}; then ${phase} at ${weight} %`;
  must(weight === 10 && events.length === 0, line);
  return line;
}
