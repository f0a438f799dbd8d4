/** Who goes where: sticky keys, the anonymous cookie, overrides, routes, weight changes; and rescues (product.md §2, acceptance 1–3, 14–16, 31, 32). */

import { readFileSync } from "node:fs";
import { COOKIE, signed } from "../../src/proxy/affinity.ts";
import { bucketOf } from "../../src/domain/split.ts";
import { RescueBudget } from "../../src/proxy/rescue.ts";
import { millis, ppm } from "../../src/domain/units.ts";
import { golden } from "../support/golden.ts";
import { inEveryLane } from "../support/lanes.ts";
import { bodyOf, once, raw, statusOf } from "../support/raw.ts";
import { startPlane, type TestPlane } from "../support/plane.ts";
import { NOBODY, reply, upstream } from "../support/upstream.ts";

async function arms(route: object = {}, top: object = {}) {
  const stable = await upstream(reply(200, "stable"));
  const canary = await upstream(reply(200, "canary"));
  const running = await startPlane({ stable: stable.url, canary: canary.url }, route, top);
  const stop = async (): Promise<void> => {
    await running.plane.close();
    await stable.close();
    await canary.close();
  };
  return { stable, canary, running, stop };
}

async function ask(running: TestPlane, fields: string, target = "/", method = "GET"): Promise<string> {
  return once(running.address, `${method} ${target} HTTP/1.1\nHost: x${fields === "" ? "" : `\n${fields}`}`);
}

/** The arm of each of `count` keys, over one kept connection. */
async function armsOf(running: TestPlane, count: number): Promise<string[]> {
  const client = await raw(running.address);
  const found: string[] = [];
  for (let nth = 0; nth < count; nth += 50) {
    const from = client.received.length;
    let batch = "";
    for (let at = nth; at < nth + 50; at++)
      batch += `GET / HTTP/1.1\r\nHost: x\r\nX-User: user-${at}\r\n\r\n`;
    client.send(batch);
    const answers = (text: string): string[] =>
      [...text.slice(from).matchAll(/\r\n\r\n(stable|canary)/g)].map((match) => match[1] ?? "");
    await client.until((text) => answers(text).length === 50);
    found.push(...answers(client.received));
  }
  client.destroy();
  return found;
}

void inEveryLane(
  "a thousand keys fall into the buckets that are written down (reliability 34)",
  async (t) => {
    const rows = Array.from({ length: 1000 }, (_, nth) => {
      const key =
        nth === 0
          ? ""
          : nth % 3 === 0
            ? `user-${nth}`
            : nth % 3 === 1
              ? `${nth * 7919}@app.example`
              : `k\u00e9y ${nth}`;
      return `${JSON.stringify(key)},${bucketOf(key, "salt")}`;
    });
    const text = `key,bucket\n${rows.join("\n")}\n`;
    t.equal(text, golden("buckets.csv", text));
  },
);

void inEveryLane(
  "of 2,000 keys at 10 % 8.5 to 11.5 % go to canary, the same ones each time, and at 20 % all of those and more (reliability 34)",
  async (t) => {
    const { running, stop } = await arms();
    running.weight(10);
    const at10 = await armsOf(running, 2000);
    const again = await armsOf(running, 2000);
    running.weight(20);
    const at20 = await armsOf(running, 2000);
    running.weight(10);
    const back = await armsOf(running, 2000);
    const share = at10.filter((arm) => arm === "canary").length / 2000;
    t.equal(at10.length, 2000);
    t.ok(share >= 0.085 && share <= 0.115, String(share));
    t.strictSame(again, at10);
    t.strictSame(back, at10);
    t.ok(at10.every((arm, nth) => arm === "stable" || at20[nth] === "canary"));
    t.ok(at20.filter((arm) => arm === "canary").length > at10.filter((arm) => arm === "canary").length);
    await stop();
  },
);

