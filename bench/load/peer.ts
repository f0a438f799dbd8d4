/**
 * The other Node proxies, each as its documentation shows it, with connections to the upstream kept alive: `peer.ts NAME PORT UPSTREAM`.
 * One process runs one of them. It lives until its parent goes away.
 */

import { Agent, createServer } from "node:http";

const [name = "", portText = "", upstreamPort = ""] = process.argv.slice(2);
const port = Number(portText);
const upstream = `http://127.0.0.1:${upstreamPort}`;
const CONNECTIONS = 256;

async function httpProxy3(): Promise<void> {
  const { createProxyServer } = await import("http-proxy-3");
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const proxy = createProxyServer({ target: upstream, agent, xfwd: true });
  proxy.on("error", (_error, _request, response) => response.destroy());
  createServer((request, response) => {
    proxy.web(request, response);
  }).listen(port, "127.0.0.1");
}

async function replyFrom(): Promise<void> {
  const { fastify } = await import("fastify");
  const { fastifyReplyFrom } = await import("@fastify/reply-from");
  const server = fastify({ logger: false });
  await server.register(fastifyReplyFrom, { base: upstream, undici: { connections: CONNECTIONS } });
  server.all("/*", (request, reply) => reply.from(request.url));
  await server.listen({ port, host: "127.0.0.1" });
}

async function fastProxy(): Promise<void> {
  const { default: create } = await import("fast-proxy");
  const peer = create({ base: upstream, maxSockets: CONNECTIONS });
  createServer((request, response) => peer.proxy(request, response, request.url ?? "/", {})).listen(
    port,
    "127.0.0.1",
  );
}

const PEERS: Readonly<Record<string, () => Promise<void>>> = {
  "http-proxy-3": httpProxy3,
  "@fastify/reply-from": replyFrom,
  "fast-proxy": fastProxy,
};

const start = PEERS[name];
if (start === undefined) throw new Error(`no such proxy: ${name}`);
process.stdin.resume().on("end", () => process.exit(0));
await start();
