/** What is told one by one while a reload changes whom it is told. */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { configSchema, type Config } from "../../src/config/schema.ts";
import type { Account } from "../../src/domain/account.ts";
import { Outlets } from "../../src/telemetry/outlets.ts";
import { fakeClock } from "../support/clock.ts";
import { collector } from "../support/collector.ts";
import { temporaryFolder } from "../support/disk.ts";
import { quietLog } from "../support/silence.ts";

const LOGGED: Account = {
  route: "app",
  arm: "stable",
  why: "anonymous",
  bucket: -1,
  keyHash: "",
  method: "GET",
  path: "/",
  reason: "ok",
  status: 200,
  latencyMs: 1,
  startedAt: 1_767_603_600_000,
  settledMs: 1,
  totalMs: 1,
  rescued: false,
  answered: 200,
  ended: "ok",
  isLogged: true,
  traceId: "",
  trace: undefined,
};
const traced = (path: string): Account => ({
  ...LOGGED,
  path,
  isLogged: false,
  traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
  trace: {
    spanId: "00f067aa0ba902b7",
    parentId: "",
    state: "",
    host: "x",
    scheme: "http",
    version: "1.1",
    sendings: [],
  },
});

function configOf(more: object): Config {
  const arm = { endpoints: ["http://a:1"] };
  return configSchema.parse({ routes: [{ name: "app", stable: arm, canary: arm }], ...more });
}

function outletsOf(): Outlets {
  return new Outlets({
    secretOf: () => {
      throw new Error("there are no secrets");
    },
    write: () => Promise.resolve(),
    program: "0",
    clock: fakeClock(),
    log: quietLog(),
  });
}

t.test("a span that comes while the collector is changed goes to the new one", async (t) => {
  const [before, after] = [await collector("hangs"), await collector()];
  const outlets = outletsOf();
  t.teardown(async () => {
    await outlets.close();
    await before.close();
    await after.close();
  });
  await outlets.configure(configOf({ tracing: { otlp: before.url } }));
  outlets.take([traced("/before")]);
  const changed = outlets.configure(configOf({ tracing: { otlp: after.url } }));
  // The old one is asked for its last word by then, and does not answer.
  await before.until(() => before.requests > 0);
  outlets.take([traced("/between")]);
  const [span] = await after.until((spans) => spans.length > 0);
  t.equal(span?.attributes["url.path"], "/between");
  await changed;
  await outlets.close();
  t.strictSame(outlets.counts.spans, { sent: 1, failed: 1, dropped: 0 });
  t.equal(after.spans.length, 1);
});

t.test("a line that comes while the access log is changed is written, and in its order", async (t) => {
  const folder = await temporaryFolder(t);
  const outlets = outletsOf();
  t.teardown(() => outlets.close());
  const to = (name: string, sample: string): Config =>
    configOf({ accessLog: { sample, to: { file: join(folder, name) } } });
  const take = (...paths: string[]): void => outlets.take(paths.map((path) => ({ ...LOGGED, path })));
  await outlets.configure(to("a.log", "1%"));
  take("/1");
  const changes = [outlets.configure(to("a.log", "2%"))];
  take("/2");
  changes.push(outlets.configure(to("b.log", "2%")));
  take("/3");
  await Promise.all(changes);
  const ended = outlets.configure(configOf({}));
  // The third may be on its way still.
  t.ok(outlets.counts.lines.written >= 2, "what is counted stays so while it is closed");
  await ended;
  t.strictSame(outlets.counts.lines, { written: 3, dropped: 0 });
  const pathsIn = async (name: string): Promise<readonly string[]> =>
    [...(await readFile(join(folder, name), "utf8")).matchAll(/"path":"([^"]+)"/g)].map(
      ([, path = ""]) => path,
    );
  t.strictSame(await pathsIn("a.log"), ["/1", "/2"]);
  t.strictSame(await pathsIn("b.log"), ["/3"]);
});

t.test("what is to be told while there is nobody to tell is counted as dropped", async (t) => {
  const outlets = outletsOf();
  outlets.take([LOGGED, traced("/")]);
  t.strictSame(outlets.counts, {
    spans: { sent: 0, failed: 0, dropped: 1 },
    lines: { written: 0, dropped: 1 },
  });
  await outlets.close();
});
