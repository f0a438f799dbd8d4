/**
 * The matrix of faults, and every byte at which a message can break: nothing hangs, every exchange settles exactly once, what was cut never
 * looks whole, and the next good request is served (reliability.md C17, F33, H47; house.md §1.5).
 */

import { once as event } from "node:events";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import type { Test } from "tap";
import { hearRequest, hearResponse } from "../fuzz/llhttp.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { bodyOf, once, raw, resetConnection, statusOf } from "../support/raw.ts";
import { reply } from "../support/upstream.ts";

/** What is waited for comes at once, or never; only what never comes is waited for briefly. */
const PATIENT = { timeouts: { connect: "5s", headers: "5s", idle: "5s" } };
const BRIEF = { timeouts: { connect: "50ms", headers: "50ms", idle: "50ms" } };
const HANDSHAKE =
  "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/** Long enough for what was written to be read on loopback, so that a cut comes behind it. */
const READ_MS = 5;
/** Cases that run side by side. */
const WIDTH = 16;

/** What an upstream does with a whole request. */
type Act = (socket: Socket, target: string) => void;

const good: Act = (socket, target) => void socket.write(reply(200, target));

/** An upstream that can stop listening, and listen again at the same address. */
class Faulty {
  act: Act = good;
  /** Whole requests. */
  requests = 0;
  /** What was not HTTP. */
  readonly broken: string[] = [];
  readonly sockets = new Set<Socket>();
  #server: Server | undefined;
  #port = 0;

