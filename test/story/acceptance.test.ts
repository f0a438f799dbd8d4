import { readFile, readdir } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { failing, program, type Program } from "../support/program.ts";
import { raw, resetConnection } from "../support/raw.ts";

const users = (count: number, from = 0): readonly string[] =>
  Array.from({ length: count }, (_, i) => `user-${from + i}`);

/** Which of the users are answered by the canary. */
async function onCanary(p: Program, who: readonly string[]): Promise<ReadonlySet<string>> {
  const found = new Set<string>();
  for (let i = 0; i < who.length; i += 50) {
    const batch = who.slice(i, i + 50);
    const answers = await Promise.all(batch.map((user) => p.get(user)));
    answers.forEach((answer, index) => {
      if (answer.body === "canary") found.add(batch[index] ?? "");
    });
  }
  return found;
}

const isSubset = (small: ReadonlySet<string>, large: ReadonlySet<string>): boolean =>
  [...small].every((each) => large.has(each));

t.test(
  "users stay where they are: 10 %, again 10 %, 20 %, back to 10 % (acceptance 2) (reliability 34)",
  async (t) => {
    const p = await program();
    t.teardown(() => p.close());
    const who = users(2000);
    await p.setWeight(10);
    const ten = await onCanary(p, who);
    t.ok(ten.size >= 170 && ten.size <= 230, `${ten.size} of 2000`);
    t.same(await onCanary(p, who), ten, "the same ones each time");
    await p.setWeight(20);
    const twenty = await onCanary(p, who);
    t.ok(isSubset(ten, twenty) && twenty.size > ten.size, "all of those and more");
    await p.setWeight(10);
    t.same(await onCanary(p, who), ten, "the ones added last go first");
  },
);

t.test(
  "after a rollback the very next request of a canary user goes to stable (acceptance 1, 16) (reliability 35)",
  async (t) => {
    const p = await program();
    t.teardown(() => p.close());
    await p.setWeight(50);
    const mine = [...(await onCanary(p, users(100)))];
    t.ok(mine.length > 20);
    const answer = await p.api("/v1/rollouts/app/rollback", { reason: "manual" });
    t.equal(answer.status, 200);
    const before = p.canary.requests;
    t.equal((await p.get(mine[0] ?? "")).body, "stable");
    t.equal((await onCanary(p, users(300))).size, 0);
    t.equal(p.canary.requests, before, "no canary request at weight 0");
    t.match(await p.status(), { phase: "rolled_back", weight: 0 });
  },
);

t.test(
  "a failed canary answer is rescued, counted against the canary, and shown (acceptance 14)",
  async (t) => {
    const p = await program();
    t.teardown(() => p.close());
    await p.setWeight(100);
    p.canary.answer = failing;
    t.match(await p.get("ada"), { status: 200, body: "stable" });
    t.match(await p.status(), {
      rescues: { answered: 1 },
      arms: { canary: { requests: 1, failures: 1 }, stable: { requests: 0 } },
    });
    t.equal((await p.get("ada", { method: "POST", body: "x" })).status, 500, "a POST might have been done");
    const again = await p.get("ada", { method: "POST", body: "x", headers: { "idempotency-key": "k1" } });
    t.equal(again.status, 200);
    t.match(await p.status(), { rescues: { answered: 2 }, arms: { canary: { requests: 3, failures: 3 } } });
  },
);

t.test(
  "a canary that breaks at 50 % is off within four seconds, and no user sees it (reliability 35)",
  async (t) => {
    const p = await program({ rollback: { onAny: [{ metric: "error_rate", above: "1%", for: "2s" }] } });
    t.teardown(() => p.close());
    await p.setWeight(50);
    const who = users(300);
    await onCanary(p, who);
    await p.clock.advance("1s");
    p.canary.answer = failing;
    let worst = 0;
    let seconds = 0;
    for (; seconds < 6 && (await p.status()).weight > 0; seconds++) {
      const answers = await Promise.all(who.map((user) => p.get(user)));
      worst = Math.max(worst, ...answers.map((answer) => answer.status));
      await p.clock.advance("1s");
    }
    t.ok(seconds <= 4, `${seconds} s`);
    t.equal(worst, 200, "clients see no 5xx");
    const status = await p.status();
    t.match(status, { phase: "rolled_back", weight: 0, rollbacks: 1 });
    const packs = async (): Promise<readonly string[]> =>
      (await readdir(join(p.folder, "reports"))).filter((name) => name.startsWith("rollback_"));
    // Nothing waits for an evidence pack, so it may be there a moment later.
    while ((await packs()).length === 0) await p.status();
    const [file = ""] = await packs();
    const pack: unknown = JSON.parse(await readFile(join(p.folder, "reports", file), "utf8"));
    t.match(pack, {
      route: "app",
      fromWeight: 50,
      toWeight: 0,
      failed: [{ rule: "error_rate above 1% for 2s", unit: "fraction", need: 20 }],
      worstMethods: [{ name: "GET" }],
      byReason: [{ name: "status 500" }],
      stableHealthy: true,
    });
    const { requestsFailed, requestsRescued, distinctKeys } = pack as Record<string, number>; // matched above
    t.ok(
      (requestsFailed ?? 0) > 300 && requestsFailed === requestsRescued,
      `${requestsFailed} failed, ${requestsRescued} rescued`,
    );
    t.ok((distinctKeys ?? 0) > 100, `${distinctKeys} keys`);
  },
);

