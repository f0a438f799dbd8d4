/** What the console asks the API for, beside what everybody does. */

import { request, type IncomingHttpHeaders } from "node:http";
import { gunzipSync } from "node:zlib";
import t from "tap";
import { ROWS } from "../../src/admin/routes.ts";
import { POINTS } from "../../src/telemetry/history.ts";
import { bearer, testAdmin } from "../support/control.ts";

t.test("a caller is told who it is, what it may do and what there is to be asked", async (t) => {
  const { ask } = await testAdmin(t);
  const operations = ROWS.map(([name]) => name);
  t.same((await ask("GET", "/v1/whoami")).json, {
    name: "root",
    scopes: ["read", "operate", "approve", "admin"],
    roles: null,
    environment: "production",
    operations,
  });
  t.match((await ask("GET", "/v1/whoami", { as: "reader" })).json, { name: "reader", scopes: ["read"] });
});

t.test("the history of a route is in columns, and empty before there is one", async (t) => {
  const arm = { requests: [1], failures: [0], p50Ms: [null], p95Ms: [2.5], p99Ms: [3] };
  const known = { atMs: [1000], weight: [25], stable: arm, canary: arm };
  const { ask } = await testAdmin(t, { history: { of: (route) => (route === "app" ? known : undefined) } });
  t.same((await ask("GET", "/v1/routes/app/history")).json, { everyMs: 5000, ...known });
  const none = { requests: [], failures: [], p50Ms: [], p95Ms: [], p99Ms: [] };
  t.same((await ask("GET", "/v1/routes/api/history")).json, {
    everyMs: 5000,
    atMs: [],
    weight: [],
    stable: none,
    canary: none,
  });
  t.equal((await ask("GET", "/v1/routes/none/history")).status, 404);
});

t.test("an hour of history is packed for whoever takes it so, and fits into a first view", async (t) => {
  const column = (of: (index: number) => number): readonly number[] =>
    Array.from({ length: POINTS }, (_, i) => of(i));
  const noisy = (scale: number) => column((i) => Math.round(scale * (1 + 0.3 * Math.sin(i * i)) * 100) / 100);
  const arm = (pace: number) => ({
    requests: column((i) => i * pace),
    failures: column((i) => Math.floor(i / 9)),
    p50Ms: noisy(12),
    p95Ms: noisy(55),
    p99Ms: noisy(170),
  });
  const known = {
    atMs: column((i) => 1_767_600_000_000 + i * 5003),
    weight: column((i) => (i < 300 ? 5 : 25)),
    stable: arm(731),
    canary: arm(187),
  };
  const { address } = await testAdmin(t, { history: { of: () => known } });
  const read = (accept: string): Promise<{ readonly headers: IncomingHttpHeaders; readonly body: Buffer }> =>
    new Promise((resolve, reject) => {
      const headers = { ...bearer("reader"), "accept-encoding": accept };
      const sent = request(`http://${address}/v1/routes/app/history`, { headers, agent: false }, (answer) => {
        const parts: Buffer[] = [];
        answer.on("data", (part: Buffer) => parts.push(part));
        answer.on("end", () => resolve({ headers: answer.headers, body: Buffer.concat(parts) }));
      });
      sent.on("error", reject);
      sent.end();
    });
  const plain = await read("identity");
  t.match(plain.headers, { vary: "accept-encoding", "content-encoding": undefined });
  t.equal(plain.headers["content-encoding"], undefined);
  const packed = await read("gzip, deflate, br");
  t.equal(packed.headers["content-encoding"], "gzip");
  t.ok(gunzipSync(packed.body).equals(plain.body));
  t.equal(Number(packed.headers["content-length"]), packed.body.length);
  t.ok(packed.body.length < 32 * 1024, `${packed.body.length} of ${plain.body.length} bytes`);
});
