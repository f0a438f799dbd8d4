/** What of the configuration's secrets goes to the threads that carry the traffic. */

import t from "tap";
import { configSchema } from "../../src/config/schema.ts";
import { Secret, secretSourcesOf } from "../../src/config/secret.ts";
import { createWorkers } from "../../src/proxy/workers.ts";
import { fakeClock } from "../support/clock.ts";
import { quietLog } from "../support/silence.ts";

t.test("only the secrets that requests are judged by are given to the threads", async (t) => {
  const read: unknown[] = [];
  const from = (env: string): object => ({ env });
  const config = configSchema.parse({
    listen: [{ address: "127.0.0.1:0" }],
    state: {
      redis: "rediss://127.0.0.1:1",
      password: from("STATE_PASSWORD"),
      ca: from("STATE_CA"),
      cookieSecret: from("STATE_COOKIE"),
    },
    admin: { tokens: [{ name: "ops", token: from("TOKEN"), scopes: ["read"] }] },
    tracing: { headers: { authorization: from("TRACING") } },
    notify: { webhook: { url: "http://127.0.0.1:1", secret: from("NOTIFY") } },
    routes: [
      {
        name: "app",
        stable: { endpoints: ["http://127.0.0.1:1"] },
        canary: { endpoints: ["http://127.0.0.1:2"] },
        override: { header: "x-arm", secret: from("ARM") },
        confirm: { url: "http://127.0.0.1:3", secret: from("CONFIRM") },
        preflight: { webhooks: [{ name: "hook", url: "http://127.0.0.1:3", secret: from("PREFLIGHT") }] },
      },
    ],
  });
  t.equal(secretSourcesOf(config).length, 9);
  const plane = createWorkers({
    entry: new URL("data:text/javascript,throw new Error('ends at once')"),
    config,
    clock: fakeClock(),
    log: quietLog(),
    cookieSecret: "",
    secretOf(source) {
      read.push(source);
      return new Secret("", source);
    },
    healthy: () => true,
  });
  await t.rejects(plane.listen());
  t.same(read, [{ env: "ARM" }]);
});
