/** Traces from the running program to a collector, and what a collector that is none does to anybody. */

import t from "tap";
import { spansOf } from "../../src/telemetry/spans.ts";
import { openCollector } from "../../src/telemetry/otlp.ts";
import { Exemplars } from "../../src/telemetry/exemplars.ts";
import type { Account } from "../../src/domain/account.ts";
import { RESCUED } from "../support/account.ts";
import { collector, type TakenSpan } from "../support/collector.ts";
import { failing, program } from "../support/program.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER = "00f067aa0ba902b7";
const PARENT = { traceparent: `00-${TRACE}-${CALLER}-01` };
const QUIET = { debug() {}, info() {}, warn() {}, error() {} };
const [SERVER, CLIENT] = [2, 3];

const inTrace = (spans: readonly TakenSpan[], traceId: string): readonly TakenSpan[] =>
  spans.filter((each) => each.traceId === traceId);
const decisions = (spans: readonly TakenSpan[], event: string): readonly TakenSpan[] =>
  spans.filter(({ attributes }) => attributes["sluice.decision"] === event);

/** An exchange that was rescued, with its trace. */
const TRACED: Account = {
  ...RESCUED,
  traceId: TRACE,
  trace: {
    spanId: "1111111111111111",
    parentId: CALLER,
    state: "",
    host: "app.example:8080",
    scheme: "https",
    version: "2",
    sendings: [
      {
        spanId: "2222222222222222",
        arm: "canary",
        why: "sticky",
        endpoint: "http://10.0.0.2:8080",
        resends: 1,
        fromMs: 1,
        toMs: 4,
        reason: "connect",
        status: 0,
      },
      {
        spanId: "3333333333333333",
        arm: "stable",
        why: "rescue",
        endpoint: "http://10.0.0.1:8080",
        resends: 0,
        fromMs: 4,
        toMs: 20,
        reason: "ok",
        status: 200,
      },
    ],
  },
};

t.test("the spans of a rescued exchange are what the conventions for HTTP say", async (t) => {
  const [server, first, second, ...more] = spansOf(TRACED);
  t.strictSame(more, []);
  t.match(server, { kind: "server", name: "GET app", parentId: CALLER, isRemote: true, error: "" });
  t.strictSame(server?.attributes, {
    "http.request.method": "GET",
    "url.scheme": "https",
    "url.path": "/a",
    "network.protocol.version": "2",
    "server.address": "app.example",
    "server.port": 8080,
    "http.response.status_code": 200,
    "sluice.route": "app",
    "sluice.arm": "canary",
    "sluice.why": "sticky",
    "sluice.bucket": 7,
    "sluice.reason": "connect",
    "sluice.rescued": true,
  });
  t.match(first, {
    kind: "client",
    parentId: "1111111111111111",
    error: "connect",
    from: TRACED.startedAt + 1,
  });
  t.strictSame(first?.attributes, {
    "http.request.method": "GET",
    "url.full": "http://10.0.0.2:8080/a",
    "server.address": "10.0.0.2",
    "server.port": 8080,
    "error.type": "connect",
    "http.request.resend_count": 1,
    "sluice.route": "app",
    "sluice.arm": "canary",
    "sluice.why": "sticky",
    "sluice.bucket": 7,
    "sluice.retry": true,
    "sluice.rescue": false,
  });
  t.match(second?.attributes, {
    "http.response.status_code": 200,
    "sluice.rescue": true,
    "sluice.arm": "stable",
  });
  t.match(spansOf({ ...TRACED, method: "BREW", bucket: -1, answered: 502, ended: "connect" })[0], {
    name: "HTTP app",
    error: "connect",
    attributes: {
      "http.request.method": "_OTHER",
      "http.request.method_original": "BREW",
      "error.type": "502",
    },
  });
  t.strictSame(spansOf({ ...TRACED, trace: undefined }), []);
});

