/**
 * What of an answer goes on, and in which form: checked before its first byte is sent, framed unambiguously, field by field as it came, at
 * once; and what is no answer is a 502 (reliability.md A2, C18–C23).
 */

import type { Socket } from "node:net";
import type { Test } from "tap";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane } from "../support/plane.ts";
import { bodyOf, once, raw, statusOf } from "../support/raw.ts";
import { reply, upstream, type Script } from "../support/upstream.ts";

const GET = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
const GOOD = reply(200, "good");

async function stand(t: Test, answer: string | Script, route: object = {}) {
  const script: Script =
    typeof answer === "string" ? (socket) => void socket.write(answer, "latin1") : answer;
  const server = await upstream(script);
  const running = await startPlane({ stable: server.url, canary: server.url }, route);
  t.teardown(async () => {
    await running.plane.close();
    await server.close();
  });
  return { server, running, address: running.address };
}

/** The lines of the first head in a text that have one of these names. */
function linesOf(text: string, names: readonly string[]): string[] {
  const head = text.slice(0, text.indexOf("\r\n\r\n"));
  return head.split("\r\n").filter((line) => names.includes(line.slice(0, line.indexOf(":")).toLowerCase()));
}

void inEveryLane(
  "an answer of two thousand fields comes whole, its length behind them all; of 2,500 all come or none (reliability 2)",
  async (t) => {
    const fields = (count: number): string =>
      Array.from({ length: count }, (_, nth) => `A${nth}: ${nth}\r\n`).join("");
    const { address } = await stand(t, (socket, seen) => {
      socket.write(reply(200, "whole", fields(Number(seen.target.slice(1)))));
    });
    const many = await once(address, "GET /1998 HTTP/1.1\nHost: x");
    t.equal(bodyOf(many), "whole");
    t.equal(many.match(/^A\d+: \d+\r$/gm)?.length, 1998);
    const more = await once(address, "GET /2500 HTTP/1.1\nHost: x");
    t.equal(more.match(/^A\d+: \d+\r$/gm)?.length ?? 0, statusOf(more) === 200 ? 2500 : 0);
    t.equal(bodyOf(more) === "whole", statusOf(more) === 200);
    t.ok([200, 502].includes(statusOf(more)), String(statusOf(more)));
  },
);

const REPEATED = [
  "Set-Cookie: a=1; Path=/",
  "set-cookie: a=2",
  "SET-COOKIE: b=3, c",
  "Vary: Accept",
  "Vary: Cookie",
  "WWW-Authenticate: Basic",
  'www-authenticate: Digest realm="x, y"',
  "Age: 1",
  "Age: 2",
  "Content-Type: text/plain",
  "Content-Type: text/html",
  "Location: /a",
  "X-Latin: caf\xe9 \xff",
];
const NAMES = [...new Set(REPEATED.map((line) => line.slice(0, line.indexOf(":")).toLowerCase()))];

void inEveryLane(
  "repeated fields stay repeated and in order, and there is no second Date or Server (reliability 1, 22, 23)",
  async (t) => {
    const date = "Date: Tue, 15 Nov 1994 08:12:31 GMT";
    const { address, server } = await stand(
      t,
      reply(200, "ok", `${date}\r\nServer: theirs\r\n${REPEATED.join("\r\n")}\r\n`),
    );
    const text = await once(address, "GET / HTTP/1.1\nHost: x");
    t.strictSame(linesOf(text, NAMES), REPEATED);
    t.strictSame(linesOf(text, ["date", "server"]), [date, "Server: theirs"]);
    server.script = (socket) => void socket.write(GOOD);
    const bare = await once(address, "GET / HTTP/1.1\nHost: x");
    t.equal(linesOf(bare, ["date"]).length, 1);
    t.strictSame(linesOf(bare, ["server", "x-powered-by"]), []);
  },
);

