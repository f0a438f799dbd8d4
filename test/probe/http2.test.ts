/** Probes of endpoints that speak HTTP/2 and nothing else. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import t from "tap";
import { configSchema } from "../../src/config/schema.ts";
import { millis } from "../../src/domain/units.ts";
import { probeAgents, probeOnce, type Finding } from "../../src/probe/endpoint.ts";
import { createProbes } from "../../src/probe/health.ts";
import { fakeClock } from "../support/clock.ts";
import {
  answer,
  DATA,
  frame,
  frameUpstream,
  goaway,
  HEADERS,
  headers,
  http2Upstream,
  reset,
} from "../support/h2-upstream.ts";
import { quietLog } from "../support/silence.ts";
import { reply, upstream } from "../support/upstream.ts";

const FOLDER = join(import.meta.dirname, "../golden/tls");
const tls = {
  cert: readFileSync(join(FOLDER, "cert.pem"), "utf8"),
  key: readFileSync(join(FOLDER, "key.pem"), "utf8"),
};
const agents = probeAgents();

function probe(url: string, path: string | undefined = "/healthz", timeoutMs = 2000): Promise<Finding> {
  const target = { url, isHttp2: true, path, timeoutMs: millis(timeoutMs) };
  return probeOnce(target, agents, new AbortController().signal);
}

void t.test("a probe asks in HTTP/2, on a connection of its own, and 200 to 399 is well", async (t) => {
  const server = await http2Upstream(answer(200, "fine"));
  t.equal(await probe(server.url), "");
  t.equal(await probe(server.url.replace("h2c:", "http:")), "");
  t.equal(await probe(server.url, undefined), "");
  const [seen] = server.requests;
  t.strictSame([seen?.method, seen?.target, seen?.field(":scheme")], ["GET", "/healthz", "http"]);
  t.equal(`h2c://${seen?.field(":authority")}`, server.url);
  server.script = answer(302);
  t.equal(await probe(server.url), "");
  server.script = answer(503, "no");
  t.equal(await probe(server.url), "status 503");
  server.script = answer(200, "x".repeat(300_000));
  t.equal(await probe(server.url), "");
  server.script = () => undefined;
  t.equal(await probe(server.url, "/healthz", 100), "no answer within 100 ms");
  await server.close();
});

void t.test("over TLS it asks by ALPN, and of whom it trusts", async (t) => {
  const before = getCACertificates("default");
  const server = await http2Upstream(answer(200), { tls });
  t.match(await probe(server.url), /SELF_SIGNED|UNABLE_TO_VERIFY/);
  setDefaultCACertificates([...before, tls.cert]);
  t.equal(await probe(server.url), "");
  setDefaultCACertificates(before);
  await server.close();
});

void t.test("whatever else an endpoint says is a finding, and never a hang or a throw", async (t) => {
  const http1 = await upstream(reply(400));
  t.match(await probe(http1.url), /./);
  await http1.close();
  const server = await frameUpstream(() => undefined);
  const head = (stream: number): Buffer => headers(stream, [[":status", "200"]]);
  for (const [does, bytes] of [
    ["reset", (stream: number) => reset(stream, 2)],
    ["goes away", () => goaway(0, 0)],
    ["goes away angrily", () => goaway(0, 2)],
    ["cut", (stream: number) => Buffer.concat([head(stream), frame(DATA, 0, stream, "x"), reset(stream, 2)])],
    ["noise", () => Buffer.from("HTTP/1.1 200 OK\r\n\r\n".repeat(9))],
  ] as const) {
    server.script = (connection, { type, stream }) => {
      if (type === HEADERS) connection.send(bytes(stream));
    };
    t.match(await probe(server.url), /./, does);
  }
  server.script = ({ socket }) => void socket.destroy();
  t.match(await probe(server.url), /./);
  await server.close();
  t.equal(await probe("h2c://127.0.0.1:1"), "ECONNREFUSED");
});

void t.test("endpoints are probed in HTTP/2 by scheme or protocol, and anew when that changes", async (t) => {
  const server = await http2Upstream(answer(200));
  const configOf = (url: string, protocol: string) =>
    configSchema.parse({
      routes: [
        {
          name: "app",
          stable: { endpoints: [url], protocol },
          canary: { endpoints: [server.url] },
          health: { path: "/healthz", interval: "10s", unhealthyAfter: 1, healthyAfter: 1 },
        },
      ],
    });
  const clock = fakeClock();
  const plain = server.url.replace("h2c:", "http:");
  const probes = createProbes({ config: configOf(plain, "auto"), clock, log: quietLog() });
  await clock.advance("1s");
  t.equal(probes.health("app", "stable")[0]?.healthy, false);
  probes.reconfigure(configOf(plain, "http2"));
  await clock.advance("1s");
  t.equal(probes.health("app", "stable")[0]?.healthy, true);
  t.equal(probes.healthy("app", "stable", plain), true);
  t.equal(probes.health("app", "canary")[0]?.healthy, true);
  probes.close();
  await server.close();
});