t.test(
  "an exchange and its rescue are one trace at the collector, and a rollback is told with its evidence",
  async (t) => {
    const c = await collector();
    t.teardown(() => c.close());
    const headers = { authorization: { env: "Bearer of spans" } };
    const route = {
      rescue: {},
      rollback: { onAny: [{ metric: "error_rate", above: "10%", for: "5s" }] },
      plan: { promotion: "off", steps: [{ setWeight: "100%", hold: "1h" }] },
    };
    const p = await program(route, { tracing: { otlp: c.url, sample: "0%", headers } });
    t.teardown(() => p.close());
    await p.api("/v1/rollouts/app/start", { reason: "for a trace" });
    await p.clock.advance("1s");
    p.canary.answer = failing;
    await p.get("u", { headers: PARENT, path: "/a?secret=1" });
    const spans = inTrace(await c.until((all) => inTrace(all, TRACE).length >= 3), TRACE);
    t.match(c.headers, { authorization: "Bearer of spans" });
    t.match(c.resource, { "service.name": "sluice", "deployment.environment.name": "production" });
    const [server] = spans.filter(({ kind }) => kind === SERVER);
    t.equal(server?.parentSpanId, CALLER);
    const clients = spans.filter(({ kind }) => kind === CLIENT);
    t.match(
      clients.map(({ attributes, parentSpanId }) => [
        parentSpanId,
        attributes["sluice.arm"],
        attributes["sluice.rescue"],
      ]),
      [
        [server?.spanId, "canary", false],
        [server?.spanId, "stable", true],
      ],
    );
    t.notMatch(JSON.stringify(spans), /secret/);

    for (let second = 0; second < 60; second++) {
      await Promise.all(Array.from({ length: 20 }, (_, user) => p.get(`u${user}`)));
      await p.clock.advance("1s");
      if ((await p.status()).phase === "rolled_back") break;
    }
    await c.until((all) => decisions(all, "ROLLBACK_DONE").length > 0);
    const [start] = decisions(c.spans, "DEPLOY_START");
    const [back] = decisions(c.spans, "ROLLBACK_DONE");
    t.equal(back?.traceId, start?.traceId, "all of a rollout are one trace");
    t.match(back?.attributes, {
      "sluice.route": "app",
      "sluice.rollout.id": String,
      "sluice.because": String,
      "sluice.weight.before": 100,
      "sluice.weight.after": 0,
      "sluice.rule": /error_rate/,
      "sluice.rule.limit": 0.1,
      "sluice.rule.observed": Number,
      "sluice.rule.have": Number,
      "sluice.arms.canary.errorRate": 1,
      "sluice.arms.stable.requests": Number,
    });
    t.match(back?.events, [{ name: "check", attributes: { "sluice.rule.verdict": "failed" } }]);
  },
);

t.test("a collector that hangs, or is nobody, slows no exchange, and the end is bounded", async (t) => {
  const c = await collector("hangs");
  t.teardown(() => c.close());
  for (const otlp of [c.url, "http://127.0.0.1:1"]) {
    const p = await program({}, { tracing: { otlp, sample: "100%", queue: 16, timeout: "1h" } });
    for (let nth = 0; nth < 200; nth++) t.equal((await p.get(`u${nth}`)).status, 200);
    // Its own bound, and not an hour: the test's limit would end it.
    await p.close();
  }
  t.ok(c.requests > 0, "it was asked");
});

t.test("what finds no place, and what is not taken, is counted", async (t) => {
  const c = await collector("hangs");
  t.teardown(() => c.close());
  const sink = openCollector({
    otlp: c.url,
    timeout: 3_600_000 as Parameters<typeof openCollector>[0]["timeout"],
    queue: 16,
    headers: {},
    environment: "test",
    program: "0",
    log: QUIET,
  });
  for (let nth = 0; nth < 20; nth++) for (const span of spansOf(TRACED)) sink.take(span);
  t.match(sink.counts, { sent: 0, failed: 0, dropped: 44 });
  await sink.close();
  t.match(sink.counts, { sent: 0, failed: 16, dropped: 44 });
});

t.test("the latest sampled trace of each bucket is an exemplar, and of no route that is gone", async (t) => {
  const exemplars = new Exemplars();
  exemplars.keepOnly(["app"]);
  const answered: Account = { ...TRACED, reason: "ok", status: 200 };
  exemplars.take({ ...answered, traceId: "a", settledMs: 4 });
  exemplars.take({ ...answered, traceId: "b", settledMs: 5 });
  exemplars.take({ ...answered, traceId: "c", settledMs: 99_000 });
  exemplars.take({ ...answered, traceId: "d", why: "forced" });
  exemplars.take({ ...answered, traceId: "e", trace: undefined });
  exemplars.take({ ...answered, traceId: "f", route: "gone" });
  t.strictSame(
    exemplars
      .of("app", "canary")
      .flatMap((each, bucket) => (each === undefined ? [] : [[bucket, each.traceId]])),
    [
      [0, "b"],
      [14, "c"],
    ],
  );
  t.strictSame(exemplars.of("app", "stable"), []);
  exemplars.keepOnly(["other"]);
  t.strictSame(exemplars.of("app", "canary"), []);
});
