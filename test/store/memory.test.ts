import t from "tap";
import { memoryStore } from "../../src/store/memory.ts";
import { openStore } from "../../src/store/open.ts";
import { quietLog } from "../support/silence.ts";
import { storeContract } from "./contract.ts";
import { documentOf } from "./documents.ts";

storeContract("memory", async () => {
  const store = memoryStore();
  return [store, store];
});

t.test("memory: is a store in memory", async (t) => {
  const store = await openStore("memory:", quietLog());
  t.same(await store.save(documentOf(1)), { ok: true });
});

t.test("a store of another kind is refused by name", async (t) => {
  await t.rejects(openStore("redis://x", quietLog()), {
    code: "SPLIT_CONFIG_INVALID",
    message: /redis:\/\/x/,
  });
  await t.rejects(openStore("file:", quietLog()), { code: "SPLIT_CONFIG_INVALID" });
});