void inEveryLane(
  "a key of bucket 0 goes to stable at weight 0, and the next exchange of a kept connection sees a new weight (reliability 34, 35)",
  async () => {
    const { running, stop } = await arms();
    let key = "";
    for (let nth = 0; key === ""; nth++) if (bucketOf(`k${nth}`, "salt") === 0) key = `k${nth}`;
    const client = await raw(running.address);
    const send = async (times: number, arm: string): Promise<void> => {
      client.send(`GET / HTTP/1.1\r\nHost: x\r\nX-User: ${key}\r\n\r\n`);
      await client.until(
        new RegExp(`(?:\\r\\n\\r\\n(?:stable|canary)[^]*){${times - 1}}\\r\\n\\r\\n${arm}$`),
      );
    };
    running.weight(0);
    await send(1, "stable");
    running.weight(0.0001);
    await send(2, "canary");
    running.weight(0);
    await send(3, "stable");
    client.destroy();
    await stop();
  },
);

void inEveryLane(
  "keys that are repeated, empty, 8 KB or binary have one side, and an unsigned claim, a cookie, a parameter work as keys (reliability 34)",
  async (t) => {
    const { running, canary, stop } = await arms({
      key: ["header:x-user", "cookie:sid", "query:u", "jwt:sub"],
    });
    running.weight(50);
    const side = async (fields: string, target = "/"): Promise<string> =>
      bodyOf(await ask(running, fields, target));
    const expected = (key: string): string => (bucketOf(key, "salt") < 500_000 ? "canary" : "stable");
    const token = (claims: string): string =>
      `Authorization: Bearer e30.${Buffer.from(claims).toString("base64url")}.x`;
    for (let nth = 0; nth < 6; nth++) {
      const key = `k${nth}`;
      t.equal(await side(`X-User: ${key}\nX-User: other`), expected(key));
      t.equal(await side(`X-User: ${key.padEnd(8192, "y")}`), expected(key.padEnd(8192, "y")));
      t.equal(await side(`X-User: \xff\xfe${key}`), expected(`\xff\xfe${key}`));
      t.equal(
        await side(`X-User:\nCookie: a=b; sid=${key}; sid=other`),
        expected(key),
        "an empty value is no key",
      );
      t.equal(await side("", `/?a=b&u=${key}&u=other`), expected(key));
      t.equal(await side(token(`{"sub":"${key}"}`)), expected(key));
    }
    running.weight(100);
    for (const broken of [
      "Authorization: Bearer a.b.c",
      token("{"),
      token('{"sub":{}}'),
      token("null"),
      "X-User:",
      "Cookie: sid",
    ])
      t.equal(await side(broken), "stable", broken);
    t.equal(canary.requests.filter((seen) => seen.head.includes("Bearer a.b.c")).length, 0);
    await stop();
  },
);

void inEveryLane(
  "an anonymous client gets a signed cookie and stays where it is; a forged or damaged one is no key (reliability 34)",
  async (t) => {
    const { running, stop } = await arms({ anonymous: "cookie" });
    running.weight(50);
    const first = await ask(running, "");
    const cookie =
      /set-cookie: (sluice_id=[^;]+); Max-Age=31536000; Path=\/; HttpOnly; SameSite=Lax/.exec(first)?.[1] ??
      "";
    t.match(cookie, /^sluice_id=v1\./);
    for (let nth = 0; nth < 5; nth++) {
      const again = await ask(running, `Cookie: a=b; ${cookie}`);
      t.notMatch(again, /set-cookie/i);
      t.equal(bodyOf(again), bodyOf(first));
    }
    const good = signed("chosen", "a cookie secret");
    t.notMatch(await ask(running, `Cookie: ${COOKIE}=${good}`), /set-cookie/i);
    const forgeries = [
      signed("chosen", "another secret"),
      good.slice(0, -1),
      `${good}x`,
      "v1.chosen",
      "v1..x",
      good.replace("chosen", "chosem"),
      "v2.a.b",
      "",
    ];
    for (const forged of forgeries)
      t.match(await ask(running, `Cookie: ${COOKIE}=${forged}`), /set-cookie: sluice_id=v1\./, forged);
    await stop();
  },
);

