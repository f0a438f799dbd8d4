/** gRPC through the proxy with the real client and server: every kind of call, cancellation, deadline, and what each counts as (reliability.md I50; acceptance 18). */

import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  status,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServerUnaryCall,
  type ServerWritableStream,
  type ServiceError,
  type sendUnaryData,
} from "@grpc/grpc-js";
import { once } from "node:events";
import { constants } from "node:http2";
import t from "tap";
import { millis } from "../../src/domain/units.ts";
import { clock } from "../../src/platform.ts";
import { client2 } from "../support/h2.ts";
import { http2Upstream, type SeenStream } from "../support/h2-upstream.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { NOBODY } from "../support/upstream.ts";

const text = {
  to: (value: string): Buffer => Buffer.from(value),
  from: (bytes: Buffer): string => bytes.toString(),
};
const forms = {
  requestSerialize: text.to,
  requestDeserialize: text.from,
  responseSerialize: text.to,
  responseDeserialize: text.from,
};
const method = (name: string, requestStream: boolean, responseStream: boolean) => ({
  path: `/test.Echo/${name}`,
  requestStream,
  responseStream,
  ...forms,
});
const SERVICE = {
  one: method("one", false, false),
  up: method("up", true, false),
  down: method("down", false, true),
  both: method("both", true, true),
};

/** A service that tells of each cancelled call. */
interface Service {
  readonly url: string;
  readonly cancelled: Promise<void>;
  close(): void;
}

async function service(): Promise<Service> {
  const server = new Server();
  let told: () => void = () => undefined;
  const cancelled = new Promise<void>((resolve) => (told = resolve));
  server.addService(SERVICE, {
    one(call: ServerUnaryCall<string, string>, done: sendUnaryData<string>) {
      call.on("cancelled", () => told());
      const trailer = new Metadata();
      trailer.set("x-trailer", "end");
      trailer.set("x-raw-bin", Buffer.from([0, 255]));
      const head = new Metadata();
      head.set("x-head", call.metadata.get("x-ask").join());
      if (call.request.startsWith("code ")) {
        const code = Number(call.request.slice(5));
        return done({ code, details: `code ${code}, wörtlich`, metadata: trailer });
      }
      if (call.request === "never") return undefined;
      call.sendMetadata(head);
      return done(null, `echo ${call.request}`, trailer);
    },
    up(call: ServerReadableStream<string, string>, done: sendUnaryData<string>) {
      const seen: string[] = [];
      call.on("data", (each: string) => seen.push(each));
      call.on("end", () => done(null, seen.join("+")));
    },
    down(call: ServerWritableStream<string, string>) {
      call.on("cancelled", () => told());
      for (let nth = 0; nth < 3; nth++) call.write(`${call.request} ${nth}`);
      if (call.request !== "open") call.end();
    },
    both(call: ServerDuplexStream<string, string>) {
      call.on("cancelled", () => told());
      call.on("data", (each: string) => call.write(`echo ${each}`));
      call.on("end", () => call.end());
    },
  });
  const port = await new Promise<number>((resolve, reject) =>
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    ),
  );
  return { url: `h2c://127.0.0.1:${port}`, cancelled, close: () => server.forceShutdown() };
}

interface Site {
  readonly running: TestPlane;
  readonly service: Service;
  readonly client: Client;
  unary(
    request: string,
    metadata?: Metadata,
    deadlineMs?: number,
  ): Promise<{
    readonly error: ServiceError | null;
    readonly value: string | undefined;
    readonly head: Metadata | undefined;
    readonly trailer: Metadata | undefined;
  }>;
  close(): Promise<void>;
}

async function site(endpoint?: string): Promise<Site> {
  const echo = await service();
  const url = endpoint ?? echo.url;
  const running = await startPlane({ stable: url, canary: url }, { anonymous: "random" });
  running.weight(100);
  const client = new Client(running.address, credentials.createInsecure());
  return {
    running,
    service: echo,
    client,
    unary: (request, metadata = new Metadata(), deadlineMs) =>
      new Promise((resolve) => {
        metadata.set("x-user", "u");
        let head: Metadata | undefined;
        let trailer: Metadata | undefined;
        let result: { readonly error: ServiceError | null; readonly value: string | undefined } | undefined;
        const tell = (): void => {
          if (result !== undefined && trailer !== undefined) resolve({ ...result, head, trailer });
        };
        const call = client.makeUnaryRequest(
          SERVICE.one.path,
          text.to,
          text.from,
          request,
          metadata,
          deadlineMs === undefined ? {} : { deadline: new Date(clock.wall() + deadlineMs) },
          (error, value) => {
            result = { error, value };
            tell();
          },
        );
        call.on("metadata", (each: Metadata) => (head = each));
        call.on("status", (each: { readonly metadata: Metadata }) => {
          trailer = each.metadata;
          tell();
        });
      }),
    async close() {
      client.close();
      echo.close();
      await running.plane.close();
    },
  };
}

