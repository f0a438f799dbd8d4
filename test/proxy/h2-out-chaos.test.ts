/**
 * An HTTP/2 upstream that does anything at any time, and clients that leave at any time: every exchange settles once, no attempt says two last
 * things, no place of a connection or exchange is lost, and what is whole is what was sent (reliability.md 17, 30, 31, 33).
 */

import t from "tap";
import { fakeDice } from "../support/dice.ts";
import { client2, answerOn } from "../support/h2.ts";
import { poolFor, sendBy, slotsOf, type Sent } from "../support/h2-sender.ts";
import {
  DATA,
  END_HEADERS,
  END_STREAM,
  frame,
  frameUpstream,
  goaway,
  headers,
  HEADERS,
  PING,
  reset,
  settings,
  type FrameConnection,
  type FrameUpstream,
} from "../support/h2-upstream.ts";
import { startPlane } from "../support/plane.ts";
import { raw, resetConnection } from "../support/raw.ts";

const OK: readonly (readonly [string, string])[] = [[":status", "200"]];
const BODY = "0123456789".repeat(500);

/** Steps of an upstream; each with the connection, the stream it is at, and the dice. */
const STEPS: readonly ((connection: FrameConnection, stream: number) => void)[] = [
  (connection, stream) => connection.send(reset(stream, 7)),
  (connection, stream) => connection.send(reset(stream, 0)),
  (connection, stream) => connection.send(reset(stream, 2)),
  (connection, stream) => connection.send(goaway(Math.max(0, stream - 2), 0)),
  (connection, stream) => connection.send(goaway(stream, 2)),
  ({ socket }) => void socket.end(),
  ({ socket }) => resetConnection(socket),
  (connection) => connection.send(frame(PING, 0, 0, "12345678")),
  (connection) => connection.send(settings({ 3: 2 })),
  (connection) => connection.send(settings({ 3: 50 })),
  (connection) => connection.send(Buffer.from("noise that is no frame")),
  (connection, stream) => connection.send(headers(stream, [[":status", "103"]])),
];

/** An upstream that answers in pieces and, once in `mean` requests, does something else at some point. */
async function chaos(random: () => number, mean: number): Promise<FrameUpstream> {
  return frameUpstream((connection, { type, stream }) => {
    if (type !== HEADERS) return;
    const pieces = [
      headers(stream, OK),
      frame(DATA, 0, stream, BODY.slice(0, 2000)),
      frame(DATA, 0, stream, BODY.slice(2000)),
      headers(stream, [["x-whole", "1"]], END_HEADERS | END_STREAM),
    ];
    const strange = random() < 1 / mean ? Math.floor(random() * pieces.length) : -1;
    const step = STEPS[Math.floor(random() * STEPS.length)];
    let at = 0;
    const next = (): void => {
      if (connection.socket.destroyed) return;
      if (at === strange) step?.(connection, stream);
      const piece = pieces[at++];
      if (piece === undefined) return;
      connection.send(piece);
      if (random() < 0.5) setImmediate(next);
      else next();
    };
    if (random() < 0.5) setImmediate(next);
    else next();
  });
}

void t.test(
  "whatever an upstream does, an attempt says one last thing, and gives back what it had (reliability 30)",
  async (t) => {
    for (let seed = 1; seed <= 6; seed++) {
      const dice = fakeDice(seed);
      const random = (): number => dice.random();
      const server = await chaos(random, 3);
      const slots = slotsOf({ connections: 3, queue: 1000 });
      const pool = poolFor(server.url, slots);
      const all: Sent[] = [];
      let left = 0;
      for (let nth = 0; nth < 300; nth++) {
        const sent = sendBy(pool, {}, random() < 0.3 ? 1 : Infinity);
        all.push(sent);
        if (random() < 0.2) {
          left++;
          const how = random() < 0.5 ? "abort" : "discard";
          setImmediate(() => sent.attempt[how]());
        } else setImmediate(() => sent.take(Infinity));
        if (nth % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      const ended = (): number => all.filter(({ end }) => end !== "").length;
      for (let turn = 0; turn < 2000 && slots.inFlight > 0; turn++)
        await new Promise((resolve) => setTimeout(resolve, 2));
      t.equal(slots.inFlight, 0);
      t.ok(ended() <= 300 && ended() >= 300 - left, `seed ${seed}: ${ended()} of 300 ended, ${left} left`);
      for (const { end, chunks } of all) {
        if (end === "whole" && Buffer.concat(chunks).toString() !== BODY)
          t.fail("whole, and not what was sent");
      }
      pool.close();
      for (let nth = 0; nth < 3; nth++) t.ok(slots.take(), "its places are free");
      await server.close();
    }
  },
);

void t.test(
  "every exchange settles once, with clients of either version that leave when they like (reliability 31, 33)",
  async (t) => {
    const dice = fakeDice(99);
    const random = (): number => dice.random();
    const server = await chaos(random, 4);
    const running = await startPlane(
      { stable: server.url, canary: server.url },
      { timeouts: { headers: "2s" }, rescue: "off" },
    );
    t.teardown(async () => {
      await running.plane.close();
      await server.close();
    });
    running.weight(50);
    let sent = 0;
    let left = 0;
    const each = async (nth: number): Promise<void> => {
      const leaves = random() < 0.3;
      sent++;
      if (leaves) left++;
      if (nth % 2 === 0) {
        const client = await raw(running.address);
        client.send(`GET / HTTP/1.1\r\nHost: x\r\nX-User: u${nth}\r\nConnection: close\r\n\r\n`);
        if (leaves) setImmediate(() => client.destroy());
        const { text } = await client.closed();
        // The end of the chunks is told only behind the whole body.
        if (/\r\n0\r\nx-whole: 1\r\n\r\n$/i.test(text))
          t.ok(text.replaceAll(/\r\n[0-9a-f]+\r\n/g, "").includes(BODY));
        else t.notMatch(text, /\r\n0\r\n/);
      } else {
        const client = client2(running.address);
        const stream = client.open("POST", "/", { "x-user": `u${nth}` });
        const answer = answerOn(stream);
        stream.end("body");
        if (leaves) setImmediate(() => stream.close(8));
        const { body, trailers, code } = await answer;
        if (trailers.length > 0) t.equal(body.toString(), BODY);
        else t.ok(code !== 0 || body.length < BODY.length);
        client.close();
      }
    };
    for (let round = 0; round < 20; round++)
      await Promise.all(Array.from({ length: 15 }, (_, nth) => each(nth)));
    const inFlight = (): number => {
      const gauges = running.plane.gauges().routes["app"];
      return (gauges?.stable.inFlight ?? 1) + (gauges?.canary.inFlight ?? 1);
    };
    const totals = await running.settled((now) => now.settled >= sent - left && inFlight() === 0);
    // Who left before the request was read, or with it, has had no exchange.
    t.ok(totals.settled <= sent, `${totals.settled} of ${sent}, ${left} left`);
  },
);
