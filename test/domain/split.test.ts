import t from "tap";
import { foldedPath, isKnownIssue } from "../../src/domain/path.ts";
import fc from "fast-check";
import { murmur3, murmur3OfAscii } from "../../src/domain/hash.ts";
import { ARMS, BUCKETS, armOf, bucketOf, bucketOfBytes } from "../../src/domain/split.ts";
import { ppm } from "../../src/domain/units.ts";

t.test("the hash gives the published vectors of MurmurHash3 x86 32", async (t) => {
  // From the reference implementation's verification and the vectors that most ports carry.
  const vectors: readonly (readonly [string, number, number])[] = [
    ["", 0, 0],
    ["", 1, 0x514e28b7],
    ["", 0xffffffff, 0x81f16f39],
    ["a", 0x9747b28c, 0x7fa09ea6],
    ["aa", 0x9747b28c, 0x5d211726],
    ["aaa", 0x9747b28c, 0x283e0130],
    ["aaaa", 0x9747b28c, 0x5a97808a],
    ["abc", 0, 0xb3dd93fa],
    ["Hello, world!", 0x9747b28c, 0x24884cba],
    ["The quick brown fox jumps over the lazy dog", 0x9747b28c, 0x2fa826cd],
    ["ππππππππ", 0x9747b28c, 0xd58063c1],
  ];
  for (const [text, seed, hash] of vectors) t.equal(murmur3(text, seed), hash, JSON.stringify(text));
});

const key = fc.string({ unit: "binary" });
const weight = fc.integer({ min: 0, max: 1_000_000 }).map(ppm);

t.test("raising the weight never moves a key back to stable", async () => {
  fc.assert(
    fc.property(key, key, weight, weight, (k, salt, a, b) => {
      const [low, high] = a < b ? [a, b] : [b, a];
      const bucket = bucketOf(k, salt);
      return armOf(bucket, low) === "stable" || armOf(bucket, high) === "canary";
    }),
  );
});

t.test(
  "at weight 0 nobody is the canary's, not even bucket 0; at 100 % everybody is (acceptance 3)",
  async (t) => {
    t.equal(armOf(0, ppm(0)), "stable");
    t.equal(armOf(BUCKETS - 1, ppm(1_000_000)), "canary");
    t.equal(armOf(0, ppm(1)), "canary");
    t.strictSame(ARMS, ["stable", "canary"]);
    fc.assert(fc.property(key, key, (k, salt) => armOf(bucketOf(k, salt), ppm(0)) === "stable"));
    fc.assert(fc.property(key, key, (k, salt) => armOf(bucketOf(k, salt), ppm(1_000_000)) === "canary"));
  },
);

t.test("every key has one bucket of a million, and keys spread evenly", async (t) => {
  fc.assert(
    fc.property(key, key, (k, salt) => {
      const bucket = bucketOf(k, salt);
      return Number.isInteger(bucket) && bucket >= 0 && bucket < BUCKETS && bucket === bucketOf(k, salt);
    }),
  );
  const share = (salt: string): number =>
    Array.from({ length: 20_000 }, (_, i) => bucketOf(`user-${i}`, salt)).filter((bucket) => bucket < 100_000)
      .length;
  // Five standard deviations of a binomial with n = 20 000 and p = 0.1.
  for (const salt of ["", "a", "rollout-7"])
    t.ok(Math.abs(share(salt) - 2000) < 5 * 42.5, `${salt}: ${share(salt)}`);
});

t.test("another salt is another shuffle", async (t) => {
  const keys = Array.from({ length: 10_000 }, (_, i) => `user-${i}`);
  const both = keys.filter((k) => bucketOf(k, "one") < 100_000 && bucketOf(k, "two") < 100_000).length;
  // Independent shuffles overlap in 1 %: within five standard deviations.
  t.ok(Math.abs(both - 100) < 50, `${both}`);
});

t.test(
  "a key that lies in a buffer has the hash and the bucket of its text; what is not ASCII is said to be so",
  async () => {
    const text = fc.string({
      unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)),
    });
    fc.assert(
      fc.property(text, text, text, text, (salt, before, k, behind) => {
        const bytes = Buffer.from(before + k + behind, "latin1");
        const [from, to] = [before.length, before.length + k.length];
        const isAscii = Array.from(salt + k).every((char) => char < "\x80");
        return (
          murmur3OfAscii(salt, bytes, from, to) === (isAscii ? murmur3(salt + k, 0) : -1) &&
          bucketOfBytes(bytes, from, to, salt) === (isAscii ? bucketOf(k, salt) : -1)
        );
      }),
      { numRuns: 2000 },
    );
  },
);

t.test(
  "a path is folded to two segments without ids, so that evidence holds no user's data (reliability 45)",
  async (t) => {
    t.equal(foldedPath("/users/42/orders?x=1"), "/users/:id/…");
    t.equal(foldedPath("/a/123e4567-e89b-12d3-a456-426614174000"), "/a/:id");
    t.equal(foldedPath("/0123456789abcdef01/b"), "/:id/b");
    t.equal(foldedPath("/"), "/");
    t.equal(foldedPath("/\u001b[31m"), "/?[31m");
    t.ok(foldedPath(`/${"a".repeat(500)}`).length <= 80);
  },
);

t.test("a known issue is one by its status, on its path and below it", async (t) => {
  const issues = [
    { path: "/api", status: 503 },
    { path: "/old/", status: 500 },
  ];
  for (const target of ["/api", "/api?x=1", "/api/x"]) t.ok(isKnownIssue(issues, 503, target), target);
  t.ok(isKnownIssue(issues, 500, "/old/x"));
  for (const target of ["/", "/apis", "/old"]) t.notOk(isKnownIssue(issues, 503, target), target);
  t.notOk(isKnownIssue(issues, 500, "/api"));
  t.notOk(isKnownIssue([], 500, "/api"));
});
