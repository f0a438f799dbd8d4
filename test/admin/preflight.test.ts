/** The checks before a rollout over the admin API. */

import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Socket } from "node:net";
import t from "tap";
import { millis } from "../../src/domain/units.ts";
import { adminConfig, testAdmin } from "../support/control.ts";

t.test("a preflight is run and answered, nothing is started, and its answer may take its time", async (t) => {
  const sockets: Socket[] = [];
  const onRequest = (message: unknown): void => {
    // What the platform publishes on this channel.
    sockets.push((message as { readonly socket: Socket }).socket);
  };
  subscribe("http.server.request.start", onRequest);
  t.teardown(() => unsubscribe("http.server.request.start", onRequest));
  const results = [
    { name: "arms", ok: true, required: true, detail: "2/2 endpoints healthy", tookMs: 1 },
    { name: "smoke", ok: false, required: true, detail: "status 503", tookMs: 2 },
  ];
  const asked: unknown[] = [];
  const { ask, control } = await testAdmin(t, {
    preflight: {
      async run(...args) {
        asked.push([...args, sockets.at(-1)?.timeout]);
        return results;
      },
    },
  });
  const answer = await ask("POST", "/v1/rollouts/app/preflight", { as: "operator" });
  const failed = { passed: false, sentence: "1 of 2 failed: smoke", failed: ["smoke"] };
  t.same([answer.status, answer.json], [200, { ...failed, results }]);
  await ask("POST", "/v1/rollouts/api/preflight", { body: { version: "5.0" } });
  t.same(asked, [
    ["app", "4.0.0", 605_000],
    ["api", "5.0", 605_000],
  ]);
  t.same(control.asked, [], "no command");
  t.match(await ask("POST", "/v1/rollouts/none/preflight"), { status: 404 });
  t.match(await ask("POST", "/v1/rollouts/app/preflight", { as: "reader" }), { status: 403 });
  t.match(await ask("POST", "/v1/rollouts/app/preflight", { body: { version: "a\nb" } }), { status: 400 });
});

t.test(
  "the address of a hook before a rollout is shown without its path, as that of any webhook",
  async (t) => {
    const config = adminConfig();
    const url = "https://hooks.example/services/hunter2";
    const hook = { name: "x", url, required: true, allowPrivate: false, timeout: millis(1000) };
    const routes = config.routes.map((each) => ({
      ...each,
      preflight: { ...each.preflight, webhooks: [hook] },
    }));
    const { ask } = await testAdmin(t, { config: () => ({ ...config, routes }) });
    const { text } = await ask("GET", "/v1/config");
    t.notMatch(text, "hunter2");
    t.match(text, "https://hooks.example/[redacted]");
  },
);
