/** The record that replicas share, as Redis has it and as it is told. */

import { Redis } from "ioredis";
import type { Test } from "tap";
import type { RecordedState } from "../../src/engine/ports.ts";
import { decodeState } from "../../src/store/document.ts";
import type { RedisProcess } from "./redis.ts";

/** What Redis has kept of its own journal. */
export async function onRecord(
  redis: RedisProcess,
): Promise<readonly { rollout: string; weight: number; step: number }[]> {
  const entries = (await redis.ask("XRANGE", "{sluice:default}:journal", "-", "+")) as [string, string[]][];
  return entries.flatMap(([, fields]) => {
    const about = JSON.parse(fields[fields.indexOf("about") + 1] ?? "{}") as {
      routes: { app?: { rollout: string; weight: number; step: number } };
    };
    return about.routes.app ?? [];
  });
}

/** Hears of each document that is saved, at once, and is asked what to do about it. */
export async function listening(
  t: Test,
  port: number,
  heard: (by: string, app: RecordedState) => void,
): Promise<void> {
  const client = new Redis({ port, host: "127.0.0.1" });
  t.teardown(() => client.disconnect());
  await client.subscribe("{sluice:default}:news");
  client.on("message", (_channel: string, message: string) => {
    const end = message.indexOf("\n");
    const [kind, , , by = ""] = message.slice(0, end).split(" ");
    if (kind !== "doc") return;
    const decoded = decodeState(message.slice(end + 1));
    const app = decoded.ok ? decoded.document.routes["app"] : undefined;
    if (app !== undefined) heard(by, app);
  });
}
