/** A disk that hangs while people are told. */

import t from "tap";
import type { Notice, Outbox } from "../../src/engine/ports.ts";
import type { Channel } from "../../src/notify/channel.ts";
import { createFanout } from "../../src/notify/fanout.ts";
import { noticeOf, toldOf } from "../support/notices.ts";
import { until } from "../support/until.ts";

t.test("a note about an incident that the disk never takes stops no channel", async (t) => {
  const { clock, log, outbox: kept } = toldOf();
  const outbox: Outbox = {
    fate: () => "new",
    mark: () => Promise.resolve(true),
    notes: (channel) => kept.notes(channel),
    note: () => new Promise<never>(() => {}),
    close: () => kept.close(),
  };
  const seen: Notice[] = [];
  const channel: Channel = {
    name: "a",
    isKeyed: true,
    interest: { severities: ["critical"], audiences: ["operators"], repeatMs: 0, digest: false },
    async send({ notice }) {
      seen.push(notice);
      return { ok: true };
    },
    async close() {},
  };
  const quick = { timeoutMs: 50, backoffMs: 1, closeMs: 2000, minuteMs: 30 };
  const fanout = createFanout([channel], { log, outbox, wall: () => clock.wall() }, quick);
  for (const id of ["1", "2"]) fanout.notify(noticeOf({ id }));
  await until("both are told", () => seen.length === 2);
  await fanout.close();
  t.same(
    seen.map(({ id }) => id),
    ["1", "2"],
  );
});