const STATUS_LINES: readonly (readonly [string, number])[] = [
  ["HTTP/1.1 200 OK", 200],
  ["HTTP/1.1 200 ", 200],
  ["HTTP/1.1 299 Anything goes", 299],
  ["HTTP/1.1 418 I'm a teapot", 418],
  ["HTTP/1.1 451 x", 451],
  ["HTTP/1.1 599 x", 599],
  ["HTTP/1.1 200 caf\xe9", 200],
  ["HTTP/1.0 200 OK", 200],
  ["HTTP/1.1 099 x", 502],
  ["HTTP/1.1 600 x", 502],
  ["HTTP/1.1 999 x", 502],
  ["HTTP/1.1 0200 x", 502],
  ["HTTP/1.1 20 x", 502],
  ["HTTP/1.1 -20 x", 502],
  ["HTTP/1.1 200 OK\r\nA b: c", 502],
  ["HTTP/1.1 200 OK\r\nA : c", 502],
  ["HTTP/1.1 200 OK\r\n: c", 502],
  ["HTTP/1.1 200 OK\r\nA", 502],
  ["HTTP/1.1 200 OK\r\nA\xe9: c", 502],
  ["HTTP/1.1 200 OK\r\nA: \x7f", 502],
  ["HTTP/1.1 200 OK\r\nSet-Cookie: a=\x1b[2J", 502],
  ["HTTP/1.2 200 OK", 502],
  ["HTTP/2 200 OK", 502],
  ["ICY 200 OK", 502],
];

void inEveryLane(
  "a status, a reason or a field that cannot be sent is a 502 from a clean state, and the client's connection goes on (reliability 18)",
  async (t) => {
    const { address, server } = await stand(t, "");
    const client = await raw(address);
    for (const [line, status] of STATUS_LINES) {
      const from = client.received.length;
      server.script = (socket) =>
        void socket.write(`${line}\r\nX-Latin: \xe9\r\nContent-Length: 4\r\n\r\ngood`, "latin1");
      client.send(GET);
      await client.until((text) => /\r\n\r\n(?:good|\{[^}]*\})$/.test(text.slice(from)));
      const text = client.received.slice(from);
      t.equal(statusOf(text), status, JSON.stringify(line));
      if (status !== 502) t.match(text, /X-Latin: \xe9\r\n[^]*\r\n\r\ngood$/, "obs-text survives");
      else t.notMatch(text, /good|X-Latin/);
    }
    for (const byte of ["\0", "\x01", "\x1b", "\x7f", "\r"]) {
      server.script = (socket) =>
        void socket.write(`HTTP/1.1 200 a${byte}b\r\nContent-Length: 4\r\n\r\ngood`, "latin1");
      const text = await once(address, "GET / HTTP/1.1\nHost: x");
      t.match(
        text,
        /^HTTP\/1\.1 (?:200 OK|502 Bad Gateway)\r\n/,
        "a reason is refused, or replaced by the usual one",
      );
    }
    client.destroy();
  },
);

const FRAMINGS = [
  "Content-Length: 4\r\nContent-Length: 4",
  "Content-Length: 4\r\nContent-Length: 5",
  "Content-Length: 4, 4",
  "Content-Length: +4",
  "Content-Length: -1",
  "Content-Length: 0x4",
  "Content-Length: 4 4",
  "Content-Length: ",
  "Content-Length: 9007199254740993",
  "Content-Length: 4\r\nTransfer-Encoding: chunked",
  "Transfer-Encoding: chunked\r\nContent-Length: 4",
  "Transfer-Encoding: chunked, gzip",
  "Transfer-Encoding: gzip, chunked",
  "Transfer-Encoding: identity",
  "Transfer-Encoding: chunked, chunked",
  "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
  "Transfer-Encoding: xchunked",
  "Transfer-Encoding:",
  "Transfer-Encoding : chunked",
  "Content-Length: 4\r\n Transfer-Encoding: chunked",
];

void inEveryLane(
  "an answer whose framing is not one length or just chunked is a 502, whatever stands behind it (reliability 19)",
  async (t) => {
    const { address, running, server } = await stand(t, "");
    for (const framing of FRAMINGS) {
      server.script = (socket) =>
        void socket.write(`HTTP/1.1 200 OK\r\n${framing}\r\n\r\n4\r\nevil\r\n0\r\n\r\n`);
      const text = await once(address, "GET / HTTP/1.1\nHost: x");
      t.equal(statusOf(text), 502, framing);
      t.notMatch(text, /evil/);
    }
    const { counts } = await running.settled((now) => now.settled === FRAMINGS.length);
    t.strictSame(counts, { "stable malformed": FRAMINGS.length });
    t.equal(server.accepted, FRAMINGS.length, "none of their connections was used again");
  },
);

void inEveryLane(
  "a client of HTTP/1.0 gets no chunks and nothing informational (reliability 19, 21)",
  async (t) => {
    const { address } = await stand(
      t,
      "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
    );
    for (const version of ["1.0", "1.1"]) {
      const client = await raw(address);
      client.send(`GET / HTTP/${version}\r\nHost: x\r\nConnection: close\r\n\r\n`);
      const { text } = await client.closed();
      t.equal(text.startsWith("HTTP/1.1 103 "), version === "1.1");
      if (version === "1.0") {
        t.equal(bodyOf(text), "ok");
        t.notMatch(text, /transfer-encoding|trailer|x-sum/i);
      } else t.match(text, /\r\n2\r\nok\r\n0\r\n/);
    }
  },
);

