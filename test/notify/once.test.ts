/** Nobody is told twice and nobody is flooded: what the fan-out keeps from a channel, and what it makes of too much. */

import t from "tap";
import type { Notice, Outbox } from "../../src/engine/ports.ts";
import type { Channel, Interest, Message } from "../../src/notify/channel.ts";
import { createFanout } from "../../src/notify/fanout.ts";
import { later, noticeOf, toldOf } from "../support/notices.ts";
import { until } from "../support/until.ts";

const QUICK = { timeoutMs: 50, backoffMs: 1, closeMs: 2000, minuteMs: 30 };
const ALL: Interest = {
  severities: ["info", "warning", "critical", "emergency"],
  audiences: ["operators"],
  repeatMs: 0,
  digest: false,
};

/** A channel that remembers what it was told. */
function channel(change: Partial<Channel> = {}) {
  const seen: Notice[] = [];
  const made: Channel = {
    name: "a",
    isKeyed: false,
    async send({ notice }: Message) {
      seen.push(notice);
      return { ok: true };
    },
    async close() {},
    ...change,
  };
  return { ...made, seen };
}

/** Another process, with the same outbox. */
function start(
  channels: readonly Channel[],
  told: {
    readonly clock: { wall(): number };
    readonly outbox: Outbox;
    readonly log: ReturnType<typeof toldOf>["log"];
  },
) {
  return createFanout(channels, { ...told, wall: () => told.clock.wall() }, QUICK);
}

const ids = (notices: readonly Notice[]): readonly string[] => notices.map(({ id }) => id);
const plain = (id: string, severity: Notice["severity"] = "warning"): Notice => {
  const { incident: _, ...rest } = noticeOf({ id, severity, summary: `about ${id}` });
  return rest;
};

t.test("what is handed over again after a restart is told once", async (t) => {
  const told = toldOf();
  const seen: string[] = [];
  for (let run = 0; run < 3; run += 1) {
    const a = channel();
    const fanout = start([a], told);
    fanout.notify(noticeOf());
    fanout.notify(noticeOf());
    await fanout.close();
    seen.push(...ids(a.seen));
  }
  t.same(seen, [noticeOf().id]);
});

t.test(
  "a message whose end is unknown comes again where it is told apart, and is in doubt where it is not",
  async (t) => {
    const told = toldOf();
    for (const name of ["keyed", "plain"]) await told.outbox.mark(noticeOf().id, name, "begun");
    const keyed = channel({ name: "keyed", isKeyed: true });
    const other = channel({ name: "plain" });
    for (let run = 0; run < 2; run += 1) {
      const fanout = start([keyed, other], told);
      fanout.notify(noticeOf());
      await fanout.close();
      t.match(fanout.stats(), {
        keyed: { sent: 1 - run, inDoubt: 0, dropped: 0 },
        plain: { sent: 0, inDoubt: 1 - run, dropped: 0 },
      });
    }
    t.equal(keyed.seen.length, 1);
    t.equal(other.seen.length, 0);
    t.match(told.log.lines, [
      { level: "warn", message: /may or may not have arrived/, fields: { channel: "plain" } },
    ]);
  },
);

t.test("what was given up, or never begun, is told after the next start", async (t) => {
  const told = toldOf();
  const failing = channel({ send: async () => ({ ok: false, retry: false, detail: "status 400" }) });
  const first = start([failing], told);
  first.notify(noticeOf());
  await first.close();
  t.match(first.stats()["a"], { dropped: 1, lastError: "status 400", lastSuccessAt: null });
  const a = channel();
  const second = start([a], told);
  second.notify(noticeOf());
  await second.close();
  t.equal(a.seen.length, 1);
  t.match(second.stats()["a"], { sent: 1, queued: 0, lastSuccessAt: "2026-01-05T09:00:00.000Z" });
});

t.test(
  "a notifier that is closed in the middle leaves in doubt what it was sending, and nothing else",
  async (t) => {
    const told = toldOf();
    const hanging = channel({ send: () => new Promise(() => {}) });
    const first = createFanout(
      [hanging],
      { ...told, wall: () => told.clock.wall() },
      { timeoutMs: 60_000, closeMs: 5 },
    );
    for (const id of ["one", "two"]) first.notify(plain(id));
    await first.close();
    t.same(
      ["one", "two"].map((id) => told.outbox.fate(id, "a")),
      ["begun", "new"],
    );
  },
);

