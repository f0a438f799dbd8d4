/** The checks one by one: figures, folders, another environment's report, and the canary's answers. */

import { createServer as createHttp2 } from "node:http2";
import { once } from "node:events";
import { mkdir, readdir, writeFile } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t from "tap";
import { arm } from "../../src/config/arm.ts";
import { reportJson, reportOf, type ReportLine, type ReportPoint } from "../../src/domain/report.ts";
import type { EndpointHealth } from "../../src/engine/ports.ts";
import { checkArms, checkCapacity, checkClock } from "../../src/preflight/figures.ts";
import { checkFolder, systemFree } from "../../src/preflight/folder.ts";
import { checkStaging, type StagingContext } from "../../src/preflight/staging.ts";
import { ON_TIME, testPreflight, until } from "../support/preflight.ts";
import { millis } from "../../src/domain/units.ts";
import { NOBODY, reply, upstream } from "../support/upstream.ts";

const well: EndpointHealth = { url: "http://a:1", healthy: true, failures: 0, detail: "" };
const unknown: EndpointHealth = { ...well, url: "http://b:1", healthy: null };
const sick: EndpointHealth = {
  ...well,
  url: "http://c:1",
  healthy: false,
  failures: 5,
  detail: "ECONNREFUSED",
};

t.test("every endpoint has to be known to be healthy: one that nobody has heard of is not", async (t) => {
  t.same(checkArms([well, well], [well]), { ok: true, detail: "3/3 endpoints healthy" });
  t.same(checkArms([well], [sick]), { ok: false, detail: "1/2 endpoints healthy; http://c:1: ECONNREFUSED" });
  t.same(checkArms([unknown], [well]), {
    ok: false,
    detail: "1/2 endpoints healthy; http://b:1: is not known yet",
  });
  t.match(checkArms([{ ...sick, detail: "" }], []), { ok: false, detail: /http:\/\/c:1: is not$/ });
  t.match(checkArms([], []), { ok: false });
});