t.test("a unary call arrives with its metadata both ways (reliability 50)", async (t) => {
  const s = await site();
  const metadata = new Metadata();
  metadata.set("x-ask", "why");
  const got = await s.unary("hello", metadata);
  t.equal(got.error, null);
  t.equal(got.value, "echo hello");
  t.strictSame(got.head?.get("x-head"), ["why"]);
  t.strictSame(got.trailer?.get("x-trailer"), ["end"]);
  t.strictSame(got.trailer?.get("x-raw-bin"), [Buffer.from([0, 255])]);
  t.match(await s.running.settled((now) => now.settled === 1), { counts: { "canary ok": 1 } });
  await s.close();
});

t.test("streams go both ways, message by message (reliability 50)", async (t) => {
  const s = await site();
  const up = await new Promise((resolve) => {
    const call = s.client.makeClientStreamRequest(SERVICE.up.path, text.to, text.from, (_error, value) =>
      resolve(value),
    );
    for (const each of ["a", "b", "c"]) call.write(each);
    call.end();
  });
  t.equal(up, "a+b+c");
  const down: string[] = [];
  const call = s.client.makeServerStreamRequest(SERVICE.down.path, text.to, text.from, "n");
  call.on("data", (each: string) => down.push(each));
  await once(call, "end");
  t.strictSame(down, ["n 0", "n 1", "n 2"]);
  const both = s.client.makeBidiStreamRequest(SERVICE.both.path, text.to, text.from);
  for (const each of ["one", "two"]) {
    both.write(each);
    // The answer to a message comes while the request is still open.
    const [answer] = (await once(both, "data")) as [string];
    t.equal(answer, `echo ${each}`);
  }
  both.end();
  both.resume();
  const [ended] = (await once(both, "status")) as [{ readonly code: number }];
  t.equal(ended.code, status.OK);
  t.match(await s.running.settled((now) => now.settled === 3), { counts: { "canary ok": 3 } });
  await s.close();
});

t.test(
  "a cancelled call is cancelled at the server at once, and is nobody's failure (reliability 31, 50)",
  async (t) => {
    const s = await site();
    const call = s.client.makeServerStreamRequest(SERVICE.down.path, text.to, text.from, "open");
    call.on("error", () => undefined);
    await once(call, "data");
    call.cancel();
    await s.service.cancelled;
    t.match(await s.running.settled((now) => now.settled === 1), { counts: { "canary client_gone": 1 } });
    await s.close();
  },
);

t.test("a deadline ends the call at the client and at the server (reliability 50)", async (t) => {
  const s = await site();
  const got = await s.unary("never", undefined, 200);
  t.equal(got.error?.code, status.DEADLINE_EXCEEDED);
  await s.service.cancelled;
  await s.close();
});

t.test(
  "a failed call has HTTP 200, and its status is what counts (acceptance 18; reliability 33, 50)",
  async (t) => {
    const s = await site();
    for (const code of [status.NOT_FOUND, status.INVALID_ARGUMENT, status.UNAVAILABLE, status.INTERNAL]) {
      const got = await s.unary(`code ${code}`);
      t.equal(got.error?.code, code);
      t.equal(got.error?.details, `code ${code}, wörtlich`);
      t.strictSame(got.error?.metadata.get("x-trailer"), ["end"]);
    }
    t.match(await s.running.settled((now) => now.settled === 4), {
      counts: { "canary ok": 2, "canary grpc": 2 },
    });
    await s.close();
  },
);

t.test("what the proxy itself cannot do is told as a gRPC status (reliability 50)", async (t) => {
  const s = await site(NOBODY.replace("http:", "h2c:"));
  const got = await s.unary("hello");
  t.equal(got.error?.code, status.UNAVAILABLE);
  t.match(got.error?.details, /no connection/);
  t.match(await s.running.settled((now) => now.settled === 1), { counts: { "canary connect": 1 } });
  await s.close();
});

