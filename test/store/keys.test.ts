import { chmod, readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { openKey } from "../../src/store/keys.ts";
import { temporaryFolder } from "../support/disk.ts";

const KEY = "a-secret-of-some-length";

t.test(
  "a secret is made once, for its owner's eyes only, and stays the same (reliability 36, 42)",
  async (t) => {
    const folder = join(await temporaryFolder(t), "new", "folder");
    t.equal(await openKey(folder, "admin.token", () => KEY), KEY);
    t.equal(await openKey(folder, "admin.token", () => "another-secret-of-some-length"), KEY);
    t.equal((await stat(join(folder, "admin.token"))).mode & 0o777, 0o600);
    t.same(await readdir(folder), ["admin.token"]);
    t.equal(await readFile(join(folder, "admin.token"), "utf8"), `${KEY}\n`);
  },
);

t.test("several that start at once get the same secret", async (t) => {
  const folder = await temporaryFolder(t);
  const keys = await Promise.all(
    Array.from({ length: 20 }, (_, index) => openKey(folder, "cookie.key", () => `${KEY}-${index}`)),
  );
  t.equal(new Set(keys).size, 1);
  t.same(await readdir(folder), ["cookie.key"]);
});

t.test("a secret that others could read is closed to them (reliability 42)", async (t) => {
  const folder = await temporaryFolder(t);
  await writeFile(join(folder, "admin.token"), KEY);
  await chmod(join(folder, "admin.token"), 0o644);
  t.equal(await openKey(folder, "admin.token", () => "unused"), KEY);
  t.equal((await stat(join(folder, "admin.token"))).mode & 0o777, 0o600);
});

t.test("an empty or short secret is no secret, and the file is named (reliability 42)", async (t) => {
  const folder = await temporaryFolder(t);
  for (const content of ["", "\n", "short"]) {
    await writeFile(join(folder, "admin.token"), content);
    await t.rejects(
      openKey(folder, "admin.token", () => KEY),
      {
        code: "SPLIT_STATE_UNWRITABLE",
        message: /admin\.token/,
      },
    );
  }
  await t.rejects(
    openKey(join(folder, "admin.token"), "x", () => KEY),
    { code: "SPLIT_STATE_UNWRITABLE" },
  );
});
