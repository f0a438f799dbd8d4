/**
 * Targets: byte for byte to the configured upstream, or nowhere (reliability.md A5, A6). The upstream is llhttp.
 */

import { inEveryLane } from "../support/lanes.ts";
import { bodyOf, once, raw, statusOf } from "../support/raw.ts";
import { strictPlane, valuesOf } from "../support/strict.ts";
import { reply, upstream } from "../support/upstream.ts";

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";

const TARGETS = [
  "//evil.example/a",
  "///a",
  "/\\evil.example\\..\\a",
  "/a//b/./../c;d=e/",
  "/%2e%2e/%2F%5c%00%0d%0aX:%20y?%zz=%",
  "/?a=http://evil.example/&b=\"'<>[]{}|^`",
  "/@evil.example:80/",
  "/a:80",
  "/?",
  "/??x?",
  "/caf%C3%A9",
];

void inEveryLane(
  "a target goes on byte for byte, and leads nowhere but to the configured upstream (reliability 6)",
  async (t) => {
    const { server, address } = await strictPlane(t);
    for (const target of TARGETS) {
      t.equal(statusOf(await once(address, `GET ${target} HTTP/1.1\nHost: app.example`)), 200, target);
      t.equal(server.heard.at(-1)?.target, target);
      t.strictSame(valuesOf(server.heard.at(-1)!, "host"), ["app.example"]);
    }
    t.strictSame(server.broken, []);
  },
);

void inEveryLane("a target with a byte that no URL has reaches no upstream (reliability 5, 6)", async (t) => {
  const { server, address } = await strictPlane(t);
  for (const target of ["/caf\xe9", "/?\x80", "http://app.example/\xff"])
    t.equal(statusOf(await once(address, `GET ${target} HTTP/1.1\nHost: app.example`)), 400, target);
  t.strictSame([server.heard, server.broken], [[], []]);
});

void inEveryLane(
  "of the absolute form the authority replaces Host and the path goes on; no form and no field names the upstream (reliability 6)",
  async (t) => {
    const { server, address } = await strictPlane(t);
    const trap = await upstream(reply(200, "trapped"));
    t.teardown(() => trap.close());
    const away = trap.url.slice("http://".length);
    for (const [target, path, host] of [
      [`http://${away}/a?b`, "/a?b", away],
      [`HTTP://${away}`, "/", away],
      [`http://${away}?x=/`, "/?x=/", away],
      [`https://[::1]:8443//a`, "//a", "[::1]:8443"],
    ] as const) {
      const asked = `GET ${target} HTTP/1.1\nHost: other.example\nX-Forwarded-Host: ${away}\nX-Original-URL: ${trap.url}`;
      t.equal(bodyOf(await once(address, asked)), "ok", target);
      t.equal(server.heard.at(-1)?.target, path);
      t.strictSame(valuesOf(server.heard.at(-1)!, "host"), [host]);
    }
    t.equal(bodyOf(await once(address, `GET / HTTP/1.1\nHost: ${away}`)), "ok");
    const before = server.heard.length;
    for (const target of [
      away,
      `//${away}/`.slice(1).replace("/", "http:/"),
      `http:///${away}`,
      `http://u@${away}/`,
      `http://${away}#a`,
      `http://${away}\\@x/`,
      `ftp://${away}/`,
      "/a#b",
      "/a\x01b",
      "/a\x7fb",
      "*",
      "?a",
      "",
    ]) {
      const client = await raw(address);
      client.send(`GET ${target} HTTP/1.1\r\nHost: x\r\n\r\n${SMUGGLED}`);
      t.equal(statusOf((await client.closed()).text), 400, JSON.stringify(target));
    }
    t.equal(statusOf(await once(address, `CONNECT ${away} HTTP/1.1\nHost: ${away}`)), 400);
    t.equal(server.heard.length, before);
    t.equal(trap.accepted, 0, "nobody was led away");
  },
);

void inEveryLane(
  "what is refused behind a HEAD is answered with the body that its head declares (reliability 7)",
  async (t) => {
    const { address } = await strictPlane(t);
    for (const broken of ["GET / HTTP\xb61.1\r\n", "GET / HTTP/1.1\r\nHost: x y\r\n\r\n"]) {
      const client = await raw(address);
      client.send(`HEAD / HTTP/1.1\r\nHost: x\r\n\r\n${broken}`);
      const { text } = await client.closed();
      t.match(
        text,
        /^HTTP\/1\.1 200 [^]*\r\n\r\nHTTP\/1\.1 400 [^]*\r\n\r\n\{.*\}\s*$/,
        JSON.stringify(broken),
      );
    }
  },
);