/** A plan without evidence that the canary is as good as stable: that takes a quarter of an hour at least. */
const byTime = (hold: string, ...weights: readonly string[]) => ({
  promotion: "off",
  steps: weights.map((setWeight) => ({ setWeight, hold })),
});

t.test(
  "without a measurement nothing climbs and nothing rolls back, over the API as well (acceptance 4)",
  async (t) => {
    const p = await program();
    t.teardown(() => p.close());
    const started = await p.api("/v1/rollouts/app/start", {
      plan: byTime("1s", "5%", "50%", "100%"),
      reason: "release",
    });
    t.equal(started.status, 200, JSON.stringify(started.body));
    await p.clock.advance("120s");
    t.match(await p.status(), { phase: "progressing", step: 0, weight: 5, verdict: "inconclusive" });
  },
);

t.test("a rollout climbs to 100 % on what it measures, and the journal says how", async (t) => {
  const p = await program();
  t.teardown(() => p.close());
  await p.api("/v1/rollouts/app/start", {
    plan: byTime("5s", "0%", "25%", "100%"),
    reason: "release",
    version: "4.0.0",
  });
  for (let second = 0; second < 40 && (await p.status()).phase !== "succeeded"; second++) {
    await onCanary(p, users(100));
    await p.clock.advance("1s");
  }
  t.match(await p.status(), { phase: "succeeded", weight: 100, arms: { canary: { version: "4.0.0" } } });
  const journal = await p.api("/v1/journal?route=app");
  const text = JSON.stringify(journal.body);
  for (const event of ["DEPLOY_START", "STEP_STARTED", "DEPLOY_SUCCESS"]) t.match(text, event);
});

t.test("a weight set by hand pauses a rollout, with rollback armed (acceptance 34, 5)", async (t) => {
  const p = await program({
    rollback: { onAny: [{ metric: "error_rate", above: "1%", for: "2s" }] },
    rescue: "off",
  });
  t.teardown(() => p.close());
  await p.api("/v1/rollouts/app/start", { steps: [5, 100], hold: "1h" });
  await p.setWeight(50);
  t.match(await p.status(), { phase: "paused", reason: "Paused (manual weight)", weight: 50 });
  p.canary.answer = failing;
  for (let second = 0; second < 5; second++) {
    await onCanary(p, users(60));
    await p.clock.advance("1s");
  }
  t.match(await p.status(), { phase: "rolled_back", weight: 0 });
  const early = await p.api("/v1/rollouts/app/start", { steps: [5, 100], hold: "1h" });
  t.match(early, { status: 409, body: { code: "SPLIT_COOLDOWN" } });
});

t.test(
  "a forged cookie is no key, an issued one keeps its user (acceptance 32) (reliability 34)",
  async (t) => {
    const p = await program({ key: [] });
    t.teardown(() => p.close());
    await p.setWeight(50);
    const first = await p.get("", { headers: {} });
    const [cookie = ""] = first.headers["set-cookie"] ?? [];
    const pair = cookie.slice(0, cookie.indexOf(";"));
    t.match(pair, /^sluice_id=/);
    for (let i = 0; i < 10; i++) {
      const again = await p.get("", { headers: { cookie: pair } });
      t.equal(again.body, first.body);
      t.equal(again.headers["set-cookie"], undefined);
    }
    const forged = await p.get("", { headers: { cookie: `${pair.slice(0, -3)}AAA` } });
    t.match(forged.headers["set-cookie"]?.[0], /^sluice_id=/, "treated as no key: a new one is issued");
  },
);

t.test(
  "forced traffic that fails rolls nothing back and is shown apart (acceptance 31) (reliability 33)",
  async (t) => {
    const p = await program({
      override: { header: "x-arm", from: ["127.0.0.0/8"] },
      rollback: { onAny: [{ metric: "error_rate", above: "1%" }] },
    });
    t.teardown(() => p.close());
    await p.setWeight(1);
    p.canary.answer = failing;
    for (let i = 0; i < 50; i++)
      t.equal((await p.get("ada", { headers: { "x-arm": "canary" } })).status, 500);
    await p.clock.advance("3s");
    t.match(await p.status(), {
      weight: 1,
      arms: { canary: { failures: 0, forced: { requests: 50, failures: 50 } } },
    });
  },
);

