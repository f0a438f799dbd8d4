/**
 * The same bytes through both lanes, over real sockets: the upstream must see the same requests, the client the same answers (issue 3, item 1).
 *
 * A stand is one plane with one recording upstream per lane. Behind every case the client sends one more request that closes the
 * connection, so that a case is over when the connection is, and a boundary in the wrong place shows. Time-outs are short: a case that ends
 * inside a body waits for one. What differs is tried again on a new stand before it is believed: a slow machine is no finding.
 */

import { once } from "node:events";
import { createServer, connect, type AddressInfo, type Server, type Socket } from "node:net";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { REQUESTS, RESPONSES } from "./corpus.ts";
import { readResponse } from "./fast.ts";
import { hearRequest, hearResponse, type Heard } from "./llhttp.ts";
import { mutantOf, pick, requestOf, responseOf, rollOf } from "./mutate.ts";

const LAST = "GET /last HTTP/1.1\r\nHost: last\r\nConnection: close\r\n\r\n";
const LANES = ["general", "auto"] as const;
/** Both ends of a case wait for so long at the most; then it hangs. */
const PATIENCE_MS = 8000;
const TRIES = 3;
const TIMEOUTS = { connect: "2s", headers: "500ms", idle: "500ms" };
const LIMITS = { headTime: "500ms", bodyIdle: "300ms", keepAlive: "500ms" };

/** What the client sends, and what the upstream answers to it. */
export interface LaneCase {
  readonly request: string;
  /** Raw; undefined: a good one. */
  readonly response: string | undefined;
  /** The upstream closes behind it. */
  readonly closes: boolean;
  /** The request comes in two pieces, cut there; 0: in one. */
  readonly cut: number;
}

/** The corpus as cases. */
export const LANE_CORPUS: readonly LaneCase[] = [
  ...REQUESTS.map((request) => ({ request, response: undefined, closes: false, cut: 0 })),
  ...RESPONSES.flatMap((response) => [
    { request: "GET /case HTTP/1.1\r\nHost: x\r\n\r\n", response, closes: true, cut: 0 },
    { request: "HEAD /case HTTP/1.1\r\nHost: x\r\n\r\n", response, closes: true, cut: 0 },
  ]),
];

/** The case of a seed. */
export function laneCaseOf(seed: number): LaneCase {
  const roll = rollOf(seed);
  const cut = roll() < 0.3 ? 1 + Math.floor(roll() * 60) : 0;
  if (roll() < 0.7) {
    let request = mutantOf(roll, roll() < 0.6 ? requestOf(roll) : pick(roll, REQUESTS), REQUESTS);
    while (roll() < 0.3)
      request += roll() < 0.5 ? requestOf(roll) : mutantOf(roll, pick(roll, REQUESTS), REQUESTS);
    return { request, response: undefined, closes: false, cut };
  }
  const response = mutantOf(roll, roll() < 0.6 ? responseOf(roll) : pick(roll, RESPONSES), RESPONSES);
  const method = pick(roll, ["GET", "GET", "HEAD"]);
  return { request: `${method} /case HTTP/1.1\r\nHost: x\r\n\r\n`, response, closes: roll() < 0.9, cut };
}

/** What both lanes must agree on. */
interface Outcome {
  /** As they reached the upstream. */
  readonly requests: readonly string[];
  /** As they reached the client. */
  readonly answers: readonly string[];
}

/** One lane: a plane, and an upstream that remembers. */
class Stand {
  readonly #server: Server = createServer();
  readonly #sockets = new Set<Socket>();
  #plane: TestPlane | undefined;
  #seen: string[] = [];
  #case: LaneCase | undefined;

