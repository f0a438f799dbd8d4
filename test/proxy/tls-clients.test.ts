/** Certificates of clients: who is let in, and that a verified subject is a sticky key (reliability.md I51, F34). */

import { X509Certificate } from "node:crypto";
import t from "tap";
import { bucketOf } from "../../src/domain/split.ts";
import { subjectText } from "../../src/proxy/certificates.ts";
import { inEveryLane } from "../support/lanes.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { LAST_GET, pairOf, talk, textsOf, tlsFile, type Talk } from "../support/tls.ts";
import { reply, upstream } from "../support/upstream.ts";

const clientCa = tlsFile("ca.cert.pem");
const ALICE = "CN=alice,O=Example\\, Inc.,C=DE";
const BOB = "CN=bob,O=Example\\, Inc.,C=DE";
const NAMELESS = "URI:spiffe://example/billing";

interface Site {
  readonly running: TestPlane;
  get(who: string, more?: object): Promise<Talk>;
  close(): Promise<void>;
}

async function site(tls: object, more: readonly object[] = []): Promise<Site> {
  const [stable, canary] = [await upstream(reply(200, "stable")), await upstream(reply(200, "canary"))];
  const running = await startPlane(
    { stable: stable.url, canary: canary.url },
    { key: ["tls"], anonymous: "stable" },
    { listen: [{ address: "127.0.0.1:0", tls: { ...pairOf(""), ...tls } }, ...more] },
  );
  return {
    running,
    get: (who, options = {}) =>
      talk(running.address, LAST_GET, { ...(who === "" ? {} : textsOf(who)), ...options }),
    async close() {
      await running.plane.close();
      await stable.close();
      await canary.close();
    },
  };
}

/** A weight in percent at which the one with the lower bucket is on the canary, and the other is not. */
function between(a: string, b: string): { readonly weight: number; readonly armOf: (who: string) => string } {
  const [low = 0, high = 0] = [a, b].map((who) => bucketOf(who, "salt")).sort((one, other) => one - other);
  const weight = Math.round((low + high) / 200) / 100;
  return { weight, armOf: (who) => (bucketOf(who, "salt") < weight * 10_000 ? "canary" : "stable") };
}

t.test("a subject is one line, and the same for the same name", async (t) => {
  const of = (name: string): string => subjectText(new X509Certificate(textsOf(name).cert));
  t.equal(of("alice"), ALICE);
  t.equal(of("bob"), BOB);
  t.equal(of("nameless"), NAMELESS, "without a subject, who else it is");
});

void inEveryLane(
  "two clients with different certificates are sticky apart, each for good, also when their sessions are resumed",
  async (t) => {
    for (const clients of ["request", "require"]) {
      const s = await site({ clients, clientCa });
      const { weight, armOf } = between(ALICE, BOB);
      t.not(armOf(ALICE), armOf(BOB));
      s.running.weight(weight);
      let resumed = 0;
      for (const [who, subject] of [
        ["alice", ALICE],
        ["bob", BOB],
      ] as const) {
        for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
          let session: Buffer | undefined;
          for (let nth = 0; nth < 3; nth++) {
            const talked = await s.get(who, { maxVersion, session });
            t.match(talked.text, new RegExp(`${armOf(subject)}$`), `${who}, ${talked.protocol}`);
            if (talked.isReused) resumed++;
            session = talked.session ?? session;
          }
        }
      }
      t.equal(resumed, 8);
      await s.close();
    }
  },
);

t.test("a client without a name of its own is sticky by its other name", async (t) => {
  const s = await site({ clients: "require", clientCa });
  const { weight, armOf } = between(NAMELESS, ALICE);
  s.running.weight(weight);
  t.match((await s.get("nameless")).text, new RegExp(`${armOf(NAMELESS)}$`));
  t.match((await s.get("alice")).text, new RegExp(`${armOf(ALICE)}$`));
  await s.close();
});

t.test("where one is required nobody gets in without, nor with one that cannot be verified", async (t) => {
  for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
    const s = await site({ clients: "require", clientCa });
    for (const who of ["", "mallory", "expired"])
      t.match(await s.get(who, { maxVersion }), { text: "" }, `${who} ${maxVersion}`);
    t.match(await s.get("alice", { maxVersion }), { text: /stable$/ });
    const totals = await s.running.settled((now) => now.settled === 1);
    t.strictSame(totals.events, { tls_handshake_failed: 3 });
    await s.running.settled(() => s.running.plane.gauges().connections === 0);
    await s.close();
  }
});

t.test(
  "where one is asked for a client without is served and has no key, and one with a bad one is refused",
  async (t) => {
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
      const s = await site({ clients: "request", clientCa });
      s.running.weight(100);
      t.match((await s.get("alice", { maxVersion })).text, /canary$/);
      t.match((await s.get("", { maxVersion })).text, /stable$/, "anonymous");
      t.match(await s.get("mallory", { maxVersion }), { text: "" });
      const totals = await s.running.settled((now) => now.settled === 2);
      t.strictSame(totals.events, { tls_handshake_failed: 1 });
      await s.close();
    }
  },
);

t.test(
  "a session without a certificate is not resumed where one is required, and not for a longer time with other authorities (reliability 51)",
  async (t) => {
    const tls = { ...pairOf(""), clients: "require", clientCa };
    const open = await site({});
    const strict = await site(tls);
    for (const maxVersion of ["TLSv1.2", "TLSv1.3"] as const) {
      const { session, text } = await open.get("", { maxVersion });
      t.match(text, /stable$/);
      t.ok(session);
      t.match(await open.get("", { maxVersion, session }), { isReused: true });
      t.match(await strict.get("", { maxVersion, session }), { text: "", isReused: false });
      const known = await strict.get("alice", { maxVersion });
      t.match(await strict.get("alice", { maxVersion, session: known.session }), { isReused: true });
      const other = await site({ ...tls, clientCa: tlsFile("other.cert.pem") });
      t.match(await other.get("alice", { maxVersion, session: known.session }), {
        text: "",
        isReused: false,
      });
      await other.close();
    }
    await open.close();
    await strict.close();
  },
);
