/** Questions to other programs: what is asked, what counts as go, and where no question goes. */

import type { Socket } from "node:net";
import t, { type Test } from "tap";
import { confirm } from "../../src/config/preflight.ts";
import { Secret } from "../../src/config/secret.ts";
import { millis } from "../../src/domain/units.ts";
import type { ConfirmHook } from "../../src/engine/ports.ts";
import { signatureFields } from "../../src/notify/signature.ts";
import { isRefused } from "../../src/config/address.ts";
import { createConfirm, type HookParts } from "../../src/preflight/hook.ts";
import { fakeClock } from "../support/clock.ts";
import { fakeDice } from "../support/dice.ts";
import { until } from "../support/preflight.ts";
import { NOBODY, reply, upstream } from "../support/upstream.ts";

function confirmOf(t: Test, parts: Partial<HookParts> = {}) {
  const clock = fakeClock();
  const ended = new AbortController();
  t.teardown(() => ended.abort());
  const port = createConfirm(
    {
      clock,
      dice: fakeDice(3),
      lookup: () => Promise.reject(new Error("no names")),
      sign: signatureFields,
      secretOf: (source) => new Secret("open sesame", source),
      environment: "production",
      ...parts,
    },
    ended.signal,
  );
  const ask = (url: string, more: Partial<ConfirmHook> = {}) =>
    port.ask("app", { url, timeout: millis(10_000), allowPrivate: false, ...more }, { step: 2, weight: 25 });
  return { clock, ended, ask };
}

t.test("one signed POST says what it is about, and any 2xx means go", async (t) => {
  for (const status of [200, 202, 204, 299]) {
    const hook = await upstream((socket) => void socket.write(reply(status)));
    t.teardown(() => hook.close());
    const { ask } = confirmOf(t);
    const url = `${hook.url.replace("//", "//me:p%40ss@")}/go?token=1`;
    t.same(await ask(url, { secret: { env: "S" } }), { go: true, detail: `status ${status}` });
    const [seen] = hook.requests;
    t.match(seen, { method: "POST", target: "/go?token=1" });
    t.same(JSON.parse(seen?.body ?? ""), {
      type: "sluice.confirm",
      timestamp: "2026-01-05T09:00:00.000Z",
      data: { environment: "production", route: "app", step: 2, weight: 25 },
    });
    const [id = "", seconds = ""] = ["webhook-id", "webhook-timestamp"].map((name) => seen?.field(name));
    t.equal(
      seen?.field("webhook-signature"),
      signatureFields("open sesame", id, Number(seconds), seen?.body ?? "")["webhook-signature"],
    );
    t.equal(seen?.field("authorization"), `Basic ${Buffer.from("me:p@ss").toString("base64")}`);
  }
});

t.test("any other answer means stay, with its status and the first line of why", async (t) => {
  const answers: readonly (readonly [answer: string, detail: string])[] = [
    [reply(403, "change freeze until Monday\nmore"), "status 403: change freeze until Monday"],
    [reply(503), "status 503"],
    [reply(302, "", "Location: /else\r\n"), "status 302"],
    [reply(418, "\u001b[31mred\u0007"), "status 418: [31mred"],
    ["HTTP/1.1 101 X\r\nUpgrade: a\r\nConnection: upgrade\r\n\r\n", "status 101"],
    ["nonsense\r\n\r\n", "HPE_INVALID_CONSTANT"],
  ];
  for (const [answer, detail] of answers) {
    const hook = await upstream(answer);
    t.teardown(() => hook.close());
    const { ask } = confirmOf(t);
    t.same(await ask(`${hook.url}/x`), { go: false, detail });
    t.equal(hook.requests.length, 1, "a redirect is not followed");
  }
  t.same(await confirmOf(t).ask(NOBODY), { go: false, detail: "ECONNREFUSED" });
});

t.test("a hook that never answers means stay when its time is over, and is left", async (t) => {
  const { ask, clock } = confirmOf(t);
  const hook = await upstream(() => {});
  t.teardown(() => hook.close());
  const found = ask(`${hook.url}/secret-path`);
  await until(() => hook.requests.length === 1);
  await clock.advance("9s");
  t.equal(clock.timers, 1, "not before");
  await clock.advance("1s");
  t.same(await found, { go: false, detail: "no answer within 10s" });
  await until(() => hook.sockets.size === 0);
  t.equal(clock.timers, 0);
});

t.test("a go is one when its head has come: nobody waits for what it says beside", async (t) => {
  const hook = await upstream("HTTP/1.1 200 X\r\nContent-Length: 10\r\n\r\n");
  t.teardown(() => hook.close());
  const { ask, clock } = confirmOf(t);
  t.same(await ask(hook.url), { go: true, detail: "status 200" });
  t.equal(clock.timers, 0);
});

