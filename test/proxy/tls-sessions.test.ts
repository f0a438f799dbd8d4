/** Sessions over TLS, resumed wherever a client comes back to: on any socket of any thread (reliability.md I51). */

import t from "tap";
import { configSchema } from "../../src/config/schema.ts";
import { Secret } from "../../src/config/secret.ts";
import { PemWatch } from "../../src/proxy/pem-watch.ts";
import { createWorkers } from "../../src/proxy/workers.ts";
import { fakeClock } from "../support/clock.ts";
import { fakeDice } from "../support/dice.ts";
import { LAST_GET, pairOf, talk, type Talk } from "../support/tls.ts";
import { reply, upstream } from "../support/upstream.ts";

const WORKER = new URL("../../src/worker.ts", import.meta.url);
const VERSIONS = ["TLSv1.2", "TLSv1.3"] as const;

async function site() {
  const server = await upstream(reply(200, "ok"));
  const lines: string[] = [];
  const line = (message: string, fields?: object): void =>
    void lines.push(`${message} ${JSON.stringify(fields ?? {})}`);
  const log = { debug: line, info: line, warn: line, error: line };
  const clock = fakeClock();
  const tls = { ...pairOf(""), sni: [{ names: ["app.example"], ...pairOf("app") }] };
  const config = configSchema.parse({
    listen: [{ address: "127.0.0.1:0", tls }],
    workers: 2,
    routes: [{ name: "app", stable: { endpoints: [server.url] }, canary: { endpoints: [server.url] } }],
  });
  const watch = new PemWatch({ clock, dice: fakeDice(1), log });
  await watch.open(config);
  const plane = createWorkers({
    entry: WORKER,
    config,
    pems: watch.shelf,
    clock,
    log,
    cookieSecret: "a cookie secret",
    secretOf: (source) => new Secret("", source),
    healthy: () => true,
  });
  const [address = ""] = await plane.listen();
  return {
    clock,
    lines,
    get: (options: object): Promise<Talk> => talk(address, LAST_GET, options),
    async close() {
      watch.close();
      await plane.close();
      await server.close();
    },
  };
}

t.test(
  "a client resumes its session each time, whichever of sixteen sockets in two threads it meets (reliability 51)",
  async (t) => {
    const s = await site();
    t.teardown(() => s.close());
    for (const servername of ["localhost", "app.example"]) {
      for (const maxVersion of VERSIONS) {
        let { session } = await s.get({ servername, maxVersion });
        let resumed = 0;
        for (let nth = 0; nth < 40; nth++) {
          const talked = await s.get({ servername, maxVersion, session });
          session = talked.session ?? session;
          if (talked.isReused && talked.text.endsWith("ok")) resumed++;
        }
        t.equal(resumed, 40, `${servername} ${maxVersion}`);
      }
    }
  },
);

t.test(
  "the key of tickets is another one every twelve hours, in every thread (reliability 51)",
  async (t) => {
    const s = await site();
    t.teardown(() => s.close());
    for (const maxVersion of VERSIONS) {
      const { session } = await s.get({ maxVersion });
      t.match(await s.get({ maxVersion, session }), { isReused: true });
      await s.clock.advance("11h", "11h");
      t.match(await s.get({ maxVersion, session }), { isReused: true });
      await s.clock.advance("1h", "1h");
      // The threads are told by a message: as soon as both have it no old ticket opens anything.
      let old = 0;
      for (let fresh = 0; fresh < 20; old++) {
        if (old === 500) throw new Error("never another key");
        fresh = (await s.get({ maxVersion, session })).isReused ? 0 : fresh + 1;
      }
      const next = await s.get({ maxVersion });
      for (let nth = 0; nth < 10; nth++)
        t.match(await s.get({ maxVersion, session: next.session }), { isReused: true, text: /ok$/ });
    }
  },
);