t.test("two hundred calls at the same time share a few connections (reliability 25, 50)", async (t) => {
  const s = await site();
  const all = await Promise.all(Array.from({ length: 200 }, (_, nth) => s.unary(String(nth))));
  t.ok(all.every(({ error, value }, nth) => error === null && value === `echo ${nth}`));
  await s.running.settled((now) => now.settled === 200);
  await s.close();
});

/** What a client says of its deadline, how long it has waited when it leaves, whether the answer has begun, and what that is. */
const LEAVES: readonly (readonly [string, number, boolean, string])[] = [
  ["200m", 200, false, "timeout"],
  ["200m", 200, true, "timeout"],
  ["200m", 150, false, "client_gone"],
  ["99m", 500, false, "client_gone"],
  ["never", 500, false, "client_gone"],
];

t.test(
  "an arm that hangs until its clients' deadlines have passed has failed, and a client that leaves before has left (reliability 33, 50)",
  async (t) => {
    const server = await http2Upstream(() => undefined);
    const running = await startPlane({ stable: server.url, canary: server.url });
    running.weight(100);
    for (const how of ["reset", "loss"] as const) {
      for (const [timeout, waited, hasBegun, reason] of LEAVES) {
        const before = running.measured().counts[`canary ${reason}`] ?? 0;
        const client = client2(running.address);
        const stream = client.open("POST", "/a.B/C", {
          "x-user": "u",
          "content-type": "application/grpc",
          te: "trailers",
          "grpc-timeout": timeout,
        });
        const arrived = new Promise<SeenStream>((resolve) => {
          server.script = (_stream, seen) => resolve(seen);
        });
        stream.end(Buffer.alloc(5));
        const seen = await arrived;
        await seen.body();
        if (hasBegun) {
          const begun = once(stream, "response");
          seen.stream.respond({ ":status": 200, "content-type": "application/grpc" });
          await begun;
        }
        running.advance(waited);
        if (how === "reset") stream.close(constants.NGHTTP2_CANCEL);
        else client.close();
        const { counts } = await running.settled((now) => (now.counts[`canary ${reason}`] ?? 0) > before);
        t.equal(counts[`canary ${reason}`], before + 1, `${how} ${timeout} ${waited}`);
        client.close();
      }
    }
    t.strictSame(running.measured().counts, { "canary timeout": 4, "canary client_gone": 6 });
    await running.plane.close();
    await server.close();
  },
);

t.test(
  "a deadline is no failure where DEADLINE_EXCEEDED is none (reliability 33, 50; acceptance 18)",
  async (t) => {
    const server = await http2Upstream(() => undefined);
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      { grpc: { failing: ["INTERNAL"] } },
    );
    const client = client2(running.address);
    const arrived = new Promise<SeenStream>((resolve) => {
      server.script = (_stream, seen) => resolve(seen);
    });
    const stream = client.open("POST", "/", { "content-type": "application/grpc", "grpc-timeout": "1S" });
    stream.end(Buffer.alloc(5));
    await (await arrived).body();
    running.advance(2000);
    stream.close(constants.NGHTTP2_CANCEL);
    t.strictSame((await running.settled((now) => now.settled === 1)).counts, { "stable client_gone": 1 });
    client.close();
    await running.plane.close();
    await server.close();
  },
);

t.test(
  "a stream that a rollback or a drain ends has a status that its client may try again behind (reliability 48, 50)",
  async (t) => {
    const s = await site();
    const statuses: Promise<unknown>[] = [];
    const open = async (): Promise<void> => {
      const call = s.client.makeServerStreamRequest(SERVICE.down.path, text.to, text.from, "open");
      call.on("error", () => undefined);
      statuses.push(new Promise((resolve) => call.once("status", resolve)));
      await once(call, "data");
      call.resume();
    };
    const leaving = { code: status.UNAVAILABLE, details: "this replica is going away" };
    await open();
    s.running.plane.closeLongLived("app", "close", millis(0));
    t.match(await statuses[0], leaving);
    await open();
    t.match(await s.running.plane.retire(millis(100)), { cut: 1 });
    t.match(await statuses[1], leaving);
    t.strictSame(s.running.measured().counts, { "canary unavailable": 2 });
    await s.close();
  },
);
