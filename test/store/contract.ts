/** What every Store must do. Each implementation runs this list; a fake is trusted only because it does. */

import t, { type Test } from "tap";
import type { RolloutState } from "../../src/domain/rollout-types.ts";
import type { Store } from "../../src/engine/ports.ts";
import { documentOf, rollout } from "./documents.ts";

/** Runs the list, within `under`. `open` gives two writers on the same, empty state. */
export function storeContract(
  name: string,
  open: (t: Test) => Promise<readonly [Store, Store]>,
  under: Pick<Test, "test"> = t,
): void {
  void under.test(`${name}: is empty until something was saved`, async (t) => {
    const [store] = await open(t);
    t.same(await store.load(), { kind: "none" });
    await store.close();
  });

  void under.test(`${name}: gives back what was saved last, to every writer`, async (t) => {
    const [first, second] = await open(t);
    t.same(await first.save(documentOf(1)), { ok: true });
    t.same(await second.load(), { kind: "found", document: documentOf(1) });
    t.same(await second.save(documentOf(2)), { ok: true });
    for (let version = 3; version < 20; version += 1) {
      t.same(await (version % 2 ? first : second).save(documentOf(version)), { ok: true });
    }
    t.same(await first.load(), { kind: "found", document: documentOf(19) });
    t.same(await second.load(), { kind: "found", document: documentOf(19) });
  });

  void under.test(
    `${name}: refuses a save that does not follow the saved version, and says which that is`,
    async (t) => {
      const [first, second] = await open(t);
      t.same(await first.save(documentOf(2)), { ok: false, kind: "conflict", found: 0 });
      t.same(await first.save(documentOf(1)), { ok: true });
      t.same(await first.save(documentOf(1)), { ok: false, kind: "conflict", found: 1 });
      t.same(await second.save(documentOf(3)), { ok: false, kind: "conflict", found: 1 });
      t.same(await second.save(documentOf(2)), { ok: true });
      t.same(await first.save(documentOf(2)), { ok: false, kind: "conflict", found: 2 });
      t.same(await first.load(), { kind: "found", document: documentOf(2) });
    },
  );

  void under.test(
    `${name}: of two writers that race, exactly one wins, and its document is the state`,
    async (t) => {
      const [first, second] = await open(t);
      for (let version = 1; version <= 40; version += 1) {
        const mine = documentOf(version, `first ${version}`);
        const theirs = documentOf(version, `second ${version}`);
        const results = await Promise.all(
          version % 2 ? [first.save(mine), second.save(theirs)] : [second.save(theirs), first.save(mine)],
        );
        const [a, b] = version % 2 ? results : results.toReversed();
        t.equal(results.filter((result) => result.ok).length, 1, `one winner of version ${version}`);
        t.same(a?.ok === true ? b : a, { ok: false, kind: "conflict", found: version });
        t.same(await first.load(), { kind: "found", document: a?.ok === true ? mine : theirs });
      }
    },
  );

  void under.test(`${name}: what was saved does not change with what the caller holds`, async (t) => {
    const [store] = await open(t);
    const routes = { app: rollout("as saved") };
    await store.save({ ...documentOf(1), routes });
    routes.app = rollout("changed later");
    t.same(await store.load(), { kind: "found", document: documentOf(1, "as saved") });
  });

  void under.test(`${name}: an epoch comes back as it was saved, and none as none`, async (t) => {
    const [store] = await open(t);
    await store.save(documentOf(1));
    t.same(await store.load(), { kind: "found", document: documentOf(1) });
    const document = { ...documentOf(2), epoch: 3 };
    t.same(await store.save(document), { ok: true });
    t.same(await store.load(), { kind: "found", document });
  });

  void under.test(`${name}: does not save what it could not read back`, async (t) => {
    const [store] = await open(t);
    const app = { ...rollout("broken"), heldMs: Number.NaN as RolloutState["heldMs"] }; // a bug, played
    const saved = await store.save({ ...documentOf(1), routes: { app } });
    t.match(saved, { ok: false, kind: "unavailable", detail: /routes\.app\.heldMs/ });
    t.same(await store.load(), { kind: "none" });
  });

  void under.test(
    `${name}: route names that mean something to JavaScript are names like any other`,
    async (t) => {
      const [store] = await open(t);
      const routes = {
        constructor: rollout("a"),
        "10": rollout("b"),
        "2": rollout("c"),
        "ä b": rollout("d"),
      };
      t.same(await store.save({ ...documentOf(1), routes }), { ok: true });
      t.same(await store.load(), { kind: "found", document: { ...documentOf(1), routes } });
    },
  );
}
