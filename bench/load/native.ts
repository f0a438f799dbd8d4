/**
 * The native proxies: nginx, HAProxy and Caddy, each on one core, with connections to the upstream kept alive in plenty, X-Forwarded-For
 * added, no access log, and two arms with half the traffic each by the same cookie. nginx holds bodies of 64 KiB in memory instead of
 * writing them to a file. What is not written here is their default.
 */

import { join } from "node:path";
import { certificateOf, written, type Place, type Proxy, type Setting } from "./place.ts";

/** Kept to the upstream at the most: as many as the busiest work has clients, so that none has to open new ones. */
const UPSTREAM_CONNECTIONS = 1024;
const CLIENTS = 4096;
/** HAProxy keeps upstream connections only while less than a quarter of what it may open is in use. */
const HAPROXY_CLIENTS = 16_384;
/** Beside the clients: connections to the upstream. */
const SPARE = 2 * UPSTREAM_CONNECTIONS;

/** Started by root, nginx would be somebody else, who may not write to the run's folder. */
const isRoot = process.getuid?.() === 0;

function nginxConfig(place: Place, setting: Setting): string {
  const { folder, port, upstreamPort } = place;
  const tls = (): string => {
    const { cert, key } = certificateOf(place);
    return `listen 127.0.0.1:${String(port)} ssl; ssl_certificate ${cert}; ssl_certificate_key ${key};`;
  };
  const files = ["body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) =>
    name === "body"
      ? `client_body_temp_path ${join(folder, name)};`
      : `${name}_temp_path ${join(folder, name)};`,
  );
  const arm = (name: string): string =>
    `upstream ${name} { server 127.0.0.1:${String(upstreamPort)}; keepalive ${String(UPSTREAM_CONNECTIONS)}; keepalive_requests 1000000000; }`;
  return `
${isRoot ? "user root;" : ""}
daemon off; worker_processes 1; pid ${join(folder, "nginx.pid")}; error_log stderr crit;
events { worker_connections ${String((setting.clients ?? CLIENTS) + SPARE)}; }
http {
  access_log off; keepalive_requests 1000000000; keepalive_timeout 75s;
  client_max_body_size 0; client_body_buffer_size 64k;
  ${files.join(" ")}
  ${arm("stable")}
  ${arm("canary")}
  split_clients "\${cookie_sid}" $arm { 50% canary; * stable; }
  server {
    ${setting.secure === true ? tls() : `listen 127.0.0.1:${String(port)};`}
    location / {
      proxy_pass http://$arm; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      ${setting.passesBodies === true ? "proxy_request_buffering off;" : ""}
    }
  }
}
`;
}

function haproxyConfig(place: Place, setting: Setting): string {
  const server = `127.0.0.1:${String(place.upstreamPort)} weight 128 pool-max-conn ${String(UPSTREAM_CONNECTIONS)}`;
  const tls = (): string => ` ssl crt ${certificateOf(place).both}`;
  return `
global
  nbthread 1
  maxconn ${String(HAPROXY_CLIENTS)}
  no strict-limits
defaults
  mode http
  option forwardfor
  http-reuse always
  timeout connect 2s
  timeout client 75s
  timeout server 60s
frontend in
  bind 127.0.0.1:${String(place.port)}${setting.secure === true ? tls() : ""}
  default_backend arms
backend arms
  balance hdr(Cookie)
  hash-type consistent
  server stable ${server}
  server canary ${server}
`;
}

function caddyConfig(place: Place, setting: Setting): string {
  const upstream = `127.0.0.1:${String(place.upstreamPort)}`;
  const { cert, key } = setting.secure === true ? certificateOf(place) : { cert: "", key: "" };
  return `
{
  admin off
  auto_https off
  storage file_system ${join(place.folder, "storage")}
  log {
    level ERROR
  }
  servers {
    protocols h1
  }
}
${setting.secure === true ? "https" : "http"}://:${String(place.port)} {
  bind 127.0.0.1
  ${setting.secure === true ? `tls ${cert} ${key}` : ""}
  reverse_proxy ${upstream} ${upstream} {
    lb_policy header Cookie
    transport http {
      keepalive 75s
      keepalive_idle_conns ${String(SPARE)}
      keepalive_idle_conns_per_host ${String(UPSTREAM_CONNECTIONS)}
    }
  }
}
`;
}

/** nginx, HAProxy, Caddy. */
export const NATIVE: readonly Proxy[] = [
  {
    name: "nginx",
    kind: "native",
    needs: "nginx",
    command: (place, setting) => ({
      command: ["nginx", "-p", place.folder, "-c", written(place, "nginx.conf", nginxConfig(place, setting))],
    }),
  },
  {
    name: "haproxy",
    kind: "native",
    needs: "haproxy",
    command: (place, setting) => ({
      command: ["haproxy", "-db", "-f", written(place, "haproxy.cfg", haproxyConfig(place, setting))],
    }),
  },
  {
    name: "caddy",
    kind: "native",
    needs: "caddy",
    command: (place, setting) => ({
      command: [
        "caddy",
        "run",
        "--adapter",
        "caddyfile",
        "--config",
        written(place, "Caddyfile", caddyConfig(place, setting)),
      ],
      env: { GOMAXPROCS: "1", HOME: place.folder },
    }),
  },
];