t.test("an outbox that hangs holds up no message", async (t) => {
  const told = toldOf();
  const outbox: Outbox = {
    ...told.outbox,
    fate: () => "new",
    notes: () => new Map(),
    mark: () => new Promise(() => {}),
    note: async () => false,
  };
  const a = channel();
  const fanout = start([a], { ...told, outbox });
  fanout.notify(noticeOf());
  await fanout.close();
  t.equal(a.seen.length, 1);
});

t.test(
  "a channel is told its severities, and whoever was told of a beginning is told of the end, after a restart as well",
  async (t) => {
    const told = toldOf();
    const interest: Interest = { ...ALL, severities: ["critical", "emergency"] };
    const a = channel({ interest });
    const first = start([a], told);
    first.notify(plain("info", "info"));
    first.notify(plain("warning"));
    first.notify(later("resolve", "of nothing that it knows"));
    first.notify(noticeOf({ audience: "stakeholders", id: "for others" }));
    first.notify(noticeOf());
    await first.close();
    t.same(ids(a.seen), [noticeOf().id]);
    const second = start([a], told);
    second.notify(later("acknowledge"));
    second.notify(later("resolve"));
    second.notify(later("resolve", "again"));
    await second.close();
    t.same(ids(a.seen).slice(1), ["app:r-1:5:acknowledge", "app:r-1:5:resolve"]);
    t.same([...told.outbox.notes("a")], []);
  },
);

t.test(
  "the same open incident is told again after the channel's repeat, at once when it is louder, and at once when the last was lost",
  async (t) => {
    const told = toldOf();
    const interest: Interest = { ...ALL, repeatMs: 3_600_000 };
    let fails = false;
    const a = channel({ interest });
    const b = {
      ...a,
      send: (message: Message, signal: AbortSignal) =>
        fails ? Promise.resolve({ ok: false, retry: false, detail: "" } as const) : a.send(message, signal),
    };
    const say = async (id: string, severity: Notice["severity"] = "critical"): Promise<void> => {
      const fanout = start([b], told);
      fanout.notify(noticeOf({ id, severity }));
      await fanout.close();
    };
    await say("1");
    await say("2");
    told.clock.jumpWall(3_599_000);
    await say("3");
    told.clock.jumpWall(1000);
    await say("4");
    await say("5", "emergency");
    t.same(ids(a.seen), ["1", "4", "5"]);
    told.clock.jumpWall(3_600_000);
    fails = true;
    await say("6", "emergency");
    fails = false;
    await say("7", "emergency");
    t.same(ids(a.seen), ["1", "4", "5", "7"]);
  },
);

t.test(
  "a flood is told as one message, what is loud comes through, and what a pager closes by is not folded",
  async (t) => {
    const told = toldOf();
    const a = channel({ perMinute: 2 });
    const fanout = createFanout(
      [a],
      { ...told, wall: () => told.clock.wall() },
      { ...QUICK, minuteMs: 50, closeMs: 2000 },
    );
    for (let n = 1; n <= 39; n += 1) fanout.notify(plain(`${n}`));
    fanout.notify(plain("loud", "emergency"));
    await until("four are counted", () => fanout.stats()["a"]?.sent === 4);
    t.same(ids(a.seen), ["1", "2", "loud", "held:3"]);
    const [summary] = a.seen.slice(3);
    t.match(summary, {
      severity: "warning",
      event: "held_back",
      route: "app",
      rollout: "r-1",
      summary: "37 more messages were held back",
    });
    t.equal(summary?.lines.length, 29);
    t.equal(summary?.lines[1], "warning: about 3");
    t.equal(summary?.lines[28], "and 10 more");
    t.match(fanout.stats()["a"], { sent: 4, heldBack: 37, dropped: 0, queued: 0 });
    t.equal(told.outbox.fate("20", "a"), "done", "and is not told again after a restart");
    await fanout.close();

    const keyed = channel({ name: "keyed", isKeyed: true, perMinute: 1 });
    const pager = createFanout(
      [keyed],
      { ...told, wall: () => told.clock.wall() },
      { ...QUICK, minuteMs: 20 },
    );
    for (const id of ["1", "2", "3"])
      pager.notify(noticeOf({ id, severity: "warning", incident: { key: id, action: "trigger" } }));
    for (const id of ["4", "5"]) pager.notify(plain(id));
    await pager.close();
    t.same(
      ids(keyed.seen)
        .filter((id) => !id.startsWith("held"))
        .slice(0, 3),
      ["1", "2", "3"],
    );
  },
);

