/**
 * The other Node proxies, each as its documentation shows it, with connections to the upstream kept alive:
 * `peer.ts NAME PORT UPSTREAM [CERT KEY]`. One process runs one of them. It lives until its parent goes away.
 */

import { readFileSync } from "node:fs";
import { Agent, createServer, type RequestListener } from "node:http";
import { createServer as createSecureServer } from "node:https";

const [name = "", portText = "", upstreamPort = "", certPath = "", keyPath = ""] = process.argv.slice(2);
const port = Number(portText);
const upstream = `http://127.0.0.1:${upstreamPort}`;
const CONNECTIONS = 256;
/** Node closes idle clients after five seconds; nobody else here does so before 75. */
const keepAliveTimeout = 75_000;
const tls =
  certPath === "" ? undefined : { cert: readFileSync(certPath, "utf8"), key: readFileSync(keyPath, "utf8") };

function listen(listener: RequestListener): void {
  const server =
    tls === undefined
      ? createServer({ keepAliveTimeout }, listener)
      : createSecureServer({ ...tls, keepAliveTimeout }, listener);
  server.listen({ port, host: "127.0.0.1", backlog: 4096 });
}

async function httpProxy3(): Promise<void> {
  const { createProxyServer } = await import("http-proxy-3");
  const agent = new Agent({ keepAlive: true, maxSockets: CONNECTIONS });
  const proxy = createProxyServer({ target: upstream, agent, xfwd: true });
  proxy.on("error", (_error, _request, response) => response.destroy());
  listen((request, response) => {
    proxy.web(request, response);
  });
}

async function replyFrom(): Promise<void> {
  const { fastify } = await import("fastify");
  const { fastifyReplyFrom } = await import("@fastify/reply-from");
  const server = fastify({
    logger: false,
    keepAliveTimeout,
    bodyLimit: 16 * 1024 * 1024,
    https: tls ?? null,
  });
  // A body of any type passes as the stream it is, as the documentation says for proxies.
  server.removeAllContentTypeParsers();
  server.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
  await server.register(fastifyReplyFrom, { base: upstream, undici: { connections: CONNECTIONS } });
  server.all("/*", (request, reply) => reply.from(request.url));
  await server.listen({ port, host: "127.0.0.1", backlog: 4096 });
}

async function fastProxy(): Promise<void> {
  const { default: create } = await import("fast-proxy");
  const peer = create({ base: upstream, maxSockets: CONNECTIONS });
  listen((request, response) => peer.proxy(request, response, request.url ?? "/", {}));
}

const PEERS: Readonly<Record<string, () => Promise<void>>> = {
  "http-proxy-3": httpProxy3,
  "@fastify/reply-from": replyFrom,
  "fast-proxy": fastProxy,
};

const begin = PEERS[name];
if (begin === undefined) throw new Error(`no such proxy: ${name}`);
process.stdin.resume().on("end", () => process.exit(0));
await begin();
