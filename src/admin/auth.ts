/**
 * Who is calling: bearer tokens with scopes, compared in constant time.
 *
 * Both sides are hashed before they are compared, so neither the length nor the beginning of a token can be learnt from how long it took.
 * Failures are counted per address (of IPv6: per /64, since whoever has one address there has them all) and answered with 429 after a few, yet a
 * correct token is let in even then: whoever shares an address with an attacker, or with an old script, must still be able to roll back. The
 * count lives in a bounded cache, because an attacker chooses addresses.
 */

import { createHash, timingSafeEqual } from "node:crypto";
import { LRUCache } from "lru-cache";
import type { Clock } from "../engine/ports.ts";
import type { ErrorCode } from "../domain/errors.ts";
import type { Actor } from "../domain/rollout-types.ts";

/** What a token may do; each is a right of its own, none implies another. */
export type Scope = "read" | "operate" | "approve" | "admin" | "flags";

/** A token as configured. */
export interface Token {
  readonly name: string;
  readonly token: string;
  readonly scopes: readonly Scope[];
  /** The roles that it may sign for; left out: any. */
  readonly roles?: readonly string[];
}

/** Who calls, or why the call goes no further. */
export type Authenticated =
  | { readonly ok: true; readonly actor: Actor; readonly scopes: ReadonlySet<Scope> }
  | {
      readonly ok: false;
      readonly code: ErrorCode;
      readonly message: string;
      readonly headers: Readonly<Record<string, string>>;
    };

/** Wrong tokens from one address, until the answer is 429. */
export const FAILURES = 10;
/** How long an address' failures are remembered, from the first: ms. */
export const FAILURES_MS = 60_000;
const ADDRESSES = 1024;

const hash = (text: string): Buffer => createHash("sha256").update(text).digest();

/** Knows who may call. */
export interface Auth {
  /** Who calls, by the values of `Authorization` and the caller's address. No tokens: nobody is let in. */
  authenticate(fields: readonly string[], address: string): Authenticated;
  /** These tokens and no others from now on; whether they differ from those before. */
  setTokens(tokens: readonly Token[]): boolean;
}

/** Lets in whoever has one of `tokens`. */
export function createAuth(tokens: readonly Token[], clock: Clock): Auth {
  let known = hashed(tokens);
  const failures = new LRUCache<string, number>({
    max: ADDRESSES,
    ttl: FAILURES_MS,
    noUpdateTTL: true,
    // The house's clock, and no cached reading of it.
    perf: { now: () => clock.mono() + 1 },
    ttlResolution: 0,
  });

  function authenticate(fields: readonly string[], address: string): Authenticated {
    const given = fields.length === 1 ? /^Bearer +([\x21-\x7e]+) *$/i.exec(fields[0] ?? "")?.[1] : undefined;
    if (given === undefined) {
      const message = fields.length === 0 ? "a bearer token is needed" : "expected one bearer token";
      return refused("SPLIT_UNAUTHORIZED", message, { "www-authenticate": 'Bearer realm="sluice"' });
    }
    const digest = hash(given);
    let found: Known | undefined;
    // Every token is compared, whether or not one fitted already.
    for (const each of known) if (timingSafeEqual(digest, each.hash)) found = each;
    if (found !== undefined) return { ok: true, actor: found.actor, scopes: found.scopes };

    const from = networkOf(address);
    const count = (failures.get(from) ?? 0) + 1;
    failures.set(from, count);
    if (count > FAILURES) {
      const wait = Math.max(1, Math.ceil(failures.getRemainingTTL(from) / 1000));
      return refused("SPLIT_RATE_LIMITED", "too many wrong tokens from this address", {
        "retry-after": String(wait),
      });
    }
    return refused("SPLIT_UNAUTHORIZED", "the token is not known", {
      "www-authenticate": 'Bearer realm="sluice", error="invalid_token"',
    });
  }

  return {
    authenticate,
    setTokens(next) {
      const before = known;
      known = hashed(next);
      const isSame = (a: Known, b: Known | undefined): boolean =>
        b !== undefined &&
        JSON.stringify(a.actor) === JSON.stringify(b.actor) &&
        a.hash.equals(b.hash) &&
        a.scopes.size === b.scopes.size
          ? [...a.scopes].every((scope) => b.scopes.has(scope))
          : false;
      return known.length !== before.length || !known.every((each, index) => isSame(each, before[index]));
    },
  };
}

interface Known {
  readonly actor: Actor;
  readonly scopes: ReadonlySet<Scope>;
  readonly hash: Buffer;
}

function hashed(tokens: readonly Token[]): readonly Known[] {
  return tokens.map(({ name, scopes, roles, token }) => ({
    actor: roles === undefined ? { name } : { name, roles },
    scopes: new Set(scopes),
    hash: hash(token),
  }));
}

/** An IPv6 address' /64; any other address as it is. */
function networkOf(address: string): string {
  if (!address.includes(":") || address.includes(".")) return address;
  const [head = "", tail] = address.split("::");
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
  return [...before, ...new Array<string>(Math.max(0, zeros)).fill("0"), ...after].slice(0, 4).join(":");
}

function refused(code: ErrorCode, message: string, headers: Readonly<Record<string, string>>): Authenticated {
  return { ok: false, code, message, headers };
}
