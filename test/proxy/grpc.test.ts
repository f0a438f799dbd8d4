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
import t from "tap";
import { clock } from "../../src/platform.ts";
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