void inEveryLane("without a key chance or stable decides, as configured", async (t) => {
  const chance = await arms({ anonymous: "random" });
  chance.running.weight(50);
  const seen = new Set<string>();
  for (let nth = 0; nth < 30; nth++) seen.add(bodyOf(await ask(chance.running, "")));
  t.strictSame([...seen].sort(), ["canary", "stable"]);
  await chance.stop();
  const never = await arms({ anonymous: "stable" });
  never.running.weight(100);
  t.equal(bodyOf(await ask(never.running, "")), "stable");
  await never.stop();
});

void inEveryLane(
  "an override needs the secret or an allowed network, is counted apart, and is not forwarded (reliability 34)",
  async (t) => {
    const override = { header: "X-Arm", cookie: "arm", query: "arm", secret: { env: "X" } };
    const { running, canary, stop } = await arms({ override });
    running.weight(0);
    const side = async (fields: string, target = "/"): Promise<string> =>
      bodyOf(await ask(running, fields, target));
    t.equal(await side("X-User: u\nX-Arm: canary:open sesame"), "canary");
    t.notMatch(canary.requests[0]?.head ?? "x-arm", /x-arm/i);
    t.equal(await side("X-User: u\nCookie: arm=canary:open sesame"), "canary");
    t.equal(await side("X-User: u\nX-Arm: canary:wrong"), "stable");
    t.equal(await side("X-User: u\nX-Arm: canary"), "stable");
    t.equal(await side("X-User: u\nX-Arm: both:open sesame"), "stable");
    canary.script = (socket) => void socket.write(reply(500, "broken"));
    t.equal(
      await side("X-User: u\nX-Arm: canary:open sesame"),
      "broken",
      "a forced exchange is never rescued",
    );
    running.weight(0, false);
    t.equal(
      await side("X-User: u\nX-Arm: canary:open sesame"),
      "stable",
      "not while the route is rolled back",
    );
    const totals = await running.settled((now) => now.settled === 7);
    t.strictSame(totals.counts, { "forced canary ok": 2, "forced canary status": 1, "stable ok": 4 });
    t.strictSame(totals.failures, []);
    running.reconfigure({ override: { header: "x-arm", from: ["127.0.0.0/8"], always: true } });
    canary.script = (socket) => void socket.write(reply(200, "canary"));
    t.equal(await side("X-User: u\nX-Arm: canary"), "canary");
    running.reconfigure({ override: { header: "x-arm", from: ["10.0.0.0/8"] } });
    t.equal(await side("X-User: u\nX-Arm: canary"), "stable");
    await stop();
  },
);

void inEveryLane(
  "routes match by host, exact before wildcard before any, and by the longest path of whole segments",
  async (t) => {
    const { running, stop } = await arms({ match: { host: "*.app.example", path: "/api" } });
    const status = async (host: string, target: string): Promise<number> =>
      statusOf(await once(running.address, `GET ${target} HTTP/1.1\nHost: ${host}`));
    t.equal(await status("a.app.example:8080", "/api?x"), 200);
    t.equal(await status("A.B.App.Example", "/api/x"), 200);
    t.equal(
      await status("x", "http://a.app.example/api".replace("http://x", "")),
      200,
      "the absolute form's authority counts",
    );
    t.equal(await status("app.example", "/api"), 404);
    t.equal(await status("a.app.example", "/apis"), 404);
    t.match(running.measured().refused, { "404": 2 });
    await stop();
  },
);

void inEveryLane(
  "an exchange takes a healthy endpoint, also of those that a reload has brought",
  async (t) => {
    const { running, stable, canary, stop } = await arms({ stable: { endpoints: ["http://127.0.0.1:1"] } });
    running.reconfigure({ stable: { endpoints: [stable.url, canary.url] } });
    running.sick.add(stable.url);
    for (let nth = 0; nth < 10; nth++) t.equal(bodyOf(await ask(running, "")), "canary");
    await stop();
  },
);

