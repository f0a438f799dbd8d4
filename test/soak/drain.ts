/**
 * SIGTERM under load, over every road: not one exchange that the program had got hold of fails, and it ends by itself as soon as the last is over,
 * long before its time is up.
 *
 * Once at once, as an operator does it, and once with `drain.delay`, as a balancer needs it: whoever hears in time that no more is taken loses
 * nothing at all, not even with a connection for each request.
 */

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { Duplex } from "node:stream";
import { connect as connectSecure } from "node:tls";
import { WebSocket } from "ws";
import { answerOn, client2 } from "../support/h2.ts";
import { must, now, pause, trouble } from "./check.ts";
import { road, ROADS, type Result, type RoadName } from "./client.ts";
import { withSite, type Site } from "./site.ts";

/** Clients on each road, of either kind. */
const WIDTH = 6;
/** Held exchanges of each kind. */
const HELD = 4;
/** The slowest answer takes so long. */
const SLOW_MS = 1500;
const TIMEOUT_S = 10;
/** When everything is over, this is enough to end; the time-out is twice as far away. */
const ENOUGH_MS = 5000;

/** Both drains, one after the other. */
export async function drainUnderLoad(): Promise<string> {
  const told: string[] = [];
  const missed: string[] = [];
  for (const delayS of [0, 1])
    await drained(delayS).then(
      (line) => told.push(line),
      (error: unknown) => missed.push(`${delayS === 0 ? "at once" : `after ${delayS} s`}: ${String(error)}`),
    );
  must(missed.length === 0, [...missed, ...told].join("; "));
  return told.join("; ");
}

/** REFUSED_STREAM. */
const REFUSED = "reset 7";

function drained(delayS: number): Promise<string> {
  const run = async (at: Site): Promise<string> => {
    const term = new AbortController();
    const stop = new AbortController();
    const results: Result[] = [];
    let unopened = 0;
    const client = async (name: RoadName, isKept: boolean, nth: number): Promise<void> => {
      const way = road(at, name, { isKept });
      for (let round = 0; !stop.signal.aborted; round++) {
        const id = `${name}-${isKept}-${nth}-${round}`;
        const result = await way.ask({ path: "/", headers: { "x-id": id, "x-user-id": id } });
        // Without a delay: a connection that nobody takes any more is no exchange. The kernel resets it, or refuses it. Nor is a request behind the
        // GOAWAY: it is refused unlooked at, and sent again elsewhere (RFC 9113 §8.7).
        const isUnasked = result.isFresh || result.error === REFUSED;
        if (delayS === 0 && term.signal.aborted && isUnasked && result.status === 0) {
          unopened++;
          break;
        }
        results.push({ ...result, error: result.id === id ? result.error : `${id}: ${result.error}` });
      }
      way.close();
    };
    const clients = ROADS.flatMap((name) =>
      [true, false].flatMap((isKept) => Array.from({ length: WIDTH }, (_, nth) => client(name, isKept, nth))),
    );
    await pause(700);
    const begun: Promise<void>[] = [];
    const held = HOLDS.flatMap(([name, hold]) =>
      Array.from({ length: HELD }, async () => {
        const wrong = await new Promise<string>((resolve) => {
          const begin = new Promise<void>((tell) => {
            const underWay = (): Promise<void> => {
              tell();
              return aborted(term.signal);
            };
            void hold(at, underWay).catch(String).then(resolve);
          });
          begun.push(begin);
        });
        return wrong === "" ? "" : `${name}: ${wrong}`;
      }),
    );
    await Promise.all(begun);
    // What was written is on its way.
    await pause(300);
    const before = results.length;
    const since = now();
    at.process.child.kill("SIGTERM");
    term.abort();
    const timer = delayS === 0 ? undefined : setTimeout(() => stop.abort(), delayS * 600);
    const code = await at.process.ended;
    const took = now() - since;
    stop.abort();
    clearTimeout(timer);
    await Promise.all(clients);
    const wrongs = (await Promise.all(held)).filter((wrong) => wrong !== "");
    const bad = results.filter(({ status, isWhole, error }) => status !== 200 || !isWhole || error !== "");
    const told = `${(took / 1000).toFixed(1)} s, exit ${String(code)}`;
    const kinds = [...new Set(wrongs)].join(" | ");
    must(
      wrongs.length === 0,
      `${wrongs.length} of ${held.length} under way at SIGTERM failed (${told}): ${kinds}`,
    );
    must(
      bad.length === 0,
      `${bad.length} of ${results.length} exchanges failed (${told}): ${JSON.stringify(bad[0])}`,
    );
    must(code === 0 && took < delayS * 1000 + ENOUGH_MS, `the process took ${told}`);
    must(trouble(at) === "", `the log says: ${trouble(at)}`);
    return `${delayS === 0 ? "at once" : `after ${delayS} s`}: ${results.length} exchanges (${results.length - before} after SIGTERM) and ${held.length} under way, none failed, ${unopened} connections not taken, ${told}`;
  };
  return withSite(run, {
    route: { timeouts: { headers: "5s" } },
    more: { drain: { delay: `${delayS}s`, timeout: `${TIMEOUT_S}s` } },
  });
}

/** Says that all was done that is done before the signal, and resolves when it was sent. */
type UnderWay = () => Promise<void>;

/** An exchange that is under way when the signal comes: "" when it went well all the same, otherwise what did not. */
type Hold = (at: Site, underWay: UnderWay) => Promise<string>;

const POST = "POST / HTTP/1.1\r\nHost: a\r\n";
const GET = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