t.test("stable can carry what comes in the time that it takes, and the numbers are said", async (t) => {
  const of = (more: object = {}) =>
    arm.parse({ endpoints: ["http://a:1", "http://b:1"], connections: 10, ...more });
  const load = { perSecond: 200, p95Ms: 80 };
  t.same(checkCapacity(of(), [well, well], load), {
    ok: true,
    detail: "200 requests/s × P95 80 ms = 16 in flight; 20 (2 of 2 endpoints × 10 connections)",
  });
  t.match(checkCapacity(of(), [well, sick], load), {
    ok: false,
    detail: /16 in flight; 10 \(1 of 2 endpoints/,
  });
  t.match(checkCapacity(of({ concurrency: 12 }), [well, well], load), {
    ok: false,
    detail: /12 \(the arm's concurrency\)$/,
  });
  t.same(checkCapacity(of({ protocol: "http2" }), [well, well], load), {
    ok: true,
    detail: "no limit configured",
  });
  t.match(checkCapacity(of({ protocol: "http2", concurrency: 15 }), [well], load), { ok: false });
  t.match(checkCapacity(of(), [well], { perSecond: 0, p95Ms: null }), {
    ok: true,
    detail: /^no traffic measured; room for 10/,
  });
  t.match(checkCapacity(of(), [unknown, sick], load), { ok: false, detail: /no endpoint of stable/ });
});

t.test("the clock has to show a year like this one, and what the canary shows", async (t) => {
  const wall = Date.UTC(2026, 5, 1);
  const start = { mono: 1000, wall };
  const later = (ms: number, jump = 0) => ({ mono: 1000 + ms, wall: wall + ms + jump });
  t.match(checkClock(start, later(5e6), undefined), { ok: true, detail: /no jump since start; no answer/ });
  t.match(checkClock(start, later(5e6), 59_000), { ok: true, detail: /the canary's agrees$/ });
  t.match(checkClock(start, later(5e6), 61_000), { ok: false, detail: "the canary's clock is 1m1s ahead" });
  t.match(checkClock(start, later(5e6), -3_600_000), {
    ok: false,
    detail: "the canary's clock is 1h behind",
  });
  t.match(checkClock(start, later(5e6, 120_000), undefined), {
    ok: false,
    detail: "it jumped by 2m since start",
  });
  t.match(checkClock(start, later(5e6, -86_400_000), 100), {
    ok: true,
    detail: /jumped by 1d since start; the canary's agrees/,
  });
  t.match(checkClock(start, { mono: 1, wall: 0 }, 0), { ok: false, detail: "it shows the year 1970" });
  t.match(checkClock(start, { mono: 1, wall: Date.UTC(2250, 1) }, 0), { ok: false });
});

t.test(
  "a folder is written to and left as it was; one that cannot be, or a full disk, is no folder",
  async (t) => {
    const folder = join(t.testdir({}), "new", "reports");
    const enough = () => Promise.resolve(65 * 1024 * 1024);
    t.match(await checkFolder(folder, ".probe", enough), {
      ok: true,
      detail: /reports can be written, 65 MiB free$/,
    });
    t.same(await readdir(folder), [], "nothing is left");
    t.match(await checkFolder(folder, ".probe", () => Promise.resolve(undefined)), { ok: true });
    t.match(await checkFolder(folder, ".probe", () => Promise.resolve(63 * 1024 * 1024)), {
      ok: false,
      detail: /63 MiB free, fewer than 64/,
    });
    await writeFile(join(folder, "file"), "");
    await t.rejects(checkFolder(join(folder, "file"), ".probe", enough), { code: "EEXIST" });
    await t.rejects(checkFolder(folder, "file", enough), { code: "EEXIST" }, "nor is another's file touched");
    t.same(await readdir(folder), ["file"]);
    const free = await systemFree(folder);
    t.ok(free === undefined || free > 0);
  },
);

const NOW = Date.UTC(2026, 0, 5, 9);
const CONTEXT: StagingContext = { version: "4.0", environment: "production", now: NOW };
const line = (seq: number, event: string, at: string, phase: ReportPoint["phase"]): ReportLine => ({
  seq,
  at,
  event,
  route: "app",
  rollout: "r-1",
  actor: "ada",
  reason: "",
  before: { phase: "progressing", step: 0, weight: 5 },
  after: { phase, step: 0, weight: 5 },
  details: { version: "4.0" },
});
/** A report as the program in staging writes it, of a rollout that succeeded then and of what came after. */
const success = (timestamp: string, ...after: readonly ReportLine[]): string =>
  reportJson(
    reportOf(
      [
        line(1, "DEPLOY_START", "2026-01-01T09:00:00Z", "progressing"),
        line(2, "DEPLOY_SUCCESS", timestamp, "succeeded"),
        ...after,
      ],
      "r-1",
      "staging",
    )!,
  );

t.test(
  "a success elsewhere counts when it is of this version, of another environment, and young enough",
  async (t) => {
    const spec = { report: t.testdir({}), maxAge: millis(7 * 86_400_000) };
    const put = (name: string, text: string) => writeFile(join(spec.report, name), text);
    const check = (context: Partial<StagingContext> = {}) => checkStaging(spec, { ...CONTEXT, ...context });
    t.match(await check(), { ok: false, detail: /^no report of a success in/ });

    await put("deployment_staging_1.json", success("2026-01-04T06:30:00Z"));
    t.same(await check(), { ok: true, detail: "success of 4.0 in staging 1d2h30m ago" });
    t.match(await check({ version: "" }), { ok: true, detail: "success in staging 1d2h30m ago" });
    t.match(await check({ version: "4.1" }), { ok: false, detail: /^no success of 4\.1 in/ });
    t.match(await check({ environment: "staging" }), {
      ok: false,
      detail: /all successes .* of staging itself/,
    });
    t.match(await check({ now: NOW + 8 * 86_400_000 }), { ok: false, detail: /ago, more than 7d$/ });
    t.match(await check({ now: NOW - 8 * 86_400_000 }), { ok: false, detail: /dated in the future/ });

    const { report } = spec;
    t.match(await checkStaging({ ...spec, report: join(report, "deployment_staging_1.json") }, CONTEXT), {
      ok: true,
    });
    await t.rejects(checkStaging({ ...spec, report: join(report, "none") }, CONTEXT), { code: "ENOENT" });
  },
);

t.test("a success that was rolled back is none, and what is no report is passed over", async (t) => {
  const good = success("2026-01-04T06:30:00Z");
  const report = t.testdir({
    "deployment_a.json": success(
      "2026-01-04T06:30:00Z",
      line(3, "ROLLBACK_DONE", "2026-01-04T07:30:00Z", "rolled_back"),
    ),
    "deployment_b.json": "{",
    "deployment_c.json": "[null]",
    "deployment_d.json": success("never"),
    "deployment_e.json": good.replace('"format": 1', '"format": 2'),
    "deployment_f.json": `${good}${" ".repeat(16 * 1024 * 1024)}`,
    "other_g.json": good,
  });
  const spec = { report, maxAge: millis(7 * 86_400_000) };
  t.match(await checkStaging(spec, CONTEXT), { ok: false, detail: /no report of a success/ });
  await writeFile(join(report, "deployment_h.json"), good);
  t.match(await checkStaging(spec, CONTEXT), { ok: true });
});

t.test("the canary is asked straight, marked, and by the route's own name", async (t) => {
  const canary = await upstream((socket, { method }) => {
    socket.write(reply(200, method === "HEAD" ? "" : "all is ready", ON_TIME));
  });
  t.teardown(() => canary.close());
  const smoke = [
    { path: "/health?deep=1", status: 200, body: "is ready" },
    { path: "/", method: "HEAD" },
  ];
  const { run } = testPreflight(t, canary.url, { smoke }, {}, { match: { host: "app.example" } });
  const { smoke: found, clock } = await run();
  t.match(found, { ok: true, detail: "1 endpoint answered 2 requests" });
  t.match(clock, { ok: true, detail: /the canary's agrees/ });
  t.same(
    canary.requests.map(({ method, target }) => `${method} ${target}`),
    ["GET /health?deep=1", "HEAD /"],
  );
  for (const seen of canary.requests) {
    t.equal(seen.field("x-sluice-preflight"), "1");
    t.equal(seen.field("host"), "app.example");
  }
});

t.test("without any named, it is one GET of the health path, or of /", async (t) => {
  for (const [route, path] of [
    [{ health: { path: "/healthz" } }, "/healthz"],
    [{}, "/"],
  ] as const) {
    const canary = await upstream(reply(204, "", ON_TIME));
    t.teardown(() => canary.close());
    t.match((await testPreflight(t, canary.url, {}, {}, route).run())["smoke"], { ok: true });
    t.same(
      canary.requests.map(({ method, target }) => `${method} ${target}`),
      [`GET ${path}`],
    );
    t.equal(canary.requests[0]?.field("host"), new URL(canary.url).host);
  }
});

t.test("an answer that is not the expected one says so, and that endpoint is asked no further", async (t) => {
  const cut = "HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\nabc";
  const answers: readonly (readonly [answer: string, smoke: object, detail: string])[] = [
    [reply(500), {}, "status 500"],
    [reply(200), { status: 204 }, "status 200, not 204"],
    [reply(200, "busy"), { body: "ready" }, "status 200, but the body is not the expected one"],
    [cut, {}, "the answer was cut short"],
  ];
  for (const [answer, one, why] of answers) {
    const canary = await upstream((socket) => void socket.end(answer));
    t.teardown(() => canary.close());
    const smoke = [{ path: "/x", ...one }, { path: "/y" }];
    const { detail, ok } = (await testPreflight(t, canary.url, { smoke }).run())["smoke"] ?? {};
    t.equal(ok, false);
    t.equal(detail, `GET ${canary.url}/x: ${why}`);
    t.equal(canary.requests.length, 1);
  }
});

t.test("each endpoint of the canary has to answer, and one that is down is named", async (t) => {
  const canary = await upstream(reply(200));
  t.teardown(() => canary.close());
  const { run } = testPreflight(t, "", {}, {}, { canary: { endpoints: [canary.url, NOBODY] } });
  t.match((await run())["smoke"], {
    ok: false,
    detail: `1 of 2 endpoints failed: GET ${NOBODY}/: ECONNREFUSED`,
  });
});

t.test(
  "an endpoint that hangs has ten seconds, and one that never stops is not read to its end",
  async (t) => {
    const hangs = await upstream(() => {});
    const pours = await upstream((socket) => {
      socket.write("HTTP/1.1 200 X\r\n\r\n");
      const more = (): void => {
        while (!socket.destroyed && socket.write("x".repeat(65_536)));
        socket.once("drain", more);
      };
      more();
    });
    t.teardown(() => Promise.all([hangs.close(), pours.close()]));
    const { run, clock } = testPreflight(t, "", {}, {}, { canary: { endpoints: [pours.url, hangs.url] } });
    const found = run();
    await until(() => hangs.requests.length === 1 && pours.requests.length === 1 && pours.sockets.size === 0);
    await clock.advance("10s");
    t.match((await found)["smoke"], {
      ok: false,
      detail: `1 of 2 endpoints failed: GET ${hangs.url}/: no answer within 10s`,
    });
  },
);

t.test("an endpoint that speaks HTTP/2 and nothing else is asked so", async (t) => {
  const server = createHttp2((request, response) => {
    request.resume();
    response.end(`${request.method} ${request.url} ${request.headers["x-sluice-preflight"]?.toString()}`);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => void server.close());
  // A TCP server has an address of this form.
  const url = `h2c://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const smoke = [
    { path: "/two", body: "GET /two 1" },
    { path: "/two", method: "POST", body: "POST /two 1" },
  ];
  t.match((await testPreflight(t, url, { smoke }).run())["smoke"], { ok: true, detail: /2 requests/ });
  const other = await upstream(reply(400));
  t.teardown(() => other.close());
  t.match((await testPreflight(t, other.url.replace("http:", "h2c:")).run())["smoke"], { ok: false });
});

t.test("folders that a state would need are made by nobody but the check that needs them", async (t) => {
  const canary = await upstream(reply(200, "", ON_TIME));
  t.teardown(() => canary.close());
  const { run, folder } = testPreflight(t, canary.url);
  await mkdir(join(folder, "state"));
  t.match(await run(), { state: { ok: true }, reports: { ok: true } });
  t.same(await readdir(join(folder, "state")), []);
});