t.test(
  "stopped and started again it goes on where it was, rule clocks and all (acceptance 10, 11)",
  async (t) => {
    const rule = { metric: "error_rate", above: "1%", for: "10s", window: "5s" };
    const before = await program({ rollback: { onAny: [rule] }, rescue: "off" });
    await before.setWeight(50);
    before.canary.answer = failing;
    for (let second = 0; second < 8; second++) {
      await onCanary(before, users(60));
      await before.clock.advance("1s");
    }
    await before.stop();
    const after = await before.restart();
    t.teardown(() => after.close());
    t.match(await after.status(), { phase: "paused", weight: 50 });
    let seconds = 0;
    for (; seconds < 12 && (await after.status()).weight > 0; seconds++) {
      await onCanary(after, users(60));
      await after.clock.advance("1s");
    }
    t.ok(seconds >= 2 && seconds <= 4, `${seconds} s of breach were left`);
  },
);

/** What a client does that is up to no good; `user` is one whom the canary serves. */
const HOSTILE: Readonly<Record<string, (user: string) => string>> = {
  "no HTTP": () => "BROKEN\r\n\r\n",
  "two lengths": (user) =>
    `POST / HTTP/1.1\r\nHost: x\r\nX-User-Id: ${user}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\na`,
  "too many fields": (user) =>
    `GET / HTTP/1.1\r\nHost: x\r\nX-User-Id: ${user}\r\n${"A: b\r\n".repeat(300)}\r\n`,
  "another expectation": (user) => `GET / HTTP/1.1\r\nHost: x\r\nX-User-Id: ${user}\r\nExpect: tea\r\n\r\n`,
  "a body too large": (user) =>
    `POST / HTTP/1.1\r\nHost: x\r\nX-User-Id: ${user}\r\nContent-Length: 99999\r\n\r\n`,
  "a broken chunk": (user) =>
    `POST /hold HTTP/1.1\r\nHost: x\r\nX-User-Id: ${user}\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nzz\r\n`,
  "an end inside the body": (user) =>
    `POST /hold HTTP/1.1\r\nHost: x\r\nX-User-Id: ${user}\r\nContent-Length: 5\r\n\r\nabc`,
  "an end before the answer": (user) => `GET /hold HTTP/1.1\r\nHost: x\r\nX-User-Id: ${user}\r\n\r\n`,
  "an end inside the answer": (user) => `GET /half HTTP/1.1\r\nHost: x\r\nX-User-Id: ${user}\r\n\r\n`,
};
const RULE = { rollback: { onAny: [{ metric: "error_rate", above: "1%", for: "2s" }] }, rescue: "off" };

/** Each kind so many times, of one user of the canary; then leaves, some with a reset. */
async function attack(p: Program, user: string, times: number): Promise<void> {
  const address = p.origin.slice("http://".length);
  const kinds = Array.from({ length: times }, () => Object.values(HOSTILE)).flat();
  await Promise.all(
    kinds.map(async (request, nth) => {
      const client = await raw(address);
      client.send(request(user));
      await client.until(/./).catch(() => "");
      if (nth % 2 === 0) client.destroy();
      else resetConnection(client.socket);
    }),
  );
}

t.test(
  "a client that sends only broken requests or aborts all it asks for causes no rollback, and hides none (reliability 33)",
  async (t) => {
    const p = await program(RULE, { limits: { body: "10KiB", headTime: "300ms", bodyIdle: "300ms" } });
    t.teardown(() => p.close());
    await p.setWeight(50);
    const who = users(60);
    const [mine = ""] = await onCanary(p, who);
    // Begins at once, so that the client knows it was taken; then says no more.
    p.canary.answer = (incoming, response) => {
      if (incoming.url === "/hold") response.writeProcessing();
      else if (incoming.url === "/half") response.writeHead(200, { "content-length": 10 }).write("half");
      else response.end("canary");
    };
    for (let second = 0; second < 6; second++) {
      await attack(p, mine, 5);
      await onCanary(p, who);
      await p.clock.advance("1s");
    }
    const status = await p.status();
    t.match(status, { weight: 50, phase: "paused", rollbacks: 0, arms: { canary: { failures: 0 } } });
    t.match(status, { arms: { stable: { failures: 0 } } });
    t.ok(p.canary.requests > 100, `${p.canary.requests} reached the canary`);
    p.canary.answer = failing;
    let seconds = 0;
    for (; seconds < 6 && (await p.status()).weight > 0; seconds++) {
      await attack(p, mine, 5);
      await onCanary(p, who);
      await p.clock.advance("1s");
    }
    t.match(await p.status(), { weight: 0, phase: "rolled_back" });
    t.ok(seconds <= 4, `${seconds} s`);
  },
);
