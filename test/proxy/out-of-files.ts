/**
 * What a process that has no file left makes of its upstreams, printed as one line of JSON. Run under a low `ulimit -n`, so that the errors are the
 * system's own; the connections of clients are opened before the last file is taken.
 */

import { openSync } from "node:fs";
import { configSchema } from "../../src/config/schema.ts";
import { createProbes } from "../../src/probe/health.ts";
import { fakeClock } from "../support/clock.ts";
import { http2Upstream } from "../support/h2-upstream.ts";
import { startPlane } from "../support/plane.ts";
import { raw } from "../support/raw.ts";
import { quietLog } from "../support/silence.ts";
import { reply, upstream } from "../support/upstream.ts";

const UPGRADE =
  "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

const plain = await upstream(reply(200, "ok"));
const two = await http2Upstream((stream) => stream.respond({ ":status": 200 }, { endStream: true }));
const planes = [
  await startPlane({ stable: plain.url, canary: plain.url }),
  await startPlane({ stable: two.url, canary: two.url }),
];
const clients = await Promise.all(
  planes.flatMap(({ address }) =>
    ["", UPGRADE].map(async (fields) => ({ client: await raw(address), fields })),
  ),
);
// Both have to have accepted theirs.
for (const each of planes) await each.settled(() => each.plane.gauges().connections === 2);
const clock = fakeClock();
const endpoints = [plain.url, two.url];
const health = { path: "/", interval: "10s", timeout: "5s", unhealthyAfter: 1 };
const config = configSchema.parse({
  listen: [{ address: "127.0.0.1:0" }],
  routes: [
    { name: "get", match: { path: "/get" }, health, stable: { endpoints }, canary: { endpoints } },
    { name: "open", health: { ...health, path: undefined }, stable: { endpoints }, canary: { endpoints } },
  ],
});
const probes = createProbes({ config, clock, log: quietLog() });
const healthOf = () =>
  ["get", "open"].flatMap((route) => probes.health(route, "canary").map(({ failures }) => failures));

try {
  for (;;) openSync("/dev/null", "r");
} catch {
  // that was the last
}
const answers: string[] = [];
for (const { client, fields } of clients) {
  client.send(`GET / HTTP/1.1\r\nHost: x\r\n${fields}\r\n`);
  answers.push((await client.until(/\r\n\r\n/)).split("\r\n")[0] ?? "");
}
const counts = await Promise.all(
  planes.map(async (plane) => (await plane.settled((now) => now.settled === 2)).counts),
);
await clock.advance("60s");
process.stdout.write(`${JSON.stringify({ answers, counts, failures: healthOf() })}\n`, () => process.exit(0));
