/** The stream of events: what is told, when, to how many, and that nothing runs when nobody listens. */

import { request, type IncomingMessage } from "node:http";
import t from "tap";
import { LISTENERS } from "../../src/admin/events.ts";
import { bearer, testAdmin } from "../support/control.ts";

/** A listener to the events; `next` resolves with the text received once it matches. */
async function listen(address: string, path = "/v1/events") {
  const incoming = await new Promise<IncomingMessage>((resolve, reject) => {
    const port = Number(address.slice(address.lastIndexOf(":") + 1));
    const outgoing = request(
      { host: "127.0.0.1", port, path, agent: false, headers: bearer("reader") },
      resolve,
    );
    outgoing.on("error", reject).end();
  });
  let text = "";
  let notify: () => void = () => undefined;
  incoming.on("data", (part: Buffer) => {
    text += part.toString();
    notify();
  });
  incoming.on("error", () => undefined);
  return {
    incoming,
    async next(pattern: RegExp): Promise<string> {
      while (!pattern.test(text)) await new Promise<void>((resolve) => (notify = resolve));
      const found = text;
      text = "";
      return found;
    },
  };
}

t.test(
  "the events tell every route at once, each second and at each change, while somebody listens",
  async (t) => {
    const { address, control, clock, ask } = await testAdmin(t);
    t.equal(clock.timers, 0);
    const listener = await listen(address);
    t.match(listener.incoming.headers, { "content-type": "text/event-stream", "cache-control": "no-store" });
    const first = await listener.next(/"name":"api".*\n\n/);
    t.match(first, /^retry: 2000\n: open\n\nid: 1\nevent: status\ndata: \{"name":"app"/);
    const data = /data: (.*)/.exec(first)?.[1] ?? "";
    t.same(JSON.parse(data), control.route("app"));
    t.equal(clock.timers, 1);

    await clock.advance("1s");
    await listener.next(/"name":"app"[^]*"name":"api".*\n\n/);
    control.change({ weight: 0, phase: "rolled_back" });
    await clock.advance("100ms");
    await listener.next(/"name":"app"[^\n]*"weight":0,[^\n]*"phase":"rolled_back"/);
    await ask("POST", "/v1/rollouts/app/pause");
    await listener.next(new RegExp(`"version":${control.version}`));
    await clock.advance("15s");
    await listener.next(/\n: heartbeat\n\n/);

    const one = await listen(address, "/v1/events?route=api");
    t.notMatch(await one.next(/"name":"api".*\n\n/), '"name":"app"');
    one.incoming.destroy();
    const gone = new Promise((resolve) => listener.incoming.once("close", resolve));
    listener.incoming.destroy();
    await gone;
    // Each call is a turn in which the server can see that they left.
    for (let i = 0; i < 100 && clock.timers > 0; i++) await ask("GET", "/livez");
    t.equal(clock.timers, 0, "nobody listens, nothing runs");
    t.match(await ask("HEAD", "/v1/events"), { status: 200, text: "" });
    t.equal(clock.timers, 0);
  },
);

t.test("listeners to the events are bounded", async (t) => {
  const { address, ask } = await testAdmin(t);
  const listeners = await Promise.all(Array.from({ length: LISTENERS }, () => listen(address)));
  const refused = await ask("GET", "/v1/events");
  t.match(refused, { status: 503, json: { code: "SPLIT_OVERLOADED" }, headers: { "retry-after": "5" } });
  t.equal((await ask("GET", "/v1/routes")).status, 200);
  for (const { incoming } of listeners) incoming.destroy();
});