void inEveryLane(
  "HEAD, 204 and 304 have no body and leave the upstream's connection usable; a length stays on HEAD and 304, not on 204 (reliability 19)",
  async (t) => {
    const { address, server } = await stand(t, (socket, seen) => {
      const status = seen.target.slice(1);
      // undici does not trust a connection on which a GET was answered with 304 and a length.
      const length = status === "204" ? 0 : seen.method === "GET" ? undefined : 5;
      const field = length === undefined ? "" : `Content-Length: ${length}\r\n`;
      socket.write(`HTTP/1.1 ${status} X\r\n${field}\r\n`);
    });
    const client = await raw(address);
    const asked = ["HEAD /200", "GET /204", "GET /304", "HEAD /204", "HEAD /304", "HEAD /200", "HEAD /404"];
    for (const [nth, line] of asked.entries()) {
      client.send(`${line} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await client.until((text) => text.split("\r\n\r\n").length === nth + 2);
    }
    const heads = client.received.split("\r\n\r\n").slice(0, -1);
    for (const [nth, line] of asked.entries()) {
      const length = linesOf(`${heads[nth]}\r\n\r\n`, ["content-length"]);
      t.equal(heads[nth]?.slice(9, 12), line.slice(-3), line);
      t.equal(length.length, line.startsWith("HEAD") && !line.endsWith("204") ? 1 : 0, line);
      t.notMatch(heads[nth], /transfer-encoding/i);
    }
    t.equal(server.accepted, 1, "one connection carried them all");
    client.destroy();
    server.script = (socket) => void socket.write("HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n");
    const text = await once(address, "GET / HTTP/1.1\nHost: x");
    t.strictSame(linesOf(text, ["content-length"]), ["Content-Length: 5"]);
    t.equal(bodyOf(text), "");
  },
);

const EXCESS = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

void inEveryLane(
  "bytes behind an answer, with it or later, reach nobody and end the upstream's connection; the answer is whole (reliability 12, 20)",
  async (t) => {
    const answers: readonly (readonly [string, string])[] = [
      ["GET", GOOD],
      ["GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n"],
      ["GET", "HTTP/1.1 204 X\r\n\r\n"],
      ["GET", "HTTP/1.1 304 X\r\nContent-Length: 4\r\n\r\n"],
      ["HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"],
    ];
    const { address, server, running } = await stand(t, "");
    let count = 0;
    for (const [method, answer] of answers) {
      for (const excess of [EXCESS, "x", "good", "\r\n\r\n"]) {
        // To the general lane's parser a lone line end is nothing.
        const mayStay = excess.trim() === "";
        for (const isLater of mayStay ? [false] : [false, true]) {
          let send: () => void = () => undefined;
          server.script = (socket) => {
            socket.write(isLater ? answer : answer + excess);
            send = () => void socket.write(excess);
          };
          const client = await raw(address);
          client.send(`${method} / HTTP/1.1\r\nHost: x\r\n\r\n`);
          await client.until(/\r\n\r\n(?:good|4\r\ngood\r\n0\r\n\r\n|)$/);
          const gone = new Promise<void>((resolve) => (server.onClose = resolve));
          // The proxy has read the answer when the client has.
          if (isLater) send();
          if (server.sockets.size > 0 && !mayStay) await gone;
          server.script = (socket, seen) => void socket.write(reply(200, `next ${mayStay ? 0 : seen.nth}`));
          client.send(GET);
          await client.until(/next 0$/);
          t.notMatch(client.received, /evil/, `${method} ${answer} ${excess} ${isLater}`);
          count += 2;
          client.destroy();
          for (const socket of server.sockets) socket.destroy();
          await running.settled((now) => now.settled === count && server.sockets.size === 0);
        }
      }
    }
    t.strictSame(running.measured().counts, { "stable ok": count });
  },
);

void inEveryLane(
  "102 and 103 are passed on, 101 that nobody asked for is a 502, and what is only informational is none for ever (reliability 21)",
  async (t) => {
    const hints =
      "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
    const good = await stand(t, hints + hints + GOOD);
    const text = await once(good.address, "GET / HTTP/1.1\nHost: x");
    t.match(text, /^HTTP\/1\.1 102 [^]*HTTP\/1\.1 103 [^]*rel=preload[^]*HTTP\/1\.1 200 [^]*good$/);
    const only: readonly (readonly [string, string, boolean, number])[] = [
      ["closed behind a hint", hints, true, 502],
      ["closed behind a 100", "HTTP/1.1 100 Continue\r\n\r\n", true, 502],
      ["silent behind a hint", hints, false, 504],
      ["a 101", "HTTP/1.1 101 X\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", false, 502],
      ["a bare 101", "HTTP/1.1 101 X\r\n\r\n", false, 502],
      ["hints without end", "HTTP/1.1 103 X\r\nLink: </a>\r\n\r\n".repeat(1000), false, 502],
    ];
    for (const [what, bytes, closes, status] of only) {
      const { address, running, server } = await stand(
        t,
        (socket) => {
          socket.write(bytes);
          if (closes) socket.end();
        },
        status === 504 ? { timeouts: { headers: "80ms" } } : {},
      );
      const received = await once(address, "GET / HTTP/1.1\nHost: x");
      t.equal(
        /HTTP\/1\.1 (\d{3}) [^]*\}$/.exec(received.slice(received.lastIndexOf("HTTP/1.1")))?.[1],
        String(status),
        what,
      );
      t.ok((received.match(/HTTP\/1\.1 103/g)?.length ?? 0) < 100, what);
      await running.settled((now) => now.settled === 1);
      await running.settled(() => server.sockets.size === 0);
    }
  },
);

void inEveryLane(
  "a stray 100 is dropped, wherever its bytes part, and an answer of another protocol is malformed (reliability 5, 21)",
  async (t) => {
    const stray = "HTTP/1.1 100 Continue\r\nX: y\r\n\r\n";
    const hint = "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n";
    let parts: readonly string[] = [];
    const { address, running, server } = await stand(t, (socket) => {
      for (const [nth, part] of parts.entries()) setTimeout(() => socket.write(part), nth * 10);
    });
    const ask = async (version: string): Promise<string> => {
      const text = await once(address, `GET / HTTP/${version}\nHost: x`);
      t.notMatch(text, /100 Continue/);
      return text;
    };
    const both = `${stray}${hint}${stray}${GOOD}`;
    const [inName, inEnd] = [both.indexOf("100") + 1, stray.length - 1];
    for (const version of ["1.1", "1.0"])
      for (const cut of [0, 3, inName, inEnd, stray.length, stray.length + hint.length + 5]) {
        parts = [both.slice(0, cut), both.slice(cut)].filter((part) => part !== "");
        t.match(await ask(version), /HTTP\/1\.1 200 [^]*good$/, `to HTTP/${version}, cut at ${cut}`);
      }
    t.match(await ask("1.1"), /^HTTP\/1\.1 103 [^]*HTTP\/1\.1 200 /);
    const strays = { "stable ok": 13 };
    t.strictSame((await running.settled((now) => now.settled === 13)).counts, strays);
    // One for each lane: HTTP/1.0 is served in the general one.
    t.ok(server.accepted <= 2, "none of them is a reason to end a connection");
    for (const [what, bytes] of [
      ["strays without end", stray.repeat(1000)],
      ["RTSP", "RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
      ["ICE", "ICE/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
      ["RTSP behind a 100", `${stray}RTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n`],
      ["RTSP behind an empty line", "\r\nRTSP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
      ["another version", "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n"],
    ] as const) {
      parts = [bytes];
      t.match(await ask("1.1"), /^HTTP\/1\.1 502 /, what);
    }
    t.strictSame((await running.settled((now) => now.settled === 19)).counts, {
      ...strays,
      "stable malformed": 6,
    });
  },
);

void inEveryLane(
  "a head is sent when it comes, and so is each piece of a body, however it is framed (reliability 22)",
  async (t) => {
    let upper: Socket | undefined;
    const { address } = await stand(t, (socket, seen) => {
      upper = socket;
      const framing = { "/length": "Content-Length: 3\r\n", "/chunked": "Transfer-Encoding: chunked\r\n" }[
        seen.target
      ];
      socket.write(`HTTP/1.1 200 OK\r\n${framing ?? "Connection: close\r\n"}\r\n`);
    });
    for (const target of ["/length", "/chunked", "/close"]) {
      const client = await raw(address);
      client.send(`GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n`);
      await client.until(/\r\n\r\n$/);
      for (const piece of ["a", "b", "c"]) {
        upper?.write(target === "/chunked" ? `1\r\n${piece}\r\n` : piece);
        await client.until(new RegExp(`${piece}(?:\\r\\n)?$`));
      }
      client.destroy();
    }
    t.pass("each came before the next was sent");
  },
);
