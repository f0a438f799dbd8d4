import { basename, join } from "node:path";
import t, { type Test } from "tap";
import { nodeDisk, type Disk } from "../../src/store/disk.ts";
import { fileStore } from "../../src/store/file.ts";
import { killAfter, runToEnd } from "../support/crash.ts";
import { temporaryFolder } from "../support/disk.ts";
import { quietLog } from "../support/silence.ts";
import { documentOf, leftovers, saveTo, versionIn } from "./documents.ts";

const WRITER = join(import.meta.dirname, "writer.ts");

/** A place where one waits to be let on. */
interface Gate {
  readonly opened: Promise<void>;
  readonly reached: Promise<void>;
  open(): void;
  reach(): void;
}

function gate(): Gate {
  let open = () => {};
  let reach = () => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  const reached = new Promise<void>((resolve) => (reach = resolve));
  return { opened, reached, open: () => open(), reach: () => reach() };
}

/** A disk on which the first call that `matches` waits at the gate. */
function sleeping(call: "link" | "rename", target: (path: string) => boolean, at: Gate): Disk {
  let slept = false;
  const sleepy =
    (run: (from: string, to: string) => Promise<void>) =>
    async (from: string, to: string): Promise<void> => {
      if (!slept && target(to)) {
        slept = true;
        at.reach();
        await at.opened;
      }
      return run(from, to);
    };
  return call === "link"
    ? { ...nodeDisk, link: sleepy((from, to) => nodeDisk.link(from, to)) }
    : { ...nodeDisk, rename: sleepy((from, to) => nodeDisk.rename(from, to)) };
}

async function raceWithSleeper(t: Test, call: "link" | "rename", others: number) {
  const folder = await temporaryFolder(t);
  const awake = await fileStore(folder, quietLog());
  await saveTo(awake, 3);
  const at = gate();
  const isTarget = (path: string) =>
    call === "link" ? path.includes("saves") : basename(path) === "state.json";
  const sleeper = await fileStore(folder, quietLog(), sleeping(call, isTarget, at));
  const saving = sleeper.save(documentOf(4, "by the sleeper"));
  await at.reached;
  for (let n = 0; n < others; n += 1) {
    const version = (await versionIn(awake)) + 1;
    t.same(await awake.save(documentOf(version, "by the other")), { ok: true });
  }
  const newest = await versionIn(awake);
  at.open();
  return { folder, awake, sleeper, newest, saved: await saving };
}

t.test(
  "a save whose process dies after it took its place counts, and nobody waits for it (reliability 36)",
  async (t) => {
    const folder = await temporaryFolder(t);
    const at = gate();
    const dying = await fileStore(
      folder,
      quietLog(),
      sleeping("rename", (path) => basename(path) === "state.json", at),
    );
    await saveTo(dying, 1);
    void dying.save(documentOf(2, "by the dead"));
    await at.reached; // and never goes on
    const living = await fileStore(folder, quietLog());
    t.same(await living.load(), { kind: "found", document: documentOf(2, "by the dead") });
    t.same(await living.save(documentOf(2)), { ok: false, kind: "conflict", found: 2 });
    await saveTo(living, 14);
    t.equal(await versionIn(living), 14);
  },
);

t.test(
  "a process that was stopped before its rename does not put the old state back when it wakes (reliability 36)",
  async (t) => {
    for (const others of [0, 1, 5, 9, 20]) {
      const { awake, sleeper, newest, saved } = await raceWithSleeper(t, "rename", others);
      t.same(saved, { ok: true }, "its save had won before it was stopped");
      t.equal(newest, 4 + others);
      t.equal(await versionIn(awake), newest);
      t.equal(await versionIn(sleeper), newest);
      await saveTo(awake, newest + 10);
      t.equal(await versionIn(sleeper), newest + 10);
    }
  },
);

t.test(
  "a process that was stopped before it took its place has lost when it wakes, however late (reliability 36)",
  async (t) => {
    for (const others of [1, 5, 9, 20]) {
      const { awake, newest, saved, folder } = await raceWithSleeper(t, "link", others);
      t.same(saved, { ok: false, kind: "conflict", found: newest }, `after ${others} saves of another`);
      t.match(await awake.load(), {
        document: { version: newest, routes: { app: { reason: "by the other" } } },
      });
      t.same(await leftovers(folder), []);
      await saveTo(awake, newest + 10);
    }
  },
);

t.test(
  "processes that save at once never acknowledge the same version, and none is lost (reliability 36)",
  async (t) => {
    const folder = await temporaryFolder(t);
    const acknowledged = (await Promise.all([1, 2, 3].map(() => runToEnd(WRITER, [folder, "60"])))).flat();
    const versions = acknowledged.map((line) => Number.parseInt(line, 10)).toSorted((a, b) => a - b);
    t.same(
      versions,
      Array.from({ length: 180 }, (_, index) => index + 1),
    );
    t.equal(new Set(acknowledged.map((line) => line.split(" ")[1])).size, 3, "three processes took part");
    t.equal(await versionIn(await fileStore(folder, quietLog())), 180);
  },
);

t.test(
  "killed twenty times in the middle of saving, the state is never torn and never older than acknowledged (reliability 36, 47)",
  async (t) => {
    const folder = await temporaryFolder(t);
    for (let kill = 1; kill <= 20; kill += 1) {
      const acknowledged = await killAfter(WRITER, [folder, "100000"], 1 + (kill % 5));
      const last = Number.parseInt(acknowledged.at(-1) ?? "0", 10);
      const loaded = await (await fileStore(folder, quietLog())).load();
      if (loaded.kind !== "found") {
        t.fail(`kill ${kill}: ${JSON.stringify(loaded)}`);
        return;
      }
      const { version, routes } = loaded.document;
      t.ok(
        version === last || version === last + 1,
        `kill ${kill}: ${version} after ${last} was acknowledged`,
      );
      t.match(routes["app"]?.reason, new RegExp(`^save ${version} by `));
    }
  },
);