  async start(lane: (typeof LANES)[number]): Promise<void> {
    this.#server.on("connection", (socket) => this.#serve(socket));
    await new Promise<void>((resolve) => this.#server.listen(0, "127.0.0.1", resolve));
    // A TCP server has an address of this form.
    const url = `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
    this.#plane = await startPlane(
      { stable: url, canary: url },
      { timeouts: TIMEOUTS },
      { lane, limits: LIMITS },
    );
  }

  async close(): Promise<void> {
    await this.#plane?.plane.close();
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async run(given: LaneCase): Promise<Outcome> {
    this.#seen = [];
    this.#case = given;
    const text = await converse(this.#plane?.address ?? "", given);
    return { requests: this.#seen, answers: answersOf(text, given) };
  }

  #serve(socket: Socket): void {
    this.#sockets.add(socket);
    let bytes = Buffer.alloc(0);
    socket.on("error", () => undefined);
    socket.on("close", () => this.#sockets.delete(socket));
    socket.on("data", (more: Buffer) => {
      bytes = Buffer.concat([bytes, more]);
      while (bytes.length > 0 && socket.writable) {
        const heard = hearRequest(bytes);
        if (heard.verdict === "more") return;
        if (heard.verdict === "refused") {
          this.#seen.push(`not HTTP, ${heard.why}: ${bytes.toString("latin1")}`);
          socket.destroy();
          return;
        }
        bytes = bytes.subarray(heard.end);
        this.#seen.push(requestText(heard));
        this.#answer(socket, heard);
      }
    });
  }

  #answer(socket: Socket, { method, target }: Heard): void {
    if (this.#case?.response !== undefined && target === "/case") {
      socket.write(this.#case.response, "latin1");
      if (this.#case.closes) socket.end();
      return;
    }
    const body = `${method} ${target}`;
    const isChunked = target.length % 2 === 0;
    const framing = isChunked ? "Transfer-Encoding: chunked" : `Content-Length: ${body.length}`;
    const framed = isChunked ? `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n` : body;
    socket.write(
      `HTTP/1.1 200 OK\r\n${framing}\r\nX-End: 1\r\n\r\n${method === "HEAD" ? "" : framed}`,
      "latin1",
    );
  }
}

/** Sends the case, and what closes the connection, and returns all that comes back. */
async function converse(address: string, given: LaneCase): Promise<string> {
  const colon = address.lastIndexOf(":");
  const socket = connect(Number(address.slice(colon + 1)), address.slice(0, colon));
  let text = "";
  socket.on("data", (bytes: Buffer) => (text += bytes.toString("latin1")));
  socket.on("error", () => undefined);
  const closed = new Promise((resolve) => socket.on("close", resolve));
  await once(socket, "connect");
  const bytes = given.request + LAST;
  if (given.cut > 0) {
    socket.write(bytes.slice(0, given.cut), "latin1");
    // Long enough that it is read as a piece of its own.
    await new Promise((resolve) => setTimeout(resolve, 3));
  }
  socket.write(given.cut > 0 ? bytes.slice(given.cut) : bytes, "latin1");
  const timer = setTimeout(() => {
    text = "(hangs)";
    socket.destroy();
  }, PATIENCE_MS);
  await closed;
  clearTimeout(timer);
  return text;
}

/** How a message is framed, and whether a connection goes on, is each lane's own business. */
const FRAMING = ["connection", "content-length", "transfer-encoding"];
const NOT_SEEN_UP = new Set(FRAMING);
/** Node says of its own how long it keeps a connection, and what time it is. */
const NOT_SEEN_DOWN = new Set([...FRAMING, "keep-alive", "date"]);

function fieldText(fields: readonly string[], without: ReadonlySet<string>): string {
  let text = "";
  for (let at = 0; at < fields.length; at += 2) {
    const name = (fields[at] ?? "").toLowerCase();
    if (!without.has(name)) text += `${name}: ${fields[at + 1]}\n`;
  }
  return text;
}

function requestText({ method, target, fields, body }: Heard): string {
  const text = fieldText(fields, NOT_SEEN_UP);
  // Where it stands is the lane's choice; the upstream's own address is sent for HTTP/1.0 without one.
  const host = /^host: (?!127\.0\.0\.1:).*\n/m.exec(text)?.[0] ?? "";
  // An id that the proxy made up is different each time.
  const rest = text.replace(/^host: .*\n/m, "").replace(/^x-request-id: token-\d+x*\n/m, "");
  return `${method} ${target}\n${host}${rest}\n${body}`;
}

/**
 * The answers in a text, one after the other; an incomplete one at the end is none, because how much of it comes before a cut is chance. Of
 * the proxy's own answers only that it is one: a parser that looks at more bytes at once finds the same fault a little earlier, before or
 * after something was waited for in vain.
 */
function answersOf(text: string, given: LaneCase): readonly string[] {
  const found: string[] = [];
  const methods = methodsOf(given);
  let bytes = Buffer.from(text, "latin1");
  let nth = 0;
  while (bytes.length > 0) {
    const { verdict, status, fields, body, end, why } = hearResponse(bytes, methods[nth] === "HEAD");
    if (verdict === "more") break;
    const own = fields.includes("application/problem+json") ? OWN_ANSWERS[status] : undefined;
    if (verdict === "refused") found.push(`not HTTP, ${why}: ${bytes.toString("latin1")}`);
    else if (!HINTS.has(status))
      found.push(
        own ?? `${status} ${end < 0 ? "until the end" : ""}\n${fieldText(fields, NOT_SEEN_DOWN)}\n${body}`,
      );
    if (end < 0) break;
    bytes = bytes.subarray(end);
    if (status >= 200) nth++;
  }
  return found;
}

/** Node sends of these only the links, so the general lane can do no more. */
const HINTS = new Set([102, 103]);
const OWN_ANSWERS: Readonly<Record<number, string>> = {
  400: "refused",
  408: "refused",
  502: "bad upstream",
  504: "bad upstream",
};

/** The methods of the requests that a client sends, as far as they are HTTP. */
function methodsOf({ request }: LaneCase): readonly string[] {
  const methods: string[] = [];
  for (let bytes = Buffer.from(request, "latin1"); ;) {
    const { verdict, method, end } = hearRequest(bytes);
    if (verdict === "refused") return methods;
    methods.push(method);
    if (end < 0) return methods;
    bytes = bytes.subarray(end);
  }
}

/** What is left of all that a client sends when the last whole request is taken off. */
function restOf({ request }: LaneCase): string {
  for (let bytes = Buffer.from(request + LAST, "latin1"); ;) {
    const { end } = hearRequest(bytes);
    if (end < 0) return bytes.toString("latin1");
    bytes = bytes.subarray(end);
  }
}

/** Where the lanes are known to differ, each on the safe side, and why. */
const KNOWN: readonly { readonly why: string; readonly applies: (given: LaneCase) => boolean }[] = [
  {
    why: "llhttp takes a trailer's Connection for the head's, and closes",
    applies: ({ request }) => /^0+(?:;.*)?\r\n(?:.*\r\n)*(?:proxy-)?connection:/im.test(request),
  },
  {
    why: "llhttp bounds the value of a chunk's size, the fast lane its digits too",
    applies: ({ request }) => /[0-9a-f]{11}/i.test(request),
  },
  {
    why: "undici fails a response behind a 100 that nobody asked for; reliability.md C21 says to drop it",
    applies: ({ response }) => /HTTP\/1\.[01] 100/.test(response ?? ""),
  },
  {
    why: "a lone line end behind an answer is nothing to the general lane, and a beginning once a connection was handed over",
    applies: (given) => /^[\r\n]+$/.test(restOf(given)),
  },
  {
    why: "undici leaves the blanks behind a value on, and the general lane calls that no length and no coding",
    applies: ({ response }) => /^(?:content-length|transfer-encoding):.*[ \t]\r$/im.test(response ?? ""),
  },
  {
    why: "Node sends a head with an Expect as UTF-8, so the general lane doubles its bytes above 7F",
    applies: ({ response }) => /^expect:/im.test(response ?? "") && /[\x80-\xff]/.test(response ?? ""),
  },
  {
    why: "the fast lane may be stricter about a response, which is a 502 then",
    applies: ({ request, response }) =>
      response !== undefined && isStrictAbout(Buffer.from(response, "latin1"), request.startsWith("HEAD")),
  },
];

function isStrictAbout(response: Buffer, isHead: boolean): boolean {
  for (let bytes = response; ;) {
    const [fast, oracle] = [readResponse(bytes, isHead), hearResponse(bytes, isHead)];
    if (fast === undefined || fast.verdict === "refused")
      return oracle.verdict !== "refused" || oracle.status > 0;
    if (fast.status >= 200 || fast.end < 0) return false;
    bytes = bytes.subarray(fast.end);
  }
}

/** Stands for both lanes; cases run on it one after the other. */
class Lanes {
  readonly #stands = LANES.map(() => new Stand());

  async start(): Promise<this> {
    for (const [nth, stand] of this.#stands.entries()) await stand.start(LANES[nth] ?? "auto");
    return this;
  }

  async close(): Promise<void> {
    await Promise.all(this.#stands.map((stand) => stand.close()));
  }

  /** What differs; "" when nothing does. */
  async run(given: LaneCase): Promise<string> {
    const [general, fast] = await Promise.all(this.#stands.map((stand) => stand.run(given)));
    if (JSON.stringify(general) === JSON.stringify(fast) || KNOWN.some(({ applies }) => applies(given)))
      return "";
    return `${JSON.stringify(given)}\n general lane ${JSON.stringify(general)}\n fast lane    ${JSON.stringify(fast)}`;
  }
}

/**
 * Stands to run many cases on, `width` at a time. What differs is run again on stands that have seen little else: a slow machine is no
 * finding. They are started one after the other and before any traffic, as in a real process.
 */
export class LanePool {
  readonly #lanes: Lanes[] = [];
  readonly #spare = new Lanes();
  #last: Promise<unknown> = Promise.resolve();

  async start(width: number): Promise<this> {
    await this.#spare.start();
    for (let nth = 0; nth < width; nth++) this.#lanes.push(await new Lanes().start());
    return this;
  }

  async close(): Promise<void> {
    await Promise.all([this.#spare, ...this.#lanes].map((lanes) => lanes.close()));
  }

  /** Runs cases; calls `found` with what differs each time it is tried, and stops when that says so. Returns how many were run. */
  async run(
    cases: Iterator<LaneCase>,
    found: (trouble: string, given: LaneCase) => boolean,
  ): Promise<number> {
    let count = 0;
    let stopped = false;
    await Promise.all(
      this.#lanes.map(async (lanes) => {
        for (let next = cases.next(); next.done !== true && !stopped; next = cases.next()) {
          let trouble = await lanes.run(next.value);
          for (let tries = 1; tries < TRIES && trouble !== ""; tries++)
            trouble = await this.#again(next.value);
          count++;
          if (trouble !== "" && !found(trouble, next.value)) stopped = true;
        }
      }),
    );
    return count;
  }

  /** Behind those that came before. */
  async #again(given: LaneCase): Promise<string> {
    const before = this.#last;
    const next = before.then(() => this.#spare.run(given));
    this.#last = next;
    return await next;
  }
}