t.test("300 MB of an answer are not read, whatever its status", async (t) => {
  const chunk = Buffer.alloc(1024 * 1024, "x");
  for (const status of [200, 500]) {
    let sent = 0;
    const pour = (socket: Socket): void => {
      while (sent < 300 && !socket.destroyed) {
        sent += 1;
        if (!socket.write(chunk)) return void socket.once("drain", () => pour(socket));
      }
    };
    const hook = await upstream((socket) => {
      socket.write(`HTTP/1.1 ${status} X\r\nContent-Length: ${300 * chunk.length}\r\n\r\n`);
      pour(socket);
    });
    t.teardown(() => hook.close());
    const { ask } = confirmOf(t);
    const { go, detail } = await ask(hook.url);
    t.equal(go, status === 200);
    t.ok(detail.length < 300);
    await until(() => hook.sockets.size === 0);
    t.ok(sent < 100, `${sent} MiB were taken`);
  }
});

t.test("a name that leads to the cloud's metadata is not connected to, however it is written", async (t) => {
  const names: Readonly<Record<string, readonly string[]>> = {
    "plain.example": ["169.254.169.254"],
    "mixed.example": ["127.0.0.1", "169.254.169.254"],
    "mapped.example": ["::ffff:169.254.169.254"],
    "six.example": ["fd00:ec2::254"],
    "nat.example": ["64:ff9b::a9fe:a9fe"],
    "zone.example": ["fe80::1%eth0"],
    "zero.example": ["0.0.0.0"],
  };
  const lookup = async (name: string) => names[name] ?? [];
  const { ask } = confirmOf(t, { lookup });
  for (const [name, addresses] of Object.entries(names)) {
    const { go, detail } = await ask(`http://${name}:9/latest/meta-data`);
    t.equal(go, false);
    t.equal(detail, `leads to ${addresses.at(-1)}, which is refused; \`allowPrivate: true\` would allow it`);
  }
  t.same(await ask("http://nowhere.example/"), { go: false, detail: "ENOTFOUND" });
  for (const host of [
    "169.254.169.254",
    "2852039166",
    "0xa9.254.0251.254",
    "[fe80::1]",
    "0",
    "[::]",
    "[::ffff:a9fe:a9fe]",
  ])
    t.match(await ask(`http://${host}/latest`), { go: false, detail: /^leads to .*refused/ }, host);
});

t.test("where the operator says so, a name may lead there", async (t) => {
  const hook = await upstream(reply(200));
  t.teardown(() => hook.close());
  const { port } = new URL(hook.url);
  // 0.0.0.0 is this host where it is connected to.
  const { ask } = confirmOf(t, { lookup: async () => ["0.0.0.0"] });
  t.match(await ask(`http://hook.example:${port}/`), { go: false });
  t.equal(hook.accepted, 0);
  t.match(await ask(`http://hook.example:${port}/`, { allowPrivate: true }), { go: true });
});

t.test(
  "a name is looked up once for each question, so that what was judged is what is connected to",
  async (t) => {
    const hook = await upstream(reply(200));
    t.teardown(() => hook.close());
    const { port } = new URL(hook.url);
    const answers = ["127.0.0.1", "169.254.169.254"];
    const { ask } = confirmOf(t, { lookup: async () => [answers.shift() ?? ""] });
    t.match(await ask(`http://rebinding.example:${port}/`), { go: true });
    t.same(answers, ["169.254.169.254"]);
  },
);

t.test("loopback, private networks and public addresses are where hooks are", async (t) => {
  for (const address of [
    "127.0.0.1",
    "::1",
    "10.1.2.3",
    "192.168.1.1",
    "172.16.0.1",
    "fd12::1",
    "1.1.1.1",
    "2001:db8::1",
  ])
    t.notOk(isRefused(address), address);
  const four = "169.254.0.1 169.254.255.255 100.100.100.200 168.63.129.16 224.0.0.1 255.255.255.255 0.1.2.3";
  const six = ":: febf::1 ff02::1 fd00:ec2::23 2002:a9fe:a9fe::1 ::a9fe:a9fe ::ffff:0.0.0.0 localhost 1.2.3";
  const refused = ["", ...four.split(" "), ...six.split(" ")];
  for (const address of refused) t.ok(isRefused(address), address);
});

t.test("a secret that is not there, or a program that stops, is a stay and no exception", async (t) => {
  const hook = await upstream(() => {});
  t.teardown(() => hook.close());
  const missing = confirmOf(t, {
    secretOf: () => {
      throw new Error("a secret that the configuration does not name");
    },
  });
  t.same(await missing.ask(hook.url, { secret: { env: "X" } }), {
    go: false,
    detail: "a secret that the configuration does not name",
  });
  const { ask, ended } = confirmOf(t);
  const found = ask(hook.url);
  await until(() => hook.requests.length === 1);
  ended.abort();
  t.same(await found, { go: false, detail: "was ended" });
  t.same(await ask(hook.url), { go: false, detail: "was ended" });
});

t.test("a gate's hook as it is written has a time-out and a pace, and leads nowhere private", async (t) => {
  t.same(confirm.parse({ url: "https://ci.example/go" }), {
    url: "https://ci.example/go",
    timeout: 10_000,
    interval: 10_000,
    allowPrivate: false,
  });
  for (const bad of [
    {},
    { url: "ftp://x/" },
    { url: "https://x/", timeout: "11m" },
    { url: "https://x/", secret: "s" },
  ])
    t.notOk(confirm.safeParse(bad).success, JSON.stringify(bad));
});