const HOLDS: readonly (readonly [string, Hold])[] = [
  ["a body with a length, after its head", split(`${POST}Content-Length: 4\r\n\r\n`, "body", 700)],
  [
    "chunks, after their head",
    split(`${POST}Transfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n`, "2\r\ndy\r\n0\r\n\r\n", 700),
  ],
  ["the rest of a head", split(GET.slice(0, 20), GET.slice(20), 200)],
  ["a request behind a slow one", split(`${GET.replace("/", `/?ms=${SLOW_MS}`)}${GET}`, "", 0, 2)],
  ["a request on an idle connection", afterOne],
  ["a body with a length, over TLS", split(`${POST}Content-Length: 4\r\n\r\n`, "body", 700, 1, secure)],
  ["a TLS handshake", handshake],
  ["a body over HTTP/2", body2(false)],
  ["a body over HTTP/2 and TLS", body2(true)],
  ["a WebSocket", socket],
  ...ROADS.map((name) => [`a slow answer over ${name}`, slow(name)] as const),
];

/** Sends one half before the signal, the other so long after it, and reads until the connection ends. */
function split(first: string, second: string, waitMs: number, answers = 1, open = plain): Hold {
  return async (at, underWay) => {
    const connection = await open(at);
    const heard = listen(connection);
    connection.write(first);
    await underWay();
    await pause(waitMs);
    connection.write(second);
    return wrongOf(await heard, answers);
  };
}

/** One exchange before the signal, and another right behind it: it was on its way when nobody had said goodbye yet. */
async function afterOne(at: Site, underWay: UnderWay): Promise<string> {
  const connection = await plain(at);
  const heard = listen(connection);
  connection.write(GET);
  await once(connection, "data");
  await underWay();
  connection.write(GET);
  return wrongOf(await heard, 2);
}

/** Half of the first flight before the signal, the rest of the handshake and a request after it. */
async function handshake(at: Site, underWay: UnderWay): Promise<string> {
  const lower = await to(at.host, at.securePort);
  const halved = new Halved(lower, underWay());
  const upper = connectSecure({ socket: halved, rejectUnauthorized: false });
  const heard = listen(upper);
  upper.write(GET);
  return wrongOf(await heard, 1);
}

function body2(isSecure: boolean): Hold {
  return async (at, underWay) => {
    const port = isSecure ? at.securePort : at.port;
    const client = client2(`${at.host}:${port}`, isSecure ? { rejectUnauthorized: false } : undefined);
    const stream = client.open("POST", "/", { "x-id": "held" });
    const answered = answerOn(stream);
    stream.write("bo");
    await underWay();
    await pause(700);
    stream.end("dy");
    const { status, body, code } = await answered;
    client.session.close();
    return status === 200 && code === 0 && body.toString() === "hello held" ? "" : `${status}, reset ${code}`;
  };
}

/** Carries a message after the signal, and closes. */
async function socket(at: Site, underWay: UnderWay): Promise<string> {
  const client = new WebSocket(`ws://${at.host}:${at.port}/socket`);
  await once(client, "open");
  const closed = new Promise<number>((resolve) => client.on("close", resolve));
  client.on("error", () => undefined);
  client.on("message", () => client.close(1000));
  await underWay();
  await pause(700);
  client.send("still there?");
  const code = await closed;
  return code === 1000 ? "" : `closed with ${code}`;
}

function slow(name: RoadName): Hold {
  return async (at, underWay) => {
    const way = road(at, name);
    const answered = way.ask({ path: `/?ms=${SLOW_MS}`, headers: { "x-id": "held" } });
    void underWay();
    const result = await answered;
    way.close();
    return result.isWhole && result.text === "hello held" ? "" : JSON.stringify(result);
  };
}

function plain(at: Site): Promise<Duplex> {
  return to(at.host, at.port);
}

async function secure(at: Site): Promise<Duplex> {
  const connection = connectSecure({ host: at.host, port: at.securePort, rejectUnauthorized: false });
  await once(connection, "secureConnect");
  return connection;
}

async function to(host: string, port: number): Promise<Socket> {
  const connection = connect(port, host);
  await once(connection, "connect");
  return connection;
}

/** All that comes until the connection has ended. */
function listen(connection: Duplex): Promise<string> {
  return new Promise((resolve) => {
    let text = "";
    connection.on("data", (chunk: Buffer) => (text += chunk.toString("latin1")));
    connection.on("error", (error) => (text += ` [${error.message}]`));
    connection.on("end", () => connection.end());
    connection.on("close", () => resolve(text));
  });
}

function wrongOf(text: string, answers: number): string {
  return text.split("HTTP/1.1 200").length - 1 === answers && text.endsWith("hello undefined")
    ? ""
    : (text.match(/HTTP.*|\[.*\]$/g)?.join(", ") ?? "nothing");
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (!signal.aborted) await once(signal, "abort");
}

/** A connection whose first write goes out in two halves, the second when it is time. */
class Halved extends Duplex {
  readonly #lower: Socket;
  #time: Promise<void> | undefined;

  constructor(lower: Socket, time: Promise<void>) {
    super();
    this.#lower = lower;
    this.#time = time;
    lower.on("data", (chunk: Buffer) => this.push(chunk));
    lower.on("error", (error) => this.destroy(error));
    lower.on("end", () => this.push(null));
    lower.on("close", () => this.destroy());
  }

  override _read(): void {
    // What comes is little.
  }

  override _write(chunk: Buffer, _encoding: string, done: (error?: Error | null) => void): void {
    if (this.#time === undefined) return void this.#lower.write(chunk, done);
    const half = chunk.length >> 1;
    this.#lower.write(chunk.subarray(0, half));
    void this.#time.then(() => this.#lower.write(chunk.subarray(half), done));
    this.#time = undefined;
  }

  override _final(done: () => void): void {
    this.#lower.end(done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#lower.destroy();
    done(error);
  }
}