  async listen(): Promise<this> {
    const server = createServer((socket) => this.#serve(socket));
    server.listen(this.#port, "127.0.0.1");
    await event(server, "listening");
    // A TCP server has an address of this form.
    this.#port = (server.address() as AddressInfo).port;
    this.#server = server;
    return this;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Refuses from now on; open connections stay. */
  refuse(): void {
    this.#server?.close();
    this.#server = undefined;
  }

  close(): void {
    this.refuse();
    for (const socket of this.sockets) socket.destroy();
  }

  #serve(socket: Socket): void {
    let bytes = Buffer.alloc(0);
    this.sockets.add(socket);
    socket.on("error", () => undefined);
    socket.on("close", () => this.sockets.delete(socket));
    socket.on("data", (more: Buffer) => {
      bytes = Buffer.concat([bytes, more]);
      while (bytes.length > 0) {
        // A WebSocket's request is whole at the end of its head, and llhttp goes no further.
        const { verdict, target, end, why } = hearRequest(bytes);
        if (verdict === "more") return;
        if (verdict === "refused") {
          this.broken.push(why);
          socket.destroy();
          return;
        }
        bytes = bytes.subarray(end);
        this.requests++;
        this.act(socket, target);
      }
    });
  }
}

async function stand(t: Test): Promise<{ upper: Faulty; running: TestPlane }> {
  const upper = await new Faulty().listen();
  const running = await startPlane({ stable: upper.url, canary: upper.url }, PATIENT);
  t.teardown(async () => {
    await running.plane.close();
    upper.close();
  });
  return { upper, running };
}

/** Everything has come to its end: so many exchanges, each counted once, none under way, no client left. */
async function rest(running: TestPlane, settled: number): Promise<void> {
  await running.settled((now) => {
    const { connections, routes } = running.plane.gauges();
    return now.settled >= settled && connections === 0 && routes["app"]?.stable.inFlight === 0;
  });
}

/** Good requests, all at once: as many as there were before could have taken the connections of. */
async function isFine(running: TestPlane, count: number): Promise<boolean> {
  const targets = Array.from({ length: count }, (_, nth) => `/fine/${nth}`);
  const answers = await Promise.all(
    targets.map((target) => once(running.address, `GET ${target} HTTP/1.1\nHost: x`)),
  );
  return answers.every((text, nth) => statusOf(text) === 200 && bodyOf(text) === targets[nth]);
}

interface Fault {
  readonly act: Act | "refuse";
  readonly status: number;
  readonly reason: string;
  /** Of an upgrade, where it differs. */
  readonly upgrade?: readonly [number, string];
}
const FAULTS: Readonly<Record<string, Fault>> = {
  refuse: { act: "refuse", status: 502, reason: "connect" },
  hang: { act: () => undefined, status: 504, reason: "timeout" },
  reset: { act: resetConnection, status: 502, reason: "reset" },
  "close at head": {
    act: (socket) => void socket.end("HTTP/1.1 200 OK\r\nConte"),
    status: 502,
    reason: "reset",
  },
  "close in body": {
    act: (socket) => void socket.end("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
    status: 200,
    reason: "cut",
    // It settles when the upstream has answered.
    upgrade: [200, "ok"],
  },
  garbage: { act: (socket) => void socket.write("\0garbage\r\n\r\n"), status: 502, reason: "malformed" },
  "500": { act: (socket) => void socket.write(reply(500, "no")), status: 500, reason: "status" },
};
const REQUESTS = {
  GET: "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
  POST: "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
  upgrade: HANDSHAKE,
};

type Kind = keyof typeof REQUESTS;

/** The status and the reason that a fault comes to. */
function dueFor(
  { act, status, reason, upgrade }: Fault,
  kind: Kind,
  isUsed: boolean,
): readonly [number, string] {
  if (kind === "upgrade" && upgrade !== undefined) return upgrade;
  // What a POST on a kept connection is lost with is that connection, whoever listens.
  return act === "refuse" && isUsed && kind === "POST" ? [status, "reset"] : [status, reason];
}

/** One fault met by one request, behind a good one when `isUsed`; what is wrong about what came of it, and "" when nothing is. */
async function meets(
  { upper, running }: { upper: Faulty; running: TestPlane },
  fault: Fault,
  kind: Kind,
  isUsed: boolean,
): Promise<string> {
  const { act, reason } = fault;
  if (!isUsed) {
    for (const socket of upper.sockets) socket.destroy();
    await running.settled(() => upper.sockets.size === 0);
  }
  const before = { ...running.measured().counts };
  const { settled } = running.measured();
  // A kept connection dies with the request on it, and a fresh one cannot be had.
  upper.act = act === "refuse" ? (socket) => void socket.destroy() : act;
  if (act === "refuse") upper.refuse();
  const client = await raw(running.address);
  client.send(REQUESTS[kind]);
  const { text } = await client.closed();
  const [wanted, counted] = dueFor(fault, kind, isUsed);
  if (statusOf(text) !== wanted) return `${wanted} was due, not ${text}`;
  if (reason === "cut" && looksWhole(text, "", "1.1")) return `not cut: ${text}`;
  const { counts } = await running.settled((now) => now.settled === settled + 1);
  const key = `stable ${counted}`;
  return (counts[key] ?? 0) - (before[key] ?? 0) === 1 ? "" : `${key} was due: ${JSON.stringify(counts)}`;
}

void inEveryLane(
  "each fault comes to its own answer and is counted once, by GET, POST and upgrade, on a fresh and on a used connection, and the next request is served (reliability 13, 14, 30, 33, 47)",
  async (t) => {
    const both = await stand(t);
    const { upper, running } = both;
    const reconfigure = (route: object): void =>
      running.reconfigure({
        ...route,
        stable: { endpoints: [upper.url] },
        canary: { endpoints: [upper.url] },
      });
    let sent = 0;
    for (const [name, fault] of Object.entries(FAULTS)) {
      for (const kind of ["GET", "POST", "upgrade"] as const) {
        for (const isUsed of [false, true]) {
          const what = `${name}, ${kind}, ${isUsed ? "used" : "fresh"}`;
          reconfigure(name === "hang" ? BRIEF : PATIENT);
          t.equal(await meets(both, fault, kind, isUsed), "", what);
          reconfigure(PATIENT);
          if (fault.act === "refuse") await upper.listen();
          upper.act = good;
          t.equal(bodyOf(await once(running.address, "GET /next HTTP/1.1\nHost: x")), "/next", what);
          sent += 2;
          await rest(running, sent);
          t.equal(running.measured().settled, sent, what);
        }
      }
    }
    t.strictSame(upper.broken, []);
  },
);

/** Runs many at the same time, not all at once. */
async function sideBySide<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  const left = items[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (let next = left.next(); next.done !== true; next = left.next()) await run(next.value);
  };
  await Promise.all(Array.from({ length: WIDTH }, worker));
}

const RESPONSES: Readonly<Record<string, string>> = {
  length: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
  chunks:
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;a\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n",
  close: "HTTP/1.1 200 OK\r\nX-A: b\r\n\r\nhello",
};
const ENDS: Readonly<Record<string, (socket: Socket) => void>> = {
  end: (socket) => void socket.end(),
  reset: resetConnection,
};

interface Cut {
  readonly framing: string;
  readonly how: string;
  readonly at: number;
  readonly version: string;
}

/** Whether the upstream's answer up to the cut could be taken for a whole one by anybody. */
function isWhole({ framing, how, at }: Cut): boolean {
  const response = RESPONSES[framing] ?? "";
  if (framing !== "close") return at === response.length;
  // Its only end is the connection's: a plain one behind the head is the end of the body.
  return how === "end" && at >= response.indexOf("\r\n\r\n") + 4;
}

/** Whether a client may take what it got for a whole answer. */
function looksWhole(text: string, error: string, version: string): boolean {
  const { verdict, fields, end } = hearResponse(Buffer.from(text, "latin1"), false);
  if (verdict !== "whole") return false;
  if (end >= 0) return true;
  // Until the end of the connection, which a reset is not.
  return version === "1.0" && error === "" && !fields.some((each) => each.toLowerCase() === "content-length");
}

void inEveryLane(
  "an answer that breaks at any byte, by end or by reset, however framed, never looks whole, to a client of HTTP/1.1 or 1.0 (reliability 17, 20, 47)",
  async (t) => {
    const { upper, running } = await stand(t);
    const cuts: Cut[] = [];
    for (const [framing, response] of Object.entries(RESPONSES))
      for (const how of Object.keys(ENDS))
        for (const version of ["1.1", "1.0"])
          for (let at = 0; at <= response.length; at++) cuts.push({ framing, how, at, version });
    upper.act = (socket, target) => {
      const [, framing = "", how = "", at = ""] = target.split("/");
      socket.write((RESPONSES[framing] ?? "").slice(0, Number(at)), "latin1", () => {
        setTimeout(() => ENDS[how]?.(socket), READ_MS);
      });
    };
    await sideBySide(cuts, async (cut) => {
      const { framing, how, at, version } = cut;
      const client = await raw(running.address);
      client.send(`GET /${framing}/${how}/${at} HTTP/${version}\r\nHost: x\r\nConnection: close\r\n\r\n`);
      const { text, error } = await client.closed();
      const isAnswer = statusOf(text) === 200 && looksWhole(text, error, version);
      const name = `${JSON.stringify(cut)}: ${JSON.stringify(text)} ${error}`;
      if (isWhole(cut) !== isAnswer) t.fail(name);
      // A head that came whole is passed on, and only then; before it there is an answer of our own.
      const isHead = at >= (RESPONSES[framing] ?? "").indexOf("\r\n\r\n") + 4;
      if (!isHead && statusOf(text) !== 502) t.fail(name);
    });
    await rest(running, cuts.length);
    const { settled, counts } = running.measured();
    t.equal(settled, cuts.length, "each was counted once");
    t.equal(
      counts["stable ok"],
      cuts.filter(isWhole).length,
      "what was whole, and nothing else, is a success",
    );
    t.notOk(counts["stable client_gone"], JSON.stringify(counts));
    upper.act = good;
    t.ok(await isFine(running, 40), "and the connections that are left are good");
    t.strictSame(upper.broken, []);
  },
);

const UPLOADS = [
  "POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
  "POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;a\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n",
  "PUT /upload HTTP/1.1\r\nHost: x\r\nConnection: X-A\r\nX-A: b\r\nContent-Length: 5\r\n\r\nhello",
];

void inEveryLane(
  "a client that leaves at any byte of its request, by end or by reset, leaves nothing behind, and no arm is blamed (reliability 4, 31, 33, 47)",
  async (t) => {
    const { upper, running } = await stand(t);
    const cuts = UPLOADS.flatMap((request) =>
      Object.keys(ENDS).flatMap((how) =>
        Array.from({ length: request.length + 1 }, (_, at) => ({ request, how, at })),
      ),
    );
    await sideBySide(cuts, async ({ request, how, at }) => {
      const client = await raw(running.address);
      client.send(request.slice(0, at));
      await new Promise((resolve) => setTimeout(resolve, READ_MS));
      ENDS[how]?.(client.socket);
      await client.closed();
    });
    await rest(running, 0);
    // Those on which a whole exchange was done may be kept; what broke off half way is not.
    await running.settled(() => upper.sockets.size <= WIDTH);
    const { counts } = running.measured();
    const blamed = Object.keys(counts).filter((name) => !/ (?:ok|client_gone|refused)$/.test(name));
    t.strictSame(blamed, [], JSON.stringify(counts));
    t.ok(upper.requests <= UPLOADS.length * 2, "no part of a request was sent on as a whole one");
    t.ok(upper.requests >= UPLOADS.length, `${upper.requests} were whole`);
    t.ok((counts["stable client_gone"] ?? 0) > 0);
    t.ok(await isFine(running, 40), "and the connections that are left are good");
    t.strictSame(upper.broken, []);
    await rest(running, 0);
    t.equal(running.plane.gauges().connections, 0);
  },
);
