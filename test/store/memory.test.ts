import t from "tap";
import { memoryStore } from "../../src/store/memory.ts";
import { openStore } from "../../src/store/open.ts";
import { storeContract } from "./contract.ts";
import { documentOf, openOptions } from "./documents.ts";

storeContract("memory", async () => {
  const store = memoryStore();
  return [store, store];
});

t.test("memory: is a store in memory, with nothing on disk", async (t) => {
  const opened = await openStore("memory:", openOptions());
  t.same(await opened.store.save(documentOf(1)), { ok: true });
  t.match(opened, { shared: undefined, folder: null });
  t.not(
    await opened.key("admin.token"),
    await opened.key("admin.token"),
    "a secret is made, and kept nowhere",
  );
});
