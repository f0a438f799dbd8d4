/** gRPC through both sides: streams in both directions at once, metadata, status, cancellation, time (reliability.md 50; acceptance 18). */

import type { ClientHttp2Stream, ServerHttp2Stream } from "node:http2";
import t from "tap";
import { answerOn, client2, type Answer2 } from "../support/h2.ts";
import {
  frameUpstream,
  goaway,
  HEADERS,
  http2Upstream,
  type Http2Upstream,
  type StreamScript,
} from "../support/h2-upstream.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";

const FIELDS = { "content-type": "application/grpc", te: "trailers", "grpc-timeout": "5S" };
const HEAD = { ":status": 200, "content-type": "application/grpc" };

async function pair(
  script: StreamScript,
  top: object = {},
): Promise<{ readonly server: Http2Upstream; readonly running: TestPlane }> {
  const server = await http2Upstream(script);
  return { server, running: await startPlane({ stable: server.url, canary: server.url }, {}, top) };
}

function message(text: string): Buffer {
  const head = Buffer.alloc(5);
  head.writeUInt32BE(text.length, 1);
  return Buffer.concat([head, Buffer.from(text)]);
}

/** Resolves with what has come once it ends so. */
function until(stream: ClientHttp2Stream | ServerHttp2Stream, end: string): Promise<void> {
  let all = "";
  return new Promise((resolve) => {
    const look = (chunk: Buffer): void => {
      all += chunk.toString();
      if (!all.endsWith(end)) return;
      stream.off("data", look);
      resolve();
    };
    stream.on("data", look);
  });
}

function finish(stream: ServerHttp2Stream, trailers: Record<string, string | string[]>): void {
  stream.on("wantTrailers", () => stream.sendTrailers(trailers));
  stream.end();
}

void t.test(
  "messages go both ways at once, and a client that is quiet is not cut (reliability 50)",
  async (t) => {
    const { server, running } = await pair(
      (stream, seen) => {
        if (seen.target !== "/upload") stream.respond(HEAD, { waitForTrailers: true });
      },
      { limits: { bodyIdle: "50ms" } },
    );
    const client = client2(running.address);
    const stream = client.open("POST", "/app.Chat/Talk", FIELDS);
    const answer: Promise<Answer2> = answerOn(stream);
    await running.settled(() => server.requests.length === 1);
    // The upstream has it.
    const upstream = server.requests[0]!.stream;
    for (let nth = 0; nth < 5; nth++) {
      const asked = until(upstream, `ask ${nth}`);
      const told = until(stream, `tell ${nth}`);
      stream.write(message(`ask ${nth}`));
      await asked;
      upstream.write(message(`tell ${nth}`));
      await told;
    }
    // Another body is cut when it pauses for so long.
    const other = client.open("POST", "/upload");
    const refused = answerOn(other);
    other.write("half");
    t.equal((await refused).status, 408);
    const heard = until(stream, "still here");
    upstream.write(message("still here"));
    await heard;
    stream.end(message("bye"));
    finish(upstream, { "grpc-status": "0", "grpc-message": "fine" });
    const { trailers, status, code } = await answer;
    t.strictSame([status, code, trailers], [200, 0, ["grpc-status", "0", "grpc-message", "fine"]]);
    t.equal(server.requests[0]?.field("te"), "trailers");
    t.equal(server.requests[0]?.field("grpc-timeout"), "5S");
    t.strictSame((await running.settled((now) => now.settled === 2)).counts, {
      "stable ok": 1,
      "stable refused": 1,
    });
    client.close();
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "trailers come as they were sent, whatever they are called; without a body they are the head (reliability 50)",
  async (t) => {
    const metadata = {
      "grpc-status": "3",
      "grpc-message": "h%C3%A9",
      "app-bin": ["AAEC", "AwQF"],
      date: "of the app",
      location: "somewhere",
      authorization: "x",
    };
    const { server, running } = await pair((stream, seen) => {
      if (seen.target === "/only") stream.respond({ ...HEAD, ...metadata }, { endStream: true });
      else {
        stream.respond(HEAD, { waitForTrailers: true });
        stream.write(message("part"));
        finish(stream, metadata);
      }
    });
    const client = client2(running.address);
    const list = ["grpc-status", "3", "grpc-message", "h%C3%A9", "app-bin", "AAEC", "app-bin", "AwQF"];
    const rest = ["date", "of the app", "location", "somewhere", "authorization", "x"];
    const full = await client.ask("POST", "/full", FIELDS, message("ask"));
    t.strictSame(full.trailers, [...list, ...rest]);
    t.strictSame(full.body, message("part"));
    const only = await client.ask("POST", "/only", FIELDS, message("ask"));
    t.match(only.fields.join("|"), list.join("|"));
    t.strictSame(only.trailers, []);
    t.strictSame((await running.settled((now) => now.settled === 2)).counts, { "stable ok": 2 });
    client.close();
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "a call that the client cancels is cancelled upstream at once, and counts against nobody (reliability 31, 50)",
  async (t) => {
    const { server, running } = await pair((stream) => stream.respond(HEAD, { waitForTrailers: true }));
    const client = client2(running.address);
    const stream = client.open("POST", "/app.Chat/Talk", FIELDS);
    stream.write(message("ask"));
    await running.settled(() => server.requests.length === 1);
    stream.close(8);
    await running.settled(() => server.requests[0]?.stream.destroyed === true);
    t.equal(server.requests[0]?.stream.rstCode, 8);
    t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "stable client_gone": 1 });
    client.close();
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "calls survive an upstream that goes away in order: what runs ends there, what comes goes elsewhere (reliability 13)",
  async (t) => {
    const { server, running } = await pair((stream, seen) => {
      stream.respond(HEAD, { waitForTrailers: true });
      const end = (): void => finish(stream, { "grpc-status": "0" });
      if (seen.target === "/long") held.push(end);
      else end();
      stream.resume();
    });
    const held: (() => void)[] = [];
    const client = client2(running.address);
    const long = client.ask("POST", "/long", FIELDS, message("ask"));
    await running.settled(() => held.length === 1);
    for (let round = 0; round < 5; round++) {
      for (const session of server.sessions) session.close();
      const calls = Array.from({ length: 20 }, () => client.ask("POST", "/short", FIELDS, message("ask")));
      for (const { trailers } of await Promise.all(calls)) t.strictSame(trailers, ["grpc-status", "0"]);
    }
    held[0]?.();
    t.strictSame((await long).trailers, ["grpc-status", "0"]);
    t.strictSame((await running.settled((now) => now.settled === 101)).counts, { "stable ok": 101 });
    client.close();
    await running.plane.close();
    await server.close();
  },
);

void t.test(
  "a call that every connection refuses is UNAVAILABLE to the client, and a failure of the arm (reliability 50)",
  async (t) => {
    const server = await frameUpstream((connection, { type }) => {
      if (type === HEADERS) connection.send(goaway(0, 0));
    });
    const running = await startPlane({ stable: server.url, canary: server.url });
    const client = client2(running.address);
    const { status, fields } = await client.ask("POST", "/app.Chat/Talk", FIELDS, message("ask"));
    t.equal(status, 200);
    t.match(fields.join("|"), "grpc-status|14");
    t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "stable reset": 1 });
    client.close();
    await running.plane.close();
    await server.close();
  },
);