t.test("what a flood pushes out of the queue is counted in the one message", async (t) => {
  const told = toldOf();
  const a = channel({ perMinute: 1 });
  const fanout = createFanout(
    [a],
    { ...told, wall: () => told.clock.wall() },
    { ...QUICK, queue: 10, minuteMs: 40 },
  );
  for (let n = 1; n <= 1000; n += 1) fanout.notify(plain(`${n}`));
  await until("two are counted", () => fanout.stats()["a"]?.sent === 2);
  t.equal(a.seen[1]?.summary, "999 more messages were held back");
  t.match(fanout.stats()["a"], { sent: 2, heldBack: 9, dropped: 990 });
  await fanout.close();
});

/** Three incidents that wait for a turn and are told as one, which `answers` has the say about; the first message takes the first turn. */
async function foldedIncidents(answers: Channel["send"]) {
  const told = toldOf();
  const incidents = ["x", "y", "z"].map((key) =>
    noticeOf({ id: `1 of ${key}`, severity: "warning", incident: { key, action: "trigger" } }),
  );
  const interest: Interest = { ...ALL, repeatMs: 3_600_000 };
  const a = channel({ interest, perMinute: 1 });
  const send: Channel["send"] = (message, signal) =>
    message.notice.event === "held_back" ? answers(message, signal) : a.send(message, signal);
  const fanout = start([{ ...a, send }], told);
  fanout.notify(plain("first"));
  for (const each of incidents) fanout.notify(each);
  const { length: all } = incidents;
  const isOver = (): boolean => {
    const stats = fanout.stats()["a"];
    return stats !== undefined && stats.heldBack === all && stats.sent + stats.dropped > 1;
  };
  await until("they are told as one", isOver);
  return { told, a, fanout, incidents, interest };
}

t.test("incidents that were folded into a message that was given up are told the next time", async (t) => {
  const s = await foldedIncidents(async () => ({ ok: false, retry: false, detail: "status 400" }));
  t.match(s.fanout.stats()["a"], { sent: 1, heldBack: 3, dropped: 3 });
  s.fanout.notify(noticeOf({ id: "2 of x", severity: "warning", incident: { key: "x", action: "trigger" } }));
  await s.fanout.close();
  t.same(ids(s.a.seen), ["first", "2 of x"], "it is no repetition of what nobody has heard");
  t.same(
    s.incidents.map(({ id }) => s.told.outbox.fate(id, "a")),
    ["new", "new", "new"],
  );
  const next = channel({ interest: s.interest });
  const second = start([next], s.told);
  for (const each of s.incidents.slice(1)) second.notify(each);
  await second.close();
  t.same(ids(next.seen), ["1 of y", "1 of z"], "nor were they told before the restart");
});

t.test("the end of an incident that was folded is told after a restart", async (t) => {
  const s = await foldedIncidents(async () => ({ ok: true }));
  await s.fanout.close();
  t.match(s.fanout.stats()["a"], { sent: 2, heldBack: 3, dropped: 0 });
  const next = channel({ interest: { ...s.interest, severities: ["warning"] } });
  const second = start([next], s.told);
  second.notify(noticeOf({ id: "end", severity: "info", incident: { key: "y", action: "resolve" } }));
  for (const each of s.incidents) second.notify(each);
  await second.close();
  t.same(ids(next.seen), ["end"]);
});

t.test(
  "what was being told within another message when the program ended is in doubt, not lost",
  async (t) => {
    const told = toldOf();
    const during: string[] = [];
    const a = channel({ perMinute: 1 });
    const send: Channel["send"] = (message, signal) => {
      if (message.notice.event === "held_back")
        during.push(...["1", "2"].map((id) => told.outbox.fate(id, "a")));
      return a.send(message, signal);
    };
    const fanout = start([{ ...a, send }], told);
    for (const id of ["first", "1", "2"]) fanout.notify(plain(id));
    await until("they are being told", () => during.length > 0);
    await fanout.close();
    t.same(during, ["begun", "begun"]);
  },
);

t.test("what was told before is not told again within another message", async (t) => {
  const told = toldOf();
  await told.outbox.mark("2", "a", "done");
  const a = channel({ perMinute: 1 });
  const fanout = start([a], told);
  for (const id of ["first", "1", "2", "3"]) fanout.notify(plain(id));
  await until("the rest is told", () => a.seen.length === 2);
  await fanout.close();
  t.same(a.seen[1]?.lines.slice(1), ["warning: about 1", "warning: about 3"]);
});