void inEveryLane(
  "a canary failure is answered by stable for GET, and for POST only with an Idempotency-Key; it counts once, against the canary",
  async (t) => {
    const { running, canary, stable, stop } = await arms();
    running.weight(100);
    stable.script = (socket, seen) => void socket.write(reply(200, `stable ${seen.body}`));
    canary.script = (socket) => void socket.write(reply(500, "broken"));
    t.equal(bodyOf(await ask(running, "X-User: u", "/orders/1234?x")), "stable ");
    t.equal(bodyOf(await ask(running, "X-User: u", "/", "POST")), "broken");
    const held = `POST / HTTP/1.1\nHost: x\nX-User: u\nIdempotency-Key: 1\nContent-Length: 5`;
    t.equal(bodyOf(await once(running.address, held, "hello")), "stable hello");
    const large = `POST / HTTP/1.1\nHost: x\nX-User: u\nIdempotency-Key: 1\nContent-Length: 70000`;
    t.equal(
      bodyOf(await once(running.address, large, "a".repeat(70_000))),
      "broken",
      "a body too long to hold",
    );
    canary.script = (socket) => void socket.destroy();
    t.equal(bodyOf(await ask(running, "X-User: u")), "stable ");
    canary.script = (socket) =>
      void socket.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", () => socket.destroy());
    t.equal(bodyOf(await ask(running, "X-User: u")), "abc", "not after the first byte");
    const totals = await running.settled((now) => now.settled === 6);
    t.strictSame(
      totals.counts,
      { "canary status": 4, "canary reset": 1, "canary cut": 1 },
      "stable's attempts are no evidence",
    );
    t.strictSame(totals.rescues, { answered: 3, failed: 0, refused: 0 });
    t.equal(totals.failures[0]?.path, "/orders/:id");
    t.equal(totals.failures[0]?.rescued, true);
    t.notMatch(JSON.stringify(totals.failures), /"u"/);
    await stop();
  },
);

void inEveryLane(
  "a canary that is gone or silent is rescued, and a rescue that fails too is said so",
  async (t) => {
    const stable = await upstream(reply(200, "stable"));
    const gone = NOBODY;
    const dead = await startPlane({ stable: stable.url, canary: gone });
    dead.weight(100);
    t.equal(bodyOf(await ask(dead, "X-User: u")), "stable");
    stable.script = (socket) => void socket.destroy();
    t.equal(statusOf(await ask(dead, "X-User: u")), 502);
    const totals = await dead.settled((now) => now.settled === 2 && now.rescues.failed === 1);
    t.strictSame(totals.counts, { "canary connect": 2 });
    t.strictSame(totals.rescues, { answered: 1, failed: 1, refused: 0 });
    await dead.plane.close();
    await stable.close();
  },
);

void inEveryLane(
  "when the budget is spent the canary's own answers pass through, and time gives it back",
  async (t) => {
    const { running, canary, stop } = await arms({ rescue: { budget: "10%" } });
    running.weight(100);
    canary.script = (socket) => void socket.write(reply(500, "broken"));
    const bodies: string[] = [];
    for (let nth = 0; nth < 15; nth++) bodies.push(bodyOf(await ask(running, "X-User: u")));
    t.strictSame(bodies, [...Array<string>(10).fill("stable"), ...Array<string>(5).fill("broken")]);
    running.advance(11_000);
    t.equal(bodyOf(await ask(running, "X-User: u")), "stable");
    const totals = await running.settled((now) => now.settled === 16);
    t.strictSame(totals.rescues, { answered: 11, failed: 0, refused: 5 });
    await stop();
  },
);

void inEveryLane("never more rescues in flight than the guard allows", async (t) => {
  const budget = new RescueBudget();
  for (let nth = 0; nth < 100; nth++) budget.count(millis(0));
  t.ok(budget.take(millis(0), ppm(1_000_000), 2));
  t.ok(budget.take(millis(0), ppm(1_000_000), 2));
  t.notOk(budget.take(millis(0), ppm(1_000_000), 2));
  budget.release();
  t.ok(budget.take(millis(0), ppm(1_000_000), 2));
  t.equal(budget.inFlight, 2);
});

void inEveryLane("the committed buckets are a thousand", async (t) => {
  const file = new URL("../golden/buckets.csv", import.meta.url);
  t.equal(readFileSync(file, "utf8").trim().split("\n").length, 1001);
});
