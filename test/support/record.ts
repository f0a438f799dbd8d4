/** The record that replicas share, as Redis has it and as it is told. */

import { Redis } from "ioredis";
import type { Test } from "tap";
import type { RecordedState, StateDocument } from "../../src/engine/ports.ts";
import { decodeState } from "../../src/store/document.ts";
import { decodeNews } from "../../src/store/document-news.ts";
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
  redis: RedisProcess,
  heard: (by: string, app: RecordedState) => void,
): Promise<void> {
  const client = new Redis({ port: redis.port, host: "127.0.0.1" });
  t.teardown(() => client.disconnect());
  let known = documentIn(String(await redis.ask("HGET", "{sluice:default}:state", "document")));
  await client.subscribe("{sluice:default}:news");
  client.on("message", (_channel: string, message: string) => {
    const end = message.indexOf("\n");
    const [kind, , version, by = ""] = message.slice(0, end).split(" ");
    const text = message.slice(end + 1);
    if (kind === "doc") known = documentIn(text);
    else if (kind !== "news") return;
    else if (known?.version === Number(version) - 1) known = decodeNews(text, known);
    // Of a change to what is not known here nothing can be said.
    else return;
    const app = known?.routes["app"];
    if (app !== undefined) heard(by, app);
  });
}

function documentIn(text: string): StateDocument | undefined {
  const decoded = decodeState(text);
  return decoded.ok ? decoded.document : undefined;
}
