/**
 * A browser as the client: Chromium loads a page over TLS and HTTP/2 through the proxy, with 50 assets, a WebSocket and an EventSource. The page
 * checks itself and posts what it has seen; nothing drives it from outside. Without Chromium it is skipped, but not where CI runs.
 */

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { once } from "node:events";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { WebSocketServer } from "ws";
import { command, configFile } from "../support/program.ts";

t.setTimeout(100_000);

const BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
const browser = BROWSERS.find((path) => existsSync(path));
const isCi = process.env["CI"] === "true";
const ASSETS = 50;
const PATIENCE_MS = 60_000;
const TLS = fileURLToPath(new URL("../golden/tls/", import.meta.url));

/** What the page has seen. */
interface Seen {
  readonly assets: number;
  readonly protocols: readonly string[];
  readonly echo: string;
  readonly events: readonly string[];
  readonly cookie: boolean;
}

const PAGE = `<!doctype html><title>through the proxy</title><script>let assets = 0;</script>
${Array.from({ length: ASSETS }, (_, nth) => `<script src="/asset/${nth}.js"></script>`).join("\n")}
<script type="module">
const socket = new WebSocket("wss://" + location.host + "/echo");
const echo = new Promise((resolve) => {
  socket.onopen = () => socket.send("hello");
  socket.onmessage = ({ data }) => resolve(data);
  socket.onerror = () => resolve("failed");
});
const events = new Promise((resolve) => {
  const seen = [];
  const source = new EventSource("/events");
  source.onmessage = ({ data }) => {
    seen.push(data);
    if (seen.length === 3) { source.close(); resolve(seen); }
  };
  source.onerror = () => resolve([...seen, "failed"]);
});
const seen = { assets, echo: await echo, events: await events, cookie: navigator.cookieEnabled };
const protocols = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")]
  .map(({ nextHopProtocol }) => nextHopProtocol).filter((name) => name !== "");
await fetch("/report", { method: "POST", body: JSON.stringify({ ...seen, protocols }) });
</script>`;

/** The site behind the proxy; resolves with what the page posts. */
function site(): { readonly server: Server; readonly report: Promise<Seen> } {
  let told: (seen: Seen) => void = () => undefined;
  const report = new Promise<Seen>((resolve) => (told = resolve));
  const server = createServer((request, response) => {
    const url = request.url ?? "";
    if (url === "/") return void response.writeHead(200, { "content-type": "text/html" }).end(PAGE);
    if (url.startsWith("/asset/"))
      return void response.writeHead(200, { "content-type": "text/javascript" }).end("assets++;");
    if (url === "/events") {
      response.writeHead(200, { "content-type": "text/event-stream" });
      let nth = 0;
      const next = (): void => {
        response.write(`data: ${nth}\n\n`);
        // The next one only after the one before was on its way: nothing may hold them back until the end.
        if (++nth < 3) setTimeout(next, 20);
      };
      return next();
    }
    if (url !== "/report") return void response.writeHead(404).end();
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      response.end();
      // What the page above posts.
      told(JSON.parse(body) as Seen);
    });
  });
  new WebSocketServer({ server, path: "/echo" }).on("connection", (socket) =>
    socket.on("message", (data: Buffer) => socket.send(data.toString())),
  );
  return { server, report };
}

const skip = browser === undefined && !isCi ? "there is no Chromium here" : false;
t.test(
  "Chromium loads a page over TLS and HTTP/2 with 50 assets, a WebSocket and an EventSource",
  { skip },
  async (t) => {
    if (browser === undefined) throw new Error("there is no Chromium, and CI must have one");
    const { server, report } = site();
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    // A TCP server has an address of this form.
    const upstream = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const folder = await mkdtemp(join(tmpdir(), "sluice-browser-"));
    const config = await configFile(folder, {
      listen: [
        {
          address: "127.0.0.1:0",
          tls: { cert: join(TLS, "cert.pem"), key: join(TLS, "key.pem") },
        },
      ],
      admin: { address: `unix:${join(folder, "admin.sock")}` },
      state: `file:${join(folder, "state")}`,
      reports: join(folder, "reports"),
      backups: { folder: join(folder, "backups") },
      routes: [{ name: "app", stable: { endpoints: [upstream] }, canary: { endpoints: [upstream] } }],
    });
    const proxy = command(["run", "-c", config]);
    const [, port = ""] = await proxy.says(/"listen":\["[^":]+:(\d+)"\]/);
    const chromium = spawn(
      browser,
      [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-dev-shm-usage",
        "--ignore-certificate-errors",
        `--user-data-dir=${join(folder, "profile")}`,
        "--remote-debugging-pipe",
        `https://127.0.0.1:${port}/`,
      ],
      { stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"] },
    );
    let said = "";
    chromium.stderr?.on("data", (chunk: Buffer) => (said += chunk.toString()));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`the page told nothing: ${said.slice(-2000)}`)), PATIENCE_MS);
    });
    try {
      const seen = await Promise.race([report, late]);
      t.equal(seen.assets, ASSETS);
      t.equal(seen.echo, "hello");
      t.strictSame(seen.events, ["0", "1", "2"]);
      t.ok(seen.protocols.length > ASSETS, `${seen.protocols.length} resources`);
      t.ok(
        seen.protocols.every((name) => name === "h2"),
        `all over HTTP/2: ${[...new Set(seen.protocols)].join(" ")}`,
      );
    } finally {
      clearTimeout(timer);
      const ended = once(chromium, "close");
      chromium.kill("SIGKILL");
      proxy.child.kill("SIGKILL");
      await Promise.all([ended, proxy.ended]);
      server.closeAllConnections();
      server.close();
      await rm(folder, { recursive: true, force: true, maxRetries: 5 });
    }
  },
);
