/**
 * Who is compared: how each proxy is configured and started in front of one upstream. All of them keep their connections to the
 * upstream alive, add X-Forwarded-For where they can, write no access log and use one process on one core. This proxy, nginx and
 * HAProxy split between two arms; here both arms are the same upstream.
 */

import { writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { spawnSync } from "node:child_process";

const ROOT = resolve(import.meta.dirname, "../..");

/** Where a proxy is to stand. */
export interface Place {
  /** An empty folder for its files. */
  readonly folder: string;
  /** Port to listen on, on 127.0.0.1. */
  readonly port: number;
  /** A second free port, for its admin interface. */
  readonly adminPort: number;
  readonly upstreamPort: number;
}

/** One proxy to compare. */
export interface Proxy {
  readonly name: string;
  /** `self`, `native` (another runtime) or `node` (a Node library in a process of its own). */
  readonly kind: "self" | "native" | "node";
  /** Writes what it needs and returns the command that runs it in the foreground. */
  command(place: Place): readonly string[];
  /** Run once when it answers; throws when the proxy did not do as told. */
  prepare?(place: Place): void;
  /** Name of the program it needs; without it on the machine the proxy is skipped by name. */
  readonly needs?: string;
}

const sluiceConfig = (place: Place): string => `
listen: [{ address: "127.0.0.1:${String(place.port)}" }]
admin: { address: "127.0.0.1:${String(place.adminPort)}" }
state: file:${join(place.folder, "state")}
reports: ${join(place.folder, "reports")}
environment: bench
routes:
  - name: app
    stable: { endpoints: ["http://127.0.0.1:${String(place.upstreamPort)}"] }
    canary: { endpoints: ["http://127.0.0.1:${String(place.upstreamPort)}"] }
    key: [cookie:sid]
    anonymous: stable
`;

const nginxConfig = (place: Place): string => `
daemon off; worker_processes 1; pid ${join(place.folder, "nginx.pid")}; error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 75s;
  client_body_temp_path ${join(place.folder, "body")}; proxy_temp_path ${join(place.folder, "proxy")};
  fastcgi_temp_path ${join(place.folder, "fastcgi")}; uwsgi_temp_path ${join(place.folder, "uwsgi")}; scgi_temp_path ${join(place.folder, "scgi")};
  upstream stable { server 127.0.0.1:${String(place.upstreamPort)}; keepalive 256; keepalive_requests 1000000000; }
  upstream canary { server 127.0.0.1:${String(place.upstreamPort)}; keepalive 256; keepalive_requests 1000000000; }
  split_clients "\${cookie_sid}" $arm { 50% canary; * stable; }
  server {
    listen 127.0.0.1:${String(place.port)};
    location / {
      proxy_pass http://$arm; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }
  }
}
`;

const haproxyConfig = (place: Place): string => `
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  option forwardfor
  http-reuse always
  timeout connect 2s
  timeout client 75s
  timeout server 60s
frontend in
  bind 127.0.0.1:${String(place.port)}
  default_backend arms
backend arms
  balance hdr(Cookie)
  hash-type consistent
  server stable 127.0.0.1:${String(place.upstreamPort)} weight 128 pool-max-conn 256
  server canary 127.0.0.1:${String(place.upstreamPort)} weight 128 pool-max-conn 256
`;

/** Writes `text` beside the proxy's other files and returns its path. */
function written(place: Place, name: string, text: string): string {
  const path = join(place.folder, name);
  writeFileSync(path, text);
  return path;
}

/** A Node library, run by `peer.ts`. */
function nodePeer(name: string): Proxy {
  return {
    name,
    kind: "node",
    command: (place) => [
      process.execPath,
      join(ROOT, "bench/load/peer.ts"),
      name,
      String(place.port),
      String(place.upstreamPort),
    ],
  };
}

/** This proxy's command line against the running one. */
function sluice(place: Place, ...args: readonly string[]): void {
  const done = spawnSync(
    process.execPath,
    [
      join(ROOT, "src/sluice.js"),
      ...args,
      "--admin",
      `http://127.0.0.1:${String(place.adminPort)}`,
      "--state",
      join(place.folder, "state"),
    ],
    { encoding: "utf8", timeout: 20_000, stdio: ["ignore", "pipe", "pipe"] },
  );
  if (done.status !== 0) throw new Error(`sluice ${args.join(" ")}: ${done.stderr || done.stdout}`);
}

/** Everyone who is compared, this proxy first. */
export const PROXIES: readonly Proxy[] = [
  {
    name: "sluice",
    kind: "self",
    command: (place) => [
      process.execPath,
      join(ROOT, "src/sluice.js"),
      "run",
      "-c",
      written(place, "sluice.yaml", sluiceConfig(place)),
    ],
    prepare: (place) => sluice(place, "set-weight", "app", "50%", "--yes"),
  },
  {
    name: "nginx",
    kind: "native",
    needs: "nginx",
    command: (place) => ["nginx", "-p", place.folder, "-c", written(place, "nginx.conf", nginxConfig(place))],
  },
  {
    name: "haproxy",
    kind: "native",
    needs: "haproxy",
    command: (place) => ["haproxy", "-db", "-f", written(place, "haproxy.cfg", haproxyConfig(place))],
  },
  nodePeer("http-proxy-3"),
  nodePeer("@fastify/reply-from"),
  nodePeer("fast-proxy"),
];

/** Whether a program can be started on this machine. */
export function isInstalled(program: string): boolean {
  return spawnSync(program, ["-v"], { stdio: "ignore" }).error === undefined;
}
